//! The audit finds every single damaged bit that means something; constants are written again from the manual (D8.3).

use super::*;
use crate::arm::control::tcr_el2;
use crate::model::translation::{TableMemory, Tree};
use proptest::prelude::*;

const A: PartitionId = PartitionId::new(0);
const B: PartitionId = PartitionId::new(1);
const MIB: u64 = 1 << 20;
const TABLES: u64 = 0x8000_0000;

/// Tables one behind the other.
#[derive(Clone)]
struct Fake(Vec<[u64; ENTRIES]>);

const ENTRIES: usize = 512;

/// Which of them is at `table`, if one is.
fn place(table: u64) -> Option<usize> {
    let offset = table.checked_sub(TABLES)?;
    usize::try_from(offset / 4096).ok()
}

impl TableMemory for Fake {
    fn allocate(&mut self) -> Option<Pa> {
        let at = TABLES + self.0.len() as u64 * 4096;
        self.0.push([0; ENTRIES]);
        Some(Pa::new(at))
    }
    fn entries(&self, table: Pa) -> &[u64] {
        let table = place(table.get()).and_then(|place| self.0.get(place));
        table.map_or(&[], |table| &table[..])
    }
    fn entries_mut(&mut self, table: Pa) -> &mut [u64] {
        &mut self.0[place(table.get()).unwrap()]
    }
}

fn range(base: u64, size: u64) -> Range {
    Range::new(Pa::new(base), size).unwrap()
}

fn grant(owner: PartitionId, kind: Kind, ipa: u64, base: u64, size: u64) -> Grant {
    Grant {
        owner,
        kind,
        ipa,
        range: range(base, size),
    }
}

fn all() -> Vec<Grant> {
    vec![
        grant(A, Kind::Ram, 0x4000_0000, 0x5000_0000, 34 * MIB),
        grant(A, Kind::ChannelWritten, 0x0a10_0000, 0x6000_0000, 0x3000),
        grant(A, Kind::Device, 0x0903_0000, 0x0903_0000, 0x1000),
        grant(A, Kind::Blank, 0x0400_0000, 0x6100_0000, 0x1000),
        grant(B, Kind::Ram, 0x4000_0000, 0x5400_0000, 4 * MIB),
        grant(B, Kind::ChannelRead, 0x0a10_0000, 0x6000_0000, 0x3000),
    ]
}

/// A's tables, as they should be.
fn built(grants: &[Grant]) -> (Fake, Tree) {
    let mut memory = Fake(Vec::new());
    let root = memory.allocate().unwrap();
    memory.allocate().unwrap();
    let tree = Tree::new_stage2(root, 40);
    for grant in grants.iter().filter(|grant| grant.owner == A) {
        let (base, size) = (grant.range.base(), grant.range.size());
        for turn in 0..grant.span() / size {
            let ipa = grant.ipa + turn * size;
            tree.map(&mut memory, ipa, base, size, grant.kind.attributes())
                .unwrap();
        }
    }
    (memory, tree)
}

fn look(memory: &Fake, tree: &Tree) -> Result<u64, Finding> {
    let place = range(TABLES, memory.0.len() as u64 * 4096);
    tables(A, tree, memory, &[place], &all())
}

#[test]
fn what_was_built_as_granted_passes_and_is_counted() {
    let (memory, tree) = built(&all());
    assert_eq!(
        look(&memory, &tree),
        Ok(34 * MIB + 0x3000 + 0x1000 + 0x8_0000)
    );
    assert_eq!(owners(&all(), &[range(TABLES, MIB)]), Ok(()));
}

#[test]
fn a_kind_has_the_rights_the_manual_gives_it() {
    // S2AP (7:6), XN (54:53), MemAttr (5:2).
    let field = |kind: Kind| {
        let leaf = kind.attributes();
        (leaf >> 6 & 3, leaf >> 53 & 3, leaf >> 2 & 0xf)
    };
    assert_eq!(field(Kind::Ram), (0b11, 0b00, 0b1111));
    assert_eq!(field(Kind::ChannelWritten), (0b11, 0b10, 0b1111));
    assert_eq!(field(Kind::ChannelRead), (0b01, 0b10, 0b1111));
    assert_eq!(field(Kind::Blank), (0b01, 0b10, 0b1111));
    assert_eq!(field(Kind::Device), (0b11, 0b10, 0b0001));
}

