//! Any bytes as a board's device tree: read without a panic, and what is read makes sense.

use crate::model::board::{Board, Copies, copy, device, devices};
use crate::model::guest_tree::{GIC, GuestGic, GuestTree, write};
use crate::words::{Ipa, Nodes, Pa, PartitionId, Range};
use std::vec::Vec;

/// Most devices whose nodes are copied.
const COPIED: usize = 4;
/// Room for a guest's tree.
const ROOM: usize = 0x1_0000;

/// A tree is refused, or gives RAM in ascending pieces that do not touch, and devices whose paths lead to
/// nodes of that path.
pub fn read(tree: &[u8]) {
    if let Ok(board) = Board::read(tree) {
        let ram = &board.ram;
        assert!(!ram.is_empty() && !board.cpus.is_empty());
        assert!(ram.windows(2).all(|two| two[0].end() < two[1].base()));
        assert!(ram.iter().all(|piece| piece.size() > 0));
        board
            .own_registers()
            .chain(board.spin_pages())
            .for_each(drop);
    }
    for found in devices(tree).into_iter().flatten().flatten() {
        // Of two nodes of one name the first answers, which may be unsound.
        if let Ok(again) = device(tree, found.path.as_str()) {
            assert_eq!(again.path.as_str(), found.path.as_str());
        }
    }
}

/// Notes what a copy gives, and that it is well-formed.
struct Shape<'s> {
    inner: &'s mut dyn Nodes,
    depth: usize,
    /// Whether the node opened last may still get properties.
    open: bool,
}

impl Nodes for Shape<'_> {
    fn begin(&mut self, name: &str, at: Option<u64>) {
        assert!(!name.is_empty() && !name.contains('/') && !name.contains('\0'));
        (self.depth, self.open) = (self.depth + 1, true);
        self.inner.begin(name, at);
    }

    fn property(&mut self, name: &str, value: &[u8]) {
        assert!(self.open, "{name} comes after a child");
        self.inner.property(name, value);
    }

    fn cells(&mut self, name: &str, cells: &[u32]) {
        assert!(self.open, "{name} comes after a child");
        self.inner.cells(name, cells);
    }

    fn end(&mut self) {
        self.depth = self.depth.checked_sub(1).expect("a node is open");
        self.open = false;
        self.inner.end();
    }
}

/// Copies of a tree's devices close every node they open, and the guest's tree they are written into is a tree.
pub fn copied(tree: &[u8]) {
    let found: Vec<_> = devices(tree).into_iter().flatten().flatten().collect();
    let paths: Vec<&str> = found.iter().map(|one| one.path.as_str()).collect();
    // The last ones: the first are often buses, and everything is below them.
    let paths = paths
        .get(paths.len().saturating_sub(COPIED)..)
        .unwrap_or_default();
    let memory = Range::new(Pa::new(0x4080_0000), 0x20_0000);
    let memory = [(memory.unwrap_or_default(), Ipa::new(0x4000_0000))];
    let copies = Copies {
        paths,
        place: &|range| Some(Ipa::new(range.base().get())),
        gic: GIC,
        memory: &memory,
    };
    let add = |sink: &mut dyn Nodes| {
        let mut shape = Shape {
            inner: sink,
            depth: 0,
            open: false,
        };
        let done = copy(tree, &copies, &mut shape).is_ok();
        assert_eq!(shape.depth, 0, "a node is left open");
        done
    };
    let guest = GuestTree {
        id: PartitionId::new(0),
        name: "x",
        gic: GuestGic::V3,
        vcpus: 1,
        memory: 0x20_0000,
        bootargs: "",
        initrd: None,
        channels: &[],
        pmu: None,
    };
    let mut out = std::vec![0; ROOM];
    if let Ok(length) = write(&guest, &add, &mut out) {
        let written = &out[..length];
        assert!(devices(written).is_ok_and(|all| all.count() > 0), "no tree");
    }
}
