//! Copies devices' nodes out of the board's tree into another: a guest's.
//!
//! What a copy says of the board becomes what the guest has: registers where the guest sees them, interrupts at the
//! guest's GIC, phandles that no node of the guest's own has, clocks as clocks of a fixed rate. Invariant: no reference
//! that this knows leads to a node the guest does not have; such a property is left out.
//!
//! Functions are not inlined, so that what one keeps does not lie on the stack while another walks the tree.
//!
//! Bindings: Devicetree Specification 2.3 and 2.4; `clock/fixed-clock.yaml`, `interrupt-controller/arm,gic.yaml`.

use arrayvec::ArrayVec;

use super::dma::dma;
use super::interrupts;
use super::tree::{Place, Tree, cell};
use super::{BoardError, DevicePath, Dma, gic};
use crate::words::{Ipa, Nodes, Range};

/// Added to a phandle of the board's: the guest's own are below, and the board's trees number from 1 or 0x8000 up.
const PHANDLES: u32 = 0x1000_0000;
/// Phandle of the first clock made here.
const CLOCKS: u32 = 0x0800_0000;
/// Clocks made for one guest.
const MAX_CLOCKS: usize = 32;
/// Cells of a property that is written anew.
const MAX_CELLS: usize = 256;
/// Bytes of a cell.
const CELL: usize = size_of::<u32>();
/// Cells of an interrupt specifier that the guest's GIC has: kind, number, flags.
const GIC_CELLS: usize = 3;
/// Cells of `gpio-ranges` behind its phandle (`gpio/gpio.txt`).
const GPIO_RANGE_CELLS: usize = 3;

/// Properties that say something about the board's other parts, or are written anew.
const LEFT_OUT: &[&str] = &[
    "interrupts",
    "interrupts-extended",
    "interrupt-parent",
    "interrupt-names",
    "linux,phandle",
    "status",
    "ranges",
    "dma-ranges",
    "iommus",
    "iommu-map",
    "iommu-map-mask",
    "msi-parent",
    "msi-map",
    "memory-region",
    "memory-region-names",
    "interconnects",
    "interconnect-names",
    "assigned-clocks",
    "assigned-clock-parents",
    "assigned-clock-rates",
];

/// Lists of references: the property, the target's property that says how many cells follow each, the entries' names.
const LISTS: &[(&str, &str, &str)] = &[
    ("resets", "#reset-cells", "reset-names"),
    ("phys", "#phy-cells", "phy-names"),
    ("dmas", "#dma-cells", "dma-names"),
    ("mboxes", "#mbox-cells", "mbox-names"),
    ("power-domains", "#power-domain-cells", "power-domain-names"),
    ("pwms", "#pwm-cells", "pwm-names"),
    ("io-channels", "#io-channel-cells", "io-channel-names"),
    ("thermal-sensors", "#thermal-sensor-cells", ""),
    ("gpios", "#gpio-cells", ""),
];

/// Ends of names of such lists.
const ENDINGS: &[(&str, &str)] = &[
    ("-gpios", "#gpio-cells"),
    ("-gpio", "#gpio-cells"),
    ("-supply", ""),
];

/// What is copied, and what becomes of it.
pub struct Copies<'c> {
    /// The devices' paths.
    pub paths: &'c [&'c str],
    /// Where the guest sees registers of the board's.
    pub place: &'c dyn Fn(Range) -> Option<Ipa>,
    /// The phandle of the guest's GIC.
    pub gic: u32,
    /// The guest's RAM, and where the guest sees it; none if what masters a bus is of no interest.
    pub memory: &'c [(Range, Ipa)],
}

/// Pieces of RAM as a device that masters the bus sees them.
const MAX_PIECES: usize = 16;

/// A piece of the guest's RAM: its address on a bus, its address in the guest, its bytes.
type Piece = (u64, u64, u64);

