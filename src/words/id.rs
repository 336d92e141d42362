//! Identifiers: small numbers that are not each other.

use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(transparent)]
        pub struct $name(u8);

        impl $name {
            /// The identifier with this index.
            #[must_use]
            pub const fn new(index: u8) -> Self {
                Self(index)
            }

            /// The identifier as an index.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }

            /// The identifier as the byte it is.
            #[must_use]
            pub const fn get(self) -> u8 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// A physical CPU: its index among the board tree's `cpu` nodes.
    CpuId
);
id!(
    /// A partition: its index in the manifest.
    PartitionId
);
id!(
    /// A vCPU of a partition; Aff0 of its MPIDR.
    VcpuId
);

/// The affinity fields of MPIDR_EL1 (Aff3 in 39:32, Aff2..Aff0 in 23:0) and nothing else of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Mpidr(u64);

impl Mpidr {
    /// Affinity bits of MPIDR_EL1 (Arm ARM D24.2.113).
    pub const MASK: u64 = 0xff_00ff_ffff;

    /// Keeps the affinity fields of `raw`.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw & Self::MASK)
    }

    /// The affinity fields, in MPIDR_EL1's positions.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}
