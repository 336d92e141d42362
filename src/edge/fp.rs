//! FP and SIMD registers. EL2 is compiled without them; a guest owns its core's, so they only ever need resetting.

use core::arch::global_asm;

global_asm!(include_str!("fp.S"));

unsafe extern "C" {
    fn reset_fp();
}

/// Zeroes V0 to V31, FPCR and FPSR.
pub fn reset() {
    // SAFETY: EL2 keeps nothing in these registers, and CPTR_EL2.TFP is clear.
    unsafe { reset_fp() };
}
