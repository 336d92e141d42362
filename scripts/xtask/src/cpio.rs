//! Writes an initial ramdisk: a cpio archive in the "new ASCII" format (Linux,
//! Documentation/driver-api/early-userspace/buffer-format.rst). The same input gives the same bytes.

/// File type and permission bits of an entry (`stat.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file anybody may execute.
    Program,
    /// A symbolic link.
    Link,
    /// A character device.
    Device {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
}

impl Kind {
    fn mode(self) -> u32 {
        match self {
            Self::Folder => 0o040_755,
            Self::Program => 0o100_755,
            Self::Link => 0o120_777,
            Self::Device { .. } => 0o020_600,
        }
    }
}

/// Magic number of the format.
const MAGIC: &str = "070701";
/// Name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";
/// Names and contents start at multiples of this.
const ALIGNMENT: usize = 4;

/// An archive being written.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds an entry; `name` has no leading slash, `content` is a file's bytes or a link's target.
    ///
    /// # Errors
    /// The content is too long for the format (4 GiB).
    pub fn add(&mut self, name: &str, kind: Kind, content: &[u8]) -> anyhow::Result<()> {
        self.entries += 1;
        self.entry(name, kind.mode(), self.entries, kind, content)
    }

    /// The finished archive.
    ///
    /// # Errors
    /// None in practice: the trailer is short.
    pub fn finish(mut self) -> anyhow::Result<Vec<u8>> {
        self.entry(TRAILER, 0, 0, Kind::Folder, &[])?;
        Ok(self.bytes)
    }

    fn entry(
        &mut self,
        name: &str,
        mode: u32,
        inode: u32,
        kind: Kind,
        content: &[u8],
    ) -> anyhow::Result<()> {
        let size = u32::try_from(content.len())?;
        let name_size = u32::try_from(name.len() + 1)?;
        let (major, minor) = match kind {
            Kind::Device { major, minor } => (major, minor),
            _ => (0, 0),
        };
        // inode, mode, uid, gid, links, mtime, size, device (2), this device (2), name size, check
        let fields = [
            inode, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0,
        ];
        self.bytes.extend_from_slice(MAGIC.as_bytes());
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_the_format_says_byte_for_byte() {
        let mut archive = Archive::default();
        archive.add("a", Kind::Program, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        let expected = b"070701\
            00000001000081ed00000000000000000000000100000000\
            0000000500000000000000000000000000000000\
            0000000200000000a\0hello\0\0\0";
        // 110 bytes of header and 2 of name need no padding; 5 of content get 3.
        assert_eq!(&bytes[..120], &expected[..]);
        assert!(bytes[120..].starts_with(b"070701"));
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn devices_and_links_carry_their_kind() {
        let mut archive = Archive::default();
        let console = Kind::Device { major: 5, minor: 1 };
        archive.add("dev/console", console, &[]).unwrap();
        archive.add("bin/sh", Kind::Link, b"busybox").unwrap();
        let text = String::from_utf8(archive.finish().unwrap()).unwrap();
        assert_eq!(&text[14..22], "00002180");
        assert_eq!(&text[78..94], "0000000500000001");
        assert!(text.contains("bin/sh\0"));
        assert!(text.contains("busybox"));
    }
}
