//! What the short path did: it counts what it does in any case, and leaves a word of each where the count says.
//!
//! A core belongs to one vCPU, so that the word need not say whose it was; the path is short, so that how long it took need
//! not be known. Invariants: one core writes, anybody reads, nobody waits. A word is written at once, so that no reader sees
//! half of one, and the time in it says by itself when it was: no order between words is needed, nor kept.

use crate::words::sync::{AtomicU64, Ordering};

/// Words a trail holds: a power of two, so that the place of the next is a mask away.
pub const EVENTS: usize = if cfg!(all(loom, test)) { 2 } else { 64 };
const CAPACITY: u64 = EVENTS as u64;
/// Where a word's time is, above the detail.
pub const TIME: u32 = 16;
/// The bits of a time that are kept: with a counter of 1 GHz three days' worth.
const TIMES: u64 = u64::MAX >> TIME;

/// What the short path does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Deed {
    /// An interrupt went into a list register; the detail is that register's lower half: the INTID in ten bits, and above
    /// it what a GICv2 has there, such as an SGI's source.
    Injected = 0,
    /// EL2 ended the interrupt a guest was done with; the detail is its INTID.
    Ended = 1,
    /// A call was answered; the detail is [`function`] of it.
    Called = 2,
    /// A register of an emulated device was read or written; the detail is its offset.
    Accessed = 3,
    /// SGIs were sent; the detail is which.
    Sent = 4,
}

impl Deed {
    /// All there are, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Injected,
        Self::Ended,
        Self::Called,
        Self::Accessed,
        Self::Sent,
    ];

    /// Its number, for tools.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it is called, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Ended => "ended an interrupt",
            Self::Called => "call",
            Self::Accessed => "register",
            Self::Sent => "sent SGIs",
        }
    }
}

/// The detail of a call: the first and the last byte of its function identifier.
#[must_use]
pub const fn function(identifier: u32) -> u16 {
    let [low, _, _, high] = identifier.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// An event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Short {
    /// When, in ticks of the physical counter.
    pub at: u64,
    /// See [`Deed`].
    pub detail: u16,
}

impl Short {
    /// The event of a word, read at `now`; `None` if there has been none.
    fn of(word: u64, now: u64) -> Option<Self> {
        let detail = u16::try_from(word & !(u64::MAX << TIME)).ok()?;
        let at = now.wrapping_sub(now.wrapping_sub(word >> TIME) & TIMES);
        (word != 0).then_some(Self { at, detail })
    }
}

/// What a core did of one kind. The layout is known to vectors.S.
#[derive(Debug)]
#[repr(C)]
pub struct Trail {
    /// The last events, each where the count of those up to it says.
    pub words: [AtomicU64; EVENTS],
    /// Events ever.
    pub count: AtomicU64,
}

impl Default for Trail {
    fn default() -> Self {
        Self::new()
    }
}

impl Trail {
    /// A trail of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            words: [const { AtomicU64::new(0) }; EVENTS],
            count: AtomicU64::new(0),
        }
    }

    /// Counts an event that happened at `at`, in ticks, with the lower 16 bits of `detail`: the trail's own core alone.
    #[inline(always)]
    pub fn note(&self, at: u64, detail: u32) {
        let count = self.count.load(Ordering::Relaxed).wrapping_add(1);
        self.count.store(count, Ordering::Relaxed);
        let word = at << TIME | u64::from(detail) & !(u64::MAX << TIME);
        self.words[(count & (CAPACITY - 1)) as usize].store(word, Ordering::Relaxed);
    }

    /// How many events there ever were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// What is at place `index`, below [`EVENTS`]; `now` gives the counter.
    #[must_use]
    pub fn get(&self, index: usize, now: impl FnOnce() -> u64) -> Option<Short> {
        let word = self.words.get(index)?.load(Ordering::Relaxed);
        Short::of(word, now())
    }
}

/// A core's trails, one for each [`Deed`].
#[derive(Debug)]
pub struct Trails([Trail; Deed::ALL.len()]);

impl Default for Trails {
    fn default() -> Self {
        Self::new()
    }
}

impl Trails {
    /// Trails of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { Trail::new() }; Deed::ALL.len()])
    }

    /// The trail of a kind.
    #[must_use]
    #[inline(always)]
    pub const fn of(&self, deed: Deed) -> &Trail {
        &self.0[deed as usize]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn events(trail: &Trail, now: u64) -> Vec<(u64, u16)> {
        let found = (0..EVENTS).filter_map(|index| trail.get(index, || now));
        let mut found: Vec<_> = found.map(|event| (event.at, event.detail)).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn the_last_ones_are_there_and_all_are_counted() {
        let trail = Trail::default();
        assert_eq!((events(&trail, 9), trail.count()), (vec![], 0));
        for number in 1..=300_u16 {
            trail.note(u64::from(number) * 10, number.into());
        }
        let last: Vec<_> = (237..=300)
            .map(|number| (u64::from(number) * 10, number))
            .collect();
        assert_eq!((events(&trail, 3000), trail.count()), (last, 300));
        assert_eq!(trail.get(EVENTS, || 0), None);
    }

    #[test]
    fn a_time_is_right_although_its_upper_bits_are_not_kept() {
        let trail = Trail::new();
        // The counter passes 2^48 between the two.
        trail.note(0x0003_ffff_ffff_fff0, 1);
        trail.note(0x0004_0000_0000_0010, 2);
        let expected = vec![(0x0003_ffff_ffff_fff0, 1), (0x0004_0000_0000_0010, 2)];
        assert_eq!(events(&trail, 0x0004_0000_0000_0020), expected);
    }

    #[test]
    fn a_call_is_told_by_the_ends_of_its_function() {
        let functions = [0x8000_0000, 0x8400_0000, 0x8400_000a, 0xc600_0020];
        assert_eq!(functions.map(function), [0x8000, 0x8400, 0x840a, 0xc620]);
    }

    #[test]
    fn every_deed_has_its_number_its_name_and_its_trail() {
        let trails = Trails::default();
        for (number, deed) in Deed::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(deed.code()), number);
            trails.of(deed).note(1, u32::from(deed.code()));
        }
        for deed in Deed::ALL {
            assert_eq!(trails.of(deed).count(), 1);
            assert_eq!(events(trails.of(deed), 1), [(1, deed.code().into())]);
        }
        let mut names: Vec<&str> = Deed::ALL.iter().map(|deed| deed.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Deed::ALL.len());
    }

    #[test]
    fn a_reader_beside_the_writer_never_sees_half_an_event() {
        // Miri is slow, and finds a race in a few turns of the trail.
        let events = if cfg!(miri) { 300 } else { 200_000_u32 };
        let trail = Trail::new();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 1..=events {
                    trail.note(number.into(), number & 0xffff);
                }
            });
            while !writer.is_finished() {
                for seen in (0..EVENTS).filter_map(|index| trail.get(index, || events.into())) {
                    assert_eq!(seen.at & 0xffff, u64::from(seen.detail));
                }
            }
        });
    }
}
