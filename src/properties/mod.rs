//! What holds whatever a guest or a file says, each as a function of bytes: in tests and for fuzzers only.
//!
//! Each property panics where it does not hold. There is one home for them, and two drivers: `cargo test` feeds them the
//! corpus in `scripts/fuzz/corpus`, changes of it, and a bounded number of random bytes; `cargo xtask fuzz` feeds them what
//! a coverage-guided fuzzer makes of the same corpus. A property of the manifest is beside it, in
//! `scripts/xtask/src/manifest/property.rs`.

#![allow(
    clippy::cast_possible_truncation,
    reason = "numbers here are small, or meant to lose their upper bits"
)]

mod board;
mod bundle;
mod decode;
mod exit;
pub(crate) mod hypercall;
mod input;
mod pl011;
mod psci;
mod syndrome;
mod vgic;

#[cfg(test)]
mod tests;

pub use input::Input;

/// A property: its name, which is also its fuzz target's, and the function that panics where it does not hold.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Holds it against bytes.
    pub check: fn(&[u8]),
}

/// Every property.
pub const ALL: [Property; 13] = [
    property("board", board::read),
    property("board_copy", board::copied),
    property("bundle", bundle::read),
    property("decode", decode::words),
    property("exit", exit::sequence),
    property("hypercall", hypercall::sequence),
    property("pl011", pl011::sequence),
    property("psci", psci::sequence),
    property("syndrome", syndrome::any),
    property("system", bundle::system),
    property("vgic", vgic::offers),
    property("vgic_late", vgic::late),
    property("vgic_registers", vgic::registers),
];

const fn property(name: &'static str, check: fn(&[u8])) -> Property {
    Property { name, check }
}

/// Holds the property called `name` against `bytes`.
///
/// # Panics
/// It does not hold, or there is none of this name.
pub fn check(name: &str, bytes: &[u8]) {
    let found = ALL.iter().find(|property| property.name == name);
    (found.expect("a property's name").check)(bytes);
}
