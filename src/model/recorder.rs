//! The flight recorder: what a core did last, with times.
//!
//! One core writes, anybody reads, nobody waits: a ring of atomics. Invariant: the writer goes on whatever readers do; a
//! reader leaves out what may have been overwritten while it read.

mod trail;

pub use trail::{Deed, EVENTS as TRAIL_EVENTS, Short, TIME as TRAIL_TIME, Trail, Trails, function};

use crate::words::sync::{AtomicU64, Ordering, fence};
use crate::words::{PartitionId, VcpuId};

/// Events a core's ring holds: a power of two.
pub const EVENTS: usize = if cfg!(all(loom, test)) { 4 } else { 256 };
/// [`EVENTS`] as a number of events.
const CAPACITY: u64 = EVENTS as u64;
/// Events at the old end that the writer may be about to overwrite.
const MARGIN: u64 = 1;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A synchronous exit of the guest; the detail is ESR_EL2.
    Exit,
    /// A physical interrupt the core's loop saw to; the detail is its INTID.
    Interrupt,
    /// An SError out of the guest; the detail is ESR_EL2.
    SystemError,
    /// The partition's life goes on; the detail is a [`Stage`]'s number.
    Life,
}

impl What {
    const ALL: [Self; 4] = [Self::Exit, Self::Interrupt, Self::SystemError, Self::Life];

    /// Its number, for tools: 0 to 3 in the order above.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    fn from_code(code: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

/// A turn in a partition's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Its RAM is being filled.
    Loading = 0,
    /// It runs.
    Running = 1,
    /// Its vCPUs are called in.
    Stopping = 2,
    /// It is down.
    Down = 3,
    /// A manager holds it.
    Paused = 4,
}

impl Stage {
    /// Its number.
    #[must_use]
    pub const fn code(self) -> u64 {
        self as u64
    }
}

/// An event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// When it began, in ticks of the physical counter.
    pub at: u64,
    /// How long EL2 took for it, in ticks.
    pub took: u32,
    /// What it was.
    pub what: What,
    /// Whose vCPU ran.
    pub partition: PartitionId,
    /// Which of its vCPUs.
    pub vcpu: VcpuId,
    /// The guest's PC.
    pub pc: u64,
    /// See [`What`].
    pub detail: u64,
}

impl Event {
    fn packed(&self) -> u64 {
        u64::from(self.took)
            | u64::from(self.what.code()) << 32
            | u64::from(self.partition.get()) << 40
            | u64::from(self.vcpu.get()) << 48
    }

    fn unpacked(at: u64, packed: u64, pc: u64, detail: u64) -> Option<Self> {
        let byte = |shift: u32| u8::try_from(packed >> shift & 0xff).unwrap_or(0);
        Some(Self {
            at,
            took: crate::words::lower_half(packed),
            what: What::from_code(packed >> 32 & 0xff)?,
            partition: PartitionId::new(byte(40)),
            vcpu: VcpuId::new(byte(48)),
            pc,
            detail,
        })
    }
}

/// One event's place.
#[derive(Debug)]
struct Slot {
    at: AtomicU64,
    packed: AtomicU64,
    pc: AtomicU64,
    detail: AtomicU64,
}

/// A core's ring. It is large, and need not be zero at first: see [`Recorder::open`].
#[derive(Debug)]
pub struct Recorder {
    slots: [Slot; EVENTS],
    /// Events ever written.
    written: AtomicU64,
}

#[cfg(test)]
impl Default for Recorder {
    fn default() -> Self {
        Self {
            slots: [const {
                Slot {
                    at: AtomicU64::new(0),
                    packed: AtomicU64::new(0),
                    pc: AtomicU64::new(0),
                    detail: AtomicU64::new(0),
                }
            }; EVENTS],
            written: AtomicU64::new(0),
        }
    }
}

impl Recorder {
    /// Forgets all events, whatever was in their memory: before anybody writes or reads.
    pub fn open(&self) {
        self.written.store(0, Ordering::Relaxed);
    }

