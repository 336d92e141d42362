//! TLB maintenance.

use aarch64_cpu::asm::barrier;
use core::arch::asm;

/// Drops all stage-1 and stage-2 entries of the current VMID, on every core of the inner shareable domain.
pub fn invalidate_guest() {
    barrier::dsb(barrier::ISHST);
    // SAFETY: dropping translations has no effect but that they are walked again.
    unsafe { asm!("tlbi vmalls12e1is", options(nostack, preserves_flags)) };
    barrier::dsb(barrier::ISH);
    barrier::isb(barrier::SY);
}
