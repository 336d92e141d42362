//! Exceptions: what ESR_EL2 says of an exit, and how an exception enters EL1 (Arm ARM D1.3, D24.2.45).

/// ESR_ELx.EC values (D24.2.45).
mod class {
    pub const WFX: u64 = 0x01;
    pub const HVC64: u64 = 0x16;
    pub const SMC64: u64 = 0x17;
    pub const SMC32: u64 = 0x13;
    pub const SYSTEM_REGISTER: u64 = 0x18;
    pub const INSTRUCTION_ABORT_LOWER: u64 = 0x20;
    pub const INSTRUCTION_ABORT_SAME: u64 = 0x21;
    pub const DATA_ABORT_LOWER: u64 = 0x24;
    pub const DATA_ABORT_SAME: u64 = 0x25;
}

/// ESR_ELx.EC.
const EC_SHIFT: u32 = 26;
/// ESR_ELx.IL: a 32-bit instruction.
const IL: u64 = 1 << 25;
/// ISS of aborts: ISV, SAS, SSE, SRT, SF, FnV, CM, S1PTW, WnR.
const ISS_ISV: u64 = 1 << 24;
const ISS_SAS_SHIFT: u32 = 22;
const ISS_SSE: u64 = 1 << 21;
const ISS_SRT_SHIFT: u32 = 16;
const ISS_SF: u64 = 1 << 15;
const ISS_FNV: u64 = 1 << 10;
const ISS_CM: u64 = 1 << 8;
const ISS_S1PTW: u64 = 1 << 7;
const ISS_WNR: u64 = 1 << 6;
/// Fault status: bits 5:2 of a translation fault (levels in 1:0), and a synchronous external abort.
const FSC_MASK: u64 = 0x3f;
const FSC_EXTERNAL: u64 = 0x10;
/// FSC classes: address size, translation, access flag, permission.
const FSC_CLASS_MASK: u64 = 0x3c;
const FSC_ADDRESS_SIZE: u64 = 0x00;
const FSC_TRANSLATION: u64 = 0x04;
const FSC_ACCESS_FLAG: u64 = 0x08;
const FSC_PERMISSION: u64 = 0x0c;

/// A load or store as the syndrome describes it (ISV = 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// Bytes: 1, 2, 4 or 8.
    pub bytes: u8,
    /// The general register; 31 is the zero register.
    pub register: u8,
    /// Whether a loaded value is sign-extended.
    pub sign_extend: bool,
    /// Whether the register is 64 bits wide.
    pub wide: bool,
}

impl Transfer {
    /// What the register holds after `raw` was loaded.
    #[must_use]
    pub fn extend(&self, raw: u64) -> u64 {
        let unused = 64 - 8 * u32::from(self.bytes);
        let value = raw << unused;
        let value = if self.sign_extend { (value.cast_signed() >> unused).cast_unsigned() } else { value >> unused };
        if self.wide { value } else { value & u64::from(u32::MAX) }
    }
}

/// An abort of a lower exception level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abort {
    /// What was transferred, where the syndrome says so.
    pub transfer: Option<Transfer>,
    /// Whether it was a write (never for an instruction fetch).
    pub write: bool,
    /// Whether a cache maintenance instruction faulted.
    pub cache_maintenance: bool,
    /// Whether the stage-1 table walk faulted.
    pub table_walk: bool,
    /// Whether FAR_EL2 is valid.
    pub far_valid: bool,
    /// What kind of fault.
    pub fault: Fault,
}

/// Kinds of stage-2 faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing is mapped (or the address is too large for the tables).
    Translation,
    /// Mapped, but not for this access.
    Permission,
    /// Anything else: external aborts, parity, TLB conflicts.
    Other,
}

/// Why a guest exited synchronously.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Syndrome {
    /// WFI or WFE that traps.
    WaitFor,
    /// HVC with this immediate.
    Hvc(u16),
    /// SMC with this immediate, from AArch64.
    Smc(u16),
    /// SMC from AArch32.
    SmcAarch32,
    /// A system register or instruction that traps: the ISS.
    SystemRegister(u32),
    /// An instruction fetch that stage 2 refused.
    InstructionAbort(Abort),
    /// A load or store that stage 2 refused.
    DataAbort(Abort),
    /// Anything else: the class.
    Other(u8),
}

