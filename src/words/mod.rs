//! Layer 0: the words everything else is written in.
//!
//! Addresses that cannot be mixed up, identifiers, limits. Depends on `core` alone.

mod address;
mod id;
pub mod limits;
mod text;

pub use address::{Ipa, PAGE_SIZE, Pa, Range, Va};
pub use id::{CpuId, Mpidr, PartitionId, VcpuId};
pub use text::Text;
