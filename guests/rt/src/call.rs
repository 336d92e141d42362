//! Calls to the hypervisor or firmware by the SMC Calling Convention 1.2 (Arm DEN0028).

use core::arch::asm;

/// The instruction that makes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// `HVC #0`.
    Hvc,
    /// `SMC #0`.
    Smc,
}

macro_rules! with_instruction {
    ($instruction:literal, $x:ident) => {
        // SAFETY: the convention preserves x18-x30 and SP; all else is declared.
        unsafe {
            asm!($instruction,
                inout("x0") $x[0], inout("x1") $x[1], inout("x2") $x[2], inout("x3") $x[3],
                inout("x4") $x[4], inout("x5") $x[5], inout("x6") $x[6], inout("x7") $x[7],
                inout("x8") $x[8], inout("x9") $x[9], inout("x10") $x[10], inout("x11") $x[11],
                inout("x12") $x[12], inout("x13") $x[13], inout("x14") $x[14],
                inout("x15") $x[15], inout("x16") $x[16], inout("x17") $x[17])
        }
    };
}

impl Conduit {
    /// Calls with x0-x17 as given and leaves there what came back.
    pub fn exchange(self, x: &mut [u64; 18]) {
        match self {
            Self::Hvc => with_instruction!("hvc #0", x),
            Self::Smc => with_instruction!("smc #0", x),
        }
    }

    /// Calls `function` with up to seven arguments in x1-x7; returns x0-x3.
    pub fn call(self, function: u32, arguments: &[u64]) -> [u64; 4] {
        let mut x = [0; 18];
        x[0] = u64::from(function);
        for (register, argument) in x[1..8].iter_mut().zip(arguments) {
            *register = *argument;
        }
        self.exchange(&mut x);
        [x[0], x[1], x[2], x[3]]
    }
}

/// Reads x0 as the signed 32-bit code of a 32-bit service such as PSCI.
pub fn code32(x0: u64) -> i32 {
    let [a, b, c, d, ..] = x0.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// Reads x0 as a signed 64-bit code.
pub fn code64(x0: u64) -> i64 {
    i64::from_le_bytes(x0.to_le_bytes())
}
