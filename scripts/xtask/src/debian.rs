//! Files from Debian's arm64 packages: kernels, busybox, board trees.
//!
//! A package is downloaded once with the machine's apt, which checks its signature, and what was taken out of it is
//! kept under `target/debian/PACKAGE/`. Remove that folder to get a newer version. apt works on lists of its own under
//! `target/debian/apt`: the machine's are not touched, and nothing here needs root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

use crate::{progress, workspace};

/// How many meta packages may stand before the package that has the files.
const META_DEPTH: usize = 4;

/// The kernel in `package`: an uncompressed arm64 Image.
///
/// # Errors
/// No such package, or none that holds a kernel.
pub fn kernel(package: &str) -> anyhow::Result<PathBuf> {
    file(package, "./boot/vmlinuz-*", "vmlinuz", "linux-image-")
}

/// The file that matches `pattern` in `package`, kept as `name`. A meta package is followed to the one it
/// depends on whose name starts with `follow`.
///
/// # Errors
/// No such package or file, or the download failed.
pub fn file(package: &str, pattern: &str, name: &str, follow: &str) -> anyhow::Result<PathBuf> {
    let folder = workspace::target().join("debian").join(package);
    let path = folder.join(name);
    if path.exists() {
        return Ok(path);
    }
    let real = behind_meta(package, follow)?;
    let archive = download(&real, &folder)?;
    let bytes = extract(&archive, pattern)?;
    if bytes.is_empty() {
        bail!("Debian's package {real} has no file {pattern}");
    }
    workspace::write(&path, &bytes)?;
    // The archive is of no more use; tens of megabytes each.
    std::fs::remove_file(&archive).with_context(|| format!("removing {}", archive.display()))?;
    Ok(path)
}

fn behind_meta(package: &str, follow: &str) -> anyhow::Result<String> {
    let mut current = package.to_string();
    for _ in 0..META_DEPTH {
        let record = show(&current)?;
        match dependency(&record, follow) {
            Some(next) => current = next,
            None => return Ok(current),
        }
    }
    Ok(current)
}

/// The first package a record depends on whose name starts with `follow`.
fn dependency(record: &str, follow: &str) -> Option<String> {
    let depends = record
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "))?;
    depends
        .split([',', '|'])
        .filter_map(|item| item.split_whitespace().next())
        .map(|name| name.split(':').next().unwrap_or(name))
        .find(|name| name.starts_with(follow))
        .map(str::to_string)
}

fn show(package: &str) -> anyhow::Result<String> {
    let output = apt("apt-cache")?
        .args(["show", "--no-all-versions", package])
        .output()
        .context("running apt-cache")?;
    if !output.status.success() {
        bail!("Debian has no package {package} for arm64");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn download(package: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let what = format!("downloading Debian's {package} for arm64");
    let output = progress::during(&what, || {
        run(apt("apt-get")?
            .args(["-q", "download", package])
            .current_dir(folder))
    });
    output.with_context(|| format!("downloading Debian's {package}"))?;
    archive_in(folder, package)
}

/// apt's program `name`, set to Debian's arm64 packages and to lists of its own, which are fresh.
fn apt(name: &str) -> anyhow::Result<Command> {
    static CONFIGURATION: OnceLock<PathBuf> = OnceLock::new();
    let configuration = match CONFIGURATION.get() {
        Some(known) => known,
        None => {
            let made = refresh()?;
            CONFIGURATION.get_or_init(|| made)
        }
    };
    let mut command = Command::new(name);
    command.env("APT_CONFIG", configuration).env("LC_ALL", "C");
    Ok(command)
}

/// Runs `command`, which reads nothing.
fn run(command: &mut Command) -> anyhow::Result<()> {
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
fn refresh() -> anyhow::Result<PathBuf> {
    let folder = workspace::target().join("debian/apt");
    for part in ["state/lists/partial", "cache/archives/partial", "sources"] {
        std::fs::create_dir_all(folder.join(part))?;
    }
    workspace::write(&folder.join("status"), b"")?;
    let mut text = configuration(&folder);
    if !is_debian() {
        let keyring = keyring(&folder)?;
        workspace::write(
            &folder.join("sources/debian.sources"),
            sources(&keyring).as_bytes(),
        )?;
        text.push_str(&other_sources(&folder));
    }
    let path = folder.join("apt.conf");
    workspace::write(&path, text.as_bytes())?;
    let what = "reading Debian's package lists for arm64 (into target/debian/apt)";
    progress::during(what, || {
        run(Command::new("apt-get")
            .args(["-q", "update"])
            .env("APT_CONFIG", &path))
    })
    .context("Debian's packages need apt and its archive; name a file of your own instead")?;
    Ok(path)
}

/// What apt is told: another architecture, other folders. As root it would drop to a user who cannot write here.
fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "Dir::State \"{folder}/state\";\nDir::State::status \"{folder}/status\";\nDir::Cache \"{folder}/cache\";\n\
         APT::Architecture \"arm64\";\nAPT::Architectures {{ \"arm64\"; }};\n\
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

fn sources(keyring: &Path) -> String {
    let stanza = |archive: &str, suites: &str| {
        format!(
            "Types: deb\nURIs: http://deb.debian.org/{archive}\nSuites: {suites}\nComponents: main\nSigned-By: {}\n\n",
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

fn archive_in(folder: &Path, package: &str) -> anyhow::Result<PathBuf> {
    let prefix = format!("{package}_");
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&prefix) && name.ends_with(".deb") {
            return Ok(entry.path());
        }
    }
    bail!("apt-get left no {prefix}*.deb in {}", folder.display())
}

fn extract(archive: &Path, pattern: &str) -> anyhow::Result<Vec<u8>> {
    let mut unpack = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("running dpkg-deb")?;
    let stream = unpack.stdout.take().context("dpkg-deb has no output")?;
    let output = Command::new("tar")
        .args(["--extract", "--to-stdout", "--wildcards", pattern])
        .stdin(stream)
        .stderr(Stdio::null())
        .output()
        .context("running tar")?;
    if !unpack.wait()?.success() {
        bail!("dpkg-deb cannot read {}", archive.display());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_keeps_to_its_own_folder() {
        let text = configuration(Path::new("/t"));
        for key in ["Dir::State ", "Dir::State::status ", "Dir::Cache "] {
            let line = text.lines().find(|line| line.starts_with(key));
            assert!(line.is_some_and(|line| line.contains("\"/t/")), "{text}");
        }
    }

    #[test]
    fn a_meta_package_leads_to_the_real_one() {
        let record = "Package: linux-image-cloud-arm64\nDepends: linux-base (>= 1), linux-image-6.1.0-9-cloud-arm64:arm64 (= 6.1.1-1) | x\n";
        assert_eq!(
            dependency(record, "linux-image-").as_deref(),
            Some("linux-image-6.1.0-9-cloud-arm64")
        );
        assert_eq!(
            dependency("Package: x\nDepends: kmod\n", "linux-image-"),
            None
        );
        assert_eq!(dependency("Package: x\n", "linux-image-"), None);
    }
}
