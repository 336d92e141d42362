//! ELF64 kernels (System V ABI, gABI 4; ELF for the Arm 64-bit Architecture): `PT_LOAD` segments by physical
//! address. A position-independent one (`ET_DYN`) is moved as a whole to where it shall lie.

use arrayvec::ArrayVec;
use bulkhead_abi::layout::KERNEL_BASE;

use super::{ImageError, MAX_PIECES, Piece, Pieces, Source, bytes};
use crate::words::order::sort_by_key;
use crate::words::{Ipa, PAGE_SIZE};

/// `e_ident`: magic, ELFCLASS64, ELFDATA2LSB, EV_CURRENT.
const IDENT: [u8; 7] = [0x7f, b'E', b'L', b'F', 2, 1, 1];
const EM_AARCH64: u16 = 183;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
/// Bytes of a program header.
const PROGRAM_HEADER: usize = 56;
/// Most program headers looked at; a kernel has a dozen.
const MAX_PROGRAM_HEADERS: u16 = 64;
/// Alignment of an A64 instruction.
const INSTRUCTION: u64 = 4;
/// Addresses and sizes are below this, so that sums of two of them do not wrap.
const LIMIT: u64 = 1 << 62;

/// A segment to load.
#[derive(Clone, Copy)]
struct Segment {
    offset: usize,
    virtual_address: u64,
    physical_address: u64,
    file_size: usize,
    memory_size: u64,
}

/// What the ELF header says.
struct Header {
    movable: bool,
    entry: u64,
    table: usize,
    count: u16,
}

/// Lays out an ELF kernel in `pieces`, of which there are none yet, and says where it starts.
pub(super) fn kernel(
    data: &[u8],
    load: Option<Ipa>,
    pieces: &mut Pieces,
) -> Result<u64, ImageError> {
    let header = header(data)?;
    let segments = segments(data, &header)?;
    let first = segments.first().ok_or(ImageError::Entry)?.physical_address;
    let target = target(&header, first, load)?;
    let entry = segments
        .iter()
        .find_map(|segment| segment.physical(header.entry))
        .filter(|entry| entry.is_multiple_of(INSTRUCTION))
        .ok_or(ImageError::Entry)?;
    let moved = |address: u64| (address - first).saturating_add(target);
    let parts = segments
        .iter()
        .map(|segment| segment.piece(moved(segment.physical_address)));
    pieces.extend(parts);
    Ok(moved(entry))
}

/// Where the lowest segment goes.
fn target(header: &Header, first: u64, load: Option<Ipa>) -> Result<u64, ImageError> {
    let refuse = |load, reason| Err(ImageError::Load { load, reason });
    if !header.movable {
        return match load {
            Some(load) if load.get() != first => refuse(load, "the ELF file's address is fixed"),
            _ => Ok(first),
        };
    }
    let load = load.unwrap_or(Ipa::new(KERNEL_BASE));
    if !load.is_aligned(PAGE_SIZE) {
        return refuse(load, "it is not a multiple of 4 KiB");
    }
    // The first segment keeps its place within a page: its code counts on that.
    Ok(load.get() + first % PAGE_SIZE)
}

fn header(data: &[u8]) -> Result<Header, ImageError> {
    if data.get(..IDENT.len()).ok_or(ImageError::Truncated)? != IDENT {
        return Err(ImageError::Header("not a little-endian ELF64 file"));
    }
    if half(data, 18)? != EM_AARCH64 {
        return Err(ImageError::Header("the ELF file is not for AArch64"));
    }
    let movable = match half(data, 16)? {
        ET_EXEC => false,
        ET_DYN => true,
        _ => return Err(ImageError::Header("the ELF file is not executable")),
    };
    let count = half(data, 56)?;
    if usize::from(half(data, 54)?) != PROGRAM_HEADER || count > MAX_PROGRAM_HEADERS {
        return Err(ImageError::Header("the ELF file's program headers are odd"));
    }
    Ok(Header {
        movable,
        entry: double(data, 24)?,
        table: offset(double(data, 32)?)?,
        count,
    })
}

/// The segments with memory, ascending by physical address; no two overlap.
fn segments(data: &[u8], header: &Header) -> Result<ArrayVec<Segment, MAX_PIECES>, ImageError> {
    let mut segments: ArrayVec<Segment, MAX_PIECES> = ArrayVec::new();
    for index in 0..usize::from(header.count) {
        let at = header.table.checked_add(index * PROGRAM_HEADER);
        let entry = at
            .and_then(|at| data.get(at..))
            .ok_or(ImageError::Truncated)?;
        if let Some(segment) = Segment::read(entry, data.len())? {
            let full = ImageError::Segments(MAX_PIECES);
            segments.try_push(segment).map_err(|_| full)?;
        }
    }
    sort_by_key(&mut segments, |segment| segment.physical_address);
    let mut pairs = segments.iter().zip(segments.iter().skip(1));
    if pairs.any(|(low, high)| low.end() > high.physical_address) {
        return Err(ImageError::Header("segments of the ELF file overlap"));
    }
    Ok(segments)
}

impl Segment {
    /// Reads a program header; none if there is nothing to load.
    fn read(entry: &[u8], file: usize) -> Result<Option<Self>, ImageError> {
        let memory_size = double(entry, 40)?;
        if word(entry, 0)? != PT_LOAD || memory_size == 0 {
            return Ok(None);
        }
        let segment = Self {
            offset: offset(double(entry, 8)?)?,
            virtual_address: double(entry, 16)?,
            physical_address: double(entry, 24)?,
            file_size: offset(double(entry, 32)?)?,
            memory_size,
        };
        let end = segment.offset.checked_add(segment.file_size);
        if end.is_none_or(|end| end > file) {
            return Err(ImageError::Truncated);
        }
        let far = segment.physical_address >= LIMIT || memory_size >= LIMIT;
        if far || bytes(segment.file_size) > memory_size {
            return Err(ImageError::Header("a segment of the ELF file is odd"));
        }
        Ok(Some(segment))
    }

    fn end(&self) -> u64 {
        self.physical_address + self.memory_size
    }

    /// The physical address of a virtual one, if it lies in this segment.
    fn physical(&self, address: u64) -> Option<u64> {
        let offset = address.checked_sub(self.virtual_address)?;
        (offset < self.memory_size).then_some(self.physical_address + offset)
    }

    fn piece(&self, at: u64) -> Piece {
        Piece {
            ipa: Ipa::new(at),
            source: Source::Kernel {
                offset: self.offset,
                len: self.file_size,
            },
            zero_after: self.memory_size - bytes(self.file_size),
        }
    }
}

fn field<const N: usize>(data: &[u8], offset: usize) -> Result<[u8; N], ImageError> {
    let bytes = data.get(offset..).and_then(|rest| rest.first_chunk());
    bytes.copied().ok_or(ImageError::Truncated)
}

fn half(data: &[u8], offset: usize) -> Result<u16, ImageError> {
    Ok(u16::from_le_bytes(field(data, offset)?))
}

fn word(data: &[u8], offset: usize) -> Result<u32, ImageError> {
    Ok(u32::from_le_bytes(field(data, offset)?))
}

fn double(data: &[u8], offset: usize) -> Result<u64, ImageError> {
    Ok(u64::from_le_bytes(field(data, offset)?))
}

/// A file offset or size; one that memory cannot hold is past the file's end.
fn offset(value: u64) -> Result<usize, ImageError> {
    usize::try_from(value).map_err(|_| ImageError::Truncated)
}
