//! The control registers of EL2 and of a guest's EL1: each is written on every core, nothing is left as it was found.

use super::context::vector_base;
use crate::arm::control::{self, HCR_GUEST, Hcr, Mdcr};
use crate::arm::id::{self, HostFeatures, IdRegister};
use crate::arm::list_register::GicVersion;
use crate::{read_register, write_register};
use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{
    CNTHCTL_EL2, CNTVOFF_EL2, CPTR_EL2, HCR_EL2, MDCR_EL2, VBAR_EL2, VMPIDR_EL2, VTCR_EL2,
    VTTBR_EL2,
};
use tock_registers::interfaces::{Readable, Writeable};

/// MPIDR_EL1 bit 31, RES1.
const MPIDR_RES1: u64 = 1 << 31;
/// VTTBR_EL2.VMID.
const VMID_SHIFT: u32 = 48;
/// PMCR_EL0.N: how many event counters the core has.
const PMCR_N: u32 = 11;

/// Whom a core is to run.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// Root of the stage-2 tables.
    pub stage2_root: u64,
    /// VTCR_EL2.
    pub vtcr: u64,
    /// The partition's VMID: not zero.
    pub vmid: u8,
    /// The vCPU's number, Aff0 of its MPIDR.
    pub vcpu: u8,
}

/// Sets EL2's controls on the calling core, for a guest or, before one is known, for none; and its vectors, which depend on
/// the interrupt controller.
pub fn el2(features: &HostFeatures, controller: GicVersion) {
    VBAR_EL2.set(vector_base(controller));
    HCR_EL2.set((HCR_GUEST | optional_hcr(features)).bits());
    CPTR_EL2.set(control::CPTR_GUEST);
    CNTHCTL_EL2.set(control::CNTHCTL_GUEST);
    super::timer::stop();
    write_register!("hstr_el2", 0);
    write_register!("hacr_el2", 0);
    write_register!("actlr_el2", 0);
    write_register!("amair_el2", 0);
    write_register!("afsr0_el2", 0);
    write_register!("afsr1_el2", 0);
    write_register!("vpidr_el2", read_register!("midr_el1"));
    MDCR_EL2.set(mdcr(features));
    optional(features);
    barrier::isb(barrier::SY);
}

fn mdcr(features: &HostFeatures) -> u64 {
    let mut bits = Mdcr::empty();
    bits.set(Mdcr::TPMS, features.profiling);
    bits.set(Mdcr::TTRF, features.trace_filter);
    bits.set(Mdcr::HPMD, features.performance_monitors >= 4);
    bits.set(Mdcr::HCCD, features.performance_monitors >= 6);
    let counters = if features.performance_monitors > 0 {
        read_register!("pmcr_el0") >> PMCR_N & 0x1f
    } else {
        0
    };
    control::mdcr_guest(counters, bits)
}

fn optional_hcr(features: &HostFeatures) -> Hcr {
    let mut bits = Hcr::empty();
    bits.set(Hcr::API | Hcr::APK, features.pointer_authentication);
    bits.set(Hcr::TLOR, features.limited_ordering);
    bits.set(Hcr::TERR, features.ras);
    bits.set(Hcr::TID5, features.mte);
    bits
}

/// Control registers of optional features; all grant nothing (see `HostFeatures` for which bits matter).
fn optional(features: &HostFeatures) {
    traps(features);
    observers(features);
    if features.ras {
        write_register!("s3_4_c5_c2_3", 0); // VSESR_EL2
        write_register!("s3_4_c12_c1_1", 0); // VDISR_EL2
        write_register!("s3_0_c12_c1_1", 0); // DISR_EL1
    }
    if features.enhanced_counter >= 2 {
        write_register!("s3_4_c14_c0_6", 0); // CNTPOFF_EL2
    }
    if features.vhe {
        write_register!("s3_4_c14_c3_1", 0); // CNTHV_CTL_EL2
    }
    if features.context_number {
        write_register!("s3_4_c13_c0_7", 0); // SCXTNUM_EL2
    }
    if features.extended_translation_control {
        write_register!("s3_4_c2_c0_3", 0); // TCR2_EL2
    }
    if features.extended_system_control {
        write_register!("s3_4_c1_c0_3", 0); // SCTLR2_EL2
    }
    if features.mpam {
        memory_partitioning();
    }
}

/// What traps of EL1's doings, register by register: zero leaves older features alone and traps newer ones.
fn traps(features: &HostFeatures) {
    if features.hcrx {
        write_register!("s3_4_c1_c2_2", 0); // HCRX_EL2
    }
    if features.fine_grained_traps {
        write_register!("s3_4_c1_c1_4", 0); // HFGRTR_EL2
        write_register!("s3_4_c1_c1_5", 0); // HFGWTR_EL2
        write_register!("s3_4_c1_c1_6", 0); // HFGITR_EL2
        write_register!("s3_4_c3_c1_4", 0); // HDFGRTR_EL2
        write_register!("s3_4_c3_c1_5", 0); // HDFGWTR_EL2
    }
    if features.fine_grained_traps && features.activity_monitors {
        write_register!("s3_4_c3_c1_6", 0); // HAFGRTR_EL2
    }
    if features.fine_grained_traps_2 {
        write_register!("s3_4_c3_c1_2", 0); // HFGRTR2_EL2
        write_register!("s3_4_c3_c1_3", 0); // HFGWTR2_EL2
        write_register!("s3_4_c3_c1_7", 0); // HFGITR2_EL2
        write_register!("s3_4_c3_c1_0", 0); // HDFGRTR2_EL2
        write_register!("s3_4_c3_c1_1", 0); // HDFGWTR2_EL2
    }
}

