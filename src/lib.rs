//! # Bulkhead
//!
//! A hypervisor that divides an ARMv8-A board into partitions that cannot sink each other.
#![cfg_attr(not(test), no_std)]

#[forbid(unsafe_code)]
pub mod arm;
#[forbid(unsafe_code)]
pub mod behaviour;
#[cfg(target_os = "none")]
pub mod edge;
#[forbid(unsafe_code)]
pub mod model;
#[cfg(target_os = "none")]
#[forbid(unsafe_code)]
pub mod program;
#[forbid(unsafe_code)]
pub mod words;
