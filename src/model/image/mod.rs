//! What goes where in a guest's RAM: kernel, initial ramdisk, device tree.
//!
//! Pure over the bundle's bytes; whatever a header says, the layout lies within the partition's RAM and no two
//! pieces of it overlap, or there is none.

use arrayvec::ArrayVec;
use bulkhead_abi::layout::{KERNEL_BASE, RAM_BASE};
use thiserror::Error;

use crate::model::bundle::{Format, Payload, Plan};
use crate::words::{Ipa, PAGE_SIZE};

mod arm64;
mod elf;

pub use arm64::ImageHeader;

/// Pieces a guest's memory is filled with: a kernel's segments and the initial ramdisk.
pub const MAX_PIECES: usize = 16;
/// What the arm64 boot protocol wants a kernel's base and its tree in: 2 MiB (booting.rst, sections 2 and 4).
pub const BLOCK: u64 = 2 << 20;
/// Bytes a guest's tree may need: the machine with every channel there can be.
pub const DTB_ROOM: u64 = 64 << 10;
/// Alignment of a tree the manifest places (booting.rst, section 2).
const DTB_ALIGNMENT: u64 = 8;
/// Alignment of an A64 instruction.
const INSTRUCTION: u64 = 4;

/// What goes where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where the guest starts.
    pub entry: Ipa,
    /// What is copied, ascending by address.
    pub pieces: Pieces,
    /// Where the device tree goes: a multiple of 2 MiB, unless the manifest says where.
    pub dtb: Ipa,
    /// Bytes there are for the device tree, at least [`DTB_ROOM`].
    pub dtb_room: u64,
    /// Where the initial ramdisk goes, and its bytes.
    pub initrd: Option<(Ipa, u64)>,
}

/// What a guest's memory is filled with.
pub type Pieces = ArrayVec<Piece, MAX_PIECES>;

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

/// What of a partition's memory something takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The kernel, its zeros included.
    Kernel,
    /// The initial ramdisk.
    Initrd,
    /// The device tree.
    Dtb,
}

impl core::fmt::Display for Part {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Kernel => "the kernel",
            Self::Initrd => "the initial ramdisk",
            Self::Dtb => "the device tree",
        })
    }
}

/// Why a partition's images cannot be laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// The file is empty, or shorter than what its headers describe.
    #[error("the kernel ends before what its header describes, or is empty")]
    Truncated,
    /// A header field that no kernel for this machine has.
    #[error("the kernel's header is not one of an AArch64 kernel: {0}")]
    Header(&'static str),
    /// More segments than there are pieces.
    #[error("the kernel has more than {0} segments")]
    Segments(usize),
    /// The entry point lies in no segment.
    #[error("the kernel's entry point lies in no segment")]
    Entry,
    /// `load` does not suit the kernel.
    #[error("`load` {load} does not suit the kernel: {reason}")]
    Load {
        /// The address asked for.
        load: Ipa,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// `dtb` is not aligned.
    #[error("`dtb` {0} is not a multiple of 8")]
    DtbAlignment(Ipa),
    /// Something begins below RAM.
    #[error("{part} at {at} lies below RAM")]
    BelowRam {
        /// What.
        part: Part,
        /// Where.
        at: Ipa,
    },
    /// Something ends past RAM.
    #[error("{part} ends {over} bytes past RAM; {needed} MiB of memory would do")]
    BeyondRam {
        /// What.
        part: Part,
        /// By how much.
        over: u64,
        /// The memory that would do, in MiB.
        needed: u64,
    },
    /// Two things overlap.
    #[error("{first} and {second} overlap by {by} bytes")]
    Overlap {
        /// The one.
        first: Part,
        /// The other.
        second: Part,
        /// By how much.
        by: u64,
    },
}

/// A run of guest memory: first address and first past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    base: u64,
    end: u64,
}

impl Run {
    fn new(base: u64, size: u64) -> Option<Self> {
        let end = base.checked_add(size)?;
        Some(Self { base, end })
    }

    /// Bytes in common.
    fn common(self, other: Self) -> u64 {
        let base = self.base.max(other.base);
        self.end.min(other.end).saturating_sub(base)
    }

    /// From the first byte of the kernel made of `pieces` to past its last.
    fn of_kernel(pieces: &[Piece]) -> Option<Self> {
        let base = pieces.first()?.ipa.get();
        let last = pieces.last()?;
        let Source::Kernel { len, .. } = last.source else {
            return None;
        };
        let size = bytes(len).checked_add(last.zero_after)?;
        Some(Self {
            base,
            end: Self::new(last.ipa.get(), size)?.end,
        })
    }
}

