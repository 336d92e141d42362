//! ELF files of our own building and of users: to a flat binary, or stripped of what is not loaded.
//!
//! 64-bit little-endian AArch64 only (ELF-64 Object File Format 1.5; the machine number from the ELF for the
//! Arm 64-bit Architecture). Every offset is checked: a user's file may be anything.

use std::fmt;

/// First bytes of every ELF file.
pub const MAGIC: &[u8] = b"\x7fELF";
/// `e_ident[EI_CLASS]`: 64-bit.
const CLASS_64: u8 = 2;
/// `e_ident[EI_DATA]`: little-endian.
const LITTLE_ENDIAN: u8 = 1;
/// `e_machine`: AArch64.
const AARCH64: u16 = 183;
/// `p_type`: to be loaded.
const PT_LOAD: u32 = 1;
/// Bytes of a program header.
const PROGRAM_HEADER: usize = 56;
/// Bytes of the file header.
const FILE_HEADER: usize = 64;
/// Most bytes between the first and the last loaded one: a flat binary is a file, not the address space.
const FLAT_MAX: u64 = 1 << 30;

/// Why a file is no ELF this tool can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// It ends within a header or segment.
    Truncated,
    /// It is ELF for something else; what.
    Foreign(String),
    /// It has nothing to load.
    Empty,
    /// Its segments lie too far apart.
    Sparse,
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the ELF file ends within a header or segment"),
            Self::Foreign(what) => write!(
                f,
                "the ELF file is {what}, not 64-bit little-endian AArch64"
            ),
            Self::Empty => write!(f, "the ELF file has nothing to load"),
            Self::Sparse => write!(f, "the ELF file's segments lie more than 1 GiB apart"),
        }
    }
}

impl std::error::Error for ElfError {}

/// A segment to load.
#[derive(Clone, Copy, Debug)]
struct Segment<'f> {
    address: u64,
    data: &'f [u8],
    file_end: usize,
}

/// The bytes to load, from the lowest physical address on, with zeros between segments.
///
/// # Errors
/// As [`ElfError`] says.
pub fn flatten(file: &[u8]) -> Result<Vec<u8>, ElfError> {
    let mut segments = segments(file)?;
    segments.retain(|segment| !segment.data.is_empty());
    let base = segments.iter().map(|segment| segment.address).min();
    let base = base.ok_or(ElfError::Empty)?;
    let mut flat = Vec::new();
    for segment in &segments {
        let offset = segment.address - base;
        if offset > FLAT_MAX {
            return Err(ElfError::Sparse);
        }
        let start = usize::try_from(offset).map_err(|_| ElfError::Sparse)?;
        let end = start + segment.data.len();
        if flat.len() < end {
            flat.resize(end, 0);
        }
        flat[start..end].copy_from_slice(segment.data);
    }
    Ok(flat)
}

/// The file without sections and symbols: what is not loaded need not be packed.
///
/// # Errors
/// As [`ElfError`] says.
pub fn strip(file: &[u8]) -> Result<Vec<u8>, ElfError> {
    let segments = segments(file)?;
    let table_end = table_end(file)?;
    let end = segments.iter().map(|segment| segment.file_end).max();
    let end = end.ok_or(ElfError::Empty)?.max(table_end);
    let mut stripped = file.get(..end).ok_or(ElfError::Truncated)?.to_vec();
    // e_shoff, and e_shentsize, e_shnum, e_shstrndx.
    stripped[40..48].fill(0);
    stripped[58..64].fill(0);
    Ok(stripped)
}

/// The value of the symbol called `name`, if the file has a symbol table with it.
pub fn symbol(file: &[u8], name: &str) -> Option<u64> {
    /// `sh_type` of a symbol table; bytes of a section header and of a symbol.
    const SYMBOL_TABLE: u64 = 2;
    const SECTION_HEADER: usize = 64;
    const SYMBOL: usize = 24;
    let number = |at: usize, bytes: usize| {
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(file.get(at..at.checked_add(bytes)?)?);
        usize::try_from(u64::from_le_bytes(word)).ok()
    };
    // e_shoff and e_shnum, then of each section sh_type, sh_offset, sh_size and sh_link.
    let section = |index: usize| Some(number(0x28, 8)? + index * SECTION_HEADER);
    let sections = (0..number(0x3c, 2)?).filter_map(section);
    let table = { sections }.find(|at| number(at + 4, 4) == usize::try_from(SYMBOL_TABLE).ok())?;
    let names = number(section(number(table + 0x28, 4)?)? + 0x18, 8)?;
    let (from, size) = (number(table + 0x18, 8)?, number(table + 0x20, 8)?);
    let mut symbols = (from..from.checked_add(size)?).step_by(SYMBOL);
    let found = symbols.find(|at| {
        let own = number(*at, 4).and_then(|own| file.get(names + own..));
        own.is_some_and(|own| {
            own.strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&0))
        })
    })?;
    number(found + 8, 8)?.try_into().ok()
}

fn segments(file: &[u8]) -> Result<Vec<Segment<'_>>, ElfError> {
    check_header(file)?;
    let (start, count) = table(file)?;
    let mut segments = Vec::new();
    for index in 0..count {
        let header = slice(
            file,
            start + (index * PROGRAM_HEADER) as u64,
            PROGRAM_HEADER as u64,
        )?;
        if word(header, 0)? != PT_LOAD {
            continue;
        }
        let (offset, size) = (long(header, 8)?, long(header, 32)?);
        let data = slice(file, offset, size)?;
        let file_end = usize::try_from(offset + size).map_err(|_| ElfError::Truncated)?;
        segments.push(Segment {
            address: long(header, 24)?,
            data,
            file_end,
        });
    }
    if segments.is_empty() {
        return Err(ElfError::Empty);
    }
    Ok(segments)
}

