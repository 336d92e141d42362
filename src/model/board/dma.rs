//! Which devices can write RAM by themselves.
//!
//! A tree does not say so in one place: some properties give a master away, else its kind must be known. What
//! neither list below names stays [`Dma::Unknown`], and the checker decides for the careful side.

use super::tree::Place;
use super::{Dma, DmaReason};

/// Kinds that are DMA masters, and what they are.
const MASTERS: &[(&str, &str)] = &[
    ("virtio,mmio", "a virtio device"),
    ("qemu,fw-cfg-mmio", "QEMU's fw_cfg, which has DMA"),
    ("pci-host-ecam-generic", "a PCIe host bridge"),
    ("pci-host-cam-generic", "a PCI host bridge"),
    ("brcm,bcm2711-pcie", "a PCIe host bridge"),
    ("brcm,bcm2711-genet-v5", "GENET Ethernet"),
    ("brcm,bcm2711-emmc2", "the EMMC2 controller"),
    ("brcm,bcm2835-sdhci", "an SD host controller"),
    ("brcm,bcm2835-mmc", "an SD host controller"),
    ("brcm,bcm2835-usb", "a DWC2 USB controller"),
    ("brcm,bcm2708-usb", "a DWC2 USB controller"),
    ("snps,dwc2", "a DWC2 USB controller"),
    ("snps,dwc3", "a DWC3 USB controller"),
    ("generic-xhci", "an xHCI USB controller"),
    ("xhci-platform", "an xHCI USB controller"),
    ("brcm,xhci-brcm-v2", "an xHCI USB controller"),
    ("brcm,bcm2835-dma", "a DMA engine"),
    ("brcm,bcm2711-dma", "a DMA engine"),
    ("brcm,bcm2838-dma", "a DMA engine"),
    ("arm,pl080", "a DMA engine"),
    ("arm,pl081", "a DMA engine"),
    ("arm,pl330", "a DMA engine"),
    ("arm,pl110", "a display controller"),
    ("arm,pl111", "a display controller"),
    ("brcm,bcm2835-mbox", "the VideoCore mailbox"),
    ("brcm,bcm2835-vchiq", "the VideoCore's queue"),
    ("brcm,bcm2711-vchiq", "the VideoCore's queue"),
    ("brcm,bcm2835-hvs", "a display controller"),
    ("brcm,bcm2711-hvs", "a display controller"),
    ("brcm,bcm2835-v3d", "a GPU"),
    ("brcm,2711-v3d", "a GPU"),
    ("brcm,bcm2835-unicam", "a camera interface"),
    (
        "arm,smmu-v3",
        "an SMMU, which reads tables and writes queues",
    ),
    ("arm,gic-v3-its", "an ITS, which reads and writes tables"),
];

/// Kinds that are no DMA masters.
const NEVER: &[&str] = &[
    "arm,pl011",
    "arm,pl022",
    "arm,pl031",
    "arm,pl061",
    "arm,sp804",
    "arm,sp805",
    "cfi-flash",
    "ns16550a",
    "brcm,bcm2835-aux",
    "brcm,bcm2835-aux-uart",
    "brcm,bcm2835-aux-spi",
    "brcm,bcm2835-gpio",
    "brcm,bcm2711-gpio",
    "brcm,bcm2835-i2c",
    "brcm,bcm2711-i2c",
    "brcm,bcm2835-pwm",
    "brcm,bcm2835-rng",
    "brcm,bcm2711-rng200",
    "brcm,bcm2835-spi",
    "brcm,bcm2835-system-timer",
];

/// Properties that give a master away.
const PROPERTIES: [(&str, DmaReason); 4] = [
    ("iommus", DmaReason::Iommus),
    ("iommu-map", DmaReason::Iommus),
    ("dma-coherent", DmaReason::DmaCoherent),
    ("dma-ranges", DmaReason::DmaRanges),
];

/// Whether the device at `place` can write RAM by itself.
pub(super) fn dma(place: &Place<'_>) -> Dma {
    let known = MASTERS.iter().find(|(kind, _)| place.is_any(&[kind]));
    if let Some((_, what)) = known {
        return Dma::Master(DmaReason::Known(what));
    }
    if place.string("device_type") == "pci" {
        return Dma::Master(DmaReason::Known("a PCI host bridge"));
    }
    let telling = PROPERTIES
        .iter()
        .find(|(name, _)| place.value(name).is_some());
    match telling {
        Some((_, reason)) => Dma::Master(*reason),
        None if place.is_any(NEVER) => Dma::Never,
        None => Dma::Unknown,
    }
}
