//! Reads flattened device trees (Devicetree Specification 5, version 17): the board's, and the bundle.
//!
//! Invariant: a [`FlatTree`] is sound. Its blocks lie in its bytes, its nodes nest and end, its names are names, and every
//! property lies in the structure block. All of that is looked at once, in one pass, and never again; what a property's
//! value says is for the reader to judge. Any bytes give a tree or none, in time that grows with their number only.

use zerocopy::{FromBytes as _, IntoBytes};

/// The header's magic (5.2).
const MAGIC: u32 = 0xd00d_feed;
/// The version this reads.
const VERSION: u32 = 17;
/// Bytes of a token or cell.
const CELL: usize = size_of::<u32>();
const CELL_BYTES: u32 = u32::BITS / u8::BITS;
/// Bytes of an entry of the reservation block: an address and a size.
const RESERVATION: usize = 16;
/// What the reservation block is aligned to.
const RESERVATION_ALIGNMENT: usize = 8;
/// Most bytes of a node's name without its unit address (2.2.1), and of a property's name (2.2.4).
const MAX_NAME: usize = 31;

/// Tokens (5.4.1).
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Where the root's name is in the structure block, behind its token.
const ROOT: u32 = 1;

/// A big-endian word. On a board it is read as one: a tree lies at a multiple of eight bytes (5.6), and without an MMU a load
/// that is not aligned faults, so that bytes would take a load each. On a host a tree lies anywhere.
#[cfg(target_os = "none")]
type Word = u32;
#[cfg(not(target_os = "none"))]
type Word = [u8; CELL];

/// What a word says.
#[inline(always)]
fn number(word: Word) -> u32 {
    #[cfg(target_os = "none")]
    return u32::from_be(word);
    #[cfg(not(target_os = "none"))]
    return u32::from_be_bytes(word);
}

/// The structure block.
#[derive(Clone, Copy, Debug)]
struct Words<'t>(&'t [Word]);

impl<'t> Words<'t> {
    /// The words in `bytes`; what is left behind the last is not one. `None` if words cannot be read there.
    fn of(bytes: &'t [u8]) -> Option<Self> {
        let (words, _) = <[Word]>::ref_from_prefix(bytes).ok()?;
        Some(Self(words))
    }

    /// The word at `at`.
    #[inline(always)]
    fn cell(self, at: u32) -> Option<u32> {
        self.0.get(at as usize).copied().map(number)
    }

    /// The word at `at`, and the two behind it.
    #[inline(always)]
    fn three(self, at: u32) -> Option<[u32; 3]> {
        let at = at as usize;
        let words = self.0.get(at..at.saturating_add(3))?;
        let [one, two, three] = *words.first_chunk()?;
        Some([number(one), number(two), number(three)])
    }

    /// The bytes from the word at `at` on; none past the end.
    #[inline(always)]
    fn bytes(self, at: u32) -> &'t [u8] {
        self.0.get(at as usize..).unwrap_or_default().as_bytes()
    }

    /// The token at `at`, which then is where the next one is. `None` past the root's end.
    ///
    /// There are at most 2^30 words, and a value has at most as many, so that nothing here wraps.
    #[inline(always)]
    fn token(self, at: &mut u32) -> Option<Token> {
        loop {
            if let Some(property) = self.property(at) {
                return Some(Token::Property(property));
            }
            let name = at.wrapping_add(1);
            match self.cell(*at)? {
                BEGIN_NODE => {
                    *at = self.after_name(name)?;
                    return Some(Token::Begin(name));
                }
                END_NODE => {
                    *at = name;
                    return Some(Token::End);
                }
                NOP => *at = name,
                _ => return None,
            }
        }
    }

    /// The next node, after `at`, in the node that is `depth` above what is there: where its name is, and its first property.
    #[inline(always)]
    fn child(self, at: &mut u32, depth: &mut usize) -> Option<(u32, u32)> {
        loop {
            match self.token(at)? {
                Token::Property(_) => {}
                Token::End => *depth = depth.checked_sub(1)?,
                Token::Begin(name) => {
                    *depth += 1;
                    if *depth == 1 {
                        return Some((name, *at));
                    }
                }
            }
        }
    }

    /// The property whose token is at `at`, which then is where the next token is; `None` if something else is there.
    #[inline(always)]
    fn property(self, at: &mut u32) -> Option<Property> {
        let [PROP, length, name] = self.three(*at)? else {
            return None;
        };
        let value = at.wrapping_add(3);
        *at = value.wrapping_add(length.div_ceil(CELL_BYTES));
        let value = Value { at: value, length };
        Some(Property { name, value })
    }

    /// Goes past the NOPs at `at`: what was taken out of a tree is a run of them.
    #[inline(always)]
    fn pass_nops(self, at: &mut u32) {
        while self.cell(*at) == Some(NOP) {
            *at = at.wrapping_add(1);
        }
    }

    /// Where the word after the name is that begins at `name`.
    #[inline(always)]
    fn after_name(self, name: u32) -> Option<u32> {
        let mut at = name;
        while !has_zero(self.cell(at)?) {
            at = at.wrapping_add(1);
        }
        Some(at.wrapping_add(1))
    }
}

