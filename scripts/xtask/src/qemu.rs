//! QEMU's command line, and the device tree a machine makes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::board::{Emulator, Machine, TreeFile, Without};
use crate::{debian, tree, workspace};

/// The program.
const QEMU: &str = "qemu-system-aarch64";
/// `-icount` shift that makes one tick of a 62.5 MHz counter one instruction, and for `-cpu max`, whose
/// counter runs at 1 GHz.
const ICOUNT: (&str, &str) = ("shift=4,sleep=off", "shift=0,sleep=off");

/// Where the console goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serial {
    /// To a person's terminal, with QEMU's own keys behind Ctrl-A.
    Terminal,
    /// To standard input and output, byte for byte.
    Stream,
}

/// What is to be run on a machine.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The hypervisor's flat image.
    pub image: &'a Path,
    /// The bundle, if one is handed over.
    pub bundle: Option<&'a Path>,
    /// Where the console goes.
    pub serial: Serial,
    /// Whether instructions are the clock.
    pub icount: bool,
    /// Whether to wait for a debugger on port 1234.
    pub gdb: bool,
    /// More arguments.
    pub extra: &'a [String],
}

/// The arguments of QEMU for `launch`.
///
/// # Errors
/// The board has no emulator, or its tree could not be had.
pub fn arguments(launch: &Launch<'_>) -> anyhow::Result<Vec<String>> {
    let mut arguments = machine_arguments(launch.machine, "")?;
    let emulator = emulator(launch.machine)?;
    let serial = match launch.serial {
        Serial::Terminal => ["-serial", "mon:stdio"].as_slice(),
        Serial::Stream => &["-monitor", "none", "-serial", "stdio"],
    };
    for _ in 0..emulator.serial {
        push(&mut arguments, &["-serial", "null"]);
    }
    push(&mut arguments, serial);
    push(
        &mut arguments,
        &["-no-reboot", "-kernel", &path(launch.image)],
    );
    if let Some(bundle) = launch.bundle {
        push(&mut arguments, &["-initrd", &path(bundle)]);
    }
    if launch.icount {
        let (usual, max) = ICOUNT;
        let is_max = launch.machine.cpu.split(',').next() == Some("max");
        push(
            &mut arguments,
            &["-icount", if is_max { max } else { usual }],
        );
    }
    if launch.gdb {
        push(&mut arguments, &["-s", "-S"]);
    }
    arguments.extend_from_slice(launch.extra);
    Ok(arguments)
}

/// QEMU with `arguments`; it dies with the thread that starts it where the machine has `setpriv`.
pub fn command(arguments: &[String]) -> Command {
    let mut command = match find_program("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", QEMU]);
            command
        }
        None => Command::new(QEMU),
    };
    command.args(arguments);
    command
}

/// QEMU with `arguments` as itself, to be executed in this process's place.
pub fn plain_command(arguments: &[String]) -> Command {
    let mut command = Command::new(QEMU);
    command.args(arguments);
    command
}

/// The command line as a person may paste it into a shell.
pub fn show(arguments: &[String]) -> String {
    let mut text = QEMU.to_string();
    for argument in arguments {
        text.push(' ');
        text.push_str(&quote(argument));
    }
    text
}

/// The device tree of `machine`, from its file or as the emulator makes it, which is kept.
///
/// # Errors
/// The file is not there, or QEMU could not be run.
pub fn tree(machine: &Machine) -> anyhow::Result<Vec<u8>> {
    if let Some(tree) = &machine.board.tree {
        let file = tree_path(machine, tree)?;
        return std::fs::read(&file).with_context(|| format!("reading {}", file.display()));
    }
    let key = Sha256::digest(machine_arguments(machine, "")?.join(" "));
    let name = format!("boards/{}-{}.dtb", machine.board.name, hex(&key));
    let kept = workspace::target().join(name);
    // Tests run beside each other: one of them asks QEMU.
    static ASKING: Mutex<()> = Mutex::new(());
    let _alone = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(tree) = std::fs::read(&kept) {
        return Ok(tree);
    }
    let tree = dump(machine, &kept)?;
    workspace::write(&kept, &tree)?;
    Ok(tree)
}

fn dump(machine: &Machine, kept: &Path) -> anyhow::Result<Vec<u8>> {
    let file = kept.with_extension(format!("{}.dump", std::process::id()));
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
    let option = format!(",dumpdtb={}", path(&file));
    let output = Command::new(QEMU)
        .args(machine_arguments(machine, &option)?)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {QEMU}; ./scripts/run installs it"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{QEMU} does not know this machine: {}", text.trim());
    }
    let tree = std::fs::read(&file).context("QEMU wrote no device tree")?;
    let _ = std::fs::remove_file(&file);
    Ok(tree)
}

