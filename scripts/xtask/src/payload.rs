//! Kernels and ramdisks: finds them, recognises what they are, unpacks what is packed.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bulkhead::model::bundle::Format;

use crate::manifest::Kernel;
use crate::report::nearest;
use crate::{build, debian, elf, initramfs, workspace};

/// First bytes of a gzip file (RFC 1952).
const GZIP: &[u8] = &[0x1f, 0x8b];
/// Offset and value of an arm64 Image's magic number (Linux, Documentation/arch/arm64/booting.rst).
const IMAGE_MAGIC: (usize, &[u8]) = (56, b"ARM\x64");
/// Largest kernel this tool unpacks.
const UNPACKED_MAX: u64 = 1 << 30;

/// A kernel's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The bytes to pack.
    pub bytes: Vec<u8>,
    /// What they are.
    pub format: Format,
}

/// Why a payload cannot be packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadError {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub remedy: String,
}

fn refuse<T>(message: impl Into<String>, remedy: impl Into<String>) -> Result<T, PayloadError> {
    Err(PayloadError {
        message: message.into(),
        remedy: remedy.into(),
    })
}

/// The kernel a manifest in `directory` names.
///
/// # Errors
/// It is not there, or nothing a partition can start.
pub fn kernel(kernel: &Kernel, directory: &Path) -> Result<Image, PayloadError> {
    let path = match kernel {
        Kernel::Debian { package, file } => match packaged(package, file.as_deref()) {
            Ok(path) => path,
            Err(error) => {
                let remedy = "name another package, or a file";
                return refuse(format!("{error:#}"), remedy);
            }
        },
        Kernel::Named(name) => named(name, directory)?,
    };
    recognise(read(&path)?)
}

fn packaged(package: &str, file: Option<&str>) -> anyhow::Result<PathBuf> {
    match file {
        None => debian::kernel(package),
        Some(file) => debian::packaged(package, file),
    }
}

/// The initial ramdisk a manifest in `directory` names.
///
/// # Errors
/// It is not there.
pub fn initrd(name: &str, directory: &Path) -> Result<Vec<u8>, PayloadError> {
    let path = workspace::resolve(directory, name);
    let ours = workspace::root().join(name);
    if (path == ours || !path.exists())
        && let Some(made) = initramfs::at(&ours)
    {
        return match made {
            Ok(path) => read(&path),
            Err(error) => refuse(
                format!("cannot make {name}: {error:#}"),
                "name a ramdisk of your own, or none",
            ),
        };
    }
    read(&path)
}

fn named(name: &str, directory: &Path) -> Result<PathBuf, PayloadError> {
    let guests = build::guests().unwrap_or_default();
    if let Some(guest) = guests.iter().find(|guest| guest.name == name) {
        return build::guest(guest)
            .or_else(|error| refuse(format!("{error:#}"), "see what the compiler says above"));
    }
    let path = workspace::resolve(directory, name);
    if !path.exists() && !name.contains(['/', '.']) {
        let names = guests.iter().map(|guest| guest.name.as_str());
        let near = nearest(name, names.clone());
        let all: Vec<&str> = names.collect();
        return refuse(
            format!("there is no guest and no file `{name}`"),
            match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the guests are {}; a file may be anywhere", all.join(", ")),
            },
        );
    }
    Ok(path)
}

fn read(path: &Path) -> Result<Vec<u8>, PayloadError> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.is_empty() => refuse(
            format!("the file {} is empty", workspace::show(path)),
            "name a file that holds something",
        ),
        Ok(bytes) => Ok(bytes),
        Err(error) => refuse(
            format!("cannot read {}: {}", workspace::show(path), plain(&error)),
            "paths are relative to the manifest, then to the repository",
        ),
    }
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::IsADirectory => "it is a folder".into(),
        _ => error.to_string(),
    }
}

/// Says what `bytes` are, unpacking gzip and leaving out what an ELF file does not load.
///
/// # Errors
/// They are something a partition cannot start.
pub fn recognise(bytes: Vec<u8>) -> Result<Image, PayloadError> {
    if bytes.starts_with(GZIP) {
        return recognise(unpack(&bytes)?);
    }
    if bytes.starts_with(elf::MAGIC) {
        return match elf::strip(&bytes) {
            Ok(bytes) => Ok(Image {
                bytes,
                format: Format::Elf,
            }),
            Err(error) => refuse(error.to_string(), "build the kernel for AArch64"),
        };
    }
    if is_image(&bytes) {
        return Ok(Image {
            bytes,
            format: Format::Image,
        });
    }
    if let Some((what, remedy)) = foreign(&bytes) {
        return refuse(
            format!("this is {what}, not a kernel a partition can start"),
            remedy,
        );
    }
    Ok(Image {
        bytes,
        format: Format::Raw,
    })
}