/// A clock made for the guest.
#[derive(Clone, Copy)]
struct Clock {
    /// The phandle of the board's that provides it.
    provider: u32,
    /// Which of the provider's clocks it is: the first cell of the specifier.
    output: u32,
    /// Hertz; 0 if the board's tree does not say.
    rate: u32,
}

type Cells = ArrayVec<u32, MAX_CELLS>;

struct Copier<'c, 't> {
    tree: Tree<'t>,
    copies: &'c Copies<'c>,
    clocks: ArrayVec<Clock, MAX_CLOCKS>,
}

/// Gives `sink` copies of the devices' nodes with all below them, as children of a root with two cells for addresses and
/// two for sizes, and the clocks they need.
///
/// # Errors
/// `tree` is no device tree. What else is wrong in it leaves out a property.
#[inline(never)]
pub fn copy(tree: &[u8], copies: &Copies<'_>, sink: &mut dyn Nodes) -> Result<(), BoardError> {
    let tree = Tree::new(tree)?;
    let walk = tree.walk();
    let mut copier = Copier {
        tree,
        copies,
        clocks: ArrayVec::new(),
    };
    // How deep the nodes lie that are open now: each deeper than the one before.
    let mut open: ArrayVec<usize, { super::tree::MAX_DEPTH + 1 }> = ArrayVec::new();
    for place in walk {
        if !copier.is_copied(&place) {
            continue;
        }
        let top = !place
            .parent()
            .is_some_and(|parent| copier.is_copied(&parent));
        while open
            .last()
            .is_some_and(|last| top || *last >= place.depth())
        {
            open.pop();
            sink.end();
        }
        if top && copier.begin_bus(&place, sink) {
            let _ = open.try_push(place.depth());
        }
        let _ = open.try_push(place.depth());
        copier.node(&place, top, sink);
    }
    open.iter().for_each(|_| sink.end());
    copier.write_clocks(sink);
    Ok(())
}

