//! Layer 1: Arm's architecture as data. Formats, numbers and masks, each with its manual section; no behaviour.

pub mod control;
pub mod facilities;
pub mod id;
pub mod list_register;
pub mod registers;
pub mod syndrome;
pub mod sysreg;
