//! The generic timer as EL1 sees it (Arm ARM D12): counter, virtual timer, physical timer.

use crate::{read_sysreg, write_sysreg};

/// CTL.ENABLE.
pub const ENABLE: u64 = 1 << 0;
/// CTL.IMASK: the timer's interrupt is masked.
pub const IMASK: u64 = 1 << 1;
/// CTL.ISTATUS: the condition is met.
pub const ISTATUS: u64 = 1 << 2;

/// Nanoseconds in a second.
const NANOSECONDS: u128 = 1_000_000_000;

/// Returns the counter's frequency in Hz (CNTFRQ_EL0).
pub fn frequency() -> u64 {
    read_sysreg!("cntfrq_el0")
}

/// Returns the virtual counter in ticks (CNTVCT_EL0), not read early.
pub fn now() -> u64 {
    let value: u64;
    // SAFETY: a barrier and a counter read.
    unsafe { core::arch::asm!("isb", "mrs {0}, cntvct_el0", out(reg) value) };
    value
}

/// Returns the physical counter in ticks (CNTPCT_EL0), not read early.
pub fn physical_now() -> u64 {
    let value: u64;
    // SAFETY: a barrier and a counter read.
    unsafe { core::arch::asm!("isb", "mrs {0}, cntpct_el0", out(reg) value) };
    value
}

/// Converts ticks to nanoseconds.
pub fn nanoseconds(ticks: u64) -> u64 {
    let wide = u128::from(ticks) * NANOSECONDS / u128::from(frequency().max(1));
    u64::try_from(wide).unwrap_or(u64::MAX)
}

/// Converts microseconds to ticks.
pub fn ticks(microseconds: u64) -> u64 {
    let wide = u128::from(microseconds) * u128::from(frequency()) / 1_000_000;
    u64::try_from(wide).unwrap_or(u64::MAX)
}

/// Spins for `microseconds`.
pub fn delay(microseconds: u64) {
    let end = now() + ticks(microseconds);
    while now() < end {
        core::hint::spin_loop();
    }
}

/// Waits until `condition` holds or `microseconds` have gone by; returns whether it held.
pub fn wait_until(microseconds: u64, mut condition: impl FnMut() -> bool) -> bool {
    let end = now() + ticks(microseconds);
    loop {
        if condition() {
            return true;
        }
        if now() >= end {
            return condition();
        }
        core::hint::spin_loop();
    }
}

/// Sets the virtual timer's compare value, in ticks of [`now`].
pub fn set_virtual_deadline(ticks: u64) {
    write_sysreg!("cntv_cval_el0", ticks);
}

/// Writes the virtual timer's control register.
pub fn set_virtual_control(control: u64) {
    write_sysreg!("cntv_ctl_el0", control);
}

/// Returns the virtual timer's control register.
pub fn virtual_control() -> u64 {
    read_sysreg!("cntv_ctl_el0")
}

/// Sets the physical timer's compare value, in ticks of [`physical_now`].
pub fn set_physical_deadline(ticks: u64) {
    write_sysreg!("cntp_cval_el0", ticks);
}

/// Writes the physical timer's control register.
pub fn set_physical_control(control: u64) {
    write_sysreg!("cntp_ctl_el0", control);
}

/// Returns the physical timer's control register.
pub fn physical_control() -> u64 {
    read_sysreg!("cntp_ctl_el0")
}
