//! The nodes of the board's tree that everything else begins at, found while the tree is checked: in one pass.

use arrayvec::ArrayVec;

use super::tree::{Place, Tree, compatibles, has};
use super::{BoardError, chosen, cpus, gic, power};
use crate::words::{FlatTree, Token, Visitor};

/// Most UARTs that are remembered; one that is not is looked for.
const MAX_UARTS: usize = 4;
/// What a node of RAM is called, and its `device_type` (3.4).
pub(super) const MEMORY: &str = "memory";
/// The kinds of nodes that are looked for, in the order of [`Survey::nodes`].
const KINDS: [&[&str]; 5] = [
    cpus::PSCI_KINDS,
    power::PM_KINDS,
    gic::KINDS,
    cpus::TIMER_KINDS,
    cpus::PMU_KINDS,
];
/// A bit for each first byte that one of the kinds looked for has: most nodes have another.
const FIRST_BYTES: u128 = {
    let mut bytes = 0;
    let mut list = 0;
    while list <= KINDS.len() {
        let kinds = if list < KINDS.len() {
            KINDS[list]
        } else {
            chosen::UART_KINDS
        };
        let mut kind = 0;
        while kind < kinds.len() {
            bytes |= 1 << (kinds[kind].as_bytes()[0] & 127);
            kind += 1;
        }
        list += 1;
    }
    bytes
};
/// The names of the root's children that are looked for, in the order of [`Survey::tops`].
const TOPS: [&str; 4] = ["chosen", "aliases", "cpus", "reserved-memory"];

/// What was found.
pub(super) struct Survey<'t> {
    /// For each of [`KINDS`], the first usable node: PSCI, the power manager, the GIC, the timer, the performance monitors.
    pub nodes: [Option<Place<'t>>; KINDS.len()],
    /// Each of [`TOPS`], if it is there.
    pub tops: [Option<Place<'t>>; TOPS.len()],
    /// The first UARTs that this image has a driver for.
    pub uarts: ArrayVec<Place<'t>, MAX_UARTS>,
    /// Where the first and the last of the root's children begin that look like RAM.
    pub memory: Option<(u32, u32)>,
}

/// A survey under way.
struct Surveyor<'t> {
    found: Survey<'t>,
    /// The node opened last, once one is; nothing is found any more where it would lie too deep.
    place: Option<Place<'t>>,
    /// The root was opened.
    started: bool,
}

impl<'t> Survey<'t> {
    /// Checks the structure of the tree in `bytes`, and notes what is found on the way.
    pub(super) fn of(bytes: &'t [u8]) -> Result<(Tree<'t>, Self), BoardError> {
        let mut surveyor = Surveyor {
            found: Survey {
                nodes: [None; KINDS.len()],
                tops: [None; TOPS.len()],
                uarts: ArrayVec::new(),
                memory: None,
            },
            place: None,
            started: false,
        };
        let tree = FlatTree::read_with(bytes, &mut surveyor);
        let mut tree = Tree::bounded(bytes, tree)?;
        let [_, _, gic, ..] = &surveyor.found.nodes;
        if let Some(gic) = gic {
            tree.favour(gic);
        }
        Ok((tree, surveyor.found))
    }
}

impl<'t> Visitor<'t> for Surveyor<'t> {
    #[inline(always)]
    fn visit(&mut self, flat: &FlatTree<'t>, token: Token, next: u32) {
        let Some(place) = &mut self.place else {
            if !core::mem::replace(&mut self.started, true) {
                self.place = Some(Place::root(*flat));
            }
            return;
        };
        match token {
            Token::Begin(name) => {
                if !place.enter(name, next) {
                    self.place = None;
                } else if place.depth() == 1 {
                    self.top(flat, name);
                }
            }
            Token::Property(property) => {
                if flat.is_named(property, b"compatible") {
                    self.kind(flat.value(property));
                } else if place.depth() == 1
                    && flat.is_named(property, b"device_type")
                    && compatibles(flat.value(property)).any(|own| own == MEMORY.as_bytes())
                {
                    self.memory();
                }
            }
            // The root's end comes last.
            Token::End => {
                place.leave();
            }
        }
    }
}

impl<'t> Surveyor<'t> {
    /// Notes a child of the root by its name.
    #[inline(never)]
    fn top(&mut self, flat: &FlatTree<'t>, name: u32) {
        if matches!(flat.after(name, MEMORY.as_bytes()), Some(0 | b'@')) {
            self.memory();
        }
        for (top, found) in TOPS.iter().zip(&mut self.found.tops) {
            if found.is_none() && flat.is_called(name, top.as_bytes()) {
                *found = self.place;
            }
        }
    }

    /// Notes a node that looks like RAM.
    fn memory(&mut self) {
        if let Some(name) = self.place.as_ref().map(Place::name_at) {
            let first = self.found.memory.map_or(name, |(first, _)| first);
            self.found.memory = Some((first, name));
        }
    }

    /// Notes a node by its `compatible`.
    #[inline(never)]
    fn kind(&mut self, value: &[u8]) {
        let Some(place) = &self.place else {
            return;
        };
        for own in compatibles(value) {
            let first = own.first().map_or(0, |byte| byte & 127);
            if FIRST_BYTES >> first & 1 == 0 {
                continue;
            }
            for (kinds, found) in KINDS.iter().zip(&mut self.found.nodes) {
                if found.is_none() && has(kinds, own) && place.enabled() {
                    *found = self.place;
                }
            }
            if has(chosen::UART_KINDS, own) {
                let _ = self.found.uarts.try_push(*place);
            }
        }
    }
}
