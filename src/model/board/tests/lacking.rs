//! A tree without this or that: each node and each property of a board's tree is left out in turn.

use std::string::{String, ToString};
use std::vec::Vec;

use super::{Virt, pi};
use crate::model::board::Board;

/// Tokens of the structure block (Devicetree Specification 5.4.1).
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;

fn cell(tree: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(tree[at..at + 4].try_into().unwrap())
}

fn text(tree: &[u8], at: usize) -> String {
    let end = tree[at..].iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(tree[at..at + end].to_vec()).unwrap()
}

/// Everything that can be left out: `/path` or `/path:property`, and the bytes it takes in the structure block.
fn parts(tree: &[u8]) -> Vec<(String, core::ops::Range<usize>)> {
    let strings = cell(tree, 12) as usize;
    let mut at = cell(tree, 8) as usize;
    let mut open: Vec<(String, usize)> = Vec::new();
    let mut parts = Vec::new();
    loop {
        let begin = at;
        at += 4;
        match cell(tree, begin) {
            BEGIN_NODE => {
                let name = text(tree, at);
                at = (at + name.len() + 1).next_multiple_of(4);
                let parent = open.last().map_or("", |(path, _)| path.as_str());
                let slash = if parent.ends_with('/') { "" } else { "/" };
                open.push((parent.to_string() + slash + &name, begin));
            }
            END_NODE => {
                let (path, begin) = open.pop().unwrap();
                if open.is_empty() {
                    return parts;
                }
                parts.push((path, begin..at));
            }
            PROP => {
                let (length, name) = (cell(tree, at), cell(tree, at + 4));
                at = (at + 8 + length as usize).next_multiple_of(4);
                let name = text(tree, strings + name as usize);
                let path = &open.last().unwrap().0;
                parts.push((path.clone() + ":" + &name, begin..at));
            }
            token => assert_eq!(token, NOP),
        }
    }
}

fn leave_out(tree: &mut [u8], part: &core::ops::Range<usize>) {
    for token in tree[part.clone()].chunks_exact_mut(4) {
        token.copy_from_slice(&NOP.to_be_bytes());
    }
}

/// What became of a tree without `part`.
fn without(tree: &[u8], part: &core::ops::Range<usize>) -> Result<String, String> {
    let mut tree = tree.to_vec();
    leave_out(&mut tree, part);
    match Board::read(&tree) {
        Ok(board) => Ok(std::format!("{board:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// What of the tree cannot be done without, and what is said then.
fn needed(tree: &[u8]) -> Vec<(String, String)> {
    let with = std::format!("{:?}", Board::read(tree).unwrap());
    let mut needed = Vec::new();
    let mut matters = 0;
    for (name, part) in parts(tree) {
        match without(tree, &part) {
            // Each error names a node and says what is wrong with it.
            Err(error) => {
                // It can be said, unless it is the console itself.
                let mute = ["pl011", "serial", "ranges", "-cells", "/soc"];
                let mute = mute.iter().any(|part| name.contains(part));
                let mut tree = tree.to_vec();
                leave_out(&mut tree, &part);
                assert!(
                    mute || crate::model::board::console(&tree).is_some(),
                    "{name}"
                );
                assert!(error.starts_with("device tree, /"), "{name}: {error}");
                needed.push((name, error));
            }
            Ok(board) => matters += usize::from(board != with),
        }
    }
    assert!(matters > 0, "something is optional and changes the board");
    needed
}

fn names(needed: &[(String, String)]) -> Vec<&str> {
    needed.iter().map(|(name, _)| name.as_str()).collect()
}

fn said<'a>(needed: &'a [(String, String)], part: &str) -> &'a str {
    let found = needed.iter().find(|(name, _)| name == part);
    &found.unwrap_or_else(|| panic!("{part} is not needed")).1
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_virt_tree_without_what_el2_needs_is_refused_with_one_error_that_names_it() {
    for gic in [2, 3] {
        let tree = Virt {
            gic,
            ..Virt::default()
        };
        let needed = needed(&tree.build());
        let names = names(&needed);
        for part in [
            "/memory@40000000",
            "/memory@40000000:reg",
            "/intc@8000000",
            "/intc@8000000:compatible",
            "/intc@8000000:reg",
            "/intc@8000000:interrupts",
            "/intc@8000000:#interrupt-cells",
            "/psci:method",
            "/cpus",
            "/timer",
            "/timer:compatible",
            "/timer:interrupts",
            "/cpus/cpu@1:reg",
        ] {
            assert!(names.contains(&part), "{part}: {names:?}");
        }
        // Those whose loss only takes something away.
        for part in [
            "/pl061@9030000",
            "/virtio_mmio@a000000",
            "/pcie@10000000",
            "/chosen",
        ] {
            assert!(!names.contains(&part), "{part}");
        }
        assert!(said(&needed, "/intc@8000000").contains("no "));
        assert!(said(&needed, "/timer:interrupts").contains("`interrupts`"));
        assert!(
            said(&needed, "/cpus/cpu@1:reg").contains("/cpus/cpu@1: property `reg` is missing")
        );
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_pi_tree_without_what_el2_needs_is_refused_with_one_error_that_names_it() {
    let tree = pi(&[0, 0, 0x3b40_0000]);
    let needed = needed(&tree);
    let names = names(&needed);
    for part in ["/cpus", "/timer", "/memory@0"] {
        assert!(names.contains(&part), "{part}: {names:?}");
    }
    assert!(
        names
            .iter()
            .any(|name| name.contains("interrupt-controller"))
    );
}
