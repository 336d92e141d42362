//! Where things are: the repository's root and what is made under `target/`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The target the hypervisor and the guests are built for.
pub const BARE_TARGET: &str = "aarch64-unknown-none-softfloat";

/// The repository's root.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// Finds the file a manifest in `directory` calls `name`: relative to the manifest first, then to the
/// repository's root. What does not exist is taken to be in the first place.
pub fn resolve(directory: &Path, name: &str) -> PathBuf {
    let beside = directory.join(name);
    let in_repository = root().join(name);
    if !beside.exists() && in_repository.exists() {
        return in_repository;
    }
    beside
}

/// A path as a person wants to read it: relative to where they are, if it lies below.
pub fn show(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Writes `bytes` to `path` so that nobody ever sees half a file, making its directory first.
///
/// # Errors
/// As the file system's, naming the path.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the folder {}", show(directory)))?;
    // Tests that run beside each other may write the same file.
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.{number}.part", std::process::id()));
    let part = directory.join(name);
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("cannot write {}", show(path)))
}