/// What would record EL2's own doings: off.
fn observers(features: &HostFeatures) {
    if features.profiling {
        write_register!("s3_4_c9_c9_0", 0); // PMSCR_EL2
    }
    if features.trace_filter {
        write_register!("s3_4_c1_c2_1", 0); // TRFCR_EL2
    }
    if features.branch_records {
        write_register!("s2_4_c9_c0_0", 0); // BRBCR_EL2
    }
}

/// Everybody is in partition 0, and EL1 cannot say otherwise (Arm DDI 0598D.b, 8.3).
fn memory_partitioning() {
    /// MPAMIDR_EL1.HAS_HCR and HAS_TIDR.
    const HAS_HCR: u64 = 1 << 17;
    const HAS_TIDR: u64 = 1 << 58;
    /// MPAM2_EL2: TIDR traps MPAMIDR_EL1; TRAPMPAM0EL1 and TRAPMPAM1EL1 the others.
    const TIDR: u64 = 1 << 58;
    const TRAPS: u64 = 0b11 << 48;
    /// MPAMHCR_EL2.TRAP_MPAMIDR_EL1.
    const TRAP_IDENTIFICATION: u64 = 1 << 31;
    let identification = read_register!("s3_0_c10_c4_4"); // MPAMIDR_EL1
    if identification & HAS_HCR != 0 {
        write_register!("s3_4_c10_c4_0", TRAP_IDENTIFICATION); // MPAMHCR_EL2
    }
    let tidr = if identification & HAS_TIDR != 0 {
        TIDR
    } else {
        0
    };
    write_register!("s3_4_c10_c5_0", TRAPS | tidr); // MPAM2_EL2
    write_register!("s3_0_c10_c5_0", 0); // MPAM1_EL1
    write_register!("s3_0_c10_c5_1", 0); // MPAM0_EL1
}

/// Points the calling core's stage 2 and identification at its guest.
pub fn guest(guest: Guest, counter_offset: u64) {
    VTCR_EL2.set(guest.vtcr);
    // The tables must be in memory before the walker can see them; the barrier is the compiler's too.
    barrier::dsb(barrier::ISH);
    VTTBR_EL2.set(u64::from(guest.vmid) << VMID_SHIFT | guest.stage2_root);
    VMPIDR_EL2.set(MPIDR_RES1 | u64::from(guest.vcpu));
    CNTVOFF_EL2.set(counter_offset);
    barrier::isb(barrier::SY);
    crate::edge::tlb::invalidate_guest();
}

/// Puts what EL1 and EL0 own of the calling core back to reset: nothing of a former guest is readable.
pub fn reset_el1(features: &HostFeatures) {
    write_register!("sctlr_el1", control::SCTLR_EL1_RESET);
    for_zero();
    timers();
    debug();
    if features.performance_monitors > 0 {
        performance_monitors();
    }
    if features.pointer_authentication {
        pointer_authentication();
    }
    if features.context_number {
        write_register!("s3_3_c13_c0_7", 0); // SCXTNUM_EL0
        write_register!("s3_0_c13_c0_7", 0); // SCXTNUM_EL1
    }
    crate::edge::fp::reset();
    barrier::isb(barrier::SY);
}

fn for_zero() {
    write_register!("actlr_el1", 0);
    write_register!("cpacr_el1", 0);
    write_register!("ttbr0_el1", 0);
    write_register!("ttbr1_el1", 0);
    write_register!("tcr_el1", 0);
    write_register!("mair_el1", 0);
    write_register!("amair_el1", 0);
    write_register!("vbar_el1", 0);
    write_register!("contextidr_el1", 0);
    write_register!("tpidr_el0", 0);
    write_register!("tpidrro_el0", 0);
    write_register!("tpidr_el1", 0);
    write_register!("sp_el0", 0);
    write_register!("sp_el1", 0);
    write_register!("elr_el1", 0);
    write_register!("spsr_el1", 0);
    write_register!("esr_el1", 0);
    write_register!("far_el1", 0);
    write_register!("afsr0_el1", 0);
    write_register!("afsr1_el1", 0);
    write_register!("par_el1", 0);
    write_register!("csselr_el1", 0);
}

fn timers() {
    write_register!("cntkctl_el1", 0);
    write_register!("cntv_ctl_el0", 0);
    write_register!("cntv_cval_el0", 0);
    write_register!("cntp_ctl_el0", 0);
    write_register!("cntp_cval_el0", 0);
}

