//! Paravirtualized time 1.0 (Arm DEN0057): function identifiers.
//!
//! A partition that owns its CPUs loses no time to others: both functions are NOT_SUPPORTED for it.

/// `PV_TIME_FEATURES`.
pub const FEATURES: u32 = 0xc500_0020;
/// `PV_TIME_ST`.
pub const ST: u32 = 0xc500_0021;
