//! True Random Number Generator firmware interface 1.0 (Arm DEN0098): function identifiers and codes.

/// `TRNG_VERSION`.
pub const VERSION: u32 = 0x8400_0050;
/// `TRNG_FEATURES`.
pub const FEATURES: u32 = 0x8400_0051;
/// `TRNG_GET_UUID`.
pub const GET_UUID: u32 = 0x8400_0052;
/// `TRNG_RND`, 32-bit.
pub const RND_32: u32 = 0x8400_0053;
/// `TRNG_RND`, 64-bit.
pub const RND_64: u32 = 0xc400_0053;

/// The version answered: 1.0.
pub const VERSION_1_0: u32 = 0x0001_0000;
/// d10c3673-ea8c-4475-ba9f-e7be4c35cb3c, which names this source (FEAT_RNG's RNDRRS), as `TRNG_GET_UUID` returns it.
pub const UUID: [u32; 4] = [0x7336_0cd1, 0x7544_8cea, 0xbee7_9fba, 0x3ccb_354c];

/// Done.
pub const SUCCESS: i64 = 0;
/// No such function, or no source.
pub const NOT_SUPPORTED: i64 = -1;
/// More bits than a call returns, or none.
pub const INVALID_PARAMETERS: i64 = -2;
/// The source has none now.
pub const NO_ENTROPY: i64 = -3;
