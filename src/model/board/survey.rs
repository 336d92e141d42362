//! The nodes of the board's tree that everything else begins at, found while the tree is checked: in one pass.

use arrayvec::ArrayVec;

use super::tree::{Place, Tree, compatibles, has};
use super::{BoardError, chosen, cpus, gic, power};
use crate::words::{FlatTree, Property, Value, Visitor};

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
/// A set made of each of the kinds' texts.
macro_rules! of_kinds {
    ($set:ident) => {{
        let mut bits = $set(chosen::UART_KINDS);
        let mut list = 0;
        while list < KINDS.len() {
            bits |= $set(KINDS[list]);
            list += 1;
        }
        bits
    }};
}

/// A bit for each first byte, and for each length, that one of the kinds looked for has: most nodes have others.
const INITIALS: u128 = of_kinds!(initials);
const LENGTHS: u128 = of_kinds!(lengths);
/// The names of the root's children that are looked for, in the order of [`Survey::tops`].
const TOPS: [&str; 4] = ["chosen", "aliases", "cpus", "reserved-memory"];
/// A bit for each first byte of these, and of RAM's.
const TOP_INITIALS: u128 = initials(&TOPS) | initials(&[MEMORY]);

/// Where no name is: the strings are smaller.
const NOWHERE: u32 = u32::MAX;

/// A bit for the first byte of each.
const fn initials(texts: &[&str]) -> u128 {
    let mut bytes = 0;
    let mut text = 0;
    while text < texts.len() {
        bytes |= 1 << (texts[text].as_bytes()[0] & 127);
        text += 1;
    }
    bytes
}

/// A bit for the length of each.
const fn lengths(texts: &[&str]) -> u128 {
    let mut lengths = 0;
    let mut text = 0;
    while text < texts.len() {
        lengths |= 1 << texts[text].len();
        text += 1;
    }
    lengths
}

/// Whether `byte` may be in such a set.
const fn may_be(byte: u8, set: u128) -> bool {
    set >> (byte & 127) & 1 != 0
}

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
    /// Where in the strings `compatible` is, and the last name that was neither that nor another that is looked for: what is
    /// called alike mostly begins at the same place.
    compatible: u32,
    other: u32,
    /// The last `compatible` that named nothing that is looked for: nodes of a kind mostly come in a row.
    dull: Option<Value>,
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
            compatible: NOWHERE,
            other: NOWHERE,
            dull: None,
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
    fn begin(&mut self, flat: &FlatTree<'t>, name: u32, first: u32) {
        let Some(place) = &mut self.place else {
            if !core::mem::replace(&mut self.started, true) {
                self.place = Some(Place::root(*flat));
            }
            return;
        };
        if !place.enter(name, first) {
            self.place = None;
        } else if place.depth() == 1 && may_be(flat.node_initial(name), TOP_INITIALS) {
            self.top(flat, name);
        }
    }

    #[inline(always)]
    fn property(&mut self, flat: &FlatTree<'t>, property: Property) {
        let Property { name, value } = property;
        if name == self.compatible {
            self.kind(flat, value);
        } else if name != self.other && matches!(flat.initial(property), b'c' | b'd') {
            self.look(flat, name, value);
        }
    }

    #[inline(always)]
    fn end(&mut self) {
        // The root's end comes last.
        if let Some(place) = &mut self.place {
            place.leave();
        }
    }
}

impl<'t> Surveyor<'t> {
    /// Notes a child of the root by its name.
    #[cold]
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

    /// Looks at a property whose name is not known by its place.
    #[cold]
    #[inline(never)]
    fn look(&mut self, flat: &FlatTree<'t>, name: u32, value: Value) {
        if flat.is_name(name, b"compatible") {
            self.compatible = name;
            self.kind(flat, value);
        } else if flat.is_name(name, b"device_type") {
            let is_top = self.place.as_ref().is_some_and(|place| place.depth() == 1);
            if is_top && compatibles(flat.bytes(value)).any(|own| own == MEMORY.as_bytes()) {
                self.memory();
            }
        } else {
            self.other = name;
        }
    }

    /// Notes a node by its `compatible`: strings, each with a zero at its end.
    #[cold]
    #[inline(never)]
    fn kind(&mut self, flat: &FlatTree<'t>, value: Value) {
        if self.dull.is_some_and(|dull| flat.is_alike(dull, value)) {
            return;
        }
        let bytes = flat.bytes(value);
        if bytes.last() != Some(&0) {
            return;
        }
        self.dull = Some(value);
        let mut first = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == 0 {
                let own = bytes.get(first..at).unwrap_or_default();
                let initial = own.first().copied().unwrap_or(0);
                let length = u8::try_from(own.len()).unwrap_or(0);
                if may_be(initial, INITIALS) && may_be(length, LENGTHS) {
                    self.note(own);
                    self.dull = None;
                }
                first = at + 1;
            }
        }
    }

    /// Notes a node by one of the strings in its `compatible`.
    #[inline(never)]
    fn note(&mut self, own: &[u8]) {
        let Some(place) = &self.place else {
            return;
        };
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
