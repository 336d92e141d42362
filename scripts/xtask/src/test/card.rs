//! A card's image, read back by those who had no part in writing it: `sfdisk` the partition table, mtools and `fsck.fat` what
//! is in the partition, and, where this machine can mount it, Linux.
//!
//! What the crate that wrote the image reads back proves little: a mistake of its own it would not see.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, bail, ensure};

use crate::sdcard::{self, Files, check, config::Config};
use crate::workspace;

/// What a card in a test's folder is called, the partition taken out of it, and what was copied out of that.
const CARD: &str = "card.img";
const PARTITION: &str = "partition.img";
const COPIED: &str = "copied";
/// Where Linux has it mounted.
const MOUNTED: &str = "mounted";
/// Bytes of a sector, in `sfdisk`'s terms.
const SECTOR: u64 = 512;
/// A FAT32 by sector numbers, in a partition table (as the Pi's boot ROM wants it).
const FAT32_LBA: &str = "type=c";
/// Where `sfdisk` and `fsck.fat` lie for a user whose PATH has no folders of root's.
const ROOTS_FOLDERS: &str = "/usr/sbin:/sbin";
/// What installs the readers, for who has not come by ./scripts/test.
const PACKAGES: &str = "install dosfstools, fdisk and mtools (./scripts/test does on Debian)";

/// Puts the system of `manifest` on a card's image in `folder`, has others read the image, and gives the hypervisor, the
/// bundle and the tree that its config.txt names, as mtools copied them out.
///
/// # Errors
/// The card cannot be made, is not what was put on it, is no sound FAT, or would not boot.
pub fn card(manifest: &Path, folder: &Path) -> anyhow::Result<[PathBuf; 3]> {
    let image = folder.join(CARD);
    let made = sdcard::make(manifest, None, None)?;
    workspace::write(&image, &sdcard::fat::write(&made.files)?)?;
    ensure!(
        sdcard::read(&image)? == made.files,
        "`sdcard` does not read what it wrote"
    );
    let place = partition(&image)?;
    let copied = copy_out(&image, &place, folder, &made.files)?;
    check_fat(&image, &place, &folder.join(PARTITION))?;
    mount(&image, &place, &folder.join(MOUNTED), &made.files)?;
    let report = check::check(&sdcard::read(&copied)?);
    ensure!(
        report.problems.is_empty(),
        "the card would not boot:\n{report}"
    );
    // Hundreds of megabytes with each run are of no use to anybody.
    std::fs::remove_file(&image)?;
    let text = std::fs::read_to_string(copied.join("config.txt"))?;
    let config = Config::read(&text);
    let (bundle, _) = config.initramfs.clone().context("no initramfs")?;
    let path = |name: Option<&str>| Ok(copied.join(name.context("config.txt lacks a name")?));
    let paths: anyhow::Result<Vec<PathBuf>> = [
        config.get("kernel"),
        Some(&bundle),
        config.get("device_tree"),
    ]
    .into_iter()
    .map(path)
    .collect();
    <[PathBuf; 3]>::try_from(paths?).map_err(|_| anyhow::anyhow!("three files boot a card"))
}

/// Where the card's one partition is, in bytes, as its table says to `sfdisk`.
fn partition(image: &Path) -> anyhow::Result<Range<u64>> {
    let table = run(command("sfdisk").arg("--dump").arg(image))?;
    let mut lines = table.lines().filter(|line| line.contains("start="));
    let (Some(line), None) = (lines.next(), lines.next()) else {
        bail!("sfdisk does not find one partition:\n{table}");
    };
    let number = |key: &str| -> anyhow::Result<u64> {
        let (_, after) = line.split_once(key).context("no such key")?;
        let digits = after.trim_start().split(',').next().unwrap_or_default();
        Ok(digits.parse::<u64>()? * SECTOR)
    };
    let (start, size) = (number("start=")?, number("size=")?);
    ensure!(
        line.contains(FAT32_LBA) && start + size <= std::fs::metadata(image)?.len(),
        "not a FAT32 within the image: {line}"
    );
    Ok(start..start + size)
}

