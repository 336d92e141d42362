//! Layer 5: the program. Boot order, the loop of each core, the short path, faults and panics.

pub mod audit;
pub mod boot;
mod common;
pub mod core;
pub mod crash;
pub mod fault;
pub mod hash;
pub mod load;
mod log;
pub mod machine;
pub mod monitor;
pub mod partitions;
pub mod power;
pub mod selftest;
pub mod short;
pub mod state;
pub mod system;
pub mod tables;
pub mod watch;
