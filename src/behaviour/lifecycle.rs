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
//! | Stopping | every vCPU parked, restart later | Waiting | the leader            |
//! | Waiting  | its time has come          | Starting | the leader                 |
//! | Waiting  | start                      | Starting | anybody                    |
//! | Waiting  | a manager's stop           | Off      | a manager                  |
//! | Crashed  | start                      | Starting | anybody                    |
//!
//! The leader is the core of the first vCPU whose core is not lost. No core waits for another's guest: a kick brings each
//! to EL2, where it parks. A stop waits for the cores that have come up and are not lost, and for no other: one that comes
//! up later finds the state it is in.
//!
//! # Restarts after a crash
//! The policy's limit counts the restarts within its window, or since power-on if it has none. The window begins with its
//! first crash. The first restart in it follows at once, the second [`BACK_OFF`] after its crash, each further one after
//! twice that time, up to [`BACK_OFF_MOST`].

use crate::model::bundle::OnCrash;
use crate::words::VcpuId;
use crate::words::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Where a partition is in its life, in the order of the codes in the word of a [`Life`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Not running.
    Off,
    /// Its leader loads it.
    Starting,
    /// Its vCPUs run as their power states say.
    Running,
    /// Its vCPUs are called in.
    Stopping,
    /// Stopped by a fault, and stays so.
    Crashed,
    /// A manager holds its vCPUs where they are.
    Paused,
    /// Stopped by a fault, to be started again when its time comes.
    Waiting,
}

impl State {
    /// The state in the word of a [`Life`].
    const fn of(word: u32) -> Self {
        match word & 0xff {
            1 => Self::Starting,
            2 => Self::Running,
            3 => Self::Stopping,
            4 => Self::Crashed,
            5 => Self::Paused,
            6 => Self::Waiting,
            _ => Self::Off,
        }
    }
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
    /// It starts again at this time, in milliseconds, or earlier.
    StartAt(u64),
    /// It stays off, or crashed.
    Stay(State),
}

/// How long the second restart in a window waits, in milliseconds.
pub const BACK_OFF: u64 = 100;
/// How long any restart waits at most, in milliseconds.
pub const BACK_OFF_MOST: u64 = 10_000;

/// Where the number of a stop is in its word.
const STOP_SHIFT: u32 = 8;

/// The bit of a vCPU.
const fn bit(vcpu: VcpuId) -> u32 {
    1 << (vcpu.get() & 7)
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
        State::Waiting => 6,
    };
    state | u32::from(reason.code()) << 8
}

/// A partition's life, shared by its cores.
#[derive(Debug)]
pub struct Life {
    word: AtomicU32,
    /// Bit n of 7:0: vCPU n is parked; above, the number of the stop under way or to come.
    parked: AtomicU32,
    starts: AtomicU64,
    /// Bit n: the core of vCPU n has come up.
    arrived: AtomicU32,
    /// Bit n: the core of vCPU n is lost for good.
    lost: AtomicU32,
    /// Restarts in the present window, when it began, and when the next start is due: the leader's alone.
    restarts: AtomicU64,
    window: AtomicU64,
    due: AtomicU64,
}

