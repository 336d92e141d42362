//! `cargo xtask coverage`: how many lines of the pure core (layers 0 to 3) the hypervisor's own host tests reach.
//!
//! The compiler counts (`-C instrument-coverage`), LLVM's tools add up; lines of tests count for nothing. A file that
//! reaches less than [`LEAST`] needs a reason in [`REASONS`].

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use toml::de::DeTable;

use crate::{build, nightly, workspace};

/// Least part of a file's lines that the tests reach, in percent.
const LEAST: usize = 90;
/// Folders of the pure core.
const PURE: [&str; 4] = ["src/words", "src/arm", "src/model", "src/behaviour"];
/// Files that reach less, and why.
const REASONS: &[(&str, &str)] = &[
    (
        "src/arm/facilities.rs",
        "a table made by constant functions, which the compiler runs",
    ),
    (
        "src/arm/registers.rs",
        "asked by the program after an exit, tested on the emulator (lifecycle/*)",
    ),
    (
        "src/behaviour/audit.rs",
        "the list of a whole system, which every boot on the emulator walks",
    ),
    (
        "src/behaviour/crash.rs",
        "numbers of causes that only the program meets (lifecycle/*)",
    ),
    (
        "src/behaviour/crash/words.rs",
        "texts of reports, read in the emulator tests (lifecycle/*, boot/*)",
    ),
    (
        "src/behaviour/here.rs",
        "its part of the short path is tested on the emulator (guest/*, counted/*)",
    ),
    (
        "src/behaviour/hypercall/crashes.rs",
        "items of a record, read back by guests (conformance/*, lifecycle/*)",
    ),
    (
        "src/behaviour/mmio.rs",
        "its part of the short path is tested on the emulator (guest/*, counted/*)",
    ),
    (
        "src/behaviour/sysreg.rs",
        "its part of the short path is tested on the emulator (guest/*, counted/*)",
    ),
    (
        "src/model/board/device.rs",
        "texts of refusals, and bounds that the checker meets first",
    ),
    (
        "src/model/board/survey.rs",
        "sets made by constant functions, which the compiler runs",
    ),
    (
        "src/model/guest_tree/fixed.rs",
        "parts of a tree made by constant functions, which the compiler runs",
    ),
    ("src/model/quiesce.rs", "lines for numbers that no vCPU has"),
    (
        "src/model/share/mod.rs",
        "how many tables a window needs, which every boot with a device asks (guest/devices)",
    ),
    (
        "src/model/vgic/mod.rs",
        "the monitor's list of interrupts (lifecycle/monitor)",
    ),
    (
        "src/words/effort.rs",
        "for tests alone; a line of it for Miri",
    ),
    ("src/words/text.rs", "Debug and Default, for assertions"),
];
/// Random cases of each property: lines are reached by the first ones.
const CASES: &str = "64";

/// A file's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path below the root.
    pub name: String,
    /// Lines with code.
    pub lines: usize,
    /// Those of them that a test reaches.
    pub reached: usize,
}

impl File {
    fn percent(&self) -> usize {
        100 * self.reached / self.lines.max(1)
    }

    fn reason(&self) -> Option<&'static str> {
        let found = REASONS.iter().find(|(name, _)| *name == self.name);
        found.map(|(_, reason)| *reason)
    }
}

/// What was measured.
pub struct Table {
    /// The pure core's files, by name.
    pub files: Vec<File>,
}

impl Table {
    /// The files that reach too little without a reason, and the reasons that are none any more.
    pub fn failures(&self) -> Vec<String> {
        let judge = |file: &File| match (file.percent() < LEAST, file.reason()) {
            (true, None) => Some(format!(
                "{}: {} % of its lines are reached, not {LEAST} %: test them, or give the reason",
                file.name,
                file.percent()
            )),
            (false, Some(_)) => Some(format!("{} needs its reason no more", file.name)),
            _ => None,
        };
        self.files.iter().filter_map(judge).collect()
    }
}

