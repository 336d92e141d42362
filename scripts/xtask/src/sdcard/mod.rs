//! `sdcard`: a card the board's stock firmware boots the system from, as a folder or as an image to be written to a card;
//! and what a stock boot would do with a card that is there already.

pub mod check;
pub mod config;
pub mod fat;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::board::{Card, Choice};
use crate::{build, check as manifests, debian, qemu, workspace};

/// The files in the root folder of a card, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What the hypervisor and the bundle are called on a card.
const KERNEL: &str = "bulkhead.img";
const BUNDLE: &str = "system.bundle";
/// What the name of an image ends in.
const IMAGE: &str = "img";

/// What to make or to look at.
#[derive(clap::Args)]
pub struct Arguments {
    /// The manifest of the system to put on the card
    #[arg(required_unless_present = "check", conflicts_with = "check")]
    manifest: Option<PathBuf>,
    /// Where to put it: a folder, such as a mounted card, or a file ending in .img
    #[arg(
        short,
        long,
        value_name = "DIR|FILE.img",
        required_unless_present = "check"
    )]
    output: Option<PathBuf>,
    /// The folder with the firmware's own files, where Debian's raspi-firmware is not wanted
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,
    /// Another board than the manifest's
    #[arg(long)]
    board: Option<String>,
    /// Say what a stock boot would do with the card mounted here, or with this image
    #[arg(long, value_name = "DIR|FILE.img")]
    check: Option<PathBuf>,
}

/// Makes a card, or looks at one.
///
/// # Errors
/// The system is refused, a file cannot be had, or the card cannot be written or read.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(place) = &arguments.check {
        return Ok(say(&check::check(&read(place)?)));
    }
    let (Some(manifest), Some(output)) = (&arguments.manifest, &arguments.output) else {
        bail!("name a manifest and, with -o, where to put the card");
    };
    let made = make(
        manifest,
        arguments.board.as_deref(),
        arguments.firmware.as_deref(),
    )?;
    print!("{}", made.plan);
    write(&made.files, output)?;
    for (name, bytes) in &made.files {
        println!("{:>10}  {name}", bytes.len());
    }
    let shown = workspace::show(output);
    if is_image(output) {
        println!(
            "{shown}: write it to a card with: sudo dd if={shown} of=/dev/CARD bs=4M conv=fsync"
        );
    } else {
        println!("{shown}: what belongs into the root folder of a card's first partition, a FAT32");
    }
    Ok(say(&check::check(&made.files)))
}

fn say(report: &check::Report) -> ExitCode {
    println!("What the firmware does with this card:");
    print!("{report}");
    if report.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A card's files, and the plan of the system on it.
pub struct Made {
    /// The files.
    pub files: Files,
    /// The plan as a table.
    pub plan: String,
}

/// Makes the files of a card with the system `manifest`; the firmware's from the folder `firmware` or from Debian.
///
/// # Errors
/// The system is refused, its board boots from no card, or a file cannot be had.
pub fn make(manifest: &Path, board: Option<&str>, firmware: Option<&Path>) -> anyhow::Result<Made> {
    let image = build::hypervisor()?;
    let checked = manifests::file(manifest, board, &Choice::default())?;
    let machine = &checked.machine;
    let board = &machine.board;
    let card = board
        .card
        .as_ref()
        .with_context(|| format!("the board {} has no [card] in its board.toml", board.name))?;
    let tree = qemu::tree_path(machine, &card.tree)?;
    let name = tree.file_name().unwrap_or_default().to_string_lossy();
    let mut files = firmware_files(card, firmware)?;
    let template = board.folder.join(&card.config);
    let template = std::fs::read_to_string(&template)
        .with_context(|| format!("reading {}", template.display()))?;
    let config = config::fill(
        &template,
        &[
            ("kernel", KERNEL),
            ("image", &format!("{:#x}", board.image_at)),
            ("bundle", BUNDLE),
            ("bundle_at", &format!("{:#x}", board.bundle_at)),
            ("tree", &name),
        ],
    )?;
    let mut add = |name: &str, bytes: Vec<u8>| files.insert(name.to_string(), bytes);
    add("config.txt", config.into_bytes());
    add(KERNEL, std::fs::read(&image)?);
    add(&name, std::fs::read(&tree)?);
    add(BUNDLE, checked.bundle);
    Ok(Made {
        files,
        plan: checked.plan,
    })
}

/// The firmware's own files.
fn firmware_files(card: &Card, folder: Option<&Path>) -> anyhow::Result<Files> {
    let paths = match folder {
        Some(folder) => card.files.iter().map(|name| folder.join(name)).collect(),
        None => debian::firmware(&card.package, &card.folder, &card.files).with_context(|| {
            format!(
                "the firmware's files ({}) cannot be had from Debian's package {} (non-free-firmware); \
                 take them from another card or from \
                 https://github.com/raspberrypi/firmware/tree/stable/boot, and name their folder with --firmware",
                card.files.join(", "),
                card.package
            )
        })?,
    };
    let mut files = Files::new();
    for (name, path) in card.files.iter().zip(paths) {
        let bytes = std::fs::read(&path)
            .with_context(|| format!("the firmware's file {}", path.display()))?;
        files.insert(name.clone(), bytes);
    }
    Ok(files)
}

fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == IMAGE)
}

/// Writes a card to a folder or an image.
fn write(files: &Files, output: &Path) -> anyhow::Result<()> {
    if is_image(output) {
        return workspace::write(output, &fat::write(files)?);
    }
    for (name, bytes) in files {
        workspace::write(&output.join(name), bytes)?;
    }
    Ok(())
}

/// Reads a card from a folder or an image.
///
/// # Errors
/// It cannot be read, or is no card.
pub fn read(place: &Path) -> anyhow::Result<Files> {
    let reading = || format!("reading the card {}", workspace::show(place));
    if place.is_file() {
        return fat::read(&std::fs::read(place).with_context(reading)?).with_context(reading);
    }
    let mut files = Files::new();
    for entry in std::fs::read_dir(place).with_context(reading)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name, std::fs::read(entry.path())?);
        }
    }
    Ok(files)
}