/// A sound tree.
#[derive(Clone, Copy, Debug)]
pub struct FlatTree<'t> {
    /// The structure block.
    words: Words<'t>,
    /// The names of properties.
    strings: &'t [u8],
}

/// Looks at a tree while it is read. What it is shown is checked; what comes after that is not yet, and the tree may still
/// turn out to be none.
pub trait Visitor<'t> {
    /// A node of `tree` below the root begins: where its name is, and its first property, or what comes in its stead.
    fn begin(&mut self, tree: &FlatTree<'t>, name: u32, first: u32);
    /// A property of the node that began last, or else of the root.
    fn property(&mut self, tree: &FlatTree<'t>, property: Property);
    /// The node that began last, of those that have not ended, ends.
    fn end(&mut self);
}

/// Who looks at nothing.
struct Nobody;

impl Visitor<'_> for Nobody {
    #[inline(always)]
    fn begin(&mut self, _: &FlatTree<'_>, _: u32, _: u32) {}
    #[inline(always)]
    fn property(&mut self, _: &FlatTree<'_>, _: Property) {}
    #[inline(always)]
    fn end(&mut self) {}
}

/// How large a tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Its nodes, the root among them.
    pub nodes: usize,
    /// Nodes between the root and the deepest node, that one included.
    pub depth: usize,
}

/// What comes next in the structure block. The numbers are places in it, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A node begins; where its name is.
    Begin(u32),
    /// A property of the node opened last.
    Property(Property),
    /// The node opened last ends.
    End,
}

/// A property's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// Where in the strings its name begins: who begins there is called the same.
    pub name: u32,
    /// Its value's place.
    pub value: Value,
}

/// The place of a property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Where it is, in words.
    at: u32,
    /// Bytes of it.
    length: u32,
}

/// The header's fields (5.2), in their order.
struct Header([u32; 10]);

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<CELL>();
        let fields: &[[u8; CELL]; 10] = words.first_chunk()?;
        Some(Self(fields.map(u32::from_be_bytes)))
    }

    /// The fields, if they are those of a tree of `length` bytes whose blocks lie in it, in their order.
    fn check(&self, length: usize) -> Option<Blocks> {
        let [
            magic,
            total,
            structure,
            strings,
            reservations,
            version,
            last,
            _,
            strings_size,
            size,
        ] = self.0;
        let [total, structure, strings, reservations, strings_size, size] =
            [total, structure, strings, reservations, strings_size, size].map(|n| n as usize);
        let right = magic == MAGIC
            && (last..=version).contains(&VERSION)
            && total == length
            && reservations >= size_of::<Self>()
            && reservations.is_multiple_of(RESERVATION_ALIGNMENT)
            && reservations <= structure
            && structure.is_multiple_of(CELL)
            && structure.checked_add(size)? <= strings
            && strings.checked_add(strings_size)? <= length;
        right.then(|| Blocks {
            reservations: reservations..structure,
            structure: structure..structure + size,
            strings: strings..strings + strings_size,
        })
    }
}

/// Where a tree's blocks lie in its bytes.
struct Blocks {
    reservations: core::ops::Range<usize>,
    structure: core::ops::Range<usize>,
    strings: core::ops::Range<usize>,
}

/// The bytes of the tree that `bytes` begin with: what lies past its `totalsize` is not its.
fn trimmed(bytes: &[u8]) -> Option<&[u8]> {
    let total = bytes.get(CELL..2 * CELL)?.first_chunk()?;
    bytes.get(..u32::from_be_bytes(*total) as usize)
}

