//! What the short path did: two words an event, so that the event costs about ten instructions.
//!
//! A core belongs to one vCPU, so that the event need not say whose it was; the path is short, so that how long it took need not
//! be known. Invariants as the recorder's: one core writes, anybody reads, nobody waits.

use crate::words::sync::{AtomicU64, Ordering, fence};

/// Events a core's ring holds: a power of two, so that the place of the next is a mask away.
pub const EVENTS: usize = 256;
const CAPACITY: u64 = EVENTS as u64;
/// Events at the old end that the writer may be about to overwrite.
const MARGIN: u64 = 1;
/// Where an event's detail is in its second word.
const DETAIL: u32 = 8;

/// What the short path does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Deed {
    /// A physical interrupt went into a list register; the detail is its INTID.
    Injected = 0,
    /// What another core posted went into a list register.
    Posted = 1,
    /// EL2 ended the interrupt a guest was done with.
    Ended = 2,
    /// A call was answered; the detail is its function.
    Called = 3,
    /// A register of the virtual GIC was read or written; the detail is its offset.
    Accessed = 4,
    /// SGIs were sent.
    Sent = 5,
}

impl Deed {
    const ALL: [Self; 6] = [
        Self::Injected,
        Self::Posted,
        Self::Ended,
        Self::Called,
        Self::Accessed,
        Self::Sent,
    ];

    /// What it is called, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Posted => "took an SGI",
            Self::Ended => "ended an interrupt",
            Self::Called => "call",
            Self::Accessed => "GIC register",
            Self::Sent => "sent SGIs",
        }
    }
}

/// An event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Short {
    /// When, in ticks of the physical counter.
    pub at: u64,
    /// What.
    pub deed: Deed,
    /// See [`Deed`].
    pub detail: u32,
}

impl Short {
    /// The second word, which tools get as it is.
    #[must_use]
    #[inline(always)]
    pub const fn word(deed: Deed, detail: u32) -> u64 {
        deed as u64 | (detail as u64) << DETAIL
    }

    /// The event of two words; `None` if the second is no event's.
    #[must_use]
    pub fn of(at: u64, word: u64) -> Option<Self> {
        let index = usize::try_from(word & 0xff).ok()?;
        Some(Self {
            at,
            deed: *Deed::ALL.get(index)?,
            detail: crate::words::lower_half(word >> DETAIL),
        })
    }
}

/// A core's ring.
#[derive(Debug)]
pub struct ShortRing {
    /// Events ever written.
    written: AtomicU64,
    slots: [[AtomicU64; 2]; EVENTS],
}

impl Default for ShortRing {
    fn default() -> Self {
        Self::new()
    }
}

impl ShortRing {
    /// A ring with nothing in it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            written: AtomicU64::new(0),
            slots: [const { [AtomicU64::new(0), AtomicU64::new(0)] }; EVENTS],
        }
    }

    #[inline(always)]
    fn slot(&self, number: u64) -> &[AtomicU64; 2] {
        &self.slots[(number & (CAPACITY - 1)) as usize]
    }

    /// Writes an event that happened at `at`, in ticks: the ring's own core alone.
    #[inline(always)]
    pub fn note(&self, at: u64, deed: Deed, detail: u32) {
        let number = self.written.load(Ordering::Relaxed);
        let [time, word] = self.slot(number);
        // As in the recorder: whoever sees a store below sees that the event there before is gone.
        fence(Ordering::Release);
        time.store(at, Ordering::Relaxed);
        word.store(Short::word(deed, detail), Ordering::Relaxed);
        self.written
            .store(number.wrapping_add(1), Ordering::Release);
    }

    /// How many events were ever written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The number of the oldest event that is there.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.written().saturating_sub(CAPACITY - MARGIN)
    }

    /// Event `number`, counted from the first ever written, if it is still there.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<Short> {
        if number >= self.written() {
            return None;
        }
        let [time, word] = self.slot(number);
        let (at, word) = (time.load(Ordering::Relaxed), word.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let written = self.written.load(Ordering::Relaxed);
        Short::of(at, word).filter(|_| written - number <= CAPACITY - MARGIN)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_comes_back_until_it_is_written_over() {
        let ring = ShortRing::default();
        assert_eq!((ring.get(0), ring.oldest()), (None, 0));
        for number in 0..300_u32 {
            ring.note(number.into(), Deed::Injected, number);
        }
        let event = |at: u32| Short {
            at: at.into(),
            deed: Deed::Injected,
            detail: at,
        };
        assert_eq!(ring.get(299), Some(event(299)));
        assert_eq!(ring.oldest(), 300 - 255);
        assert_eq!(ring.get(45), Some(event(45)));
        assert_eq!((ring.get(44), ring.get(300)), (None, None));
    }

    #[test]
    fn every_deed_is_called_differently() {
        let mut names: Vec<&str> = Deed::ALL.iter().map(|deed| deed.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Deed::ALL.len());
    }

    #[test]
    fn every_deed_has_its_number_and_keeps_its_detail() {
        for (number, deed) in Deed::ALL.into_iter().enumerate() {
            let word = Short::word(deed, u32::MAX);
            assert_eq!(word, number as u64 | 0xff_ffff_ff00);
            let event = Short::of(7, word).unwrap();
            assert_eq!((event.at, event.deed, event.detail), (7, deed, u32::MAX));
        }
        assert_eq!(Short::of(7, 6), None);
    }

    #[test]
    fn a_reader_beside_the_writer_never_sees_half_an_event() {
        // Miri is slow, and finds a race in a few turns of the ring.
        let events = if cfg!(miri) { 600 } else { 200_000_u32 };
        let ring = ShortRing::new();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 0..events {
                    ring.note(number.into(), Deed::Called, number);
                }
            });
            while !writer.is_finished() {
                let written = ring.written();
                for seen in (ring.oldest()..written).filter_map(|number| ring.get(number)) {
                    assert_eq!(seen.at, u64::from(seen.detail));
                }
            }
        });
    }
}
