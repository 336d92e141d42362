//! The nightly compiler, for what stable Rust has not: Miri and the fuzzers' instrumentation. Never needed to build or run.

use std::process::{Command, Stdio};

use anyhow::bail;

/// The toolchain's name.
const NAME: &str = "nightly";

/// The environment of a command that is to run with the nightly toolchain.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.env("RUSTUP_TOOLCHAIN", NAME);
    command.env_remove("CARGO").env_remove("RUSTC");
    command.stdin(Stdio::null());
    command
}

/// Makes sure that the toolchain `toolchain` has `components`, installing what is missing.
///
/// # Errors
/// They are not to be had here, and how they would be.
pub fn need(toolchain: &str, components: &[&str]) -> anyhow::Result<()> {
    let listed = run(&["component", "list", "--toolchain", toolchain]);
    let has = |component: &&str| {
        let listed = listed.as_deref().unwrap_or_default();
        listed
            .lines()
            .any(|line| line.starts_with(component) && line.ends_with("(installed)"))
    };
    if listed.is_some() && components.iter().all(has) {
        return Ok(());
    }
    let mut install = vec![
        "toolchain",
        "install",
        toolchain,
        "--profile",
        "minimal",
        "--no-self-update",
    ];
    for component in components {
        install.extend(["--component", component]);
    }
    eprintln!(
        "installing the toolchain {toolchain} with {} ...",
        components.join(", ")
    );
    if run(&install).is_none() {
        bail!("it needs: rustup {}", install.join(" "));
    }
    Ok(())
}

/// Makes sure that the nightly toolchain has `components`.
///
/// # Errors
/// As [`need`].
pub fn need_nightly(components: &[&str]) -> anyhow::Result<()> {
    need(NAME, components)
}

/// What `rustup` says, if it succeeds.
fn run(arguments: &[&str]) -> Option<String> {
    let output = Command::new("rustup")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}
