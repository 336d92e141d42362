//! Where each partition's RAM lies: the same code decides at boot and in `cargo xtask check`.
//!
//! Deterministic: the same free memory and system give the same placement. A partition's RAM is one extent
//! where the board allows it, aligned so that stage 2 can map it with large blocks; alignment never costs a
//! partition its place, and only when one extent each cannot be had does RAM come in several.

use arrayvec::ArrayVec;
use bulkhead_abi::layout::RAM_BASE;
use thiserror::Error;

use crate::model::bundle::{Plan, System};
use crate::words::limits::{
    MAX_CHANNELS, MAX_EXTENTS, MAX_PARTITIONS, MAX_RAM_RANGES, MAX_RESERVED,
};
use crate::words::order::sort_by_key;
use crate::words::{Ipa, PAGE_SIZE, Pa, Range, Text};

mod channels;

pub use channels::{End, Ends, ends};

/// A level 1 block of the 4 KiB granule (Arm ARM D8.2).
const GIB: u64 = 1 << 30;
/// A level 2 block of the 4 KiB granule.
const BLOCK: u64 = 2 << 20;
/// Sixteen level 2 blocks: what the contiguous bit joins into one TLB entry.
const CONTIGUOUS: u64 = 16 * BLOCK;
/// Holes there is room for: what the board's ranges and reservations can leave, and two for each take.
const MAX_HOLES: usize =
    MAX_RAM_RANGES + MAX_RESERVED + MAX_PARTITIONS * MAX_EXTENTS + MAX_CHANNELS;

/// A piece of a partition's RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it lies on the board.
    pub range: Range,
    /// Where the guest sees it.
    pub ipa: Ipa,
}

/// The RAM of one partition.
pub type Extents = ArrayVec<Extent, MAX_EXTENTS>;

/// Where everything lies.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Placement {
    /// Each partition's RAM, by identifier; the IPAs are contiguous from the guest's RAM base.
    pub extents: ArrayVec<Extents, MAX_PARTITIONS>,
    /// Each channel's memory, in the system's order.
    pub channels: ArrayVec<Range, MAX_CHANNELS>,
    /// Each channel's two ends, in the system's order.
    pub ends: ArrayVec<Ends, MAX_CHANNELS>,
}

/// RAM nobody has yet: ascending, disjoint holes of whole pages.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FreeMemory {
    holes: ArrayVec<Range, MAX_HOLES>,
}

impl FreeMemory {
    /// RAM without what is reserved. `ram` is ascending and disjoint, as the board's is; a page reserved in
    /// part is reserved.
    ///
    /// # Errors
    /// `TooScattered` if that leaves more holes than there is room for.
    pub fn new(
        ram: &[Range],
        reserved: impl Iterator<Item = Range>,
    ) -> Result<Self, PlacementError> {
        let mut free = Self::default();
        free.fill(ram, reserved)?;
        Ok(free)
    }

