//! Every leaf of a tree, for those who check what was built. A damaged tree ends the walk with a finding, never a loop.

use super::{
    ADDRESS, CONTIGUOUS, CONTIGUOUS_RUN, GROUP, LAST_LEVEL, TABLE_OR_PAGE, TableMemory, Tree,
    VALID, entry_size, together,
};
use crate::words::{PAGE_SIZE, Pa};

/// Most tables a walk enters: more than one partition's or EL2's can have.
const MOST_TABLES: u32 = 4096;

/// Blocks or pages of one size next to each other in a table, whose descriptors differ in the address alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// First input address.
    pub input: u64,
    /// First output address.
    pub output: Pa,
    /// Bytes of all.
    pub size: u64,
    /// Bytes of each.
    pub entry: u64,
    /// Whether all of them go to the one block or page at `output`, instead of one after the other.
    pub repeated: bool,
    /// All of the descriptor but the address, its kind and the contiguous hint.
    pub attributes: u64,
    /// Bytes of the aligned run that a TLB may hold as one entry: those of a block or page without the contiguous hint.
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
    /// Gives all leaves to `visit`, in the order of input addresses. `is_table` tells which addresses are tables of this
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
        let entries = self.memory.entries(table);
        let mut index = 0;
        while let Some(rest @ [descriptor, ..]) = entries.get(index..) {
            let descriptor = *descriptor;
            if descriptor == 0 {
                index += zeros(rest);
                continue;
            }
            let input = input + index as u64 * entry_size(level);
            let mut count = 1;
            if level < LAST_LEVEL && descriptor & KIND == TABLE {
                self.table(Pa::new(descriptor & ADDRESS), level + 1, input)?;
            } else if descriptor & VALID != 0 && (level < LAST_LEVEL || descriptor & KIND == TABLE)
            {
                // At the last level, bit 1 clear is reserved, and faults as an invalid descriptor does (D8.3.1).
                let repeated = rest.get(1) == Some(&descriptor);
                let step = if repeated { 0 } else { entry_size(level) };
                count = alike(rest, descriptor, step);
                let leaf = leaf(descriptor, level, input, count as u64, step);
                (self.visit)(leaf).map_err(WalkEnd::Found)?;
            }
            index += count;
        }
        Ok(())
    }
}

/// Both bits that say what a descriptor is, and what they are in a table's.
const KIND: u64 = VALID | TABLE_OR_PAGE;
const TABLE: u64 = VALID | TABLE_OR_PAGE;

/// How many of `entries` from the first on are zero.
fn zeros(entries: &[u64]) -> usize {
    let (groups, _) = entries.as_chunks::<GROUP>();
    let (pairs, _) = groups.as_chunks();
    let is_zero = |[one, other]: &&[_; 2]| together(one) | together(other) == 0;
    let count = pairs.iter().take_while(is_zero).count() * 2 * GROUP;
    let rest = entries.get(count..).unwrap_or_default();
    count + rest.iter().take_while(|entry| **entry == 0).count()
}

/// How many of `entries` from the first on are `descriptor`, each `step` further than the one before.
fn alike(entries: &[u64], descriptor: u64, step: u64) -> usize {
    // An address that ran over into the other bits would not be the next one.
    let most = (ADDRESS - (descriptor & ADDRESS)).checked_div(step);
    let most = most.map_or(usize::MAX, |more| {
        usize::try_from(more + 1).unwrap_or(usize::MAX)
    });
    let entries = entries.get(..most.min(entries.len())).unwrap_or_default();
    /// Entries that are compared together: more are not by one branch.
    const FEW: usize = 4;
    let mut expected = descriptor;
    let mut count = 0;
    let (groups, _) = entries.as_chunks::<FEW>();
    for [first, second, third, fourth] in groups {
        let next = |times| expected.wrapping_add(step.wrapping_mul(times));
        let differs = |entry: &u64, times| entry ^ next(times);
        if differs(first, 0) | differs(second, 1) | differs(third, 2) | differs(fourth, 3) != 0 {
            break;
        }
        expected = next(FEW as u64);
        count += FEW;
    }
    for entry in entries.get(count..).unwrap_or_default() {
        if *entry != expected {
            break;
        }
        expected = expected.wrapping_add(step);
        count += 1;
    }
    count.max(1)
}

fn leaf(descriptor: u64, level: u8, input: u64, entries: u64, step: u64) -> Leaf {
    let entry = entry_size(level);
    let run = if descriptor & CONTIGUOUS == 0 {
        entry
    } else {
        entry * CONTIGUOUS_RUN as u64
    };
    Leaf {
        input,
        output: Pa::new(descriptor & ADDRESS),
        size: entry * entries,
        entry,
        repeated: step == 0,
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