#[test]
fn grants_side_by_side_are_told_apart_in_one_run_of_pages() {
    let mut grants = all();
    grants.push(grant(A, Kind::Device, 0x0903_1000, 0x0903_1000, 0x2000));
    let (memory, tree) = built(&grants);
    let place = range(TABLES, memory.0.len() as u64 * 4096);
    let look = |grants: &[Grant]| tables(A, &tree, &memory, &[place], grants);
    assert!(look(&grants).is_ok());
    grants.pop();
    let stray = Finding::Stray(A, 0x0903_1000, 0x0903_1000);
    assert_eq!(look(&grants), Err(stray));
    // One that is nobody's between two that are.
    grants.push(grant(A, Kind::Device, 0x0903_2000, 0x0903_2000, 0x1000));
    assert_eq!(look(&grants), Err(stray));
}

#[test]
fn a_page_that_is_shown_again_is_found_where_it_is_not_the_blank_one() {
    let mut grants = all();
    let (mut memory, tree) = built(&grants);
    let leaf = Kind::Device.attributes();
    let page = Pa::new(0x0903_0000);
    let end = 0x0903_1000;
    tree.map(&mut memory, end, page, 0x1000, leaf).unwrap();
    grants.push(grant(A, Kind::Device, end, end, 0x1000));
    let place = range(TABLES, memory.0.len() as u64 * 4096);
    let found = tables(A, &tree, &memory, &[place], &grants);
    assert_eq!(found, Err(Finding::Stray(A, 0x0903_0000, end)));
}

#[test]
fn tables_that_go_round_or_astray_end_the_audit() {
    let (mut memory, tree) = built(&all());
    memory.write(tree.root(), 300, tree.root().get() | 0b11);
    // The root taken for a table of level 2 has another's table descriptors as blocks.
    assert!(look(&memory, &tree).is_err());
    let (mut memory, tree) = built(&all());
    memory.write(tree.root(), 300, 0x1234_5000 | 0b11);
    assert_eq!(look(&memory, &tree), Err(Finding::Table(A, 0x1234_5000)));
}

#[test]
fn what_two_have_or_the_hypervisor_keeps_is_found() {
    let mut grants = all();
    grants.push(grant(B, Kind::Device, 0x0903_0000, 0x0903_0000, 0x1000));
    assert_eq!(
        owners(&grants, &[]),
        Err(Finding::Shared(A, B, 0x0903_0000))
    );
    let mut grants = all();
    grants[4].range = range(0x5000_0000 + 33 * MIB, MIB);
    assert_eq!(
        owners(&grants, &[]),
        Err(Finding::Shared(A, B, 0x5000_0000 + 33 * MIB))
    );
    let kept = [range(0x5000_0000 + 20 * MIB, 1)];
    assert_eq!(owners(&all(), &kept), Err(Finding::Kept(A, 0x5000_0000)));
}

#[test]
fn an_interrupt_of_two_is_found() {
    assert_eq!(interrupts([(A, 40), (B, 41)].into_iter()), Ok(()));
    let twice = [(A, 40), (B, 41), (B, 40)];
    assert_eq!(
        interrupts(twice.into_iter()),
        Err(Finding::Interrupt(A, B, 40))
    );
}

#[test]
fn an_interrupt_that_is_enabled_comes_to_its_owners_cores_alone() {
    let cores = [CpuId::new(1), CpuId::new(2)];
    let to = |cpus: &'static [u8]| cpus.iter().copied().map(CpuId::new);
    let owner = Some((A, &cores[..]));
    assert_eq!(signalled(40, to(&[1, 2]), owner), Ok(()));
    assert_eq!(signalled(40, to(&[]), owner), Ok(()));
    let routed = Finding::Routed(A, 40, CpuId::new(3));
    assert_eq!(signalled(40, to(&[1, 3]), owner), Err(routed));
    assert_eq!(signalled(40, to(&[1]), None), Err(Finding::Enabled(40)));
}

