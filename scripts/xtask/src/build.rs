//! Builds the hypervisor and the guests: cargo for the code, [`elf`] for the flat image.
//!
//! The hypervisor is built alone (`-p bulkhead`), so that no host tool's features reach it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use toml::de::{DeTable, DeValue};

use crate::{elf, workspace};

/// Builds the hypervisor and writes it as a flat binary.
///
/// # Errors
/// It does not compile, or links to something that is no image.
pub fn hypervisor() -> anyhow::Result<PathBuf> {
    build_once("bulkhead")?;
    let flat = elf::flatten(&std::fs::read(artifact("bulkhead"))?)?;
    let image = image_path();
    if std::fs::read(&image).ok().as_deref() != Some(&flat) {
        workspace::write(&image, &flat)?;
    }
    Ok(image)
}

/// Where the hypervisor's flat image is put.
pub fn image_path() -> PathBuf {
    workspace::target().join("bulkhead/bulkhead.img")
}

/// The hypervisor's ELF file, with the symbols a debugger wants.
pub fn symbols() -> PathBuf {
    artifact("bulkhead")
}

/// A guest of this repository: a program of a package that says `[package.metadata.bulkhead] guest = true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The program: the package's name, or that of a file in its `src/bin`.
    pub name: String,
    package: String,
}

/// The guests there are, by name.
///
/// # Errors
/// A guest's `Cargo.toml` cannot be read.
pub fn guests() -> anyhow::Result<Vec<Guest>> {
    let mut guests = Vec::new();
    let folder = workspace::root().join("guests");
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(guests);
    };
    for entry in entries {
        let package = entry?.path();
        let file = package.join("Cargo.toml");
        if file.exists() {
            let text = std::fs::read_to_string(&file)?;
            guests.extend(guests_of(&text, &programs(&package)));
        }
    }
    guests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(guests)
}

/// The file names, without `.rs`, in a package's `src/bin`, and an empty one for its `src/main.rs`.
fn programs(package: &Path) -> Vec<String> {
    let mut programs = Vec::new();
    if package.join("src/main.rs").exists() {
        programs.push(String::new());
    }
    let entries = std::fs::read_dir(package.join("src/bin"));
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        programs.push(name.trim_end_matches(".rs").to_string());
    }
    programs
}

/// The guests a package's `Cargo.toml` declares, given its `programs`.
fn guests_of(text: &str, programs: &[String]) -> Vec<Guest> {
    let Ok(table) = DeTable::parse(text) else {
        return Vec::new();
    };
    let table = table.into_inner();
    let package = table.get("package").map(|package| package.get_ref());
    let is_guest = package
        .and_then(|package| package.get("metadata")?.get_ref().get("bulkhead"))
        .and_then(|bulkhead| bulkhead.get_ref().get("guest")?.get_ref().as_bool());
    let name = package.and_then(|package| package.get("name")?.get_ref().as_str());
    let (Some(true), Some(name)) = (is_guest, name) else {
        return Vec::new();
    };
    let mut names: Vec<String> = programs
        .iter()
        .map(|program| if program.is_empty() { name } else { program })
        .map(str::to_string)
        .collect();
    names.extend(named_programs(&table));
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|program| Guest {
            name: program,
            package: name.to_string(),
        })
        .collect()
}

/// The names in `[[bin]]`.
fn named_programs(table: &DeTable<'_>) -> Vec<String> {
    let Some(DeValue::Array(bins)) = table.get("bin").map(|bins| bins.get_ref()) else {
        return Vec::new();
    };
    bins.iter()
        .filter_map(|bin| bin.get_ref().get("name")?.get_ref().as_str())
        .map(str::to_string)
        .collect()
}

/// Builds `guest`'s package and gives the program's ELF file.
///
/// # Errors
/// It does not compile.
pub fn guest(guest: &Guest) -> anyhow::Result<PathBuf> {
    build_once(&guest.package)?;
    Ok(artifact(&guest.name))
}

/// Builds the package `name`, a program for a guest's operating system, and gives its ELF file.
///
/// # Errors
/// It does not compile.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    build_once(name)?;
    Ok(artifact(name))
}

/// The packages that have guests in them.
///
/// # Errors
/// As [`guests`].
pub fn guest_packages() -> anyhow::Result<Vec<String>> {
    let mut packages: Vec<String> = guests()?.into_iter().map(|guest| guest.package).collect();
    packages.sort();
    packages.dedup();
    Ok(packages)
}

/// Builds every guest.
///
/// # Errors
/// One does not compile.
pub fn all_guests() -> anyhow::Result<()> {
    for package in guest_packages()? {
        build_once(&package)?;
    }
    Ok(())
}

/// Builds `package` unless this process has done so: cargo takes a moment even where nothing has changed.
fn build_once(package: &str) -> anyhow::Result<()> {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.contains(package) {
        cargo_build(package)?;
        built.insert(package.to_string());
    }
    Ok(())
}

fn artifact(name: &str) -> PathBuf {
    workspace::target()
        .join(workspace::BARE_TARGET)
        .join("release")
        .join(name)
}

fn cargo_build(package: &str) -> anyhow::Result<()> {
    let status = cargo()
        .args(["build", "--release", "--target", workspace::BARE_TARGET])
        .args(["--package", package])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("running cargo")?;
    if !status.success() {
        bail!("building {package} failed");
    }
    Ok(())
}

/// Cargo, at the repository's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, programs: &[&str]) -> Vec<String> {
        let programs: Vec<String> = programs.iter().map(ToString::to_string).collect();
        let guests = guests_of(text, &programs);
        guests.into_iter().map(|guest| guest.name).collect()
    }

    #[test]
    fn a_package_that_says_so_is_a_guest() {
        let text = "[package]\nname = \"loop\"\n[package.metadata.bulkhead]\nguest = true\n";
        assert_eq!(names(text, &[""]), ["loop"]);
        assert_eq!(names(text, &["timer", "gic"]), ["gic", "timer"]);
        let bins = format!("{text}[[bin]]\nname = \"other\"\npath = \"x.rs\"\n");
        assert_eq!(names(&bins, &[]), ["other"]);
        assert!(names("[package]\nname = \"rt\"\n", &[""]).is_empty());
        assert!(names("not toml [", &[""]).is_empty());
    }
}
