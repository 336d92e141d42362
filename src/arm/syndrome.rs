//! Syndromes: why the guest came to EL2 (ESR_EL2, HPFAR_EL2), and exceptions put into its EL1.
//!
//! Arm ARM D24.2.45 (ESR), D24.2.63 (HPFAR), D1.3.6 (exception entry). Everything here is a value; nobody is interrupted.

/// Exception class, ESR bits 31:26.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// 0x00: unknown reason.
    Unknown,
    /// 0x01: WFI, WFE, WFIT or WFET.
    Wait,
    /// 0x03, 0x04, 0x05, 0x06, 0x08, 0x0c: an AArch32 coprocessor access.
    Coprocessor,
    /// 0x07: SVE, SIMD or FP, by CPACR or CPTR.
    FloatingPoint,
    /// 0x09: pointer authentication.
    PointerAuthentication,
    /// 0x0a: LD64B and ST64B, and other instructions of FEAT_LS64.
    Load64,
    /// 0x0d: branch target.
    BranchTarget,
    /// 0x0e: illegal execution state.
    IllegalState,
    /// 0x11: SVC in AArch32.
    Svc32,
    /// 0x12: HVC in AArch32.
    Hvc32,
    /// 0x13: SMC in AArch32.
    Smc32,
    /// 0x15: SVC in AArch64.
    Svc64,
    /// 0x16: HVC in AArch64.
    Hvc64,
    /// 0x17: SMC in AArch64.
    Smc64,
    /// 0x18: MSR, MRS or system instruction in AArch64.
    SystemRegister,
    /// 0x14: 128-bit MSRR, MRRS.
    SystemRegister128,
    /// 0x19: SVE.
    Sve,
    /// 0x1a: ERET under nested virtualization or pointer authentication.
    Eret,
    /// 0x1c: a pointer authentication failed.
    PointerAuthenticationFailure,
    /// 0x1d: SME.
    Sme,
    /// 0x20: instruction abort from a lower level.
    InstructionAbortLower,
    /// 0x21: instruction abort at EL2.
    InstructionAbortSame,
    /// 0x22: PC alignment.
    PcAlignment,
    /// 0x24: data abort from a lower level.
    DataAbortLower,
    /// 0x25: data abort at EL2.
    DataAbortSame,
    /// 0x26: SP alignment.
    SpAlignment,
    /// 0x28, 0x2c: trapped FP exception, AArch32 or AArch64.
    FloatingPointException,
    /// 0x2f: SError.
    SError,
    /// 0x30: breakpoint from a lower level.
    BreakpointLower,
    /// 0x31: breakpoint at EL2.
    BreakpointSame,
    /// 0x32: software step from a lower level.
    StepLower,
    /// 0x33: software step at EL2.
    StepSame,
    /// 0x34: watchpoint from a lower level.
    WatchpointLower,
    /// 0x35: watchpoint at EL2.
    WatchpointSame,
    /// 0x38, 0x3c: BKPT or BRK.
    SoftwareBreakpoint,
    /// 0x3a: vector catch, AArch32.
    VectorCatch,
    /// Any class not listed here.
    Reserved(u8),
}

/// An ESR value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Syndrome(u64);

/// A load or store of a word by one general register, translated by stage 2 to nowhere: class, IL, ISV, SAS (word), and DFSC
/// (translation fault) less its level (Arm ARM D24.2.40).
const WORD_ACCESS: u64 = 0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 0b00_0100;
/// What such accesses may differ in: SRT below 16, SF, AR, WnR, the level.
const WORD_ACCESS_FREE: u64 = 0xf << 16 | 1 << 15 | 1 << 14 | 1 << 6 | 0b11;
/// MSR ICC_SGI1R_EL1: class, IL, op0 3, op2 5, op1 0, CRn 12, CRm 11, a write.
const SGI1R_WRITE: u64 = 0x18 << 26 | 1 << 25 | 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1;
/// What such writes may differ in: Rt below 16.
const SGI1R_WRITE_FREE: u64 = 0xf << 5;
/// ESR_EL2 above its lower half only adds to what that says.
const LOWER: u64 = 0xffff_ffff;

