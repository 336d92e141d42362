//! Every leaf of a tree, for those who check what was built. A damaged tree ends the walk with a finding, never a loop.

use super::{
    ADDRESS, CONTIGUOUS, CONTIGUOUS_RUN, LAST_LEVEL, TABLE_OR_PAGE, TableMemory, Tree, VALID,
    entry_size,
};
use crate::words::{PAGE_SIZE, Pa};

/// Most tables a walk enters: more than one partition's or EL2's can have.
const MOST_TABLES: u32 = 4096;

/// One block or page, as the descriptor has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// First input address.
    pub input: u64,
    /// First output address.
    pub output: Pa,
    /// Bytes.
    pub size: u64,
    /// All of the descriptor but the address, its kind and the contiguous hint.
    pub attributes: u64,
    /// Bytes of the aligned run that a TLB may hold as one entry: `size` without the contiguous hint.
    pub run: u64,
}

/// Why a walk over all leaves ended early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WalkEnd<E> {
    /// A descriptor points to a table that is not the tree's.
    NotATable(Pa),
    /// More tables than a tree can have: it goes round.
    Endless,
    /// The visitor's own finding.
    Found(E),
}

/// A walk under way.
struct Walk<'a, M, V> {
    memory: &'a M,
    is_table: &'a dyn Fn(Pa) -> bool,
    visit: V,
    tables: u32,
}

impl Tree {
    /// Gives every leaf to `visit`, in the order of input addresses. `is_table` tells which addresses are tables of this
    /// tree.
    ///
    /// # Errors
    /// See [`WalkEnd`].
    pub fn leaves<E>(
        &self,
        memory: &impl TableMemory,
        is_table: &dyn Fn(Pa) -> bool,
        visit: impl FnMut(Leaf) -> Result<(), E>,
    ) -> Result<(), WalkEnd<E>> {
        let mut walk = Walk {
            memory,
            is_table,
            visit,
            tables: 0,
        };
        let covered = entry_size(self.start_level) * 512;
        let roots = (1_u64 << self.bits).div_ceil(covered);
        for root in 0..roots {
            let table = self
                .root
                .checked_add(root * PAGE_SIZE)
                .ok_or(WalkEnd::NotATable(self.root))?;
            walk.table(table, self.start_level, root * covered)?;
        }
        Ok(())
    }
}

impl<M: TableMemory, E, V: FnMut(Leaf) -> Result<(), E>> Walk<'_, M, V> {
    /// Walks `table` of `level`, which covers the addresses from `input` on. Goes no deeper than there are levels.
    fn table(&mut self, table: Pa, level: u8, input: u64) -> Result<(), WalkEnd<E>> {
        if !(self.is_table)(table) {
            return Err(WalkEnd::NotATable(table));
        }
        self.tables += 1;
        if self.tables > MOST_TABLES {
            return Err(WalkEnd::Endless);
        }
        for (index, at) in (0..super::ENTRIES).zip(0_u64..) {
            let descriptor = self.memory.read(table, index);
            let input = input + at * entry_size(level);
            // At the last level, bit 1 clear is reserved, and faults as an invalid descriptor does (D8.3.1).
            if descriptor & VALID == 0 || level == LAST_LEVEL && descriptor & TABLE_OR_PAGE == 0 {
                continue;
            }
            if level < LAST_LEVEL && descriptor & TABLE_OR_PAGE != 0 {
                self.table(Pa::new(descriptor & ADDRESS), level + 1, input)?;
            } else {
                (self.visit)(leaf(descriptor, level, input)).map_err(WalkEnd::Found)?;
            }
        }
        Ok(())
    }
}

fn leaf(descriptor: u64, level: u8, input: u64) -> Leaf {
    let size = entry_size(level);
    let run = if descriptor & CONTIGUOUS == 0 {
        size
    } else {
        size * CONTIGUOUS_RUN
    };
    Leaf {
        input,
        output: Pa::new(descriptor & ADDRESS),
        size,
        // At the last level bit 1 is part of what makes a page; a block has it clear.
        attributes: descriptor & !(ADDRESS | CONTIGUOUS | VALID | kind(level)),
        run,
    }
}

/// The bit that says what a descriptor of this level is, where a leaf has it set.
const fn kind(level: u8) -> u64 {
    if level == LAST_LEVEL {
        TABLE_OR_PAGE
    } else {
        0
    }
}
