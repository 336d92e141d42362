//! The board's tree as a set of places: bounded walks, inherited cells, translated addresses.
//!
//! Invariant: a [`Tree`] has at most [`MAX_NODES`] nodes, none deeper than [`MAX_DEPTH`], so every walk ends,
//! and soon. Property values are checked where they are read; the tree is hostile until then.

mod registers;

use core::ops::RangeInclusive;
use core::slice::ChunksExact;

use self::registers::Bus;
pub(super) use self::registers::Registers;
use super::interrupts::Controller;
use super::{BoardError, BoardProblem, NodePath};
use crate::words::{FlatTree, Shape, Text, Token, reservations};

/// Nodes between the root and the deepest node; real trees have at most eight.
pub(super) const MAX_DEPTH: usize = 16;
/// Nodes in a tree; the largest in Linux has about 2,500.
const MAX_NODES: usize = 4096;
/// What a node's phandle is called (2.3.3), and what old trees call it.
const PHANDLES: [&[u8]; 2] = [b"phandle", b"linux,phandle"];
/// Bytes of a cell.
const CELL: usize = size_of::<u32>();
/// Most cells of an address or a size: PCI's three (IEEE 1275).
const MAX_CELLS: usize = 3;
/// Most cells that make a number here.
const NUMBER_CELLS: usize = 2;
/// `#address-cells` where a parent has none (2.3.5).
const DEFAULT_ADDRESS_CELLS: usize = 2;
/// `#size-cells` where a parent has none (2.3.5).
const DEFAULT_SIZE_CELLS: usize = 1;

/// How many cells an address has on a bus, and a size.
type Cells = (usize, usize);

/// A sound tree of bounded size.
pub(super) struct Tree<'t> {
    bytes: &'t [u8],
    flat: FlatTree<'t>,
    /// The node that most references lead to.
    favourite: Option<Favourite<'t>>,
    /// The bus of the node whose registers were asked for last: mostly the next one is on the same.
    bus: Bus<'t>,
    /// The controller of interrupts whose node names none that was asked for last, and [`Place::first_above`] of that node.
    inherited: Option<(u32, Controller)>,
}

/// A node that is found by its phandle without a search.
struct Favourite<'t> {
    handle: u32,
    place: Place<'t>,
    /// What it is as an interrupt controller, if it is a sound one.
    controller: Option<Controller>,
}

impl<'t> Tree<'t> {
    /// Checks `bytes`' structure; what lies past `totalsize` is ignored.
    pub(super) fn new(bytes: &'t [u8]) -> Result<Self, BoardError> {
        Self::bounded(bytes, FlatTree::read(bytes))
    }

    /// The tree that was read out of `bytes`, if it is one of bounded size.
    pub(super) fn bounded(
        bytes: &'t [u8],
        sound: Option<(FlatTree<'t>, Shape)>,
    ) -> Result<Self, BoardError> {
        let (flat, shape) = sound.ok_or_else(|| at_root(BoardProblem::Damaged))?;
        if shape.nodes > MAX_NODES {
            return Err(at_root(BoardProblem::TooManyNodes(MAX_NODES)));
        }
        if shape.depth > MAX_DEPTH {
            return Err(at_root(BoardProblem::TooDeep(MAX_DEPTH)));
        }
        Ok(Self {
            bytes,
            flat,
            favourite: None,
            bus: Bus::new(0, (0, 0)),
            inherited: None,
        })
    }

    /// The root.
    pub(super) fn root(&self) -> Place<'t> {
        Place::root(self.flat)
    }

