//! Random numbers that are the same for the same seed.

/// A generator (xorshift64*).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Begins with `seed`.
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit.max(1)
    }

    /// Whether one in `count` comes up.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// 32 random bits.
    pub fn word(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap_or(0)
    }

    /// `bits` random bits.
    pub fn bits(&mut self, bits: u32) -> u32 {
        self.word() & ((1 << bits) - 1)
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = usize::try_from(self.below(choices.len() as u64)).unwrap_or(0);
        choices[index]
    }

    /// A number as arguments are: small, near an edge, an address, or anything.
    pub fn argument(&mut self) -> u64 {
        match self.below(8) {
            0 | 1 => self.below(8),
            2 => u64::MAX - self.below(8),
            3 => 1 << self.below(64),
            4 => 0x4000_0000 + self.below(1 << 24),
            5 => super::address::any(self),
            6 => u64::from(self.word()),
            _ => self.next(),
        }
    }
}