/// Whether `esr` is a translation fault of an aligned or unaligned load or store of a word, zero-extended, of one of X0 to
/// X15, which [`transfer_register`] names, by an instruction of 32 bits, neither cache maintenance nor a table walk.
#[must_use]
#[inline(always)]
pub const fn is_plain_word_access(esr: u64) -> bool {
    esr & LOWER & !WORD_ACCESS_FREE == WORD_ACCESS
}

/// SRT of what [`is_plain_word_access`] says yes to: below 16.
#[must_use]
#[inline(always)]
pub const fn transfer_register(esr: u64) -> usize {
    (esr >> 16 & 0xf) as usize
}

/// WnR of a data abort.
#[must_use]
#[inline(always)]
pub const fn is_write(esr: u64) -> bool {
    esr & 1 << 6 != 0
}

/// Whether `esr` is a trapped write to ICC_SGI1R_EL1, of one of X0 to X15, which [`moved_register`] names.
#[must_use]
#[inline(always)]
pub const fn is_sgi1r_write(esr: u64) -> bool {
    esr & LOWER & !SGI1R_WRITE_FREE == SGI1R_WRITE
}

/// Rt of what [`is_sgi1r_write`] says yes to: below 16.
#[must_use]
#[inline(always)]
pub const fn moved_register(esr: u64) -> usize {
    (esr >> 5 & 0xf) as usize
}

impl Syndrome {
    /// Takes ESR_EL2 as it was read.
    #[must_use]
    pub const fn new(esr: u64) -> Self {
        Self(esr)
    }

    /// The register's value.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The exception class.
    #[must_use]
    #[inline(always)]
    pub const fn class(self) -> Class {
        match self.class_number() {
            0x00 => Class::Unknown,
            0x01 => Class::Wait,
            0x03..=0x06 | 0x08 | 0x0c => Class::Coprocessor,
            0x07 => Class::FloatingPoint,
            0x09 => Class::PointerAuthentication,
            0x0a => Class::Load64,
            0x0d => Class::BranchTarget,
            0x0e => Class::IllegalState,
            0x11 => Class::Svc32,
            0x12 => Class::Hvc32,
            0x13 => Class::Smc32,
            0x14 => Class::SystemRegister128,
            0x15 => Class::Svc64,
            0x16 => Class::Hvc64,
            0x17 => Class::Smc64,
            0x18 => Class::SystemRegister,
            0x19 => Class::Sve,
            0x1a => Class::Eret,
            0x1c => Class::PointerAuthenticationFailure,
            0x1d => Class::Sme,
            0x20 => Class::InstructionAbortLower,
            0x21 => Class::InstructionAbortSame,
            0x22 => Class::PcAlignment,
            0x24 => Class::DataAbortLower,
            0x25 => Class::DataAbortSame,
            0x26 => Class::SpAlignment,
            0x28 | 0x2c => Class::FloatingPointException,
            0x2f => Class::SError,
            0x30 => Class::BreakpointLower,
            0x31 => Class::BreakpointSame,
            0x32 => Class::StepLower,
            0x33 => Class::StepSame,
            0x34 => Class::WatchpointLower,
            0x35 => Class::WatchpointSame,
            0x38 | 0x3c => Class::SoftwareBreakpoint,
            0x3a => Class::VectorCatch,
            other => Class::Reserved(other),
        }
    }

    /// EC as the number it is, for the log.
    #[must_use]
    #[inline(always)]
    pub const fn class_number(self) -> u8 {
        (self.bits(31, 26) & 0x3f) as u8
    }

