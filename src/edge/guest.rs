//! Looking at the guest of the calling core: its own translation, and the ID registers it would read.

use crate::arm::id::IdRegister;
use crate::arm::registers::{El1, INSTRUCTION, PSTATE_BTYPE, PSTATE_SS, Registers};
use crate::words::{Ipa, Pa, Va};
use aarch64_cpu::asm::barrier;
use core::arch::asm;

/// PAR_EL1.F: the translation failed.
const PAR_FAILED: u64 = 1;
/// PAR_EL1.PA with the 4 KiB granule: bits 47:12.
const PAR_ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// Translates `address` as the guest reads it at EL1, or at EL0: its own stage 1 alone. PAR_EL1, the guest's, is kept.
#[must_use]
pub fn translate(address: Va, el0: bool) -> Option<Ipa> {
    let kept = crate::read_register!("par_el1");
    let raw = address.get();
    if el0 {
        // SAFETY: an address translation writes PAR_EL1 only.
        unsafe { asm!("at s1e0r, {}", in(reg) raw, options(nostack, preserves_flags)) };
    } else {
        // SAFETY: as above.
        unsafe { asm!("at s1e1r, {}", in(reg) raw, options(nostack, preserves_flags)) };
    }
    barrier::isb(barrier::SY);
    let par = crate::read_register!("par_el1");
    crate::write_register!("par_el1", kept);
    (par & PAR_FAILED == 0).then(|| Ipa::new(par & PAR_ADDRESS | raw & 0xfff))
}

/// Where stage 2 of the calling core leads from `address`, with EL1's own translation off; `None` if nowhere.
#[must_use]
pub fn stage2(address: Ipa) -> Option<Pa> {
    let raw = address.get();
    // SAFETY: an address translation writes PAR_EL1 only, which no guest of this core has a value in yet.
    unsafe { asm!("at s12e1r, {}", in(reg) raw, options(nostack, preserves_flags)) };
    barrier::isb(barrier::SY);
    let par = crate::read_register!("par_el1");
    (par & PAR_FAILED == 0).then(|| Pa::new(par & PAR_ADDRESS | raw & 0xfff))
}

/// An ID register as the core has it. The reserved ones of the block read as zero (Arm ARM D24.3.1).
#[must_use]
#[inline(always)]
pub fn id_register(register: IdRegister) -> u64 {
    macro_rules! read {
        ($($crm:literal: $($op2:literal)*;)*) => {
            match (register.crm(), register.op2()) {
                $($(($crm, $op2) => crate::read_register!(concat!("s3_0_c0_c", $crm, "_", $op2)),)*)*
                _ => 0,
            }
        };
    }
    read! {
        1: 0 1 2 3 4 5 6 7;
        2: 0 1 2 3 4 5 6 7;
        3: 0 1 2 3 4 5 6 7;
        4: 0 1 2 3 4 5 6 7;
        5: 0 1 2 3 4 5 6 7;
        6: 0 1 2 3 4 5 6 7;
        7: 0 1 2 3 4 5 6 7;
    }
}

/// SCTLR_EL1.EE and E0E: data at EL1 and EL0 is big-endian (D19.2.125).
const SCTLR_EE: u64 = 1 << 25;
const SCTLR_E0E: u64 = 1 << 24;

/// Whether the guest exited out of AArch32 (SPSR_EL2.nRW), or may have big-endian data at EL1 or EL0.
#[inline(always)]
#[must_use]
pub fn is_unusual() -> bool {
    crate::read_register!("spsr_el2") & 1 << 4 != 0
        || crate::read_register!("sctlr_el1") & (SCTLR_EE | SCTLR_E0E) != 0
}

/// Whether more is to be done to go past the instruction that exited than [`skip_plain`] does: one of AArch32, a branch
/// target that ends, a single step that becomes due.
#[inline(always)]
#[must_use]
pub fn is_odd() -> bool {
    const ODD: u64 = 1 << 4 | PSTATE_BTYPE | PSTATE_SS;
    crate::read_register!("spsr_el2") & ODD != 0
}

