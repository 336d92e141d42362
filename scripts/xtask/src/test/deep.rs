//! The host tests that need more than `cargo test`: every interleaving, Miri, coverage.

use std::process::Stdio;

use super::{Outcome, host};
use crate::{build, coverage, nightly, workspace};

/// Switches from one thread to another that loom makes where neither waits: all mistakes planted so far take two.
const PREEMPTIONS: &str = "3";
/// What Miri runs: all but what is measured in thousands of random cases or reads many files.
const MIRI: &[&str] = &[
    "words::",
    "arm::list_register",
    "arm::syndrome",
    "model::portions",
    "model::power",
    "model::quiesce",
    "model::recorder",
];

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

/// The pure core under Miri: undefined behaviour, overflow, and data races of what cores share.
///
/// # Errors
/// Cargo cannot be run.
pub fn miri() -> anyhow::Result<Outcome> {
    if let Err(error) = nightly::need_nightly(&["miri", "rust-src"]) {
        return Ok(Outcome::missing(format!(
            "Miri is not to be had: {error:#}"
        )));
    }
    let mut command = nightly::cargo();
    command.args(["miri", "test", "--package", "bulkhead", "--lib", "--"]);
    command.args(MIRI);
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    command.env("PROPTEST_CASES", "1");
    command.env("CARGO_TARGET_DIR", workspace::target().join("miri"));
    let output = command.current_dir(workspace::root()).output()?;
    Ok(judged(&output))
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