impl Syndrome {
    /// Decodes ESR_EL2.
    #[must_use]
    pub fn decode(esr: u64) -> Self {
        let immediate = u16::try_from(esr & 0xffff).unwrap_or(0);
        let ec = esr >> EC_SHIFT & 0x3f;
        match ec {
            class::WFX => Self::WaitFor,
            class::HVC64 => Self::Hvc(immediate),
            class::SMC64 => Self::Smc(immediate),
            class::SMC32 => Self::SmcAarch32,
            class::SYSTEM_REGISTER => Self::SystemRegister(u32::try_from(esr & 0x1ff_ffff).unwrap_or(0)),
            class::INSTRUCTION_ABORT_LOWER => Self::InstructionAbort(abort(esr, false)),
            class::DATA_ABORT_LOWER => Self::DataAbort(abort(esr, true)),
            _ => Self::Other(u8::try_from(ec).unwrap_or(0)),
        }
    }
}

fn abort(esr: u64, data: bool) -> Abort {
    let transfer = (data && esr & ISS_ISV != 0).then(|| Transfer {
        bytes: 1 << (esr >> ISS_SAS_SHIFT & 0b11),
        register: u8::try_from(esr >> ISS_SRT_SHIFT & 0x1f).unwrap_or(0),
        sign_extend: esr & ISS_SSE != 0,
        wide: esr & ISS_SF != 0,
    });
    let fault = match esr & FSC_CLASS_MASK {
        FSC_TRANSLATION | FSC_ADDRESS_SIZE => Fault::Translation,
        FSC_PERMISSION | FSC_ACCESS_FLAG => Fault::Permission,
        _ => Fault::Other,
    };
    Abort {
        transfer,
        write: data && esr & ISS_WNR != 0,
        cache_maintenance: data && esr & ISS_CM != 0,
        table_walk: esr & ISS_S1PTW != 0,
        far_valid: esr & FSC_MASK != FSC_EXTERNAL || esr & ISS_FNV == 0,
        fault,
    }
}

/// ESR_EL1 of an instruction that does not exist: EC 0, and IL by the instruction's length.
#[must_use]
pub const fn undefined_esr(long: bool) -> u64 {
    if long { IL } else { 0 }
}

/// ESR_EL1 of the synchronous external abort a guest takes for `esr`, the abort EL2 took for it: the same access, the
/// same level the guest sees. `from_el0`: the access was made at EL0.
#[must_use]
pub fn external_abort_esr(esr: u64, from_el0: bool) -> u64 {
    let data = esr >> EC_SHIFT & 0x3f == class::DATA_ABORT_LOWER;
    let class = match (data, from_el0) {
        (true, true) => class::DATA_ABORT_LOWER,
        (true, false) => class::DATA_ABORT_SAME,
        (false, true) => class::INSTRUCTION_ABORT_LOWER,
        (false, false) => class::INSTRUCTION_ABORT_SAME,
    };
    let kept = if data { esr & (ISS_WNR | ISS_CM) } else { 0 };
    class << EC_SHIFT | esr & IL | kept | FSC_EXTERNAL
}

/// PSTATE fields (C5.2.19).
mod pstate {
    pub const MODE: u64 = 0b1111;
    pub const EL1H: u64 = 0b0101;
    pub const EL1T: u64 = 0b0100;
    pub const AARCH32: u64 = 1 << 4;
    pub const DAIF: u64 = 0b1111 << 6;
    pub const SSBS: u64 = 1 << 12;
    pub const PAN: u64 = 1 << 22;
    pub const TCO: u64 = 1 << 25;
    pub const NZCV: u64 = 0b1111 << 28;
    pub const DIT: u64 = 1 << 24;
}

/// SCTLR_EL1.SPAN: PAN is left alone on entry to EL1 when set (D24.2.176).
const SCTLR_SPAN: u64 = 1 << 23;
/// SCTLR_EL1.DSSBS: SSBS on entry to EL1.
const SCTLR_DSSBS: u64 = 1 << 44;

/// What the core has that changes how an exception enters EL1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EntryFeatures {
    /// FEAT_PAN.
    pub pan: bool,
    /// FEAT_SSBS.
    pub ssbs: bool,
    /// FEAT_MTE.
    pub mte: bool,
}

