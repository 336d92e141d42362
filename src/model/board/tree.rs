//! The board's tree as a set of places: bounded walks, inherited cells, translated addresses.
//!
//! Invariant: a [`Tree`] has at most [`MAX_NODES`] nodes, none deeper than [`MAX_DEPTH`], so every walk ends,
//! and soon. Property values are checked where they are read; the tree is hostile until then.

use arrayvec::ArrayVec;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use super::{BoardError, BoardProblem, NodePath};
use crate::words::{Pa, Range, Text};

/// Nodes between the root and the deepest node; real trees have at most eight.
pub(super) const MAX_DEPTH: usize = 16;
/// Nodes in a tree; the largest in Linux has about 2,500.
const MAX_NODES: usize = 4096;
/// Offset of `totalsize` in the header (Devicetree Specification 5.2).
const TOTALSIZE_OFFSET: usize = 4;
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

type Children<'t> = <FdtNode<'t> as Node>::Children<'t>;

/// A sound tree of bounded size.
#[derive(Clone, Copy)]
pub(super) struct Tree<'t> {
    fdt: Fdt<'t>,
}

impl<'t> Tree<'t> {
    /// Checks `bytes`' structure; what lies past `totalsize` is ignored.
    pub(super) fn new(bytes: &'t [u8]) -> Result<Self, BoardError> {
        let sound = trimmed(bytes).and_then(|bytes| Fdt::new(bytes).ok());
        let fdt = sound.ok_or_else(|| at_root(BoardProblem::Damaged))?;
        let tree = Self { fdt };
        let mut walk = tree.walk();
        let nodes = walk.by_ref().take(MAX_NODES + 1).count();
        if nodes > MAX_NODES {
            return Err(at_root(BoardProblem::TooManyNodes(MAX_NODES)));
        }
        if walk.too_deep {
            return Err(at_root(BoardProblem::TooDeep(MAX_DEPTH)));
        }
        Ok(tree)
    }

    /// The root.
    pub(super) fn root(self) -> Place<'t> {
        Place {
            root: self.fdt.root(),
            below: ArrayVec::new(),
        }
    }

    /// Visits every node in the tree's order.
    pub(super) fn walk(self) -> Walk<'t> {
        let place = self.root();
        Walk {
            first: true,
            open: ArrayVec::new(),
            place,
            too_deep: false,
        }
    }

    /// The first usable node one of whose `compatible` strings is in `kinds`.
    pub(super) fn compatible(self, kinds: &[&str]) -> Option<Place<'t>> {
        self.walk()
            .find(|place| place.is_any(kinds) && place.enabled())
    }

    /// The node whose `phandle` is `handle`.
    pub(super) fn phandle(self, handle: u32) -> Option<Place<'t>> {
        self.walk().find(|place| {
            let own = place
                .value("phandle")
                .or_else(|| place.value("linux,phandle"));
            own.and_then(cell) == Some(handle)
        })
    }

    /// The node at `path`; a unit address may be left out where that names one node only.
    pub(super) fn find(self, path: &str) -> Option<Place<'t>> {
        let mut place = self.root();
        for name in path.strip_prefix('/')?.split('/').filter(|s| !s.is_empty()) {
            place = place.child(name)?;
        }
        Some(place)
    }

    /// The memory reservation block's address and size pairs.
    pub(super) fn reservations(self) -> impl Iterator<Item = (u64, u64)> + 't {
        self.fdt
            .memory_reservations()
            .map(|entry| (entry.address(), entry.size()))
    }
}

/// The tree without what follows its `totalsize`.
fn trimmed(bytes: &[u8]) -> Option<&[u8]> {
    let total = bytes.get(TOTALSIZE_OFFSET..TOTALSIZE_OFFSET + CELL)?;
    bytes.get(..usize::try_from(cell(total)?).ok()?)
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
    open: ArrayVec<Children<'t>, { MAX_DEPTH + 1 }>,
    first: bool,
    too_deep: bool,
}

impl<'t> Iterator for Walk<'t> {
    type Item = Place<'t>;

    fn next(&mut self) -> Option<Place<'t>> {
        if self.first {
            self.first = false;
            let _ = self.open.try_push(self.place.root.children());
            return Some(self.place.clone());
        }
        loop {
            let Some(child) = self.open.last_mut()?.next() else {
                self.open.pop();
                self.place.below.pop();
                continue;
            };
            if self.place.below.try_push(child).is_err() {
                self.too_deep = true;
                continue;
            }
            let _ = self.open.try_push(child.children());
            return Some(self.place.clone());
        }
    }
}

/// A node and the way to it.
#[derive(Clone)]
pub(super) struct Place<'t> {
    root: FdtNode<'t>,
    below: ArrayVec<FdtNode<'t>, MAX_DEPTH>,
}

