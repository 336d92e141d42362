//! The machine's apt, on lists of its own under `target/debian`: the machine's are not touched, and nothing here needs
//! root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

use crate::debian::{archive_in, extract};
use crate::{progress, workspace};

/// Which of Debian's packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packages {
    /// The guests', which are arm64.
    Guests,
    /// Programs that run on this machine.
    Host,
    /// A board's firmware, which is not free and which Debian keeps apart.
    Firmware,
}

/// apt's program `name`, set to these packages and to lists of its own, which are fresh.
///
/// # Errors
/// There is no apt, or it cannot reach the archive.
pub fn apt(packages: Packages, name: &str) -> anyhow::Result<Command> {
    static GUESTS: OnceLock<PathBuf> = OnceLock::new();
    static HOST: OnceLock<PathBuf> = OnceLock::new();
    static FIRMWARE: OnceLock<PathBuf> = OnceLock::new();
    let slot = match packages {
        Packages::Guests => &GUESTS,
        Packages::Host => &HOST,
        Packages::Firmware => &FIRMWARE,
    };
    let configuration = match slot.get() {
        Some(known) => known,
        None => {
            let made = refresh(packages)?;
            slot.get_or_init(|| made)
        }
    };
    let mut command = Command::new(name);
    command.env("APT_CONFIG", configuration).env("LC_ALL", "C");
    Ok(command)
}

/// Runs `command`, which reads nothing.
///
/// # Errors
/// What it said, if it failed.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("running {program}"))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Makes apt's own folder, and reads Debian's lists into it. The lists are read once a run: a superseded package is
/// gone from the archive within days.
fn refresh(packages: Packages) -> anyhow::Result<PathBuf> {
    let (name, component) = match packages {
        Packages::Guests => ("apt", "main"),
        Packages::Host => ("apt-host", "main"),
        Packages::Firmware => ("apt-firmware", "non-free-firmware"),
    };
    let architecture = match packages {
        Packages::Guests | Packages::Firmware => "arm64".to_string(),
        Packages::Host => host_architecture()?,
    };
    let folder = workspace::target().join("debian").join(name);
    for part in ["state/lists/partial", "cache/archives/partial", "sources"] {
        std::fs::create_dir_all(folder.join(part))?;
    }
    workspace::write(&folder.join("status"), b"")?;
    let mut text = configuration(&folder, &architecture);
    if packages == Packages::Firmware || !is_debian() {
        let keyring = keyring(&folder)?;
        workspace::write(
            &folder.join("sources/debian.sources"),
            sources(&keyring, component).as_bytes(),
        )?;
        text.push_str(&other_sources(&folder));
    }
    let path = folder.join("apt.conf");
    workspace::write(&path, text.as_bytes())?;
    let what =
        format!("reading Debian's package lists for {architecture} (into target/debian/{name})");
    progress::during(&what, || {
        run(Command::new("apt-get")
            .args(["-q", "update"])
            .env("APT_CONFIG", &path))
    })
    .context("Debian's packages need apt and its archive; name a file of your own instead")?;
    Ok(path)
}

/// This machine's architecture, in Debian's words.
fn host_architecture() -> anyhow::Result<String> {
    let output = Command::new("dpkg").arg("--print-architecture").output();
    let output = output.context("running dpkg")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// What apt is told: another architecture, other folders. As root it would drop to a user who cannot write here.
fn configuration(folder: &Path, architecture: &str) -> String {
    let folder = folder.display();
    format!(
        "Dir::State \"{folder}/state\";\nDir::State::status \"{folder}/status\";\nDir::Cache \"{folder}/cache\";\n\
         APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
    )
}

/// Whether the machine's own sources are Debian's.
fn is_debian() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    release
        .lines()
        .any(|line| line.trim_matches('"') == "ID=debian")
}

fn other_sources(folder: &Path) -> String {
    let folder = folder.display();
    format!("Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{folder}/sources\";\n")
}

fn sources(keyring: &Path, component: &str) -> String {
    let stanza = |archive: &str, suites: &str| {
        format!(
            "Types: deb\nURIs: http://deb.debian.org/{archive}\nSuites: {suites}\nComponents: {component}\nSigned-By: {}\n\n",
            keyring.display()
        )
    };
    stanza("debian", "bookworm bookworm-updates") + &stanza("debian-security", "bookworm-security")
}

/// The keys of Debian's archive: the machine's, or out of the package its distribution has of them.
fn keyring(folder: &Path) -> anyhow::Result<PathBuf> {
    const KEYS: &str = "usr/share/keyrings/debian-archive-keyring.gpg";
    let installed = Path::new("/").join(KEYS);
    if installed.exists() {
        return Ok(installed);
    }
    let path = folder.join("debian-archive-keyring.gpg");
    if !path.exists() {
        let package = "debian-archive-keyring";
        run(Command::new("apt-get")
            .args(["-q", "-o", "APT::Sandbox::User=root", "download", package])
            .current_dir(folder))
        .context("getting the keys of Debian's archive")?;
        let bytes = extract(&archive_in(folder, package)?, &format!("./{KEYS}"))?;
        workspace::write(&path, &bytes)?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_keeps_to_its_own_folder() {
        let text = configuration(Path::new("/t"), "arm64");
        for key in ["Dir::State ", "Dir::State::status ", "Dir::Cache "] {
            let line = text.lines().find(|line| line.starts_with(key));
            assert!(line.is_some_and(|line| line.contains("\"/t/")), "{text}");
        }
    }
}
