//! Trees past their bounds, changed trees, and any bytes.

use proptest::prelude::*;

use super::*;
use crate::words::effort::times;

#[test]
fn a_node_nested_too_deep_is_refused() {
    let depth = |levels: usize| {
        let mut build = Build::new(&[]);
        let mut open: Vec<_> = Vec::new();
        for level in 0..=levels {
            let name = if level == 0 { "" } else { "n" };
            open.push(build.0.begin_node(name).unwrap());
        }
        while let Some(node) = open.pop() {
            build.0.end_node(node).unwrap();
        }
        build.0.finish().unwrap()
    };
    assert!(message(&depth(16)).contains("no GIC"));
    assert!(message(&depth(17)).contains("more than 16 deep"));
}

#[test]
#[cfg_attr(miri, ignore = "thousands of nodes take an interpreter minutes")]
fn a_tree_of_too_many_nodes_is_refused() {
    let wide = |count: usize| {
        tree(&[], |t| {
            for index in 0..count {
                t.node(&format!("n{index}"), |_| {});
            }
        })
    };
    assert!(message(&wide(4095)).contains("no GIC"));
    assert!(message(&wide(4096)).contains("more than 4096 nodes"));
}

/// Reads everything there is to read of `tree`.
fn read_all(tree: &[u8]) {
    let _ = Board::read(tree);
    let _ = device(tree, "/soc/serial@7e201000");
    if let Ok(devices) = devices(tree) {
        for found in devices {
            let _ = found.map(|info| device(tree, info.path.as_str()));
        }
    }
}

fn mutated(base: &[u8], changes: &[(usize, u8)], length: usize) -> Vec<u8> {
    let mut tree = base.to_vec();
    for (at, byte) in changes {
        let at = at % tree.len();
        tree[at] = *byte;
    }
    tree.truncate(length);
    tree
}

/// Bytes that mean something in a tree, and any others.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![0_u8..16, Just(0xff), Just(0x80), any::<u8>()]
}

fn changes() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((any::<usize>(), byte()), 1..12)
}

proptest! {
    #![proptest_config(crate::words::effort::cases(600))]

    #[test]
    fn no_change_to_a_virt_tree_makes_it_panic_or_hang(changes in changes(), gic in 2_u32..4) {
        let base = Virt { gic, ..Virt::default() }.build();
        read_all(&mutated(&base, &changes, base.len()));
    }

    #[test]
    #[cfg_attr(miri, ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds")]
    fn no_change_to_a_pi_tree_makes_it_panic_or_hang(changes in changes()) {
        let base = pi(&PI_MEMORY);
        read_all(&mutated(&base, &changes, base.len()));
    }

    #[test]
    fn no_truncated_tree_makes_it_panic(length in 0_usize..times(6000, 600)) {
        let base = pi(&PI_MEMORY);
        read_all(&mutated(&base, &[], length));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    #[cfg_attr(miri, ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds")]
    fn ram_of_any_tree_is_ascending_and_disjoint(
        pieces in proptest::collection::vec((0_u32..64, 0_u32..16), 1..16)
    ) {
        let memory: Vec<u32> = pieces.iter().flat_map(|(b, s)| [0, b << 24, 0, s << 24]).collect();
        let tree = Virt { memory, ..Virt::default() }.build();
        let mut covered = [false; 80];
        for (base, size) in &pieces {
            covered[*base as usize..(base + size) as usize].fill(true);
        }
        match Board::read(&tree) {
            Err(_) => prop_assert!(covered.iter().all(|c| !c)),
            Ok(board) => {
                prop_assert!(board.ram.windows(2).all(|w| w[0].end() < w[1].base()));
                for (unit, covered) in covered.iter().enumerate() {
                    let unit = range((unit as u64) << 24, 1 << 24);
                    let found = board.ram.iter().any(|ram| ram.contains(unit));
                    prop_assert_eq!(found, *covered);
                }
            }
        }
    }
}
