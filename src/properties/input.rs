//! Bytes as choices: what a fuzzer or a random generator gives, read as numbers of any width.

/// Bytes that have not been read yet. After the last one there are zeros.
pub struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    /// Reads from the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// Whether none is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    #[must_use]
    pub const fn rest(&self) -> &'b [u8] {
        self.0
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    /// Two bytes, the lower one first.
    pub fn half(&mut self) -> u16 {
        u16::from_le_bytes(core::array::from_fn(|_| self.byte()))
    }

    /// Four bytes, the lowest first.
    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes(core::array::from_fn(|_| self.byte()))
    }

    /// Eight bytes, the lowest first.
    pub fn long(&mut self) -> u64 {
        u64::from_le_bytes(core::array::from_fn(|_| self.byte()))
    }

    /// A byte's lowest bit.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `end`, out of one byte.
    pub fn below(&mut self, end: u8) -> u8 {
        self.byte() % end.max(1)
    }

    /// One of `choices`, of which there is at least one and at most 256.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// A number as registers hold them: small, one bit, anything, or one of `special`.
    pub fn number(&mut self, special: &[u64]) -> u64 {
        match self.below(5) {
            0 => self.below(6).into(),
            1 => 1 << self.below(64),
            2 => self.long(),
            3 => self.half().into(),
            _ if special.is_empty() => 0,
            _ => self.pick(special),
        }
    }
}
