//! Where each partition's RAM lies: the same code decides at boot and in `cargo xtask check`.

use arrayvec::ArrayVec;
use thiserror::Error;

use crate::model::bundle::System;
use crate::words::limits::{MAX_CHANNELS, MAX_EXTENTS, MAX_PARTITIONS};
use crate::words::{Ipa, Range, Text};

/// A piece of a partition's RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it lies on the board.
    pub range: Range,
    /// Where the guest sees it.
    pub ipa: Ipa,
}

/// Where everything lies.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Placement {
    /// Each partition's RAM, by identifier; the IPAs are contiguous from the guest's RAM base.
    pub extents: ArrayVec<ArrayVec<Extent, MAX_EXTENTS>, MAX_PARTITIONS>,
    /// Each channel's memory, in the system's order.
    pub channels: ArrayVec<Range, MAX_CHANNELS>,
}

/// RAM nobody has yet, in whole pages.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FreeMemory {
    holes: ArrayVec<Range, 160>,
}

impl FreeMemory {
    /// RAM without what is reserved.
    ///
    /// # Errors
    /// `TooScattered` if that leaves more holes than there is room for.
    pub fn new(
        ram: &[Range],
        reserved: impl Iterator<Item = Range>,
    ) -> Result<Self, PlacementError> {
        let _ = (ram, reserved);
        Ok(Self::default())
    }

    /// Takes `size` bytes (rounded up to pages) at a multiple of `align`, a power of two.
    pub fn take(&mut self, size: u64, align: u64) -> Option<Range> {
        let _ = (size, align);
        None
    }

    /// The holes, ascending.
    #[must_use]
    pub fn holes(&self) -> &[Range] {
        &self.holes
    }

    /// Bytes left.
    #[must_use]
    pub fn total(&self) -> u64 {
        0
    }
}

/// Why a system's memory cannot be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PlacementError {
    /// The board's RAM lies in too many pieces.
    #[error("RAM lies in more than {0} pieces")]
    TooScattered(usize),
}

/// Places every partition's RAM and every channel, and takes it from `free`, which is unchanged on failure.
///
/// # Errors
/// Names the partition or channel, what it asks for, and what is left.
pub fn place(free: &mut FreeMemory, system: &System<'_>) -> Result<Placement, PlacementError> {
    let _ = (free, system);
    Ok(Placement::default())
}
