//! Properties of behaviour: what a guest gets for whatever it does. Numbers are written again from the manuals.
#![allow(
    clippy::cast_possible_truncation,
    reason = "numbers in tests are small"
)]

mod bulkhead;
mod channels;
mod exit;
mod here;
mod hypercall;
mod managing;
mod mmio;
mod psci;
mod sysreg;
mod trng;
mod uart;