impl<'t> Place<'t> {
    /// The node.
    pub(super) fn node(&self) -> FdtNode<'t> {
        self.below.last().copied().unwrap_or(self.root)
    }

    /// The node's name with its unit address; the root's is empty.
    pub(super) fn name(&self) -> &'t str {
        own_name(&self.node())
    }

    /// How many nodes lie between it and the root, itself included.
    pub(super) fn depth(&self) -> usize {
        self.below.len()
    }

    /// Gives `each` the node's properties: names and values.
    pub(super) fn for_each_property(&self, mut each: impl FnMut(&str, &'t [u8])) {
        for property in self.node().properties() {
            if let Ok(value) = property.value_as::<&'t [u8]>() {
                each(property.name(), value);
            }
        }
    }

    /// The parent, unless this is the root.
    pub(super) fn parent(&self) -> Option<Self> {
        let mut parent = self.clone();
        parent.below.pop()?;
        Some(parent)
    }

    /// The node above this one, or this one, that has `depth` nodes between it and the root, itself included.
    pub(super) fn above(&self, depth: usize) -> Self {
        let mut above = self.clone();
        above.below.truncate(depth);
        above
    }

    /// The nodes below this one.
    pub(super) fn children(&self) -> impl Iterator<Item = Place<'t>> + use<'_, 't> {
        self.node().children().filter_map(|node| {
            let mut place = self.clone();
            place.below.try_push(node).ok()?;
            Some(place)
        })
    }

    /// The child called `name`, or the only one called so but for its unit address.
    fn child(&self, name: &str) -> Option<Self> {
        let exact = self.children().find(|child| child.name() == name);
        if exact.is_some() || name.contains('@') {
            return exact;
        }
        let mut alike = self.children().filter(|child| child.base_name() == name);
        let only = alike.next()?;
        alike.next().is_none().then_some(only)
    }

    /// The node's name without its unit address.
    pub(super) fn base_name(&self) -> &'t str {
        base_of(self.name())
    }

    /// The name, without unit address, of the root's child this node is or lies below.
    pub(super) fn top_base_name(&self) -> &'t str {
        self.below.first().map_or("", |top| base_of(own_name(top)))
    }

    /// The node's path, as much of it as fits.
    pub(super) fn path<const N: usize>(&self) -> Text<N> {
        let mut path = Text::new();
        for node in &self.below {
            path.push("/");
            path.push(own_name(node));
        }
        if self.below.is_empty() {
            path.push("/");
        }
        path
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
        self.node().property(name)?.value_as::<&'t [u8]>().ok()
    }

    /// The strings of a property; none if it is missing, or from where it is no text.
    pub(super) fn strings(&self, name: &str) -> impl Iterator<Item = &'t str> + use<'t> {
        strings(self.value(name).unwrap_or_default())
    }

    /// The first string of a property, empty if there is none.
    pub(super) fn string(&self, name: &str) -> &'t str {
        self.strings(name).next().unwrap_or_default()
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
        self.strings("compatible").any(|kind| kinds.contains(&kind))
    }

    /// Whether the `status` of the node and of all above it lets it be used (2.3.4).
    pub(super) fn enabled(&self) -> bool {
        self.below.iter().all(|node| match node.property("status") {
            None => true,
            Some(status) => status
                .value_as::<&[u8]>()
                .is_ok_and(|value| matches!(strings(value).next(), Some("okay" | "ok"))),
        })
    }

    /// `#address-cells` and `#size-cells` for this node's children.
    fn cells(&self) -> Result<(usize, usize), BoardError> {
        Ok((
            self.cell_count("#address-cells", DEFAULT_ADDRESS_CELLS)?,
            self.cell_count("#size-cells", DEFAULT_SIZE_CELLS)?,
        ))
    }

    /// A property that counts cells.
    pub(super) fn cell_count(
        &self,
        name: &'static str,
        default: usize,
    ) -> Result<usize, BoardError> {
        match self.cell(name)?.map(usize::try_from) {
            None => Ok(default),
            Some(Ok(count)) if count <= MAX_CELLS => Ok(count),
            Some(_) => Err(self.error(BoardProblem::Malformed(name))),
        }
    }

    /// The entries of `reg`, each in the CPUs' address space; `None` for one that has no place there: behind a
    /// bus without `ranges`, with a PCI address, or without a size.
    pub(super) fn registers(
        &self,
    ) -> Result<impl Iterator<Item = Result<Option<Range>, BoardError>> + use<'_, 't>, BoardError>
    {
        let (address, size) = self.parent().map_or(Ok((0, 0)), |parent| parent.cells())?;
        let entries = self.groups("reg", address + size)?;
        Ok(entries.map(move |entry| {
            let (base, size) = entry.split_at_checked(address * CELL).unwrap_or_default();
            match (number(base), number(size)) {
                (Some(base), Some(bytes)) if !size.is_empty() => self.translate(base, bytes),
                _ => Ok(None),
            }
        }))
    }

    /// The first cells of `reg` as one number: a CPU's MPIDR.
    pub(super) fn unit(&self) -> Result<Option<u64>, BoardError> {
        let (address, size) = self.parent().map_or(Ok((0, 0)), |parent| parent.cells())?;
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
    ) -> Result<core::slice::ChunksExact<'t, u8>, BoardError> {
        let value = self.value(name).unwrap_or_default();
        let bytes = cells.saturating_mul(CELL).max(1);
        if !value.len().is_multiple_of(bytes) || (cells == 0 && !value.is_empty()) {
            return Err(self.error(BoardProblem::Malformed(name)));
        }
        Ok(value.chunks_exact(bytes))
    }

    /// Takes a range from this node's bus to the CPUs' address space, through each `ranges` on the way (2.3.8).
    fn translate(&self, base: u64, size: u64) -> Result<Option<Range>, BoardError> {
        let mut base = base;
        let mut bus = self.parent();
        while let Some(place) = bus {
            let Some(parent) = place.parent() else {
                break;
            };
            match place.through(&parent, base, size)? {
                Some(above) => base = above,
                None => return Ok(None),
            }
            bus = Some(parent);
        }
        let range = Range::new(Pa::new(base), size);
        range
            .map(Some)
            .ok_or_else(|| self.error(BoardProblem::Malformed("reg")))
    }

    /// The entries of this bus's `dma-ranges` that are numbers (2.3.9): an address on the bus, the same one level up, bytes.
    /// `None` if the bus passes addresses on as they are.
    pub(super) fn dma_windows(&self) -> Option<impl Iterator<Item = (u64, u64, u64)> + use<'t>> {
        const NAME: &str = "dma-ranges";
        self.value(NAME).filter(|value| !value.is_empty())?;
        let cells = self.cells().ok();
        let above = self.parent().and_then(|parent| parent.cells().ok());
        // What is malformed lets nothing through.
        let (child, above, length) = match (cells, above) {
            (Some((child, length)), Some((above, _))) => (child, above, length),
            _ => (0, 0, 0),
        };
        let entries = self.groups(NAME, child + above + length);
        let windows = entries.into_iter().flatten().filter_map(move |entry| {
            let window = Window::read(entry, child, above)?;
            Some((window.child, window.parent, window.length))
        });
        Some(windows)
    }

    /// Takes an address on this bus to `parent`'s, if one of its `ranges` covers it.
    fn through(&self, parent: &Self, base: u64, size: u64) -> Result<Option<u64>, BoardError> {
        let Some(value) = self.value("ranges") else {
            return Ok(None);
        };
        if value.is_empty() {
            return Ok(Some(base));
        }
        let (child, length) = self.cells()?;
        let (above, _) = parent.cells()?;
        for entry in self.groups("ranges", child + above + length)? {
            if let Some(above) = Window::read(entry, child, above).and_then(|w| w.map(base, size)) {
                return Ok(Some(above));
            }
        }
        Ok(None)
    }
}