    /// IL: bytes of the instruction, 2 or 4; what to add to the PC to go past it.
    #[must_use]
    pub const fn instruction_length(self) -> u64 {
        if self.bit(25) { 4 } else { 2 }
    }

    /// The immediate of HVC, SMC or SVC in AArch64 (ISS bits 15:0).
    #[must_use]
    pub const fn immediate(self) -> u16 {
        (self.bits(15, 0) & 0xffff) as u16
    }

    /// Which instruction waits (TI, ISS bits 1:0), for [`Class::Wait`].
    #[must_use]
    pub const fn wait(self) -> Wait {
        match self.bits(1, 0) {
            0 => Wait::Interrupt,
            1 => Wait::Event,
            2 => Wait::InterruptOrTime,
            _ => Wait::EventOrTime,
        }
    }

    /// What is known of a data abort from a lower level.
    #[must_use]
    #[inline(always)]
    pub const fn data_abort(self) -> DataAbort {
        let access = if self.bit(24) {
            Some(Transfer {
                bytes: 1 << self.bits(23, 22),
                sign_extend: self.bit(21),
                register: (self.bits(20, 16) & 0x1f) as u8,
                wide: self.bit(15),
                ordered: self.bit(14),
            })
        } else {
            None
        };
        DataAbort {
            transfer: access,
            write: self.bit(6),
            cache_maintenance: self.bit(8),
            fault: self.fault(),
        }
    }

    /// What is known of an instruction abort from a lower level.
    #[must_use]
    pub const fn instruction_abort(self) -> Fault {
        self.fault()
    }

    #[inline(always)]
    const fn fault(self) -> Fault {
        let status = (self.bits(5, 0) & 0x3f) as u8;
        let kind = match status {
            0x00..=0x03 | 0x29 | 0x2c => FaultKind::AddressSize,
            0x04..=0x07 | 0x2a | 0x2b => FaultKind::Translation,
            0x08..=0x0b => FaultKind::AccessFlag,
            0x0c..=0x0f => FaultKind::Permission,
            0x10 | 0x12..=0x17 => FaultKind::External,
            0x11 => FaultKind::TagCheck,
            0x18 | 0x1b..=0x1f => FaultKind::Parity,
            0x21 => FaultKind::Alignment,
            0x30 => FaultKind::TlbConflict,
            _ => FaultKind::Other,
        };
        Fault {
            status,
            kind,
            table_walk: self.bit(7),
            far_valid: !self.bit(10),
        }
    }

    /// What system register access was trapped (D24.2.45, EC 0x18).
    #[must_use]
    pub const fn system_register(self) -> SystemAccess {
        SystemAccess {
            encoding: Encoding {
                op0: (self.bits(21, 20) & 3) as u8,
                op1: (self.bits(16, 14) & 7) as u8,
                crn: (self.bits(13, 10) & 15) as u8,
                crm: (self.bits(4, 1) & 15) as u8,
                op2: (self.bits(19, 17) & 7) as u8,
            },
            register: (self.bits(9, 5) & 0x1f) as u8,
            read: self.bit(0),
        }
    }

    const fn bits(self, high: u32, low: u32) -> u64 {
        (self.0 >> low) & ((1 << (high - low + 1)) - 1)
    }

    const fn bit(self, position: u32) -> bool {
        self.bits(position, position) == 1
    }
}

/// The waiting instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// WFI.
    Interrupt,
    /// WFE.
    Event,
    /// WFIT.
    InterruptOrTime,
    /// WFET.
    EventOrTime,
}

/// A data abort from a lower level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataAbort {
    /// What was transferred, if ISV says that the syndrome knows; otherwise the instruction has to be decoded.
    pub transfer: Option<Transfer>,
    /// WnR: a write. Also set for cache maintenance and AT.
    pub write: bool,
    /// CM: a cache maintenance or address translation instruction, not a load or store.
    pub cache_maintenance: bool,
    /// What went wrong.
    pub fault: Fault,
}