    /// Makes it what [`Self::new`] gives: it is large, and need not be moved. It was empty.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn fill(
        &mut self,
        ram: &[Range],
        mut reserved: impl Iterator<Item = Range>,
    ) -> Result<(), PlacementError> {
        for range in ram {
            let first = range.base().align_up(PAGE_SIZE);
            let hole = first.and_then(|first| between(first, range.end().align_down(PAGE_SIZE)));
            self.insert(self.holes.len(), hole)?;
        }
        reserved.try_for_each(|range| self.reserve(range))
    }

    /// Takes every page `range` touches out of the holes.
    ///
    /// # Errors
    /// `TooScattered` if that leaves more holes than there is room for.
    pub fn reserve(&mut self, range: Range) -> Result<(), PlacementError> {
        if range.size() == 0 {
            return Ok(());
        }
        let first = range.base().align_down(PAGE_SIZE);
        let past = range.end().align_up(PAGE_SIZE);
        let past = past.unwrap_or(Pa::new(u64::MAX).align_down(PAGE_SIZE));
        let is_touched = |hole: &Range| hole.base() < past && first < hole.end();
        while let Some(index) = self.holes.iter().position(is_touched) {
            let hole = self.holes.remove(index);
            self.insert(index, between(past, hole.end()))?;
            self.insert(index, between(hole.base(), first))?;
        }
        Ok(())
    }

    /// Inserts a hole, if there is one.
    fn insert(&mut self, index: usize, hole: Option<Range>) -> Result<(), PlacementError> {
        let Some(hole) = hole else {
            return Ok(());
        };
        let inserted = self.holes.try_insert(index, hole);
        inserted.map_err(|_| PlacementError::TooScattered(MAX_HOLES))
    }

    /// Takes `size` bytes (rounded up to pages) at a multiple of `align`, a power of two: from the smallest
    /// hole that has them, so that the large ones stay whole.
    #[must_use]
    pub fn take(&mut self, size: u64, align: u64) -> Option<Range> {
        let size = size.max(1).checked_next_multiple_of(PAGE_SIZE)?;
        let fits = self.holes.iter().filter_map(|hole| {
            let range = fit(*hole, size, align)?;
            Some((hole.size(), range))
        });
        // Of equal ones the first, which is the lowest.
        let (_, range) = fits.min_by_key(|(hole, _)| *hole)?;
        self.reserve(range).ok()?;
        Some(range)
    }

    /// Takes the largest run of whole blocks, at most `most` bytes of it.
    fn take_blocks(&mut self, most: u64) -> Option<Range> {
        let run = self.largest_run()?;
        self.take(run.min(most), BLOCK)
    }

    /// Bytes of the largest run of whole, aligned blocks.
    fn largest_run(&self) -> Option<u64> {
        let runs = self.holes.iter().filter_map(|hole| {
            let first = hole.base().align_up(BLOCK)?;
            between(first, hole.end().align_down(BLOCK)).map(Range::size)
        });
        runs.max()
    }

    /// The holes, ascending.
    #[must_use]
    pub fn holes(&self) -> &[Range] {
        &self.holes
    }

    /// Bytes left.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.holes.iter().map(|hole| hole.size()).sum()
    }
}

/// What lies from `base` to `end`, if anything.
fn between(base: Pa, end: Pa) -> Option<Range> {
    let size = end.offset_from(base).filter(|size| *size > 0)?;
    Range::new(base, size)
}

/// The lowest `size` bytes of `hole` at a multiple of `align`.
fn fit(hole: Range, size: u64, align: u64) -> Option<Range> {
    let range = Range::new(hole.base().align_up(align.max(PAGE_SIZE))?, size)?;
    hole.contains(range).then_some(range)
}

/// Why a system's memory cannot be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PlacementError {
    /// The board's RAM lies in too many pieces.
    #[error("free RAM lies in more than {0} pieces")]
    TooScattered(usize),
    /// A partition's RAM does not fit.
    #[error(
        "partition {partition}: {} MiB of RAM do not fit: {} MiB are free, the largest run of 2 MiB blocks is {} MiB",
        asked >> 20, total >> 20, largest >> 20
    )]
    Memory {
        /// The partition.
        partition: Text<32>,
        /// Bytes it asks for.
        asked: u64,
        /// Bytes of the largest run of whole 2 MiB blocks then left.
        largest: u64,
        /// Bytes then left in all.
        total: u64,
    },
    /// A channel's memory does not fit.
    #[error("channel {channel}: {asked} bytes do not fit: {total} bytes are free")]
    Channel {
        /// The channel.
        channel: Text<32>,
        /// Bytes it asks for.
        asked: u64,
        /// Bytes then left in all.
        total: u64,
    },
    /// A partition has no addresses left for a channel.
    #[error(
        "channel {channel}: {asked} bytes reach past the guest's addresses for channels, which end at its RAM"
    )]
    Window {
        /// The channel.
        channel: Text<32>,
        /// Bytes it asks for.
        asked: u64,
    },
}

/// How RAM is sought, from the best placement to the least.
#[derive(Clone, Copy)]
enum Policy {
    /// One extent, aligned for the largest mappings the size allows.
    Aligned,
    /// One extent, aligned to 2 MiB.
    Whole,
    /// One extent or several, aligned to 2 MiB.
    Pieces,
}