    /// Visits every node in the tree's order.
    pub(super) fn walk(&self) -> Walk<'t> {
        Walk {
            at: None,
            place: self.root(),
        }
    }

    /// The node whose `phandle` is `handle`.
    pub(super) fn phandle(&self, handle: u32) -> Option<Place<'t>> {
        if let Some(favourite) = &self.favourite
            && favourite.handle == handle
        {
            return Some(favourite.place);
        }
        let mut place = self.root();
        let mut at = place.first;
        loop {
            match self.flat.next(&mut at)? {
                Token::Begin(name) if place.enter(name, at) => {}
                Token::End if place.leave() => {}
                Token::Property(property) => {
                    let named = PHANDLES
                        .iter()
                        .any(|name| self.flat.is_named(property, name));
                    if named && cell(self.flat.value(property)) == Some(handle) {
                        return Some(place);
                    }
                }
                Token::Begin(_) | Token::End => return None,
            }
        }
    }

    /// Makes `place` the node that is found by its phandle without a search.
    pub(super) fn favour(&mut self, place: &Place<'t>) {
        let handle = PHANDLES
            .iter()
            .find_map(|name| self.flat.find(place.first, name));
        self.favourite = handle.and_then(cell).map(|handle| Favourite {
            handle,
            place: *place,
            controller: Controller::read(place).ok(),
        });
    }

    /// What `place` is as an interrupt controller.
    pub(super) fn controller_at(&self, place: &Place<'_>) -> Result<Controller, BoardError> {
        let favourite = self.favourite.as_ref();
        let known = favourite.filter(|own| own.place.first == place.first);
        match known.and_then(|own| own.controller) {
            Some(controller) => Ok(controller),
            None => Controller::read(place),
        }
    }

    /// The interrupt controller whose `phandle` is `handle`, where it is known.
    pub(super) fn controller(&self, handle: u32) -> Option<Controller> {
        let favourite = self.favourite.as_ref();
        favourite.filter(|own| own.handle == handle)?.controller
    }

    /// The controller of interrupts whose node names none, by its [`Place::first_above`], where it is known.
    pub(super) fn inherited(&self, first: u32) -> Option<Controller> {
        let (known, controller) = self.inherited?;
        (known == first).then_some(controller)
    }

    /// Remembers what [`Self::inherited`] gives.
    pub(super) fn inherit(&mut self, first: u32, controller: Controller) {
        self.inherited = Some((first, controller));
    }

    /// The node at `path`; a unit address may be left out where that names one node only.
    pub(super) fn find(&self, path: &str) -> Option<Place<'t>> {
        let mut place = self.root();
        for name in path.strip_prefix('/')?.split('/').filter(|s| !s.is_empty()) {
            place = place.child(name)?;
        }
        Some(place)
    }

    /// The memory reservation block's address and size pairs.
    pub(super) fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + 't {
        reservations(self.bytes)
    }
}

fn at_root(problem: BoardProblem) -> BoardError {
    BoardError {
        node: NodePath::from("/"),
        problem,
    }
}

/// A depth-first walk.
pub(super) struct Walk<'t> {
    place: Place<'t>,
    /// What comes after the node that was visited last, once one was.
    at: Option<u32>,
}

impl<'t> Iterator for Walk<'t> {
    type Item = Place<'t>;

    fn next(&mut self) -> Option<Place<'t>> {
        let Some(mut at) = self.at else {
            self.at = Some(self.place.first);
            return Some(self.place);
        };
        loop {
            match self.place.flat.next(&mut at)? {
                Token::Property(_) => {}
                Token::End if !self.place.leave() => return None,
                Token::End => {}
                Token::Begin(name) => {
                    self.at = Some(at);
                    return self.place.enter(name, at).then_some(self.place);
                }
            }
        }
    }
}

/// A node and the way to it.
#[derive(Clone, Copy)]
pub(super) struct Place<'t> {
    flat: FlatTree<'t>,
    /// Where the names of the nodes above are, below the root, then its own.
    below: [u32; MAX_DEPTH],
    depth: usize,
    /// Where its first property is, or what comes in its stead.
    first: u32,
}

impl<'t> Place<'t> {
    /// The root of a tree.
    pub(super) fn root(flat: FlatTree<'t>) -> Self {
        Self {
            flat,
            below: [0; MAX_DEPTH],
            depth: 0,
            first: flat.root().first(),
        }
    }