/// The name of `node`, borrowed from the tree.
fn own_name<'t>(node: &FdtNode<'t>) -> &'t str {
    <FdtNode<'t> as Node>::name(node)
}

/// A node's name without its unit address.
fn base_of(name: &str) -> &str {
    name.split_once('@').map_or(name, |(base, _)| base)
}

/// One entry of `ranges`.
struct Window {
    child: u64,
    parent: u64,
    length: u64,
}

impl Window {
    /// Reads an entry of `child` cells, `parent` cells and the rest; none if one of them is no number.
    fn read(entry: &[u8], child: usize, parent: usize) -> Option<Self> {
        let (from, rest) = entry.split_at_checked(child * CELL)?;
        let (to, length) = rest.split_at_checked(parent * CELL)?;
        Some(Self {
            child: number(from)?,
            parent: number(to)?,
            length: number(length)?,
        })
    }

    /// Where `size` bytes from `base` appear, if the window covers them.
    fn map(&self, base: u64, size: u64) -> Option<u64> {
        let offset = base.checked_sub(self.child)?;
        let end = offset.checked_add(size)?;
        (end <= self.length)
            .then_some(offset)
            .and_then(|offset| self.parent.checked_add(offset))
    }
}

/// One big-endian cell.
pub(super) fn cell(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// A big-endian number of no, one or two cells.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.len() > NUMBER_CELLS * CELL || !bytes.len().is_multiple_of(CELL) {
        return None;
    }
    let digits = bytes.iter();
    Some(digits.fold(0, |number, byte| (number << u8::BITS) | u64::from(*byte)))
}

/// The zero-terminated strings in `value`, as far as they are UTF-8.
fn strings(value: &[u8]) -> impl Iterator<Item = &str> {
    let text = value.strip_suffix(&[0]);
    let parts = text.into_iter().flat_map(|text| text.split(|b| *b == 0));
    parts.map_while(|part| core::str::from_utf8(part).ok())
}
