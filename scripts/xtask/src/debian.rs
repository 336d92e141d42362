//! Files from Debian's arm64 packages: kernels, busybox, board trees.
//!
//! A package is downloaded once with the machine's apt, which checks its signature, and what was taken out of it is
//! kept under `target/debian/PACKAGE/`. Remove that folder to get a newer version.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};

use crate::apt::{Packages, apt, run};
use crate::{progress, workspace};

/// Tests run beside each other: one of them downloads, and the others find it there.
static TAKING: Mutex<()> = Mutex::new(());

/// How many meta packages may stand before the package that has the files.
const META_DEPTH: usize = 4;

/// The kernel in `package`: an uncompressed arm64 Image.
///
/// # Errors
/// No such package, or none that holds a kernel.
pub fn kernel(package: &str) -> anyhow::Result<PathBuf> {
    file(package, "./boot/vmlinuz-*", "vmlinuz", "linux-image-")
}

/// The file at `path` in `package`, kept under its own name.
///
/// # Errors
/// No such package or file, or the download failed.
pub fn packaged(package: &str, path: &str) -> anyhow::Result<PathBuf> {
    let name = path.rsplit('/').next().unwrap_or(path);
    file(package, &format!("./{path}"), name, "linux-image-")
}

/// The file that matches `pattern` in `package`, kept as `name`. A meta package is followed to the one it
/// depends on whose name starts with `follow`.
///
/// # Errors
/// No such package or file, or the download failed.
pub fn file(package: &str, pattern: &str, name: &str, follow: &str) -> anyhow::Result<PathBuf> {
    let folder = workspace::target().join("debian").join(package);
    let path = folder.join(name);
    let _alone = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if path.exists() {
        return Ok(path);
    }
    let real = behind_meta(package, follow)?;
    take_out(
        Packages::Guests,
        &real,
        &folder,
        &[(pattern.to_string(), name)],
    )?;
    Ok(path)
}

/// The files called `names` in the folder `inside` of a package of firmware, which Debian keeps apart from free software
/// (non-free-firmware).
///
/// # Errors
/// No such package or file, or the download failed.
pub fn firmware(package: &str, inside: &str, names: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let folder = workspace::target().join("debian").join(package);
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let _alone = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if !paths.iter().all(|path| path.exists()) {
        let wanted = names
            .iter()
            .map(|name| (format!("{inside}/{name}"), &name[..]));
        take_out(
            Packages::Firmware,
            package,
            &folder,
            &wanted.collect::<Vec<_>>(),
        )?;
    }
    Ok(paths)
}

/// Downloads `package` and keeps the first file that matches each pattern under its name in `folder`.
fn take_out(
    packages: Packages,
    package: &str,
    folder: &Path,
    wanted: &[(String, &str)],
) -> anyhow::Result<()> {
    let archive = download(packages, package, folder)?;
    for (pattern, name) in wanted {
        let bytes = extract(&archive, pattern)?;
        if bytes.is_empty() {
            bail!("Debian's package {package} has no file {pattern}");
        }
        workspace::write(&folder.join(name), &bytes)?;
    }
    // The archive is of no more use; tens of megabytes each.
    std::fs::remove_file(&archive).with_context(|| format!("removing {}", archive.display()))
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
    let output = apt(Packages::Guests, "apt-cache")?
        .args(["show", "--no-all-versions", package])
        .output()
        .context("running apt-cache")?;
    if !output.status.success() {
        bail!("Debian has no package {package} for arm64");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Unpacks arm64 packages into `folder`, as an installation would lie there.
///
/// # Errors
/// No such package, or the download failed.
pub fn unpack(packages: &[&str], folder: &Path) -> anyhow::Result<()> {
    packages
        .iter()
        .try_for_each(|package| unpack_one(Packages::Guests, package, folder))
}

/// As [`unpack`], packages of programs that run on this machine.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_tools(packages: &[&str], folder: &Path) -> anyhow::Result<()> {
    packages
        .iter()
        .try_for_each(|package| unpack_one(Packages::Host, package, folder))
}

fn unpack_one(packages: Packages, package: &str, folder: &Path) -> anyhow::Result<()> {
    let archive = download(packages, package, folder)?;
    run(Command::new("dpkg-deb").arg("-x").args([&archive, folder]))?;
    std::fs::remove_file(&archive).with_context(|| format!("removing {}", archive.display()))
}

/// The archive of a package that is for all machines, downloaded into `folder`.
///
/// # Errors
/// As [`unpack`].
pub fn archive(package: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    download(Packages::Guests, package, folder)
}

fn download(packages: Packages, package: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let what = format!("downloading Debian's {package}");
    let output = progress::during(&what, || {
        run(apt(packages, "apt-get")?
            .args(["-q", "download", package])
            .current_dir(folder))
    });
    output.with_context(|| format!("downloading Debian's {package}"))?;
    archive_in(folder, package)
}

/// The archive of `package` in `folder`.
pub fn archive_in(folder: &Path, package: &str) -> anyhow::Result<PathBuf> {
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

/// What the files that match `pattern` in the package `archive` hold, one after the other.
pub fn extract(archive: &Path, pattern: &str) -> anyhow::Result<Vec<u8>> {
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
