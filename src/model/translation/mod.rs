//! Translation tables of the 4 KiB granule (Arm ARM D8): stage 2 of a partition, and EL2's own stage 1.
//!
//! One radix tree serves both; they differ in attributes and in where the walk starts. Invariant: a table is built
//! while nothing walks it, from empty, each address mapped at most once, so no break-before-make is ever needed.

mod attributes;
mod leaves;
#[cfg(test)]
mod tests;

pub use attributes::{Access, Memory, el2_leaf, stage2_leaf};
pub use leaves::{Leaf, WalkEnd};

use crate::words::{PAGE_SIZE, Pa};
use thiserror::Error;

/// Entries in one table.
pub const ENTRIES: usize = 512;
/// The last level.
const LAST_LEVEL: u8 = 3;
/// Entries a contiguous run has with the 4 KiB granule (D8.7.1).
const CONTIGUOUS_RUN: usize = 16;
/// Descriptor bit: valid.
const VALID: u64 = 1;
/// Descriptor bit: table at levels 0 to 2, page at level 3.
const TABLE_OR_PAGE: u64 = 1 << 1;
/// Descriptor bit: one of a contiguous run.
const CONTIGUOUS: u64 = 1 << 52;
/// Output-address bits of a descriptor (48-bit addresses).
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// Memory that holds translation tables.
pub trait TableMemory {
    /// Gives a table of 512 zero entries, or `None` when there is no more memory.
    fn allocate(&mut self) -> Option<Pa>;
    /// The entries of `table`, all 512.
    fn entries(&self, table: Pa) -> &[u64];
    /// The entries of `table`, to be written; none if nobody may.
    fn entries_mut(&mut self, table: Pa) -> &mut [u64];
    /// Reads entry `index` of `table`.
    fn read(&self, table: Pa, index: usize) -> u64 {
        self.entries(table).get(index).copied().unwrap_or(0)
    }
    /// Writes entry `index` of `table`.
    fn write(&mut self, table: Pa, index: usize, descriptor: u64) {
        if let Some(entry) = self.entries_mut(table).get_mut(index) {
            *entry = descriptor;
        }
    }
}

/// What can go wrong when a range is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum MapError {
    /// An address or the size is not a multiple of the page.
    #[error("not aligned to 4 KiB")]
    Unaligned,
    /// The range does not fit the input address size.
    #[error("beyond the address size")]
    TooHigh,
    /// A part of the range is mapped already.
    #[error("mapped already")]
    Mapped,
    /// No memory for another table.
    #[error("no memory for translation tables")]
    NoMemory,
}

/// A translation tree: where its root is and how its walk starts.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    root: Pa,
    bits: u8,
    start_level: u8,
}

/// Bytes one entry of `level` covers.
const fn entry_size(level: u8) -> u64 {
    PAGE_SIZE << (9 * (LAST_LEVEL - level) as u32)
}

impl Tree {
    /// Makes an EL2 stage-1 tree for the addresses below `top`: of 39 bits if they are that few, whose walk starts at level 1,
    /// or else of 48, whose walk starts at level 0.
    ///
    /// # Errors
    /// `NoMemory` if the root cannot be had.
    pub fn new_el2(memory: &mut impl TableMemory, top: Pa) -> Result<Self, MapError> {
        let root = memory.allocate().ok_or(MapError::NoMemory)?;
        let (bits, start_level) = if top.get() <= 1 << 39 {
            (39, 1)
        } else {
            (48, 0)
        };
        Ok(Self {
            root,
            bits,
            start_level,
        })
    }

    /// The EL2 stage-1 tree that a core walks whose TTBR0_EL2 and TCR_EL2 these are: `None` if it is none of
    /// [`Self::new_el2`]'s.
    #[must_use]
    pub const fn of_el2(ttbr: u64, tcr: u64) -> Option<Self> {
        /// TTBR0_EL2.BADDR.
        const BADDR: u64 = 0x0000_ffff_ffff_fffe;
        /// TCR_EL2.T0SZ and TG0, of which 0 is the 4 KiB granule.
        const T0SZ_AND_TG0: u64 = 0b11 << 14 | 0x3f;
        let (bits, start_level) = match tcr & T0SZ_AND_TG0 {
            25 => (39, 1),
            16 => (48, 0),
            _ => return None,
        };
        Some(Self {
            root: Pa::new(ttbr & BADDR),
            bits,
            start_level,
        })
    }

    /// Makes a stage-2 tree over `root`, whose walk starts at level 1. `bits` of intermediate physical address, 31 to
    /// 40; `root` is [`Self::stage2_root_tables`] zeroed tables, aligned to their size.
    #[must_use]
    pub const fn new_stage2(root: Pa, bits: u8) -> Self {
        Self {
            root,
            bits,
            start_level: 1,
        }
    }

    /// How many bits of intermediate physical address a stage-2 tree needs that maps nothing from `top` up: 39, whose root
    /// is one table, or else 40.
    #[must_use]
    pub const fn stage2_bits(top: u64) -> u8 {
        if top <= 1 << 39 { 39 } else { 40 }
    }