fn check_header(file: &[u8]) -> Result<(), ElfError> {
    if file.len() < FILE_HEADER {
        return Err(ElfError::Truncated);
    }
    if file[4] != CLASS_64 {
        return Err(ElfError::Foreign("32-bit".into()));
    }
    if file[5] != LITTLE_ENDIAN {
        return Err(ElfError::Foreign("big-endian".into()));
    }
    match half(file, 18)? {
        AARCH64 => Ok(()),
        62 => Err(ElfError::Foreign("x86-64".into())),
        243 => Err(ElfError::Foreign("RISC-V".into())),
        other => Err(ElfError::Foreign(format!("for machine {other}"))),
    }
}

/// Where the program headers start, and how many there are.
fn table(file: &[u8]) -> Result<(u64, usize), ElfError> {
    let count = usize::from(half(file, 56)?);
    if count > 0 && usize::from(half(file, 54)?) != PROGRAM_HEADER {
        return Err(ElfError::Truncated);
    }
    let start = long(file, 32)?;
    slice(file, start, (count * PROGRAM_HEADER) as u64)?;
    Ok((start, count))
}

fn table_end(file: &[u8]) -> Result<usize, ElfError> {
    let (start, count) = table(file)?;
    let start = usize::try_from(start).map_err(|_| ElfError::Truncated)?;
    Ok(start + count * PROGRAM_HEADER)
}

fn slice(file: &[u8], offset: u64, size: u64) -> Result<&[u8], ElfError> {
    let start = usize::try_from(offset).map_err(|_| ElfError::Truncated)?;
    let end = offset.checked_add(size).ok_or(ElfError::Truncated)?;
    let end = usize::try_from(end).map_err(|_| ElfError::Truncated)?;
    file.get(start..end).ok_or(ElfError::Truncated)
}

fn bytes<const N: usize>(file: &[u8], offset: usize) -> Result<[u8; N], ElfError> {
    file.get(offset..offset + N)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(ElfError::Truncated)
}

fn half(file: &[u8], offset: usize) -> Result<u16, ElfError> {
    bytes(file, offset).map(u16::from_le_bytes)
}

fn word(file: &[u8], offset: usize) -> Result<u32, ElfError> {
    bytes(file, offset).map(u32::from_le_bytes)
}

fn long(file: &[u8], offset: usize) -> Result<u64, ElfError> {
    bytes(file, offset).map(u64::from_le_bytes)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An ELF file with segments of (physical address, bytes), followed by bytes no segment loads.
    pub fn file(segments: &[(u64, &[u8])]) -> Vec<u8> {
        let mut file = vec![0u8; 64 + 56 * segments.len()];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..20].copy_from_slice(&[3, 0, 183, 0]);
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[40..48].copy_from_slice(&9999u64.to_le_bytes());
        file[54] = 56;
        file[56] = u8::try_from(segments.len()).unwrap();
        for (index, (address, data)) in segments.iter().enumerate() {
            let header = 64 + 56 * index;
            let (offset, size) = (file.len() as u64, data.len() as u64);
            file[header] = 1;
            file[header + 8..header + 16].copy_from_slice(&offset.to_le_bytes());
            file[header + 24..header + 32].copy_from_slice(&address.to_le_bytes());
            file[header + 32..header + 40].copy_from_slice(&size.to_le_bytes());
            file[header + 40..header + 48].copy_from_slice(&size.to_le_bytes());
            file.extend_from_slice(data);
        }
        file.extend_from_slice(b"debug information");
        file
    }

    #[test]
    fn a_flat_binary_starts_at_the_lowest_address_with_zeros_between() {
        let file = file(&[(0x1008, b"later"), (0x1000, b"first")]);
        assert_eq!(flatten(&file).unwrap(), b"first\0\0\0later");
    }

    #[test]
    fn a_stripped_file_loads_the_same_and_is_smaller() {
        let file = file(&[(0x1000, b"first"), (0x2000, b"second")]);
        let stripped = strip(&file).unwrap();
        assert_eq!(stripped.len(), file.len() - "debug information".len());
        assert_eq!(flatten(&stripped), flatten(&file));
        assert_eq!(strip(&stripped).unwrap(), stripped);
    }

    #[test]
    fn a_file_for_another_machine_is_refused() {
        let mut foreign = file(&[(0, b"x")]);
        foreign[18] = 62;
        assert_eq!(flatten(&foreign), Err(ElfError::Foreign("x86-64".into())));
        foreign[4] = 1;
        assert_eq!(flatten(&foreign), Err(ElfError::Foreign("32-bit".into())));
    }

    #[test]
    fn no_truncation_of_a_file_panics() {
        let whole = file(&[(0x1000, b"first"), (0x2000, b"second")]);
        let loaded = whole.len() - "debug information".len();
        for length in 0..loaded {
            assert!(flatten(&whole[..length]).is_err(), "{length}");
            assert!(strip(&whole[..length]).is_err(), "{length}");
        }
        assert_eq!(flatten(&file(&[])), Err(ElfError::Empty));
        assert_eq!(
            flatten(&file(&[(0, b"a"), (1 << 40, b"b")])),
            Err(ElfError::Sparse)
        );
    }
}
