//! The general registers of a guest, as the exit path saves them.

/// X0 to X30, and where and how the guest goes on. The layout is known to vectors.S.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Registers {
    /// X0 to X30.
    pub x: [u64; 31],
    /// ELR_EL2: the next instruction.
    pub pc: u64,
    /// SPSR_EL2: the guest's PSTATE.
    pub pstate: u64,
}

const _: () = assert!(core::mem::offset_of!(Registers, pc) == 248);

/// Bytes of an A64 instruction.
pub const INSTRUCTION: u64 = 4;
/// PSTATE.SS (C5.2.19): set while the next instruction is to be stepped.
pub const PSTATE_SS: u64 = 1 << 21;
/// PSTATE.BTYPE (C5.2.19).
pub const PSTATE_BTYPE: u64 = 0b11 << 10;
/// PSTATE.IT of AArch32 (C5.2.19): IT\[7:2\] in bits 15:10, IT\[1:0\] in bits 26:25.
const PSTATE_IT: u64 = 0x3f << 10 | 0b11 << 25;
/// PSTATE.nRW (M\[4\]): AArch32.
const PSTATE_AARCH32: u64 = 1 << 4;
/// PSTATE.T of AArch32.
const PSTATE_THUMB: u64 = 1 << 5;

impl Registers {
    /// All zero.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            x: [0; 31],
            pc: 0,
            pstate: 0,
        }
    }

    /// The value of general register `index`; 31 is the zero register.
    #[must_use]
    pub fn get(&self, index: u8) -> u64 {
        self.x.get(usize::from(index)).copied().unwrap_or(0)
    }

    /// Sets general register `index`; 31 is the zero register.
    pub fn set(&mut self, index: u8, value: u64) {
        if let Some(register) = self.x.get_mut(usize::from(index)) {
            *register = value;
        }
    }

    /// As [`Self::skip_instruction`], for an instruction of AArch64.
    #[inline(always)]
    pub const fn skip_a64(&mut self) {
        self.pc = self.pc.wrapping_add(INSTRUCTION);
        self.pstate &= !(PSTATE_SS | PSTATE_BTYPE);
    }

    /// Goes past the instruction that exited, as if it had executed: `long` says whether it has 32 bits. A pending
    /// single step becomes due, a branch target ends, an IT block goes on.
    pub fn skip_instruction(&mut self, long: bool) {
        self.pc = self
            .pc
            .wrapping_add(if long { INSTRUCTION } else { INSTRUCTION / 2 });
        self.pstate &= !PSTATE_SS;
        if self.is_aarch64() {
            self.pstate &= !PSTATE_BTYPE;
        } else {
            self.pstate = self.pstate & !PSTATE_IT | advanced(self.pstate);
        }
    }

    /// Whether the guest executes AArch64 code.
    #[must_use]
    pub const fn is_aarch64(&self) -> bool {
        self.pstate & PSTATE_AARCH32 == 0
    }

    /// Whether the guest executes at EL0.
    #[must_use]
    pub const fn is_el0(&self) -> bool {
        self.pstate & 0b1100 == 0 || self.pstate & PSTATE_AARCH32 != 0
    }

    /// Whether the guest executes T32 code.
    #[must_use]
    pub const fn is_thumb(&self) -> bool {
        self.pstate & (PSTATE_AARCH32 | PSTATE_THUMB) == PSTATE_AARCH32 | PSTATE_THUMB
    }
}

/// What EL1 says of the last exception it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct El1 {
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
    /// ELR_EL1.
    pub elr: u64,
    /// SPSR_EL1.
    pub spsr: u64,
    /// VBAR_EL1.
    pub vbar: u64,
    /// SP_EL0.
    pub sp_el0: u64,
    /// SP_EL1.
    pub sp_el1: u64,
}

/// The IT bits of `pstate` after one more instruction (AArch32.ITAdvance): the condition's last bit and the mask move up,
/// and an empty mask ends the block.
const fn advanced(pstate: u64) -> u64 {
    let it = (pstate >> 10 & 0x3f) << 2 | pstate >> 25 & 0b11;
    let next = if it & 0b111 == 0 {
        0
    } else {
        it & 0xe0 | it << 1 & 0x1f
    };
    (next >> 2) << 10 | (next & 0b11) << 25
}

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipping_makes_a_single_step_due_and_ends_a_branch_target() {
        let mut registers = Registers {
            pc: 0x1000,
            pstate: 1 << 21 | 0b11 << 10 | 0b0101,
            ..Registers::new()
        };
        registers.skip_instruction(true);
        assert_eq!((registers.pc, registers.pstate), (0x1004, 0b0101));
    }

    #[test]
    fn skipping_within_an_it_block_leaves_its_other_instructions_conditional() {
        /// PSTATE of T32 at EL0 with this IT.
        const fn with(it: u64) -> u64 {
            0b11_0000 | (it >> 2) << 10 | (it & 0b11) << 25
        }
        let mut registers = Registers {
            pstate: with(0b0000_0101),
            ..Registers::new()
        };
        // ITETE EQ at its second instruction: NE, EQ, NE follow, then nothing (DDI 0487 F1.6, ITSTATE).
        for it in [0b0000_1010, 0b0001_0100, 0b0000_1000, 0] {
            registers.skip_instruction(false);
            assert_eq!(registers.pstate, with(it));
        }
    }

    #[test]
    fn register_31_reads_zero_and_is_not_written() {
        let mut registers = Registers {
            x: [7; 31],
            ..Registers::new()
        };
        registers.set(31, 1);
        assert_eq!(registers.get(31), 0);
        assert_eq!(registers.get(30), 7);
    }
}
