//! A board, as the host knows it: a folder with a `board.toml` that says where its device tree comes from,
//! how it is emulated, and where a boot loader puts things. `platform/README.md` describes the file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use toml::de::{DeTable, DeValue};

use crate::manifest::parse::not_toml;
use crate::manifest::section::{Section, Value};
use crate::manifest::value::size;
use crate::report::{self, Problem};
use crate::workspace;

const ROOT_KEYS: &[&str] = &["description", "tree", "emulator", "boot", "card"];
const CARD_KEYS: &[&str] = &["config", "tree", "firmware"];
const FIRMWARE_KEYS: &[&str] = &["debian", "folder", "files"];
const EMULATOR_KEYS: &[&str] = &[
    "machine",
    "cpu",
    "cpus",
    "memory",
    "gic",
    "dtb",
    "serial",
    "arguments",
    "without",
];
const WITHOUT_KEYS: &[&str] = &["node", "why"];
/// Most CPUs and serial ports a board file may name.
const SMALL: u64 = 64;

/// A board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its folder's name: what bundles carry.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// One line on it.
    pub description: String,
    /// The device tree's file, where it does not come from the emulator.
    pub tree: Option<TreeFile>,
    /// How it is emulated, if it can be.
    pub emulator: Option<Emulator>,
    /// What it boots from, if that is a card.
    pub card: Option<Card>,
    /// Where the hypervisor's image is put in RAM.
    pub image_at: u64,
    /// Where the bundle is put in RAM.
    pub bundle_at: u64,
}

/// A card the board's firmware boots from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The firmware's configuration, relative to the board's folder, with `{name}` where the tool puts something in.
    pub config: String,
    /// The device tree for it.
    pub tree: TreeFile,
    /// The Debian package with the firmware.
    pub package: String,
    /// The folder in it.
    pub folder: String,
    /// The firmware's files.
    pub files: Vec<String>,
}

/// Where a device tree's file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeFile {
    /// A file, relative to the board's folder.
    File(String),
    /// A file out of a Debian arm64 package.
    Debian {
        /// The package.
        package: String,
        /// A pattern for the file's path in it.
        file: String,
    },
}

/// QEMU's command line, in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    /// `-machine`; `{gic}` stands for the GIC's version.
    pub machine: String,
    /// `-cpu` where nobody chose one; empty where the machine has its own.
    pub cpu: String,
    /// `-smp`.
    pub cpus: u64,
    /// `-m`.
    pub memory: String,
    /// GIC versions it can have, the default first.
    pub gics: Vec<u8>,
    /// The tree handed to the machine, where it does not make its own.
    pub dtb: Option<TreeFile>,
    /// Nodes taken out of `dtb`, since the machine has nothing there.
    pub without: Vec<Without>,
    /// Which serial port is the console.
    pub serial: u64,
    /// Anything else.
    pub arguments: Vec<String>,
}

/// A node of the board's tree whose device the emulator does not model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Without {
    /// Its path.
    pub node: String,
    /// What would happen with it.
    pub why: String,
}

/// The boards in `platform/`.
pub fn known() -> Vec<String> {
    let entries = std::fs::read_dir(workspace::root().join("platform"));
    let mut names: Vec<String> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("board.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The folder of the board a manifest in `directory` calls `name`, if there is one.
pub fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let ours = workspace::root().join("platform").join(name);
    [ours, directory.join(name)]
        .into_iter()
        .find(|folder| folder.join("board.toml").exists())
}

/// Reads the board in `folder`.
///
/// # Errors
/// Its `board.toml` cannot be read or has mistakes, which are then on standard error.
pub fn load(folder: &Path) -> anyhow::Result<Board> {
    let file = folder.join("board.toml");
    let source =
        std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let folder = folder.canonicalize()?;
    parse(&folder, &source).map_err(|problems| {
        report::print(&workspace::show(&file), &source, &problems);
        anyhow::anyhow!("{} has mistakes", workspace::show(&file))
    })
}

fn parse(folder: &Path, source: &str) -> Result<Board, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(source);
    if !errors.is_empty() {
        return Err(not_toml(&errors));
    }
    let mut problems = Vec::new();
    let board = read(folder, table.get_ref(), &mut problems);
    match board {
        Some(board) if problems.is_empty() => Ok(board),
        _ => Err(problems),
    }
}

