//! Identification registers: what a partition is shown of the CPU (Arm ARM D24.2, the ID_* registers).
//!
//! HCR_EL2.TID3 traps the block op0=3, op1=0, CRn=0, CRm=1..7. [`TABLE`] holds one rule for each field; a field without
//! a rule, and a register without a row, reads as zero: what this hypervisor does not know, no partition uses.
//! The rule is **granted** where the feature works at EL1 and EL0 without EL2's help or with help we give; **hidden** where it
//! needs EL2 or registers we neither switch nor reset (using it then traps and is UNDEFINED to the guest); **capped**
//! where later versions would.

mod table;

use table::{Rule, TABLE};

/// Registers in the block: CRm 1 to 7, op2 0 to 7.
pub const ID_REGISTERS: usize = 56;

/// An identification register of the block, by CRm and op2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IdRegister {
    crm: u8,
    op2: u8,
}

macro_rules! registers {
    ($($(#[$doc:meta])* $name:ident = $crm:literal, $op2:literal;)*) => {
        impl IdRegister {
            $($(#[$doc])* pub const $name: Self = Self { crm: $crm, op2: $op2 };)*
        }
    };
}

registers! {
    /// AArch32 processor features 0.
    PFR0 = 1, 0;
    /// AArch32 processor features 1.
    PFR1 = 1, 1;
    /// AArch32 debug features 0.
    DFR0 = 1, 2;
    /// AArch32 memory model features 0.
    MMFR0 = 1, 4;
    /// AArch32 memory model features 1.
    MMFR1 = 1, 5;
    /// AArch32 memory model features 2.
    MMFR2 = 1, 6;
    /// AArch32 memory model features 3.
    MMFR3 = 1, 7;
    /// AArch32 instructions 0.
    ISAR0 = 2, 0;
    /// AArch32 instructions 1.
    ISAR1 = 2, 1;
    /// AArch32 instructions 2.
    ISAR2 = 2, 2;
    /// AArch32 instructions 3.
    ISAR3 = 2, 3;
    /// AArch32 instructions 4.
    ISAR4 = 2, 4;
    /// AArch32 instructions 5.
    ISAR5 = 2, 5;
    /// AArch32 memory model features 4.
    MMFR4 = 2, 6;
    /// AArch32 instructions 6.
    ISAR6 = 2, 7;
    /// AArch32 media and FP features 0.
    MVFR0 = 3, 0;
    /// AArch32 media and FP features 1.
    MVFR1 = 3, 1;
    /// AArch32 media and FP features 2.
    MVFR2 = 3, 2;
    /// AArch32 processor features 2.
    PFR2 = 3, 4;
    /// AArch32 memory model features 5.
    MMFR5 = 3, 6;
    /// AArch64 processor features 0.
    AA64PFR0 = 4, 0;
    /// AArch64 processor features 1.
    AA64PFR1 = 4, 1;
    /// SVE features.
    AA64ZFR0 = 4, 4;
    /// SME features.
    AA64SMFR0 = 4, 5;
    /// AArch64 debug features 0.
    AA64DFR0 = 5, 0;
    /// AArch64 instructions 0.
    AA64ISAR0 = 6, 0;
    /// AArch64 instructions 1.
    AA64ISAR1 = 6, 1;
    /// AArch64 instructions 2.
    AA64ISAR2 = 6, 2;
    /// AArch64 instructions 3.
    AA64ISAR3 = 6, 3;
    /// AArch64 memory model features 0.
    AA64MMFR0 = 7, 0;
    /// AArch64 memory model features 1.
    AA64MMFR1 = 7, 1;
    /// AArch64 memory model features 2.
    AA64MMFR2 = 7, 2;
    /// AArch64 memory model features 3.
    AA64MMFR3 = 7, 3;
    /// AArch64 memory model features 4.
    AA64MMFR4 = 7, 4;
}

impl IdRegister {
    /// The register with these encoding fields (op0=3, op1=0, CRn=0), if the block has it.
    #[must_use]
    pub const fn new(crm: u8, op2: u8) -> Option<Self> {
        if matches!(crm, 1..=7) && op2 <= 7 {
            Some(Self { crm, op2 })
        } else {
            None
        }
    }

    /// CRm of the encoding, 1 to 7.
    #[must_use]
    pub const fn crm(self) -> u8 {
        self.crm
    }

    /// op2 of the encoding, 0 to 7.
    #[must_use]
    pub const fn op2(self) -> u8 {
        self.op2
    }

    /// Its position in an [`IdSet`], below [`ID_REGISTERS`].
    #[must_use]
    pub const fn index(self) -> usize {
        ((self.crm as usize) - 1) * 8 + self.op2 as usize
    }

    /// Goes through the whole block, reserved encodings included, in the order of [`IdRegister::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=7).flat_map(|crm| (0..=7).map(move |op2| Self { crm, op2 }))
    }
}

/// The values of the whole block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdSet([u64; ID_REGISTERS]);

impl IdSet {
    /// Collects the values `read` gives for every register of the block.
    pub fn read(mut read: impl FnMut(IdRegister) -> u64) -> Self {
        let mut values = [0; ID_REGISTERS];
        for (value, register) in values.iter_mut().zip(IdRegister::all()) {
            *value = read(register);
        }
        Self(values)
    }

    /// The value of one register.
    #[must_use]
    pub fn get(&self, register: IdRegister) -> u64 {
        self.0.get(register.index()).copied().unwrap_or(0)
    }

    /// What a partition with these rights is shown instead.
    #[must_use]
    pub fn filtered(&self, rights: Rights) -> Self {
        Self::read(|register| filter(register, self.get(register), rights))
    }
}

/// What the hypervisor gives a partition beyond the CPU itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights {
    /// Its interrupt controller has the system register interface (GICv3).
    pub gic_system_registers: bool,
    /// It may use the performance monitors.
    pub performance_monitors: bool,
    /// It may use break- and watchpoints and single step.
    pub self_hosted_debug: bool,
}

/// Gives what a partition reads for `register`, whose value on this CPU is `raw`.
///
/// A register the table does not have reads as zero, never UNDEFINED (D24.3.1: the reserved space of the block is RAZ).
#[must_use]
pub fn filter(register: IdRegister, raw: u64, rights: Rights) -> u64 {
    TABLE
        .iter()
        .filter(|(row, _)| *row == register)
        .flat_map(|(_, fields)| fields.iter())
        .map(|(low, rule)| u64::from(rule.apply(field(raw, *low), rights)) << (low & 63))
        .fold(0, |value, bits| value | bits)
}

/// A field of four bits; every field with a rule has that width.
fn field(value: u64, low: u8) -> u8 {
    u8::try_from((value >> (low & 63)) & 0xf).unwrap_or(0)
}

impl Rule {
    fn apply(self, raw: u8, rights: Rights) -> u8 {
        match self {
            Self::Granted => raw,
            Self::Hidden => 0,
            Self::AtMost(most) => raw.min(most),
            Self::InterruptController if rights.gic_system_registers => raw.min(1),
            // 0xf is an IMPLEMENTATION DEFINED PMU, which nobody can be given.
            Self::Performance(most) if rights.performance_monitors && raw != 0xf => raw.min(most),
            Self::InterruptController | Self::Performance(_) => 0,
        }
    }
}

/// What of the CPU EL2 must know to set its own controls: a control bit may only be set where its feature exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostFeatures {
    /// FEAT_PAuth: set HCR_EL2.API and APK, or the granted instructions trap; reset the keys at a restart.
    pub pointer_authentication: bool,
    /// FEAT_SVE: CPTR_EL2.TZ (bit 8) and ZEN exist and must trap.
    pub sve: bool,
    /// FEAT_SME: CPTR_EL2.TSM (bit 12) exists and must trap; SCR and HCRX controls as well.
    pub sme: bool,
    /// FEAT_MTE: HCR_EL2.ATA clear hides allocation tags; with MTE2, TID5 traps GMID_EL1.
    pub mte: bool,
    /// FEAT_HCX: HCRX_EL2 exists and must be zero.
    pub hcrx: bool,
    /// FEAT_FGT: HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2 and HDFGWTR_EL2 exist and must be zero.
    pub fine_grained_traps: bool,
    /// FEAT_FGT2: HFGRTR2_EL2 and its companions exist as well.
    pub fine_grained_traps_2: bool,
    /// FEAT_AMUv1: HAFGRTR_EL2 exists with FGT; CPTR_EL2.TAM (bit 30) must trap.
    pub activity_monitors: bool,
    /// FEAT_ECV, its version: CNTHCTL_EL2 has EL1TVT, EL1TVCT, ECV; from 2 on CNTPOFF_EL2 exists.
    pub enhanced_counter: u8,
    /// FEAT_SPE: MDCR_EL2.E2PB = 0 traps the profiling buffer, TPMS the controls.
    pub profiling: bool,
    /// FEAT_TRBE: MDCR_EL2.E2TB = 0 traps the trace buffer.
    pub trace_buffer: bool,
    /// FEAT_TRF: MDCR_EL2.TTRF must trap.
    pub trace_filter: bool,
    /// Trace unit with system registers: CPTR_EL2.TTA must trap.
    pub trace: bool,
    /// FEAT_BRBE: BRBCR_EL2 must be zero; without FGT the records cannot be trapped.
    pub branch_records: bool,
    /// PMU version (ID_AA64DFR0_EL1.PMUVer), 0 if there is none or not Arm's: MDCR_EL2.HPMN, TPM, TPMCR, HPMD.
    pub performance_monitors: u8,
    /// FEAT_DoubleLock: OSDLR_EL1 exists; MDCR_EL2.TDOSA traps it.
    pub double_lock: bool,
    /// FEAT_MPAM: MPAM2_EL2 must trap (TRAPMPAM0EL1, TRAPMPAM1EL1), or MPAMHCR_EL2.TRAP_MPAMIDR_EL1.
    pub mpam: bool,
    /// FEAT_RAS: HCR_EL2.TERR and FIEN exist, TEA routes; DISR_EL1 and VDISR_EL2 exist.
    pub ras: bool,
    /// FEAT_VHE: HCR_EL2.E2H exists (and may be fixed to 1: [`HostFeatures::e2h_fixed`]).
    pub vhe: bool,
    /// HCR_EL2.E2H cannot be cleared (ID_AA64MMFR4_EL1.E2H0 is negative).
    pub e2h_fixed: bool,
    /// FEAT_NV: HCR_EL2.NV must be clear.
    pub nested: bool,
    /// FEAT_LOR: HCR_EL2.TLOR must trap.
    pub limited_ordering: bool,
    /// FEAT_EVT, its version: HCR_EL2.TID4, TICAB, TOCU, TTLBIS, TTLBOS exist.
    pub enhanced_traps: u8,
    /// FEAT_CSV2_2 or 1p2: SCXTNUM_EL1 exists; HCR_EL2.EnSCXT must be clear, which traps it.
    pub context_number: bool,
    /// FEAT_TCR2: TCR2_EL2 exists and must be zero; TCR2_EL1 traps while HCRX_EL2 does not grant it.
    pub extended_translation_control: bool,
    /// FEAT_SCTLR2: SCTLR2_EL2 exists and must be zero; SCTLR2_EL1 traps while HCRX_EL2 does not grant it.
    pub extended_system_control: bool,
    /// FEAT_NMI: HCRX_EL2.TALLINT, VINMI and VFNMI exist.
    pub nmi: bool,
    /// FEAT_S2FWB: HCR_EL2.FWB exists.
    pub stage_2_force_write_back: bool,
    /// FEAT_XNX: stage 2 has separate execute-never for EL0 and EL1.
    pub stage_2_execute_never: bool,
    /// FEAT_VMID16: VTCR_EL2.VS exists.
    pub vmid_16: bool,
    /// ID_AA64MMFR0_EL1.PARange: 0 is 32 bits, 5 is 48, 6 is 52.
    pub physical_address_range: u8,
    /// The CPU has the GIC's system registers: ICC_SRE_EL2 exists.
    pub gic_system_registers: bool,
    /// AArch32 at EL0 exists: HSTR_EL2 and the AArch32 traps matter.
    pub aarch32_el0: bool,
    /// FEAT_PAN: SCTLR_EL1.SPAN and PSTATE.PAN exist.
    pub privileged_access_never: bool,
    /// FEAT_SSBS: PSTATE.SSBS exists.
    pub speculative_store_bypass: bool,
    /// FEAT_RNG: RNDR and RNDRRS exist.
    pub random_numbers: bool,
}

/// Says which of EL2's controls exist on a CPU whose unfiltered registers `raw` reads.
#[must_use]
#[inline(always)]
pub fn features(raw: impl Fn(IdRegister) -> u64) -> HostFeatures {
    use IdRegister as Id;
    let has = |register, low| field(raw(register), low) != 0;
    let csv2 = field(raw(Id::AA64PFR0), 56);
    let pmu = field(raw(Id::AA64DFR0), 8);
    HostFeatures {
        pointer_authentication: [4, 8, 24, 28].iter().any(|low| has(Id::AA64ISAR1, *low))
            || has(Id::AA64ISAR2, 8)
            || has(Id::AA64ISAR2, 12),
        sve: has(Id::AA64PFR0, 32),
        sme: has(Id::AA64PFR1, 24),
        mte: has(Id::AA64PFR1, 8),
        hcrx: has(Id::AA64MMFR1, 40),
        fine_grained_traps: has(Id::AA64MMFR0, 56),
        fine_grained_traps_2: field(raw(Id::AA64MMFR0), 56) >= 2,
        activity_monitors: has(Id::AA64PFR0, 44),
        enhanced_counter: field(raw(Id::AA64MMFR0), 60),
        profiling: has(Id::AA64DFR0, 32),
        trace_buffer: has(Id::AA64DFR0, 44),
        trace_filter: has(Id::AA64DFR0, 40),
        trace: has(Id::AA64DFR0, 4),
        branch_records: has(Id::AA64DFR0, 52),
        performance_monitors: if pmu == 0xf { 0 } else { pmu },
        double_lock: field(raw(Id::AA64DFR0), 36) == 0,
        mpam: has(Id::AA64PFR0, 40) || has(Id::AA64PFR1, 16),
        ras: has(Id::AA64PFR0, 28),
        vhe: has(Id::AA64MMFR1, 8),
        e2h_fixed: field(raw(Id::AA64MMFR4), 24) >= 8,
        nested: has(Id::AA64MMFR2, 24) || has(Id::AA64MMFR4, 20),
        limited_ordering: has(Id::AA64MMFR1, 16),
        enhanced_traps: field(raw(Id::AA64MMFR2), 56),
        context_number: csv2 >= 2 || (csv2 == 1 && field(raw(Id::AA64PFR1), 32) >= 2),
        extended_translation_control: has(Id::AA64MMFR3, 0),
        extended_system_control: has(Id::AA64MMFR3, 4),
        nmi: has(Id::AA64PFR1, 36),
        stage_2_force_write_back: has(Id::AA64MMFR2, 40),
        stage_2_execute_never: has(Id::AA64MMFR1, 28),
        vmid_16: field(raw(Id::AA64MMFR1), 4) == 2,
        physical_address_range: field(raw(Id::AA64MMFR0), 0),
        gic_system_registers: has(Id::AA64PFR0, 24),
        aarch32_el0: field(raw(Id::AA64PFR0), 0) == 2,
        privileged_access_never: has(Id::AA64MMFR1, 20),
        speculative_store_bypass: has(Id::AA64PFR1, 4),
        random_numbers: has(Id::AA64ISAR0, 60),
    }
}

#[cfg(test)]
mod tests;
