//! Work on much memory, in V registers.
//!
//! EL2 keeps nothing in V registers, and a guest's are reset before it runs: for boot and the loader, on a core whose vCPU is
//! not started. Beside them, what the compiler itself calls to copy and to fill memory: in general registers (copy.S).

use crate::words::{PAGE_BYTES, Pa};
use core::arch::global_asm;

global_asm!(include_str!("bulk.S"));
global_asm!(include_str!("copy.S"));

unsafe extern "C" {
    fn is_not_zero(at: *const u8, size: usize) -> u32;
    fn copy_blocks(to: *mut u8, from: *const u8, size: usize);
    fn zero_blocks(at: *mut u8, size: usize);
}

/// Bytes the routines do at a time.
const BLOCK: usize = 64;

/// Whether all of `size` bytes, a multiple of 64, at `at`, a multiple of 16, are zero.
///
/// # Safety
/// The bytes are mapped readable, and nobody writes them meanwhile.
#[must_use]
pub unsafe fn is_zero(at: u64, size: usize) -> bool {
    // SAFETY: by this function's contract; the routine only reads.
    size == 0 || unsafe { is_not_zero(at as *const u8, size) } == 0
}

/// Zeroes the page at `at`, for tables: also while the MMU is off, where DC ZVA, as guest RAM is zeroed with, faults (Arm ARM
/// D7.5.8).
///
/// # Safety
/// It is RAM that is mapped writable (or the MMU is off), and nobody else uses it.
pub unsafe fn zero_page(at: Pa) {
    // SAFETY: by this function's contract; a page is a multiple of 256 bytes.
    unsafe { zero_blocks(at.get() as *mut u8, PAGE_BYTES) };
}

/// Copies `from` to `to`.
///
/// # Safety
/// `to` is writable for as many bytes as `from` has and does not overlap it, and nothing of Rust's lies there.
pub unsafe fn copy(to: u64, from: &[u8]) {
    let whole = from.len() & !(BLOCK - 1);
    if whole > 0 {
        // SAFETY: by this function's contract.
        unsafe { copy_blocks(to as *mut u8, from.as_ptr(), whole) };
    }
    let rest = from.get(whole..).unwrap_or_default();
    let to = (to as *mut u8).wrapping_add(whole);
    // SAFETY: by this function's contract.
    unsafe { core::ptr::copy_nonoverlapping(rest.as_ptr(), to, rest.len()) };
}