/// Lists the partition at `place` with `mdir` and copies every file out with `mcopy`: their names and bytes must be those of
/// `files`. Gives the folder they are in.
fn copy_out(
    image: &Path,
    place: &Range<u64>,
    folder: &Path,
    files: &Files,
) -> anyhow::Result<PathBuf> {
    let mtools = |program: &str| {
        let mut command = command(program);
        command.arg("-i");
        command.arg(format!("{}@@{}", image.display(), place.start));
        command
    };
    let listed = run(mtools("mdir").args(["-b", "-a", "::"]))?;
    let mut names: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("::/"))
        .collect();
    names.sort_unstable();
    let expected: Vec<&str> = files.keys().map(String::as_str).collect();
    ensure!(
        names == expected,
        "mdir lists {names:?}, but {expected:?} are on the card"
    );
    let copied = folder.join(COPIED);
    std::fs::remove_dir_all(&copied).ok();
    std::fs::create_dir_all(&copied)?;
    run(mtools("mcopy").args(["-n", "::*"]).arg(&copied))?;
    same(&copied, files).context("copied out by mcopy")?;
    Ok(copied)
}

/// Has `fsck.fat` look for anything that is wrong with the image's partition.
fn check_fat(image: &Path, place: &Range<u64>, partition: &Path) -> anyhow::Result<()> {
    // It knows no partition tables.
    let mut bytes = std::fs::File::open(image)?;
    bytes.seek(SeekFrom::Start(place.start))?;
    let mut bytes = bytes.take(place.end - place.start);
    std::io::copy(&mut bytes, &mut std::fs::File::create(partition)?)?;
    let said = run(command("fsck.fat").args(["-n", "-v"]).arg(partition))?;
    std::fs::remove_file(partition)?;
    ensure!(
        said.contains("FATs, 32 bit entries"),
        "fsck.fat takes it for no FAT32:\n{said}"
    );
    Ok(())
}

/// Mounts the image as the Raspberry Pi's own Linux would, where that is possible here.
fn mount(image: &Path, place: &Range<u64>, point: &Path, files: &Files) -> anyhow::Result<()> {
    if let Some(why) = cannot_mount() {
        eprintln!("boot/card: not mounted as well: {why}");
        return Ok(());
    }
    std::fs::create_dir_all(point)?;
    let options = format!("ro,loop,offset={}", place.start);
    let mounting = output(
        command("mount")
            .args(["-t", "vfat", "-o", &options])
            .arg(image)
            .arg(point),
    )?;
    let said = String::from_utf8_lossy(&mounting.stderr).into_owned();
    if !mounting.status.success() {
        // A container's root may not; anything else is the image's fault.
        ensure!(said.contains("permi"), "Linux does not mount it: {said}");
        eprintln!("boot/card: not mounted as well: {}", said.trim());
        return Ok(());
    }
    let found = same(point, files).context("as Linux has it mounted");
    run(command("umount").arg(point))?;
    found
}

/// Why nothing can be mounted here.
fn cannot_mount() -> Option<&'static str> {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let is_root = output(command("id").arg("-u")).is_ok_and(|id| id.stdout == b"0\n");
    if !is_root {
        Some("that takes root")
    } else if !known.lines().any(|line| line.trim() == "vfat") {
        Some("this kernel has no vfat")
    } else if !Path::new("/dev/loop-control").exists() {
        Some("there are no loop devices")
    } else {
        None
    }
}

/// Whether `folder` has these files, and no others.
fn same(folder: &Path, files: &Files) -> anyhow::Result<()> {
    let found = sdcard::read(folder)?;
    for (name, bytes) in files {
        match found.get(name) {
            None => bail!("{name} is missing"),
            Some(found) => ensure!(found == bytes, "{name} has other bytes"),
        }
    }
    ensure!(
        found.len() == files.len(),
        "there are files nobody put there"
    );
    Ok(())
}

/// A program of the readers'.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:{ROOTS_FOLDERS}"));
    command
}

fn output(command: &mut Command) -> anyhow::Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .output()
        .with_context(|| format!("running {program}; {PACKAGES}"))
}

/// Runs `command`, which must succeed and complain of nothing, and gives what it says.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let done = output(command)?;
    let (said, complaint) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    ensure!(
        done.status.success() && complaint.is_empty(),
        "{command:?} ({}):\n{said}{complaint}",
        done.status
    );
    Ok(said.into_owned())
}
