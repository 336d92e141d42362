//! A byte ring between one producer and one consumer, which also remembers what has left it.

use crate::words::sync::{AtomicU8, AtomicU32, Ordering};

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

    /// Consumer: reads the byte `distance` behind the oldest without taking it.
    pub fn peek(&self, distance: u32) -> Option<u8> {
        let head = self.head.load(Ordering::Relaxed);
        let tail = self.tail.load(Ordering::Acquire);
        (distance < tail.wrapping_sub(head))
            .then(|| self.slot(head.wrapping_add(distance)))
            .flatten()
            .map(|slot| slot.load(Ordering::Relaxed))
    }

    /// Consumer: takes the oldest byte.
    pub fn pop(&self) -> Option<u8> {
        let byte = self.peek(0)?;
        let head = self.head.load(Ordering::Relaxed);
        self.head.store(head.wrapping_add(1), Ordering::Release);
        Some(byte)
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
        (1..=Self::CAPACITY)
            .rev()
            .map(move |back| head.wrapping_sub(back))
            .filter_map(|position| {
                let byte = self.slot(position)?.load(Ordering::Relaxed);
                let tail = self.tail.load(Ordering::Acquire);
                // Never pushed, as NUL is for a console: or overwritten.
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
