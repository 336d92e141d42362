//! The console: one UART of the board shared by all partitions and the hypervisor's own log.
//!
//! Output: each speaker has a [`Ring`]; [`Console::serve`] moves bytes of *one* speaker to the UART, line by line and
//! tagged, so that a partition that floods spends its own cores' time. Input: typed bytes go to the queue of the
//! partition in focus; [`Escape`] finds the commands among them, and [`Intake`] takes no more than the queue has room for.
//!
//! Commands: after Ctrl-] the monitor has the keyboard ([`Typed`]), and its prompt is the unfinished line in front.
//!
//! # What the edge has to do
//! - After pushing into a ring (the producer's lock, the partition's own, is released or not, as it likes) the core
//!   calls [`Console::serve`] for that speaker.
//! - It kicks, by an inter-processor interrupt or by calling itself, a core of each speaker in [`Served::kick`];
//!   a kicked core calls `serve` for that speaker. A kick may be late or merged with others, but not lost, and it is
//!   served even while the speaker's partition is stopped.
//! - If [`Served::blocked`], it unmasks the UART's transmit interrupt. That interrupt's handler masks it again and
//!   kicks [`Console::unblock`]. The interrupt must be pending whenever there is room (the PL011's is latched when the
//!   FIFO falls through its level: clear it only before filling the FIFO, never after).
//! - If [`Served::again`], it calls `serve` for the same speaker at that time; an earlier time replaces a later one.
//! - When a partition stops, it calls [`Console::release`] and then `serve`.
//! - After changing the focus it kicks the partition now in focus.
//! - The UART's receive interrupt, and a guest that took typed bytes while [`Console::wants_input`], call [`Intake::take`].
//!
//! # Why nothing is left behind
//! Every byte in a ring has somebody who will come for it:
//! - its producer, which has yet to call `serve`; or failed to lock, then its bit in `busy` was set *before* that, and
//!   the holder looks at `busy` *after* unlocking (both with a sequentially consistent fence between): it kicks;
//! - or the UART is full: the speaker is in `blocked`, and the transmit interrupt kicks it;
//! - or another speaker's line stands open or it is another's turn: the speaker is parked in [`Mux`], and whoever ends
//!   a line, or finds that one rests, kicks one of the parked, in turn;
//! - or that line is an unfinished one of the focus, which nobody may ever end: whoever parks behind it, and whoever
//!   leaves it with others parked, is served again when it rests ([`Served::again`]): [`GRACE`] after its last byte and no
//!   later than [`PATIENCE`] after its first;
//! - or the bytes are an unfinished line of a speaker out of focus: not showable until the line ends, is as long as
//!   [`PIECE`], the speaker comes into focus, or stops.
//!
//! The tests run every interleaving of these steps for small cases.

mod escape;
mod intake;
mod mux;
mod plain;
mod ring;

pub use escape::{ESCAPE, Escape, HELP, Typed};
pub use intake::{HOLD, Intake, RESUME, Taken, Then};
pub use mux::{GRACE, Mux, PATIENCE, PIECE, Pumped, QUANTUM, State};
pub use ring::ByteRing;

use crate::words::limits::MAX_PARTITIONS;
use crate::words::sync::{AtomicBool, AtomicU8, AtomicU32, Ordering, fence};
use crate::words::{PartitionId, patience};
use core::num::NonZeroU8;
use spin::mutex::{SpinMutex, SpinMutexGuard};

/// A time, from any moment on that is the same for all cores.
pub type Milliseconds = u64;

/// Bytes that a ring and a queue have room for: as much as one pastes. Few under Miri, which looks at each with every copy.
pub const ROOM: usize = if cfg!(miri) { 0x200 } else { 0x4000 };

/// Output of one speaker on its way to the UART.
pub type Ring = ByteRing<ROOM>;
/// Typed bytes on their way to one partition.
pub type InputQueue = ByteRing<ROOM>;

/// Those who may speak: the partitions, the hypervisor, the monitor, and what a partition said before.
pub const SPEAKERS: usize = MAX_PARTITIONS + 3;
/// The index of the first that is no partition.
#[allow(clippy::cast_possible_truncation)] // asserted right here
const FIRST_OWN: u8 = {
    assert!(SPEAKERS <= 32);
    MAX_PARTITIONS as u8
};

/// One who speaks on the console: a mark and its index. None is 0, so that 0 is nobody: a new console is all zeros, and
/// not in the image's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Speaker(NonZeroU8);

