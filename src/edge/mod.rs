//! Layer 4: the edge, the only place that says `unsafe`. Assembly, registers, tables, the physical GIC, drivers.

pub mod boot;
pub mod bulk;
pub mod cache;
pub mod context;
pub mod core;
pub mod firmware;
pub mod fp;
pub mod gic;
pub mod guest;
pub mod init;
pub mod keep;
pub mod memory;
pub mod registers;
pub mod sha256;
pub mod takeover;
pub mod timer;
pub mod tlb;
pub mod uart;
pub mod watchdog;
