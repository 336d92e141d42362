//! The table of features: one line a field, the rule and the reason.
//!
//! Fields not listed are hidden as well; those listed as hidden are the ones a reader will look for.

use super::IdRegister as Id;
use Rule::{AtMost, Granted, Hidden, InterruptController, Performance};

/// What becomes of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// As the CPU has it.
    Granted,
    /// Zero: absent.
    Hidden,
    /// As the CPU has it, up to this version.
    AtMost(u8),
    /// 1 if the partition's GIC has system registers, else 0.
    InterruptController,
    /// The PMU's version up to this one if the partition may use it, else 0.
    Performance(u8),
}

/// A register's fields: the lowest of four bits, and the rule.
type Fields = &'static [(u8, Rule)];

/// All eight fields of an AArch32 register whose instructions and memory model EL2 has no part in.
const ALL_GRANTED: Fields = &[
    (0, Granted),
    (4, Granted),
    (8, Granted),
    (12, Granted),
    (16, Granted),
    (20, Granted),
    (24, Granted),
    (28, Granted),
];

/// The rules.
pub const TABLE: &[(Id, Fields)] = &[
    (
        Id::AA64PFR0,
        &[
            (0, Granted),              // EL0: AArch32 programs run as on the bare CPU
            (4, AtMost(1)),            // EL1: HCR_EL2.RW makes it AArch64 only
            (8, Hidden),               // EL2: ours
            (12, Hidden),              // EL3: the firmware's; SMC is answered by us
            (16, Granted),             // FP: 0xf says absent
            (20, Granted),             // AdvSIMD: 0xf says absent
            (24, InterruptController), // GIC
            (28, Hidden),  // RAS: error records are the board's; HCR_EL2.TERR traps them
            (32, Hidden),  // SVE: its registers are not switched; CPTR_EL2.TZ traps
            (36, Hidden),  // SEL2: secure EL2 is none of ours
            (40, Hidden),  // MPAM: would let a partition take others' cache shares
            (44, Hidden),  // AMU: counts the whole core; CPTR_EL2.TAM traps
            (48, Granted), // DIT: a PSTATE bit
            (52, Hidden),  // RME: realms are none of ours
            (56, AtMost(1)), // CSV2: from 2 on SCXTNUM_EL1, which is not switched
            (60, Granted), // CSV3: a statement about speculation
        ],
    ),
    (
        Id::AA64PFR1,
        &[
            (0, Granted), // BT: a page table and PSTATE bit
            (4, Granted), // SSBS: a PSTATE bit
            (8, Hidden),  // MTE: tags need HCR_EL2.ATA, tag memory and a scrub of it
            (12, Hidden), // RAS_frac: see RAS
            (16, Hidden), // MPAM_frac: see MPAM
            (24, Hidden), // SME: its registers are not switched
            (28, Hidden), // RNDR_trap: EL3's
            (32, Hidden), // CSV2_frac: 2 has SCXTNUM_EL1, see CSV2
            (36, Hidden), // NMI: the virtual GIC has none
            (40, Hidden), // MTE_frac: see MTE
            (44, Hidden), // GCS: registers behind HCRX_EL2 and FGT
            (48, Hidden), // THE: registers behind HCRX_EL2
            (52, Hidden), // MTEX: see MTE
            (56, Hidden), // DF2: exception routing behind HCRX_EL2
            (60, Hidden), // PFAR: see RAS
        ],
    ),
    (Id::AA64ZFR0, &[]),  // see SVE
    (Id::AA64SMFR0, &[]), // see SME
    (
        Id::AA64DFR0,
        &[
            (0, AtMost(10)),     // DebugVer: 8.9's banks of breakpoints need MDCR_EL2.EBWE
            (4, Hidden),         // TraceVer: the trace unit sees EL2 too; CPTR_EL2.TTA traps
            (8, Performance(6)), // PMUVer: later ones have registers we do not reset
            (12, Granted),       // BRPs: self-hosted debug is the partition's
            (16, Hidden),        // PMSS: snapshots are for an external agent
            (20, Granted),       // WRPs: as BRPs
            (24, Hidden),        // SEBEP: PMU exceptions need MDCR_EL2
            (28, Granted),       // CTX_CMPs: as BRPs
            (32, Hidden),        // PMSVer: SPE writes memory past stage 2's owner; MDCR_EL2.E2PB
            (36, Granted),       // DoubleLock: 0xf says absent; OSDLR_EL1 is answered by us
            (40, Hidden),        // TraceFilt: see TraceVer
            (44, Hidden),        // TraceBuffer: see TraceVer
            (48, Hidden),        // MTPMU: EL2's to enable
            (52, Hidden),        // BRBE: records branches of EL2's making
            (56, Hidden),        // ExtTrcBuff: see TraceVer
            (60, Hidden),        // HPMN0: EL2's
        ],
    ),
    (
        Id::AA64ISAR0,
        &[
            (4, Granted),  // AES: instructions
            (8, Granted),  // SHA1: instructions
            (12, Granted), // SHA2: instructions
            (16, Granted), // CRC32: instructions
            (20, Granted), // Atomic: instructions
            (24, Hidden),  // TME: a transaction would fail at every exit
            (28, Granted), // RDM: instructions
            (32, Granted), // SHA3: instructions
            (36, Granted), // SM3: instructions
            (40, Granted), // SM4: instructions
            (44, Granted), // DP: instructions
            (48, Granted), // FHM: instructions
            (52, Granted), // TS: instructions
            (56, Granted), // TLB: range and outer shareable TLBI, by VMID like all
            (60, Granted), // RNDR: the CPU's own randomness
        ],
    ),
    (
        Id::AA64ISAR1,
        &[
            (0, Granted),  // DPB: cache maintenance by address
            (4, Granted),  // APA: HCR_EL2.API and APK are set, a core has one partition's keys
            (8, Granted),  // API: as APA
            (12, Granted), // JSCVT: instructions
            (16, Granted), // FCMA: instructions
            (20, Granted), // LRCPC: instructions
            (24, Granted), // GPA: as APA
            (28, Granted), // GPI: as APA
            (32, Granted), // FRINTTS: instructions
            (36, Granted), // SB: a barrier
            (40, Granted), // SPECRES: restricts its own context's predictions
            (44, Granted), // BF16: instructions
            (48, Granted), // DGH: a hint
            (52, Granted), // I8MM: instructions
            (56, Granted), // XS: a memory attribute and TLBI variants
            (60, Hidden),  // LS64: needs HCRX_EL2, and a device behind it
        ],
    ),
    (
        Id::AA64ISAR2,
        &[
            (0, Hidden),   // WFxT: a trapped WFIT would need a timer of its own
            (4, Granted),  // RPRES: an FPCR mode
            (8, Granted),  // GPA3: as APA
            (12, Granted), // APA3: as APA
            (16, Hidden),  // MOPS: needs HCRX_EL2.MSCEn
            (20, Granted), // BC: instructions
            (24, Granted), // PAC_frac: as APA
            (28, Granted), // CLRBHB: a hint
            (32, Hidden),  // SYSREG_128: 128-bit registers behind HCRX_EL2
            (36, Hidden),  // SYSINSTR_128: as SYSREG_128
            (40, Granted), // PRFMSLC: a prefetch
            (48, Granted), // RPRFM: a prefetch
            (52, Granted), // CSSC: instructions
            (56, Granted), // LUT: instructions
        ],
    ),
    (
        Id::AA64ISAR3,
        &[
            (0, Hidden),   // CPA: controlled by SCTLR2_EL1
            (4, Granted),  // FAMINMAX: instructions
            (12, Hidden),  // PACM: controlled by SCTLR2_EL1
            (16, Granted), // LSFE: instructions
            (28, Granted), // FPRCVT: instructions
        ],
    ),
    (
        Id::AA64MMFR0,
        &[
            (0, AtMost(5)), // PARange: stage 2 translates 48 bits
            (4, Granted),   // ASIDBits: stage 1 is the partition's
            (8, Granted),   // BigEnd: SCTLR_EL1 is the partition's
            (12, Granted),  // SNSMem: a statement
            (16, Granted),  // BigEndEL0: as BigEnd
            (20, Granted),  // TGran16: as ASIDBits
            (24, Granted),  // TGran64: as ASIDBits; 0xf says absent
            (28, Granted),  // TGran4: as ASIDBits; 0xf says absent
            (32, Hidden),   // TGran16_2: stage 2 is ours
            (36, Hidden),   // TGran64_2: as TGran16_2
            (40, Hidden),   // TGran4_2: as TGran16_2
            (44, Granted),  // ExS: SCTLR_EL1 bits
            (56, Hidden),   // FGT: EL2's
            (60, Hidden),   // ECV: offsets and traps are EL2's
        ],
    ),
    (
        Id::AA64MMFR1,
        &[
            (0, AtMost(2)), // HAFDBS: from 3 on controlled by TCR2_EL1 or EL2
            (4, Hidden),    // VMIDBits: EL2's
            (8, Hidden),    // VH: EL2's
            (12, Granted),  // HPDS: TCR_EL1 bits
            (16, Hidden),   // LO: regions of physical addresses; HCR_EL2.TLOR traps
            (20, Granted),  // PAN: a PSTATE bit
            (24, Hidden),   // SpecSEI: see RAS
            (28, Hidden),   // XNX: stage 2's
            (32, Hidden),   // TWED: EL2's
            (36, Granted),  // ETS: a statement about ordering
            (40, Hidden),   // HCX: EL2's
            (44, Granted),  // AFP: an FPCR mode
            (48, Granted),  // nTLBPA: a statement about caching
            (52, Granted),  // TIDCP1: an SCTLR_EL1 bit
            (56, Granted),  // CMOW: an SCTLR_EL1 bit
            (60, Granted),  // ECBHB: a statement about speculation
        ],
    ),
    (
        Id::AA64MMFR2,
        &[
            (0, Granted),    // CnP: a TTBR bit; the VMID keeps partitions apart
            (4, Granted),    // UAO: a PSTATE bit
            (8, Granted),    // LSM: SCTLR_EL1 bits
            (12, Hidden),    // IESB: see RAS
            (16, AtMost(1)), // VARange: 2 is 128-bit tables'
            (20, Granted),   // CCIDX: the format of CCSIDR_EL1
            (24, Hidden),    // NV: EL2's
            (28, Granted),   // ST: TCR_EL1 values
            (32, Granted),   // AT: a statement about atomicity
            (36, AtMost(1)), // IDS: how EL0's reads of this block are reported
            (40, Hidden),    // FWB: stage 2's
            (48, Granted),   // TTL: a hint in TLBI
            (52, Granted),   // BBM: a statement about stage 1
            (56, Hidden),    // EVT: EL2's
            (60, Granted),   // E0PD: TCR_EL1 bits
        ],
    ),
    (
        Id::AA64MMFR3,
        &[
            (0, Hidden),   // TCRX: TCR2_EL1 is behind HCRX_EL2
            (4, Hidden),   // SCTLRX: SCTLR2_EL1 is behind HCRX_EL2
            (8, Hidden),   // S1PIE: registers behind FGT
            (12, Hidden),  // S2PIE: stage 2's
            (16, Hidden),  // S1POE: registers behind FGT
            (20, Hidden),  // S2POE: stage 2's
            (24, Hidden),  // AIE: registers behind FGT
            (28, Hidden),  // MEC: EL2's
            (32, Hidden),  // D128: behind HCRX_EL2
            (36, Hidden),  // D128_2: stage 2's
            (60, Granted), // Spec_FPACC: a statement about speculation
        ],
    ),
    (Id::AA64MMFR4, &[]), // EL2's, all of it
    (
        Id::PFR0,
        &[
            (0, Granted),    // State0: A32
            (4, Granted),    // State1: T32
            (8, Granted),    // State2: Jazelle
            (12, Granted),   // State3: T32EE
            (16, AtMost(1)), // CSV2: as AA64PFR0
            (20, Hidden),    // AMU: as AA64PFR0
            (24, Granted),   // DIT: as AA64PFR0
            (28, Hidden),    // RAS: as AA64PFR0
        ],
    ),
    (
        Id::PFR1,
        &[
            (0, Granted),              // ProgMod: a statement
            (4, Granted),              // Security: a statement
            (8, Granted),              // MProgMod: a statement
            (12, Hidden),              // Virtualization: ours
            (16, Granted),             // GenTimer: the partition has its timers
            (20, Granted),             // Sec_frac: a statement
            (24, Hidden),              // Virt_frac: ours
            (28, InterruptController), // GIC
        ],
    ),
    (
        Id::DFR0,
        &[
            (0, AtMost(10)),      // CopDbg: as AA64DFR0.DebugVer
            (4, Granted),         // CopSDbg: a statement
            (8, Granted),         // MMapDbg: a statement
            (12, Hidden),         // CopTrc: as AA64DFR0.TraceVer
            (16, Hidden),         // MMapTrc: as AA64DFR0.TraceVer
            (20, Granted),        // MProfDbg: a statement
            (24, Performance(6)), // PerfMon: as AA64DFR0.PMUVer
            (28, Hidden),         // TraceFilt: as AA64DFR0
        ],
    ),
    (Id::MMFR0, ALL_GRANTED), // stage 1 is the partition's
    (Id::MMFR1, ALL_GRANTED), // as MMFR0
    (Id::MMFR2, ALL_GRANTED), // as MMFR0
    (Id::MMFR3, ALL_GRANTED), // as MMFR0
    (
        Id::MMFR4,
        &[
            (0, Hidden),   // SpecSEI: see RAS
            (4, Granted),  // AC2: a statement
            (8, Hidden),   // XNX: stage 2's
            (12, Granted), // CnP: as AA64MMFR2
            (16, Granted), // HPDS: as AA64MMFR1
            (20, Granted), // LSM: as AA64MMFR2
            (24, Granted), // CCIDX: as AA64MMFR2
            (28, Hidden),  // EVT: EL2's
        ],
    ),
    (
        Id::MMFR5,
        &[
            (0, Granted), // ETS: as AA64MMFR1
            (4, Granted), // nTLBPA: as AA64MMFR1
        ],
    ),
    (Id::ISAR0, ALL_GRANTED), // instructions
    (Id::ISAR1, ALL_GRANTED), // instructions
    (Id::ISAR2, ALL_GRANTED), // instructions
    (Id::ISAR3, ALL_GRANTED), // instructions
    (Id::ISAR4, ALL_GRANTED), // instructions
    (Id::ISAR5, ALL_GRANTED), // instructions
    (Id::ISAR6, ALL_GRANTED), // instructions
    (Id::MVFR0, ALL_GRANTED), // FP and SIMD are the partition's
    (Id::MVFR1, ALL_GRANTED), // as MVFR0
    (
        Id::MVFR2,
        &[
            (0, Granted), // SIMDMisc: as MVFR0
            (4, Granted), // FPMisc: as MVFR0
        ],
    ),
    (
        Id::PFR2,
        &[
            (0, Granted), // CSV3: as AA64PFR0
            (4, Granted), // SSBS: as AA64PFR1
            (8, Hidden),  // RAS_frac: see RAS
        ],
    ),
];
