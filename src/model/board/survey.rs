//! The nodes of the board's tree that everything else begins at, found while the tree is checked: in one pass.

use arrayvec::ArrayVec;

use super::tree::{Place, Tree, has, raw_strings};
use super::{BoardError, chosen, cpus, gic, power};
use crate::words::{FlatTree, Property, Value, Visitor};

/// Most UARTs that are remembered; one that is not is looked for.
const MAX_UARTS: usize = 4;
/// What a node of RAM is called, and its `device_type` (3.4).
pub(super) const MEMORY: &str = "memory";
/// The kinds of nodes that are looked for: those in the order of [`Survey::nodes`], then UARTs.
const KINDS: [&[&str]; NODES + 1] = [
    cpus::PSCI_KINDS,
    power::PM_KINDS,
    gic::KINDS,
    cpus::TIMER_KINDS,
    cpus::PMU_KINDS,
    chosen::UART_KINDS,
];
/// How many of the kinds one node is enough of.
const NODES: usize = 5;
/// What most nodes have not: a text that looks like one of these.
const KIND_MARKS: Marks = Marks::of(&KINDS);
/// The names of the root's children that are looked for, in the order of [`Survey::tops`].
const TOPS: [&str; 4] = ["chosen", "aliases", "cpus", "reserved-memory"];
/// What most of the root's children have not: a name that looks like one of these, or RAM's.
const TOP_MARKS: Marks = Marks::of(&[&TOPS, &[MEMORY]]);

/// Where no name is: the strings are smaller.
const NOWHERE: u32 = u32::MAX;

/// What tells at a glance that a text is none of a few: a bit for each of their first bytes, and of their lengths, by its last
/// five bits.
struct Marks {
    initials: u32,
    lengths: u32,
}

impl Marks {
    /// Those of the texts in `lists`.
    const fn of(lists: &[&[&str]]) -> Self {
        let (mut initials, mut lengths) = (0, 0);
        let mut list = 0;
        while list < lists.len() {
            let mut text = 0;
            while text < lists[list].len() {
                let bytes = lists[list][text].as_bytes();
                initials |= 1 << (bytes[0] % 32);
                lengths |= 1 << (bytes.len() % 32);
                text += 1;
            }
            list += 1;
        }
        Self { initials, lengths }
    }

    /// Whether one of the texts may begin so.
    #[inline(always)]
    const fn may_begin(&self, initial: u8) -> bool {
        self.initials >> (initial % 32) & 1 != 0
    }

    /// Whether one of the texts may be so long.
    #[inline(always)]
    const fn may_be_long(&self, length: usize) -> bool {
        self.lengths >> (length % 32) & 1 != 0
    }
}

