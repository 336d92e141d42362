//! RAM, and what of it the firmware keeps (Devicetree Specification 3.4, 3.5, 5.3).

use arrayvec::ArrayVec;

use super::survey::MEMORY;
use super::tree::{Place, Tree};
use super::{BoardError, BoardProblem, Reserved};
use crate::words::limits::{MAX_RAM_RANGES, MAX_RESERVED};
use crate::words::{Pa, Range};

/// What a range of the memory reservation block is called.
const RESERVATION_BLOCK: &str = "/memreserve/";

/// Adds all RAM to `ram`, ascending, ranges that touch joined. `nodes` is where the names of the first and the last node are
/// that look like RAM.
pub(super) fn ram(
    tree: &mut Tree<'_>,
    nodes: Option<(u32, u32)>,
    ram: &mut ArrayVec<Range, MAX_RAM_RANGES>,
) -> Result<(), BoardError> {
    let root = tree.root();
    if let Some((first, last)) = nodes {
        root.try_each_child_in(first..=last, |place| {
            if !is_memory(place) {
                return Ok(());
            }
            for entry in tree.registers(place)? {
                let range = entry?.ok_or_else(|| place.error(BoardProblem::Malformed("reg")))?;
                if range.size() > 0 {
                    join(ram, range).map_err(|problem| place.error(problem))?;
                }
            }
            Ok(())
        })?;
    }
    if ram.is_empty() {
        return Err(root.error(BoardProblem::Lacks(
            "RAM: the memory nodes are missing or empty",
        )));
    }
    Ok(())
}

fn is_memory(place: &Place<'_>) -> bool {
    let named = place.has_base_name(MEMORY) || place.raw_string("device_type") == MEMORY.as_bytes();
    named && place.enabled()
}

/// Adds `range` to the ascending, disjoint `ranges`, joined with what it touches.
fn join(ranges: &mut ArrayVec<Range, MAX_RAM_RANGES>, range: Range) -> Result<(), BoardProblem> {
    let mut joined = range;
    ranges.retain(|other| match union(*other, joined) {
        Some(union) => {
            joined = union;
            false
        }
        None => true,
    });
    let place = ranges
        .iter()
        .take_while(|r| r.base() < joined.base())
        .count();
    let full = BoardProblem::TooMany {
        what: "ranges of RAM",
        room: MAX_RAM_RANGES,
    };
    ranges.try_insert(place, joined).map_err(|_| full)
}

/// The two as one, if they touch.
fn union(a: Range, b: Range) -> Option<Range> {
    if a.base() > b.end() || b.base() > a.end() {
        return None;
    }
    let base = a.base().min(b.base());
    let size = a.end().max(b.end()).offset_from(base)?;
    Range::new(base, size)
}

/// Adds to `all` the reservation block's ranges, then the fixed ones of `/reserved-memory`, if there is such a `node`.
pub(super) fn reserved<'t>(
    tree: &mut Tree<'t>,
    node: Option<&Place<'t>>,
    all: &mut ArrayVec<Reserved<'t>, MAX_RESERVED>,
) -> Result<(), BoardError> {
    let root = tree.root();
    for (base, size) in tree.reservations().filter(|(_, size)| *size > 0) {
        let malformed = || root.error(BoardProblem::Malformed(RESERVATION_BLOCK));
        let range = Range::new(Pa::new(base), size).ok_or_else(malformed)?;
        add(all, &root, range, RESERVATION_BLOCK)?;
    }
    let Some(node) = node.filter(|node| node.enabled()) else {
        return Ok(());
    };
    node.try_each_child(|place| {
        if !place.enabled_itself() {
            return Ok(());
        }
        for entry in tree.registers(place)? {
            let range = entry?.ok_or_else(|| place.error(BoardProblem::Malformed("reg")))?;
            add(all, place, range, place.name())?;
        }
        Ok(())
    })
}

fn add<'t>(
    all: &mut ArrayVec<Reserved<'t>, MAX_RESERVED>,
    place: &Place<'_>,
    range: Range,
    what: &'t str,
) -> Result<(), BoardError> {
    if range.size() == 0 {
        return Ok(());
    }
    all.try_push(Reserved { range, what }).map_err(|_| {
        place.error(BoardProblem::TooMany {
            what: "reserved ranges",
            room: MAX_RESERVED,
        })
    })
}