fn read<'t>(folder: &Path, table: &'t DeTable<'t>, problems: &mut Vec<Problem>) -> Option<Board> {
    let mut section = Section::new(table, 0..0, "a board", ROOT_KEYS, problems);
    let description = section.get("description").and_then(|v| section.text(v));
    let tree = section.get("tree").and_then(|v| tree_file(&mut section, v));
    let emulator = section
        .get("emulator")
        .and_then(|value| emulator(&mut section, value));
    let boot = section.require("boot", "[boot] with image and bundle, addresses in RAM")?;
    let (image_at, bundle_at) = inner(
        &mut section,
        boot,
        "`boot`",
        &["image", "bundle"],
        |section| {
            let image = section.require("image", "image = 0x4020_0000")?;
            let bundle = section.require("bundle", "bundle = 0x4800_0000")?;
            let image = section.number(image, u64::MAX)?.value;
            Some((image, section.number(bundle, u64::MAX)?.value))
        },
    )?;
    if tree.is_none() && emulator.is_none() {
        let problem = Problem::error(
            &(0..0),
            "nothing says where the board's device tree is from",
        )
        .remedy("add tree = \"FILE.dtb\", or an [emulator]");
        section.report(problem);
    }
    let card = section.get("card").and_then(|v| card(&mut section, v));
    let name = folder.file_name().unwrap_or_default();
    Some(Board {
        name: name.to_string_lossy().into_owned(),
        folder: folder.to_path_buf(),
        description: description.map(|text| text.value).unwrap_or_default(),
        tree,
        emulator,
        card,
        image_at,
        bundle_at,
    })
}

fn emulator<'t>(section: &mut Section<'t, '_>, value: &'t Value<'t>) -> Option<Emulator> {
    inner(section, value, "`emulator`", EMULATOR_KEYS, |section| {
        let machine = section.require("machine", "machine = \"virt\"")?;
        let machine = section.text(machine)?.value;
        let cpus = section.require("cpus", "cpus = 4")?;
        let cpus = section.number(cpus, SMALL)?.value;
        let memory = section.require("memory", "memory = \"1G\"")?;
        let check = |text: &str| size(text).map(|_| text.to_string());
        let memory = section.converted(memory, "a size", check)?.value;
        let cpu = section.get("cpu").and_then(|v| section.text(v));
        let serial = section.get("serial").and_then(|v| section.number(v, SMALL));
        let mut gics = Vec::new();
        for item in section.get("gic").map_or(&[][..], |v| section.list(v)) {
            let number = section.number(item, 3)?.value;
            gics.push(u8::try_from(number).unwrap_or(0));
        }
        let mut arguments = Vec::new();
        for item in section
            .get("arguments")
            .map_or(&[][..], |v| section.list(v))
        {
            arguments.push(section.text(item)?.value);
        }
        let mut without = Vec::new();
        for item in section.get("without").map_or(&[][..], |v| section.list(v)) {
            without.push(without_node(section, item)?);
        }
        Some(Emulator {
            machine,
            cpu: cpu.map(|text| text.value).unwrap_or_default(),
            cpus,
            memory,
            gics,
            dtb: section.get("dtb").and_then(|v| tree_file(section, v)),
            without,
            serial: serial.map_or(0, |number| number.value),
            arguments,
        })
    })
}

fn card<'t>(section: &mut Section<'t, '_>, value: &'t Value<'t>) -> Option<Card> {
    inner(section, value, "`card`", CARD_KEYS, |section| {
        let config = section.require("config", "config = \"config.txt\"")?;
        let config = section.text(config)?.value;
        let tree = section.require("tree", "tree = \"board.dtb\"")?;
        let tree = tree_file(section, tree)?;
        let example =
            "firmware = { debian = \"raspi-firmware\", folder = \"./usr/lib\", files = [] }";
        let firmware = section.require("firmware", example)?;
        let (package, folder, files) =
            inner(section, firmware, "`firmware`", FIRMWARE_KEYS, files)?;
        Some(Card {
            config,
            tree,
            package,
            folder,
            files,
        })
    })
}

fn files(section: &mut Section<'_, '_>) -> Option<(String, String, Vec<String>)> {
    let package = section.require("debian", "debian = \"raspi-firmware\"")?;
    let package = section.text(package)?.value;
    let folder = section.require("folder", "folder = \"./usr/lib/raspi-firmware\"")?;
    let folder = section.text(folder)?.value;
    let list = section.require("files", "files = [\"start4.elf\"]")?;
    let mut files = Vec::new();
    for item in section.list(list) {
        files.push(section.text(item)?.value);
    }
    Some((package, folder, files))
}

fn without_node<'t>(section: &mut Section<'t, '_>, value: &'t Value<'t>) -> Option<Without> {
    inner(section, value, "`without`", WITHOUT_KEYS, |section| {
        let node = section.require("node", "node = \"/soc/hdmi@7ef00700\"")?;
        let why = section.require("why", "why = \"what would happen with it\"")?;
        Some(Without {
            node: section.text(node)?.value,
            why: section.text(why)?.value,
        })
    })
}

