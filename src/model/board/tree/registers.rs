//! Where a node's registers are for the CPUs, through the buses above it (Devicetree Specification 2.3.6 to 2.3.9).

use core::slice::ChunksExact;

use super::super::{BoardError, BoardProblem};
use super::{CELL, Cells, Place, Tree, groups, number};
use crate::words::{Pa, Range};

impl<'t> Tree<'t> {
    /// The entries of the `reg` of `place`, each in the CPUs' address space; `None` for one that has no place there: behind a
    /// bus without `ranges`, with a PCI address, or without a size.
    pub(in super::super) fn registers<'p>(
        &'p mut self,
        place: &'p Place<'t>,
    ) -> Result<Registers<'p, 't>, BoardError> {
        let first = place.first_above();
        if self.bus.first != first {
            let above = place.depth.checked_sub(1);
            let cells = above.map_or(Ok((0, 0)), |above| place.cells_at(above))?;
            self.bus = Bus::new(first, cells);
        }
        let bus = &mut self.bus;
        Ok(Registers {
            place,
            entries: place.groups("reg", bus.cells.0 + bus.cells.1)?,
            bus,
        })
    }
}

impl<'t> Place<'t> {
    /// The way up from the bus that [`Self::above`] gives, which has `cells`.
    fn way(&self, depth: usize, (child, length): Cells) -> Result<Way<'t>, BoardError> {
        const NAME: &str = "ranges";
        let cells = self.cells_at(depth - 1)?;
        let ranges = match self.value_from(self.first_at(depth), NAME) {
            None => Ranges::Missing,
            Some([]) => Ranges::Empty,
            Some(value) => {
                let malformed = || self.above(depth).error(BoardProblem::Malformed(NAME));
                let entries = groups(value, child + cells.0 + length).ok_or_else(malformed)?;
                Ranges::Windows(Windows {
                    entries,
                    child,
                    parent: cells.0,
                })
            }
        };
        Ok(Way { cells, ranges })
    }

    /// The entries of this bus's `dma-ranges` that are numbers (2.3.9): an address on the bus, the same one level up, bytes.
    /// `None` if the bus passes addresses on as they are.
    pub(in super::super) fn dma_windows(
        &self,
    ) -> Option<impl Iterator<Item = (u64, u64, u64)> + use<'t>> {
        const NAME: &str = "dma-ranges";
        self.value(NAME).filter(|value| !value.is_empty())?;
        let cells = self.cells().ok();
        let above = self.depth.checked_sub(1);
        let above = above.and_then(|above| self.cells_at(above).ok());
        // What is malformed lets nothing through.
        let (child, above, length) = match (cells, above) {
            (Some((child, length)), Some((above, _))) => (child, above, length),
            _ => (0, 0, 0),
        };
        let entries = self.groups(NAME, child + above + length);
        let windows = entries.into_iter().flat_map(move |entries| Windows {
            entries,
            child,
            parent: above,
        });
        Some(windows.filter_map(|window| window.numbers()))
    }
}

/// The entries of a node's `reg`.
pub(in super::super) struct Registers<'p, 't> {
    place: &'p Place<'t>,
    entries: ChunksExact<'t, u8>,
    bus: &'p mut Bus<'t>,
}

impl Registers<'_, '_> {
    /// Takes a range from the node's bus to the CPUs' address space, through each `ranges` on the way (2.3.8).
    fn translate(&mut self, mut base: u64, size: u64) -> Result<Option<Range>, BoardError> {
        let place = self.place;
        let mut cells = self.bus.cells;
        let mut farther;
        for depth in (1..place.depth).rev() {
            let way = if depth + 1 < place.depth {
                farther = place.way(depth, cells)?;
                &farther
            } else if let Some(way) = &self.bus.way {
                way
            } else {
                self.bus.way.insert(place.way(depth, cells)?)
            };
            let Some(above) = way.ranges.map(base, size) else {
                return Ok(None);
            };
            (base, cells) = (above, way.cells);
        }
        let range = Range::new(Pa::new(base), size);
        range
            .map(Some)
            .ok_or_else(|| place.error(BoardProblem::Malformed("reg")))
    }
}

impl Iterator for Registers<'_, '_> {
    type Item = Result<Option<Range>, BoardError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        let (base, size) = entry.split_at_checked(self.bus.cells.0 * CELL)?;
        Some(match (number(base), number(size)) {
            (Some(base), Some(bytes)) if !size.is_empty() => self.translate(base, bytes),
            _ => Ok(None),
        })
    }
}

/// What is to know about a node to find the registers of those in it.
pub(super) struct Bus<'t> {
    /// [`Place::first_above`] of those nodes.
    first: u32,
    cells: Cells,
    /// The way up from it, once it was asked for.
    way: Option<Way<'t>>,
}

impl Bus<'_> {
    pub(super) fn new(first: u32, cells: Cells) -> Self {
        Self {
            first,
            cells,
            way: None,
        }
    }
}

/// The way up from a bus to the one above it.
struct Way<'t> {
    /// The cells of that one.
    cells: Cells,
    ranges: Ranges<'t>,
}

/// What a bus's `ranges` says (2.3.8).
enum Ranges<'t> {
    /// It is not there: nothing on the bus has a place above it.
    Missing,
    /// It is empty: addresses are the same above.
    Empty,
    /// What of the bus is where above it.
    Windows(Windows<'t>),
}

impl Ranges<'_> {
    /// Where `size` bytes from `base` on the bus are above it.
    fn map(&self, base: u64, size: u64) -> Option<u64> {
        match self {
            Self::Missing => None,
            Self::Empty => Some(base),
            Self::Windows(windows) => windows.clone().find_map(|window| window.map(base, size)),
        }
    }
}

/// The entries of `ranges` or `dma-ranges`.
#[derive(Clone)]
struct Windows<'t> {
    entries: ChunksExact<'t, u8>,
    /// Cells of an address on the bus, and above it.
    child: usize,
    parent: usize,
}

impl<'t> Iterator for Windows<'t> {
    type Item = Window<'t>;

    #[inline(always)]
    fn next(&mut self) -> Option<Window<'t>> {
        let entry = self.entries.next()?;
        let (child, rest) = entry.split_at_checked(self.child * CELL)?;
        let (parent, length) = rest.split_at_checked(self.parent * CELL)?;
        Some(Window {
            child,
            parent,
            length,
        })
    }
}

/// One entry of `ranges` or `dma-ranges`, whose numbers are read as far as they are asked for.
struct Window<'t> {
    child: &'t [u8],
    parent: &'t [u8],
    length: &'t [u8],
}

impl Window<'_> {
    /// Its numbers, if they are numbers.
    fn numbers(&self) -> Option<(u64, u64, u64)> {
        let (child, parent) = (number(self.child)?, number(self.parent)?);
        Some((child, parent, number(self.length)?))
    }

    /// Where `size` bytes from `base` appear, if the window covers them.
    #[inline(always)]
    fn map(&self, base: u64, size: u64) -> Option<u64> {
        let offset = base.checked_sub(number(self.child)?)?;
        let end = offset.checked_add(size)?;
        if end > number(self.length)? {
            return None;
        }
        number(self.parent)?.checked_add(offset)
    }
}