fn machine_arguments(machine: &Machine, option: &str) -> anyhow::Result<Vec<String>> {
    let emulator = emulator(machine)?;
    let gic = machine.gic.map(|gic| gic.to_string()).unwrap_or_default();
    let name = emulator.machine.replace("{gic}", &gic) + option;
    let mut arguments = Vec::new();
    push(&mut arguments, &["-machine", &name]);
    if !machine.cpu.is_empty() {
        push(&mut arguments, &["-cpu", &machine.cpu]);
    }
    push(&mut arguments, &["-smp", &emulator.cpus.to_string()]);
    push(&mut arguments, &["-m", &emulator.memory]);
    push(&mut arguments, &["-display", "none"]);
    if let Some(dtb) = &emulator.dtb {
        let dtb = tree_path(machine, dtb)?;
        push(&mut arguments, &["-dtb", &path(&modelled(machine, dtb)?)]);
    }
    arguments.extend_from_slice(&emulator.arguments);
    Ok(arguments)
}

fn emulator(machine: &Machine) -> anyhow::Result<&Emulator> {
    let name = &machine.board.name;
    machine.board.emulator.as_ref().with_context(|| {
        format!("the board {name} has no [emulator] in its board.toml; `bundle` makes what a boot loader needs")
    })
}

/// The file a board's `tree` names.
///
/// # Errors
/// Its package could not be had.
pub fn tree_path(machine: &Machine, tree: &TreeFile) -> anyhow::Result<PathBuf> {
    match tree {
        TreeFile::File(name) => Ok(workspace::resolve(&machine.board.folder, name)),
        TreeFile::Debian { package, file } => {
            let name = file.rsplit('/').next().unwrap_or(file);
            debian::file(package, file, name, "linux-image-")
        }
    }
}

/// `dtb` without what the emulator does not model, kept under its board's name.
fn modelled(machine: &Machine, dtb: PathBuf) -> anyhow::Result<PathBuf> {
    let without = &emulator(machine)?.without;
    if without.is_empty() {
        return Ok(dtb);
    }
    let mut bytes = std::fs::read(&dtb).with_context(|| format!("reading {}", dtb.display()))?;
    for Without { node, why } in without {
        tree::remove(&mut bytes, node)
            .with_context(|| format!("{}: leaving out {node} ({why})", dtb.display()))?;
    }
    // The file's name changes with what is in it: trees of the machine are kept by its command line.
    let sum = hex(&Sha256::digest(&bytes));
    let name = format!("boards/{}-modelled-{sum}.dtb", machine.board.name);
    let kept = workspace::target().join(name);
    if std::fs::read(&kept).ok().as_deref() != Some(&bytes) {
        workspace::write(&kept, &bytes)?;
    }
    Ok(kept)
}

/// As much of a digest as names a file.
fn hex(sum: &[u8]) -> String {
    sum.iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn push(arguments: &mut Vec<String>, more: &[&str]) {
    arguments.extend(more.iter().map(ToString::to_string));
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn quote(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+:,./@%".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_string()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

/// Finds a program on the PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{Choice, tests::board};

    fn line(launch: impl FnOnce(&mut Launch<'_>), cpu: &str) -> String {
        let choice = Choice {
            gic: Some(2),
            cpu: Some(cpu.to_string()),
            cpus: None,
        };
        let machine = Machine::new(board(), &choice).unwrap();
        let mut what = Launch {
            machine: &machine,
            image: Path::new("/i"),
            bundle: None,
            serial: Serial::Stream,
            icount: false,
            gdb: false,
            extra: &[],
        };
        launch(&mut what);
        show(&arguments(&what).unwrap())
    }

    #[test]
    fn the_command_line_is_the_boards_and_the_callers() {
        assert_eq!(
            line(
                |launch| launch.bundle = Some(Path::new("/b c")),
                "cortex-a53"
            ),
            "qemu-system-aarch64 -machine virt,gic-version=2 -cpu cortex-a53 -smp 4 -m 1G -display none \
             -monitor none -serial stdio -no-reboot -kernel /i -initrd '/b c'"
        );
    }

    #[test]
    fn instructions_are_the_clock_at_the_counters_rate() {
        let icount = |cpu| line(|launch| launch.icount = true, cpu);
        assert!(icount("cortex-a72").ends_with("-icount shift=4,sleep=off"));
        assert!(icount("max,sve=off").ends_with("-icount shift=0,sleep=off"));
    }

    #[test]
    fn a_debugger_is_waited_for_when_asked() {
        assert!(line(|launch| launch.gdb = true, "max").ends_with("-s -S"));
    }
}