impl<'t> FlatTree<'t> {
    /// Reads the tree that `bytes` begin with, and checks all of its structure: `None` if it is not sound.
    #[must_use]
    pub fn read(bytes: &'t [u8]) -> Option<(Self, Shape)> {
        Self::read_with(bytes, |_| Nobody)
    }

    /// Reads a tree, and shows it to the visitor that `visitor` makes for it.
    #[must_use]
    #[inline(always)]
    pub fn read_with<V: Visitor<'t>>(
        bytes: &'t [u8],
        visitor: impl FnOnce(&Self) -> V,
    ) -> Option<(Self, Shape)> {
        let bytes = trimmed(bytes)?;
        let blocks = Header::read(bytes)?.check(bytes.len())?;
        let tree = Self {
            words: Words::of(bytes.get(blocks.structure)?)?,
            strings: bytes.get(blocks.strings)?,
        };
        let ended = reserved(bytes.get(blocks.reservations)?).any(|entry| entry == (0, 0));
        let mut visitor = visitor(&tree);
        let shape = tree.check(&mut visitor).filter(|_| ended)?;
        Some((tree, shape))
    }

    /// The tree's shape, if the nodes nest and end, with the properties of each before the nodes in it, and all names are
    /// names.
    #[inline(always)]
    fn check(&self, visitor: &mut impl Visitor<'t>) -> Option<Shape> {
        let words = self.words;
        let names = are_names(self.strings);
        let mut shape = Shape { nodes: 1, depth: 0 };
        let mut depth = 0;
        // The root's name is empty.
        if words.cell(0) != Some(BEGIN_NODE) || words.bytes(ROOT).first() != Some(&0) {
            return None;
        }
        let mut at = ROOT + 1;
        loop {
            // A node has begun: its properties, and with them what comes in the stead of one that was taken out.
            loop {
                if let Some(property) = words.property(&mut at) {
                    // That its value lies in the block, the word behind it shows, which is looked at next.
                    let first = self.strings.get(property.name as usize)?;
                    let named = names || is_property_name(self.property_name(property));
                    if *first == 0 || !named {
                        return None;
                    }
                    visitor.property(self, property);
                } else if words.cell(at)? == NOP {
                    words.pass_nops(&mut at);
                } else {
                    break;
                }
            }
            // Nodes end, until one begins.
            loop {
                let token = words.cell(at)?;
                at = at.wrapping_add(1);
                match token {
                    BEGIN_NODE => break,
                    END_NODE if depth == 0 => {
                        return (words.cell(at) == Some(END)).then_some(shape);
                    }
                    END_NODE => {
                        depth -= 1;
                        visitor.end();
                    }
                    NOP => words.pass_nops(&mut at),
                    _ => return None,
                }
            }
            let name = at;
            let length = node_name(words.bytes(name))?;
            at = name.wrapping_add(length / CELL_BYTES + 1);
            depth += 1;
            shape.nodes += 1;
            shape.depth = shape.depth.max(depth);
            visitor.begin(self, name, at);
        }
    }

    /// The token at `at`, which then is where the next one is. `None` past the root's end.
    #[inline(always)]
    pub fn next(self, at: &mut u32) -> Option<Token> {
        self.words.token(at)
    }

    /// The nodes, from `at` on, in the node in which that is.
    #[must_use]
    pub fn children(self, at: u32) -> Children<'t> {
        let (words, depth) = (self.words, 0);
        Children { words, at, depth }
    }

    /// Where a node's first property is, or what comes in its stead, given where its name is.
    #[inline(always)]
    #[must_use]
    pub fn after_name(self, name: u32) -> Option<u32> {
        self.words.after_name(name)
    }

    /// The name, with its unit address, of the node whose name is at `at`; the root's is empty.
    #[must_use]
    pub fn name(self, at: u32) -> &'t [u8] {
        until_zero(self.words.bytes(at))
    }

    /// Whether the node whose name is at `at` is called `name`, unit address and all.
    #[inline(always)]
    #[must_use]
    pub fn is_called(self, at: u32, name: &[u8]) -> bool {
        is(self.words.bytes(at), name)
    }

    /// What follows `name` in the name of the node whose name is at `at`: 0 if that is all of it, an @ if it has a unit address;
    /// `None` if it does not begin with `name`.
    #[inline(always)]
    #[must_use]
    pub fn after(self, at: u32, name: &[u8]) -> Option<u8> {
        after(self.words.bytes(at), name)
    }

    /// A property's name.
    #[must_use]
    pub fn property_name(self, property: Property) -> &'t [u8] {
        until_zero(
            self.strings
                .get(property.name as usize..)
                .unwrap_or_default(),
        )
    }

    /// The first byte of a property's name.
    #[inline(always)]
    #[must_use]
    pub fn initial(self, property: Property) -> u8 {
        let initial = self.strings.get(property.name as usize);
        initial.copied().unwrap_or(0)
    }

    /// The first byte of the name of the node whose name is at `at`.
    #[inline(always)]
    #[must_use]
    pub fn node_initial(self, at: u32) -> u8 {
        self.words.bytes(at).first().copied().unwrap_or(0)
    }

    /// Whether a property is called `name`.
    #[inline(always)]
    #[must_use]
    pub fn is_named(self, property: Property, name: &[u8]) -> bool {
        self.is_name(property.name, name)
    }

    /// Whether the property's name that begins at `at` in the strings is `name`.
    #[inline(always)]
    #[must_use]
    pub fn is_name(self, at: u32, name: &[u8]) -> bool {
        let at = at as usize;
        let end = at.saturating_add(name.len());
        // Mostly what stands at its end tells that it is another.
        let ends = self.strings.get(end) == Some(&0);
        let own = || self.strings.get(at..end).unwrap_or_default();
        ends && own().iter().zip(name).all(|(own, byte)| own == byte)
    }

    /// Whether two values are the same.
    #[inline(always)]
    #[must_use]
    pub fn is_alike(self, one: Value, other: Value) -> bool {
        let words = |value: Value| {
            let at = value.at as usize;
            self.words
                .0
                .get(at..at.saturating_add(value.length.div_ceil(CELL_BYTES) as usize))
        };
        let (Some(own), Some(others)) = (words(one), words(other)) else {
            return false;
        };
        one.length == other.length && own.iter().zip(others).all(|(own, other)| own == other)
    }

    /// A property's value.
    #[inline(always)]
    #[must_use]
    pub fn value(self, property: Property) -> &'t [u8] {
        self.bytes(property.value)
    }

    /// The bytes of a value.
    #[inline(always)]
    #[must_use]
    pub fn bytes(self, value: Value) -> &'t [u8] {
        let bytes = self.words.bytes(value.at);
        bytes.get(..value.length as usize).unwrap_or_default()
    }

    /// The value of the property called `name` of the node whose first property is at `first`.
    #[must_use]
    pub fn find(self, first: u32, name: &[u8]) -> Option<&'t [u8]> {
        let mut at = first;
        loop {
            if let Some(property) = self.words.property(&mut at) {
                if self.is_named(property, name) {
                    return Some(self.value(property));
                }
            } else if self.words.cell(at)? == NOP {
                at = at.wrapping_add(1);
            } else {
                return None;
            }
        }
    }

    /// The root.
    #[must_use]
    pub fn root(self) -> FlatNode<'t> {
        FlatNode {
            tree: self,
            name: ROOT,
            first: ROOT + 1,
        }
    }
}