    /// How many concatenated tables a stage-2 root of `bits` has when the walk starts at level 1 (D8.2.2): one up to
    /// 39 bits, two for 40.
    #[must_use]
    pub const fn stage2_root_tables(bits: u8) -> u64 {
        if bits > 39 { 1 << (bits - 39) } else { 1 }
    }

    /// The most pages that tables of stage 2 take below the root, for `memory` bytes of RAM in so many pieces: a level-2 table
    /// for each GiB it touches, and a fixed number for what every guest has; blocks need no more.
    #[must_use]
    pub const fn stage2_pages(memory: u64, pieces: u64) -> u64 {
        const FIXED: u64 = 13;
        const GIB: u64 = 1 << 30;
        memory / GIB + FIXED + 2 * pieces
    }

    /// The root's address.
    #[must_use]
    pub const fn root(&self) -> Pa {
        self.root
    }

    /// TCR_EL2 for this tree, EL2's own, on a core with `pa_bits` of physical address.
    #[must_use]
    pub const fn tcr(&self, pa_bits: u8) -> u64 {
        crate::arm::control::tcr_el2(pa_bits, self.bits)
    }

    /// VTCR_EL2 for this tree on a core with `pa_bits` of physical address (D24.2.202): walks cacheable and inner
    /// shareable, 4 KiB granule, RES1 bit 31.
    #[must_use]
    pub const fn vtcr(&self, pa_bits: u8) -> u64 {
        let start = (2 - self.start_level) as u64;
        1 << 31
            | crate::arm::control::pa_size_field(pa_bits) << 16
            | 0b11 << 12
            | 0b01 << 10
            | 0b01 << 8
            | start << 6
            | (64 - self.bits as u64)
    }

    /// Maps `size` bytes at `input` to `output` with the leaf attributes `leaf`, in the largest blocks the alignment
    /// allows, with the contiguous hint where a run of sixteen is complete.
    ///
    /// # Errors
    /// See [`MapError`]. The tree may hold a part of the range afterwards; its owner gives it up.
    pub fn map(
        &self,
        memory: &mut impl TableMemory,
        input: u64,
        output: Pa,
        size: u64,
        leaf: u64,
    ) -> Result<(), MapError> {
        self.check(input, output, size)?;
        let mut done = 0;
        while done < size {
            let (at, to, left) = (input + done, output.get() + done, size - done);
            let level = largest_level(at, to, left);
            done += self.fill(memory, at, level, to | leaf, left)?;
        }
        Ok(())
    }

    /// Maps each page of `size` bytes at `input` to the one page at `output`.
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn map_repeated(
        &self,
        memory: &mut impl TableMemory,
        input: u64,
        output: Pa,
        size: u64,
        leaf: u64,
    ) -> Result<(), MapError> {
        self.check(input, output, size)?;
        let leaf = output.get() | leaf | TABLE_OR_PAGE | VALID;
        let mut done = 0;
        while done < size {
            let (table, index) = self.table_at(memory, input + done, LAST_LEVEL)?;
            let pages = entries_of(size - done, LAST_LEVEL);
            let entries = room(memory, table, index, pages);
            put(entries, leaf, 0)?;
            done += entries.len() as u64 * PAGE_SIZE;
        }
        Ok(())
    }

    /// Whether `size` bytes at `input` can be mapped to `output`.
    fn check(&self, input: u64, output: Pa, size: u64) -> Result<(), MapError> {
        if (input | output.get() | size) & (PAGE_SIZE - 1) != 0 {
            return Err(MapError::Unaligned);
        }
        let end = input.checked_add(size).ok_or(MapError::TooHigh)?;
        let top = output.get().checked_add(size).ok_or(MapError::TooHigh)?;
        if end > 1 << self.bits || top > ADDRESS + PAGE_SIZE {
            return Err(MapError::TooHigh);
        }
        Ok(())
    }

    /// Writes the leaves of `level` for as much of `left` bytes at `input` as one table has; `leaf` is the first. Gives the
    /// bytes that are mapped.
    fn fill(
        &self,
        memory: &mut impl TableMemory,
        input: u64,
        level: u8,
        leaf: u64,
        left: u64,
    ) -> Result<u64, MapError> {
        let (table, first) = self.table_at(memory, input, level)?;
        let step = entry_size(level);
        let kind = if level == LAST_LEVEL {
            TABLE_OR_PAGE
        } else {
            0
        };
        let entries = room(memory, table, first, entries_of(left, level));
        let size = entries.len() as u64 * step;
        let leaf = leaf | kind | VALID;
        // Runs lie alike on both sides, or nowhere: inputs and outputs differ by the same everywhere here.
        let run = step * CONTIGUOUS_RUN as u64;
        let alike = level > self.start_level && (input ^ leaf & ADDRESS) & (run - 1) == 0;
        let before = first.next_multiple_of(CONTIGUOUS_RUN) - first;
        if !alike || before + CONTIGUOUS_RUN > entries.len() {
            put(entries, leaf, step)?;
            return Ok(size);
        }
        // What comes before the first whole run, the runs, what comes after the last.
        let (head, rest) = entries.split_at_mut(before);
        let (runs, tail) = rest.split_at_mut(rest.len() - rest.len() % CONTIGUOUS_RUN);
        let after = leaf + (head.len() as u64) * step;
        let last = after + (runs.len() as u64) * step;
        put(head, leaf, step)?;
        put(runs, after | CONTIGUOUS, step)?;
        put(tail, last, step)?;
        Ok(size)
    }