fn debug() {
    // The OS lock is set after a reset (H2.4): self-hosted debug begins when the guest opens it.
    write_register!("oslar_el1", 1);
    write_register!("osdlr_el1", 0);
    write_register!("mdscr_el1", 0);
    write_register!("mdccint_el1", 0);
    write_register!("dbgclaimclr_el1", 0xff);
    macro_rules! zero {
        ($count:expr, $prefix:literal: $($n:literal)*) => {
            $(if $n < $count {
                write_register!(concat!($prefix, "cr", $n, "_el1"), 0);
                write_register!(concat!($prefix, "vr", $n, "_el1"), 0);
            })*
        };
    }
    // ID_AA64DFR0_EL1.BRPs (15:12) and WRPs (23:20): one less than there are.
    let debug = super::guest::id_register(IdRegister::AA64DFR0);
    let (breakpoints, watchpoints) = ((debug >> 12 & 0xf) + 1, (debug >> 20 & 0xf) + 1);
    zero!(breakpoints, "dbgb": 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    zero!(watchpoints, "dbgw": 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

fn performance_monitors() {
    /// PMCR_EL0: reset event counters (P) and the cycle counter (C), all stopped.
    const PMCR_RESET: u64 = 0b110;
    write_register!("pmcr_el0", PMCR_RESET);
    write_register!("pmcntenclr_el0", u64::from(u32::MAX));
    write_register!("pmintenclr_el1", u64::from(u32::MAX));
    write_register!("pmovsclr_el0", u64::from(u32::MAX));
    write_register!("pmuserenr_el0", 0);
    write_register!("pmselr_el0", 0);
    write_register!("pmccfiltr_el0", 0);
    for counter in 0..read_register!("pmcr_el0") >> PMCR_N & 0x1f {
        write_register!("pmselr_el0", counter);
        barrier::isb(barrier::SY);
        write_register!("pmxevtyper_el0", 0);
    }
    write_register!("pmselr_el0", 0);
}

fn pointer_authentication() {
    write_register!("s3_0_c2_c1_0", 0); // APIAKeyLo_EL1
    write_register!("s3_0_c2_c1_1", 0); // APIAKeyHi_EL1
    write_register!("s3_0_c2_c1_2", 0); // APIBKeyLo_EL1
    write_register!("s3_0_c2_c1_3", 0); // APIBKeyHi_EL1
    write_register!("s3_0_c2_c2_0", 0); // APDAKeyLo_EL1
    write_register!("s3_0_c2_c2_1", 0); // APDAKeyHi_EL1
    write_register!("s3_0_c2_c2_2", 0); // APDBKeyLo_EL1
    write_register!("s3_0_c2_c2_3", 0); // APDBKeyHi_EL1
    write_register!("s3_0_c2_c3_0", 0); // APGAKeyLo_EL1
    write_register!("s3_0_c2_c3_1", 0); // APGAKeyHi_EL1
}

/// TTBR0_EL2, TCR_EL2 and SCTLR_EL2 of the calling core.
#[must_use]
pub fn own_regime() -> (u64, u64, u64) {
    (
        read_register!("ttbr0_el2"),
        read_register!("tcr_el2"),
        read_register!("sctlr_el2"),
    )
}

/// The bits of physical address the core has.
#[must_use]
pub fn pa_bits() -> u8 {
    control::pa_bits(read_register!("id_aa64mmfr0_el1"))
}

/// ESR_EL2 of the exit.
#[must_use]
#[inline(always)]
pub fn exception_syndrome() -> u64 {
    aarch64_cpu::registers::ESR_EL2.get()
}

/// FAR_EL2 and HPFAR_EL2 of the exit.
#[must_use]
#[inline(always)]
pub fn fault_address() -> (u64, u64) {
    use aarch64_cpu::registers::{FAR_EL2, HPFAR_EL2};
    (FAR_EL2.get(), HPFAR_EL2.get())
}

/// ESR_EL2, FAR_EL2 and HPFAR_EL2 of the exit.
#[must_use]
pub fn syndrome() -> (u64, u64, u64) {
    use aarch64_cpu::registers::{ESR_EL2, FAR_EL2, HPFAR_EL2};
    (ESR_EL2.get(), FAR_EL2.get(), HPFAR_EL2.get())
}

/// What the calling core has, by its ID registers.
#[must_use]
pub fn features() -> HostFeatures {
    id::features(super::guest::id_register)
}

/// The calling core's affinity.
#[must_use]
pub fn affinity() -> crate::words::Mpidr {
    crate::words::Mpidr::new(read_register!("mpidr_el1"))
}

/// The physical counter.
#[must_use]
pub fn counter() -> u64 {
    barrier::isb(barrier::SY);
    read_register!("cntpct_el0")
}

/// Ticks of the physical counter in a second.
#[must_use]
pub fn counter_frequency() -> u64 {
    read_register!("cntfrq_el0")
}
