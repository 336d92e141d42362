//! SHA-256 by the core's own instructions, where it has them.
//!
//! They work in V registers. EL2 keeps nothing there, and a guest's are reset before it runs.

use crate::arm::id::IdRegister;
use crate::model::sha256::{self, BLOCK, State};
use core::arch::global_asm;

global_asm!(include_str!("sha256.S"));

unsafe extern "C" {
    fn sha256_blocks(state: *mut u32, blocks: *const u8, count: usize);
}

/// ID_AA64ISAR0_EL1.SHA2: 1 and above have SHA256H and its kin.
const ISAR0_SHA2: u32 = 12;

/// Computes the SHA-256 of `message` with the core's instructions; `None` if it has none.
///
/// For the loader: it uses the V registers of the calling core, whose vCPU must not be started.
#[must_use]
pub fn digest(message: &[u8]) -> Option<[u8; 32]> {
    is_there().then(|| sha256::digest(message, compress))
}

fn is_there() -> bool {
    super::guest::id_register(IdRegister::AA64ISAR0) >> ISAR0_SHA2 & 0xf != 0
}

fn compress(state: &mut State, blocks: &[[u8; BLOCK]]) {
    if !blocks.is_empty() {
        // SAFETY: the core has the instructions (`digest` asks first); the routine reads the blocks, changes the state,
        // and clobbers only what the procedure call standard lets it and V registers, where Rust keeps nothing.
        unsafe { sha256_blocks(state.as_mut_ptr(), blocks.as_ptr().cast(), blocks.len()) };
    }
}
