//! Power states of a vCPU (PSCI 1.1, DEN0022 section 5): who may change them, and how calls race.
//!
//! | state     | CPU_ON (another)      | its own core                          |
//! |-----------|-----------------------|---------------------------------------|
//! | Off       | Reserved -> OnPending | -                                     |
//! | Reserved  | ON_PENDING            | -                                     |
//! | OnPending | ON_PENDING            | starts: On                            |
//! | On        | ALREADY_ON            | CPU_OFF: Off; CPU_SUSPEND: Suspended  |
//! | Suspended | ALREADY_ON            | a wake-up event: On                   |
//!
//! Reserved lasts from the moment a caller wins until its entry point is written. Only a core with its own vCPU leaves
//! OnPending, On and Suspended; so one compare-exchange decides every race of callers. While a partition
//! is down, its leader switches all of them off.

use crate::words::sync::{AtomicU32, AtomicU64, Ordering};

/// The power state of a vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum State {
    /// Not running.
    Off = 0,
    /// A caller is about to switch it on.
    Reserved = 1,
    /// Switched on; its core has not started it yet.
    OnPending = 2,
    /// Running.
    On = 3,
    /// In a power-down state; it goes on at an entry point when an interrupt comes.
    Suspended = 4,
}

/// Where a vCPU starts, and with what in X0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Start {
    /// Entry point, an IPA.
    pub entry: u64,
    /// X0.
    pub context: u64,
}

/// Why a vCPU cannot be switched on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It is on.
    AlreadyOn,
    /// Another call is switching it on.
    OnPending,
}

/// One vCPU's power, shared by all cores of its partition.
#[derive(Debug)]
pub struct Power {
    state: AtomicU32,
    entry: AtomicU64,
    context: AtomicU64,
}

impl Power {
    /// Makes a vCPU that is off.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: AtomicU32::new(State::Off as u32),
            entry: AtomicU64::new(0),
            context: AtomicU64::new(0),
        }
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            1 => State::Reserved,
            2 => State::OnPending,
            3 => State::On,
            4 => State::Suspended,
            _ => State::Off,
        }
    }

    fn set(&self, state: State) {
        self.state.store(state as u32, Ordering::Release);
    }

    /// Switches the vCPU on. After success its core must be told.
    ///
    /// # Errors
    /// [`Refused`], and nothing changes.
    pub fn switch_on(&self, start: Start) -> Result<(), Refused> {
        let (off, reserved) = (State::Off as u32, State::Reserved as u32);
        if self
            .state
            .compare_exchange(off, reserved, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            return Err(match self.state() {
                State::On | State::Suspended => Refused::AlreadyOn,
                // Off: it went off since the exchange failed; the call that lost the race is the one that came too early.
                State::Off | State::Reserved | State::OnPending => Refused::OnPending,
            });
        }
        self.entry.store(start.entry, Ordering::Relaxed);
        self.context.store(start.context, Ordering::Relaxed);
        self.set(State::OnPending);
        Ok(())
    }

    /// On its own core: takes the start that is pending.
    pub fn take_start(&self) -> Option<Start> {
        (self.state() == State::OnPending).then(|| {
            let start = self.stored();
            self.set(State::On);
            start
        })
    }

    /// On its own core: the vCPU goes off.
    pub fn switch_off(&self) {
        self.set(State::Off);
    }

    /// On its own core: the vCPU powers down and will go on at `start`.
    pub fn suspend(&self, start: Start) {
        self.entry.store(start.entry, Ordering::Relaxed);
        self.context.store(start.context, Ordering::Relaxed);
        self.set(State::Suspended);
    }

    /// On its own core: a wake-up event ends the power-down state, if it is in one.
    pub fn wake(&self) -> Option<Start> {
        (self.state() == State::Suspended).then(|| {
            self.set(State::On);
            self.stored()
        })
    }

    fn stored(&self) -> Start {
        Start {
            entry: self.entry.load(Ordering::Relaxed),
            context: self.context.load(Ordering::Relaxed),
        }
    }
}

impl Default for Power {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    const START: Start = Start {
        entry: 0x4020_0000,
        context: 7,
    };

    #[test]
    fn a_vcpu_that_is_on_is_not_switched_on_again() {
        let power = Power::new();
        assert_eq!(power.switch_on(START), Ok(()));
        assert_eq!(power.switch_on(START), Err(Refused::OnPending));
        assert_eq!(power.take_start(), Some(START));
        assert_eq!(power.take_start(), None);
        assert_eq!(power.switch_on(START), Err(Refused::AlreadyOn));
        power.switch_off();
        assert_eq!(power.switch_on(START), Ok(()));
    }

    #[test]
    fn a_suspended_vcpu_counts_as_on_and_wakes_where_it_asked_to() {
        let power = Power::new();
        power.switch_on(START).unwrap();
        power.take_start();
        let resume = Start {
            entry: 0x4030_0000,
            context: 9,
        };
        power.suspend(resume);
        assert_eq!(power.switch_on(START), Err(Refused::AlreadyOn));
        assert_eq!(power.wake(), Some(resume));
        assert_eq!(power.wake(), None);
    }

    #[test]
    fn of_callers_that_race_exactly_one_wins_and_its_arguments_arrive_whole() {
        for _ in 0..if cfg!(miri) { 10 } else { 200 } {
            let power = Arc::new(Power::new());
            let wins = Arc::new(AtomicUsize::new(0));
            let callers: Vec<_> = (1..=3_u64)
                .map(|caller| {
                    let (power, wins) = (Arc::clone(&power), Arc::clone(&wins));
                    std::thread::spawn(move || {
                        if power
                            .switch_on(Start {
                                entry: caller,
                                context: caller,
                            })
                            .is_ok()
                        {
                            wins.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            callers
                .into_iter()
                .for_each(|caller| caller.join().unwrap());
            assert_eq!(wins.load(Ordering::SeqCst), 1);
            let start = power.take_start().unwrap();
            assert_eq!(start.entry, start.context);
        }
    }
}
