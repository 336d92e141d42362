//! What each partition has of the board's devices: registers, interrupts; the same code decides at boot and in
//! `cargo xtask check`.
//!
//! The bundle is hostile: whatever it says, no page of registers and no interrupt has two owners, none of the hypervisor's
//! or of RAM has any, and what can write memory by itself has one only where the bundle says that this is accepted.
//!
//! A device is a node with all below it. The guest sees its registers where the board has them, unless something of the
//! guest's own is there (its RAM, GIC, UART, channels): then above its RAM, from the next 2 MiB up. Interrupts keep
//! their numbers; a device whose number the guest's own UART or doorbells have is refused.

mod check;
#[cfg(test)]
mod tests;

use crate::model::board::{BoardError, BoardProblem, Interrupt};
use crate::words::limits::MAX_PARTITIONS;
use crate::words::{Ipa, PAGE_SIZE, Pa, PartitionId, Range, Text};
use arrayvec::ArrayVec;
use bulkhead_abi::layout;
use thiserror::Error;

pub use check::{shares, shares_in};

/// Runs of pages one partition's devices may have.
pub const MAX_WINDOWS: usize = 32;
/// Interrupts one partition's devices may have.
pub const MAX_INTERRUPTS: usize = 64;
/// Registers that are moved keep their place within a block of this size.
const BLOCK: u64 = 2 << 20;
/// Guest addresses end here: 40 bits.
const IPA_END: u64 = 1 << 40;

/// Whole pages of registers, and where the guest sees them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Where they are.
    pub range: Range,
    /// Where the guest sees them.
    pub ipa: Ipa,
}

impl Window {
    /// The end of the addresses where the guest sees them.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.ipa.get().saturating_add(self.range.size())
    }

    /// The most translation tables below the root it needs: one of each lower level at each end, and last-level ones
    /// throughout where its two addresses allow no block.
    #[must_use]
    pub const fn tables(&self) -> u64 {
        let blocks = (self.range.base().get() ^ self.ipa.get()) & (BLOCK - 1) == 0;
        let lower = if blocks {
            2
        } else {
            self.range.size() / BLOCK + 2
        };
        lower + 2 + self.range.size() / (1 << 30)
    }
}

/// One partition's share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Its devices' registers; no two windows overlap.
    pub windows: ArrayVec<Window, MAX_WINDOWS>,
    /// Its devices' interrupts, SPIs, each once.
    pub interrupts: ArrayVec<Interrupt, MAX_INTERRUPTS>,
}

/// Every partition's share, by identifier.
pub type Shares = ArrayVec<Share, MAX_PARTITIONS>;

/// Why a device cannot be handed over: which one, to whom, and what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("device {device} for partition {partition}: {problem}")]
pub struct ShareError {
    /// The partition whose share it is about, or the first.
    pub partition: PartitionId,
    /// The device, or the node of the board's tree.
    pub device: Text<64>,
    /// What is wrong.
    pub problem: ShareProblem,
}

impl From<BoardError> for ShareError {
    fn from(error: BoardError) -> Self {
        Self {
            partition: PartitionId::default(),
            device: Text::from(error.node.as_str()),
            problem: ShareProblem::Board(error.problem),
        }
    }
}

/// What is wrong with handing a device over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ShareProblem {
    /// The board's tree makes no sense there.
    #[error("{0}")]
    Board(BoardProblem),
    /// No such node, or one without registers and interrupts.
    #[error("the board has no such device")]
    Missing,
    /// Its `status`, or that of a bus above it.
    #[error("it is disabled on this board")]
    Disabled,
    /// It sits behind a bus the CPUs cannot address.
    #[error("the CPUs cannot address it by itself")]
    Unaddressable,
    /// An interrupt that every CPU has for itself, or one past the last SPI.
    #[error("interrupt {0} is not one that can be handed over")]
    Interrupt(u32),
    /// It interrupts through another controller than the GIC.
    #[error("an interrupt of it does not go to the GIC")]
    Indirect,
    /// The guest's own UART or doorbell has the number.
    #[error("interrupt {0} is the number of the partition's own UART or doorbell")]
    Number(u32),
    /// The hypervisor drives it, or it could reach past the partition.
    #[error("the hypervisor needs it itself")]
    Hypervisors,
    /// Its registers lie in RAM.
    #[error("its registers lie in RAM")]
    InRam,
    /// A PCI host bridge.
    #[error("a PCI host bridge cannot be handed over: nobody would keep its windows apart")]
    Bridge,
    /// Nothing confines what it writes.
    #[error("it may write memory by itself, and the partition is not allowed that")]
    Unconfined,
    /// It or a part of it is another partition's too.
    #[error("it is partition {0}'s too")]
    TwoOwners(PartitionId),
    /// The device is not the partition's, but on a page with one that is.
    #[error("it is not the partition's, but on the page at {0} with a device that is")]
    SharedPage(Pa),
    /// The device is not the partition's, but has an interrupt of one that is.
    #[error("it is not the partition's, but has interrupt {0} of a device that is")]
    SharedInterrupt(u32),
    /// More than there is room for.
    #[error("the partition's devices have more than {room} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there is room for.
        room: usize,
    },
}

