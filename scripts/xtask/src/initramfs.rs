//! The demo's initial ramdisk: Debian's static busybox, a shell on the console, nothing else.

use std::path::{Path, PathBuf};

use crate::cpio::{Archive, Kind};
use crate::{debian, workspace};

/// Where the ramdisk is made, from the repository's root; manifests name it so.
const PLACE: &str = "target/guests/initramfs.cpio";

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

/// Whether `path` is the ramdisk this tool makes.
pub fn is_ours(path: &Path) -> bool {
    path == workspace::root().join(PLACE)
}

/// The ramdisk, made if it is not there or made by an older tool.
///
/// # Errors
/// Debian's busybox could not be had.
pub fn ready() -> anyhow::Result<PathBuf> {
    let path = workspace::root().join(PLACE);
    let busybox = debian::file("busybox-static", "./bin/busybox", "busybox", "busybox-static-")?;
    let archive = archive(&std::fs::read(busybox)?)?;
    if std::fs::read(&path).ok().as_deref() != Some(&archive) {
        workspace::write(&path, &archive)?;
    }
    Ok(path)
}

fn archive(busybox: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in [
        "bin", "dev", "proc", "root", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/sbin",
    ] {
        archive.add(folder, Kind::Folder, &[])?;
    }
    archive.add("dev/console", CONSOLE, &[])?;
    archive.add("bin/busybox", Kind::Program, busybox)?;
    archive.add("bin/sh", Kind::Link, b"busybox")?;
    archive.add("init", Kind::Program, INIT.as_bytes())?;
    archive.finish()
}
