//! Properties of the tables; constants are written again from the manual (D8.3).

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Tables one behind the other, `limit` of them at most.
struct Fake {
    tables: Vec<[u64; ENTRIES]>,
    limit: usize,
}

const ENTRIES: usize = 512;
const TABLES: u64 = 0x8000_0000;

/// Which of them is at `table`.
fn place(table: Pa) -> usize {
    usize::try_from((table.get() - TABLES) / 4096).unwrap()
}

impl Fake {
    fn new(limit: usize) -> Self {
        Self {
            tables: Vec::new(),
            limit,
        }
    }

    fn stage2(bits: u8) -> (Self, Tree) {
        let mut fake = Self::new(1000);
        let root = fake.allocate().unwrap();
        for _ in 1..Tree::stage2_root_tables(bits) {
            fake.allocate().unwrap();
        }
        (fake, Tree::new_stage2(root, bits))
    }
}

impl TableMemory for Fake {
    fn allocate(&mut self) -> Option<Pa> {
        if self.tables.len() >= self.limit {
            return None;
        }
        let at = TABLES + self.tables.len() as u64 * 4096;
        self.tables.push([0; ENTRIES]);
        Some(Pa::new(at))
    }
    fn entries(&self, table: Pa) -> &[u64] {
        &self.tables[place(table)]
    }
    fn entries_mut(&mut self, table: Pa) -> &mut [u64] {
        &mut self.tables[place(table)]
    }
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[test]
fn a_gigabyte_aligned_alike_takes_one_level_1_block() {
    let (mut fake, tree) = Fake::stage2(40);
    tree.map(
        &mut fake,
        GIB,
        Pa::new(4 * GIB),
        GIB,
        stage2_leaf(Memory::Normal, Access::All),
    )
    .unwrap();
    assert_eq!(fake.tables.len(), 2, "no table below the two of the root");
    let (pa, descriptor) = tree.look_up(&fake, GIB + 0x1234_5678).unwrap();
    assert_eq!(pa, Pa::new(4 * GIB + 0x1234_5678));
    assert_eq!(descriptor & 0b11, 0b01, "a block");
}

#[test]
fn two_megabyte_blocks_serve_what_is_not_gigabyte_aligned() {
    let (mut fake, tree) = Fake::stage2(39);
    tree.map(
        &mut fake,
        GIB,
        Pa::new(0x4260_0000),
        6 * MIB,
        stage2_leaf(Memory::Normal, Access::All),
    )
    .unwrap();
    assert_eq!(fake.tables.len(), 2, "one table below the root");
}

#[test]
fn a_whole_run_of_sixteen_carries_the_contiguous_hint_and_nothing_else_does() {
    let (mut fake, tree) = Fake::stage2(39);
    tree.map(
        &mut fake,
        GIB,
        Pa::new(GIB),
        34 * MIB,
        stage2_leaf(Memory::Normal, Access::All),
    )
    .unwrap();
    for block in 0..17 {
        let (_, descriptor) = tree.look_up(&fake, GIB + block * 2 * MIB).unwrap();
        assert_eq!(descriptor >> 52 & 1, u64::from(block < 16), "block {block}");
    }
}

#[test]
fn forty_bits_start_with_two_concatenated_tables() {
    let (mut fake, tree) = Fake::stage2(40);
    let top = (1 << 40) - 2 * MIB;
    tree.map(
        &mut fake,
        top,
        Pa::new(GIB),
        2 * MIB,
        stage2_leaf(Memory::Normal, Access::All),
    )
    .unwrap();
    assert_eq!(tree.look_up(&fake, top + 5).unwrap().0, Pa::new(GIB + 5));
    assert_ne!(
        fake.read(Pa::new(tree.root().get() + 4096), 511),
        0,
        "the last entry of the second table"
    );
    assert_eq!(
        tree.look_up(&fake, 1 << 40),
        None,
        "beyond the address size"
    );
}

#[test]
fn vtcr_starts_the_walk_at_level_1() {
    let (_, tree) = Fake::stage2(40);
    // SL0 = 0b01 (start at level 1), T0SZ = 24, TG0 = 0, PS = 44 bits, SH0 = inner, ORGN0 = IRGN0 = write-back, RES1.
    assert_eq!(
        tree.vtcr(44),
        1 << 31 | 4 << 16 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | 0b01 << 6 | 24
    );
}

#[test]
fn what_is_mapped_cannot_be_mapped_again() {
    let (mut fake, tree) = Fake::stage2(39);
    let leaf = stage2_leaf(Memory::Normal, Access::All);
    tree.map(&mut fake, GIB, Pa::new(GIB), 4 * MIB, leaf)
        .unwrap();
    assert_eq!(
        tree.map(&mut fake, GIB + 2 * MIB, Pa::new(2 * GIB), 4096, leaf),
        Err(MapError::Mapped)
    );
    assert_eq!(
        tree.map(&mut fake, GIB + 2 * MIB, Pa::new(2 * GIB), 2 * MIB, leaf),
        Err(MapError::Mapped)
    );
}

#[test]
fn running_out_of_tables_is_an_error() {
    let mut fake = Fake::new(1);
    let root = fake.allocate().unwrap();
    let tree = Tree::new_stage2(root, 39);
    assert_eq!(
        tree.map(&mut fake, 0, Pa::new(0), 4096, 0),
        Err(MapError::NoMemory)
    );
}

#[test]
fn a_page_is_shown_again_and_again_without_the_contiguous_hint() {
    let (mut fake, tree) = Fake::stage2(39);
    let leaf = stage2_leaf(Memory::Normal, Access::ReadOnly);
    let (from, size, page) = (2 * MIB - 0x2000, 0x4_0000, Pa::new(0x5000_0000));
    tree.map_repeated(&mut fake, from, page, size, leaf)
        .unwrap();
    for at in (from..from + size).step_by(0x1000) {
        let (output, descriptor) = tree.look_up(&fake, at + 7).unwrap();
        assert_eq!((output, descriptor >> 52 & 1), (Pa::new(0x5000_0007), 0));
    }
    assert_eq!(tree.look_up(&fake, from - 1), None);
    assert_eq!(tree.look_up(&fake, from + size), None);
    let again = tree.map_repeated(&mut fake, from + size - 0x1000, page, 0x1000, leaf);
    assert_eq!(again, Err(MapError::Mapped));
}

#[test]
fn leaves_that_follow_each_other_are_given_as_one() {
    let (mut fake, tree) = Fake::stage2(39);
    let leaf = stage2_leaf(Memory::Normal, Access::All);
    let mut map = |input, output, size| {
        tree.map(&mut fake, input, Pa::new(output), size, leaf)
            .unwrap();
    };
    map(GIB, GIB, 40 * MIB);
    map(GIB + 40 * MIB, 4 * GIB, 2 * MIB);
    map(GIB + 42 * MIB, 4 * GIB, 2 * MIB);
    let mut found = Vec::new();
    let see = |leaf: Leaf| {
        found.push((
            leaf.input,
            leaf.output.get(),
            leaf.size,
            leaf.run,
            leaf.repeated,
        ));
        Ok::<_, ()>(())
    };
    tree.leaves(&fake, &|_| true, see).unwrap();
    let expected = [
        (GIB, GIB, 32 * MIB, 32 * MIB, false),
        (GIB + 32 * MIB, GIB + 32 * MIB, 8 * MIB, 2 * MIB, false),
        (GIB + 40 * MIB, 4 * GIB, 4 * MIB, 2 * MIB, true),
    ];
    assert_eq!(found, expected);
}

#[test]
fn el2_begins_at_level_0_only_where_something_lies_at_2_to_the_39_or_above() {
    let leaf = el2_leaf(Memory::Normal, Access::ReadWrite);
    for (top, tables, bits) in [(1 << 39, 2, 39), ((1 << 39) + GIB, 3, 48)] {
        let mut fake = Fake::new(10);
        let tree = Tree::new_el2(&mut fake, Pa::new(top)).unwrap();
        let last = top - 2 * MIB;
        tree.map(&mut fake, last, Pa::new(last), 2 * MIB, leaf)
            .unwrap();
        assert_eq!(fake.tables.len(), tables);
        let found = tree.look_up(&fake, last + 5).map(|(to, _)| to);
        assert_eq!(found, Some(Pa::new(last + 5)));
        // T0SZ, with the rest as for other trees.
        assert_eq!(tree.tcr(40), 0x8082_3500 | (64 - bits));
        let read = Tree::of_el2(tree.root().get(), tree.tcr(40)).unwrap();
        assert_eq!(read.look_up(&fake, last), tree.look_up(&fake, last));
        let beyond = tree.map(&mut fake, 1 << bits, Pa::new(1 << bits), 4096, leaf);
        assert_eq!(beyond, Err(MapError::TooHigh));
    }
}

#[test]
fn el2_has_nothing_writable_and_executable() {
    for access in [
        Access::ReadOnly,
        Access::ReadWrite,
        Access::ReadExecute,
        Access::All,
    ] {
        let leaf = el2_leaf(Memory::Normal, access);
        let writable = leaf >> 7 & 1 == 0;
        let executable = leaf >> 54 & 1 == 0;
        assert!(!(writable && executable), "{access:?}");
    }
}

#[test]
fn stage2_devices_and_channels_are_never_executable() {
    for access in [Access::ReadOnly, Access::ReadWrite] {
        assert_eq!(stage2_leaf(Memory::Device, access) >> 53 & 0b11, 0b10);
    }
}

/// Most pages of a range.
const PAGES: u64 = if cfg!(miri) { 40 } else { 1200 };

proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    /// The tree against a map of pages.
    #[test]
    fn the_tree_translates_as_a_map_of_pages_does(
        ranges in prop::collection::vec((0_u64..2048, 0_u64..4096, 1..PAGES), 1..6)
    ) {
        let (mut fake, tree) = Fake::stage2(36);
        let leaf = stage2_leaf(Memory::Normal, Access::All);
        let mut model: BTreeMap<u64, u64> = BTreeMap::new();
        for (input, output, pages) in ranges {
            let taken = (input..input + pages).any(|page| model.contains_key(&page));
            let result = tree.map(&mut fake, input * 4096, Pa::new(output * 4096), pages * 4096, leaf);
            prop_assert_eq!(result.is_err(), taken);
            if taken {
                return Ok(()); // the owner gives the tree up
            }
            model.extend((0..pages).map(|page| (input + page, output + page)));
        }
        for page in crate::words::effort::some(0..4096, 61) {
            let found = tree.look_up(&fake, page * 4096 + 7).map(|(pa, _)| pa.get());
            prop_assert_eq!(found, model.get(&page).map(|output| output * 4096 + 7));
        }
    }
}
