//! The guest ABI, version 1.0: every number the hypervisor and its guests share.
//!
//! Numbers here are append-only; the golden list in the tests holds them.
//! Sources: Arm DEN0028 (SMCCC), DEN0022 (PSCI), DEN0098 (TRNG), DEN0057 (PV time).
#![no_std]
#![forbid(unsafe_code)]

pub mod bulkhead;
pub mod layout;
pub mod psci;
pub mod pv_time;
pub mod smccc;
pub mod trng;