impl<'t> Copier<'_, 't> {
    /// Whether the node is one of the devices or below one, and in use.
    fn is_copied(&self, place: &Place<'_>) -> bool {
        let path: DevicePath = place.path();
        place.enabled()
            && self
                .copies
                .paths
                .iter()
                .any(|own| is_at_or_below(&path, own))
    }

    /// Opens a bus for a device that may master it, and says where on it the guest's RAM is: a device sees no guest's
    /// addresses. Of other devices nothing is written.
    #[inline(never)]
    fn begin_bus(&mut self, place: &Place<'t>, sink: &mut dyn Nodes) -> bool {
        if dma(place) == Dma::Never || self.copies.memory.is_empty() {
            return false;
        }
        let at = self.registers(place).first().map(|(at, _)| at.get());
        sink.begin("dma-bus", at);
        sink.property("compatible", b"simple-bus\0");
        sink.cells("#address-cells", &[2]);
        sink.cells("#size-cells", &[2]);
        sink.property("ranges", &[]);
        let pieces = self.reach(place);
        let mut bytes: ArrayVec<u8, { MAX_PIECES * 6 * CELL }> = ArrayVec::new();
        for (bus, guest, size) in &pieces {
            let entry = [bus, guest, size].map(|number| number.to_be_bytes());
            let _ = bytes.try_extend_from_slice(entry.as_flattened());
        }
        if pieces.is_empty() {
            // Without `dma-ranges` a guest would take its own addresses for the bus's.
            sink.property("status", b"disabled\0");
        } else {
            sink.property("dma-ranges", &bytes);
        }
        true
    }

    /// The guest's RAM as the device sees it, through `dma-ranges` of each bus above it (2.3.9).
    #[inline(never)]
    fn reach(&self, place: &Place<'t>) -> ArrayVec<Piece, MAX_PIECES> {
        let whole = self.copies.memory.iter();
        let mut pieces: ArrayVec<Piece, MAX_PIECES> = whole
            .map(|(range, ipa)| (range.base().get(), ipa.get(), range.size()))
            .take(MAX_PIECES)
            .collect();
        for depth in 1..place.depth() {
            let bus = place.above(depth);
            let Some(windows) = bus.dma_windows() else {
                continue;
            };
            let mut through = ArrayVec::new();
            for window in windows {
                let seen = pieces.iter().filter_map(|piece| within(*piece, window));
                seen.for_each(|piece| {
                    let _ = through.try_push(piece);
                });
            }
            pieces = through;
        }
        pieces
    }

    /// Opens a copy of the node and writes its properties.
    #[inline(never)]
    fn node(&mut self, place: &Place<'t>, top: bool, sink: &mut dyn Nodes) {
        let registers = self.registers(place);
        match registers.first() {
            Some((at, _)) if top => sink.begin(place.base_name(), Some(at.get())),
            _ => sink.begin(place.name(), None),
        }
        let is_bus = place
            .children()
            .any(|child| !self.registers(&child).is_empty());
        if is_bus {
            sink.cells("#address-cells", &[2]);
            sink.cells("#size-cells", &[2]);
            sink.property("ranges", &[]);
        }
        if !registers.is_empty() {
            write_registers(&registers, sink);
        }
        self.interrupts(place, sink);
        place.for_each_property(|name, value| {
            let written = match name {
                "reg" => !registers.is_empty(),
                "#address-cells" | "#size-cells" => is_bus,
                _ => LEFT_OUT.contains(&name),
            };
            if !written {
                self.property(place, name, value, sink);
            }
        });
    }

    /// The node's registers as the guest sees them; none if they are not the CPUs' to address.
    fn registers(&mut self, place: &Place<'t>) -> ArrayVec<(Ipa, u64), { MAX_CELLS / 4 }> {
        let entries = self.tree.registers(place).into_iter().flatten();
        let ranges = entries.filter_map(|entry| entry.ok().flatten());
        ranges
            .filter_map(|range| Some(((self.copies.place)(range)?, range.size())))
            .take(MAX_CELLS / 4)
            .collect()
    }

    /// A property that is copied as it is or with its references renumbered.
    fn property(&mut self, place: &Place<'_>, name: &str, value: &[u8], sink: &mut dyn Nodes) {
        if name == "phandle" {
            if let Some(phandle) = cell(value).and_then(renumbered) {
                sink.cells(name, &[phandle]);
            }
            return;
        }
        let list =
            |of: &str, counter: &str| self.list(place.value(of).unwrap_or_default(), counter);
        let cells = if let Some((_, counter, _)) = LISTS.iter().find(|(of, ..)| *of == name) {
            list(name, counter)
        } else if let Some((of, counter, _)) = LISTS.iter().find(|(.., names)| *names == name) {
            // Names without what they name say nothing.
            if list(of, counter).is_some() {
                sink.property(name, value);
            }
            return;
        } else if let Some((_, counter)) = ENDINGS.iter().find(|(end, _)| name.ends_with(end)) {
            list(name, counter)
        } else if name == "gpio-ranges" {
            self.fixed_list(value, GPIO_RANGE_CELLS)
        } else if is_pin_state(name) {
            self.fixed_list(value, 0)
        } else if name == "clocks" {
            self.clock_list(value)
        } else {
            return sink.property(name, value);
        };
        if let Some(cells) = cells {
            sink.cells(name, &cells);
        }
    }

    /// A list of references, each followed by as many cells as its target's `counter` says (none for an empty one); nothing
    /// if one leads to a node that is not copied.
    #[inline(never)]
    fn list(&self, value: &[u8], counter: &str) -> Option<Cells> {
        let mut rest = value;
        let mut cells = Cells::new();
        while !rest.is_empty() {
            let handle = take(&mut rest, 1)?;
            let (target, phandle) = self.copied(cell(handle)?)?;
            let count = cell_count(&target, counter)?;
            push(&mut cells, &[phandle])?;
            push_raw(&mut cells, take(&mut rest, count)?)?;
        }
        Some(cells)
    }

    /// A list of references, each followed by `count` cells.
    fn fixed_list(&self, value: &[u8], count: usize) -> Option<Cells> {
        let mut rest = value;
        let mut cells = Cells::new();
        while !rest.is_empty() {
            let (_, phandle) = self.copied(cell(take(&mut rest, 1)?)?)?;
            push(&mut cells, &[phandle])?;
            push_raw(&mut cells, take(&mut rest, count)?)?;
        }
        Some(cells)
    }

    /// The node with a phandle of the board's and its new phandle, if it is copied.
    fn copied(&self, handle: u32) -> Option<(Place<'t>, u32)> {
        let target = self.tree.phandle(handle)?;
        let phandle = renumbered(handle)?;
        self.is_copied(&target).then_some((target, phandle))
    }

    /// A list of clocks; those of providers that are not copied become clocks of a fixed rate.
    #[inline(never)]
    fn clock_list(&mut self, value: &[u8]) -> Option<Cells> {
        let mut rest = value;
        let mut cells = Cells::new();
        while !rest.is_empty() {
            let handle = cell(take(&mut rest, 1)?)?;
            let target = self.tree.phandle(handle)?;
            let specifier = take(&mut rest, cell_count(&target, "#clock-cells")?)?;
            if let Some((_, phandle)) = self.copied(handle) {
                push(&mut cells, &[phandle])?;
                push_raw(&mut cells, specifier)?;
            } else {
                let clock = Clock {
                    provider: handle,
                    output: specifier.get(..CELL).and_then(cell).unwrap_or(0),
                    rate: target.cell("clock-frequency").ok().flatten().unwrap_or(0),
                };
                push(&mut cells, &[self.clock(clock)?])?;
            }
        }
        Some(cells)
    }

    /// The phandle of a clock of a fixed rate, made if there is none like it.
    fn clock(&mut self, clock: Clock) -> Option<u32> {
        let same = |other: &Clock| (other.provider, other.output) == (clock.provider, clock.output);
        let index = match self.clocks.iter().position(same) {
            Some(index) => index,
            None => {
                self.clocks.try_push(clock).ok()?;
                self.clocks.len() - 1
            }
        };
        CLOCKS.checked_add(u32::try_from(index).ok()?)
    }

    fn write_clocks(&self, sink: &mut dyn Nodes) {
        for (phandle, clock) in (CLOCKS..).zip(&self.clocks) {
            sink.begin("board-clock", Some(u64::from(phandle - CLOCKS)));
            sink.property("compatible", b"fixed-clock\0");
            sink.cells("#clock-cells", &[0]);
            sink.cells("clock-frequency", &[clock.rate]);
            sink.cells("phandle", &[phandle]);
            sink.end();
        }
    }

    /// The node's interrupts, all of them or none.
    #[inline(never)]
    fn interrupts(&self, place: &Place<'t>, sink: &mut dyn Nodes) {
        let written = match (
            place.value("interrupts-extended"),
            place.value("interrupts"),
        ) {
            (Some(list), _) => self.extended(list).map(|cells| {
                sink.cells("interrupts-extended", &cells);
            }),
            (None, Some(list)) => self.inherited(place, list).map(|(parent, cells)| {
                sink.cells("interrupt-parent", &[parent]);
                sink.cells("interrupts", &cells);
            }),
            (None, None) => None,
        };
        if let (Some(()), Some(names)) = (written, place.value("interrupt-names")) {
            sink.property("interrupt-names", names);
        }
    }

    /// `interrupts`, and the phandle of their controller in the guest.
    fn inherited(&self, place: &Place<'t>, list: &[u8]) -> Option<(u32, Cells)> {
        let controller = interrupts::controller(&self.tree, place).ok()?;
        let mut cells = Cells::new();
        if !gic::is_gic(&controller) {
            let handle = controller.cell("phandle").ok().flatten()?;
            let (_, phandle) = self.copied(handle)?;
            push_raw(&mut cells, list)?;
            return Some((phandle, cells));
        }
        let mut rest = list;
        while !rest.is_empty() {
            let specifier = take(&mut rest, cell_count(&controller, "#interrupt-cells")?)?;
            push_raw(&mut cells, specifier.get(..GIC_CELLS * CELL)?)?;
        }
        Some((self.copies.gic, cells))
    }

    /// `interrupts-extended`.
    fn extended(&self, list: &[u8]) -> Option<Cells> {
        let mut rest = list;
        let mut cells = Cells::new();
        while !rest.is_empty() {
            let handle = cell(take(&mut rest, 1)?)?;
            let controller = self.tree.phandle(handle)?;
            let specifier = take(&mut rest, cell_count(&controller, "#interrupt-cells")?)?;
            if gic::is_gic(&controller) {
                push(&mut cells, &[self.copies.gic])?;
                push_raw(&mut cells, specifier.get(..GIC_CELLS * CELL)?)?;
            } else {
                push(&mut cells, &[self.copied(handle)?.1])?;
                push_raw(&mut cells, specifier)?;
            }
        }
        Some(cells)
    }
}

