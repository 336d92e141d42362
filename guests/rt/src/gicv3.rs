//! GICv3 (Arm IHI 0069H): redistributors and the system-register CPU interface.

use crate::gic::{self, distributor};
use crate::{cpu, mmio, read_sysreg, write_sysreg};

/// Offset of a redistributor's SGI_base frame.
pub const SGI_FRAME: u64 = 0x1_0000;
/// GICR_TYPER.
pub const GICR_TYPER: u64 = 0x08;
/// GICR_WAKER.
pub const GICR_WAKER: u64 = 0x14;
/// Bytes of one redistributor without FEAT_GICv4: two frames.
const STRIDE: u64 = 0x2_0000;
/// With virtual LPIs: four.
const STRIDE_VLPI: u64 = 0x4_0000;
/// GICR_TYPER.VLPIS.
const TYPER_VLPIS: u64 = 1 << 1;
/// GICR_TYPER.Last.
const TYPER_LAST: u64 = 1 << 4;
/// GICR_TYPER.Affinity_Value.
const TYPER_AFFINITY_SHIFT: u32 = 32;
/// GICR_WAKER.ProcessorSleep.
const WAKER_SLEEP: u32 = 1 << 1;
/// GICR_WAKER.ChildrenAsleep.
const WAKER_CHILDREN: u32 = 1 << 2;
/// GICD_CTLR: affinity routing and both non-secure groups (non-secure view), or group 0, group 1
/// and affinity routing (one security state).
const GICD_ENABLE: u32 = 1 << 4 | 1 << 1 | 1 << 0;
/// GICD_CTLR.RWP.
const GICD_RWP: u32 = 1 << 31;
/// ICC_CTLR_EL1.EOImode.
const EOI_MODE: u64 = 1 << 1;

pub(crate) fn wait_for_writes(base: u64) {
    while mmio::read32(base + distributor::CTLR) & GICD_RWP != 0 {
        core::hint::spin_loop();
    }
}

pub(crate) fn init(base: u64) {
    mmio::write32(base + distributor::CTLR, 0);
    wait_for_writes(base);
    gic::reset_shared(base, u32::MAX);
    mmio::write32(base + distributor::CTLR, GICD_ENABLE);
    wait_for_writes(base);
}

/// Finds the calling CPU's redistributor among those from `first` on.
pub(crate) fn redistributor(first: u64, size: u64) -> u64 {
    let affinity = cpu::affinity();
    // Aff3 moves down to bits 31:24, as GICR_TYPER has it.
    let wanted = (affinity >> 8 & 0xff00_0000) | affinity & 0xff_ffff;
    let mut frame = first;
    while frame < first + size {
        let kind = mmio::read64(frame + GICR_TYPER);
        if kind >> TYPER_AFFINITY_SHIFT == wanted {
            return frame;
        }
        if kind & TYPER_LAST != 0 {
            break;
        }
        frame += if kind & TYPER_VLPIS != 0 {
            STRIDE_VLPI
        } else {
            STRIDE
        };
    }
    panic!("no redistributor for affinity {affinity:#x}");
}

pub(crate) fn init_cpu(first: u64, size: u64) {
    let frame = redistributor(first, size);
    let waker = mmio::read32(frame + GICR_WAKER);
    mmio::write32(frame + GICR_WAKER, waker & !WAKER_SLEEP);
    while mmio::read32(frame + GICR_WAKER) & WAKER_CHILDREN != 0 {
        core::hint::spin_loop();
    }
    mmio::write32(frame + SGI_FRAME + distributor::IGROUPR, u32::MAX);
    write_sysreg!("S3_0_C12_C12_5", 1); // ICC_SRE_EL1.SRE
    write_sysreg!("S3_0_C4_C6_0", 0xff); // ICC_PMR_EL1
    write_sysreg!("S3_0_C12_C12_3", 0); // ICC_BPR1_EL1
    set_split_end(false);
    write_sysreg!("S3_0_C12_C12_7", 1); // ICC_IGRPEN1_EL1
}

pub(crate) fn route_here(base: u64, intid: u32) {
    mmio::write64(
        base + distributor::IROUTER + u64::from(intid) * 8,
        cpu::affinity(),
    );
}

pub(crate) fn acknowledge() -> u32 {
    let raw = read_sysreg!("S3_0_C12_C12_0"); // ICC_IAR1_EL1
    cpu::data_barrier();
    low_word(raw)
}

pub(crate) fn end(raw: u32) {
    write_sysreg!("S3_0_C12_C12_1", u64::from(raw)); // ICC_EOIR1_EL1
}

pub(crate) fn deactivate(raw: u32) {
    write_sysreg!("S3_0_C12_C11_1", u64::from(raw)); // ICC_DIR_EL1
}

pub(crate) fn set_split_end(split: bool) {
    let control = read_sysreg!("S3_0_C12_C12_4") & !EOI_MODE; // ICC_CTLR_EL1
    let mode = if split { EOI_MODE } else { 0 };
    write_sysreg!("S3_0_C12_C12_4", control | mode);
}

pub(crate) fn set_priority_mask(priority: u8) {
    write_sysreg!("S3_0_C4_C6_0", u64::from(priority));
}

/// Builds ICC_SGI1R_EL1 for one CPU and writes it.
pub(crate) fn send_sgi(intid: u32, affinity: u64) {
    let aff0 = affinity & 0xff;
    let list = 1 << (aff0 & 0xf);
    let range = aff0 >> 4;
    let aff1 = affinity >> 8 & 0xff;
    let aff2 = affinity >> 16 & 0xff;
    let aff3 = affinity >> 32 & 0xff;
    let value =
        aff3 << 48 | range << 44 | aff2 << 32 | u64::from(intid & 0xf) << 24 | aff1 << 16 | list;
    cpu::data_barrier();
    write_sysreg!("S3_0_C12_C11_5", value);
}

fn low_word(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