/// A length in memory as a number of guest memory: `usize` is no wider.
fn bytes(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Lays out a partition's images in its RAM: the kernel, then the initial ramdisk, then the device tree. A tree
/// that does not fit behind them goes to the front of RAM if the kernel leaves that free.
///
/// # Errors
/// Says what is odd about a header, or what overlaps or does not fit, by how much, and what would do.
pub fn layout(plan: &Plan<'_>) -> Result<Layout, ImageError> {
    let mut pieces = Pieces::new();
    let entry = kernel(plan, &mut pieces)?;
    let run = Run::of_kernel(&pieces).ok_or(ImageError::Truncated)?;
    let mut memory = Memory::new(plan.memory);
    memory.claim(Part::Kernel, run)?;
    let initrd = match plan.initrd {
        None => None,
        Some(initrd) => Some(place_initrd(&mut memory, run.end, &initrd)?),
    };
    let (dtb, room) = place_dtb(&mut memory, plan.dtb)?;
    if let Some((ipa, _)) = initrd {
        let piece = Piece {
            ipa,
            source: Source::Initrd,
            zero_after: 0,
        };
        let full = ImageError::Segments(MAX_PIECES - 1);
        pieces.try_push(piece).map_err(|_| full)?;
    }
    Ok(Layout {
        entry: Ipa::new(entry),
        pieces,
        dtb,
        dtb_room: room,
        initrd,
    })
}

/// Lays out the kernel in `pieces`, of which there are none yet, and says where it starts.
fn kernel(plan: &Plan<'_>, pieces: &mut Pieces) -> Result<u64, ImageError> {
    let data = plan.kernel.data;
    let (at, zero_after) = match plan.format {
        Format::Elf => return elf::kernel(data, plan.load, pieces),
        Format::Image => arm64::place(data, plan.load)?,
        Format::Raw => (raw(data, plan.load)?, 0),
    };
    let piece = Piece {
        ipa: Ipa::new(at),
        source: Source::Kernel {
            offset: 0,
            len: data.len(),
        },
        zero_after,
    };
    pieces.push(piece);
    Ok(at)
}

/// Where bytes go that are entered at the first.
fn raw(data: &[u8], load: Option<Ipa>) -> Result<u64, ImageError> {
    let at = load.unwrap_or(Ipa::new(KERNEL_BASE));
    if data.is_empty() {
        return Err(ImageError::Truncated);
    }
    if !at.is_aligned(INSTRUCTION) {
        return Err(ImageError::Load {
            load: at,
            reason: "it is not a multiple of 4",
        });
    }
    Ok(at.get())
}

fn place_initrd(
    memory: &mut Memory,
    kernel_end: u64,
    initrd: &Payload<'_>,
) -> Result<(Ipa, u64), ImageError> {
    let size = bytes(initrd.data.len());
    let base = kernel_end.checked_next_multiple_of(PAGE_SIZE);
    let run = base.and_then(|base| Run::new(base, size));
    let run = run.ok_or(ImageError::Truncated)?;
    memory.claim(Part::Initrd, run)?;
    Ok((Ipa::new(run.base), size))
}

/// The tree's address and room: where the manifest says, or else behind the rest, or else at RAM's front.
fn place_dtb(memory: &mut Memory, wanted: Option<Ipa>) -> Result<(Ipa, u64), ImageError> {
    let at = match wanted {
        Some(at) if !at.is_aligned(DTB_ALIGNMENT) => return Err(ImageError::DtbAlignment(at)),
        Some(at) => at.get(),
        None => memory.free_block()?,
    };
    let run = Run::new(at, DTB_ROOM).ok_or(ImageError::Truncated)?;
    memory.claim(Part::Dtb, run)?;
    Ok((Ipa::new(at), memory.room(at)))
}

/// A partition's RAM and what of it is taken.
struct Memory {
    size: u64,
    taken: ArrayVec<(Part, Run), 3>,
}

impl Memory {
    fn new(size: u64) -> Self {
        Self {
            size,
            taken: ArrayVec::new(),
        }
    }

    fn end(&self) -> u64 {
        RAM_BASE.saturating_add(self.size)
    }

    /// Takes `run` if it lies in RAM and nothing else has a byte of it.
    fn claim(&mut self, part: Part, run: Run) -> Result<(), ImageError> {
        if run.base < RAM_BASE {
            let at = Ipa::new(run.base);
            return Err(ImageError::BelowRam { part, at });
        }
        if run.end > self.end() {
            return Err(ImageError::BeyondRam {
                part,
                over: run.end - self.end(),
                needed: (run.end - RAM_BASE).div_ceil(BLOCK) * (BLOCK >> 20),
            });
        }
        let taken = self.taken.iter();
        let clash = taken.map(|(other, own)| (*other, own.common(run)));
        if let Some((first, by)) = clash.into_iter().find(|(_, by)| *by > 0) {
            return Err(ImageError::Overlap {
                first,
                second: part,
                by,
            });
        }
        self.taken
            .try_push((part, run))
            .map_err(|_| ImageError::Truncated)
    }

    /// The first block behind everything, or RAM's first if that is past the end and nothing is in the first.
    fn free_block(&self) -> Result<u64, ImageError> {
        let end = self.taken.iter().map(|(_, run)| run.end).max();
        let above = end.unwrap_or(RAM_BASE).checked_next_multiple_of(BLOCK);
        let above = above.ok_or(ImageError::Truncated)?;
        let front = self.room(RAM_BASE) >= DTB_ROOM;
        if above.saturating_add(DTB_ROOM) > self.end() && front {
            return Ok(RAM_BASE);
        }
        Ok(above)
    }

    /// Bytes from `at` to the next thing that is taken, or RAM's end; at most a block, which a tree may not exceed.
    fn room(&self, at: u64) -> u64 {
        let others = self.taken.iter().filter(|(part, _)| *part != Part::Dtb);
        let above = others.filter(|(_, run)| run.end > at);
        let next = above.map(|(_, run)| run.base).min();
        let end = next.unwrap_or(u64::MAX).min(self.end());
        end.saturating_sub(at).min(BLOCK)
    }
}

#[cfg(test)]
mod tests;
