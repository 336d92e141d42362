//! Free memory against a map of pages; placements against what they promise.

use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::model::bundle::{ChannelPlan, Format, OnCrash, Payload};
use crate::words::PartitionId;

const MIB: u64 = 1 << 20;

fn range(base: u64, size: u64) -> Range {
    Range::new(Pa::new(base), size).unwrap()
}

fn plan(index: u8, memory: u64) -> Plan<'static> {
    const NAMES: [&str; MAX_PARTITIONS] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    Plan {
        id: PartitionId::new(index),
        name: NAMES[usize::from(index)],
        cpus: ArrayVec::new(),
        memory,
        kernel: Payload {
            data: b"k",
            sha256: [0; 32],
        },
        format: Format::Raw,
        initrd: None,
        bootargs: "",
        load: None,
        dtb: None,
        on_crash: OnCrash::Stop,
        heartbeat_ms: None,
        manage: 0,
        observe: false,
        devices: ArrayVec::new(),
        dma_unconfined: false,
    }
}

fn system(memory: &[u64], channels: &[u64]) -> System<'static> {
    let plans = (0..).zip(memory).map(|(index, size)| plan(index, *size));
    let channels = channels.iter().map(|size| ChannelPlan {
        name: "telemetry",
        from: PartitionId::new(0),
        to: PartitionId::new(1),
        both: false,
        size: *size,
    });
    System {
        board: "test",
        partitions: plans.collect(),
        channels: channels.collect(),
        selftest: false,
        audit: false,
    }
}

fn free(ram: &[Range], reserved: &[Range]) -> FreeMemory {
    FreeMemory::new(ram, reserved.iter().copied()).unwrap()
}

#[test]
fn reserving_takes_every_page_that_is_touched() {
    let free = free(
        &[range(0x1000, 0x10_0800)],
        &[range(0x2800, 0x1000), range(0x8000, 0), range(0x10_0000, 1)],
    );
    let holes = [range(0x1000, 0x1000), range(0x4000, 0xf_c000)];
    assert_eq!(free.holes(), holes);
    assert_eq!(free.total(), 0xf_d000);
}

#[test]
fn a_take_comes_from_the_smallest_hole_that_has_it() {
    let mut free = free(&[range(0, 64 * MIB), range(128 * MIB, 4 * MIB)], &[]);
    assert_eq!(free.take(MIB, 4096), Some(range(128 * MIB, MIB)));
    assert_eq!(free.take(4 * MIB, 2 * MIB), Some(range(0, 4 * MIB)));
    assert_eq!(free.take(2 * MIB, 2 * MIB), Some(range(130 * MIB, 2 * MIB)));
    assert_eq!(free.take(5, 4096), Some(range(129 * MIB, 4096)));
    assert_eq!(free.take(64 * MIB, 4096), None);
}

#[test]
fn a_gigabyte_is_placed_on_a_gigabyte_where_there_is_one() {
    let mut free = free(
        &[range(0x4000_0000, 4 * GIB)],
        &[range(0x4000_0000, 0x100_0000)],
    );
    let placement = place(&mut free, &system(&[GIB, 32 * MIB, 4 * MIB], &[])).unwrap();
    let base = |index: usize| placement.extents[index][0].range.base().get();
    assert_eq!(base(0), 0x8000_0000);
    assert_eq!(base(1) % (32 * MIB), 0);
    assert_eq!(base(2) % (2 * MIB), 0);
    let ipas: Vec<_> = placement.extents.iter().map(|e| e[0].ipa.get()).collect();
    assert_eq!(ipas, [0x4000_0000; 3]);
}

#[test]
fn alignment_never_costs_a_partition_its_place() {
    // 32 MiB fit once at a multiple of 32 MiB; both partitions fit only without it.
    let mut free = free(&[range(30 * MIB, 66 * MIB)], &[]);
    let placement = place(&mut free, &system(&[34 * MIB, 32 * MIB], &[])).unwrap();
    assert!(placement.extents.iter().all(|extents| extents.len() == 1));
    assert_eq!(free.total(), 0);
}

#[test]
fn scattered_ram_gives_contiguous_guest_addresses() {
    let holes = [
        range(0, 6 * MIB),
        range(16 * MIB, 4 * MIB),
        range(33 * MIB, 3 * MIB),
    ];
    let mut free = free(&holes, &[]);
    let placement = place(&mut free, &system(&[10 * MIB, 2 * MIB], &[MIB])).unwrap();
    let extents: Vec<_> = placement.extents[0]
        .iter()
        .map(|e| (e.range, e.ipa.get()))
        .collect();
    let expected = [
        (range(0, 6 * MIB), 0x4000_0000),
        (range(16 * MIB, 4 * MIB), 0x4060_0000),
    ];
    assert_eq!(extents, expected);
    assert_eq!(placement.extents[1][0].range, range(34 * MIB, 2 * MIB));
    assert_eq!(placement.channels.as_slice(), [range(33 * MIB, MIB)]);
}

