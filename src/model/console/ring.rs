//! A byte ring between one producer and one consumer, which also remembers what has left it.

use crate::words::sync::{AtomicU8, AtomicU32, Ordering};
use core::ops::Range;

/// A queue of `N` bytes, `N` a power of two, for one producer and one consumer at a time.
///
/// Nothing here can be unsound; who breaks the rule of one producer and one consumer loses or repeats bytes.
/// `tail` and `head` run freely and wrap: their difference is the length.
pub struct ByteRing<const N: usize> {
    bytes: [AtomicU8; N],
    head: AtomicU32,
    tail: AtomicU32,
}

impl<const N: usize> Default for ByteRing<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> ByteRing<N> {
    #[allow(clippy::cast_possible_truncation)] // asserted right here
    const CAPACITY: u32 = {
        assert!(N.is_power_of_two() && N <= 1 << 30);
        N as u32
    };

    /// An empty ring.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [const { AtomicU8::new(0) }; N],
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
        }
    }

    /// Empties it, whatever is in its memory: while there is neither producer nor consumer. No byte of that memory is ever
    /// given out.
    pub fn clear(&self) {
        self.head.store(0, Ordering::Relaxed);
        self.tail.store(0, Ordering::Relaxed);
    }

    /// Producer: appends `byte`; gives false, and changes nothing, if the ring is full.
    pub fn push(&self, byte: u8) -> bool {
        let tail = self.tail.load(Ordering::Relaxed);
        let head = self.head.load(Ordering::Acquire);
        if tail.wrapping_sub(head) >= Self::CAPACITY {
            return false;
        }
        self.slot(tail)
            .inspect(|slot| slot.store(byte, Ordering::Relaxed));
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
        true
    }

    /// Producer: appends `bytes` as far as there is room; gives how many. Each is there as soon as it is written, for
    /// [`ByteRing::said`] to tell what is overwritten.
    pub fn push_all(&self, bytes: &[u8]) -> usize {
        let mut tail = self.tail.load(Ordering::Relaxed);
        let head = self.head.load(Ordering::Acquire);
        let room = Self::CAPACITY.saturating_sub(tail.wrapping_sub(head)) as usize;
        let taken = bytes.get(..room).unwrap_or(bytes);
        for byte in taken {
            self.slot(tail)
                .inspect(|slot| slot.store(*byte, Ordering::Relaxed));
            tail = tail.wrapping_add(1);
            self.tail.store(tail, Ordering::Release);
        }
        taken.len()
    }

    /// Consumer: reads the bytes that wait at these `distances` behind the oldest, without taking them.
    pub fn waiting(&self, distances: Range<usize>) -> impl Iterator<Item = u8> + '_ {
        let head = self.head.load(Ordering::Relaxed);
        let tail = self.tail.load(Ordering::Acquire);
        let end = distances.end.min(tail.wrapping_sub(head) as usize);
        (distances.start..end).filter_map(move |distance| {
            let slot = self.bytes.get((head as usize + distance) % N)?;
            Some(slot.load(Ordering::Relaxed))
        })
    }

    /// Consumer: takes the oldest byte.
    pub fn pop(&self) -> Option<u8> {
        let byte = self.waiting(0..1).next()?;
        self.skip(1);
        Some(byte)
    }

    /// Consumer: takes the `count` oldest bytes, which it has read.
    #[allow(clippy::cast_possible_truncation)] // no more than the ring holds
    pub fn skip(&self, count: usize) {
        let head = self.head.load(Ordering::Relaxed);
        self.head
            .store(head.wrapping_add(count as u32), Ordering::Release);
    }

    /// Bytes waiting.
    pub fn len(&self) -> u32 {
        let head = self.head.load(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Acquire);
        tail.wrapping_sub(head).min(Self::CAPACITY)
    }

    /// Whether no byte waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes [`ByteRing::push`] would take.
    pub fn space(&self) -> u32 {
        Self::CAPACITY - self.len()
    }

    /// Whether more bytes were ever pushed than the ring holds. (A ring that has taken 2^32 of them may say no.)
    pub fn has_wrapped(&self) -> bool {
        self.tail.load(Ordering::Acquire) > Self::CAPACITY
    }

    /// Gives the last bytes taken, oldest first, as far as the ring still has them.
    ///
    /// While the producer goes on, it overwrites the oldest: those are left out.
    pub fn said(&self) -> impl Iterator<Item = u8> + '_ {
        let head = self.head.load(Ordering::Acquire);
        let held = if self.has_wrapped() {
            Self::CAPACITY
        } else {
            head.min(Self::CAPACITY)
        };
        (1..=held)
            .rev()
            .map(move |back| head.wrapping_sub(back))
            .filter_map(|position| {
                let byte = self.slot(position)?.load(Ordering::Relaxed);
                let tail = self.tail.load(Ordering::Acquire);
                // A NUL is none for a console; overwritten meanwhile.
                (byte != 0 && tail.wrapping_sub(position) <= Self::CAPACITY).then_some(byte)
            })
    }

    /// Gives the last bytes pushed, oldest first, at most `N`, whether or not they were taken.
    ///
    /// Meant for a replay: while the producer goes on, the oldest may already be new ones.
    #[cfg(test)]
    pub fn history(&self) -> impl Iterator<Item = u8> + '_ {
        let tail = self.tail.load(Ordering::Acquire);
        let oldest = tail.wrapping_sub(Self::CAPACITY);
        (0..Self::CAPACITY)
            .filter_map(move |distance| self.slot(oldest.wrapping_add(distance)))
            .map(|slot| slot.load(Ordering::Relaxed))
            .skip_while(|byte| *byte == 0)
    }

    fn slot(&self, position: u32) -> Option<&AtomicU8> {
        let index = usize::try_from(position % Self::CAPACITY).ok()?;
        self.bytes.get(index)
    }
}
