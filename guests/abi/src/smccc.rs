//! SMC Calling Convention 1.2 (Arm DEN0028): function identifiers and codes.

/// `SMCCC_VERSION`.
pub const VERSION: u32 = 0x8000_0000;
/// `SMCCC_ARCH_FEATURES`.
pub const ARCH_FEATURES: u32 = 0x8000_0001;
/// `SMCCC_ARCH_SOC_ID`.
pub const ARCH_SOC_ID: u32 = 0x8000_0002;
/// `SMCCC_ARCH_WORKAROUND_1` (CVE-2017-5715).
pub const ARCH_WORKAROUND_1: u32 = 0x8000_8000;
/// `SMCCC_ARCH_WORKAROUND_2` (CVE-2018-3639).
pub const ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
/// `SMCCC_ARCH_WORKAROUND_3` (CVE-2022-23960).
pub const ARCH_WORKAROUND_3: u32 = 0x8000_3fff;
/// The version answered: 1.2.
pub const VERSION_1_2: u32 = 0x0001_0002;

/// The call did what it was asked.
pub const SUCCESS: i64 = 0;
/// No such function.
pub const NOT_SUPPORTED: i64 = -1;
/// The call is not needed on this machine.
pub const NOT_REQUIRED: i64 = -2;
/// An argument is out of its range.
pub const INVALID_PARAMETER: i64 = -3;

/// Bit of a function identifier: fast call (else yielding).
pub const FAST: u32 = 1 << 31;
/// Bit of a function identifier: 64-bit convention (else 32-bit).
pub const SMC64: u32 = 1 << 30;