/// A Raspberry Pi 4 of 8 GiB: RAM below the VideoCore's, below the peripherals, and above 4 GiB; page 0 has the spin
/// table, the image lies at 2 MiB, the bundle at 128 MiB.
#[test]
fn a_pi_of_8_gib_gives_each_partition_ram_in_one_piece_outside_what_is_kept() {
    let ram = [
        range(0, 0x3b40_0000),
        range(0x4000_0000, 0xbc00_0000),
        range(0x1_0000_0000, 0x1_0000_0000),
    ];
    let kept = [
        range(0, 0x1000),
        range(0x20_0000, 0x20_0000),
        range(0x800_0000, 0x300_0000),
    ];
    let sizes = [0xc000_0000, 0x8000_0000, 256 << 20, 4 << 20];
    let mut free = free(&ram, &kept);
    let placement = place(&mut free, &system(&sizes, &[])).unwrap();
    for (extents, size) in placement.extents.iter().zip(sizes) {
        let [extent] = extents.as_slice() else {
            panic!("{extents:?}")
        };
        assert_eq!(extent.range.size(), size);
        assert!(ram.iter().any(|ram| ram.contains(extent.range)));
        assert!(!kept.iter().any(|kept| kept.overlaps(extent.range)));
    }
    // 3 GiB in one piece are above 4 GiB only.
    assert!(placement.extents[0][0].range.base() >= Pa::new(1 << 32));
}

#[test]
fn what_does_not_fit_is_named_with_its_numbers_and_takes_nothing() {
    let mut memory = free(&[range(MIB, 8 * MIB)], &[]);
    let before = memory.clone();
    let text = place(&mut memory, &system(&[2 * MIB, 8 * MIB], &[]))
        .unwrap_err()
        .to_string();
    assert!(text.contains("partition b: 8 MiB of RAM"), "{text}");
    assert!(
        text.contains("8 MiB are free") && text.contains("is 6 MiB"),
        "{text}"
    );
    assert_eq!(memory, before);
    let text = place(&mut memory, &system(&[6 * MIB], &[2 * MIB]))
        .unwrap_err()
        .to_string();
    assert!(text.contains("channel telemetry: 2097152 bytes"), "{text}");
    assert_eq!(memory, before);
    let crumbs: Vec<_> = (0..8)
        .map(|index| range(index * 4 * MIB, 2 * MIB))
        .collect();
    let mut memory = free(&crumbs, &[]);
    assert!(
        place(&mut memory, &system(&[10 * MIB], &[])).is_err(),
        "five extents"
    );
    assert!(place(&mut memory, &system(&[8 * MIB], &[])).is_ok());
}

#[test]
#[cfg_attr(
    miri,
    ignore = "hundreds of holes take an interpreter half a minute; other memories have fewer"
)]
fn ram_in_more_pieces_than_there_is_room_for_is_refused() {
    let pages = (0..200).map(|index| range(index * 0x2000, 0x1000));
    let refused = FreeMemory::new(&[range(0, 0x100_0000)], pages);
    assert!(matches!(refused, Err(PlacementError::TooScattered(_))));
}

