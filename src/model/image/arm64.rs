//! The arm64 Image header (Linux, Documentation/arch/arm64/booting.rst, section 4).

use bulkhead_abi::layout::KERNEL_BASE;

use super::{BLOCK, ImageError, bytes};
use crate::words::Ipa;

/// "ARM\x64", little-endian.
const MAGIC: u32 = 0x644d_5241;
const MAGIC_OFFSET: usize = 56;
const TEXT_OFFSET: usize = 8;
const IMAGE_SIZE: usize = 16;
const FLAGS: usize = 24;
/// Flags: the kernel is big-endian.
const BIG_ENDIAN: u64 = 1;
/// Largest image taken for one: what the header's kernel could address in all, far beyond any.
const MAX_SIZE: u64 = 1 << 40;

/// What an Image says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// Bytes from a 2 MiB boundary to the image's first.
    pub text_offset: u64,
    /// Bytes the kernel takes, more than the file's by what it zeroes itself.
    pub image_size: u64,
}

impl ImageHeader {
    /// Reads the header at the front of `image`.
    ///
    /// # Errors
    /// `Truncated`, or `Header` with what no kernel for this machine says.
    pub fn read(image: &[u8]) -> Result<Self, ImageError> {
        let magic: [u8; 4] = field(image, MAGIC_OFFSET)?;
        if u32::from_le_bytes(magic) != MAGIC {
            return Err(ImageError::Header("no Image magic"));
        }
        let header = Self {
            text_offset: u64::from_le_bytes(field(image, TEXT_OFFSET)?),
            image_size: u64::from_le_bytes(field(image, IMAGE_SIZE)?),
        };
        if u64::from_le_bytes(field(image, FLAGS)?) & BIG_ENDIAN != 0 {
            return Err(ImageError::Header("the kernel is big-endian"));
        }
        if header.image_size == 0 {
            return Err(ImageError::Header("image_size is 0 (before Linux 3.17)"));
        }
        if header.image_size > MAX_SIZE || header.text_offset >= BLOCK {
            return Err(ImageError::Header(
                "image_size or text_offset is out of range",
            ));
        }
        Ok(header)
    }
}

fn field<const N: usize>(image: &[u8], offset: usize) -> Result<[u8; N], ImageError> {
    let bytes = image.get(offset..).and_then(|rest| rest.first_chunk());
    bytes.copied().ok_or(ImageError::Truncated)
}

/// Where an Image goes: to `load`, or `text_offset` past where kernels go. And how many zeros follow it.
pub(super) fn place(data: &[u8], load: Option<Ipa>) -> Result<(u64, u64), ImageError> {
    let header = ImageHeader::read(data)?;
    let at = match load {
        None => KERNEL_BASE + header.text_offset,
        Some(load) => {
            let base = load.get().checked_sub(header.text_offset);
            let suits = base.is_some_and(|base| base.is_multiple_of(BLOCK));
            let reason = "it is not the Image's text_offset past a multiple of 2 MiB";
            suits
                .then_some(load.get())
                .ok_or(ImageError::Load { load, reason })?
        }
    };
    let zeros = header.image_size.saturating_sub(bytes(data.len()));
    Ok((at, zeros))
}