/// The transfer of a data abort with a valid syndrome (ISV).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// SAS: 1, 2, 4 or 8.
    pub bytes: u8,
    /// SSE: a load sign-extends.
    pub sign_extend: bool,
    /// SRT: the register; 31 is zero.
    pub register: u8,
    /// SF: the register is 64 bits wide.
    pub wide: bool,
    /// AR: acquire or release.
    pub ordered: bool,
}

impl Transfer {
    /// Gives the 64-bit register value for the bytes a load read, which stand in the low end of `raw`.
    #[must_use]
    pub const fn loaded(&self, raw: u64) -> u64 {
        let unused = 64 - 8 * (self.bytes as u32);
        let value = if self.sign_extend {
            ((raw << unused).cast_signed() >> unused).cast_unsigned()
        } else {
            (raw << unused) >> unused
        };
        if self.wide {
            value
        } else {
            value & 0xffff_ffff
        }
    }

    /// Gives the bytes a store writes of the 64-bit register value `value`, in the low end.
    #[must_use]
    pub const fn stored(&self, value: u64) -> u64 {
        let unused = 64 - 8 * (self.bytes as u32);
        (value << unused) >> unused
    }
}

/// What went wrong in an abort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// DFSC or IFSC, as it is.
    pub status: u8,
    /// Its kind.
    pub kind: FaultKind,
    /// S1PTW: in a stage-2 access for a stage-1 table walk; the instruction's own access is not known.
    pub table_walk: bool,
    /// FnV clear: FAR_EL2 holds the address. (Always valid for stage-2 faults.)
    pub far_valid: bool,
}

/// The kinds of fault status codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// An address beyond the output size.
    AddressSize,
    /// No translation.
    Translation,
    /// Access flag clear.
    AccessFlag,
    /// No permission.
    Permission,
    /// Synchronous external abort, also on a table walk.
    External,
    /// A tag check failed.
    TagCheck,
    /// Parity or ECC error, also on a table walk.
    Parity,
    /// Misaligned.
    Alignment,
    /// Two TLB entries for one address.
    TlbConflict,
    /// Any other code: exclusive or atomic not supported there, lockdown, granule protection.
    Other,
}

impl Fault {
    /// Whether HPFAR_EL2 holds the intermediate physical address (D24.2.63): translation, access flag and address size
    /// faults, and permission faults of a table walk. For other permission faults the address must be translated anew.
    #[must_use]
    pub const fn gives_ipa(self) -> bool {
        match self.kind {
            FaultKind::Translation | FaultKind::AccessFlag | FaultKind::AddressSize => true,
            FaultKind::Permission => self.table_walk,
            _ => false,
        }
    }

    /// The level of the table the fault was found in, for the kinds that have one.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.status & 0x3
    }
}

/// A trapped system register access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SystemAccess {
    /// Which register or instruction.
    pub encoding: Encoding,
    /// Rt; 31 is zero.
    pub register: u8,
    /// MRS (else MSR).
    pub read: bool,
}

/// The encoding of a system register or instruction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Encoding {
    /// op0, 0 to 3.
    pub op0: u8,
    /// op1, 0 to 7.
    pub op1: u8,
    /// CRn, 0 to 15.
    pub crn: u8,
    /// CRm, 0 to 15.
    pub crm: u8,
    /// op2, 0 to 7.
    pub op2: u8,
}

impl Encoding {
    /// Names an encoding.
    #[must_use]
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Self {
        Self {
            op0,
            op1,
            crn,
            crm,
            op2,
        }
    }
}

/// HPFAR_EL2.FIPA, bits 47:4, holds bits 55:12 of the address.
const HPFAR_FIPA_LOW: u32 = 4;
const HPFAR_FIPA: u64 = 0x0000_ffff_ffff_fff0;
const PAGE_SHIFT: u32 = 12;
const PAGE_OFFSET: u64 = 0xfff;

