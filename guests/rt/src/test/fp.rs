//! All FP and SIMD registers: loaded with a pattern, stored to be compared.

use core::arch::global_asm;

use crate::{read_sysreg, write_sysreg};

global_asm!(include_str!("fp.S"));

/// V0-V31, two words each, then FPCR and FPSR.
pub type Registers = [u64; 66];

unsafe extern "C" {
    fn fp_load(registers: &Registers);
    fn fp_store(registers: &mut Registers);
}

/// CPACR_EL1.FPEN: no traps.
pub const FPEN: u64 = 0b11 << 20;
/// FPCR: default NaN, flush to zero, round towards zero.
const FPCR: u64 = 1 << 25 | 1 << 24 | 0b11 << 22;
/// FPSR: saturation and the five exception flags that every CPU has.
const FPSR: u64 = 1 << 27 | 0b1_1111;

/// Lets EL1 and EL0 use FP.
pub fn enable() {
    write_sysreg!("cpacr_el1", read_sysreg!("cpacr_el1") | FPEN);
}

/// Returns a pattern that differs in every word, for each `seed` another.
pub fn pattern(seed: u64) -> Registers {
    let mut registers = [0; 66];
    for (number, word) in (1u64..).zip(registers.iter_mut()) {
        *word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7) ^ seed;
    }
    registers[64] = FPCR;
    registers[65] = FPSR;
    registers
}

/// Loads all registers. The guest itself must not use FP.
pub fn load(registers: &Registers) {
    // SAFETY: guests are built without FP, so nobody else uses these registers.
    unsafe { fp_load(registers) };
}

/// Stores all registers.
pub fn store() -> Registers {
    let mut registers = [0; 66];
    // SAFETY: as above; the routine stores within the array.
    unsafe { fp_store(&mut registers) };
    registers
}