impl Life {
    /// A partition that was never started.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
            parked: AtomicU32::new(0),
            starts: AtomicU64::new(0),
            arrived: AtomicU32::new(0),
            lost: AtomicU32::new(0),
            restarts: AtomicU64::new(0),
            window: AtomicU64::new(0),
            due: AtomicU64::new(0),
        }
    }

    /// The state now, and why it last stopped.
    #[must_use]
    pub fn now(&self) -> (State, Reason) {
        let word = self.word.load(Ordering::Acquire);
        (State::of(word), Reason::from_code(word >> 8 & 0xff))
    }

    /// The state now.
    #[must_use]
    #[inline(always)]
    pub fn state(&self) -> State {
        State::of(self.word.load(Ordering::Acquire))
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
    #[inline(never)]
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

    /// Asks for a start. `true`: its leader must be told. `false`: it is not down, or has lost a core.
    pub fn start(&self) -> bool {
        let (state, reason) = self.now();
        matches!(state, State::Off | State::Crashed | State::Waiting)
            && !self.has_lost()
            && self.change(state, State::Starting, reason)
    }

    /// The leader, of a partition that waits: whether its time has come at `now`, in milliseconds. If so it is starting.
    ///
    /// # Errors
    /// When it will have come.
    pub fn start_if_due(&self, now: u64) -> Result<bool, u64> {
        let due = self.due.load(Ordering::Acquire);
        if self.state() == State::Waiting && now < due {
            return Err(due);
        }
        Ok(self.state() == State::Waiting && self.start())
    }

    /// Asks for a stop. `true`: all its cores must be told. `false`: it is not running, or another stop came first.
    pub fn stop(&self, reason: Reason) -> bool {
        // A vCPU may ask while a manager's pause is under way.
        self.change(State::Running, State::Stopping, reason)
            || self.change(State::Paused, State::Stopping, reason)
    }

    /// A manager asks for a stop, followed by a start if `again`. `false`: it is down, on its way, or no core of it is left.
    pub fn stop_by_manager(&self, again: bool) -> bool {
        let word = encode(State::Stopping, Reason::Manager) | if again { AGAIN } else { 0 };
        if self.change_word(State::Running, word) || self.change_word(State::Paused, word) {
            return true;
        }
        // One that waits is down already.
        if again {
            self.state() == State::Waiting && self.start()
        } else {
            self.change(State::Waiting, State::Off, Reason::Manager)
        }
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

    /// Notes that the core of `vcpu` has come up.
    pub fn arrive(&self, vcpu: VcpuId) {
        self.arrived.fetch_or(bit(vcpu), Ordering::AcqRel);
    }

    /// Notes that the core of `vcpu` is lost for good: no stop waits for it, and the partition does not start again.
    pub fn lose(&self, vcpu: VcpuId) {
        self.lost.fetch_or(bit(vcpu), Ordering::AcqRel);
        // With the one in `run`: this core sees that it runs, or its leader sees who is lost.
        fence(Ordering::SeqCst);
        let (_, reason) = self.now();
        self.change(State::Waiting, State::Crashed, reason);
    }

    /// Whether any core is lost: it may hold what its partition's others wait for.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire) != 0
    }

    /// Whether the core of `vcpu` leads: it is the first that is not lost.
    #[must_use]
    pub fn is_leader(&self, vcpu: VcpuId) -> bool {
        self.lost.load(Ordering::Acquire).trailing_ones() == u32::from(vcpu.get())
    }

    /// Whether the core of `vcpu` has come up and is not lost.
    #[must_use]
    pub fn is_there(&self, vcpu: VcpuId) -> bool {
        self.there() & bit(vcpu) != 0
    }

    fn there(&self) -> u32 {
        self.arrived.load(Ordering::Acquire) & !self.lost.load(Ordering::Acquire)
    }

    /// The number of the stop under way, if there is one: for [`Self::park`].
    #[must_use]
    pub fn stopping(&self) -> Option<u32> {
        // Looked at first: a stop that ends in between has another number than the next.
        let number = self.parked.load(Ordering::Acquire) >> STOP_SHIFT;
        (self.state() == State::Stopping).then_some(number)
    }

    /// Notes that `vcpu` has left its guest for good, for stop `number`. `true`: all that are there have, the leader must be
    /// told. A stop that is over is not this one's to park for: a core that comes up late may have seen it.
    pub fn park(&self, vcpu: VcpuId, number: u32) -> bool {
        let parked = |word: u32| (word >> STOP_SHIFT == number).then_some(word | bit(vcpu));
        let ours = self
            .parked
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, parked)
            .is_ok();
        ours && self.all_parked()
    }

    /// Whether all vCPUs whose cores are there are parked.
    #[must_use]
    pub fn all_parked(&self) -> bool {
        self.there() & !self.parked.load(Ordering::Acquire) == 0
    }

    /// The leader: what follows the stop that is complete at `now`, in milliseconds, by policy, and the state that says so.
    pub fn finish_stop(&self, policy: OnCrash, now: u64) -> Next {
        let (_, reason) = self.now();
        let again = self.word.load(Ordering::Acquire) & AGAIN != 0;
        let number = self.parked.load(Ordering::Acquire) >> STOP_SHIFT;
        let another = number.wrapping_add(1) << STOP_SHIFT;
        self.parked.store(another, Ordering::Release);
        let next = match reason {
            _ if self.has_lost() => Next::Stay(State::Crashed),
            Reason::Manager if again => Next::Start,
            Reason::Reset => Next::Start,
            Reason::Never | Reason::Off | Reason::Manager => Next::Stay(State::Off),
            Reason::Crash | Reason::Heartbeat => self.after_crash(policy, now),
        };
        let state = match next {
            Next::Start => State::Starting,
            Next::StartAt(due) => {
                self.due.store(due, Ordering::Release);
                State::Waiting
            }
            Next::Stay(state) => state,
        };
        self.word.store(encode(state, reason), Ordering::Release);
        next
    }

    /// What the policy says after a crash.
    fn after_crash(&self, policy: OnCrash, now: u64) -> Next {
        let OnCrash::Restart { limit, window_ms } = policy else {
            return Next::Stay(State::Crashed);
        };
        let begun = self.window.load(Ordering::Relaxed);
        let over = window_ms.is_some_and(|window| now.saturating_sub(begun) > window.into());
        let restarts = match self.restarts.load(Ordering::Relaxed) {
            restarts if restarts > 0 && !over => restarts,
            _ => {
                self.window.store(now, Ordering::Relaxed);
                0
            }
        };
        if restarts >= u64::from(limit) {
            return Next::Stay(State::Crashed);
        }
        self.restarts.store(restarts + 1, Ordering::Relaxed);
        match u32::try_from(restarts).unwrap_or(u32::MAX).checked_sub(1) {
            None => Next::Start,
            Some(doublings) => {
                let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
                let wait = BACK_OFF.saturating_mul(factor).min(BACK_OFF_MOST);
                Next::StartAt(now.saturating_add(wait))
            }
        }
    }

    /// The leader: the partition is loaded and runs.
    pub fn run(&self) {
        let (_, reason) = self.now();
        self.starts.fetch_add(1, Ordering::Relaxed);
        self.word
            .store(encode(State::Running, reason), Ordering::Release);
        // Looked at afterwards: whoever was lost meanwhile could stop nothing that did not run.
        fence(Ordering::SeqCst);
        if self.has_lost() {
            self.stop(Reason::Crash);
        }
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
mod tests;
