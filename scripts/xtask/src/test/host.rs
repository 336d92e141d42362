//! The tests that need no emulator: formatting, lints, and what `cargo test` runs.

use std::process::{Command, Stdio};

use super::{Outcome, deep};
use crate::{build, fuzz, workspace};

/// Packages that build for the host.
const HOST_PACKAGES: &[&str] = &["bulkhead", "bulkhead-abi", "xtask"];

/// Random cases of each property in the everyday subset.
const FEWER_CASES: &str = "100";

/// A host test: its name and how it is run.
pub struct Step {
    /// Its name.
    pub name: &'static str,
    /// Whether it belongs to the everyday subset.
    pub quick: bool,
    /// Runs it.
    pub run: fn() -> anyhow::Result<Outcome>,
}

/// Those that build in a directory of their own, the longest first.
pub const APART: &[Step] = &[
    Step {
        name: "host/miri",
        quick: false,
        run: deep::miri,
    },
    Step {
        name: "host/coverage",
        quick: false,
        run: deep::coverage,
    },
];

/// Those that build where everything is built.
pub const STEPS: &[Step] = &[
    Step {
        name: "host/formatting",
        quick: true,
        run: || cargo(&["fmt", "--all", "--check"], &[], &[]),
    },
    Step {
        name: "host/lints",
        quick: true,
        run: || {
            cargo(
                &["clippy", "--all-targets"],
                HOST_PACKAGES,
                &["-D", "warnings"],
            )
        },
    },
    Step {
        name: "bare/lints",
        quick: true,
        run: bare_lints,
    },
    Step {
        name: "host/tests",
        quick: true,
        run: tests,
    },
    Step {
        name: "host/interleavings",
        quick: false,
        run: deep::interleavings,
    },
];

/// Host tests without an end of their own: only who asks for one by name gets it.
pub const DEEP: &[Step] = &[Step {
    name: "host/fuzz",
    quick: false,
    run: || fuzz::run(&[], fuzz::BRIEFLY),
}];

impl Step {
    /// Runs it.
    pub fn run(&self) -> Outcome {
        (self.run)().unwrap_or_else(|error| Outcome::failed(format!("{error:#}")))
    }
}

/// What `cargo test` runs; in the everyday subset, the random properties have fewer cases.
fn tests() -> anyhow::Result<Outcome> {
    let cases: &[_] = match super::is_quick() {
        true => &[("PROPTEST_CASES", FEWER_CASES)],
        false => &[],
    };
    cargo_with(&["test"], HOST_PACKAGES, &[], cases)
}

/// Lints what runs on the board: the hypervisor alone, so that its features are its own, then the guests.
fn bare_lints() -> anyhow::Result<Outcome> {
    let mut packages = vec!["bulkhead".to_string()];
    packages.extend(build::guest_packages()?);
    packages.push("linux-uio".to_string());
    let arguments = ["clippy", "--target", workspace::BARE_TARGET];
    let mut whole = Outcome::default();
    for package in &packages {
        let outcome = cargo(&arguments, &[package], &["-D", "warnings"])?;
        whole.failures.extend(outcome.failures);
        whole.tail.extend(outcome.tail);
    }
    if whole.failures.is_empty() {
        whole.passed = 1;
    }
    Ok(whole)
}

fn cargo(arguments: &[&str], packages: &[&str], after: &[&str]) -> anyhow::Result<Outcome> {
    cargo_with(arguments, packages, after, &[])
}

fn cargo_with(
    arguments: &[&str],
    packages: &[&str],
    after: &[&str],
    environment: &[(&str, &str)],
) -> anyhow::Result<Outcome> {
    let mut command: Command = build::cargo();
    command.args(arguments).envs(environment.iter().copied());
    for package in packages {
        command.args(["--package", package]);
    }
    if !after.is_empty() {
        command.arg("--").args(after);
    }
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    let (passed, failed) = counts(&text);
    let mut failures: Vec<String> = failed;
    if !output.status.success() && failures.is_empty() {
        failures.push(format!("cargo {} failed", arguments.join(" ")));
    }
    let tail = match failures.is_empty() {
        true => Vec::new(),
        false => text.lines().map(str::to_string).collect(),
    };
    // A step without checks of its own is one check.
    let passed = if passed == 0 && failures.is_empty() {
        1
    } else {
        passed
    };
    Ok(Outcome {
        passed,
        failures,
        tail,
        ..Outcome::default()
    })
}

/// How many tests cargo says have passed, and the names of those that have not.
pub fn counts(text: &str) -> (usize, Vec<String>) {
    let mut passed = 0;
    let mut failed = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("test result: ") {
            let word = rest.split_whitespace().nth(1);
            passed += word
                .and_then(|word| word.parse::<usize>().ok())
                .unwrap_or(0);
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|l| l.strip_suffix(" ... FAILED"))
        {
            failed.push(name.to_string());
        }
    }
    (passed, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_tests_are_counted() {
        let text = "running 2 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored\ntest result: ok. 41 passed; 0 failed; 0 ignored\n";
        assert_eq!(counts(text), (42, vec!["a::c".to_string()]));
    }
}