fn channel(name: &'static str, from: u8, to: u8, both: bool, size: u64) -> ChannelPlan<'static> {
    ChannelPlan {
        name,
        from: PartitionId::new(from),
        to: PartitionId::new(to),
        both,
        size,
    }
}

/// The ends of every channel of a system.
fn all_ends(system: &System<'_>) -> Result<ArrayVec<Ends, MAX_CHANNELS>, PlacementError> {
    let mut placed = ArrayVec::new();
    ends(system, &mut placed).map(|()| placed)
}

#[test]
fn ends_follow_each_other_from_the_channels_base_each_with_a_doorbell_page() {
    let mut system = system(&[2 * MIB, 2 * MIB, 2 * MIB], &[]);
    system.channels.extend([
        channel("a", 0, 1, false, 0x1_0000),
        channel("b", 2, 0, true, 0x1000),
        channel("c", 0, 1, false, 0x2000),
    ]);
    let placed = all_ends(&system).unwrap();
    let seen: Vec<_> = placed
        .iter()
        .flatten()
        .map(|end| (end.partition.get(), end.ipa.get(), end.intid, end.writable))
        .collect();
    let expected = [
        (0, 0x0a10_0000, 256, true),
        (1, 0x0a10_0000, 256, false),
        (2, 0x0a10_0000, 256, true),
        (0, 0x0a11_1000, 257, true),
        (0, 0x0a11_3000, 258, true),
        (1, 0x0a11_1000, 257, false),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn channels_past_the_guests_addresses_for_them_are_refused_by_name() {
    let mut system = system(&[2 * MIB, 2 * MIB], &[]);
    // From the base to the guest's RAM there are 0x35f0_0000 bytes, the doorbell's page among them.
    system
        .channels
        .push(channel("most", 0, 1, false, 0x35ef_f000));
    assert!(all_ends(&system).is_ok());
    system.channels.push(channel("more", 1, 0, false, 0x1000));
    let text = all_ends(&system).unwrap_err().to_string();
    assert!(text.contains("channel more: 4096 bytes"), "{text}");
    let mut memory = free(&[range(0, 2 * GIB)], &[]);
    assert!(matches!(
        place(&mut memory, &system),
        Err(PlacementError::Window { .. })
    ));
}

#[test]
fn no_two_channels_and_no_partition_share_memory() {
    let mut memory = free(&[range(0x4000_0000, 64 * MIB)], &[]);
    let mut system = system(&[2 * MIB, 4 * MIB, 2 * MIB], &[]);
    for index in 0..8 {
        system
            .channels
            .push(channel("x", index % 3, (index + 1) % 3, false, 0x3000));
    }
    let placement = place(&mut memory, &system).unwrap();
    let extents = placement
        .extents
        .iter()
        .flatten()
        .map(|extent| extent.range);
    let all: Vec<Range> = extents.chain(placement.channels.iter().copied()).collect();
    for (index, one) in all.iter().enumerate() {
        assert!(
            all.iter()
                .skip(index + 1)
                .all(|other| !one.overlaps(*other))
        );
    }
}

proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    #[test]
    fn holes_are_exactly_the_pages_that_are_ram_and_not_reserved(
        reserved in proptest::collection::vec((0_u64..0x40_000, 0_u64..0x5000), 0..20)
    ) {
        let ram = [range(0x3000, 0x1_0000), range(0x20_000, 0x1_5800)];
        let free = free(&ram, &reserved.iter().map(|(b, s)| range(*b, *s)).collect::<Vec<_>>());
        prop_assert!(free.holes().windows(2).all(|w| w[0].end() <= w[1].base()));
        for page in 0..0x50_u64 {
            let page = range(page * 0x1000, 0x1000);
            let is_ram = ram.iter().any(|r| r.contains(page));
            let kept = reserved.iter().any(|(b, s)| range(*b, *s).overlaps(page));
            let found = free.holes().iter().any(|hole| hole.contains(page));
            prop_assert_eq!(found, is_ram && !kept);
        }
    }

    #[test]
    fn a_placement_gives_everybody_what_they_asked_and_nothing_twice(
        holes in proptest::collection::vec((0_u64..64, 1_u64..48), 1..6),
        sizes in proptest::collection::vec(1_u64..24, 1..8),
        channels in proptest::collection::vec(1_u64..64, 0..6),
    ) {
        let mut base = 0;
        let ram: Vec<_> = holes.iter().map(|(gap, size)| {
            base += gap * MIB + MIB;
            let hole = range(base, size * MIB);
            base += size * MIB;
            hole
        }).collect();
        let sizes: Vec<_> = sizes.iter().map(|size| size * 2 * MIB).collect();
        let channels: Vec<_> = channels.iter().map(|size| size * 4096).collect();
        let mut memory = free(&ram, &[]);
        let before = memory.clone();
        let asked: u64 = sizes.iter().chain(&channels).sum();
        match place(&mut memory, &system(&sizes, &channels)) {
            Err(_) => prop_assert_eq!(memory, before),
            Ok(placement) => {
                prop_assert_eq!(before.total() - memory.total(), asked);
                for (extents, size) in placement.extents.iter().zip(&sizes) {
                    let mut ipa = 0x4000_0000;
                    for extent in extents {
                        prop_assert_eq!(extent.ipa.get(), ipa);
                        prop_assert!(extent.range.base().is_aligned(2 * MIB));
                        ipa += extent.range.size();
                    }
                    prop_assert_eq!(ipa - 0x4000_0000, *size);
                }
                let pieces = placement.extents.iter().flatten().map(|extent| extent.range);
                let all: Vec<_> = pieces.chain(placement.channels.iter().copied()).collect();
                for (index, one) in all.iter().enumerate() {
                    prop_assert!(before.holes().iter().any(|hole| hole.contains(*one)));
                    prop_assert!(all[..index].iter().all(|other| !other.overlaps(*one)));
                    prop_assert!(memory.holes().iter().all(|hole| !hole.overlaps(*one)));
                }
            }
        }
    }
}