    fn slot(&self, number: u64) -> &Slot {
        let index = usize::try_from(number % CAPACITY).unwrap_or(0);
        &self.slots[index % EVENTS]
    }

    /// Writes an event: the ring's own core alone.
    #[inline(always)]
    pub fn record(&self, event: &Event) {
        let number = self.written.load(Ordering::Relaxed);
        let slot = self.slot(number);
        // Whoever sees a store below sees all events before this one written, and so that theirs is gone.
        fence(Ordering::Release);
        slot.at.store(event.at, Ordering::Relaxed);
        slot.packed.store(event.packed(), Ordering::Relaxed);
        slot.pc.store(event.pc, Ordering::Relaxed);
        slot.detail.store(event.detail, Ordering::Relaxed);
        self.written
            .store(number.wrapping_add(1), Ordering::Release);
    }

    /// How many events were ever written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Event `number`, counted from the first ever written, if it is still there.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<Event> {
        if number >= self.written() {
            return None;
        }
        let slot = self.slot(number);
        let event = Event::unpacked(
            slot.at.load(Ordering::Relaxed),
            slot.packed.load(Ordering::Relaxed),
            slot.pc.load(Ordering::Relaxed),
            slot.detail.load(Ordering::Relaxed),
        );
        fence(Ordering::Acquire);
        let written = self.written.load(Ordering::Relaxed);
        event.filter(|_| written - number <= CAPACITY - MARGIN)
    }

    /// The last `count` events that are there, newest first.
    pub fn latest(&self, count: u64) -> impl Iterator<Item = Event> + '_ {
        let written = self.written();
        let oldest = written.saturating_sub(count.min(CAPACITY - MARGIN));
        (oldest..written)
            .rev()
            .filter_map(|number| self.get(number))
    }

    /// The number of the oldest event that is there.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.written().saturating_sub(CAPACITY - MARGIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: u64) -> Event {
        Event {
            at,
            took: 7,
            what: What::Interrupt,
            partition: PartitionId::new(3),
            vcpu: VcpuId::new(1),
            pc: at ^ 0x4020_0000,
            detail: at.wrapping_mul(3),
        }
    }

    #[test]
    fn the_newest_come_back_as_they_were_and_newest_first() {
        let recorder = Recorder::default();
        for at in 0..1000 {
            recorder.record(&event(at));
        }
        let latest: Vec<Event> = recorder.latest(3).collect();
        assert_eq!(latest, [event(999), event(998), event(997)]);
        assert_eq!(recorder.get(0), None, "long overwritten");
        assert_eq!(recorder.get(1000), None, "not yet written");
        assert_eq!(recorder.get(recorder.oldest()), Some(event(1000 - 255)));
    }

    #[test]
    fn a_ring_with_little_in_it_gives_what_is_there() {
        let recorder = Recorder::default();
        assert_eq!(recorder.latest(8).count(), 0);
        recorder.record(&event(5));
        assert_eq!(recorder.latest(8).collect::<Vec<_>>(), [event(5)]);
    }

    #[test]
    fn a_ring_that_was_opened_gives_nothing_of_what_was_in_its_memory() {
        let recorder = Recorder::default();
        (0..300).for_each(|at| recorder.record(&event(at)));
        recorder.open();
        assert_eq!((recorder.written(), recorder.oldest()), (0, 0));
        assert_eq!((recorder.get(0), recorder.latest(8).count()), (None, 0));
        recorder.record(&event(5));
        assert_eq!(recorder.latest(8).collect::<Vec<_>>(), [event(5)]);
    }

    #[test]
    fn a_reader_beside_the_writer_never_sees_half_an_event() {
        let recorder = Recorder::default();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                (0..if cfg!(miri) { 300 } else { 200_000 })
                    .for_each(|at| recorder.record(&event(at)))
            });
            while !writer.is_finished() {
                for seen in recorder.latest(EVENTS as u64) {
                    assert_eq!(seen, event(seen.at));
                }
            }
        });
    }
}
