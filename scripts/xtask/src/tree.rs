//! Takes nodes out of a flattened device tree: what an emulator does not model, its guest must not be told of.
//!
//! A node's tokens become FDT_NOP, which every reader skips (Devicetree Specification 5.4.1): nothing else moves.

use std::ops::Range;

use anyhow::{Context as _, bail};

/// Tokens of the structure block (5.4.1).
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;
/// Where the header has the offset of the structure block (5.2).
const OFF_DT_STRUCT: usize = 8;
/// Where it has that of the strings block.
const OFF_DT_STRINGS: usize = 12;
/// Bytes of a token.
const CELL: usize = 4;

/// Takes the node at `path`, such as `/scb/pcie@7d500000`, and all below it out of `tree`.
///
/// # Errors
/// The tree is damaged, or has no such node.
pub fn remove(tree: &mut [u8], path: &str) -> anyhow::Result<()> {
    let (from, to) = find(tree, path)?.with_context(|| format!("the tree has no node {path}"))?;
    for token in tree[from..to].chunks_exact_mut(CELL) {
        token.copy_from_slice(&NOP.to_be_bytes());
    }
    Ok(())
}

/// Takes the property `name` of the node at `path` out of `tree`.
///
/// # Errors
/// The tree is damaged, or has no such property.
pub fn remove_property(tree: &mut [u8], path: &str, name: &str) -> anyhow::Result<()> {
    let value = property(tree, path, name)?;
    let value = value.with_context(|| format!("{path} has no property {name}"))?;
    let (from, to) = (value.start - 3 * CELL, aligned(value.end));
    for token in tree[from..to].chunks_exact_mut(CELL) {
        token.copy_from_slice(&NOP.to_be_bytes());
    }
    Ok(())
}

/// Cuts off the room that QEMU leaves behind a tree it makes; a tree that it reads gets as much again.
///
/// # Errors
/// The tree is damaged.
pub fn shrink(tree: &mut Vec<u8>) -> anyhow::Result<()> {
    /// Where the header has the sizes of the two blocks, and that of all.
    const SIZES: [(usize, usize); 2] = [(OFF_DT_STRUCT, 36), (OFF_DT_STRINGS, 32)];
    const TOTAL_SIZE: usize = 4;
    let mut end = 0;
    for (offset, size) in SIZES {
        end = end.max(usize::try_from(cell(tree, offset)?)? + usize::try_from(cell(tree, size)?)?);
    }
    tree.truncate(aligned(end));
    let total = u32::try_from(tree.len())?;
    let place = tree.get_mut(TOTAL_SIZE..TOTAL_SIZE + CELL);
    place
        .context("the tree is cut off")?
        .copy_from_slice(&total.to_be_bytes());
    Ok(())
}

/// Where the value of the property `name` of the node at `path` is.
///
/// # Errors
/// The tree is damaged.
pub fn property(tree: &[u8], path: &str, name: &str) -> anyhow::Result<Option<Range<usize>>> {
    let Some((begin, end)) = find(tree, path)? else {
        return Ok(None);
    };
    let strings = usize::try_from(cell(tree, OFF_DT_STRINGS)?)?;
    let mut at = begin + CELL;
    at = aligned(at + text(tree, at)?.len() + 1);
    // A node's properties come before its children.
    while at < end && matches!(cell(tree, at)?, PROP | NOP) {
        if cell(tree, at)? == NOP {
            at += CELL;
            continue;
        }
        let length = usize::try_from(cell(tree, at + CELL)?)?;
        let value = at + 3 * CELL;
        if text(tree, strings + usize::try_from(cell(tree, at + 2 * CELL)?)?)? == name {
            return Ok(Some(value..value + length).filter(|value| value.end <= end));
        }
        at = aligned(value + length);
    }
    Ok(None)
}