    /// The node's name with its unit address; the root's is empty.
    pub(super) fn name(&self) -> &'t str {
        text(self.raw_name())
    }

    fn raw_name(&self) -> &'t [u8] {
        let own = self.names().last();
        own.map_or(&[], |name| self.flat.name(*name))
    }

    /// The nodes between it and the root, itself included.
    fn names(&self) -> &[u32] {
        self.below.get(..self.depth).unwrap_or_default()
    }

    /// How many nodes lie between it and the root, itself included.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Where its name is; the root's is nowhere.
    pub(super) fn name_at(&self) -> u32 {
        self.names().last().copied().unwrap_or(0)
    }

    /// Goes to the node in this one whose name is at `name` and whose properties begin at `first`; `false` if it lies too
    /// deep.
    #[inline(always)]
    pub(super) fn enter(&mut self, name: u32, first: u32) -> bool {
        let depth = self.depth;
        let Some(below) = self.below.get_mut(depth) else {
            return false;
        };
        *below = name;
        (self.depth, self.first) = (depth + 1, first);
        true
    }

    /// Goes back to the parent, all of whose properties were seen; `false` if this is the root.
    #[inline(always)]
    pub(super) fn leave(&mut self) -> bool {
        let above = self.depth.checked_sub(1);
        self.depth = above.unwrap_or(0);
        above.is_some()
    }

    /// Gives `each` the node's properties: names and values.
    pub(super) fn for_each_property(&self, mut each: impl FnMut(&str, &'t [u8])) {
        let mut at = self.first;
        while let Some(Token::Property(property)) = self.flat.next(&mut at) {
            each(
                text(self.flat.property_name(property)),
                self.flat.value(property),
            );
        }
    }

    /// The parent, unless this is the root.
    pub(super) fn parent(&self) -> Option<Self> {
        Some(self.above(self.depth.checked_sub(1)?))
    }

    /// The node above this one, or this one, that has `depth` nodes between it and the root, itself included.
    pub(super) fn above(&self, depth: usize) -> Self {
        let first = self.first_at(depth);
        let depth = depth.min(self.depth);
        Self {
            depth,
            first,
            ..*self
        }
    }

    /// Where the first property of the node is that [`Self::above`] gives.
    pub(super) fn first_at(&self, depth: usize) -> u32 {
        if depth >= self.depth {
            return self.first;
        }
        let root = self.flat.root().first();
        let own = depth.checked_sub(1).and_then(|last| self.below.get(last));
        own.map_or(root, |name| self.flat.after_name(*name).unwrap_or(root))
    }

    /// Where the first property of the parent is; at 0, where none is, if this is the root.
    pub(super) fn first_above(&self) -> u32 {
        let above = self.depth.checked_sub(1);
        above.map_or(0, |above| self.first_at(above))
    }

    /// The nodes below this one.
    pub(super) fn children(&self) -> impl Iterator<Item = Place<'t>> + use<'t> {
        let (place, mut children) = (*self, self.flat.children(self.first));
        core::iter::from_fn(move || {
            let (name, first) = children.next()?;
            place.below(name, first)
        })
    }

    /// Gives `each` the nodes below this one, up to its first error.
    pub(super) fn try_each_child(
        &self,
        each: impl FnMut(&Self) -> Result<(), BoardError>,
    ) -> Result<(), BoardError> {
        self.try_each_child_in(0..=u32::MAX, each)
    }

    /// Gives `each` those of the nodes below this one whose names are at `names`, up to its first error.
    pub(super) fn try_each_child_in(
        &self,
        names: RangeInclusive<u32>,
        mut each: impl FnMut(&Self) -> Result<(), BoardError>,
    ) -> Result<(), BoardError> {
        let mut child = *self;
        let from = names.start().saturating_sub(1).max(self.first);
        for (name, first) in self.flat.children(from) {
            if name > *names.end() || !child.enter(name, first) {
                break;
            }
            each(&child)?;
            child.leave();
        }
        Ok(())
    }

    /// The child called `name`, or the only one called so but for its unit address.
    fn child(&self, name: &str) -> Option<Self> {
        let (mut alike, mut count) = (None, 0);
        for (own, first) in self.flat.children(self.first) {
            match self.flat.after(own, name.as_bytes()) {
                Some(0) => return self.below(own, first),
                Some(b'@') if !name.contains('@') => {
                    count += 1;
                    alike = Some((own, first));
                }
                _ => {}
            }
        }
        let (own, first) = alike.filter(|_| count == 1)?;
        self.below(own, first)
    }

    /// The node in this one whose name is at `name` and whose properties begin at `first`; none if it lies too deep.
    fn below(mut self, name: u32, first: u32) -> Option<Self> {
        self.enter(name, first).then_some(self)
    }

    /// Whether the node's name without its unit address is `base`.
    pub(super) fn has_base_name(&self, base: &str) -> bool {
        let next = self.flat.after(self.name_at(), base.as_bytes());
        matches!(next, Some(0 | b'@'))
    }

    /// The node's name without its unit address.
    pub(super) fn base_name(&self) -> &'t str {
        text(base_of(self.raw_name()))
    }

    /// The name, without unit address, of the root's child this node is or lies below.
    pub(super) fn top_base_name(&self) -> &'t str {
        let top = self.names().first();
        top.map_or("", |top| text(base_of(self.flat.name(*top))))
    }

    /// The node's path, as much of it as fits.
    pub(super) fn path<const N: usize>(&self) -> Text<N> {
        let mut path = Text::new();
        for name in self.names() {
            path.push("/");
            path.push(text(self.flat.name(*name)));
        }
        if self.depth == 0 {
            path.push("/");
        }
        path
    }

    /// Whether `path` is the node's, with no slash too many.
    pub(super) fn is_at(&self, path: &str) -> bool {
        let mut rest = Some(path.as_bytes());
        for name in self.names() {
            let below = rest.and_then(|rest| rest.strip_prefix(b"/"));
            rest = below.and_then(|below| below.strip_prefix(self.flat.name(*name)));
        }
        rest == Some(b"")
    }

    /// This node's error.
    pub(super) fn error(&self, problem: BoardProblem) -> BoardError {
        BoardError {
            node: self.path(),
            problem,
        }
    }

    /// The value of a property, if the node has it.
    pub(super) fn value(&self, name: &str) -> Option<&'t [u8]> {
        self.value_from(self.first, name)
    }

    /// The value of a property of the node whose properties begin at `first`, this one or one above it.
    pub(super) fn value_from(&self, first: u32, name: &str) -> Option<&'t [u8]> {
        self.flat.find(first, name.as_bytes())
    }

    /// The strings of a property; none if it is missing, or from where it is no text.
    pub(super) fn strings(&self, name: &str) -> impl Iterator<Item = &'t str> + use<'t> {
        strings(self.value(name).unwrap_or_default())
    }

    /// The first string of a property, empty if there is none.
    pub(super) fn string(&self, name: &str) -> &'t str {
        text(self.raw_string(name))
    }

    /// The first string of a property as bytes, empty if there is none: for telling it from others.
    pub(super) fn raw_string(&self, name: &str) -> &'t [u8] {
        self.raw_strings(name).next().unwrap_or_default()
    }

    /// The strings of a property as bytes; none if it is missing, or the last is not terminated.
    pub(super) fn raw_strings(&self, name: &str) -> impl Iterator<Item = &'t [u8]> + use<'t> {
        raw_strings(self.value(name).unwrap_or_default())
    }

    /// A property that is one cell.
    pub(super) fn cell(&self, name: &'static str) -> Result<Option<u32>, BoardError> {
        let malformed = || self.error(BoardProblem::Malformed(name));
        match self.value(name) {
            None => Ok(None),
            Some(value) => cell(value).map(Some).ok_or_else(malformed),
        }
    }

    /// A property that is a number of one or two cells.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, BoardError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        match number(value) {
            Some(number) if !value.is_empty() => Ok(Some(number)),
            _ => Err(self.error(BoardProblem::Malformed(name))),
        }
    }

    /// Whether one of the node's `compatible` strings is in `kinds`.
    pub(super) fn is_any(&self, kinds: &[&str]) -> bool {
        let mut compatible = self.raw_strings("compatible");
        compatible.any(|own| has(kinds, own))
    }

    /// Whether the `status` of the node and of all above it lets it be used (2.3.4).
    pub(super) fn enabled(&self) -> bool {
        (1..=self.depth).all(|depth| self.enabled_at(depth))
    }

    /// Whether the node's own `status` lets it be used, whatever is above it.
    pub(super) fn enabled_itself(&self) -> bool {
        self.enabled_at(self.depth)
    }

    fn enabled_at(&self, depth: usize) -> bool {
        match self.value_from(self.first_at(depth), "status") {
            None => true,
            Some(status) => matches!(raw_strings(status).next(), Some(b"okay" | b"ok")),
        }
    }

    /// `#address-cells` and `#size-cells` for this node's children.
    pub(super) fn cells(&self) -> Result<Cells, BoardError> {
        self.cells_at(self.depth)
    }

    /// `#address-cells` and `#size-cells` for the children of the node that [`Self::above`] gives.
    fn cells_at(&self, depth: usize) -> Result<Cells, BoardError> {
        Ok((
            self.cell_count_at(depth, "#address-cells", DEFAULT_ADDRESS_CELLS)?,
            self.cell_count_at(depth, "#size-cells", DEFAULT_SIZE_CELLS)?,
        ))
    }

    /// A property that counts cells.
    pub(super) fn cell_count(
        &self,
        name: &'static str,
        default: usize,
    ) -> Result<usize, BoardError> {
        self.cell_count_at(self.depth, name, default)
    }

    /// A property that counts cells, of the node that [`Self::above`] gives.
    fn cell_count_at(
        &self,
        depth: usize,
        name: &'static str,
        default: usize,
    ) -> Result<usize, BoardError> {
        let Some(value) = self.value_from(self.first_at(depth), name) else {
            return Ok(default);
        };
        let count = cell(value).and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|count| *count <= MAX_CELLS);
        count.ok_or_else(|| self.above(depth).error(BoardProblem::Malformed(name)))
    }

    /// The first cells of `reg` as one number, where the parent has so many cells for an address and a size: a CPU's MPIDR.
    pub(super) fn unit(&self, (address, size): Cells) -> Result<Option<u64>, BoardError> {
        let first = self.groups("reg", address + size)?.next();
        Ok(first
            .and_then(|entry| entry.get(..address * CELL))
            .and_then(number))
    }

    /// A property's value in groups of `cells` cells.
    pub(super) fn groups(
        &self,
        name: &'static str,
        cells: usize,
    ) -> Result<ChunksExact<'t, u8>, BoardError> {
        let groups = groups(self.value(name).unwrap_or_default(), cells);
        groups.ok_or_else(|| self.error(BoardProblem::Malformed(name)))
    }
}

