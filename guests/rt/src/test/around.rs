//! Runs one instruction with every general register as given, and tells what they are behind it.
//!
//! Invariant: one CPU at a time; the instruction has one place in memory.

use core::arch::global_asm;

use crate::{mmio, mmu};

global_asm!(include_str!("around.S"));

/// x0-x30, then NZCV (bits 31:28).
pub type General = [u64; 32];

/// NZCV's place in [`General`].
pub const NZCV: usize = 31;

unsafe extern "C" {
    fn around_run(before: &General, after: &mut General);
    fn around_slot();
}

/// Values that differ in every register, for each `seed` others.
pub fn pattern(seed: u64) -> General {
    let mut registers = [0; 32];
    for (number, word) in (1u64..).zip(registers.iter_mut()) {
        *word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(11) ^ seed;
    }
    registers[NZCV] = 0b1010 << 28;
    registers
}

/// Makes `word` the instruction that [`again`] runs.
pub fn put(word: u32) {
    let slot = around_slot as *const ();
    mmio::write32(mmu::address(slot), word);
    mmu::synchronize_instructions(slot.cast(), 4);
}

/// Runs the instruction with `before` in the registers.
///
/// An exception in it must come back behind it with all registers as they were; it must leave SP alone.
pub fn again(before: &General) -> General {
    let mut after = [0; 32];
    // SAFETY: the routine keeps what Rust needs and writes the array alone; the instruction is the caller's.
    unsafe { around_run(before, &mut after) };
    after
}

/// Puts `word` and runs it.
pub fn run(word: u32, before: &General) -> General {
    put(word);
    again(before)
}
