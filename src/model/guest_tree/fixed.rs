//! What is the same in every guest's tree, written by the compiler: the names of properties, and parts of the structure
//! block.

use super::writer::{BEGIN_NODE, CELL, DIGITS, END_NODE, PROP, digits, narrow};

/// Properties that a tree has of itself; its strings block begins with their names.
const NAMES: [&str; 30] = [
    "#address-cells",
    "#clock-cells",
    "#interrupt-cells",
    "#size-cells",
    "always-on",
    "bootargs",
    "bulkhead,partition",
    "bulkhead,partition-id",
    "bulkhead,read-only",
    "clock-frequency",
    "clock-names",
    "clock-output-names",
    "clocks",
    "compatible",
    "device_type",
    "enable-method",
    "interrupt-controller",
    "interrupt-parent",
    "interrupts",
    "label",
    "linux,initrd-end",
    "linux,initrd-start",
    "linux,uio-name",
    "method",
    "model",
    "phandle",
    "reg",
    "reg-names",
    "serial0",
    "stdout-path",
];

/// A property's name: its offset in the strings block.
#[derive(Clone, Copy)]
pub(super) struct Name(pub(super) u32);

impl Name {
    /// One of [`NAMES`]; for constants: of another name the compiler makes an error.
    pub(super) const fn of(name: &str) -> Self {
        let (mut index, mut offset) = (0, 0);
        while !same(NAMES[index], name) {
            offset += NAMES[index].len() + 1;
            index += 1;
        }
        Self(narrow(offset))
    }
}

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

/// Bytes as they are copied: from a multiple of eight.
#[repr(align(8))]
pub(super) struct Aligned<const N: usize>(pub(super) [u8; N]);

/// [`NAMES`], each with the zero that ends it.
pub(super) const STRINGS: &[u8] = {
    const ALL: Part<1024> = {
        let (mut part, mut index) = (Part::new(), 0);
        while index < NAMES.len() {
            part = part.bytes(NAMES[index].as_bytes()).bytes(&[0]);
            index += 1;
        }
        part
    };
    const EXACT: Aligned<{ ALL.length }> = ALL.exact();
    &EXACT.0
};

/// Bytes of a structure block, under way: `N` are enough.
pub(super) struct Part<const N: usize> {
    bytes: [u8; N],
    pub(super) length: usize,
}

/// The bytes of a [`Part`], which is a constant.
macro_rules! part {
    ($part:expr) => {{
        const PART: Part<512> = $part;
        const EXACT: &Aligned<{ PART.length }> = &PART.exact();
        const BYTES: &[u8] = &EXACT.0;
        BYTES
    }};
}
pub(super) use part;

impl<const N: usize> Part<N> {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }

    /// The first `M` bytes: all there are.
    pub(super) const fn exact<const M: usize>(&self) -> Aligned<M> {
        let mut bytes = [0; M];
        bytes.copy_from_slice(self.bytes.split_at(M).0);
        Aligned(bytes)
    }

    const fn bytes(mut self, bytes: &[u8]) -> Self {
        let mut index = 0;
        while index < bytes.len() {
            self.bytes[self.length] = bytes[index];
            self.length += 1;
            index += 1;
        }
        self
    }

    const fn cell(self, cell: u32) -> Self {
        self.bytes(&cell.to_be_bytes())
    }

    /// A string's end, and up to the next cell.
    const fn ended(mut self) -> Self {
        self = self.bytes(&[0]);
        self.length = self.length.next_multiple_of(CELL);
        self
    }

    /// `name@at`.
    const fn unit(mut self, name: &str, at: u64) -> Self {
        self = self.bytes(name.as_bytes()).bytes(b"@");
        let mut left = digits(at);
        while left > 0 {
            left -= 1;
            let digit = at >> (4 * left) & 0xf;
            self = self.bytes(&[DIGITS[digit as usize]]);
        }
        self
    }

    /// Opens a node.
    pub(super) const fn begin(self, name: &str) -> Self {
        self.cell(BEGIN_NODE).bytes(name.as_bytes()).ended()
    }

    /// Opens the node `name@at`.
    pub(super) const fn begin_at(self, name: &str, at: u64) -> Self {
        self.cell(BEGIN_NODE).unit(name, at).ended()
    }

    /// Closes the node opened last.
    pub(super) const fn end(self) -> Self {
        self.cell(END_NODE)
    }

    /// Begins a property of `length` bytes, which come next.
    pub(super) const fn property(self, name: &str, length: usize) -> Self {
        self.cell(PROP).cell(narrow(length)).cell(Name::of(name).0)
    }

    /// A property without a value.
    pub(super) const fn flag(self, name: &str) -> Self {
        self.property(name, 0)
    }

    /// A property of 32-bit cells.
    pub(super) const fn cells(mut self, name: &str, cells: &[u32]) -> Self {
        self = self.property(name, size_of_val(cells));
        let mut index = 0;
        while index < cells.len() {
            self = self.cell(cells[index]);
            index += 1;
        }
        self
    }

    /// 64-bit numbers, two cells each, of a property that is begun.
    pub(super) const fn longs(mut self, longs: &[u64]) -> Self {
        let mut index = 0;
        while index < longs.len() {
            self = self.bytes(&longs[index].to_be_bytes());
            index += 1;
        }
        self
    }

    /// A property of strings.
    pub(super) const fn strings(mut self, name: &str, strings: &[&str]) -> Self {
        let (mut index, mut length) = (0, 0);
        while index < strings.len() {
            length += strings[index].len() + 1;
            index += 1;
        }
        self = self.property(name, length);
        index = 0;
        while index < strings.len() {
            self = self.bytes(strings[index].as_bytes()).bytes(&[0]);
            index += 1;
        }
        self.length = self.length.next_multiple_of(CELL);
        self
    }

    /// A property with the path of the node `name@at` below the root.
    pub(super) const fn path(self, property: &str, name: &str, at: u64) -> Self {
        let length = "/@".len() + name.len() + digits(at) + 1;
        self.property(property, length)
            .bytes(b"/")
            .unit(name, at)
            .ended()
    }
}