    /// Finds the table of `level` that covers `input`, making those that are missing, and the entry's index in it.
    fn table_at(
        &self,
        memory: &mut impl TableMemory,
        input: u64,
        level: u8,
    ) -> Result<(Pa, usize), MapError> {
        let (mut table, mut index) = self.root_entry(input);
        for above in self.start_level..level {
            let descriptor = memory.read(table, index);
            let next = if descriptor & VALID == 0 {
                let next = memory.allocate().ok_or(MapError::NoMemory)?;
                memory.write(table, index, next.get() | TABLE_OR_PAGE | VALID);
                next
            } else if descriptor & TABLE_OR_PAGE != 0 {
                Pa::new(descriptor & ADDRESS)
            } else {
                return Err(MapError::Mapped);
            };
            table = next;
            index = index_at(input, above + 1);
        }
        Ok((table, index))
    }

    /// The root table (of several, when concatenated) and the index in it where the walk of `input` starts.
    fn root_entry(&self, input: u64) -> (Pa, usize) {
        let entry = input / entry_size(self.start_level);
        let table = Pa::new(self.root.get() + entry / 512 * PAGE_SIZE);
        (table, index_at(input, self.start_level))
    }

    /// Looks `input` up: the output address and the leaf descriptor, or `None` where nothing is mapped.
    #[must_use]
    pub fn look_up(&self, memory: &impl TableMemory, input: u64) -> Option<(Pa, u64)> {
        if input >> self.bits != 0 {
            return None;
        }
        let (mut table, mut index) = self.root_entry(input);
        for level in self.start_level..=LAST_LEVEL {
            let descriptor = memory.read(table, index);
            if descriptor & VALID == 0 {
                return None;
            }
            if level == LAST_LEVEL || descriptor & TABLE_OR_PAGE == 0 {
                let within = input & (entry_size(level) - 1);
                let base = descriptor & ADDRESS & !(entry_size(level) - 1);
                return Some((Pa::new(base | within), descriptor));
            }
            table = Pa::new(descriptor & ADDRESS);
            index = index_at(input, level + 1);
        }
        None
    }
}

/// Entries that are looked at, or written, together.
const GROUP: usize = 8;

/// The bits that any of them has. Written out: built for size, a loop over them would stay one.
fn together(group: &[u64; GROUP]) -> u64 {
    let [a, b, c, d, e, f, g, h] = *group;
    a | b | c | d | e | f | g | h
}

/// Writes leaves where nothing is, each `step` further than the one before.
fn put(entries: &mut [u64], leaf: u64, step: u64) -> Result<(), MapError> {
    let (groups, rest) = entries.as_chunks_mut::<GROUP>();
    let mut leaf = leaf;
    for group in groups {
        if together(group) != 0 {
            return Err(MapError::Mapped);
        }
        let next = |times| leaf.wrapping_add(step.wrapping_mul(times));
        *group = [
            next(0),
            next(1),
            next(2),
            next(3),
            next(4),
            next(5),
            next(6),
            next(7),
        ];
        leaf = next(GROUP as u64);
    }
    for entry in rest {
        if *entry != 0 {
            return Err(MapError::Mapped);
        }
        *entry = leaf;
        leaf = leaf.wrapping_add(step);
    }
    Ok(())
}

/// `count` entries of `table` from `index` on, or all there are.
fn room(memory: &mut impl TableMemory, table: Pa, index: usize, count: usize) -> &mut [u64] {
    let entries = memory
        .entries_mut(table)
        .get_mut(index..)
        .unwrap_or_default();
    let count = count.min(entries.len());
    entries.get_mut(..count).unwrap_or_default()
}

/// How many entries of `level` `size` bytes fill.
fn entries_of(size: u64, level: u8) -> usize {
    usize::try_from(size / entry_size(level)).unwrap_or(usize::MAX)
}

/// The index of `input` in a table of `level`.
fn index_at(input: u64, level: u8) -> usize {
    usize::try_from(input / entry_size(level) % 512).unwrap_or(0)
}

/// The highest level whose entry both addresses are aligned to and `size` fills.
fn largest_level(input: u64, output: u64, size: u64) -> u8 {
    let fits =
        |level: u8| (input | output) & (entry_size(level) - 1) == 0 && size >= entry_size(level);
    if fits(1) {
        1
    } else if fits(2) {
        2
    } else {
        LAST_LEVEL
    }
}
