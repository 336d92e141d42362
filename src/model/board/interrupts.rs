//! A node's interrupts: which controller takes them, and their INTIDs where that is the GIC.
//!
//! Devicetree Specification 2.4; Linux `interrupt-controller/arm,gic.yaml` and `arm,gic-v3.yaml`.

use super::tree::{Place, Tree, cell};
use super::{BoardError, BoardProblem, Interrupt, Trigger, gic};

/// Bytes of a cell.
const CELL: usize = size_of::<u32>();
/// Cells of a GIC interrupt specifier that are read: type, number, flags. GICv3 may add more.
const GIC_CELLS: usize = 3;
/// The property that names the controller of a node's interrupts, and of those below it.
const PARENT: &str = "interrupt-parent";
/// Flags: what signals the interrupt, 1 and 2 being edges, 4 and 8 levels.
const EDGES: u32 = 0b11;

/// An interrupt at the GIC, or `None` for one that another controller takes.
pub(super) type Line = Option<Interrupt>;

/// The interrupts of a node, in order; after an error none follow.
#[derive(Clone)]
pub(super) struct Interrupts<'p, 't> {
    tree: &'p Tree<'t>,
    place: &'p Place<'t>,
    rest: &'t [u8],
    /// The controller of all of them; each names its own where this is `None`.
    controller: Option<Controller>,
}

/// What is to know about an interrupt controller.
#[derive(Clone, Copy)]
pub(super) struct Controller {
    cells: usize,
    is_gic: bool,
}

impl<'p, 't> Interrupts<'p, 't> {
    /// The interrupts `place` names by `interrupts-extended` or else `interrupts`.
    pub(super) fn of(tree: &'p mut Tree<'t>, place: &'p Place<'t>) -> Result<Self, BoardError> {
        let (rest, controller) = match place.value("interrupts-extended") {
            Some(list) => (list, None),
            None => match place.value("interrupts") {
                Some(list) => (list, Some(inherited(tree, place)?)),
                None => (<&[u8]>::default(), None),
            },
        };
        Ok(Self {
            tree,
            place,
            rest,
            controller,
        })
    }

    /// The interrupts the GIC at `place` has itself: they arrive at no other.
    pub(super) fn of_gic(tree: &'p Tree<'t>, place: &'p Place<'t>) -> Result<Self, BoardError> {
        Ok(Self {
            tree,
            place,
            rest: place.value("interrupts").unwrap_or_default(),
            controller: Some(tree.controller_at(place)?),
        })
    }

    fn take(&mut self) -> Result<Line, BoardError> {
        let controller = match self.controller {
            Some(controller) => controller,
            None => {
                let handle = self.cut(1)?;
                named(self.tree, self.place, handle)?
            }
        };
        self.specifier(controller)
    }

    /// Takes one of `controller`'s specifiers off the list.
    fn specifier(&mut self, controller: Controller) -> Result<Line, BoardError> {
        let specifier = self.cut(controller.cells)?;
        if !controller.is_gic {
            return Ok(None);
        }
        let line = at_gic(specifier).ok_or_else(|| self.malformed())?;
        Ok(Some(line))
    }

    /// Takes `cells` cells off the list.
    fn cut(&mut self, cells: usize) -> Result<&'t [u8], BoardError> {
        let split = self.rest.split_at_checked(cells.saturating_mul(CELL));
        let (cut, rest) = split.ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(cut)
    }

    fn malformed(&self) -> BoardError {
        self.place.error(BoardProblem::Malformed("interrupts"))
    }
}

impl Iterator for Interrupts<'_, '_> {
    type Item = Result<Line, BoardError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let line = self.take();
        if line.is_err() {
            self.rest = &[];
        }
        Some(line)
    }
}

impl Controller {
    /// Reads what is to know about the controller at `place`.
    pub(super) fn read(place: &Place<'_>) -> Result<Self, BoardError> {
        const NAME: &str = "#interrupt-cells";
        let malformed = || place.error(BoardProblem::Malformed(NAME));
        let cells = place.cell(NAME)?.and_then(|c| usize::try_from(c).ok());
        let is_gic = gic::is_gic(place);
        let least = if is_gic { GIC_CELLS } else { 1 };
        let cells = cells
            .filter(|cells| *cells >= least)
            .ok_or_else(malformed)?;
        Ok(Self { cells, is_gic })
    }
}

