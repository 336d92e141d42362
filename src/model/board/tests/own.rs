//! The boards' own trees, where a developer has them.

use super::*;

/// A tree of a developer's: `target/trees/` holds QEMU's dumped ones and the Pi's from Debian's kernel package.
fn own(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/trees");
    std::fs::read(path.join(name)).unwrap()
}

/// The Pi's tree as its firmware hands it over: with RAM in it.
fn own_pi() -> Vec<u8> {
    let mut tree = own("bcm2711-rpi-4-b.dtb");
    let find = |from: usize, what: &[u8]| {
        let found = tree[from..].windows(what.len()).position(|w| w == what);
        from + found.expect("the memory node, and its `reg` of three cells")
    };
    let reg = find(find(0, b"\x01memory@0\0"), &[0, 0, 0, 3, 0, 0, 0, 12]);
    let size = reg + 12 + 8;
    tree[size..size + 4].copy_from_slice(&0x3b40_0000_u32.to_be_bytes());
    tree
}

#[test]
#[ignore = "needs target/trees/virt-gicv2.dtb and virt-gicv3.dtb, dumped by QEMU (-M virt,dumpdtb=)"]
fn qemus_own_trees_read_as_the_ones_built_here() {
    for gic in [2, 3] {
        let own = own(&format!("virt-gicv{gic}.dtb"));
        let built = Virt {
            gic,
            ..Virt::default()
        };
        let built = built.build();
        let (own, built) = (Board::read(&own).unwrap(), Board::read(&built).unwrap());
        assert_eq!((&own.gic, own.timer), (&built.gic, built.timer));
        assert_eq!((&own.cpus, own.psci), (&built.cpus, built.psci));
        assert_eq!((&own.ram, own.console), (&built.ram, built.console));
    }
}

#[test]
#[ignore = "needs target/trees/bcm2711-rpi-4-b.dtb from Debian's linux-image-*-arm64 package"]
fn the_pis_own_tree_reads_as_the_one_built_here() {
    let own = own_pi();
    let built = pi(&PI_MEMORY);
    let all: Vec<_> = devices(&own).unwrap().map(Result::unwrap).collect();
    assert!(all.len() > 50, "{}", all.len());
    let (own, built) = (Board::read(&own).unwrap(), Board::read(&built).unwrap());
    assert_eq!((&own.gic, own.timer), (&built.gic, built.timer));
    assert_eq!((&own.cpus, own.psci), (&built.cpus, built.psci));
    assert_eq!(own.console, built.console);
    assert_eq!(own.ram.as_slice(), [range(0, 0x3b40_0000)]);
    assert_eq!(own.reserved.as_slice(), &built.reserved[..1]);
}

/// The tree without the zeros QEMU leaves behind it.
fn unpadded(mut tree: Vec<u8>) -> Vec<u8> {
    let last = tree.iter().rposition(|byte| *byte != 0).unwrap();
    tree.truncate(last + 2);
    let total = tree.len() as u32;
    tree[4..8].copy_from_slice(&total.to_be_bytes());
    tree
}

#[test]
#[ignore = "needs target/trees"]
fn no_change_to_the_boards_own_trees_makes_it_panic_or_hang() {
    let bases = [own("virt-gicv2.dtb"), own("virt-gicv3.dtb"), own_pi()].map(unpadded);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for base in bases {
        for _ in 0..4000 {
            let mut tree = base.clone();
            for _ in 0..1 + random() % 8 {
                let at = random() % base.len();
                tree[at] = (random() % 256) as u8 & if random() % 2 == 0 { 0xff } else { 0x0f };
            }
            let _ = Board::read(&tree);
        }
    }
}