/// What was found.
pub(super) struct Survey<'t> {
    /// For each of [`KINDS`] but UARTs, the first usable node: PSCI, the power manager, the GIC, the timer, the performance
    /// monitors.
    pub nodes: [Option<Place<'t>>; NODES],
    /// Each of [`TOPS`], if it is there.
    pub tops: [Option<Place<'t>>; TOPS.len()],
    /// The first UARTs that this image has a driver for.
    pub uarts: ArrayVec<Place<'t>, MAX_UARTS>,
    /// Where the first and the last of the root's children begin that look like RAM.
    pub memory: Option<(u32, u32)>,
}

/// A survey under way.
struct Surveyor<'t, 's> {
    found: &'s mut Survey<'t>,
    /// The node opened last. Nothing is made of what is found in a tree that nests too deep.
    place: Place<'t>,
    /// Where in the strings `compatible` is, and the last name that was neither that nor another that is looked for: what is
    /// called alike mostly begins at the same place.
    compatible: u32,
    other: u32,
    /// The last `compatible` that named nothing that is looked for: nodes of a kind mostly come in a row.
    dull: Option<Value>,
}

impl<'t> Survey<'t> {
    /// Where nothing was found yet.
    pub(super) fn new() -> Self {
        Self {
            nodes: [None; NODES],
            tops: [None; TOPS.len()],
            uarts: ArrayVec::new(),
            memory: None,
        }
    }

    /// Checks the structure of the tree in `bytes`, and notes what is found on the way: here, since it is too large to be moved.
    pub(super) fn read(&mut self, bytes: &'t [u8]) -> Result<Tree<'t>, BoardError> {
        let tree = FlatTree::read_with(bytes, |flat| Surveyor {
            found: self,
            place: Place::root(*flat),
            compatible: NOWHERE,
            other: NOWHERE,
            dull: None,
        });
        let mut tree = Tree::bounded(bytes, tree)?;
        let [_, _, gic, ..] = &self.nodes;
        if let Some(gic) = gic {
            tree.favour(gic);
        }
        Ok(tree)
    }
}

impl<'t> Visitor<'t> for Surveyor<'t, '_> {
    #[inline(always)]
    fn begin(&mut self, flat: &FlatTree<'t>, name: u32, first: u32) {
        self.place.enter(name, first);
        if self.place.depth() == 1 && TOP_MARKS.may_begin(flat.node_initial(name)) {
            self.top(flat, name);
        }
    }

    #[inline(always)]
    fn property(&mut self, flat: &FlatTree<'t>, property: Property) {
        if matches!(flat.initial(property), b'c' | b'd') {
            let Property { name, value } = property;
            if name == self.compatible {
                self.kind(flat, value);
            } else if name != self.other {
                self.look(flat, name, value);
            }
        }
    }

    #[inline(always)]
    fn end(&mut self) {
        self.place.leave();
    }
}

impl<'t> Surveyor<'t, '_> {
    /// Notes a child of the root by its name.
    #[cold]
    #[inline(never)]
    fn top(&mut self, flat: &FlatTree<'t>, name: u32) {
        if self.place.has_base_name(MEMORY) {
            self.memory();
        }
        for (top, found) in TOPS.iter().zip(&mut self.found.tops) {
            if found.is_none() && flat.is_called(name, top.as_bytes()) {
                *found = Some(self.place);
            }
        }
    }

    /// Notes a node that looks like RAM.
    fn memory(&mut self) {
        let name = self.place.name_at();
        let first = self.found.memory.map_or(name, |(first, _)| first);
        self.found.memory = Some((first, name));
    }

    /// Looks at a property whose name is not known by its place.
    #[cold]
    #[inline(never)]
    fn look(&mut self, flat: &FlatTree<'t>, name: u32, value: Value) {
        if flat.is_name(name, b"compatible") {
            self.compatible = name;
            self.kind(flat, value);
        } else if flat.is_name(name, b"device_type") {
            let is_top = self.place.depth() == 1;
            if is_top && raw_strings(flat.bytes(value)).any(|own| own == MEMORY.as_bytes()) {
                self.memory();
            }
        } else {
            self.other = name;
        }
    }

    /// Notes a node by its `compatible`.
    #[cold]
    #[inline(never)]
    fn kind(&mut self, flat: &FlatTree<'t>, value: Value) {
        if !self.dull.is_some_and(|dull| flat.is_alike(dull, value)) {
            self.kinds(flat, value);
        }
    }

    /// Notes a node by its `compatible`, which is another than that of the last.
    #[inline(never)]
    fn kinds(&mut self, flat: &FlatTree<'t>, value: Value) {
        self.dull = Some(value);
        for own in raw_strings(flat.bytes(value)) {
            let initial = own.first().copied().unwrap_or(0);
            if KIND_MARKS.may_begin(initial) && KIND_MARKS.may_be_long(own.len()) {
                self.note(own);
                self.dull = None;
            }
        }
    }

    /// Notes a node by one of the strings in its `compatible`.
    #[inline(never)]
    fn note(&mut self, own: &[u8]) {
        let Some(kind) = KINDS.iter().position(|kinds| has(kinds, own)) else {
            return;
        };
        let place = &self.place;
        match self.found.nodes.get_mut(kind) {
            Some(found) if found.is_none() && place.enabled() => *found = Some(*place),
            Some(_) => {}
            None => {
                let _ = self.found.uarts.try_push(*place);
            }
        }
    }
}
