//! The initial ramdisks made here: Debian's static busybox, a shell on the console, nothing else; and the same with
//! what it takes to use a channel through UIO.

use std::path::{Path, PathBuf};

use crate::cpio::{Archive, Kind};
use crate::{build, debian, uio, workspace};

/// Where the ramdisk is made, from the repository's root; manifests name it so.
const PLACE: &str = "target/guests/initramfs.cpio";
/// The one with UIO's modules (`/lib/*.ko`) and `linux-uio` (`guests/linux-uio`).
const UIO_PLACE: &str = "target/guests/uio.cpio";
/// The program that uses a channel through UIO.
const UIO_PROGRAM: &str = "linux-uio";

/// The console: major 5, minor 1 (Linux, Documentation/admin-guide/devices.txt).
const CONSOLE: Kind = Kind::Device { major: 5, minor: 1 };

const INIT: &str = r#"#!/bin/busybox sh
# First process of the demo's Linux: mounts what a shell needs, then keeps a shell on the console.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/ PS1='# '
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
/bin/busybox --install -s
echo "bulkhead: Linux $(uname -r), $(nproc) CPUs, up $(cut -d' ' -f1 /proc/uptime) s"
echo "bulkhead: shell ready"
while true; do
    setsid cttyhack sh || sleep 1
done
"#;

/// The ramdisk at `path`, made if it is not there or made by an older tool; none if it is not one of this tool's.
pub fn at(path: &Path) -> Option<anyhow::Result<PathBuf>> {
    if path == workspace::root().join(PLACE) {
        Some(ready())
    } else if path == workspace::root().join(UIO_PLACE) {
        Some(with_uio())
    } else {
        None
    }
}

/// The demo's ramdisk.
///
/// # Errors
/// Debian's busybox could not be had.
pub fn ready() -> anyhow::Result<PathBuf> {
    make(PLACE, &[])
}

/// The ramdisk with UIO.
fn with_uio() -> anyhow::Result<PathBuf> {
    let [core, driver] = uio::modules()?;
    let program = build::program(UIO_PROGRAM)?;
    let more = [
        ("lib/uio.ko", std::fs::read(core)?),
        ("lib/uio_pdrv_genirq.ko", std::fs::read(driver)?),
        ("bin/linux-uio", std::fs::read(program)?),
    ];
    make(UIO_PLACE, &more)
}

fn make(place: &str, more: &[(&str, Vec<u8>)]) -> anyhow::Result<PathBuf> {
    let path = workspace::root().join(place);
    let busybox = debian::file(
        "busybox-static",
        "./bin/busybox",
        "busybox",
        "busybox-static-",
    )?;
    let archive = archive(&std::fs::read(busybox)?, more)?;
    if std::fs::read(&path).ok().as_deref() != Some(&archive) {
        workspace::write(&path, &archive)?;
    }
    Ok(path)
}

fn archive(busybox: &[u8], more: &[(&str, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in [
        "bin", "dev", "lib", "proc", "root", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/sbin",
    ] {
        archive.add(folder, Kind::Folder, &[])?;
    }
    archive.add("dev/console", CONSOLE, &[])?;
    archive.add("bin/busybox", Kind::Program, busybox)?;
    archive.add("bin/sh", Kind::Link, b"busybox")?;
    archive.add("init", Kind::Program, INIT.as_bytes())?;
    for (name, content) in more {
        archive.add(name, Kind::Program, content)?;
    }
    archive.finish()
}