/// Where a node's `interrupts` go to.
enum Way<'t> {
    /// The node with this phandle.
    Handle(&'t [u8]),
    /// This node above it.
    Above(Place<'t>),
}

impl<'t> Way<'t> {
    /// What the `interrupt-parent` of `place` names, or else those above it.
    fn of(place: &Place<'t>) -> Result<Self, BoardError> {
        match place.value(PARENT) {
            Some(handle) => Ok(Self::Handle(handle)),
            None => Self::above(place),
        }
    }

    /// What the nearest `interrupt-parent` above `place` names, or the first node above it that is a controller.
    fn above(place: &Place<'t>) -> Result<Self, BoardError> {
        for depth in (0..place.depth()).rev() {
            let first = place.first_at(depth);
            if place.value_from(first, "#interrupt-cells").is_some() {
                return Ok(Self::Above(place.above(depth)));
            }
            if let Some(handle) = place.value_from(first, PARENT) {
                return Ok(Self::Handle(handle));
            }
        }
        Err(place.error(BoardProblem::NoController))
    }
}

/// The controller a node's `interrupts` go to.
fn inherited(tree: &mut Tree<'_>, place: &Place<'_>) -> Result<Controller, BoardError> {
    if let Some(handle) = place.value(PARENT) {
        return named(tree, place, handle);
    }
    let above = place.first_above();
    if let Some(controller) = tree.inherited(above) {
        return Ok(controller);
    }
    let controller = match Way::above(place)? {
        Way::Handle(handle) => named(tree, place, handle)?,
        Way::Above(place) => Controller::read(&place)?,
    };
    tree.inherit(above, controller);
    Ok(controller)
}

/// The node a node's `interrupts` go to.
pub(super) fn controller<'t>(tree: &Tree<'t>, place: &Place<'t>) -> Result<Place<'t>, BoardError> {
    match Way::of(place)? {
        Way::Handle(handle) => find(tree, place, handle),
        Way::Above(place) => Ok(place),
    }
}

fn named(tree: &Tree<'_>, place: &Place<'_>, handle: &[u8]) -> Result<Controller, BoardError> {
    match cell(handle).and_then(|handle| tree.controller(handle)) {
        Some(controller) => Ok(controller),
        None => Controller::read(&find(tree, place, handle)?),
    }
}

fn find<'t>(tree: &Tree<'t>, place: &Place<'_>, handle: &[u8]) -> Result<Place<'t>, BoardError> {
    let found = cell(handle).and_then(|handle| tree.phandle(handle));
    found.ok_or_else(|| place.error(BoardProblem::NoController))
}

/// The interrupts a bus takes in for what lies behind it (`interrupt-map`, 2.4.3), in the map's order.
pub(super) fn mapped<'p, 't>(
    tree: &'p Tree<'t>,
    place: &'p Place<'t>,
) -> Result<Mapped<'p, 't>, BoardError> {
    let map = place.value("interrupt-map").unwrap_or_default();
    let skip = if map.is_empty() {
        0
    } else {
        place.cell_count("#address-cells", 0)? + Controller::read(place)?.cells
    };
    let list = Interrupts {
        tree,
        place,
        rest: map,
        controller: None,
    };
    Ok(Mapped { list, skip })
}

/// The entries of an `interrupt-map`.
pub(super) struct Mapped<'p, 't> {
    list: Interrupts<'p, 't>,
    /// Cells before each entry's controller: the child's address and specifier.
    skip: usize,
}

impl Mapped<'_, '_> {
    fn take(&mut self) -> Result<Line, BoardError> {
        let list = &mut self.list;
        list.cut(self.skip)?;
        let handle = list.cut(1)?;
        let controller = find(list.tree, list.place, handle)?;
        // A controller without the property takes no address here, as in Linux; the specification says two.
        list.cut(controller.cell_count("#address-cells", 0)?)?;
        list.specifier(Controller::read(&controller)?)
    }
}

impl Iterator for Mapped<'_, '_> {
    type Item = Result<Line, BoardError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.list.rest.is_empty() {
            return None;
        }
        let line = self.take();
        if line.is_err() {
            self.list.rest = &[];
        }
        Some(line)
    }
}

/// Decodes a GIC's interrupt specifier.
fn at_gic(specifier: &[u8]) -> Option<Interrupt> {
    let mut cells = specifier.chunks_exact(CELL).map_while(cell);
    let (kind, number, flags) = (cells.next()?, cells.next()?, cells.next()?);
    // Each kind: its first INTID, and how many there are (IHI 0069, 2.2.1).
    let (first, count) = match kind {
        0 => (32, 988),
        1 => (16, 16),
        2 => (4096, 1024),
        3 => (1056, 64),
        _ => return None,
    };
    let trigger = if flags & EDGES == 0 {
        Trigger::Level
    } else {
        Trigger::Edge
    };
    (number < count).then(|| Interrupt {
        intid: first + number,
        trigger,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A specifier of three cells.
    fn specifier(cells: [u32; 3]) -> Vec<u8> {
        cells.into_iter().flat_map(u32::to_be_bytes).collect()
    }

    #[test]
    fn a_number_beyond_its_kind_is_no_interrupt() {
        let intid = |cells| at_gic(&specifier(cells)).map(|interrupt| interrupt.intid);
        assert_eq!(intid([0, 0, 4]), Some(32));
        assert_eq!(intid([0, 987, 4]), Some(1019));
        assert_eq!(intid([1, 15, 4]), Some(31));
        for cells in [
            [0, 988, 4],
            [1, 16, 4],
            [0, u32::MAX, 4],
            [2, u32::MAX, 4],
            [4, 0, 4],
        ] {
            assert_eq!(intid(cells), None);
        }
    }
}