impl Speaker {
    /// The hypervisor's log.
    pub const HYPERVISOR: Self = Self::with_index(FIRST_OWN);
    /// The monitor.
    pub const MONITOR: Self = Self::with_index(FIRST_OWN + 1);
    /// What a partition said before, shown again under its name.
    pub const REPLAY: Self = Self::with_index(FIRST_OWN + 2);

    /// What makes 0 no speaker.
    const MARK: u8 = 1 << 7;
    const INDEX: u8 = 31;

    /// A partition.
    #[must_use]
    pub const fn partition(id: PartitionId) -> Self {
        Self::with_index(id.get())
    }

    /// Which partition it is, if it is one.
    #[must_use]
    pub const fn as_partition(self) -> Option<PartitionId> {
        let index = self.0.get() & Self::INDEX;
        if index < FIRST_OWN {
            Some(PartitionId::new(index))
        } else {
            None
        }
    }

    /// Its index, below [`SPEAKERS`] for every partition there can be: partitions first.
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0.get() & Self::INDEX) as usize
    }

    const fn with_index(index: u8) -> Self {
        match NonZeroU8::new(Self::MARK | index) {
            Some(marked) => Self(marked),
            // Never: it is marked.
            None => Self(NonZeroU8::MIN),
        }
    }

    const fn bit(self) -> u32 {
        1 << (self.0.get() & Self::INDEX)
    }
}

/// A set of speakers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Speakers(u32);

impl Speakers {
    /// Nobody.
    pub const NONE: Self = Self(0);

    /// Only `speaker`.
    #[must_use]
    pub const fn only(speaker: Speaker) -> Self {
        Self(speaker.bit())
    }

    /// Whether nobody is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `speaker` is in it.
    #[must_use]
    pub const fn contains(self, speaker: Speaker) -> bool {
        self.0 & speaker.bit() != 0
    }

    /// Those in either.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in this and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The first after `speaker`, going round, `speaker` itself last.
    #[must_use]
    pub fn next_after(self, speaker: Speaker) -> Option<Speaker> {
        let later = self.0 & !(speaker.bit() | (speaker.bit() - 1));
        first_of(if later == 0 { self.0 } else { later })
    }

    /// Goes through them, partitions first.
    pub fn iter(self) -> impl Iterator<Item = Speaker> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let first = first_of(left)?;
            left &= left - 1;
            Some(first)
        })
    }
}

/// The speaker of the lowest bit of `set`.
fn first_of(set: u32) -> Option<Speaker> {
    let lowest = u8::try_from(set.trailing_zeros()).ok()?;
    (set != 0).then(|| Speaker::with_index(lowest))
}

/// Speakers who want to be kicked, set and taken by any core.
#[derive(Debug, Default)]
pub struct Waiters(AtomicU32);