/// Whether data may be big-endian, at EL1 or EL0.
#[inline(always)]
#[must_use]
pub fn is_unusual_data() -> bool {
    crate::read_register!("sctlr_el1") & (SCTLR_EE | SCTLR_E0E) != 0
}

/// Goes past the instruction that exited, where it is not [`is_odd`].
#[inline(always)]
pub fn skip_plain() {
    let next = crate::read_register!("elr_el2").wrapping_add(INSTRUCTION);
    crate::write_register!("elr_el2", next);
}

/// Whether EL1's data, or EL0's, is big-endian.
#[must_use]
pub fn is_big_endian(el0: bool) -> bool {
    let bit = if el0 { SCTLR_E0E } else { SCTLR_EE };
    crate::read_register!("sctlr_el1") & bit != 0
}

/// Reads where and how the guest goes on, where the short path has left it: ELR_EL2 and SPSR_EL2.
#[inline(always)]
pub fn load_return(registers: &mut Registers) {
    registers.pc = crate::read_register!("elr_el2");
    registers.pstate = crate::read_register!("spsr_el2");
}

/// Writes back what [`load_return`] read.
#[inline(always)]
pub fn store_return(registers: &Registers) {
    crate::write_register!("elr_el2", registers.pc);
    crate::write_register!("spsr_el2", registers.pstate);
}

/// Sets what EL1 reads of an exception it takes at `registers`.
pub fn set_exception(registers: &Registers, esr: u64, far: Option<u64>) {
    crate::write_register!("elr_el1", registers.pc);
    crate::write_register!("spsr_el1", registers.pstate);
    crate::write_register!("esr_el1", esr);
    if let Some(far) = far {
        crate::write_register!("far_el1", far);
    }
}

/// ELR_EL1: where EL1's last exception returns to.
#[must_use]
pub fn exception_link() -> u64 {
    crate::read_register!("elr_el1")
}

/// SCTLR_EL1 and VBAR_EL1, which decide how an exception enters EL1.
#[must_use]
pub fn exception_controls() -> (u64, u64) {
    (
        crate::read_register!("sctlr_el1"),
        crate::read_register!("vbar_el1"),
    )
}

/// What EL1 has of the last exception it took.
#[must_use]
pub fn el1() -> El1 {
    El1 {
        esr: crate::read_register!("esr_el1"),
        far: crate::read_register!("far_el1"),
        elr: crate::read_register!("elr_el1"),
        spsr: crate::read_register!("spsr_el1"),
        vbar: crate::read_register!("vbar_el1"),
        sp_el0: crate::read_register!("sp_el0"),
        sp_el1: crate::read_register!("sp_el1"),
    }
}

/// SP_EL1 or SP_EL0.
#[must_use]
pub fn stack_pointer(el1: bool) -> u64 {
    if el1 {
        crate::read_register!("sp_el1")
    } else {
        crate::read_register!("sp_el0")
    }
}

/// Sets SP_EL1 or SP_EL0.
pub fn set_stack_pointer(el1: bool, value: u64) {
    if el1 {
        crate::write_register!("sp_el1", value);
    } else {
        crate::write_register!("sp_el0", value);
    }
}

/// A word of true random bits by RNDRRS, for cores that have FEAT_RNG; `None` if there was none in time.
#[must_use]
pub fn entropy() -> Option<u64> {
    let (word, failed): (u64, u64);
    // SAFETY: reads a register and the flags it sets (Arm ARM C5.2.19): Z when no number was there.
    unsafe {
        asm!("mrs {word}, s3_3_c2_c4_1", "cset {failed}, eq", word = out(reg) word, failed = out(reg) failed,
            options(nomem, nostack));
    }
    (failed == 0).then_some(word)
}
