//! Addresses: three kinds that do not convert into each other.
//!
//! They have no `+` and `-`: arithmetic is checked, and only a stage-2 lookup makes a [`Pa`] from an [`Ipa`].

use core::fmt;

/// The translation granule everywhere in this hypervisor.
pub const PAGE_SIZE: u64 = 4096;
/// [`PAGE_SIZE`] as a length.
pub const PAGE_BYTES: usize = 4096;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Names the address `raw`.
            #[must_use]
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// The address as a number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The address `bytes` further up, if there is one.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }

            /// How far this lies above `base`, if it does.
            #[must_use]
            pub const fn offset_from(self, base: Self) -> Option<u64> {
                self.0.checked_sub(base.0)
            }

            /// Whether the address is a multiple of `alignment`, a power of two.
            #[must_use]
            pub const fn is_aligned(self, alignment: u64) -> bool {
                self.0 & (alignment - 1) == 0
            }

            /// The greatest multiple of `alignment`, a power of two, not above the address.
            #[must_use]
            pub const fn align_down(self, alignment: u64) -> Self {
                Self(self.0 & !(alignment - 1))
            }

            /// The least multiple of `alignment`, a power of two, not below the address, if there is one.
            #[must_use]
            pub const fn align_up(self, alignment: u64) -> Option<Self> {
                match self.0.checked_add(alignment - 1) {
                    Some(raw) => Some(Self(raw & !(alignment - 1))),
                    None => None,
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address!(
    /// A physical address: what the board decodes.
    Pa
);
address!(
    /// An intermediate physical address: what a guest takes for physical.
    Ipa
);
address!(
    /// A virtual address, EL2's or a guest's.
    Va
);

/// A range of physical memory or registers: `base` and `size` in bytes, which never wraps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Range {
    base: Pa,
    size: u64,
}

impl Range {
    /// The range of `size` bytes from `base`, unless it would wrap.
    #[must_use]
    pub const fn new(base: Pa, size: u64) -> Option<Self> {
        match base.checked_add(size) {
            Some(_) => Some(Self { base, size }),
            None => None,
        }
    }

    /// First address.
    #[must_use]
    pub const fn base(self) -> Pa {
        self.base
    }

    /// Bytes.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.size
    }

    /// First address past the range.
    #[must_use]
    pub const fn end(self) -> Pa {
        Pa(self.base.0 + self.size)
    }

    /// Whether the two have a byte in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.base.0 < other.end().0
            && other.base.0 < self.end().0
            && self.size > 0
            && other.size > 0
    }

    /// Whether all of `other` lies within this range.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.base.0 <= other.base.0 && other.end().0 <= self.end().0
    }
}