/// Takes a synchronous exception to EL1: gives the new PC and PSTATE of a guest that was at `pstate` (D1.3.1).
#[must_use]
pub const fn enter_el1(pstate: u64, sctlr: u64, vbar: u64, features: EntryFeatures) -> (u64, u64) {
    let aarch32 = pstate & pstate::AARCH32 != 0;
    let offset = match pstate & pstate::MODE {
        _ if aarch32 => 0x600,
        pstate::EL1H => 0x200,
        pstate::EL1T => 0x000,
        _ => 0x400,
    };
    // The condition flags and DIT stay; UAO, IL, SS and BTYPE are cleared.
    let mut new = pstate & pstate::NZCV | pstate::DAIF | pstate::EL1H;
    if !aarch32 {
        new |= pstate & pstate::DIT;
    }
    if features.pan {
        new |= if sctlr & SCTLR_SPAN == 0 { pstate::PAN } else { pstate & pstate::PAN };
    }
    if features.ssbs && sctlr & SCTLR_DSSBS != 0 {
        new |= pstate::SSBS;
    }
    if features.mte {
        new |= pstate::TCO;
    }
    (vbar.wrapping_add(offset), new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_load_to_w3_without_sign_is_read_from_the_syndrome() {
        // EC 0x24, IL, ISV, SAS 2, SRT 3, translation fault level 2
        let esr = 0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 3 << 16 | 0x06;
        let Syndrome::DataAbort(abort) = Syndrome::decode(esr) else { panic!() };
        let transfer = abort.transfer.unwrap();
        assert_eq!((transfer.bytes, transfer.register, abort.write), (4, 3, false));
        assert_eq!(abort.fault, Fault::Translation);
        assert_eq!(transfer.extend(0x1_8000_0000), 0x8000_0000);
    }

    #[test]
    fn without_isv_there_is_no_transfer_to_guess() {
        let esr = 0x24 << 26 | 1 << 25 | 2 << 22 | 3 << 16 | 0x06;
        let Syndrome::DataAbort(abort) = Syndrome::decode(esr) else { panic!() };
        assert_eq!(abort.transfer, None);
    }

    #[test]
    fn sign_extension_stops_at_the_width_of_the_register() {
        let transfer = Transfer { bytes: 1, register: 0, sign_extend: true, wide: false };
        assert_eq!(transfer.extend(0x80), 0xffff_ff80);
        assert_eq!(Transfer { wide: true, ..transfer }.extend(0x80), 0xffff_ffff_ffff_ff80);
    }

    #[test]
    fn an_abort_is_external_for_the_guest_and_keeps_its_direction() {
        let write = 0x24 << 26 | 1 << 25 | 1 << 6 | 0x07;
        assert_eq!(external_abort_esr(write, false), 0x25 << 26 | 1 << 25 | 1 << 6 | 0x10);
        assert_eq!(external_abort_esr(write, true), 0x24 << 26 | 1 << 25 | 1 << 6 | 0x10);
        assert_eq!(external_abort_esr(0x20 << 26 | 1 << 25 | 0x07, false), 0x21 << 26 | 1 << 25 | 0x10);
    }

    #[test]
    fn exceptions_enter_el1_at_the_vector_for_where_they_came_from() {
        let none = EntryFeatures::default();
        for (mode, offset) in [(0b0101, 0x200), (0b0100, 0x000), (0b0000, 0x400), (0b1_0000, 0x600)] {
            let (pc, pstate) = enter_el1(mode | 0b1010 << 28 | 1 << 21 | 1 << 20 | 0b11 << 10, 0, 0x8000, none);
            assert_eq!(pc, 0x8000 + offset);
            // NZCV stays, DAIF set, EL1h, SS IL BTYPE clear
            assert_eq!(pstate, 0b1010 << 28 | 0b1111 << 6 | 0b0101);
        }
    }

    #[test]
    fn pan_is_set_unless_span_says_leave_it() {
        let pan = EntryFeatures { pan: true, ..EntryFeatures::default() };
        assert_ne!(enter_el1(0, 0, 0, pan).1 & 1 << 22, 0);
        assert_eq!(enter_el1(0, 1 << 23, 0, pan).1 & 1 << 22, 0);
        assert_ne!(enter_el1(1 << 22, 1 << 23, 0, pan).1 & 1 << 22, 0);
    }
}