/// A node.
#[derive(Clone, Copy, Debug)]
pub struct FlatNode<'t> {
    tree: FlatTree<'t>,
    /// Where its name is.
    name: u32,
    /// Where its first property is, or what comes in its stead.
    first: u32,
}

impl<'t> FlatNode<'t> {
    /// Where its first property is, or what comes in its stead.
    #[must_use]
    pub fn first(&self) -> u32 {
        self.first
    }

    /// Its name with its unit address; the root's is empty.
    #[must_use]
    pub fn name(&self) -> &'t str {
        text(self.tree.name(self.name))
    }

    /// Whether it is called `name`, unit address and all.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.tree.is_called(self.name, name.as_bytes())
    }

    /// The value of a property, if the node has it.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'t [u8]> {
        self.tree.find(self.first, name.as_bytes())
    }

    /// The nodes in it.
    pub fn children(&self) -> impl Iterator<Item = FlatNode<'t>> + use<'t> {
        let tree = self.tree;
        let children = tree.children(self.first);
        children.map(move |(name, first)| FlatNode { tree, name, first })
    }
}

/// The nodes in a node: where their names are, and their first properties.
#[derive(Clone, Copy, Debug)]
pub struct Children<'t> {
    words: Words<'t>,
    at: u32,
    /// How far below the node `at` is.
    depth: usize,
}

