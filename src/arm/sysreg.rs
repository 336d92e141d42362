//! System registers that EL2 traps: what each is to a partition.
//!
//! [`policy`] is one table: register, answer, reason. Whatever it does not list is UNDEFINED to the partition, as a
//! register its CPU has not.

use super::id::{IdRegister, Rights};
use super::syndrome::Encoding;

macro_rules! encodings {
    ($($(#[$doc:meta])* $name:ident = $op0:literal, $op1:literal, $crn:literal, $crm:literal, $op2:literal;)*) => {
        impl Encoding {
            $($(#[$doc])* pub const $name: Self = Self::new($op0, $op1, $crn, $crm, $op2);)*
        }
    };
}

encodings! {
    /// Auxiliary control (HCR_EL2.TACR).
    ACTLR_EL1 = 3, 0, 1, 0, 1;
    /// Invalidate a data cache line by set and way (HCR_EL2.TSW).
    DC_ISW = 1, 0, 7, 6, 2;
    /// Clean a data cache line by set and way (HCR_EL2.TSW).
    DC_CSW = 1, 0, 7, 10, 2;
    /// Clean and invalidate a data cache line by set and way (HCR_EL2.TSW).
    DC_CISW = 1, 0, 7, 14, 2;
    /// Debug ROM address (MDCR_EL2.TDRA).
    MDRAR_EL1 = 2, 0, 1, 0, 0;
    /// OS lock access (MDCR_EL2.TDOSA).
    OSLAR_EL1 = 2, 0, 1, 0, 4;
    /// OS lock status (MDCR_EL2.TDOSA).
    OSLSR_EL1 = 2, 0, 1, 1, 4;
    /// OS double lock (MDCR_EL2.TDOSA).
    OSDLR_EL1 = 2, 0, 1, 3, 4;
    /// Debug power control (MDCR_EL2.TDOSA).
    DBGPRCR_EL1 = 2, 0, 1, 4, 4;
    /// Monitor debug system control (MDCR_EL2.TDA).
    MDSCR_EL1 = 2, 0, 0, 2, 2;
    /// Trace filter (MDCR_EL2.TTRF).
    TRFCR_EL1 = 3, 0, 1, 2, 1;
    /// Performance monitors control (MDCR_EL2.TPMCR, TPM).
    PMCR_EL0 = 3, 3, 9, 12, 0;
    /// Limited ordering region identification (HCR_EL2.TLOR).
    LORID_EL1 = 3, 0, 10, 4, 7;
    /// Error record identification (HCR_EL2.TERR).
    ERRIDR_EL1 = 3, 0, 5, 3, 0;
    /// Revision (HCR_EL2.TID1).
    REVIDR_EL1 = 3, 0, 0, 0, 6;
    /// Auxiliary identification (HCR_EL2.TID1).
    AIDR_EL1 = 3, 1, 0, 0, 7;
    /// Software generated interrupts, group 1 (HCR_EL2.IMO).
    ICC_SGI1R_EL1 = 3, 0, 12, 11, 5;
    /// Software generated interrupts, the other security state's group 1 (HCR_EL2.IMO).
    ICC_ASGI1R_EL1 = 3, 0, 12, 11, 6;
    /// Software generated interrupts, group 0 (HCR_EL2.FMO).
    ICC_SGI0R_EL1 = 3, 0, 12, 11, 7;
    /// Deactivate an interrupt (ICH_HCR_EL2.TDIR).
    ICC_DIR_EL1 = 3, 0, 12, 11, 1;
    /// System register enable (ICC_SRE_EL2.Enable clear).
    ICC_SRE_EL1 = 3, 0, 12, 12, 5;
}

/// Which software generated interrupts a write asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SgiGroup {
    /// ICC_SGI0R_EL1.
    Group0,
    /// ICC_SGI1R_EL1.
    Group1,
    /// ICC_ASGI1R_EL1: of the secure state, which a partition has not.
    OtherGroup1,
}

/// What a trapped access gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// The register reads as this value, and is written without effect.
    ReadAs(u64),
    /// The write has no effect.
    WriteIgnored,
    /// A read of the identification block: `id::filter`.
    IdRegister(IdRegister),
    /// Cache maintenance by set and way, which stage 2 cannot confine.
    SetWay,
    /// The virtual distributor sends a software generated interrupt.
    Sgi(SgiGroup),
    /// The virtual CPU interface deactivates an interrupt.
    Deactivate,
    /// UNDEFINED in the partition.
    Undefined,
}

/// Reads as zero, written without effect.
const ZERO: Policy = Policy::ReadAs(0);
/// OSLSR_EL1: OS lock implemented (OSLM = 0b10), unlocked.
const OSLSR_UNLOCKED: u64 = 0x8;
/// ICC_SRE_EL1: SRE, DFB and DIB are fixed to one.
const SRE_FIXED: u64 = 0x7;

/// Says what the partition gets for an access (`read`: MRS, else MSR or a system instruction) that EL2 trapped.
#[must_use]
pub const fn policy(encoding: Encoding, read: bool, rights: Rights) -> Policy {
    match encoding.op0 {
        1 => instruction(encoding),
        2 => debug(encoding, read, rights),
        3 => match encoding.crn {
            12 => interrupt(encoding, read, rights),
            _ => register(encoding, read),
        },
        _ => Policy::Undefined,
    }
}

/// System instructions, op0 = 1.
const fn instruction(encoding: Encoding) -> Policy {
    match encoding {
        // Set and way reach every partition's lines; by address a guest may do as it likes.
        Encoding::DC_ISW | Encoding::DC_CSW | Encoding::DC_CISW => Policy::SetWay,
        // Tags by set and way: MTE is hidden. CRn 11 and 15: IMPLEMENTATION DEFINED, they reach the core (TIDCP).
        _ => Policy::Undefined,
    }
}

/// Debug and trace, op0 = 2. Order matters: what EL2 keeps, then what the manifest withholds.
const fn debug(encoding: Encoding, read: bool, rights: Rights) -> Policy {
    match (encoding, encoding.op1) {
        // The ROM table is the external debugger's: none.
        (Encoding::MDRAR_EL1, _) if read => ZERO,
        // The OS lock stays open: EL2 opens it before a partition starts, systems open it again at boot.
        (Encoding::OSLAR_EL1, _) if !read => Policy::WriteIgnored,
        (Encoding::OSLSR_EL1, _) if read => Policy::ReadAs(OSLSR_UNLOCKED),
        (Encoding::MDRAR_EL1 | Encoding::OSLAR_EL1 | Encoding::OSLSR_EL1, _) => Policy::Undefined,
        // The double lock would stop debug in all of the core, the power request concerns the board.
        (Encoding::OSDLR_EL1 | Encoding::DBGPRCR_EL1, _) => ZERO,
        // Trace unit and branch records: hidden, they see EL2 (CPTR_EL2.TTA).
        (_, 1) => Policy::Undefined,
        // Breakpoints, watchpoints, MDSCR, the debug channel: only trapped where the manifest withholds them
        // (MDCR_EL2.TDA), and then there is nothing to set; DebugVer cannot say so.
        (_, 0 | 3 | 4) if !rights.self_hosted_debug => ZERO,
        _ => Policy::Undefined,
    }
}

/// The GIC's CPU interface, op0 = 3, CRn = 12; VBAR, ISR and others of that space are not trapped.
const fn interrupt(encoding: Encoding, read: bool, rights: Rights) -> Policy {
    if !rights.gic_system_registers {
        return Policy::Undefined;
    }
    match encoding {
        // The distributor is virtual; a raw write would reach other partitions' cores.
        Encoding::ICC_SGI1R_EL1 if !read => Policy::Sgi(SgiGroup::Group1),
        Encoding::ICC_SGI0R_EL1 if !read => Policy::Sgi(SgiGroup::Group0),
        Encoding::ICC_ASGI1R_EL1 if !read => Policy::Sgi(SgiGroup::OtherGroup1),
        Encoding::ICC_DIR_EL1 if !read => Policy::Deactivate,
        // There is no other interface to change to.
        Encoding::ICC_SRE_EL1 => Policy::ReadAs(SRE_FIXED),
        _ => Policy::Undefined,
    }
}

/// All other registers, op0 = 3.
const fn register(encoding: Encoding, read: bool) -> Policy {
    match encoding {
        // Its bits reach the core's workings and outlive the partition.
        Encoding::ACTLR_EL1 => ZERO,
        // Nothing in them a partition needs, and they are IMPLEMENTATION DEFINED.
        Encoding::REVIDR_EL1 | Encoding::AIDR_EL1 if read => ZERO,
        // What the CPU is, as far as the partition may use it (HCR_EL2.TID3).
        Encoding {
            op0: 3,
            op1: 0,
            crn: 0,
            crm,
            op2,
        } if read => match IdRegister::new(crm, op2) {
            Some(register) => Policy::IdRegister(register),
            None => Policy::Undefined,
        },
        // Hidden features, UNDEFINED like on a CPU without them:
        // trace filter (CRn 1, CRm 2), SVE and SME (CRn 1, CRm 2; CRn 4; CRn 13), tags (CRn 1, CRm 0; CRn 5, CRm 6),
        // error records (CRn 5, CRm 3 to 5), profiling and trace buffer (CRn 9, CRm 9 to 11), the PMU where withheld
        // (CRn 9, CRm 12 to 14; CRn 14, CRm 8 to 15), limited ordering and MPAM (CRn 10, CRm 4 and 5), activity
        // monitors (CRn 13, CRm 2 to 15), SCXTNUM (CRn 13, CRm 0), and the core's own (CRn 11 and 15, TIDCP).
        _ => Policy::Undefined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: Rights = Rights {
        gic_system_registers: true,
        performance_monitors: true,
        self_hosted_debug: true,
    };
    const NONE: Rights = Rights {
        gic_system_registers: false,
        performance_monitors: false,
        self_hosted_debug: false,
    };

    fn read(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Policy {
        policy(Encoding::new(op0, op1, crn, crm, op2), true, ALL)
    }

    fn write(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Policy {
        policy(Encoding::new(op0, op1, crn, crm, op2), false, ALL)
    }

    #[test]
    fn the_identification_block_is_read_and_never_written() {
        for crm in 1..=7 {
            for op2 in 0..=7 {
                let register = IdRegister::new(crm, op2).unwrap();
                assert_eq!(read(3, 0, 0, crm, op2), Policy::IdRegister(register));
                assert_eq!(write(3, 0, 0, crm, op2), Policy::Undefined);
            }
        }
        assert_eq!(read(3, 0, 0, 8, 0), Policy::Undefined);
        assert_eq!(read(3, 1, 0, 1, 0), Policy::Undefined);
    }

    #[test]
    fn only_set_and_way_of_the_instructions_is_carried_out() {
        for crm in [6, 10, 14] {
            assert_eq!(write(1, 0, 7, crm, 2), Policy::SetWay);
            assert_eq!(write(1, 0, 7, crm, 4), Policy::Undefined, "tags");
        }
        assert_eq!(write(1, 0, 15, 0, 0), Policy::Undefined);
    }

    #[test]
    fn the_os_lock_is_open_and_stays_open() {
        assert_eq!(read(2, 0, 1, 1, 4), Policy::ReadAs(0b1000));
        assert_eq!(write(2, 0, 1, 1, 4), Policy::Undefined);
        assert_eq!(write(2, 0, 1, 0, 4), Policy::WriteIgnored);
        assert_eq!(read(2, 0, 1, 0, 4), Policy::Undefined);
        assert_eq!(read(2, 0, 1, 3, 4), Policy::ReadAs(0));
        assert_eq!(write(2, 0, 1, 4, 4), Policy::ReadAs(0));
        assert_eq!(read(2, 0, 1, 0, 0), Policy::ReadAs(0));
    }

    #[test]
    fn withheld_debug_reads_as_zero() {
        let breakpoint = Encoding::new(2, 0, 0, 3, 5);
        assert_eq!(policy(breakpoint, false, NONE), Policy::ReadAs(0));
        assert_eq!(policy(Encoding::MDSCR_EL1, true, NONE), Policy::ReadAs(0));
        assert_eq!(
            policy(Encoding::new(2, 1, 0, 4, 0), true, NONE),
            Policy::Undefined,
            "trace"
        );
    }

    #[test]
    fn interrupts_are_sent_through_the_virtual_distributor() {
        assert_eq!(write(3, 0, 12, 11, 5), Policy::Sgi(SgiGroup::Group1));
        assert_eq!(write(3, 0, 12, 11, 6), Policy::Sgi(SgiGroup::OtherGroup1));
        assert_eq!(write(3, 0, 12, 11, 7), Policy::Sgi(SgiGroup::Group0));
        assert_eq!(read(3, 0, 12, 11, 5), Policy::Undefined);
        assert_eq!(write(3, 0, 12, 11, 1), Policy::Deactivate);
        assert_eq!(read(3, 0, 12, 12, 5), Policy::ReadAs(7));
        for encoding in [Encoding::ICC_SGI1R_EL1, Encoding::ICC_SRE_EL1] {
            assert_eq!(policy(encoding, false, NONE), Policy::Undefined, "GICv2");
        }
    }

    #[test]
    fn auxiliary_registers_read_as_zero() {
        assert_eq!(read(3, 0, 1, 0, 1), Policy::ReadAs(0));
        assert_eq!(write(3, 0, 1, 0, 1), Policy::ReadAs(0));
        assert_eq!(read(3, 1, 0, 0, 7), Policy::ReadAs(0));
        assert_eq!(write(3, 1, 0, 0, 7), Policy::Undefined);
    }

    #[test]
    fn hidden_features_are_undefined() {
        let hidden = [
            (3, 0, 1, 2, 1),  // TRFCR_EL1
            (3, 0, 1, 2, 0),  // ZCR_EL1
            (3, 0, 1, 0, 6),  // GCR_EL1
            (3, 0, 5, 3, 0),  // ERRIDR_EL1
            (3, 0, 5, 4, 2),  // ERXSTATUS_EL1
            (3, 0, 9, 10, 7), // PMBIDR_EL1
            (3, 3, 9, 12, 0), // PMCR_EL0
            (3, 3, 14, 8, 0), // PMEVCNTR0_EL0
            (3, 0, 10, 4, 7), // LORID_EL1
            (3, 0, 10, 5, 0), // MPAM1_EL1
            (3, 3, 13, 2, 0), // AMCR_EL0
            (3, 0, 13, 0, 7), // SCXTNUM_EL1
            (3, 1, 15, 2, 1), // CPUECTLR_EL1 of Cortex-A72
            (3, 1, 11, 0, 2), // L2CTLR_EL1 of Cortex-A72
            (2, 1, 0, 4, 0),  // TRCCONFIGR or its neighbour
            (3, 4, 1, 1, 0),  // HCR_EL2
        ];
        for (op0, op1, crn, crm, op2) in hidden {
            assert_eq!(read(op0, op1, crn, crm, op2), Policy::Undefined);
            assert_eq!(write(op0, op1, crn, crm, op2), Policy::Undefined);
        }
    }

    proptest! {
        #![proptest_config(crate::words::effort::cases(256))]

        /// Nothing but the listed registers does anything, whatever the encoding.
        #[test]
        fn el2_registers_are_undefined(op0 in 0_u8..4, op1 in 4_u8..8, crn in 0_u8..16, crm in 0_u8..16, op2 in 0_u8..8, read: bool) {
            prop_assert_eq!(policy(Encoding::new(op0, op1, crn, crm, op2), read, ALL), Policy::Undefined);
        }
    }
}
