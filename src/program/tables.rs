//! EL2's own address space: everything at its physical address, nothing both writable and executable.

use crate::arm::control;
use crate::edge::boot::{self, Regime};
use crate::edge::core as cores;
use crate::edge::memory::TablePages;
use crate::model::board::Board;
use crate::model::translation::{Access, MapError, Memory, Tree, el2_leaf};
use crate::words::order::sort_by_key;
use crate::words::{PAGE_SIZE, Pa, Range};
use arrayvec::ArrayVec;

/// Pages for EL2's tables: one for each level and region of a board with every range at odd places.
pub const TABLE_PAGES: usize = 64;

/// Most pieces the map is made of before it is written.
const MAX_PIECES: usize = 96;

/// A range and what EL2 may do with it.
#[derive(Clone, Copy)]
struct Piece {
    range: Range,
    leaf: u64,
}

/// Builds EL2's tables in `pages`, for a board whose tree lies at `tree`, on a core with `pa_bits` of physical address.
///
/// # Errors
/// A range that does not fit the tables.
pub fn build(
    pages: &mut TablePages,
    board: &Board<'_>,
    tree: Range,
    pa_bits: u8,
) -> Result<Regime, MapError> {
    let pieces = pieces(board, tree);
    let top = pieces.iter().map(|piece| piece.range.end()).max();
    let own = Tree::new_el2(pages, top.unwrap_or_default())?;
    for piece in &pieces {
        let range = piece.range;
        own.map(
            pages,
            range.base().get(),
            range.base(),
            range.size(),
            piece.leaf,
        )?;
    }
    Ok(Regime {
        ttbr: own.root().get(),
        tcr: own.tcr(pa_bits),
        mair: control::MAIR_EL2,
    })
}

/// All of RAM but the image and the guard pages, the image by section, the devices EL2 drives.
fn pieces(board: &Board<'_>, tree: Range) -> ArrayVec<Piece, MAX_PIECES> {
    let read_write = el2_leaf(Memory::Normal, Access::ReadWrite);
    let mut pieces = ArrayVec::new();
    let mut holes: ArrayVec<Range, MAX_PIECES> = ArrayVec::new();
    for hole in [boot::text(), boot::rodata(), boot::boot_guard_page()] {
        let _ = holes.try_push(hole);
    }
    let room = holes.remaining_capacity();
    // No core runs on the stacks behind those of the board's own.
    let guards = cores::guard_pages().take(board.cpus.len() * cores::GUARDS);
    holes.extend(guards.take(room));
    sort_by_key(&mut holes, |hole| hole.base());
    let ram = board.ram.iter().chain(board.initrd.iter()).chain([&tree]);
    let mut covered: ArrayVec<Range, MAX_PIECES> = ArrayVec::new();
    for range in ram {
        let Some(whole) = pages_of(*range) else {
            continue;
        };
        if covered.iter().any(|other| other.contains(whole)) {
            continue;
        }
        let _ = covered.try_push(whole);
        without(whole, &holes, |range| {
            let _ = pieces.try_push(Piece {
                range,
                leaf: read_write,
            });
        });
    }
    let _ = pieces.try_push(Piece {
        range: boot::text(),
        leaf: el2_leaf(Memory::Normal, Access::ReadExecute),
    });
    let _ = pieces.try_push(Piece {
        range: boot::rodata(),
        leaf: el2_leaf(Memory::Normal, Access::ReadOnly),
    });
    let device = el2_leaf(Memory::Device, Access::ReadWrite);
    let mut devices: ArrayVec<Range, 16> = ArrayVec::new();
    for range in board.own_registers().filter_map(pages_of) {
        if !devices.iter().any(|other| other.overlaps(range)) {
            let _ = devices.try_push(range);
            let _ = pieces.try_push(Piece {
                range,
                leaf: device,
            });
        }
    }
    pieces
}

/// The whole pages `range` touches.
fn pages_of(range: Range) -> Option<Range> {
    let base = range.base().align_down(PAGE_SIZE);
    let end = range.end().align_up(PAGE_SIZE)?;
    Range::new(base, end.offset_from(base)?)
}

/// Gives `each` the parts of `range` outside the sorted `holes`.
fn without(range: Range, holes: &[Range], mut each: impl FnMut(Range)) {
    let mut from = range.base();
    let mut give = |from: Pa, to: Pa| {
        if let Some(part) = to.offset_from(from).and_then(|size| Range::new(from, size))
            && part.size() > 0
        {
            each(part);
        }
    };
    for hole in holes.iter().filter(|hole| hole.overlaps(range)) {
        give(from, hole.base());
        from = from.max(hole.end());
    }
    give(from, range.end());
}
