//! Layer 3: behaviour. What happens to a guest that exits: dispatch, hypercalls, system registers, life cycle.
//!
//! Everything here works on numbers, the models and a [`Machine`](machine::Machine), so the host tests it.

pub mod audit;
pub mod channel;
pub mod console;
pub mod crash;
pub mod exit;
pub mod heartbeat;
pub mod here;
pub mod hypercall;
pub mod lifecycle;
pub mod machine;
pub mod mmio;
pub mod partition;
pub mod sysreg;

#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