/// Whether `path` is `above` or lies below it.
#[must_use]
pub fn is_at_or_below(path: &DevicePath, above: &str) -> bool {
    let rest = path.as_str().strip_prefix(above);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The part of a piece that a bus lets through, at its address on that bus.
fn within(piece: Piece, (child, parent, length): (u64, u64, u64)) -> Option<Piece> {
    let (at, guest, size) = piece;
    let from = at.max(parent);
    let to = at.checked_add(size)?.min(parent.saturating_add(length));
    let size = to.checked_sub(from).filter(|size| *size > 0)?;
    Some((
        child.checked_add(from - parent)?,
        guest.checked_add(from - at)?,
        size,
    ))
}

/// Writes `reg` for a parent with two cells of address and two of size.
fn write_registers(registers: &[(Ipa, u64)], sink: &mut dyn Nodes) {
    let mut bytes: ArrayVec<u8, { MAX_CELLS * CELL }> = ArrayVec::new();
    for (at, size) in registers {
        let entry = [at.get().to_be_bytes(), size.to_be_bytes()];
        let _ = bytes.try_extend_from_slice(entry.as_flattened());
    }
    sink.property("reg", &bytes);
}

/// Whether a property names pin settings: `pinctrl-0` and up.
fn is_pin_state(name: &str) -> bool {
    let number = name.strip_prefix("pinctrl-");
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The phandle that stands for one of the board's; 0 and the largest number are none (2.3.3).
fn renumbered(handle: u32) -> Option<u32> {
    let phandle = handle.checked_add(PHANDLES)?;
    (handle != 0 && phandle != u32::MAX).then_some(phandle)
}

/// How many cells follow a reference to `target`.
fn cell_count(target: &Place<'_>, counter: &str) -> Option<usize> {
    if counter.is_empty() {
        return Some(0);
    }
    usize::try_from(target.value(counter).and_then(cell)?).ok()
}

/// Takes `count` cells off a list.
fn take<'v>(rest: &mut &'v [u8], count: usize) -> Option<&'v [u8]> {
    let (taken, left) = rest.split_at_checked(count.checked_mul(CELL)?)?;
    *rest = left;
    Some(taken)
}

fn push(cells: &mut Cells, more: &[u32]) -> Option<()> {
    cells.try_extend_from_slice(more).ok()
}

/// Adds cells as they stand in a tree.
fn push_raw(cells: &mut Cells, raw: &[u8]) -> Option<()> {
    let (words, rest) = raw.as_chunks::<CELL>();
    if !rest.is_empty() {
        return None;
    }
    words
        .iter()
        .try_for_each(|word| cells.try_push(u32::from_be_bytes(*word)).ok())
}

#[cfg(test)]
mod tests;
