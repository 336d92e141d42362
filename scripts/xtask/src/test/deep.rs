//! The host tests that need more than `cargo test`: every interleaving, Miri, coverage.

use std::process::Stdio;

use super::{Outcome, host};
use crate::{build, coverage, nightly, workspace};

/// Switches from one thread to another that loom makes where neither waits: all mistakes planted so far take two.
const PREEMPTIONS: &str = "3";
/// What cores share, and the small values that everything is made of: Miri looks at everything there.
const SHARED: &[&str] = &[
    "words::address",
    "words::id",
    "words::patience",
    "words::text",
    "arm::list_register",
    "arm::syndrome",
    "model::portions",
    "model::power",
    "model::quiesce",
    "model::recorder",
];
/// The corpus is read from files, and random cases want a seed.
const EVERYTHING: &str = "-Zmiri-disable-isolation";
/// For the rest, all but whether each value is one of its type, at each copy, and which reference may be used when: without
/// `unsafe` (`forbid`) only a dependency could break either. A copy of a console or a virtual GIC, looked at byte by byte,
/// takes a hundred times as long. What a partition refers to for good, its tests leak. Optimised first, it takes two thirds.
const NEARLY: &str = "-Zmiri-disable-isolation -Zmiri-disable-validation \
     -Zmiri-disable-stacked-borrows -Zmiri-ignore-leaks -Zmir-opt-level=3 -Zinline-mir=yes";

/// What cores share, in every interleaving (`src/interleavings.rs`).
///
/// # Errors
/// It cannot be built.
pub fn interleavings() -> anyhow::Result<Outcome> {
    let mut command = build::cargo();
    command.args([
        "rustc",
        "--package",
        "bulkhead",
        "--lib",
        "--profile",
        "test",
    ]);
    command.args(["--message-format", "json", "--", "--cfg", "loom"]);
    let program = coverage::test_program(&mut command)?;
    let output = std::process::Command::new(program)
        .arg("interleavings")
        .env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS)
        .stdin(Stdio::null())
        .output()?;
    Ok(judged(&output))
}

/// The whole pure core under Miri: undefined behaviour, overflow, and data races. Every test runs, with few cases where it
/// usually has many (`words::effort`), or says by itself why not (`#[cfg_attr(miri, ignore = "...")]`).
///
/// # Errors
/// Cargo cannot be run.
pub fn miri() -> anyhow::Result<Outcome> {
    under_miri(&[(EVERYTHING, SHARED, &[]), (NEARLY, &[], SHARED)])
}

/// Runs parts of the library's tests under Miri, one after another: with which flags, which names, and but which.
fn under_miri(parts: &[(&str, &[&str], &[&str])]) -> anyhow::Result<Outcome> {
    if let Err(error) = nightly::need_nightly(&["miri", "rust-src"]) {
        return Ok(Outcome::missing(format!(
            "Miri is not to be had: {error:#}"
        )));
    }
    let mut outcome = Outcome::default();
    let [mut left_out, mut failures] = [Vec::new(), Vec::new()];
    for (flags, names, but) in parts {
        let output = run_all(flags, names, but)?;
        outcome.join(judged(&output));
        let text = String::from_utf8_lossy(&output.stdout);
        let (with_reason, without) = ignored(&text);
        left_out.extend(with_reason);
        failures.extend(without);
    }
    let (passed, left_out) = (outcome.passed, left_out.len());
    outcome.failures.extend(failures);
    outcome.notes.push(format!(
        "{passed} tests ran under Miri, {left_out} are left out, each with its reason"
    ));
    Ok(outcome)
}

/// Runs the tests whose name contains one of `names`, or all, but those whose name contains one of `but`.
fn run_all(flags: &str, names: &[&str], but: &[&str]) -> std::io::Result<std::process::Output> {
    let mut command = interpreted(flags);
    command.arg("--").args(names);
    for name in but {
        command.args(["--skip", name]);
    }
    command.output()
}

/// The tests of the library in the interpreter.
fn interpreted(flags: &str) -> std::process::Command {
    let mut command = nightly::cargo();
    command.args(["miri", "test", "--package", "bulkhead", "--lib"]);
    command.env("MIRIFLAGS", flags);
    command.env("CARGO_TARGET_DIR", workspace::target().join("miri"));
    command.env_remove("PROPTEST_CASES");
    command.current_dir(workspace::root());
    command
}

/// The tests that a test program leaves out, by name: with a reason, and without one, which is a failure.
fn ignored(text: &str) -> (Vec<String>, Vec<String>) {
    let lines = text.lines().filter_map(|line| {
        let (name, end) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
        let reason = end.strip_prefix(", ").unwrap_or_default().trim();
        Some((name.to_string(), !reason.is_empty()))
    });
    let (with, without): (Vec<_>, Vec<_>) = lines.partition(|(_, has)| *has);
    let names = |all: Vec<(String, bool)>| all.into_iter().map(|(name, _)| name);
    let complaint = |name| format!("{name} is left out under Miri without a reason");
    (
        names(with).collect(),
        names(without).map(complaint).collect(),
    )
}

/// Every file of the pure core is reached as far as it should be.
///
/// # Errors
/// It cannot be built or run.
pub fn coverage() -> anyhow::Result<Outcome> {
    let table = match coverage::measured() {
        Ok(table) => table,
        Err(error) => return Ok(Outcome::missing(format!("{error:#}"))),
    };
    Ok(Outcome {
        passed: table.files.len(),
        failures: table.failures(),
        ..Outcome::default()
    })
}

/// A test program's own account.
fn judged(output: &std::process::Output) -> Outcome {
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    let (passed, mut failures) = host::counts(&text);
    if (!output.status.success() || passed == 0) && failures.is_empty() {
        failures.push("the tests did not end well".to_string());
    }
    let tail = match failures.is_empty() {
        true => Vec::new(),
        false => text.lines().map(str::to_string).collect(),
    };
    Outcome {
        passed,
        failures,
        tail,
        ..Outcome::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_says_why() {
        let text = "test a::b ... ok\ntest a::c ... ignored, takes minutes\ntest a::d ... ignored\ntest a::e ... ignored, \ntest result: ok. 1 passed; 0 failed; 3 ignored\n";
        let (with, without) = ignored(text);
        assert_eq!(with, ["a::c"]);
        let complaint = |name| format!("{name} is left out under Miri without a reason");
        assert_eq!(without, ["a::d", "a::e"].map(complaint));
    }
}
