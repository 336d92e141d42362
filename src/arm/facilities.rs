//! What becomes of each facility of the CPU that could observe, record, delay or outlive a partition: one table.
//!
//! [`TABLE`] says for each whether a partition has it, how EL2 sees to that, and why. The fields it names are those of
//! [`super::id`]'s table, the registers those of [`super::sysreg`], the controls those of [`super::control`]; the tests show
//! that the four agree, and `guests/tests` looks from inside (`sysreg`).

use super::control::{Hcr, Mdcr};
use super::id::IdRegister as Id;
use super::syndrome::Encoding;

/// What a partition has of a facility.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All of it: its state is the core's, which is the partition's alone, and is reset with it.
    Granted,
    /// None of it: its ID fields are zero and its registers are UNDEFINED, as on a CPU without it.
    Hidden,
    /// The facility is there for the hypervisor to answer: it stands in.
    Answered,
}

/// What EL2 sets so that it is so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// HCR_EL2 on every core.
    Hcr(Hcr),
    /// HCR_EL2 on cores that have the facility.
    HcrIfThere(Hcr),
    /// A bit of CPTR_EL2.
    Cptr(u8),
    /// MDCR_EL2 on cores that have the facility.
    MdcrIfThere(Mdcr),
    /// Its own register of EL2, written as zero or as traps (`edge::init`).
    Own(&'static str),
    /// Nothing is needed: without EL2's help there is none.
    Nothing,
}

/// A facility.
#[derive(Clone, Copy, Debug)]
pub struct Facility {
    /// Its name, as Arm's manuals have it.
    pub name: &'static str,
    /// What a partition has of it.
    pub verdict: Verdict,
    /// Where the ID registers would show it: the lowest of four bits.
    pub fields: &'static [(Id, u8)],
    /// Some of its registers, read: what EL2 answers if they come to it.
    pub registers: &'static [Encoding],
    /// How.
    pub by: &'static [By],
    /// Why.
    pub reason: &'static str,
}

use Verdict::{Answered, Granted, Hidden};

