//! Linux' generic UIO driver for Debian's kernel.
//!
//! Debian's arm64 kernels have `uio.ko`, but leave `uio_pdrv_genirq` out (CONFIG_UIO_PDRV_GENIRQ is not set in any of them,
//! nor is UIO_DMEM_GENIRQ or VFIO_PLATFORM). It is built here as on any Debian machine: from the source in Debian's
//! `linux-source`, against the headers of that very kernel, by Debian's compiler for arm64. Everything is kept under
//! `target/debian/uio-RELEASE/`; the 190 MB of packages are not.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};

use crate::{debian, progress, workspace};

/// The package of the kernel that the tests boot.
const KERNEL: &str = "linux-image-cloud-arm64";
/// What precedes its release's name in a kernel.
const BANNER: &[u8] = b"Linux version ";
/// The driver.
const DRIVER: &str = "uio_pdrv_genirq";
/// The compiler and what it needs to run: GCC 12 is what Debian 12 builds its kernels with.
const COMPILER: &[&str] = &[
    "gcc-12-aarch64-linux-gnu",
    "cpp-12-aarch64-linux-gnu",
    "binutils-aarch64-linux-gnu",
];
/// How the compiler's programs begin.
const PREFIX: &str = "usr/bin/aarch64-linux-gnu-";

/// `uio.ko` and `uio_pdrv_genirq.ko` for the kernel in `linux-image-cloud-arm64`.
///
/// # Errors
/// A package could not be had, or `make` or the compiler refuses.
pub fn modules() -> anyhow::Result<[PathBuf; 2]> {
    // Tests run beside each other; one of them builds.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let kernel = std::fs::read(debian::kernel(KERNEL)?)?;
    let release = release(&kernel).context("Debian's kernel does not say which release it is")?;
    let core = debian::file(
        &format!("linux-image-{release}"),
        "./lib/modules/*/kernel/drivers/uio/uio.ko",
        "uio.ko",
        "-",
    )?;
    let folder = workspace::target().join(format!("debian/uio-{release}"));
    let driver = folder.join(format!("{DRIVER}.ko"));
    if !driver.exists() {
        let built = build(&release, &folder).with_context(|| format!("building {DRIVER}"))?;
        workspace::write(&driver, &built)?;
        std::fs::remove_dir_all(folder.join("build"))?;
    }
    Ok([core, driver])
}

/// The release a kernel's image names, as in `6.1.0-9-cloud-arm64`.
fn release(kernel: &[u8]) -> Option<String> {
    let at = kernel
        .windows(BANNER.len())
        .position(|window| window == BANNER)?;
    let rest = kernel.get(at + BANNER.len()..)?;
    let name = rest.split(|byte| *byte == b' ').next()?;
    let plain = name
        .iter()
        .all(|byte| byte.is_ascii_graphic() && *byte != b'/');
    (plain && !name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// The kernel's series, as in `6.1`.
fn series(release: &str) -> String {
    let parts: Vec<&str> = release.split('.').take(2).collect();
    parts.join(".")
}

fn build(release: &str, folder: &Path) -> anyhow::Result<Vec<u8>> {
    let root = folder.join("build");
    let common = format!(
        "linux-headers-{}-common",
        release.trim_end_matches("-cloud-arm64")
    );
    let headers = format!("linux-headers-{release}");
    let kbuild = format!("linux-kbuild-{}", series(release));
    debian::unpack(&[&headers, &common], &root)?;
    debian::unpack_tools(&[&[kbuild.as_str()], COMPILER].concat(), &root)?;
    let module = root.join("module");
    let source = source(&series(release), &root)?;
    workspace::write(&module.join(format!("{DRIVER}.c")), &source)?;
    let makefile = format!("obj-m := {DRIVER}.o\n");
    workspace::write(&module.join("Makefile"), makefile.as_bytes())?;
    // The headers' own Makefile names the other half of them where an installation would have put it.
    let headers = root.join("usr/src").join(headers);
    let include = format!(
        "include {}/Makefile\n",
        root.join("usr/src").join(common).display()
    );
    workspace::write(&headers.join("Makefile"), include.as_bytes())?;
    make(&headers, &module, &root)?;
    Ok(std::fs::read(module.join(format!("{DRIVER}.ko")))?)
}

/// The driver's source: one file out of the archive in `linux-source`.
fn source(series: &str, folder: &Path) -> anyhow::Result<Vec<u8>> {
    let name = format!("linux-source-{series}");
    let package = debian::archive(&name, folder)?;
    let script = format!(
        "dpkg-deb --fsys-tarfile '{}' 2>/dev/null | tar xO ./usr/src/{name}.tar.xz 2>/dev/null | xz -dc -T0 2>/dev/null |
        tar xO --occurrence=1 {name}/drivers/uio/{DRIVER}.c",
        package.display()
    );
    let what = format!("unpacking {DRIVER} from {name}");
    let output = progress::during(&what, || {
        Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .output()
    })?;
    std::fs::remove_file(&package)?;
    if output.stdout.is_empty() {
        bail!(
            "{name} has no {DRIVER}.c: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

fn make(headers: &Path, module: &Path, root: &Path) -> anyhow::Result<()> {
    let prefix = root.join(PREFIX);
    let prefix = prefix.display();
    let libraries = std::fs::read_dir(root.join("usr/lib"))?
        .flatten()
        .map(|entry| entry.path().display().to_string());
    let libraries: Vec<String> = libraries.collect();
    let output = Command::new("make")
        .arg("-C")
        .arg(headers)
        .arg(format!("M={}", module.display()))
        .args(["ARCH=arm64", "modules"])
        .arg(format!("CROSS_COMPILE={prefix}"))
        .arg(format!("CC={prefix}gcc-12 -B{prefix}"))
        // The tools' own libraries, which are installed nowhere.
        .env("LD_LIBRARY_PATH", libraries.join(":"))
        .stdin(Stdio::null())
        .output()
        .context("`make` is missing: install make")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_says_which_release_it_is() {
        let kernel = b"\0\x01Linux version 6.1.0-9-cloud-arm64 (debian-kernel) #1";
        let found = release(kernel);
        assert_eq!(found.as_deref(), Some("6.1.0-9-cloud-arm64"));
        assert_eq!(series("6.1.0-9-cloud-arm64"), "6.1");
        assert_eq!(release(b"Linux version "), None);
        assert_eq!(release(b"no kernel"), None);
        assert_eq!(release(b"Linux version ../x (y)"), None);
    }
}