/// A node's name without its unit address.
fn base_of(name: &[u8]) -> &[u8] {
    let base = name.split(|byte| *byte == b'@').next();
    base.unwrap_or_default()
}

/// A name as text; that it is one was checked.
fn text(name: &[u8]) -> &str {
    core::str::from_utf8(name).unwrap_or_default()
}

/// The zero-terminated strings in `value` as bytes; none if the last one is not terminated.
#[inline(always)]
pub(super) fn raw_strings(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = value.strip_suffix(&[0]);
    text.into_iter()
        .flat_map(|text| text.split(|byte| *byte == 0))
}

/// Whether `own` is in `kinds`.
#[inline(always)]
pub(super) fn has(kinds: &[&str], own: &[u8]) -> bool {
    let is = |kind: &&str| {
        let same = || kind.bytes().zip(own).all(|(one, other)| one == *other);
        kind.len() == own.len() && same()
    };
    kinds.iter().any(is)
}

/// One big-endian cell.
pub(super) fn cell(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// A big-endian number of no, one or two cells.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    let (cells, rest) = bytes.as_chunks::<CELL>();
    if cells.len() > NUMBER_CELLS || !rest.is_empty() {
        return None;
    }
    let cells = cells.iter().copied().map(u32::from_be_bytes);
    Some(cells.fold(0, |number, cell| (number << u32::BITS) | u64::from(cell)))
}

/// `value` in groups of `cells` cells, if there is no rest.
fn groups(value: &[u8], cells: usize) -> Option<ChunksExact<'_, u8>> {
    let bytes = cells.saturating_mul(CELL).max(1);
    let whole = value.len().is_multiple_of(bytes) && (cells != 0 || value.is_empty());
    whole.then(|| value.chunks_exact(bytes))
}

/// The zero-terminated strings in `value`, as far as they are UTF-8.
pub(super) fn strings(value: &[u8]) -> impl Iterator<Item = &str> {
    raw_strings(value).map_while(|own| core::str::from_utf8(own).ok())
}
