//! What EL2 writes into the control registers of the levels below, and its own: every value, bit by bit, with the reason.
//!
//! The edge writes them on every core; nothing keeps its reset value (Arm ARM DDI 0487, D24.2).

use bitflags::bitflags;

bitflags! {
    /// HCR_EL2 (D24.2.53): what of a guest's doings comes to EL2.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Hcr: u64 {
        /// Stage 2 is on.
        const VM = 1 << 0;
        /// Set/way invalidation also cleans: a guest cannot drop another's dirty lines.
        const SWIO = 1 << 1;
        /// A stage-1 walk that hits device memory at stage 2 faults.
        const PTW = 1 << 2;
        /// Physical FIQs come to EL2; virtual FIQs are on.
        const FMO = 1 << 3;
        /// Physical IRQs come to EL2; virtual IRQs are on.
        const IMO = 1 << 4;
        /// SErrors come to EL2.
        const AMO = 1 << 5;
        /// REVIDR_EL1, AIDR_EL1 and their like trap.
        const TID1 = 1 << 16;
        /// The ID registers of group 3 trap.
        const TID3 = 1 << 18;
        /// SMC traps.
        const TSC = 1 << 19;
        /// Implementation-defined registers trap.
        const TIDCP = 1 << 20;
        /// ACTLR_EL1 traps.
        const TACR = 1 << 21;
        /// Cache maintenance by set/way traps.
        const TSW = 1 << 22;
        /// EL1 is AArch64.
        const RW = 1 << 31;
        /// The LOR registers trap.
        const TLOR = 1 << 35;
        /// The RAS error-record registers trap.
        const TERR = 1 << 36;
        /// Pointer-authentication keys do not trap.
        const APK = 1 << 40;
        /// Pointer-authentication instructions do not trap.
        const API = 1 << 41;
        /// GMID_EL1 traps.
        const TID5 = 1 << 58;
    }
}

/// HCR_EL2 before there is a guest: E2H and TGE clear, so that EL2's registers have the meaning this module gives them.
pub const HCR_BOOT: Hcr = Hcr::RW;

/// HCR_EL2 while a guest runs, on a core without any optional feature.
pub const HCR_GUEST: Hcr = Hcr::VM
    .union(Hcr::SWIO)
    .union(Hcr::PTW)
    .union(Hcr::FMO)
    .union(Hcr::IMO)
    .union(Hcr::AMO)
    .union(Hcr::TID1)
    .union(Hcr::TID3)
    .union(Hcr::TSC)
    .union(Hcr::TIDCP)
    .union(Hcr::TACR)
    .union(Hcr::TSW)
    .union(Hcr::RW);

/// CPTR_EL2 with E2H = 0 (D24.2.34): RES1 bits, SVE (TZ, 8) and SME (TSM, 12) trap, FP and SIMD (TFP, 10) do not,
/// trace registers (TTA, 20) and activity monitors (TAM, 30) trap.
pub const CPTR_GUEST: u64 = 0x33ff & !(1 << 10) | 1 << 20 | 1 << 30;

/// CNTHCTL_EL2 with E2H = 0 (D24.2.29): the guest's CNTPCT (EL1PCTEN, 0) and CNTP registers (EL1PCEN, 1) do not trap;
/// no event stream.
pub const CNTHCTL_GUEST: u64 = 0b11;

bitflags! {
    /// MDCR_EL2 (D24.2.99): debug, trace and the performance monitors.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Mdcr: u64 {
        /// Statistical profiling registers trap.
        const TPMS = 1 << 14;
        /// No event is counted while EL2 executes (FEAT_PMUv3p1).
        const HPMD = 1 << 17;
        /// Trace-filter registers trap (FEAT_TRF).
        const TTRF = 1 << 19;
        /// The cycle counter stops while EL2 executes (FEAT_PMUv3p5).
        const HCCD = 1 << 23;
    }
}

/// MDCR_EL2 for a guest that owns its core: breakpoints, watchpoints, single step (TDA, TDE = 0) and the `counters`
/// event counters of its PMU (HPMN; TPM = 0) are its own; `features` are those the core has.
#[must_use]
pub const fn mdcr_guest(counters: u64, features: Mdcr) -> u64 {
    features.bits() | counters & 0x1f
}

/// SCTLR_EL1 at entry to a guest (D24.2.176): RES1 bits of Armv8.0, MMU and caches off.
pub const SCTLR_EL1_RESET: u64 = 0x30d0_0800;

/// SCTLR_EL2 with the MMU off: its RES1 bits (D24.2.177).
pub const SCTLR_EL2_OFF: u64 = 0x30c5_0830;
/// SCTLR_EL2 as EL2 runs: M, SP alignment check (SA), data (C) and instruction (I) caches, WXN.
pub const SCTLR_EL2_ON: u64 = SCTLR_EL2_OFF | 1 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 19;

/// PSTATE at entry to a guest: EL1h with D, A, I and F masked (Linux's arm64 boot protocol; C5.2.19).
pub const PSTATE_ENTRY: u64 = 0b1111 << 6 | 0b0101;

/// MAIR_EL2: attribute 0 is normal write-back, attribute 1 device-nGnRE (D24.2.98).
pub const MAIR_EL2: u64 = 0xff | 0x04 << 8;
/// Index of normal memory in [`MAIR_EL2`].
pub const MAIR_NORMAL: u64 = 0;
/// Index of device memory in [`MAIR_EL2`].
pub const MAIR_DEVICE: u64 = 1;

/// Bits of a physical address for each value of ID_AA64MMFR0_EL1.PARange (D24.2.75).
#[must_use]
pub const fn pa_bits(pa_range: u64) -> u8 {
    match pa_range & 0xf {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}

/// The PS field of VTCR_EL2 and TCR_EL2 for a physical address of `bits` (the inverse of [`pa_bits`]).
#[must_use]
pub const fn pa_size_field(bits: u8) -> u64 {
    match bits {
        0..=32 => 0,
        33..=36 => 1,
        37..=40 => 2,
        41..=42 => 3,
        43..=44 => 4,
        _ => 5,
    }
}

/// TCR_EL2 with E2H = 0 (D24.2.193): addresses of `bits` from TTBR0_EL2 (T0SZ), walks cacheable and inner shareable,
/// 4 KiB granule, RES1 bits 31 and 23.
#[must_use]
pub const fn tcr_el2(pa_bits: u8, bits: u8) -> u64 {
    1 << 31
        | 1 << 23
        | pa_size_field(pa_bits) << 16
        | 0b11 << 12
        | 0b01 << 10
        | 0b01 << 8
        | (64 - bits as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_keeps_floating_point_and_loses_sve_sme_trace_and_activity_monitors() {
        assert_eq!(CPTR_GUEST & (1 << 10), 0);
        for trap in [8, 12, 20, 30] {
            assert_ne!(CPTR_GUEST & (1 << trap), 0, "bit {trap}");
        }
    }

    #[test]
    fn debug_and_the_counters_stay_with_the_guest() {
        let mdcr = mdcr_guest(6, Mdcr::TPMS);
        assert_eq!(mdcr & 0x1f, 6);
        // TPMCR 5, TPM 6, TDE 8, TDA 9, TDOSA 10, TDRA 11
        assert_eq!(
            mdcr & (1 << 5 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11),
            0
        );
    }

    #[test]
    fn physical_address_sizes_go_both_ways() {
        for field in 0..=5 {
            assert_eq!(pa_size_field(pa_bits(field)), field);
        }
    }
}
