//! A partition's heartbeat: the time by which its next call is due, in ticks of the physical counter.
//!
//! The promise is the partition's, whichever vCPU makes the call. Each call sets the timer of its own core; a timer that
//! fires early, because another core has moved the time since, is set again. So the call takes no lock.

use super::machine::Machine;
use crate::words::sync::{AtomicU64, Ordering};

/// No call is due.
const NEVER: u64 = u64::MAX;
/// Milliseconds in a second.
const MILLISECONDS: u64 = 1000;

/// What a timer that fired means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing is due.
    Idle,
    /// Not yet: the timer is to fire at this time.
    Later(u64),
    /// The partition has missed it.
    Missed,
}

/// When the next call is due. The layout is known to vectors.S, which does what [`Heartbeat::arm`] does where the core's
/// timer is early enough already.
#[repr(C)]
#[derive(Debug)]
pub struct Heartbeat {
    /// The physical counter's value by which it is due.
    pub deadline: AtomicU64,
    /// Milliseconds from one call to the next.
    pub period: AtomicU64,
}

impl Heartbeat {
    /// No call is due.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            deadline: AtomicU64::new(NEVER),
            period: AtomicU64::new(0),
        }
    }

    /// The next call is due `milliseconds` from now, or never again if that is 0.
    pub fn arm(&self, milliseconds: u32, machine: &mut impl Machine) {
        if milliseconds == 0 {
            self.disarm();
            machine.set_timer(None);
            return;
        }
        let period = ticks(milliseconds.into(), machine.counter_frequency());
        let deadline = machine.counter().saturating_add(period);
        self.period.store(milliseconds.into(), Ordering::Relaxed);
        self.deadline.store(deadline, Ordering::Release);
        machine.set_timer(Some(deadline));
    }

    /// No call is due any more: the partition stops, or starts.
    pub fn disarm(&self) {
        self.deadline.swap(NEVER, Ordering::AcqRel);
    }

    /// Grants a whole period from `now`, of a counter with `frequency` ticks a second: the partition was held and could not
    /// call.
    pub fn extend(&self, now: u64, frequency: u64) {
        let period = ticks(self.period.load(Ordering::Relaxed), frequency);
        // A call or a disarming that comes meanwhile is newer, and stays.
        let _ = self
            .deadline
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |deadline| {
                (deadline != NEVER).then(|| now.saturating_add(period))
            });
    }

    /// Judges a timer that fired at `now`.
    #[must_use]
    pub fn judge(&self, now: u64) -> Verdict {
        match self.deadline.load(Ordering::Acquire) {
            NEVER => Verdict::Idle,
            deadline if deadline > now => Verdict::Later(deadline),
            _ => Verdict::Missed,
        }
    }
}

/// The ticks of a counter in so many milliseconds.
fn ticks(milliseconds: u64, frequency: u64) -> u64 {
    milliseconds.saturating_mul(frequency) / MILLISECONDS
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}
