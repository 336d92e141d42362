//! The life of a partition: off, running, on its way down, crashed; and what happens next.
//!
//! | state    | event                      | next     | who                        |
//! |----------|----------------------------|----------|----------------------------|
//! | Off      | start                      | Starting | anybody                    |
//! | Starting | loaded                     | Running  | the leader                 |
//! | Starting | an image does not verify   | Crashed  | the leader                 |
//! | Running  | PSCI, crash, manager       | Stopping | anybody; the first wins    |
//! | Running  | a manager's pause           | Paused   | a manager                  |
//! | Paused   | a manager's resume          | Running  | a manager                  |
//! | Paused   | any stop                    | Stopping | anybody; the first wins    |
//! | Stopping | every vCPU parked, restart | Starting | the leader                 |
//! | Stopping | every vCPU parked, or stay | Off, Crashed | the leader             |
//! | Crashed  | start                      | Starting | anybody                    |
//!
//! The leader is the core of vCPU 0. No core waits for another's guest: a kick brings each to EL2, where it parks.

use crate::model::bundle::OnCrash;
use crate::words::VcpuId;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Where a partition is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Not running.
    Off,
    /// Its leader loads it.
    Starting,
    /// Its vCPUs run as their power states say.
    Running,
    /// A manager holds its vCPUs where they are.
    Paused,
    /// Its vCPUs are called in.
    Stopping,
    /// Stopped by a fault, and stays so.
    Crashed,
}

/// Why a partition stopped (hypercalls.md, section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Never stopped.
    Never,
    /// PSCI SYSTEM_OFF.
    Off,
    /// PSCI SYSTEM_RESET or SYSTEM_RESET2.
    Reset,
    /// A manager stopped it.
    Manager,
    /// It crashed.
    Crash,
    /// It missed its heartbeat.
    Heartbeat,
}

impl Reason {
    /// The number guests see.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Never => 0,
            Self::Off => 1,
            Self::Reset => 2,
            Self::Manager => 3,
            Self::Crash => 4,
            Self::Heartbeat => 5,
        }
    }

    const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Off,
            2 => Self::Reset,
            3 => Self::Manager,
            4 => Self::Crash,
            5 => Self::Heartbeat,
            _ => Self::Never,
        }
    }
}

/// What follows a stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It starts again.
    Start,
    /// It stays off, or crashed.
    Stay(State),
}

/// Bit of the state word: the stop under way is followed by a start whatever the reason.
const AGAIN: u32 = 1 << 16;

/// State in bits 7:0, reason of the last stop in bits 15:8; [`AGAIN`] above.
fn encode(state: State, reason: Reason) -> u32 {
    let state = match state {
        State::Off => 0,
        State::Starting => 1,
        State::Running => 2,
        State::Stopping => 3,
        State::Crashed => 4,
        State::Paused => 5,
    };
    state | u32::from(reason.code()) << 8
}

/// A partition's life, shared by its cores.
#[derive(Debug)]
pub struct Life {
    word: AtomicU32,
    /// Bit n: vCPU n is parked.
    parked: AtomicU32,
    starts: AtomicU64,
    crashes: AtomicU64,
}

impl Life {
    /// A partition that was never started.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
            parked: AtomicU32::new(0),
            starts: AtomicU64::new(0),
            crashes: AtomicU64::new(0),
        }
    }

    /// The state now, and why it last stopped.
    #[must_use]
    pub fn now(&self) -> (State, Reason) {
        let word = self.word.load(Ordering::Acquire);
        let state = match word & 0xff {
            1 => State::Starting,
            2 => State::Running,
            3 => State::Stopping,
            4 => State::Crashed,
            5 => State::Paused,
            _ => State::Off,
        };
        (state, Reason::from_code(word >> 8 & 0xff))
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> State {
        self.now().0
    }

    /// How often it was started since power-on.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    fn change(&self, from: State, to: State, reason: Reason) -> bool {
        self.change_word(from, encode(to, reason))
    }

    /// Leaves `from` for the state `word` says. Only a stop under way has more than state and reason in its word.
    fn change_word(&self, from: State, word: u32) -> bool {
        let (state, last) = self.now();
        state == from
            && self
                .word
                .compare_exchange(
                    encode(from, last),
                    word,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                )
                .is_ok()
    }

    /// Asks for a start. `true`: its leader must be told.
    pub fn start(&self) -> bool {
        let (state, reason) = self.now();
        matches!(state, State::Off | State::Crashed) && self.change(state, State::Starting, reason)
    }

    /// Asks for a stop. `true`: all its cores must be told. `false`: it is not running, or another stop came first.
    pub fn stop(&self, reason: Reason) -> bool {
        // A vCPU may ask while a manager's pause is under way.
        self.change(State::Running, State::Stopping, reason)
            || self.change(State::Paused, State::Stopping, reason)
    }

    /// A manager asks for a stop, followed by a start if `again`. `false`: it neither runs nor is paused.
    pub fn stop_by_manager(&self, again: bool) -> bool {
        let word = encode(State::Stopping, Reason::Manager) | if again { AGAIN } else { 0 };
        self.change_word(State::Running, word) || self.change_word(State::Paused, word)
    }

    /// A manager holds the vCPUs where they are. `false`: it does not run.
    pub fn pause(&self) -> bool {
        let (_, reason) = self.now();
        self.change(State::Running, State::Paused, reason)
    }

    /// A manager lets the vCPUs go on. `false`: it is not paused.
    pub fn resume(&self) -> bool {
        let (_, reason) = self.now();
        self.change(State::Paused, State::Running, reason)
    }

    /// Notes that `vcpu` has left its guest for good; `count` vCPUs there are. `true`: all have, the leader must be told.
    pub fn park(&self, vcpu: VcpuId, count: usize) -> bool {
        self.parked
            .fetch_or(1 << (vcpu.get() & 31), Ordering::AcqRel);
        self.all_parked(count)
    }

    /// Whether all of `count` vCPUs are parked.
    #[must_use]
    pub fn all_parked(&self, count: usize) -> bool {
        self.parked.load(Ordering::Acquire).count_ones() as usize >= count
    }

    /// The leader: what follows the stop that is complete, by policy, and the state that says so.
    pub fn finish_stop(&self, policy: OnCrash) -> Next {
        let (_, reason) = self.now();
        let again = self.word.load(Ordering::Acquire) & AGAIN != 0;
        self.parked.store(0, Ordering::Release);
        let next = match reason {
            Reason::Manager if again => Next::Start,
            Reason::Reset => Next::Start,
            Reason::Never | Reason::Off | Reason::Manager => Next::Stay(State::Off),
            Reason::Crash | Reason::Heartbeat => match policy {
                OnCrash::Restart { limit }
                    if self.crashes.fetch_add(1, Ordering::Relaxed) < u64::from(limit) =>
                {
                    Next::Start
                }
                OnCrash::Restart { .. } | OnCrash::Stop | OnCrash::Notify => {
                    Next::Stay(State::Crashed)
                }
            },
        };
        let state = match next {
            Next::Start => State::Starting,
            Next::Stay(state) => state,
        };
        self.word.store(encode(state, reason), Ordering::Release);
        next
    }

    /// The leader: the partition is loaded and runs.
    pub fn run(&self) {
        let (_, reason) = self.now();
        self.starts.fetch_add(1, Ordering::Relaxed);
        self.word
            .store(encode(State::Running, reason), Ordering::Release);
    }

    /// The leader: the partition cannot be started.
    pub fn fail(&self) {
        self.word
            .store(encode(State::Crashed, Reason::Crash), Ordering::Release);
    }
}