/// The bytes of the node at `path`, from its first token to the end of its last.
fn find(tree: &[u8], path: &str) -> anyhow::Result<Option<(usize, usize)>> {
    let mut at = usize::try_from(cell(tree, OFF_DT_STRUCT)?)?;
    let mut open: Vec<(String, usize)> = Vec::new();
    loop {
        let begin = at;
        at += CELL;
        match cell(tree, begin)? {
            BEGIN_NODE => {
                let name = text(tree, at)?;
                at = aligned(at + name.len() + 1);
                open.push((name, begin));
            }
            END_NODE => {
                let names = open.iter().skip(1).map(|(name, _)| format!("/{name}"));
                let here: String = names.collect();
                let (_, begin) = open.pop().context("a node ends that never began")?;
                if !open.is_empty() && here == path {
                    return Ok(Some((begin, at)));
                }
            }
            PROP => at = aligned(at + 2 * CELL + usize::try_from(cell(tree, at)?)?),
            NOP => {}
            END => return Ok(None),
            token => bail!("the tree is damaged: token {token:#x} at {begin:#x}"),
        }
    }
}

fn cell(tree: &[u8], at: usize) -> anyhow::Result<u32> {
    let bytes = tree.get(at..).and_then(|rest| rest.get(..CELL));
    let bytes = bytes.context("the tree is cut off")?;
    Ok(u32::from_be_bytes(bytes.try_into()?))
}

fn text(tree: &[u8], at: usize) -> anyhow::Result<String> {
    let rest = tree.get(at..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == 0);
    let bytes = &rest[..end.context("the tree is cut off")?];
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

const fn aligned(at: usize) -> usize {
    at.next_multiple_of(CELL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead::model::board::devices;
    use vm_fdt::FdtWriter;

    /// Two buses with devices of one name.
    fn tree() -> Vec<u8> {
        let mut fdt = FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        for bus in ["soc", "scb"] {
            let bus = fdt.begin_node(bus).unwrap();
            fdt.property_null("ranges").unwrap();
            for device in ["dma@1000", "mmc@2000"] {
                let node = fdt.begin_node(device).unwrap();
                fdt.property_array_u32("reg", &[0, 0x1000, 0x100]).unwrap();
                let below = fdt.begin_node("port").unwrap();
                fdt.property_string("label", "x").unwrap();
                fdt.end_node(below).unwrap();
                fdt.end_node(node).unwrap();
            }
            fdt.end_node(bus).unwrap();
        }
        fdt.end_node(root).unwrap();
        fdt.finish().unwrap()
    }

    fn paths(tree: &[u8]) -> Vec<String> {
        let all = devices(tree).unwrap();
        all.map(|device| device.unwrap().path.to_string()).collect()
    }

    #[test]
    fn a_node_is_gone_and_nothing_else() {
        let mut tree = tree();
        assert_eq!(paths(&tree).len(), 4);
        remove(&mut tree, "/scb/dma@1000").unwrap();
        assert_eq!(
            paths(&tree),
            ["/soc/dma@1000", "/soc/mmc@2000", "/scb/mmc@2000"]
        );
        remove(&mut tree, "/soc").unwrap();
        assert_eq!(paths(&tree), ["/scb/mmc@2000"]);
    }

    #[test]
    fn a_node_that_is_not_there_is_an_error() {
        let mut tree = tree();
        for path in ["/scb/dma", "/dma@1000", "scb", "", "/scb/dma@1000/port/x"] {
            assert!(remove(&mut tree, path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_property_is_found_in_its_own_node() {
        let tree = tree();
        let reg = property(&tree, "/scb/mmc@2000", "reg").unwrap().unwrap();
        assert_eq!(tree[reg], [0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 0]);
        assert_eq!(property(&tree, "/scb/mmc@2000", "label").unwrap(), None);
        assert_eq!(property(&tree, "/scb/none", "reg").unwrap(), None);
    }

    #[test]
    fn a_damaged_tree_is_an_error() {
        let whole = tree();
        for length in 0..whole.len() - 1 {
            // Cut off in its strings it may still be taken apart.
            let _ = remove(&mut whole[..length].to_vec(), "/none");
        }
        assert!(remove(&mut whole[..40].to_vec(), "/none").is_err());
        assert!(remove(&mut [], "/none").is_err());
    }
}
