//! What guests that test their machine from inside share: results in TAP, calls with poisoned registers, provoked
//! exceptions, work on other CPUs, interrupts by polling.

pub mod around;
pub mod environment;
pub mod exchange;
pub mod fp;
pub mod poll;
pub mod smp;
pub mod tap;
pub mod trap;
