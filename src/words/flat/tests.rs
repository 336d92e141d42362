//! The same trees as another reader reads, with the same in them; any bytes.

use super::*;
use crate::words::effort::{some, times};
use dtoolkit::fdt::{Fdt, FdtNode as OtherNode};
use dtoolkit::{Node as _, Property as _};
use proptest::prelude::*;
use vm_fdt::{FdtReserveEntry, FdtWriter};

/// A tree with reservations, nodes of nodes, and properties of every length up to a few cells.
fn tree() -> Vec<u8> {
    let reserved = [FdtReserveEntry::new(0x1000, 0x2000).unwrap()];
    let mut writer = FdtWriter::new_with_mem_reserv(&reserved).unwrap();
    let root = writer.begin_node("").unwrap();
    writer.property_string("compatible", "a,b").unwrap();
    writer.property_null("empty").unwrap();
    for outer in 0..3 {
        let node = writer.begin_node(&format!("bus@{outer}")).unwrap();
        writer.property_u32("#address-cells", outer).unwrap();
        writer.property("odd", &[1, 2, 3, 4, 5]).unwrap();
        let inner = writer.begin_node("leaf").unwrap();
        writer.property_u64("reg", 1 << 40).unwrap();
        writer.end_node(inner).unwrap();
        let last = writer.begin_node("a,b.c_d+e-f@0,1").unwrap();
        writer.end_node(last).unwrap();
        writer.end_node(node).unwrap();
    }
    writer.end_node(root).unwrap();
    writer.finish().unwrap()
}

/// Where a field of the header is.
const OFF_STRUCT: usize = 8;
const OFF_STRINGS: usize = 12;

fn field(tree: &[u8], at: usize) -> usize {
    u32::from_be_bytes(tree[at..at + 4].try_into().unwrap()) as usize
}

/// A node's properties, names and values, in their order.
fn properties<'t>(node: &FlatNode<'t>) -> Vec<(&'t [u8], &'t [u8])> {
    let (tree, mut at) = (node.tree, node.first);
    let mut properties = Vec::new();
    while let Some(Token::Property(property)) = tree.next(&mut at) {
        properties.push((tree.property_name(property), tree.value(property)));
    }
    properties
}

fn same(node: &FlatNode<'_>, other: &OtherNode<'_>) {
    assert_eq!(node.name(), other.name());
    let own = properties(node);
    let others: Vec<_> = other.properties().collect();
    assert_eq!(own.len(), others.len());
    for ((name, value), property) in own.iter().zip(&others) {
        let name = std::str::from_utf8(name).unwrap();
        assert_eq!((name, *value), (property.name(), property.value()));
        let first = other.property(name).unwrap();
        assert_eq!(node.property(name), Some(first.value()));
    }
    let own: Vec<_> = node.children().collect();
    let others: Vec<_> = other.children().collect();
    assert_eq!(own.len(), others.len());
    for (own, other) in own.iter().zip(&others) {
        same(own, other);
    }
}

/// What the two readers make of `bytes`.
fn both(bytes: &[u8]) -> (bool, bool) {
    let own = FlatTree::read(bytes);
    let other = trimmed(bytes).and_then(|bytes| Fdt::new(bytes).ok());
    if let (Some((own, shape)), Some(other)) = (own, other) {
        same(&own.root(), &other.root());
        assert!(
            reservations(bytes).eq(other
                .memory_reservations()
                .map(|entry| (entry.address(), entry.size())))
        );
        assert!(shape.depth < shape.nodes);
    }
    (own.is_some(), other.is_some())
}

#[test]
fn another_reader_finds_the_same_in_a_tree() {
    assert_eq!(both(&tree()), (true, true));
}

#[test]
fn the_shape_counts_nodes_and_the_levels_below_the_root() {
    let bytes = tree();
    let (_, shape) = FlatTree::read(&bytes).unwrap();
    assert_eq!((shape.nodes, shape.depth), (10, 2));
}

#[test]
fn bytes_past_the_end_change_nothing_and_missing_ones_are_refused() {
    let mut bytes = tree();
    for length in 0..bytes.len() {
        assert!(FlatTree::read(&bytes[..length]).is_none(), "{length} bytes");
    }
    bytes.push(0xff);
    assert_eq!(both(&bytes[..bytes.len() - 1]), (true, true));
    assert!(FlatTree::read(&bytes).is_some());
}

#[test]
fn a_tree_that_does_not_lie_as_words_do_reads_the_same() {
    let tree = tree();
    for offset in some(0..8, 5) {
        let mut bytes = vec![0xff; offset];
        bytes.extend_from_slice(&tree);
        assert_eq!(both(&bytes[offset..]), (true, true), "{offset}");
    }
}

/// Every byte of the structure and the strings is set to every value that means something; what is read then, another
/// reader reads so. This one also keeps to the structure block's size, which that one does not look at.
#[test]
fn no_changed_byte_makes_it_read_what_another_reader_refuses() {
    let base = tree();
    let mut refused = 0;
    for at in some(field(&base, OFF_STRUCT)..base.len(), 503) {
        for value in [0, 1, 2, 3, 4, 9, b'@', b'#', b'/', b'a', 0x7f, 0x80, 0xff] {
            let mut bytes = base.clone();
            bytes[at] = value;
            let (own, other) = both(&bytes);
            assert!(other || !own, "byte {at} = {value:#x}");
            refused += usize::from(!own);
            if own != other {
                assert!(at < field(&base, OFF_STRINGS), "byte {at} = {value:#x}");
            }
        }
    }
    assert!(refused > times(1000, 0));
}

fn is_node(name: &str) -> bool {
    let length = node_name(format!("{name}\0x").as_bytes());
    assert!(length.is_none_or(|length| length as usize == name.len()));
    length.is_some()
}

#[test]
fn names_are_those_the_specification_allows() {
    let long = "x".repeat(31);
    for name in [
        "cpu",
        "cpu@0",
        "a,b.c_d+e-f@1,2",
        &long,
        &format!("{long}@{long}{long}"),
    ] {
        assert!(is_node(name), "{name}");
    }
    for name in [
        "",
        "@0",
        "cpu@",
        "cpu@0@1",
        "cpu#",
        "a b",
        "a/b",
        "\u{e4}",
        &format!("{long}x"),
    ] {
        assert!(!is_node(name), "{name}");
    }
    for name in ["reg", "#address-cells", "linux,x?", &long] {
        assert!(is_property_name(name.as_bytes()), "{name}");
    }
    for name in ["", "a@b", "a b", "a/b", "\u{e4}", &format!("{long}x")] {
        assert!(!is_property_name(name.as_bytes()), "{name}");
    }
}

/// Strings that no property uses may be anything.
#[test]
fn a_name_nobody_uses_is_not_looked_at() {
    let mut bytes = tree();
    let number = |size: usize| u32::try_from(size).unwrap().to_be_bytes();
    let total = bytes.len();
    bytes.extend_from_slice(b"not a name\0\0");
    let strings = field(&bytes, 32);
    bytes[4..8].copy_from_slice(&number(total + 12));
    bytes[32..36].copy_from_slice(&number(strings + 12));
    assert_eq!(both(&bytes), (true, true));
}

proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        both(&bytes);
    }

    #[test]
    fn no_change_to_the_header_makes_it_read_what_another_reader_refuses(
        at in 0_usize..40, value in any::<u8>(), more in 0_usize..8,
    ) {
        let mut bytes = tree();
        bytes[at] = value;
        bytes.extend(std::iter::repeat_n(0, more));
        let (own, other) = both(&bytes);
        prop_assert!(other || !own);
    }
}