impl Waiters {
    /// Nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Enters `speaker`. What the caller looks at afterwards is seen after this.
    pub fn set(&self, speaker: Speaker) {
        self.0.fetch_or(speaker.bit(), Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Strikes `speaker` out; what was pushed before it was entered is visible from here on.
    pub fn clear(&self, speaker: Speaker) {
        self.0.fetch_and(!speaker.bit(), Ordering::AcqRel);
    }

    /// Takes all who wait. What the caller changed before is seen by who enters later.
    pub fn take(&self) -> Speakers {
        fence(Ordering::SeqCst);
        Speakers(self.0.swap(0, Ordering::AcqRel))
    }
}

/// Whether typed bytes wait in the UART for room in a queue.
#[derive(Debug, Default)]
pub(crate) struct Held(AtomicBool);

impl Held {
    const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Says whether bytes wait. What the caller looks at afterwards is seen after this.
    pub(crate) fn set(&self, held: bool) {
        self.0.store(held, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Whether bytes wait, for a caller that has just made room.
    pub(crate) fn is_set_after_room(&self) -> bool {
        fence(Ordering::SeqCst);
        self.is_set()
    }
}

/// What [`Console::serve`] leaves to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Served {
    /// Speakers one of whose cores must call [`Console::serve`]; the caller's own speaker may be among them.
    pub kick: Speakers,
    /// The UART is full: unmask its transmit interrupt.
    pub blocked: bool,
    /// The caller must call [`Console::serve`] for the same speaker at this time, or earlier as well.
    pub again: Option<Milliseconds>,
}

/// The rings of all. They are large, and need not be zero at first: see [`Console::open`].
pub struct Rings {
    outputs: [Ring; SPEAKERS],
    inputs: [InputQueue; MAX_PARTITIONS],
}

#[cfg(any(test, fuzzing))]
impl Default for Rings {
    fn default() -> Self {
        Self {
            outputs: [const { Ring::new() }; SPEAKERS],
            inputs: [const { InputQueue::new() }; MAX_PARTITIONS],
        }
    }
}

/// Where they are: in a static, for tests on the heap.
#[cfg(not(any(test, fuzzing)))]
type Place = &'static Rings;
#[cfg(any(test, fuzzing))]
type Place = Box<Rings>;

/// The console: rings, queues, focus, and who may use the UART.
pub struct Console {
    rings: Place,
    focus: AtomicU8,
    /// The monitor has the keyboard.
    monitor: AtomicBool,
    mux: SpinMutex<Mux>,
    busy: Waiters,
    blocked: Waiters,
    /// Typed bytes wait in the UART for room in the queue of the focus.
    held: Held,
    /// A core has failed: it may have the console lock for good.
    bereft: AtomicBool,
}

#[cfg(any(test, fuzzing))]
impl Default for Console {
    fn default() -> Self {
        Self::new(Box::default())
    }
}

/// Most quanta one call moves: what a full ring holds.
const MAX_ROUNDS: usize = ROOM / PIECE + 1;

impl Console {
    /// A console nobody has spoken on, partition 0 in focus. [`Console::open`] is called first.
    #[must_use]
    pub const fn new(rings: Place) -> Self {
        Self {
            rings,
            focus: AtomicU8::new(0),
            monitor: AtomicBool::new(false),
            mux: SpinMutex::new(Mux::new()),
            busy: Waiters::new(),
            blocked: Waiters::new(),
            held: Held::new(),
            bereft: AtomicBool::new(false),
        }
    }

    /// Empties the rings, whatever was in their memory: before anybody speaks.
    pub fn open(&self) {
        self.rings.outputs.iter().for_each(Ring::clear);
        self.rings.inputs.iter().for_each(InputQueue::clear);
    }

    /// The output ring of `speaker`: its producer pushes here, under the speaker's own lock.
    #[must_use]
    pub fn ring(&self, speaker: Speaker) -> &Ring {
        let outputs = &self.rings.outputs;
        outputs
            .get(speaker.index())
            .unwrap_or(&outputs[MAX_PARTITIONS])
    }

    /// The queue of bytes typed for `partition`, if there can be such a partition.
    #[must_use]
    pub fn input(&self, partition: PartitionId) -> Option<&InputQueue> {
        self.rings.inputs.get(partition.index())
    }

    /// Says whether typed bytes wait for room. What the caller looks at afterwards is seen after this.
    fn hold_input(&self, held: bool) {
        self.held.set(held);
    }

    /// Whether typed bytes wait in the UART.
    #[must_use]
    pub fn is_input_held(&self) -> bool {
        self.held.is_set()
    }

    /// Whether typed bytes wait in the UART, and `partition`, which has just taken some, has room for them now.
    #[must_use]
    pub fn wants_input(&self, partition: PartitionId) -> bool {
        self.held.is_set_after_room()
            && self.focus() == partition
            && self
                .input(partition)
                .is_some_and(|input| input.space() >= RESUME)
    }

    /// The partition that gets what is typed, and whose unfinished lines are shown.
    #[must_use]
    pub fn focus(&self) -> PartitionId {
        PartitionId::new(self.focus.load(Ordering::Acquire))
    }

    /// Whose unfinished line is shown as it comes: the monitor's while it is open, else that of the focus.
    #[must_use]
    pub fn front(&self) -> Speaker {
        if self.monitor.load(Ordering::Acquire) {
            Speaker::MONITOR
        } else {
            Speaker::partition(self.focus())
        }
    }

    /// Gives the monitor the keyboard, or takes it away.
    fn open_monitor(&self, open: bool) {
        self.monitor.store(open, Ordering::Release);
    }

    /// Has [`Speaker::REPLAY`] say again what `speaker` has said and the ring still has, under `name`, unless it is still at
    /// another. Waits for the console lock; call [`Console::serve`] next. One caller at a time.
    pub fn replay(&self, speaker: Speaker, name: &str) {
        let replay = self.ring(Speaker::REPLAY);
        if speaker == Speaker::REPLAY || !replay.is_empty() {
            return;
        }
        self.change(|mux| mux.set_name(Speaker::REPLAY, name));
        let mut said = self.ring(speaker).said().peekable();
        // The ring's oldest byte is seldom a line's first.
        let cut = self.ring(speaker).has_wrapped();
        while cut && said.next_if(|byte| *byte != b'\n').is_some() {}
        let mut last = b'\n';
        said.all(|byte| {
            last = byte;
            replay.push(byte)
        });
        if last != b'\n' {
            replay.push(b'\n');
        }
    }

    /// Puts `partition` in focus; kick it afterwards.
    pub fn set_focus(&self, partition: PartitionId) {
        self.focus.store(partition.get(), Ordering::Release);
    }

    /// Names a speaker for its tag. Called at boot, waits for the console lock.
    pub fn name(&self, speaker: Speaker, name: &str) {
        self.change(|mux| mux.set_name(speaker, name));
    }

    /// Ends the open line of a speaker whose partition stops, and makes the rest of its output showable as it is.
    /// Waits for the console lock; call [`Console::serve`] next.
    pub fn release(&self, speaker: Speaker) {
        self.change(|mux| mux.release(speaker));
    }

    /// Says that a core has failed. If it did with the console lock, nothing is shown any more, and nobody waits for that.
    pub fn core_lost(&self) {
        self.bereft.store(true, Ordering::Release);
    }

    fn change(&self, change: impl FnOnce(&mut Mux)) {
        let lost = || self.bereft.load(Ordering::Acquire);
        if let Some(mut mux) = patience::wait(|| self.mux.try_lock(), lost) {
            change(&mut mux);
        }
    }

    /// Takes the speakers that found the UART full; the transmit interrupt's handler kicks them.
    pub fn unblock(&self) -> Speakers {
        self.blocked.take()
    }

    /// Moves what `me` has to show to the UART as far as that is possible `now`, without waiting for anybody.
    ///
    /// `out` gives the UART bytes until it is full, and says how many it took; it is called under the console lock only.
    pub fn serve(
        &self,
        me: Speaker,
        now: Milliseconds,
        mut out: impl FnMut(&[u8]) -> usize,
    ) -> Served {
        let mut service = Service::new(self, me, now);
        while service.step(&mut out) {}
        service.served
    }
}

/// One call of [`Console::serve`], in steps between which other cores may do anything.
struct Service<'a> {
    console: &'a Console,
    me: Speaker,
    now: Milliseconds,
    stage: Stage<'a>,
    rounds: usize,
    served: Served,
}

enum Stage<'a> {
    /// Say that we want the lock, before we try it.
    Announce,
    Try,
    Pump(SpinMutexGuard<'a, Mux>),
    Unlock(SpinMutexGuard<'a, Mux>, Pumped),
    /// Look who failed to get the lock while we had it.
    Collect(Pumped),
    Done,
}

impl<'a> Service<'a> {
    fn new(console: &'a Console, me: Speaker, now: Milliseconds) -> Self {
        Self {
            console,
            me,
            now,
            stage: Stage::Announce,
            rounds: 0,
            served: Served::default(),
        }
    }

    /// Takes one step; gives whether there is another.
    fn step(&mut self, out: &mut impl FnMut(&[u8]) -> usize) -> bool {
        let console = self.console;
        self.stage = match core::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Announce => {
                console.busy.set(self.me);
                Stage::Try
            }
            Stage::Try => console.mux.try_lock().map_or(Stage::Done, Stage::Pump),
            Stage::Pump(mut mux) => {
                console.busy.clear(self.me);
                let focus = console.front();
                let pumped = mux.pump(self.me, focus, self.now, console.ring(self.me), out);
                self.served.again = pumped.again;
                if pumped.state == State::Blocked {
                    console.blocked.set(self.me);
                    self.served.blocked = true;
                }
                Stage::Unlock(mux, pumped)
            }
            Stage::Unlock(mux, pumped) => {
                drop(mux);
                Stage::Collect(pumped)
            }
            Stage::Collect(pumped) => self.collect(pumped),
            Stage::Done => Stage::Done,
        };
        !matches!(self.stage, Stage::Done)
    }

    /// Kicks those who failed to get the lock, or whose turn it is. Goes on at once only if nobody else wants to.
    fn collect(&mut self, pumped: Pumped) -> Stage<'a> {
        let me = Speakers::only(self.me);
        let kick = self.console.busy.take().with(pumped.kick);
        self.served.kick = self.served.kick.with(kick.without(me));
        self.rounds += 1;
        if pumped.state != State::More && !kick.contains(self.me) {
            return Stage::Done;
        }
        if self.rounds < MAX_ROUNDS && self.served.kick.is_empty() {
            return Stage::Announce;
        }
        self.served.kick = self.served.kick.with(me);
        Stage::Done
    }
}

#[cfg(test)]
mod tests;
