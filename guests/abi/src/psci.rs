//! Power State Coordination Interface 1.1 (Arm DEN0022): function identifiers and codes.

/// `PSCI_VERSION`.
pub const VERSION: u32 = 0x8400_0000;
/// `CPU_SUSPEND`, 32-bit.
pub const CPU_SUSPEND_32: u32 = 0x8400_0001;
/// `CPU_SUSPEND`, 64-bit.
pub const CPU_SUSPEND_64: u32 = 0xc400_0001;
/// `CPU_OFF`.
pub const CPU_OFF: u32 = 0x8400_0002;
/// `CPU_ON`, 32-bit.
pub const CPU_ON_32: u32 = 0x8400_0003;
/// `CPU_ON`, 64-bit.
pub const CPU_ON_64: u32 = 0xc400_0003;
/// `AFFINITY_INFO`, 32-bit.
pub const AFFINITY_INFO_32: u32 = 0x8400_0004;
/// `AFFINITY_INFO`, 64-bit.
pub const AFFINITY_INFO_64: u32 = 0xc400_0004;
/// `MIGRATE`, 32-bit.
pub const MIGRATE_32: u32 = 0x8400_0005;
/// `MIGRATE_INFO_TYPE`.
pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
/// `SYSTEM_OFF`.
pub const SYSTEM_OFF: u32 = 0x8400_0008;
/// `SYSTEM_RESET`.
pub const SYSTEM_RESET: u32 = 0x8400_0009;
/// `PSCI_FEATURES`.
pub const FEATURES: u32 = 0x8400_000a;
/// `SYSTEM_SUSPEND`, 32-bit.
pub const SYSTEM_SUSPEND_32: u32 = 0x8400_000e;
/// `SYSTEM_SUSPEND`, 64-bit.
pub const SYSTEM_SUSPEND_64: u32 = 0xc400_000e;
/// `SYSTEM_RESET2`, 32-bit.
pub const SYSTEM_RESET2_32: u32 = 0x8400_0012;
/// `SYSTEM_RESET2`, 64-bit.
pub const SYSTEM_RESET2_64: u32 = 0xc400_0012;

/// The version answered: 1.1.
pub const VERSION_1_1: u32 = 0x0001_0001;

/// Success.
pub const SUCCESS: i32 = 0;
/// No such function.
pub const NOT_SUPPORTED: i32 = -1;
/// An argument is not valid.
pub const INVALID_PARAMETERS: i32 = -2;
/// The call is not the caller's to make now.
pub const DENIED: i32 = -3;
/// The CPU is on.
pub const ALREADY_ON: i32 = -4;
/// A CPU_ON for the CPU is under way.
pub const ON_PENDING: i32 = -5;
/// An internal failure.
pub const INTERNAL_FAILURE: i32 = -6;
/// The CPU is not there.
pub const NOT_PRESENT: i32 = -7;
/// The CPU is disabled.
pub const DISABLED: i32 = -8;
/// The entry point is not valid.
pub const INVALID_ADDRESS: i32 = -9;

/// `AFFINITY_INFO`: at least one CPU of the instance is on.
pub const AFFINITY_ON: u32 = 0;
/// `AFFINITY_INFO`: all are off.
pub const AFFINITY_OFF: u32 = 1;
/// `AFFINITY_INFO`: a CPU_ON is under way.
pub const AFFINITY_ON_PENDING: u32 = 2;
/// `MIGRATE_INFO_TYPE`: no Trusted OS, or one that needs no migration.
pub const NO_TRUSTED_OS: u32 = 2;