impl Share {
    /// Where the guest sees the registers `range`.
    #[must_use]
    pub fn ipa(&self, range: Range) -> Option<Ipa> {
        let window = self.windows.iter().find(|own| own.range.contains(range))?;
        let offset = range.base().offset_from(window.range.base())?;
        window.ipa.checked_add(offset)
    }

    /// Whether the partition has the interrupt `intid`.
    fn has(&self, intid: u32) -> bool {
        self.interrupts.iter().any(|own| own.intid == intid)
    }

    /// Adds a run of pages, joined with those it touches; `false` if there is no room.
    fn add_pages(&mut self, pages: Range) -> bool {
        let mut whole = pages;
        while let Some(index) = self
            .windows
            .iter()
            .position(|own| own.range.overlaps(whole))
        {
            let Some(both) = join(self.windows.remove(index).range, whole) else {
                return false;
            };
            whole = both;
        }
        let window = Window {
            range: whole,
            ipa: Ipa::new(whole.base().get()),
        };
        self.windows.try_push(window).is_ok()
    }

    /// Decides where the guest sees each window, given its RAM's bytes and the end of its channels.
    fn arrange(&mut self, memory: u64, channels_end: u64) {
        let mut next = layout::RAM_BASE.saturating_add(memory);
        for index in 0..self.windows.len() {
            let Some(range) = self.windows.get(index).map(|window| window.range) else {
                return;
            };
            let at = range.base().get();
            if is_free(at, range.size(), memory, channels_end) {
                continue;
            }
            next = self.above(next, range);
            if let Some(window) = self.windows.get_mut(index) {
                window.ipa = Ipa::new(next);
            }
            next = next.saturating_add(range.size());
        }
    }

    /// The first address from `next` up where no window is and `range` keeps its place within a block.
    fn above(&self, next: u64, range: Range) -> u64 {
        let mut at = aligned_like(next, range.base().get());
        // Each turn passes a window, so there are no more turns than windows.
        while let Some(end) = self.end_of_any_at(at, range.size()) {
            at = aligned_like(end, range.base().get());
        }
        at
    }

    fn end_of_any_at(&self, at: u64, size: u64) -> Option<u64> {
        let ends = self.windows.iter().filter_map(|own| {
            let (from, end) = (own.ipa.get(), own.end());
            (from < at.saturating_add(size) && at < end).then_some(end)
        });
        ends.filter(|end| *end > at).max()
    }
}

/// The first address from `from` up that lies as `like` does within a block.
fn aligned_like(from: u64, like: u64) -> u64 {
    let block = from & !(BLOCK - 1) | like & (BLOCK - 1);
    if block < from {
        block.saturating_add(BLOCK)
    } else {
        block
    }
}

/// Whether the guest has nothing of its own at these addresses.
fn is_free(at: u64, size: u64, memory: u64, channels_end: u64) -> bool {
    let redistributors = layout::GICR_STRIDE * crate::words::limits::MAX_VCPUS as u64;
    let own = [
        (layout::GICD_BASE, layout::GICD_SIZE),
        (layout::GICC_BASE, layout::GICC_SIZE),
        (layout::GICR_BASE, redistributors),
        (layout::UART_BASE, layout::UART_SIZE),
        (layout::FLASH_BASE, layout::FLASH_SIZE),
        (
            layout::CHANNEL_BASE,
            channels_end.saturating_sub(layout::CHANNEL_BASE),
        ),
        (layout::RAM_BASE, memory),
    ];
    let Some(end) = at.checked_add(size).filter(|end| *end <= IPA_END) else {
        return false;
    };
    own.iter()
        .all(|(from, size)| end <= *from || from.saturating_add(*size) <= at)
}

/// The whole pages `range` lies in.
fn pages(range: Range) -> Option<Range> {
    let base = range.base().align_down(PAGE_SIZE);
    let end = range.end().align_up(PAGE_SIZE)?;
    Range::new(base, end.offset_from(base)?)
}

/// What spans two ranges.
fn join(one: Range, other: Range) -> Option<Range> {
    let base = one.base().min(other.base());
    let end = one.end().max(other.end());
    Range::new(base, end.offset_from(base)?)
}
