//! EL2's own timer (CNTHP): one time a core, for what it has put off. And the clock that goes with it.

use crate::{read_register, write_register};
use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTHP_CTL_EL2, CNTPCT_EL0, Readable, Writeable};

/// A core's timers, for looking at each by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// EL2's own, CNTHP.
    Hypervisor,
    /// EL1's virtual one, CNTV.
    Virtual,
    /// EL1's physical one, CNTP.
    Physical,
}

impl Line {
    /// Has the timer interrupt the calling core `ticks` from now.
    pub fn start(self, ticks: u64) {
        const ENABLE: u64 = 1;
        match self {
            Self::Hypervisor => {
                write_register!("cnthp_tval_el2", ticks);
                write_register!("cnthp_ctl_el2", ENABLE);
            }
            Self::Virtual => {
                write_register!("cntv_tval_el0", ticks);
                write_register!("cntv_ctl_el0", ENABLE);
            }
            Self::Physical => {
                write_register!("cntp_tval_el0", ticks);
                write_register!("cntp_ctl_el0", ENABLE);
            }
        }
        barrier::isb(barrier::SY);
    }

    /// Stops the timer, which ends its interrupt.
    pub fn stop(self) {
        match self {
            Self::Hypervisor => stop(),
            Self::Virtual => write_register!("cntv_ctl_el0", 0),
            Self::Physical => write_register!("cntp_ctl_el0", 0),
        }
        barrier::isb(barrier::SY);
    }
}

/// Counts in a millisecond, whole ones: a clock a little fast does no harm here.
fn per_millisecond() -> u64 {
    (CNTFRQ_EL0.get() / 1000).max(1)
}

/// Milliseconds since the counter started, the same on every core.
#[must_use]
#[inline(never)]
pub fn now() -> u64 {
    barrier::isb(barrier::SY);
    CNTPCT_EL0.get() / per_millisecond()
}

/// The physical counter for a record: not ordered with what surrounds it.
#[must_use]
#[inline(always)]
pub fn ticks() -> u64 {
    read_register!("cntpct_el0")
}

/// Has the calling core's timer interrupt at `milliseconds` on [`now`]'s clock, or earlier if it is set to.
#[inline(never)]
pub fn set(milliseconds: u64) {
    set_counter(milliseconds.saturating_mul(per_millisecond()));
}

/// As [`set`], when the physical counter reaches `at`.
pub fn set_counter(at: u64) {
    let earlier =
        CNTHP_CTL_EL2.is_set(CNTHP_CTL_EL2::ENABLE) && read_register!("cnthp_cval_el2") <= at;
    if !earlier {
        write_register!("cnthp_cval_el2", at);
        CNTHP_CTL_EL2.write(CNTHP_CTL_EL2::ENABLE::SET);
    }
}

/// Stops the calling core's timer, which ends its interrupt. It is set to the latest time, so that whoever compares with that
/// needs no look at whether it is on.
pub fn stop() {
    CNTHP_CTL_EL2.set(0);
    write_register!("cnthp_cval_el2", u64::MAX);
    barrier::isb(barrier::SY);
}