/// Measures and prints the table.
///
/// # Errors
/// What is needed is not to be had, or the tests cannot be built or do not pass.
pub fn main() -> anyhow::Result<ExitCode> {
    let table = measured()?;
    for file in &table.files {
        let reason = file.reason().map(|reason| format!("  ({reason})"));
        println!(
            "{:>3} %  {:>4} of {:>4}  {}{}",
            file.percent(),
            file.reached,
            file.lines,
            file.name,
            reason.unwrap_or_default()
        );
    }
    let sum = |part: fn(&File) -> usize| table.files.iter().map(part).sum::<usize>();
    let (reached, lines) = (sum(|file| file.reached), sum(|file| file.lines));
    println!(
        "{:>3} %  {reached} of {lines} lines of the pure core",
        100 * reached / lines.max(1)
    );
    let failures = table.failures();
    failures.iter().for_each(|failure| println!("{failure}"));
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds the tests with counters, runs them, and adds up.
///
/// # Errors
/// As [`main`].
pub fn measured() -> anyhow::Result<Table> {
    let tools = tools()?;
    let folder = workspace::target().join("coverage");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let mut command = build::cargo();
    command.args([
        "rustc",
        "--package",
        "bulkhead",
        "--lib",
        "--profile",
        "test",
    ]);
    command.args([
        "--message-format",
        "json",
        "--",
        "-C",
        "instrument-coverage",
    ]);
    let program = test_program(&mut command)?;
    let (raw, data) = (folder.join("tests.profraw"), folder.join("tests.profdata"));
    let mut tests = Command::new(&program);
    tests
        .env("LLVM_PROFILE_FILE", &raw)
        .env("PROPTEST_CASES", CASES);
    said(tests.arg("--quiet")).context("the tests do not pass")?;
    let mut merge = Command::new(tools.join("llvm-profdata"));
    said(merge.args(["merge", "--sparse", "-o"]).args([&data, &raw]))?;
    let mut export = Command::new(tools.join("llvm-cov"));
    export
        .args(["export", "--format=lcov", "--instr-profile"])
        .arg(&data);
    let text = said(export.arg(&program).arg(workspace::root().join("src")))?;
    Ok(Table {
        files: files(&text),
    })
}

/// LLVM's tools of the pinned toolchain.
fn tools() -> anyhow::Result<PathBuf> {
    let pinned = std::fs::read_to_string(workspace::root().join("rust-toolchain.toml"))?;
    let table = DeTable::parse(&pinned)?;
    let channel = table
        .get_ref()
        .get("toolchain")
        .and_then(|value| value.get_ref().get("channel"));
    let channel = channel
        .and_then(|value| value.get_ref().as_str())
        .unwrap_or("stable");
    nightly::need(channel, &["llvm-tools"]).context("coverage is not to be had")?;
    let sysroot = said(Command::new("rustc").args(["--print", "sysroot"]))?;
    let host = Path::new(sysroot.trim()).join("lib/rustlib");
    for entry in std::fs::read_dir(&host)? {
        let tools = entry?.path().join("bin");
        if tools.join("llvm-cov").exists() {
            return Ok(tools);
        }
    }
    bail!("{} has no llvm-cov", host.display())
}

/// What `command` writes to standard output, if it succeeds.
fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// The test program that cargo builds by `command`, which asks for messages in JSON.
///
/// # Errors
/// It cannot be built.
pub fn test_program(command: &mut Command) -> anyhow::Result<PathBuf> {
    let text = said(command)?;
    let mut program = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    program.next_back().context("cargo built no test program")
}

/// The pure core's files in LLVM's listing (lcov: `SF:` a file, `DA:` a line and how often it was reached).
fn files(listing: &str) -> Vec<File> {
    let mut files: Vec<File> = Vec::new();
    let mut end = 0;
    for line in listing.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = Path::new(path);
            let name = path.strip_prefix(workspace::root()).unwrap_or(path);
            end = lines_of_code(&std::fs::read_to_string(path).unwrap_or_default());
            files.push(File {
                name: name.display().to_string(),
                lines: 0,
                reached: 0,
            });
        } else if let Some((number, count)) = line
            .strip_prefix("DA:")
            .and_then(|line| line.split_once(','))
            && let Some(file) = files.last_mut()
            && number.parse().is_ok_and(|number: usize| number <= end)
        {
            file.lines += 1;
            file.reached += usize::from(count != "0");
        }
    }
    files.retain(|file| is_pure(&file.name) && file.lines > 0);
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// How many lines stand before a file's own tests.
fn lines_of_code(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let tests = lines
        .windows(2)
        .position(|two| two == ["#[cfg(test)]", "mod tests {"]);
    tests.unwrap_or(lines.len())
}

/// Whether a file is the pure core's, and none of tests.
fn is_pure(name: &str) -> bool {
    PURE.iter().any(|folder| name.starts_with(folder))
        && !name.contains("/tests/")
        && !name.ends_with("/tests.rs")
        && !name.ends_with("/testing.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tests_do_not_count() {
        assert_eq!(
            lines_of_code("fn a() {}\n#[cfg(test)]\nmod tests {\n}\n"),
            1
        );
        assert_eq!(lines_of_code("fn a() {}\n#[cfg(test)]\nmod tests;\n"), 3);
        assert!(is_pure("src/model/power.rs") && is_pure("src/words/id.rs"));
        assert!(!is_pure("src/model/vgic/tests/pair.rs") && !is_pure("src/program/core.rs"));
        assert!(!is_pure("src/behaviour/testing.rs") && !is_pure("src/model/board/tests.rs"));
    }

    #[test]
    fn a_file_below_the_mark_fails_unless_there_is_a_reason() {
        let file = |lines, reached| File {
            name: "src/model/x.rs".to_string(),
            lines,
            reached,
        };
        let failures = |file| Table { files: vec![file] }.failures().len();
        assert_eq!(failures(file(100, 89)), 1);
        assert_eq!(failures(file(100, 90)), 0);
    }
}