impl Default for Life {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Life {
        let life = Life::new();
        assert!(life.start());
        life.run();
        life
    }

    #[test]
    fn the_first_reason_to_stop_wins() {
        let life = running();
        assert!(life.stop(Reason::Reset));
        assert!(!life.stop(Reason::Crash));
        assert_eq!(life.now(), (State::Stopping, Reason::Reset));
    }

    #[test]
    fn a_reset_starts_again_and_an_off_stays_off() {
        for (reason, next) in [
            (Reason::Reset, Next::Start),
            (Reason::Off, Next::Stay(State::Off)),
        ] {
            let life = running();
            life.stop(reason);
            assert!(!life.park(VcpuId::new(1), 2));
            assert!(life.park(VcpuId::new(0), 2));
            assert_eq!(life.finish_stop(OnCrash::Stop), next);
        }
    }

    #[test]
    fn a_crash_restarts_as_often_as_the_policy_says() {
        let life = running();
        for crash in 0..3 {
            assert!(life.stop(Reason::Crash));
            life.park(VcpuId::new(0), 1);
            let next = life.finish_stop(OnCrash::Restart { limit: 2 });
            assert_eq!(
                next,
                if crash < 2 {
                    Next::Start
                } else {
                    Next::Stay(State::Crashed)
                }
            );
            life.run();
        }
    }

    #[test]
    fn a_running_partition_is_not_started_and_one_that_is_off_not_stopped() {
        assert!(!running().start());
        assert!(!Life::new().stop(Reason::Off));
    }

    #[test]
    fn starts_are_counted_and_the_last_reason_is_kept() {
        let life = running();
        life.stop(Reason::Reset);
        life.park(VcpuId::new(0), 1);
        life.finish_stop(OnCrash::Stop);
        life.run();
        assert_eq!(life.starts(), 2);
        assert_eq!(life.now(), (State::Running, Reason::Reset));
    }

    #[test]
    fn a_manager_pauses_what_runs_and_resumes_what_is_paused() {
        let life = running();
        assert!(!life.resume());
        assert!(life.pause());
        assert!(!life.pause());
        assert_eq!(life.state(), State::Paused);
        assert!(life.resume());
        assert_eq!(life.now(), (State::Running, Reason::Never));
    }

    #[test]
    fn a_paused_partition_can_be_stopped_and_a_stop_that_came_meanwhile_is_not_lost() {
        for stop in [
            |life: &Life| life.stop_by_manager(false),
            |life: &Life| life.stop(Reason::Off),
        ] {
            let life = running();
            life.pause();
            assert!(stop(&life));
            assert!(!life.resume());
            assert_eq!(life.state(), State::Stopping);
        }
    }

    #[test]
    fn a_managers_restart_starts_again_once() {
        let life = running();
        assert!(life.stop_by_manager(true));
        assert_eq!(life.now(), (State::Stopping, Reason::Manager));
        life.park(VcpuId::new(0), 1);
        assert_eq!(life.finish_stop(OnCrash::Stop), Next::Start);
        life.run();
        assert!(life.stop_by_manager(false));
        life.park(VcpuId::new(0), 1);
        assert_eq!(life.finish_stop(OnCrash::Stop), Next::Stay(State::Off));
        assert!(!life.stop_by_manager(true), "it is off");
    }
}
