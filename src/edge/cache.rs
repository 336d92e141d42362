//! Cache maintenance by address, for memory shared with a core or a guest whose caches are off.
//!
//! QEMU has no caches and cannot show that a line of this is missing; each caller says why it calls.

use crate::words::{PAGE_BYTES, PAGE_SIZE};
use aarch64_cpu::asm::barrier;
use core::arch::asm;

/// Bytes of the smallest data cache line: CTR_EL0.DminLine is the logarithm of its words.
fn line() -> u64 {
    4 << (crate::read_register!("ctr_el0") >> 16 & 0xf)
}

macro_rules! by_line {
    ($operation:literal, $base:expr, $size:expr) => {{
        let line = line();
        let end = $base.saturating_add($size);
        let mut at = $base & !(line - 1);
        while at < end {
            // SAFETY: maintenance by address to the point of coherency loses no data: lines are cleaned before they
            // are invalidated (or hold nothing newer than memory, where the caller says so).
            unsafe { asm!(concat!("dc ", $operation, ", {}"), in(reg) at, options(nostack, preserves_flags)) };
            at += line;
        }
        barrier::dsb(barrier::SY);
    }};
}

/// Writes back what the caches hold of `size` bytes at `base`.
pub fn clean_to_coherency(base: u64, size: u64) {
    by_line!("cvac", base, size);
}

/// Writes back and drops what the caches hold of `size` bytes at `base`.
pub fn clean_and_invalidate(base: u64, size: u64) {
    by_line!("civac", base, size);
}

/// Writes back and drops what the caches hold of the line at each of `addresses`.
pub fn clean_and_invalidate_lines(addresses: impl Iterator<Item = u64>) {
    for at in addresses {
        // SAFETY: as in `by_line`.
        unsafe { asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    barrier::dsb(barrier::SY);
}

/// Drops what the caches hold of `size` bytes at `base`, which were written with the caches off.
pub fn invalidate(base: u64, size: u64) {
    by_line!("ivac", base, size);
}

/// Writes back and drops the line of the core's own first-level data cache that `argument` names (DC CISW).
pub fn clean_and_invalidate_set_way(argument: u64) {
    // SAFETY: cleaning before invalidating loses no data; a set or way the cache has not is CONSTRAINED UNPREDICTABLE
    // between nothing and another line of the same cache (Arm ARM D7.5.9).
    unsafe {
        asm!("dc cisw, {}", in(reg) argument & 0xffff_fff0, options(nostack, preserves_flags))
    };
}

/// Drops all instructions cached by any core of the inner shareable domain.
pub fn invalidate_instructions() {
    // SAFETY: dropping cached instructions has no architectural effect but that they are fetched again.
    unsafe { asm!("ic ialluis", options(nostack, preserves_flags)) };
    barrier::dsb(barrier::ISH);
    barrier::isb(barrier::SY);
}

/// Zeroes `size` bytes at `base`, both multiples of 4 KiB, and leaves nothing of them in the caches.
///
/// Pages that are zero already are not written: RAM that was never used mostly is, and reading is cheaper.
///
/// # Safety
/// The range is RAM mapped writable at EL2, nothing of Rust's lies in it, and nobody else writes it meanwhile.
pub unsafe fn zero(base: u64, size: u64) {
    for page in (0..size / PAGE_SIZE).map(|index| base + index * PAGE_SIZE) {
        // SAFETY: the page lies in the range, by this function's contract.
        let is_zero = unsafe { super::bulk::is_zero(page, PAGE_BYTES) };
        if !is_zero {
            // SAFETY: as above.
            unsafe { zero_page(page) };
        }
    }
    clean_and_invalidate(base, size);
}

/// Zeroes the page at `base`, for guest RAM: by DC ZVA, which reads nothing of it into the caches first. The MMU is on;
/// `bulk::zero_page` needs it not.
///
/// # Safety
/// As for [`zero`].
unsafe fn zero_page(base: u64) {
    // DCZID_EL0: bit 4 prohibits DC ZVA, bits 3:0 are the logarithm of its block's words.
    let dczid = crate::read_register!("dczid_el0");
    let block = 4_u64 << (dczid & 0xf);
    let mut at = base;
    while at < base + PAGE_SIZE {
        if dczid & 1 << 4 == 0 {
            // SAFETY: the block lies in the page, since blocks divide pages.
            unsafe { asm!("dc zva, {}", in(reg) at, options(nostack, preserves_flags)) };
            at += block;
        } else {
            // SAFETY: eight aligned bytes of the page.
            unsafe { (at as *mut u64).write_volatile(0) };
            at += 8;
        }
    }
}
