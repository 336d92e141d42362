//! A writer of flattened device trees (Devicetree Specification 5, version 17) into a caller's buffer.
//!
//! The structure block grows from the front; names of properties gather at the buffer's end and move behind
//! the structure block at last. A writer that runs out of room stays silent and gives nothing in the end.

use crate::words::{Nodes, lower_half};
use arrayvec::ArrayVec;
use core::fmt;

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const LAST_COMPATIBLE_VERSION: u32 = 16;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const END: u32 = 9;
/// Bytes of a token or cell.
const CELL: usize = size_of::<u32>();
/// Bytes of the header: ten cells.
const HEADER: usize = 10 * CELL;
/// Bytes of the reservation block: its terminator alone.
const RESERVATIONS: usize = 16;
/// Where the structure block begins.
const STRUCTURE: usize = HEADER + RESERVATIONS;
/// Room for the names of properties.
const STRINGS_ROOM: usize = 4096;

/// Names that are written once; the trees here have fifty.
const MAX_KNOWN: usize = 128;

/// A tree being written.
pub(super) struct Writer<'o> {
    out: &'o mut [u8],
    /// First byte of the names' temporary place, and of what the structure may not reach.
    limit: usize,
    /// End of the structure so far.
    length: usize,
    /// Bytes of names so far.
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
        writer.put(&[0; STRUCTURE]);
        writer
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        let room = self.out.get_mut(..self.limit);
        match room.and_then(|room| room.get_mut(self.length..end)) {
            Some(room) if !self.full => {
                room.copy_from_slice(bytes);
                self.length = end;
            }
            _ => self.full = true,
        }
    }

    /// What [`Writer::put`] does, without a copying loop: most of a tree are cells.
    #[inline(never)]
    fn cell(&mut self, cell: u32) {
        let room = self.out.get_mut(self.length..self.limit);
        match room.and_then(<[u8]>::first_chunk_mut) {
            Some(room) if !self.full => {
                *room = cell.to_be_bytes();
                self.length += CELL;
            }
            _ => self.full = true,
        }
    }

    /// Fills up to the next cell.
    fn align(&mut self) {
        let gap = self.length.next_multiple_of(CELL) - self.length;
        self.put([0; CELL].get(..gap).unwrap_or_default());
    }

    /// Opens a node.
    pub(super) fn begin(&mut self, name: fmt::Arguments<'_>) {
        self.cell(BEGIN_NODE);
        // Formatting fails only where `put` has already noted that there is no room.
        let _ = fmt::Write::write_fmt(self, name);
        self.put(&[0]);
        self.align();
    }

    /// Closes the node opened last.
    pub(super) fn end(&mut self) {
        self.cell(END_NODE);
    }

    /// Begins a property of `length` bytes.
    fn property(&mut self, name: &str, length: usize) {
        let offset = self.intern(name);
        self.cell(PROP);
        self.size(length);
        self.size(offset);
    }

    /// A length or offset as a cell.
    fn size(&mut self, size: usize) {
        match u32::try_from(size) {
            Ok(size) => self.cell(size),
            Err(_) => self.full = true,
        }
    }

    /// The offset of `name` in the strings block, added there if it is new.
    fn intern(&mut self, name: &str) -> usize {
        let names = self.out.get_mut(self.limit..).unwrap_or_default();
        let size = name.len();
        for (offset, length) in &self.known {
            let offset = usize::from(*offset);
            if usize::from(*length) == size
                && names.get(offset..offset + size) == Some(name.as_bytes())
            {
                return offset;
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
        offset
    }

    /// A property without a value.
    pub(super) fn flag(&mut self, name: &str) {
        self.property(name, 0);
    }

    /// A property of 32-bit cells.
    pub(super) fn cells(&mut self, name: &str, cells: &[u32]) {
        self.property(name, size_of_val(cells));
        for cell in cells {
            self.cell(*cell);
        }
    }

    /// A property of 64-bit numbers, two cells each.
    pub(super) fn longs(&mut self, name: &str, longs: &[u64]) {
        self.property(name, size_of_val(longs));
        for long in longs {
            self.cell(lower_half(*long >> u32::BITS));
            self.cell(lower_half(*long));
        }
    }

    /// A property of strings.
    pub(super) fn strings(&mut self, name: &str, strings: &[&str]) {
        self.property(name, strings.iter().map(|string| string.len() + 1).sum());
        for string in strings {
            self.put(string.as_bytes());
            self.put(&[0]);
        }
        self.align();
    }

    /// A property of one string, composed here: its length is known afterwards.
    pub(super) fn text(&mut self, name: &str, text: fmt::Arguments<'_>) {
        self.property(name, 0);
        let start = self.length;
        let _ = fmt::Write::write_fmt(self, text);
        self.put(&[0]);
        let length = u32::try_from(self.length - start).unwrap_or(0);
        let field = start
            .checked_sub(2 * CELL)
            .and_then(|at| self.out.get_mut(at..at + CELL));
        if let Some(field) = field {
            field.copy_from_slice(&length.to_be_bytes());
        }
        self.align();
    }

    /// Ends the tree and gives its length, if all of it had room.
    pub(super) fn finish(mut self) -> Option<usize> {
        self.cell(END);
        let names = self.limit..self.limit.checked_add(self.strings)?;
        if self.full || names.end > self.out.len() {
            return None;
        }
        let end = self.length + self.strings;
        self.out.copy_within(names.clone(), self.length);
        // Nothing is left behind of what only had a place on the way.
        let left = self.out.get_mut(names.start.max(end)..names.end);
        left.unwrap_or_default().fill(0);
        let header = [
            MAGIC,
            u32::try_from(end).ok()?,
            u32::try_from(STRUCTURE).ok()?,
            u32::try_from(self.length).ok()?,
            u32::try_from(HEADER).ok()?,
            VERSION,
            LAST_COMPATIBLE_VERSION,
            0,
            u32::try_from(self.strings).ok()?,
            u32::try_from(self.length - STRUCTURE).ok()?,
        ];
        for (place, field) in self.out.chunks_exact_mut(CELL).zip(header) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        Some(end)
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

impl Nodes for Writer<'_> {
    fn begin(&mut self, name: &str, at: Option<u64>) {
        match at {
            Some(at) => Writer::begin(self, format_args!("{name}@{at:x}")),
            None => Writer::begin(self, format_args!("{name}")),
        }
    }

    fn property(&mut self, name: &str, value: &[u8]) {
        Writer::property(self, name, value.len());
        self.put(value);
        self.align();
    }

    fn cells(&mut self, name: &str, cells: &[u32]) {
        Writer::cells(self, name, cells);
    }

    fn end(&mut self) {
        Writer::end(self);
    }
}
