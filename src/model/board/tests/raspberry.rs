//! The Raspberry Pi 4's boards of 1 to 8 GiB, with and without TF-A below, as the firmware's trees tell them apart.

use super::*;

/// The cells of a tree's `reg`, and the ranges of RAM they make, base and size.
type Memory = (&'static [u32], &'static [(u64, u64)]);

/// What the firmware writes into `memory@0`, which has one cell for a size, and the RAM that makes.
const BOARDS: [Memory; 4] = [
    // 1 GiB.
    (&[0, 0, 0x3b40_0000], &[(0, 0x3b40_0000)]),
    // 2 GiB.
    (
        &[0, 0, 0x3b40_0000, 0, 0x4000_0000, 0x4000_0000],
        &[(0, 0x3b40_0000), (0x4000_0000, 0x4000_0000)],
    ),
    // 4 GiB: the peripherals hide what lies above 0xfc000000.
    (
        &[0, 0, 0x3b40_0000, 0, 0x4000_0000, 0xbc00_0000],
        &[(0, 0x3b40_0000), (0x4000_0000, 0xbc00_0000)],
    ),
    // 8 GiB, above 4 GiB in two pieces, since 4 GiB is no 32-bit size.
    (
        &[
            0,
            0,
            0x3b40_0000,
            0,
            0x4000_0000,
            0xbc00_0000,
            1,
            0,
            0x8000_0000,
            1,
            0x8000_0000,
            0x8000_0000,
        ],
        &[
            (0, 0x3b40_0000),
            (0x4000_0000, 0xbc00_0000),
            (0x1_0000_0000, 0x1_0000_0000),
        ],
    ),
];

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn boards_of_1_to_8_gib_have_the_ram_their_tree_says() {
    for (memory, expected) in BOARDS {
        let tree = pi(memory);
        let board = Board::read(&tree).unwrap();
        let expected: Vec<_> = expected.iter().map(|(b, s)| range(*b, *s)).collect();
        assert_eq!(board.ram.as_slice(), expected);
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_board_without_psci_ends_by_its_power_manager() {
    let tree = pi(&PI_MEMORY);
    let registers = range(0xfe10_0000, 0x114);
    assert_eq!(
        Board::read(&tree).unwrap().power,
        Some(BoardPower::Bcm2835Pm { registers })
    );
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_board_with_psci_ends_by_psci_and_starts_its_cores_so() {
    let tree = pi_with_tf_a(&PI_MEMORY);
    let board = Board::read(&tree).unwrap();
    assert_eq!(board.power, Some(BoardPower::Psci(Conduit::Smc)));
    assert!(board.cpus.iter().all(|cpu| cpu.start == CpuStart::Psci));
    assert_eq!(board.spin_pages().count(), 0);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_board_with_neither_has_no_end() {
    let tree = pi_below(&PI_MEMORY, |_| {}, "spin-table");
    let name = tree
        .windows(12)
        .position(|bytes| bytes == b"bcm2835-pm-w")
        .unwrap();
    let newer = tree
        .windows(15)
        .position(|bytes| bytes == b"brcm,bcm2711-pm")
        .unwrap();
    let mut tree = tree;
    tree[name] = b'x';
    tree[newer] = b'x';
    assert_eq!(Board::read(&tree).unwrap().power, None);
}

#[test]
fn a_power_manager_with_too_few_registers_is_refused() {
    let short = |t: &mut Build| {
        t.node("watchdog@fe100000", |t| {
            t.texts("compatible", &["brcm,bcm2835-pm"]);
            t.cells("reg", &[0, 0xfe10_0000, 0x24]);
        });
    };
    let tree = pi_below(&PI_MEMORY, short, "spin-table");
    assert_eq!(
        message(&tree),
        "device tree, /watchdog@fe100000: property `reg` is malformed"
    );
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn pages_of_the_spin_table_are_named_once() {
    let tree = pi(&PI_MEMORY);
    let board = Board::read(&tree).unwrap();
    let pages: Vec<_> = board.spin_pages().collect();
    assert_eq!(pages, [range(0, 0x1000)]);
}
