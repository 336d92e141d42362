//! GICv2 (Arm IHI 0048B): what differs from GICv3.

use crate::gic::{self, distributor};
use crate::mmio;

/// GICC_CTLR.
pub const CTLR: u64 = 0x00;
/// GICC_PMR.
pub const PMR: u64 = 0x04;
/// GICC_BPR.
pub const BPR: u64 = 0x08;
/// GICC_IAR.
pub const IAR: u64 = 0x0c;
/// GICC_EOIR.
pub const EOIR: u64 = 0x10;
/// GICC_RPR.
pub const RPR: u64 = 0x14;
/// GICC_HPPIR.
pub const HPPIR: u64 = 0x18;
/// GICC_AIAR.
pub const AIAR: u64 = 0x20;
/// GICC_AEOIR.
pub const AEOIR: u64 = 0x24;
/// GICC_IIDR.
pub const IIDR: u64 = 0xfc;
/// GICC_DIR.
pub const DIR: u64 = 0x1000;
/// GICC_CTLR.EnableGrp0, or EnableGrp1 in a non-secure view.
const ENABLE: u32 = 1 << 0;
/// GICC_CTLR.EOImode.
const EOI_MODE: u32 = 1 << 9;
/// GICD_SGIR.CPUTargetList.
const TARGET_LIST_SHIFT: u32 = 16;

pub(crate) fn init(base: u64) {
    mmio::write32(base + distributor::CTLR, 0);
    gic::reset_shared(base, 0);
    mmio::write32(base + distributor::CTLR, ENABLE);
}

pub(crate) fn init_cpu(shared: u64, base: u64) {
    mmio::write32(shared + distributor::IGROUPR, 0);
    mmio::write32(base + PMR, 0xff);
    mmio::write32(base + BPR, 0);
    mmio::write32(base + CTLR, ENABLE);
}

/// Routes an SPI to the CPU that asks: its own bit is what the banked ITARGETSR0 reads.
pub(crate) fn route_here(base: u64, intid: u32) {
    let own = mmio::read8(base + distributor::ITARGETSR);
    mmio::write8(base + distributor::ITARGETSR + u64::from(intid), own);
}

pub(crate) fn acknowledge(base: u64) -> u32 {
    mmio::read32(base + IAR)
}

pub(crate) fn end(base: u64, raw: u32) {
    mmio::write32(base + EOIR, raw);
}

pub(crate) fn deactivate(base: u64, raw: u32) {
    mmio::write32(base + DIR, raw);
}

pub(crate) fn set_split_end(base: u64, split: bool) {
    let control = mmio::read32(base + CTLR) & !EOI_MODE;
    let mode = if split { EOI_MODE } else { 0 };
    mmio::write32(base + CTLR, control | mode);
}

pub(crate) fn set_priority_mask(base: u64, priority: u8) {
    mmio::write32(base + PMR, u32::from(priority));
}

/// Sends to the CPU whose interface number is Aff0, as on every board Bulkhead knows.
pub(crate) fn send_sgi(base: u64, intid: u32, affinity: u64) {
    let target = 1u32 << TARGET_LIST_SHIFT << (affinity & 0b111);
    // What the receiver is to see must be in memory first.
    crate::cpu::data_barrier();
    mmio::write32(base + distributor::SGIR, target | intid & 0xf);
}
