//! An image of a card: a partition table with one FAT32 partition, as the Raspberry Pi's boot ROM reads it.
//!
//! The same files make the same image: no times, no random numbers.

use std::io::{Cursor, Read as _, Write as _};

use anyhow::{Context as _, bail};
use fatfs::{
    Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider,
};

use super::Files;

/// Bytes of a sector.
const SECTOR: usize = 512;
/// First sector of the partition: 1 MiB, where every partitioning tool puts it.
const FIRST_SECTOR: usize = 2048;
/// The partition's size is a multiple of this.
const STEP: usize = 16 << 20;
/// The smallest partition: FAT32 with its least number of clusters (65,525) and room to add files.
const SMALLEST: usize = 128 << 20;
/// Bytes of a cluster.
const CLUSTER: u32 = 1024;
/// Where the partition table begins in the first sector, and its signature.
const TABLE: usize = 446;
const SIGNATURE: (usize, [u8; 2]) = (510, [0x55, 0xaa]);
/// Type of a FAT32 partition addressed by sector numbers.
const FAT32_LBA: u8 = 0x0c;
/// A sector's place by cylinder, head and sector that is beyond what those can say.
const NO_CHS: [u8; 3] = [0xfe, 0xff, 0xff];
/// Where a FAT32 boot sector has the number of sectors before the partition (BPB_HiddSec), and its copy's sector.
const HIDDEN_SECTORS: usize = 0x1c;
const BACKUP: usize = 6 * SECTOR;
const LABEL: [u8; 11] = *b"BULKHEAD   ";

/// The time of every file: FAT's first. A card made twice is the same twice.
#[derive(Debug)]
struct FirstDay;

impl TimeProvider for FirstDay {
    fn get_current_date(&self) -> Date {
        Date {
            year: 1980,
            month: 1,
            day: 1,
        }
    }

    fn get_current_date_time(&self) -> DateTime {
        let time = Time {
            hour: 0,
            min: 0,
            sec: 0,
            millis: 0,
        };
        DateTime {
            date: self.get_current_date(),
            time,
        }
    }
}

/// Writes `files` as an image.
///
/// # Errors
/// They do not fit a FAT32 partition of 32-bit sector numbers.
pub fn write(files: &Files) -> anyhow::Result<Vec<u8>> {
    let content: usize = files.values().map(Vec::len).sum();
    // The file allocation tables take 8 bytes a cluster, both together; the rest is room to change things.
    let size = (content + content / 4).max(SMALLEST).next_multiple_of(STEP);
    let mut image = vec![0; FIRST_SECTOR * SECTOR + size];
    let first = u32::try_from(FIRST_SECTOR)?;
    let sectors = u32::try_from(size / SECTOR).context("more than 2 TiB")?;
    partition_table(&mut image[..SECTOR], first, sectors);
    let partition = &mut image[FIRST_SECTOR * SECTOR..];
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(CLUSTER)
        .volume_id(u32::from_be_bytes(*b"BLKH"))
        .volume_label(LABEL);
    fatfs::format_volume(Cursor::new(&mut *partition), options).context("making a FAT32")?;
    {
        let options = FsOptions::new().time_provider(&FirstDay);
        let volume = FileSystem::new(Cursor::new(&mut *partition), options)?;
        for (name, bytes) in files {
            let root = volume.root_dir();
            let mut file = root.create_file(name)?;
            file.write_all(bytes)
                .with_context(|| format!("writing {name} into the image"))?;
        }
        volume.unmount()?;
    }
    for sector in [0, BACKUP] {
        partition[sector + HIDDEN_SECTORS..][..4].copy_from_slice(&first.to_le_bytes());
    }
    Ok(image)
}

/// Writes a partition table with one partition into the card's first sector.
fn partition_table(sector: &mut [u8], first: u32, sectors: u32) {
    let mut entry = vec![0];
    entry.extend(NO_CHS);
    entry.push(FAT32_LBA);
    entry.extend(NO_CHS);
    entry.extend(first.to_le_bytes());
    entry.extend(sectors.to_le_bytes());
    sector[TABLE..][..entry.len()].copy_from_slice(&entry);
    let (at, signature) = SIGNATURE;
    sector[at..][..signature.len()].copy_from_slice(&signature);
}

/// Reads the files in the root folder of an image's first partition.
///
/// # Errors
/// It has no partition table, or its first partition is no FAT.
pub fn read(image: &[u8]) -> anyhow::Result<Files> {
    let (at, signature) = SIGNATURE;
    if image.get(at..).and_then(|rest| rest.get(..2)) != Some(&signature) {
        bail!("it has no partition table");
    }
    let number = |offset: usize| -> anyhow::Result<usize> {
        let bytes = image[TABLE + offset..][..4].try_into()?;
        Ok(usize::try_from(u32::from_le_bytes(bytes))?)
    };
    let (first, sectors) = (number(8)?, number(12)?);
    let partition = image
        .get(first * SECTOR..)
        .and_then(|rest| rest.get(..sectors * SECTOR))
        .filter(|partition| !partition.is_empty())
        .context("its first partition is not in it")?;
    let mut copy = partition.to_vec();
    let volume = FileSystem::new(Cursor::new(&mut copy), FsOptions::new())
        .context("its first partition is no FAT")?;
    let mut files = Files::new();
    for entry in volume.root_dir().iter() {
        let entry = entry?;
        if entry.is_file() {
            let mut bytes = Vec::new();
            entry.to_file().read_to_end(&mut bytes)?;
            files.insert(entry.file_name(), bytes);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let large = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let files = [
            ("config.txt", b"arm_64bit=1\n".to_vec()),
            ("bcm2711-rpi-4-b.dtb", vec![7; 5000]),
            ("empty", Vec::new()),
            ("system.bundle", large),
        ];
        files
            .map(|(name, bytes)| (name.to_string(), bytes))
            .into_iter()
            .collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let image = write(&files()).unwrap();
        assert_eq!(read(&image).unwrap(), files());
        assert_eq!(write(&files()).unwrap(), image);
    }

    #[test]
    fn the_partition_is_a_fat32_where_the_table_says() {
        let image = write(&files()).unwrap();
        assert_eq!(image[450], 0x0c);
        assert_eq!(image[454..458], [0, 8, 0, 0]);
        assert_eq!(image[510..512], [0x55, 0xaa]);
        let boot = &image[1 << 20..];
        // FAT specification 3.3: BPB_HiddSec, BS_FilSysType, and the copy in sector 6.
        assert_eq!(boot[0x1c..0x20], [0, 8, 0, 0]);
        assert_eq!(&boot[0x52..0x5a], b"FAT32   ");
        assert_eq!(boot[..512], boot[6 * 512..7 * 512]);
        let size = u32::from_le_bytes(image[458..462].try_into().unwrap());
        assert_eq!(image.len(), (1 << 20) + size as usize * 512);
    }

    #[test]
    fn what_is_no_card_is_an_error() {
        let image = write(&files()).unwrap();
        assert!(read(&[]).is_err());
        assert!(read(&image[..2 << 20]).is_err());
        let mut unformatted = image.clone();
        unformatted[1 << 20..][..512].fill(0);
        assert!(read(&unformatted).is_err());
    }
}