/// Places every partition's RAM and every channel, and takes it from `free`, which is unchanged on failure.
///
/// # Errors
/// Names the partition or channel, what it asks for, and what is left.
pub fn place(free: &mut FreeMemory, system: &System<'_>) -> Result<Placement, PlacementError> {
    let mut placement = Placement::default();
    place_in(&mut placement, free, system)?;
    Ok(placement)
}

/// Places all as [`place`] does, into `placement`: it is large, and need not be moved.
///
/// # Errors
/// As [`place`]; what is in `placement` then means nothing.
pub fn place_in(
    placement: &mut Placement,
    free: &mut FreeMemory,
    system: &System<'_>,
) -> Result<(), PlacementError> {
    let mut before = FreeMemory::default();
    before.holes.clone_from(&free.holes);
    let mut outcome = Ok(());
    for policy in [Policy::Aligned, Policy::Whole, Policy::Pieces] {
        outcome = attempt(placement, free, system, policy);
        if outcome.is_ok() {
            break;
        }
        free.holes.clone_from(&before.holes);
    }
    outcome
}

/// Places all by one policy, largest partition first; on failure a part of it is taken from `free`.
fn attempt(
    placement: &mut Placement,
    free: &mut FreeMemory,
    system: &System<'_>,
    policy: Policy,
) -> Result<(), PlacementError> {
    placement.extents.clear();
    placement.channels.clear();
    ends(system, &mut placement.ends)?;
    let mut order: ArrayVec<&Plan<'_>, MAX_PARTITIONS> = system.partitions.iter().collect();
    sort_by_key(&mut order, |plan| {
        (core::cmp::Reverse(plan.memory), plan.id)
    });
    placement
        .extents
        .extend(order.iter().map(|_| Extents::new()));
    for plan in order {
        let extents = partition(free, plan, policy)?;
        if let Some(own) = placement.extents.get_mut(plan.id.index()) {
            *own = extents;
        }
    }
    for channel in &system.channels {
        let range = free.take(channel.size, PAGE_SIZE);
        placement
            .channels
            .push(range.ok_or(PlacementError::Channel {
                channel: Text::from(channel.name),
                asked: channel.size,
                total: free.total(),
            })?);
    }
    Ok(())
}

/// Takes one partition's RAM.
fn partition(
    free: &mut FreeMemory,
    plan: &Plan<'_>,
    policy: Policy,
) -> Result<Extents, PlacementError> {
    let failure = PlacementError::Memory {
        partition: Text::from(plan.name),
        asked: plan.memory,
        largest: free.largest_run().unwrap_or(0),
        total: free.total(),
    };
    if let Some(range) = whole(free, plan.memory, policy) {
        let ipa = Ipa::new(RAM_BASE);
        return Ok([Extent { range, ipa }].into_iter().collect());
    }
    match policy {
        Policy::Pieces => pieces(free, plan.memory).ok_or(failure),
        Policy::Aligned | Policy::Whole => Err(failure),
    }
}

/// Takes one extent, at the largest alignment the policy wants that can be had.
fn whole(free: &mut FreeMemory, size: u64, policy: Policy) -> Option<Range> {
    let wanted: &[u64] = match policy {
        Policy::Aligned if size >= GIB => &[GIB, CONTIGUOUS, BLOCK],
        Policy::Aligned if size >= CONTIGUOUS => &[CONTIGUOUS, BLOCK],
        Policy::Aligned | Policy::Whole | Policy::Pieces => &[BLOCK],
    };
    wanted.iter().find_map(|align| free.take(size, *align))
}

/// Takes several extents, the largest runs of blocks first.
fn pieces(free: &mut FreeMemory, size: u64) -> Option<Extents> {
    let mut extents = Extents::new();
    let mut taken = 0;
    while taken < size {
        let range = free.take_blocks(size - taken)?;
        let ipa = Ipa::new(RAM_BASE).checked_add(taken)?;
        extents.try_push(Extent { range, ipa }).ok()?;
        taken += range.size();
    }
    Some(extents)
}

#[cfg(test)]
mod tests;