/// Gives the intermediate physical address of a stage-2 fault from HPFAR_EL2 and, for the bits below the page, FAR_EL2.
#[must_use]
pub const fn fault_ipa(hpfar: u64, far: u64) -> u64 {
    ((hpfar & HPFAR_FIPA) >> HPFAR_FIPA_LOW << PAGE_SHIFT) | (far & PAGE_OFFSET)
}

/// PSTATE as SPSR holds it (D24.2.154, C5.2.20).
pub mod pstate {
    /// Mode bits, 3:0: exception level and stack pointer.
    pub const MODE: u64 = 0xf;
    /// M[4]: AArch32.
    pub const AARCH32: u64 = 1 << 4;
    /// Exception level 0 on its stack pointer.
    pub const EL0T: u64 = 0b0000;
    /// Exception level 1 on SP_EL0.
    pub const EL1T: u64 = 0b0100;
    /// Exception level 1 on SP_EL1.
    pub const EL1H: u64 = 0b0101;
    /// D, A, I and F masked.
    pub const DAIF: u64 = 0xf << 6;
    /// Speculative store bypass safe.
    pub const SSBS: u64 = 1 << 12;
    /// Illegal execution state.
    pub const IL: u64 = 1 << 20;
    /// Software step.
    pub const SS: u64 = 1 << 21;
    /// Privileged access never.
    pub const PAN: u64 = 1 << 22;
    /// User access override.
    pub const UAO: u64 = 1 << 23;
    /// Data-independent timing.
    pub const DIT: u64 = 1 << 24;
    /// Tag check override.
    pub const TCO: u64 = 1 << 25;
    /// Condition flags.
    pub const NZCV: u64 = 0xf << 28;
}

/// SCTLR_EL1 bits that shape an exception entry (D24.2.138).
const SCTLR_SPAN: u64 = 1 << 23;
const SCTLR_DSSBS: u64 = 1 << 44;

/// Where in a vector table an exception goes (D1.3.6, table D1-7).
const VECTOR_CURRENT_SP0: u64 = 0x000;
const VECTOR_CURRENT_SPX: u64 = 0x200;
const VECTOR_LOWER_64: u64 = 0x400;
const VECTOR_LOWER_32: u64 = 0x600;
/// VBAR_EL1 bits 10:0 are reserved.
const VBAR_RESERVED: u64 = 0x7ff;

/// Kinds of exceptions, by their offset within a group of vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Synchronous.
    Synchronous,
    /// SError.
    SError,
}

impl Kind {
    const fn offset(self) -> u64 {
        match self {
            Self::Synchronous => 0x000,
            Self::SError => 0x180,
        }
    }
}

/// PSTATE bits a CPU has; the others stay zero (from its unfiltered ID registers).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PstateFeatures {
    /// FEAT_PAN.
    pub privileged_access_never: bool,
    /// FEAT_SSBS.
    pub speculative_store_bypass: bool,
    /// FEAT_MTE: TCO exists.
    pub memory_tagging: bool,
}

/// Where the guest goes on when EL1 takes an exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The vector: ELR_EL2.
    pub pc: u64,
    /// PSTATE there: SPSR_EL2. (What goes to SPSR_EL1 is the PSTATE before, unchanged; to ELR_EL1 the PC before.)
    pub pstate: u64,
}