fn tree_file<'t>(section: &mut Section<'t, '_>, value: &'t Value<'t>) -> Option<TreeFile> {
    if let DeValue::String(name) = value.get_ref() {
        return Some(TreeFile::File(name.to_string()));
    }
    inner(
        section,
        value,
        "a tree's file",
        &["debian", "file"],
        |section| {
            let package = section.require("debian", "debian = \"linux-image-arm64\"")?;
            let file = section.require("file", "file = \"./usr/lib/linux-image-*/x.dtb\"")?;
            Some(TreeFile::Debian {
                package: section.text(package)?.value,
                file: section.text(file)?.value,
            })
        },
    )
}

fn inner<'t, T>(
    section: &mut Section<'t, '_>,
    value: &'t Value<'t>,
    what: &'static str,
    known: &[&str],
    read: impl FnOnce(&mut Section<'t, '_>) -> Option<T>,
) -> Option<T> {
    let DeValue::Table(table) = value.get_ref() else {
        return section.mistyped(value, "a table");
    };
    let mut problems = Vec::new();
    let result = read(&mut Section::new(
        table,
        value.span(),
        what,
        known,
        &mut problems,
    ));
    for problem in problems {
        section.report(problem);
    }
    result
}

/// What somebody chose of what a board leaves open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The GIC's version.
    pub gic: Option<u8>,
    /// The CPU model.
    pub cpu: Option<String>,
    /// How many CPUs, where the emulator leaves it open.
    pub cpus: Option<u64>,
}

/// A board with everything chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The board.
    pub board: Board,
    /// The GIC's version, where the board leaves it open.
    pub gic: Option<u8>,
    /// The CPU model, empty for the machine's own.
    pub cpu: String,
}

impl Machine {
    /// `board` with `choice`.
    ///
    /// # Errors
    /// The board has no such GIC.
    pub fn new(mut board: Board, choice: &Choice) -> anyhow::Result<Self> {
        if let (Some(emulator), Some(cpus)) = (&mut board.emulator, choice.cpus) {
            emulator.cpus = cpus;
        }
        let emulator = board.emulator.as_ref();
        let gics = emulator.map(|emulator| &emulator.gics[..]).unwrap_or(&[]);
        if let Some(gic) = choice.gic.filter(|gic| !gics.contains(gic)) {
            match gics {
                [] => bail!(
                    "the board {} has one GIC; leave --gic {gic} out",
                    board.name
                ),
                _ => bail!(
                    "the board {} has no GICv{gic}; it can have {gics:?}",
                    board.name
                ),
            }
        }
        let gic = choice.gic.or(gics.first().copied());
        let own = emulator.map(|emulator| emulator.cpu.clone());
        let cpu = choice.cpu.clone().or(own).unwrap_or_default();
        Ok(Self { board, gic, cpu })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const FILE: &str = "description = \"x\"\n[emulator]\nmachine = \"virt,gic-version={gic}\"\n\
        cpu = \"cortex-a72\"\ncpus = 4\nmemory = \"1G\"\ngic = [3, 2]\n\
        [boot]\nimage = 0x4020_0000\nbundle = 0x4800_0000\n";

    /// A board for tests.
    pub fn board() -> Board {
        parse(Path::new("/boards/test"), FILE).expect("the file is right")
    }

    #[test]
    fn a_board_takes_the_first_gic_unless_another_of_its_own_is_chosen() {
        let choose = |gic| {
            let choice = Choice {
                gic,
                ..Choice::default()
            };
            Machine::new(board(), &choice).map(|machine| machine.gic)
        };
        assert_eq!(choose(None).unwrap(), Some(3));
        assert_eq!(choose(Some(2)).unwrap(), Some(2));
        assert!(choose(Some(4)).is_err());
    }

    #[test]
    fn a_board_without_a_tree_is_refused() {
        let problems = parse(Path::new("/b"), "[boot]\nimage = 1\nbundle = 2").unwrap_err();
        let text = report::plain("board.toml", "[boot]\nimage = 1\nbundle = 2", &problems);
        assert!(
            text.contains("where the board's device tree is from"),
            "{text}"
        );
    }

    #[test]
    fn the_boards_of_this_repository_are_read() {
        for name in known() {
            let folder = find(Path::new("/"), &name).expect("it is known");
            assert_eq!(load(&folder).expect(&name).name, name);
        }
        assert!(known().iter().any(|name| name == "qemu-virt"));
    }
}
