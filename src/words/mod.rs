//! Layer 0: the words everything else is written in.
//!
//! Addresses that cannot be mixed up, identifiers, limits. Depends on `core` alone.

mod address;
#[cfg(test)]
pub(crate) mod effort;
mod flat;
mod id;
pub mod limits;
mod nodes;
pub mod order;
pub mod patience;
pub mod sync;
mod text;

pub use address::{Ipa, PAGE_BYTES, PAGE_SIZE, Pa, Range, Va};
/// The lower half of a register.
#[must_use]
#[inline(always)]
pub const fn lower_half(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

pub use flat::{
    Children, FlatNode, FlatTree, Property, Shape, Token, Value, Visitor, reservations,
};
pub use id::{CpuId, Mpidr, PartitionId, VcpuId};
pub use nodes::Nodes;
pub use text::Text;
