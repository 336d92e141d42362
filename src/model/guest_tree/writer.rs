//! A writer of flattened device trees (Devicetree Specification 5, version 17) into a caller's buffer.
//!
//! The structure block grows from the front; names of properties gather at the buffer's end and move behind
//! the structure block at last. A writer that runs out of room stays silent and gives nothing in the end.

use super::fixed::{Name, STRINGS};
use crate::words::{Nodes, lower_half};
use arrayvec::ArrayVec;

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const LAST_COMPATIBLE_VERSION: u32 = 16;
pub(super) const BEGIN_NODE: u32 = 1;
pub(super) const END_NODE: u32 = 2;
pub(super) const PROP: u32 = 3;
const END: u32 = 9;
/// Bytes of a token or cell.
pub(super) const CELL: usize = size_of::<u32>();
/// Bytes of the header: ten cells.
const HEADER: usize = 10 * CELL;
/// Bytes of the reservation block: its terminator alone.
const RESERVATIONS: usize = 16;
/// Where the structure block begins.
const STRUCTURE: usize = HEADER + RESERVATIONS;
/// Room for the names of properties.
const STRINGS_ROOM: usize = 4096;

/// Names that are written once; the nodes of devices here have fifty.
const MAX_KNOWN: usize = 128;

/// Hexadecimal digits.
pub(super) const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// How many hexadecimal digits `at` is written with.
pub(super) const fn digits(at: u64) -> usize {
    let bits = u64::BITS - (at | 1).leading_zeros();
    bits.div_ceil(4) as usize
}

/// A length or offset as a cell: [`Writer::finish`] finds what does not fit one.
pub(super) const fn narrow(size: usize) -> u32 {
    lower_half(size as u64)
}

/// A tree being written.
pub(super) struct Writer<'o> {
    out: &'o mut [u8],
    /// First byte of the names' temporary place, and of what the structure may not reach.
    limit: usize,
    /// End of the structure so far.
    length: usize,
    /// Bytes of names so far, behind [`STRINGS`].
    strings: usize,
    /// Where in them names are, and their bytes.
    known: ArrayVec<(u16, u8), MAX_KNOWN>,
    full: bool,
}

impl<'o> Writer<'o> {
    /// Begins a tree in `out`.
    pub(super) fn new(out: &'o mut [u8]) -> Self {
        let limit = out.len().saturating_sub(STRINGS_ROOM);
        let mut writer = Self {
            out,
            limit,
            length: 0,
            strings: 0,
            known: ArrayVec::new(),
            full: false,
        };
        writer.part(&[0; STRUCTURE]);
        writer
    }

    /// The next `size` bytes of the structure; none if there are not so many.
    fn take(&mut self, size: usize) -> &mut [u8] {
        let start = self.length;
        let end = start.saturating_add(size);
        if end > self.limit {
            self.full = true;
            return &mut [];
        }
        self.length = end;
        self.out.get_mut(start..end).unwrap_or_default()
    }

    /// Whole cells, composed by the compiler.
    #[inline(never)]
    pub(super) fn part(&mut self, part: &[u8]) {
        let room = self.take(part.len());
        if room.len() == part.len() {
            room.copy_from_slice(part);
        }
    }

    /// Cells.
    #[inline(never)]
    pub(super) fn cells(&mut self, cells: &[u32]) {
        let room = self.take(size_of_val(cells));
        let (places, _) = room.as_chunks_mut();
        for (place, cell) in places.iter_mut().zip(cells) {
            *place = cell.to_be_bytes();
        }
    }

    /// 64-bit numbers, two cells each.
    #[inline(never)]
    pub(super) fn longs(&mut self, longs: &[u64]) {
        let room = self.take(size_of_val(longs));
        let (places, _) = room.as_chunks_mut();
        for (place, long) in places.iter_mut().zip(longs) {
            *place = long.to_be_bytes();
        }
    }

    /// The next cells that `size` bytes need, the last of them zero.
    fn take_padded(&mut self, size: usize) -> &mut [u8] {
        let room = self.take(size.next_multiple_of(CELL));
        if let Some(last) = room.last_chunk_mut() {
            *last = [0; CELL];
        }
        room
    }