/// Takes an exception to EL1 in AArch64 from `pstate` (SPSR_EL2), as the CPU would (AArch64.TakeException).
#[must_use]
pub const fn enter_el1(
    pstate: u64,
    sctlr_el1: u64,
    vbar_el1: u64,
    kind: Kind,
    features: PstateFeatures,
) -> Entry {
    let group = if pstate & pstate::AARCH32 != 0 {
        VECTOR_LOWER_32
    } else {
        match pstate & pstate::MODE {
            pstate::EL1T => VECTOR_CURRENT_SP0,
            pstate::EL1H => VECTOR_CURRENT_SPX,
            _ => VECTOR_LOWER_64,
        }
    };
    // NZCV, DIT and PAN survive (they have the same places for AArch32); IL, SS, UAO, BTYPE and the rest do not.
    let mut entered = pstate::EL1H | pstate::DAIF | (pstate & (pstate::NZCV | pstate::DIT));
    if features.privileged_access_never {
        let set = sctlr_el1 & SCTLR_SPAN == 0 || pstate & pstate::PAN != 0;
        entered |= if set { pstate::PAN } else { 0 };
    }
    if features.speculative_store_bypass && sctlr_el1 & SCTLR_DSSBS != 0 {
        entered |= pstate::SSBS;
    }
    if features.memory_tagging {
        entered |= pstate::TCO;
    }
    Entry {
        pc: (vbar_el1 & !VBAR_RESERVED) + group + kind.offset(),
        pstate: entered,
    }
}

/// ESR_EL1 values for exceptions put into the guest.
pub mod injected {
    use super::pstate;

    const EC_LOW: u32 = 26;
    /// IL: a 32-bit instruction, and always set for these aborts.
    const IL: u64 = 1 << 25;
    const EC_UNKNOWN: u64 = 0x00;
    const EC_INSTRUCTION_ABORT_LOWER: u64 = 0x20;
    const EC_INSTRUCTION_ABORT_SAME: u64 = 0x21;
    const EC_DATA_ABORT_LOWER: u64 = 0x24;
    const EC_DATA_ABORT_SAME: u64 = 0x25;
    /// DFSC and IFSC: synchronous external abort, not on a table walk.
    const STATUS_EXTERNAL: u64 = 0x10;
    /// DFSC: synchronous external abort on a table walk, level 0; add the level.
    const STATUS_EXTERNAL_WALK: u64 = 0x14;
    const WRITE: u64 = 1 << 6;
    /// FnV: FAR_EL1 does not hold the address.
    const FAR_NOT_VALID: u64 = 1 << 10;

    /// UNDEFINED: unknown reason. FAR_EL1 is not written.
    #[must_use]
    pub const fn undefined() -> u64 {
        (EC_UNKNOWN << EC_LOW) | IL
    }

    /// A synchronous external abort of a load or store, taken from `pstate`. FAR_EL1 gets the address.
    #[must_use]
    pub const fn data_abort(pstate: u64, write: bool) -> u64 {
        let class = if from_el0(pstate) {
            EC_DATA_ABORT_LOWER
        } else {
            EC_DATA_ABORT_SAME
        };
        let write = if write { WRITE } else { 0 };
        (class << EC_LOW) | IL | write | STATUS_EXTERNAL
    }

    /// A synchronous external abort of an instruction fetch, taken from `pstate`. FAR_EL1 gets the address.
    #[must_use]
    pub const fn instruction_abort(pstate: u64) -> u64 {
        let class = if from_el0(pstate) {
            EC_INSTRUCTION_ABORT_LOWER
        } else {
            EC_INSTRUCTION_ABORT_SAME
        };
        (class << EC_LOW) | IL | STATUS_EXTERNAL
    }

    /// Makes of an abort one on a stage-1 table walk at `level`, 0 to 3: its tables lie where there is nothing.
    #[must_use]
    pub const fn on_table_walk(abort: u64, level: u8) -> u64 {
        (abort & !0x3f) | STATUS_EXTERNAL_WALK | (level & 3) as u64
    }

    /// Makes of an external abort, not one on a table walk, one whose address nobody knows (FnV).
    #[must_use]
    pub const fn without_address(abort: u64) -> u64 {
        abort | FAR_NOT_VALID
    }

    const fn from_el0(pstate: u64) -> bool {
        pstate & pstate::AARCH32 != 0 || pstate & pstate::MODE == pstate::EL0T
    }
}

#[cfg(test)]
mod tests;
