//! Calls with poisoned registers: what must survive them is checked on every one.

use core::arch::global_asm;

use crate::call::{Conduit, code32, code64};

global_asm!(include_str!("exchange.S"));

unsafe extern "C" {
    fn exchange_hvc(x: &mut [u64; 31]);
    fn exchange_smc(x: &mut [u64; 31]);
    fn exchange_hvc_other(x: &mut [u64; 31]);
    fn exchange_hvc_last(x: &mut [u64; 31]);
    fn exchange_smc_other(x: &mut [u64; 31]);
}

/// The instruction of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `HVC #0`.
    Hvc,
    /// `SMC #0`.
    Smc,
    /// `HVC #1`.
    HvcOther,
    /// `HVC #0xffff`.
    HvcLast,
    /// `SMC #1`.
    SmcOther,
}

impl From<Conduit> for Instruction {
    fn from(conduit: Conduit) -> Self {
        match conduit {
            Conduit::Hvc => Self::Hvc,
            Conduit::Smc => Self::Smc,
        }
    }
}

/// All general registers before and after a call.
pub struct Exchange {
    before: [u64; 31],
    after: [u64; 31],
}

impl Exchange {
    /// Makes a call with `x0` and `arguments` from x1 on, every other register poisoned.
    pub fn make(instruction: Instruction, x0: u64, arguments: &[u64]) -> Self {
        let mut before = [0; 31];
        for (poison, register) in (0u64..).zip(before.iter_mut()) {
            *register = 0xa5a5_0000_5a5a_0000 | poison << 32 | poison;
        }
        before[0] = x0;
        for (register, argument) in before[1..].iter_mut().zip(arguments) {
            *register = *argument;
        }
        let mut after = before;
        let function = match instruction {
            Instruction::Hvc => exchange_hvc,
            Instruction::Smc => exchange_smc,
            Instruction::HvcOther => exchange_hvc_other,
            Instruction::HvcLast => exchange_hvc_last,
            Instruction::SmcOther => exchange_smc_other,
        };
        // SAFETY: the routine saves what Rust needs and stores within the array.
        unsafe { function(&mut after) };
        Self { before, after }
    }

    /// Returns x0-x3 after the call.
    pub fn results(&self) -> [u64; 4] {
        [self.after[0], self.after[1], self.after[2], self.after[3]]
    }

    /// Returns x0 as a 64-bit code.
    pub fn code(&self) -> i64 {
        code64(self.after[0])
    }

    /// Returns w0 as a 32-bit code.
    pub fn code32(&self) -> i32 {
        code32(self.after[0])
    }

    /// Tells whether x4-x30 came back as they were (DEN0028 2.6: all but the results).
    pub fn preserved(&self) -> bool {
        self.before[4..] == self.after[4..]
    }

    /// Tells whether x1-x3 are each zero.
    pub fn no_results(&self) -> bool {
        self.after[1..4] == [0; 3]
    }

    /// Tells whether x1-x3 are each zero or as they were.
    pub fn results_zero_or_kept(&self) -> bool {
        let pairs = self.after[1..4].iter().zip(&self.before[1..4]);
        pairs
            .into_iter()
            .all(|(after, before)| *after == 0 || after == before)
    }
}
