//! `run`: a system on the emulator, for a person at a terminal or for a script.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use regex::Regex;
use sha2::{Digest as _, Sha256};

use crate::board::Choice;
use crate::check::{self, Checked};
use crate::console::{Event, Keyboard, Lines, Session, interrupted};
use crate::qemu::{self, Launch, Serial};
use crate::{build, workspace};

/// How long a session without `--timeout` may last: in effect for ever.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The manifest; none: the board's demo.
    pub manifest: Option<PathBuf>,
    /// Another board than the manifest's.
    pub board: Option<String>,
    /// The GIC and the CPU.
    pub choice: Choice,
    /// End with success at the first line that matches.
    pub until: Option<Regex>,
    /// End with failure after so long.
    pub timeout: Option<Duration>,
    /// Let instructions be the clock.
    pub icount: bool,
    /// Wait for a debugger.
    pub gdb: bool,
    /// Print QEMU's command line and do nothing.
    pub dry_run: bool,
}

/// Runs a system.
///
/// # Errors
/// It is refused, does not build, or QEMU cannot be started.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let manifest = manifest(options.manifest.as_deref(), options.board.as_deref())?;
    let checked = check::file(&manifest, options.board.as_deref(), &options.choice)?;
    let image = build::hypervisor()?;
    let bundle = keep(&manifest, &checked)?;
    let scripted = options.until.is_some() || options.timeout.is_some();
    let arguments = qemu::arguments(&Launch {
        machine: &checked.machine,
        image: &image,
        bundle: Some(&bundle),
        serial: if scripted {
            Serial::Stream
        } else {
            Serial::Terminal
        },
        icount: options.icount,
        gdb: options.gdb,
        extra: &[],
    })?;
    if options.dry_run {
        println!("{}", qemu::show(&arguments));
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{}", checked.plan);
    if options.gdb {
        let symbols = workspace::show(&build::symbols());
        // The image is linked at 0 and runs where it is loaded.
        let at = checked.machine.board.image_at;
        eprintln!(
            "QEMU waits for a debugger: gdb-multiarch -ex 'target remote :1234' -ex 'add-symbol-file {symbols} -o {at:#x}'"
        );
    }
    if scripted {
        return script(options, &arguments);
    }
    eprintln!("QEMU: Ctrl-A then X quits, Ctrl-A then H lists its other keys");
    let error = qemu::plain_command(&arguments).exec();
    Err(error).context("starting QEMU")
}

/// The manifest to run.
pub fn manifest(named: Option<&Path>, board: Option<&str>) -> anyhow::Result<PathBuf> {
    if let Some(manifest) = named {
        return Ok(manifest.to_path_buf());
    }
    let board = board.unwrap_or("qemu-virt");
    let demo = workspace::root()
        .join("platform")
        .join(board)
        .join("demo.toml");
    if !demo.exists() {
        anyhow::bail!(
            "the board {board} has no {}; name a manifest",
            workspace::show(&demo)
        );
    }
    Ok(demo)
}

/// Writes the bundle where QEMU can read it, one place for each manifest and machine.
pub fn keep(manifest: &Path, checked: &Checked) -> anyhow::Result<PathBuf> {
    let machine = &checked.machine;
    let origin = manifest.canonicalize()?;
    let key = format!(
        "{} {} {:?} {}",
        origin.display(),
        machine.board.name,
        machine.gic,
        machine.cpu
    );
    let sum = Sha256::digest(key);
    let sum: String = sum
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let stem = origin
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let path = workspace::target().join(format!("bulkhead/{stem}-{sum}.bundle"));
    if std::fs::read(&path).ok().as_deref() != Some(&checked.bundle) {
        workspace::write(&path, &checked.bundle)?;
    }
    Ok(path)
}

/// Runs QEMU with its console on standard input and output until a line matches, the time is over, QEMU
/// ends, or somebody interrupts.
fn script(options: &Options, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let deadline = started + options.timeout.unwrap_or(FOR_EVER);
    let mut session = Session::start(qemu::command(arguments))?;
    forward_input(session.keyboard());
    let mut lines = Lines::default();
    let outcome = loop {
        if interrupted() {
            break Err("interrupted".to_string());
        }
        if Instant::now() >= deadline {
            break Err("timeout".to_string());
        }
        let candidates = match session.next(deadline) {
            Event::Bytes(bytes) => {
                echo(&bytes);
                lines.push(&bytes)
            }
            Event::Rest => vec![lines.partial()],
            Event::Ended => {
                let last = lines.partial();
                if let Some(line) = first_match(options.until.as_ref(), &[last]) {
                    break Ok(line);
                }
                break Err(format!("QEMU ended ({})", session.ending()));
            }
        };
        if let Some(line) = first_match(options.until.as_ref(), &candidates) {
            break Ok(line);
        }
    };
    drop(session);
    Ok(conclude(options, started, outcome))
}

fn first_match(until: Option<&Regex>, lines: &[String]) -> Option<String> {
    let pattern = until?;
    lines.iter().find(|line| pattern.is_match(line)).cloned()
}

fn conclude(options: &Options, started: Instant, outcome: Result<String, String>) -> ExitCode {
    let seconds = started.elapsed().as_secs_f32();
    // The console's last line may have no end.
    println!();
    match outcome {
        Ok(line) => {
            eprintln!("run: matched after {seconds:.1} s: {line}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            let pattern = options.until.as_ref().map(Regex::as_str);
            let missing = pattern.map(|pattern| format!(", and no line matched {pattern:?}"));
            eprintln!(
                "run: {reason} after {seconds:.1} s{}",
                missing.unwrap_or_default()
            );
            ExitCode::FAILURE
        }
    }
}

fn echo(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    // Whoever closed our output does not want to read on; the run itself is not over for that.
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Types what comes on standard input. The thread ends with the program.
fn forward_input(keyboard: Keyboard) {
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let is_terminal = stdin.is_terminal();
        let mut buffer = [0; 256];
        while let Ok(count @ 1..) = stdin.read(&mut buffer) {
            keyboard.send(&buffer[..count]);
        }
        // A person's Ctrl-D is for the guest; a script's end of input is nothing to anybody.
        if is_terminal {
            keyboard.send(&[4]);
        }
    });
}