/// Whether `bytes` are an arm64 Image.
pub fn is_image(bytes: &[u8]) -> bool {
    let (offset, magic) = IMAGE_MAGIC;
    bytes.get(offset..offset + magic.len()) == Some(magic)
}

/// What `bytes` are, if they are something that is certainly no arm64 code, and what would be right.
fn foreign(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let unpack = "unpack it first; of compressed kernels, gzip alone is unpacked here";
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..offset + magic.len()) == Some(magic);
    let known: [(usize, &[u8], &str, &str); 11] = [
        (
            4,
            b"zimg",
            "a compressed EFI kernel (vmlinuz.efi)",
            "name the Image it was made from",
        ),
        (0x202, b"HdrS", "an x86 Linux kernel", "name an arm64 Image"),
        (
            0,
            &[0x27, 0x05, 0x19, 0x56],
            "a U-Boot image (uImage)",
            "name the Image it was made from",
        ),
        (
            0,
            &[0xd0, 0x0d, 0xfe, 0xed],
            "a device tree or FIT image",
            "name the kernel itself",
        ),
        (0, b"\xfd7zXZ\0", "compressed with xz", unpack),
        (0, &[0x28, 0xb5, 0x2f, 0xfd], "compressed with zstd", unpack),
        (0, b"BZh", "compressed with bzip2", unpack),
        (0, &[0x02, 0x21, 0x4c, 0x18], "compressed with lz4", unpack),
        (0, b"070701", "an initial ramdisk", "write it as `initrd`"),
        (
            0,
            b"!<arch>",
            "a package or library archive",
            "write { debian = \"PACKAGE\" }, or name the kernel in it",
        ),
        (
            0,
            b"#!",
            "a script",
            "name an arm64 Image, an ELF file or raw arm64 code",
        ),
    ];
    known
        .into_iter()
        .find(|(offset, magic, ..)| at(*offset, magic))
        .map(|(_, _, what, remedy)| (what, remedy))
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, PayloadError> {
    let mut unpacked = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(bytes).take(UNPACKED_MAX);
    match reader.read_to_end(&mut unpacked) {
        Ok(_) if unpacked.starts_with(GZIP) => refuse(
            "the gzip file holds another gzip file",
            "pack the kernel once, or not at all",
        ),
        Ok(0) => refuse("the gzip file holds nothing", "pack the kernel again"),
        Ok(_) => Ok(unpacked),
        Err(error) => refuse(
            format!("the gzip file is damaged: {error}"),
            "pack or download it again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn image() -> Vec<u8> {
        let mut image = vec![0; 128];
        image[56..60].copy_from_slice(&[0x41, 0x52, 0x4d, 0x64]);
        image
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn format(bytes: &[u8]) -> Format {
        recognise(bytes.to_vec()).expect("a kernel").format
    }

    #[test]
    fn kernels_are_recognised_by_what_they_are() {
        assert_eq!(format(&image()), Format::Image);
        assert_eq!(format(&elf::tests::file(&[(0, b"x")])), Format::Elf);
        assert_eq!(format(&[0x00, 0x00, 0x00, 0x14]), Format::Raw);
    }

    #[test]
    fn a_packed_image_is_unpacked() {
        let loaded = recognise(packed(&image())).unwrap();
        assert_eq!(loaded.bytes, image());
        assert_eq!(loaded.format, Format::Image);
    }

    #[test]
    fn a_damaged_archive_is_refused() {
        let mut bytes = packed(&image());
        let middle = bytes.len() - 6;
        bytes.truncate(middle);
        let error = recognise(bytes).unwrap_err();
        assert!(
            error.message.starts_with("the gzip file is damaged"),
            "{}",
            error.message
        );
        let twice = recognise(packed(&packed(&image()))).unwrap_err();
        assert_eq!(twice.message, "the gzip file holds another gzip file");
        assert_eq!(
            recognise(packed(b"")).unwrap_err().message,
            "the gzip file holds nothing"
        );
    }

    #[test]
    fn what_cannot_be_started_is_refused_by_name() {
        let complaint = |bytes: &[u8]| recognise(bytes.to_vec()).unwrap_err().message;
        assert!(complaint(b"070701000").contains("an initial ramdisk"));
        assert!(complaint(b"\xfd7zXZ\0xx").contains("compressed with xz"));
        assert!(complaint(b"!<arch>\ndebian").contains("a package or library archive"));
        assert!(complaint(&[0xd0, 0x0d, 0xfe, 0xed, 0]).contains("a device tree"));
        let mut foreign = elf::tests::file(&[(0, b"x")]);
        foreign[18] = 62;
        assert!(complaint(&foreign).contains("x86-64"));
    }
}