#[test]
fn el2_memory_that_can_be_written_and_executed_is_found() {
    let mut memory = Fake(Vec::new());
    let tree = Tree::new_el2(&mut memory, Pa::new(0x10_0000)).unwrap();
    let map = |memory: &mut Fake, at: u64, leaf: u64| {
        tree.map(memory, at, Pa::new(at), 0x1000, leaf).unwrap();
    };
    // AP[2] is bit 7, XN bit 54, AF bit 10.
    map(&mut memory, 0x1000, 1 << 10 | 1 << 7);
    map(&mut memory, 0x2000, 1 << 10 | 1 << 54);
    let text = range(0x1000, 0x1000);
    assert_eq!(own(&tree, &memory, text), Ok(0x2000));
    map(&mut memory, 0x3000, 1 << 10);
    let found = own(&tree, &memory, text);
    assert_eq!(found, Err(Finding::WriteExecute(0x3000)));
}

#[test]
fn el2_memory_that_can_be_executed_is_its_code_alone() {
    let mut memory = Fake(Vec::new());
    let tree = Tree::new_el2(&mut memory, Pa::new(0x10_0000)).unwrap();
    let read_execute = 1 << 10 | 1 << 7;
    tree.map(&mut memory, 0x1000, Pa::new(0x1000), 0x2000, read_execute)
        .unwrap();
    assert_eq!(own(&tree, &memory, range(0x1000, 0x2000)), Ok(0x2000));
    let found = own(&tree, &memory, range(0x1000, 0x1000));
    assert_eq!(found, Err(Finding::Execute(0x2000)));
}

#[test]
fn a_core_that_translates_by_other_tables_or_may_execute_what_it_writes_is_found() {
    let root = Pa::new(0x4030_0000);
    let (small, large) = (tcr_el2(40, 39), tcr_el2(40, 48));
    // M is bit 0, WXN bit 19; CnP, bit 0 of TTBR0_EL2, does not matter.
    for tcr in [small, large] {
        let tree = regime(0x4030_0001, tcr, 1 << 19 | 1, root).unwrap();
        assert_eq!((tree.root(), tree.tcr(40)), (root, tcr));
    }
    for (ttbr, tcr, sctlr) in [
        (0x4030_1000, small, 1 << 19 | 1),
        (0x4030_0000, small, 1),
        (0x4030_0000, small, 1 << 19),
        // A granule of 64 KiB, and fewer addresses.
        (0x4030_0000, small | 1 << 14, 1 << 19 | 1),
        (0x4030_0000, small + 1, 1 << 19 | 1),
    ] {
        let found = regime(ttbr, tcr, sctlr, root).unwrap_err();
        assert_eq!(found, Finding::Regime(ttbr, tcr, sctlr));
    }
}

proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    /// Bit 1 of an empty entry and what an invalid descriptor holds otherwise mean nothing; neither do a table descriptor's
    /// ignored bits.
    #[test]
    fn a_flipped_bit_in_a_leaf_is_found(entry in 0_usize..10_000, bit in 0_u32..64) {
        let (mut memory, tree) = built(&all());
        let mut leaves = Vec::new();
        for (table, entries) in memory.0.iter().enumerate() {
            let table = TABLES + table as u64 * 4096;
            for (index, descriptor) in entries.iter().enumerate() {
                let to = place(descriptor & 0xffff_ffff_f000);
                let points = to.is_some_and(|to| to < memory.0.len());
                if descriptor & 1 == 1 && !points {
                    leaves.push((table, index));
                }
            }
        }
        let (table, index) = leaves[entry % leaves.len()];
        let before = memory.read(Pa::new(table), index);
        memory.write(Pa::new(table), index, before ^ 1 << bit);
        let found = look(&memory, &tree);
        // Without the contiguous hint the map is the same.
        let hint = bit == 52 && before >> 52 & 1 == 1;
        prop_assert_eq!(found.is_err(), !hint, "{:#x} bit {}: {:?}", before, bit, found);
    }
}