const fn register(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Encoding {
    Encoding::new(op0, op1, crn, crm, op2)
}

/// All of them.
pub const TABLE: &[Facility] = &[
    Facility {
        name: "self-hosted debug: breakpoints, watchpoints, single step",
        verdict: Granted,
        fields: &[(Id::AA64DFR0, 0), (Id::AA64DFR0, 12), (Id::AA64DFR0, 20)],
        registers: &[],
        by: &[By::Nothing],
        reason: "EL2's debug exceptions are off; the registers are reset with the partition",
    },
    Facility {
        name: "OS lock, double lock, debug power and ROM table",
        verdict: Answered,
        fields: &[],
        registers: &[
            Encoding::OSLSR_EL1,
            Encoding::OSDLR_EL1,
            Encoding::DBGPRCR_EL1,
            Encoding::MDRAR_EL1,
        ],
        by: &[By::Nothing],
        reason: "they concern the core's external debug; what comes to EL2 reads as unlocked and absent",
    },
    Facility {
        name: "PMU",
        verdict: Granted,
        fields: &[(Id::AA64DFR0, 8)],
        registers: &[],
        by: &[By::MdcrIfThere(Mdcr::HPMD), By::MdcrIfThere(Mdcr::HCCD)],
        reason: "counts the partition's own core, stands still in EL2 where the core can, is reset with the partition",
    },
    Facility {
        name: "trace unit (ETE), trace filter (TRF), trace buffer (TRBE)",
        verdict: Hidden,
        fields: &[(Id::AA64DFR0, 4), (Id::AA64DFR0, 40), (Id::AA64DFR0, 44)],
        registers: &[
            register(2, 1, 0, 4, 0),
            Encoding::TRFCR_EL1,
            register(3, 0, 9, 11, 7),
        ],
        by: &[
            By::Cptr(20),
            By::MdcrIfThere(Mdcr::TTRF),
            By::Own("TRFCR_EL2"),
        ],
        reason: "records what EL2 does, and writes memory past stage 2's owner",
    },
    Facility {
        name: "SPE",
        verdict: Hidden,
        fields: &[(Id::AA64DFR0, 32)],
        registers: &[register(3, 0, 9, 10, 7), register(3, 0, 9, 9, 7)],
        by: &[By::MdcrIfThere(Mdcr::TPMS), By::Own("PMSCR_EL2")],
        reason: "samples EL2, and its buffer outlives the partition",
    },
    Facility {
        name: "BRBE",
        verdict: Hidden,
        fields: &[(Id::AA64DFR0, 52)],
        registers: &[register(2, 1, 9, 2, 0)],
        by: &[By::Own("BRBCR_EL2")],
        reason: "records branches of EL2's making",
    },
    Facility {
        name: "AMU",
        verdict: Hidden,
        fields: &[(Id::AA64PFR0, 44)],
        registers: &[register(3, 3, 13, 2, 0)],
        by: &[By::Cptr(30)],
        reason: "counts the whole core, EL2 and former partitions included",
    },
    Facility {
        name: "LOR",
        verdict: Hidden,
        fields: &[(Id::AA64MMFR1, 16)],
        registers: &[Encoding::LORID_EL1],
        by: &[By::HcrIfThere(Hcr::TLOR)],
        reason: "regions of physical addresses",
    },
    Facility {
        name: "MPAM",
        verdict: Hidden,
        fields: &[(Id::AA64PFR0, 40), (Id::AA64PFR1, 16)],
        registers: &[register(3, 0, 10, 5, 0), register(3, 0, 10, 4, 4)],
        by: &[By::Own("MPAM2_EL2")],
        reason: "would let a partition take others' shares of a cache",
    },
    Facility {
        name: "RAS",
        verdict: Hidden,
        fields: &[(Id::AA64PFR0, 28), (Id::AA64PFR1, 12)],
        registers: &[Encoding::ERRIDR_EL1, register(3, 0, 5, 4, 2)],
        by: &[By::HcrIfThere(Hcr::TERR), By::Hcr(Hcr::AMO)],
        reason: "error records are the board's; an SError ends the partition it came in",
    },
    Facility {
        name: "pointer authentication",
        verdict: Granted,
        fields: &[
            (Id::AA64ISAR1, 4),
            (Id::AA64ISAR1, 8),
            (Id::AA64ISAR1, 24),
            (Id::AA64ISAR1, 28),
            (Id::AA64ISAR2, 8),
            (Id::AA64ISAR2, 12),
        ],
        registers: &[],
        by: &[By::HcrIfThere(Hcr::API), By::HcrIfThere(Hcr::APK)],
        reason: "a core has one partition's keys, EL2 uses none, and they are zeroed with the partition",
    },
    Facility {
        name: "SVE",
        verdict: Hidden,
        fields: &[(Id::AA64PFR0, 32)],
        registers: &[register(3, 0, 1, 2, 0)],
        by: &[By::Cptr(8)],
        reason: "nobody resets its registers",
    },
    Facility {
        name: "SME",
        verdict: Hidden,
        fields: &[(Id::AA64PFR1, 24)],
        registers: &[register(3, 0, 1, 2, 6)],
        by: &[By::Cptr(12)],
        reason: "nobody resets its registers, and cores may share its unit",
    },
    Facility {
        name: "FP and SIMD",
        verdict: Granted,
        fields: &[(Id::AA64PFR0, 16), (Id::AA64PFR0, 20)],
        registers: &[],
        by: &[By::Nothing],
        reason: "EL2 is built without them, so that they are never saved; zeroed with the partition",
    },
    Facility {
        name: "MTE",
        verdict: Hidden,
        fields: &[(Id::AA64PFR1, 8), (Id::AA64PFR1, 40)],
        registers: &[register(3, 0, 1, 0, 6)],
        by: &[By::HcrIfThere(Hcr::TID5)],
        reason: "tags would outlive the partition: nobody scrubs them",
    },
    Facility {
        name: "TME",
        verdict: Hidden,
        fields: &[(Id::AA64ISAR0, 24)],
        registers: &[],
        by: &[By::Nothing],
        reason: "a transaction would fail at every exit",
    },
    Facility {
        name: "GCS, POE, PIE, AIE, TCR2, SCTLR2, 128-bit tables",
        verdict: Hidden,
        fields: &[
            (Id::AA64PFR1, 44),
            (Id::AA64MMFR3, 0),
            (Id::AA64MMFR3, 4),
            (Id::AA64MMFR3, 8),
            (Id::AA64MMFR3, 16),
            (Id::AA64MMFR3, 24),
            (Id::AA64MMFR3, 32),
        ],
        registers: &[register(3, 0, 2, 0, 3), register(3, 0, 1, 0, 3)],
        by: &[By::Own("HCRX_EL2"), By::Own("HFGRTR_EL2")],
        reason: "registers that nobody resets",
    },
    Facility {
        name: "SCXTNUM",
        verdict: Hidden,
        fields: &[(Id::AA64PFR1, 32)],
        registers: &[register(3, 0, 13, 0, 7)],
        by: &[By::Own("SCXTNUM_EL2")],
        reason: "a number that predictors are told apart by; CSV2 is shown as 1 at most",
    },
    Facility {
        name: "EL2, nested virtualization, VHE",
        verdict: Hidden,
        fields: &[(Id::AA64PFR0, 8), (Id::AA64MMFR1, 8), (Id::AA64MMFR2, 24)],
        registers: &[register(3, 4, 1, 1, 0)],
        by: &[By::Nothing],
        reason: "ours",
    },
    Facility {
        name: "EL3, secure EL2, realms",
        verdict: Hidden,
        fields: &[(Id::AA64PFR0, 12), (Id::AA64PFR0, 36), (Id::AA64PFR0, 52)],
        registers: &[],
        by: &[By::Hcr(Hcr::TSC)],
        reason: "the firmware's: SMC is answered here, and passed on for SMCCC_ARCH_WORKAROUND_1 to 3 alone",
    },
    Facility {
        name: "cache maintenance by set and way",
        verdict: Answered,
        fields: &[],
        registers: &[],
        by: &[By::Hcr(Hcr::TSW), By::Hcr(Hcr::SWIO)],
        reason: "reaches every partition's lines: the partition's own RAM is written back instead",
    },
    Facility {
        name: "auxiliary control and IMPLEMENTATION DEFINED registers",
        verdict: Answered,
        fields: &[],
        registers: &[Encoding::ACTLR_EL1],
        by: &[By::Hcr(Hcr::TACR), By::Hcr(Hcr::TIDCP)],
        reason: "they reach the core's workings and outlive the partition",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm::control::{CPTR_GUEST, HCR_GUEST};
    use crate::arm::id::{self, Rights};
    use crate::arm::sysreg::{Policy, policy};

    const ALL: Rights = Rights {
        gic_system_registers: true,
        performance_monitors: true,
        self_hosted_debug: true,
    };

    /// What a partition with all rights sees of a CPU whose every field is `value`.
    fn shown(value: u64, (register, low): (Id, u8)) -> u64 {
        id::filter(register, 0x1111_1111_1111_1111 * value, ALL) >> low & 0xf
    }

    #[test]
    fn what_is_hidden_is_shown_by_no_field_and_what_is_granted_by_each() {
        for facility in TABLE {
            for field in facility.fields {
                let seen = [1, 2, 6].map(|value| shown(value, *field));
                match facility.verdict {
                    Hidden => assert_eq!(seen, [0; 3], "{}", facility.name),
                    Granted => assert!(seen.iter().all(|value| *value > 0), "{}", facility.name),
                    Answered => panic!("{}: it has no field", facility.name),
                }
            }
        }
    }

    #[test]
    fn registers_of_what_is_hidden_are_undefined_and_of_what_is_answered_are_not() {
        for facility in TABLE {
            for encoding in facility.registers {
                let undefined = policy(*encoding, true, ALL) == Policy::Undefined;
                let hidden = facility.verdict == Hidden;
                assert_eq!(undefined, hidden, "{}: {encoding:?}", facility.name);
                if hidden {
                    assert_eq!(policy(*encoding, false, ALL), Policy::Undefined);
                }
            }
        }
    }

    #[test]
    fn the_controls_are_set_as_the_table_says() {
        for facility in TABLE {
            assert!(!facility.by.is_empty() && !facility.reason.is_empty());
            for by in facility.by {
                match *by {
                    By::Hcr(bits) => assert!(HCR_GUEST.contains(bits), "{}", facility.name),
                    // Set where the core has it: on others the bit is reserved.
                    By::HcrIfThere(bits) => {
                        assert!(!HCR_GUEST.intersects(bits), "{}", facility.name)
                    }
                    By::Cptr(bit) => assert_ne!(CPTR_GUEST >> bit & 1, 0, "{}", facility.name),
                    By::MdcrIfThere(bits) => assert_ne!(bits.bits(), 0),
                    By::Own(name) => assert!(name.ends_with("_EL2"), "{}", facility.name),
                    By::Nothing => {}
                }
            }
        }
    }
}
