//! Trees of the two boards' shapes, built here; the boards' own trees where a developer has them; any bytes.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test data are cut to their fields on purpose"
)]

use std::string::ToString;
use std::vec::Vec;

use super::*;
use trees::{Build, PI_MEMORY, Virt, pi, pi_below, pi_with_tf_a, tree};

mod boards;
mod devices;
mod hostile;
mod lacking;
mod own;
mod raspberry;
mod timers;
mod trees;

fn range(base: u64, size: u64) -> Range {
    Range::new(Pa::new(base), size).unwrap()
}

fn message(tree: &[u8]) -> String {
    Board::read(tree).unwrap_err().to_string()
}