    /// Opens a node: `name@at`, or `name` alone.
    pub(super) fn begin(&mut self, name: &str, at: Option<u64>) {
        self.cells(&[BEGIN_NODE]);
        let unit = at.map_or(0, |at| 1 + digits(at));
        let room = self.take_padded(name.len() + unit + 1);
        let Some((text, unit)) = room
            .get_mut(..name.len() + unit)
            .and_then(|room| room.split_at_mut_checked(name.len()))
        else {
            return;
        };
        text.copy_from_slice(name.as_bytes());
        let (Some(mut left), Some((sign, digits))) = (at, unit.split_first_mut()) else {
            return;
        };
        *sign = b'@';
        for place in digits.iter_mut().rev() {
            *place = DIGITS[(left & 0xf) as usize];
            left >>= 4;
        }
    }

    /// Closes the node opened last.
    pub(super) fn end(&mut self) {
        self.cells(&[END_NODE]);
    }

    /// A property: a value, and zeros up to `length` bytes, fewer than a cell.
    fn value(&mut self, name: Name, value: &[u8], length: usize) {
        self.cells(&[PROP, narrow(length), name.0]);
        let room = self.take_padded(length);
        if let Some(room) = room.get_mut(..value.len()) {
            room.copy_from_slice(value);
        }
    }

    /// A property of one string.
    pub(super) fn string(&mut self, name: Name, string: &str) {
        self.value(name, string.as_bytes(), string.len() + 1);
    }

    /// The place of `name` in the strings block, added there if it is new.
    fn intern(&mut self, name: &str) -> Name {
        let names = self.out.get_mut(self.limit..).unwrap_or_default();
        let names = names.get_mut(STRINGS.len()..).unwrap_or_default();
        let size = name.len();
        for (offset, length) in &self.known {
            let offset = usize::from(*offset);
            if usize::from(*length) == size
                && names.get(offset..offset + size) == Some(name.as_bytes())
            {
                return Name(narrow(STRINGS.len() + offset));
            }
        }
        let offset = self.strings;
        match names.get_mut(offset..=offset + size) {
            Some(room) => {
                let (text, nul) = room.split_at_mut(size);
                text.copy_from_slice(name.as_bytes());
                nul.fill(0);
                self.strings = offset + size + 1;
            }
            None => self.full = true,
        }
        if let (Ok(at), Ok(length)) = (u16::try_from(offset), u8::try_from(size)) {
            // One that finds no room here is written again when it comes again.
            let _ = self.known.try_push((at, length));
        }
        Name(narrow(STRINGS.len() + offset))
    }

    /// Ends the tree and gives its length, if all of it had room.
    pub(super) fn finish(mut self) -> Option<usize> {
        self.cells(&[END]);
        let start = self.limit.checked_add(STRINGS.len())?;
        let names = start..start.checked_add(self.strings)?;
        if self.full || names.end > self.out.len() {
            return None;
        }
        let strings = self.length..self.length + STRINGS.len();
        let end = strings.end + self.strings;
        self.out.copy_within(names.clone(), strings.end);
        self.out.get_mut(strings)?.copy_from_slice(STRINGS);
        // Nothing is left behind of what only had a place on the way.
        let left = self.out.get_mut(names.start.max(end)..names.end);
        left.unwrap_or_default().fill(0);
        let header = [
            MAGIC,
            u32::try_from(end).ok()?,
            narrow(STRUCTURE),
            narrow(self.length),
            narrow(HEADER),
            VERSION,
            LAST_COMPATIBLE_VERSION,
            0,
            narrow(end - self.length),
            narrow(self.length - STRUCTURE),
        ];
        let (places, _) = self.out.as_chunks_mut();
        for (place, field) in places.iter_mut().zip(header) {
            *place = field.to_be_bytes();
        }
        Some(end)
    }
}

impl Nodes for Writer<'_> {
    fn begin(&mut self, name: &str, at: Option<u64>) {
        Writer::begin(self, name, at);
    }

    fn property(&mut self, name: &str, value: &[u8]) {
        let name = self.intern(name);
        self.value(name, value, value.len());
    }

    fn cells(&mut self, name: &str, cells: &[u32]) {
        let name = self.intern(name);
        Writer::cells(self, &[PROP, narrow(size_of_val(cells)), name.0]);
        Writer::cells(self, cells);
    }

    fn end(&mut self) {
        Writer::end(self);
    }
}