impl Iterator for Children<'_> {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<(u32, u32)> {
        self.words.child(&mut self.at, &mut self.depth)
    }
}

/// The address and size pairs of the reservation block of the tree that `bytes` begin with, to its end (5.3).
pub fn reservations(bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> + use<'_> {
    let bytes = trimmed(bytes).unwrap_or_default();
    let blocks = Header::read(bytes).and_then(|header| header.check(bytes.len()));
    let block = blocks.and_then(|blocks| bytes.get(blocks.reservations));
    reserved(block.unwrap_or_default()).take_while(|entry| *entry != (0, 0))
}

fn reserved(block: &[u8]) -> impl Iterator<Item = (u64, u64)> + use<'_> {
    let (longs, _) = block.as_chunks::<{ RESERVATION / 2 }>();
    let (entries, _) = longs.as_chunks::<2>();
    entries
        .iter()
        .map(|entry| entry.map(u64::from_be_bytes).into())
}

/// Whether one of a word's bytes is zero.
#[inline(always)]
const fn has_zero(word: u32) -> bool {
    const LOW: u32 = 0x0101_0101;
    const HIGH: u32 = 0x8080_8080;
    word.wrapping_sub(LOW) & !word & HIGH != 0
}

/// The byte after `name` in `bytes`, if they begin with it: mostly the first byte tells that they do not.
#[inline(always)]
fn after(bytes: &[u8], name: &[u8]) -> Option<u8> {
    let next = *bytes.get(name.len())?;
    let same = bytes.iter().zip(name).all(|(one, other)| one == other);
    same.then_some(next)
}

/// Whether `bytes` up to the first zero are `name`, which has none: mostly what stands at its end tells that they are not.
#[inline(always)]
fn is(bytes: &[u8], name: &[u8]) -> bool {
    bytes.get(name.len()) == Some(&0) && after(bytes, name).is_some()
}

#[inline(always)]
fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// A checked name as text.
fn text(name: &[u8]) -> &str {
    core::str::from_utf8(name).unwrap_or_default()
}

/// What a byte may be in, as bits: a node's name, a property's name.
const NODE_NAME: u8 = 1;
const PROPERTY_NAME: u8 = 2;

/// What each byte may be in (tables 2.1 and 2.2).
const USES: [u8; 256] = {
    let mut uses = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        uses[byte as usize] = match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b',' | b'.' | b'_' | b'+' | b'-' => {
                NODE_NAME | PROPERTY_NAME
            }
            b'?' | b'#' => PROPERTY_NAME,
            _ => 0,
        };
        byte += 1;
    }
    uses
};

#[inline(always)]
fn in_node_name(byte: &u8) -> bool {
    USES[usize::from(*byte)] & NODE_NAME != 0
}

#[inline(always)]
fn in_property_name(byte: &u8) -> bool {
    USES[usize::from(*byte)] & PROPERTY_NAME != 0
}

/// How many of `bytes` come before the first zero, if they are a node's name, with a unit address or without (2.2.1).
#[inline(always)]
fn node_name(bytes: &[u8]) -> Option<u32> {
    let mut rest = bytes.iter();
    let mut end = rest.find(|byte| !in_node_name(byte))?;
    let base = bytes.len() - rest.len() - 1;
    if *end == b'@' {
        let unit = rest.len();
        end = rest.find(|byte| !in_node_name(byte))?;
        if unit - rest.len() == 1 {
            return None;
        }
    }
    let length = (bytes.len() - rest.len() - 1).try_into().ok();
    length.filter(|_| *end == 0 && (1..=MAX_NAME).contains(&base))
}

/// Whether `name` is a property's (2.2.4).
fn is_property_name(name: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.iter().all(in_property_name)
}

/// Whether all that the strings block holds are properties' names, wherever one begins.
fn are_names(strings: &[u8]) -> bool {
    let mut rest = strings.iter();
    let mut from = rest.len();
    while let Some(end) = rest.find(|byte| !in_property_name(byte)) {
        if *end != 0 || from - rest.len() > MAX_NAME + 1 {
            return false;
        }
        from = rest.len();
    }
    from == 0
}

#[cfg(test)]
mod tests;
