//! `cargo xtask fuzz`: the properties of `src/properties` against a coverage-guided fuzzer.
//!
//! New inputs that reach new code are kept under `target/fuzz`, those that break a property under
//! `target/fuzz/artifacts`: put such a one into `scripts/fuzz/corpus`, where `cargo test` finds it, and mend the code.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::console::interrupted;
use crate::test::Outcome;
use crate::{nightly, workspace};

/// How long each target is fuzzed in a whole test run.
pub const BRIEFLY: Duration = Duration::from_secs(2);
/// Longest input: what a tree of QEMU's has.
const LONGEST: &str = "-max_len=8192";
/// An input that takes longer is one that hangs.
const PATIENCE: &str = "-timeout=20";

/// Fuzzes `targets`, or all, and says how each went.
///
/// # Errors
/// A target has no such name.
pub fn main(targets: &[String], each: Duration) -> anyhow::Result<ExitCode> {
    let outcome = run(targets, each)?;
    if let Some(missing) = outcome.missing {
        println!("skipped: {missing}");
    }
    for failure in &outcome.failures {
        println!("{failure}");
    }
    Ok(if outcome.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Fuzzes `targets`, or all, for this time each. What cannot be had here is no failure.
///
/// # Errors
/// A target has no such name.
pub fn run(targets: &[String], each: Duration) -> anyhow::Result<Outcome> {
    let known = known()?;
    if let Some(unknown) = targets.iter().find(|target| !known.contains(target)) {
        bail!(
            "there is no target {unknown}; there are: {}",
            known.join(" ")
        );
    }
    if let Err(error) = tools() {
        return Ok(Outcome::missing(format!("{error:#}")));
    }
    build()?;
    let mut outcome = Outcome::default();
    for target in known {
        let chosen = targets.is_empty() || targets.contains(&target);
        if chosen && !interrupted() {
            outcome.join(one(&target, each)?);
        }
    }
    Ok(outcome)
}

/// The targets, by name.
fn known() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder().join("targets"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_string));
    }
    names.sort();
    Ok(names)
}

fn folder() -> PathBuf {
    workspace::root().join("scripts/fuzz")
}

/// Where the targets are built: away from what the stable compiler builds.
fn built() -> PathBuf {
    workspace::target().join("fuzz-build")
}

/// Where cargo-fuzz is installed.
fn programs() -> PathBuf {
    workspace::target().join("tools")
}

/// Installs what is missing.
///
/// # Errors
/// Something is not to be had here.
fn tools() -> anyhow::Result<()> {
    nightly::need_nightly(&["rust-src"])?;
    quiet(Command::new("c++").arg("--version")).context("libFuzzer needs a C++ compiler (c++)")?;
    let tools = programs();
    let cargo_fuzz = tools.join("bin/cargo-fuzz");
    if !cargo_fuzz.exists() {
        eprintln!("installing cargo-fuzz into target/tools ...");
        let mut install = Command::new("cargo");
        install.args(["install", "cargo-fuzz", "--locked", "--quiet", "--root"]);
        quiet(install.arg(&tools))
            .context("cargo-fuzz cannot be installed (it comes from crates.io)")?;
    }
    Ok(())
}

/// Builds the targets.
fn build() -> anyhow::Result<()> {
    let mut build = nightly::cargo();
    let program = programs().join("bin");
    let path = std::env::var("PATH").unwrap_or_default();
    build.env("PATH", format!("{}:{path}", program.display()));
    build
        .env("CARGO_TARGET_DIR", built())
        .current_dir(workspace::root());
    build.args([
        "fuzz",
        "build",
        "--fuzz-dir",
        "scripts/fuzz",
        "--sanitizer",
        "none",
    ]);
    quiet(&mut build).context("the fuzz targets cannot be built")
}

/// Runs `command`, whose output is of interest only if it fails.
fn quiet(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = text.lines().rev().take(12).collect();
        bail!("{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}

/// Fuzzes one target.
fn one(target: &str, each: Duration) -> anyhow::Result<Outcome> {
    let found = workspace::target().join("fuzz").join(target);
    let artifacts = workspace::target().join("fuzz/artifacts").join(target);
    std::fs::create_dir_all(&found)?;
    std::fs::create_dir_all(&artifacts)?;
    let program = find(&built(), target)?;
    let output = Command::new(program)
        .args([&found, &folder().join("corpus").join(target)])
        .arg(format!("-max_total_time={}", each.as_secs().max(1)))
        .args([LONGEST, PATIENCE, "-verbosity=1"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let mut outcome = Outcome::default();
    if output.status.success() {
        outcome.passed = 1;
        let last = text
            .lines()
            .rfind(|line| line.contains("DONE"))
            .unwrap_or("");
        eprintln!("{target:<16} {}", last.trim());
    } else {
        outcome.failures.push(format!(
            "{target}: a property does not hold; the input is in {}",
            workspace::show(&artifacts)
        ));
        outcome.tail = text.lines().map(str::to_string).collect();
    }
    Ok(outcome)
}

/// The program of a target: cargo-fuzz builds in a folder named by the machine's triple.
fn find(built: &Path, target: &str) -> anyhow::Result<PathBuf> {
    for entry in std::fs::read_dir(built)? {
        let program = entry?.path().join("release").join(target);
        if program.is_file() {
            return Ok(program);
        }
    }
    bail!("{target} was not built")
}
