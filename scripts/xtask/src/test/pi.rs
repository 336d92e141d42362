//! Starting QEMU's Raspberry Pi 4 as its firmware would in other ways than the usual: with TF-A at EL3, with a core that
//! does not come. (From a card: `card`.)

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::board::Machine;
use crate::qemu::{self, Launch};
use crate::{debian, tree, workspace};

/// Where the firmware's stub has its header: magic, which the firmware replaces by zero, version, the tree's address and
/// the kernel's, 32 bits each (armstub8.S).
const STUB_HEADER: usize = 0xf0;
/// Boot loaders put the tree behind the bundle at a multiple of this.
const TREE_ALIGNMENT: u64 = 2 << 20;

/// QEMU's arguments for a board whose firmware's stub is TF-A, Debian's build: it starts at EL3 on all cores, puts PSCI
/// into the tree, and enters the hypervisor at EL2. What the firmware does before is done here.
///
/// # Errors
/// TF-A cannot be had, or QEMU writes no tree.
pub fn with_tf_a(launch: &Launch<'_>, folder: &Path) -> anyhow::Result<Vec<String>> {
    let board = &launch.machine.board;
    let bundle = launch.bundle.context("TF-A without a bundle")?;
    let size = std::fs::metadata(bundle)?.len();
    let tree_at = (board.bundle_at + size).next_multiple_of(TREE_ALIGNMENT);
    // The tree with RAM and the bundle's place, as QEMU hands it over where it boots the image itself.
    let tree = folder.join("firmware.dtb");
    let mut dump = qemu::arguments(launch)?;
    dump.extend([
        "-machine".to_string(),
        format!("dumpdtb={}", tree.display()),
    ]);
    run(&dump)?;
    let package = "arm-trusted-firmware";
    let inside = "./usr/lib/arm-trusted-firmware/rpi4/bl31.bin";
    let stub = stub(
        &std::fs::read(debian::file(package, inside, "rpi4.bin", package)?)?,
        tree_at,
        board.image_at,
    )?;
    let stub_file = folder.join("armstub.bin");
    workspace::write(&stub_file, &stub)?;
    // TF-A makes its own UART, the PL011, the tree's stdout-path: QEMU's first serial port.
    let mut machine = launch.machine.clone();
    if let Some(emulator) = &mut machine.board.emulator {
        emulator.serial = 0;
    }
    let mut arguments = qemu::arguments(&Launch {
        machine: &machine,
        ..launch.clone()
    })?;
    for option in ["-kernel", "-initrd", "-dtb"] {
        if let Some(at) = arguments.iter().position(|argument| argument == option) {
            arguments.drain(at..at + 2);
        }
    }
    let blobs = [
        (&*stub_file, 0),
        (launch.image, board.image_at),
        (bundle, board.bundle_at),
        (&*tree, tree_at),
    ];
    for (file, at) in blobs {
        let file = file.display();
        let device = format!("loader,file={file},addr={at:#x},force-raw=on");
        arguments.extend(["-device".to_string(), device]);
    }
    Ok(arguments)
}

/// `stub` with its header as the firmware fills it in.
fn stub(stub: &[u8], tree_at: u64, kernel_at: u64) -> anyhow::Result<Vec<u8>> {
    let mut stub = stub.to_vec();
    let words = [0, 0, u32::try_from(tree_at)?, u32::try_from(kernel_at)?];
    let header = words.map(u32::to_le_bytes).concat();
    let place = stub.get_mut(STUB_HEADER..STUB_HEADER + header.len());
    place
        .context("the stub has no header")?
        .copy_from_slice(&header);
    Ok(stub)
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut command: Command = qemu::command(arguments);
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("QEMU: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A tree whose CPU 3 waits on another word than it does, in `folder`: that core does not come.
///
/// # Errors
/// The board's tree cannot be had, or has no such CPU.
pub fn tree_without_cpu_3(machine: &Machine, folder: &Path) -> anyhow::Result<PathBuf> {
    /// A word in page 0 that nobody looks at.
    const NOBODYS: u64 = 0x500;
    let card = machine.board.card.as_ref().context("no [card]")?;
    let mut bytes = std::fs::read(qemu::tree_path(machine, &card.tree)?)?;
    let release = tree::property(&bytes, "/cpus/cpu@3", "cpu-release-addr")?;
    let release = release.context("no spin table")?;
    bytes[release].copy_from_slice(&NOBODYS.to_be_bytes());
    let path = folder.join("cpu3.dtb");
    workspace::write(&path, &bytes)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stub_learns_where_tree_and_kernel_are() {
        let filled = stub(&[0x5a; 0x200], 0x0a00_0000, 0x20_0000).unwrap();
        assert_eq!(filled[0xf0..0xf4], [0, 0, 0, 0]);
        assert_eq!(filled[0xf8..0x100], [0, 0, 0, 0x0a, 0, 0, 0x20, 0]);
        assert_eq!(filled[..0xf0], [0x5a; 0xf0]);
        assert!(stub(&[0; 0xf0], 0, 0).is_err());
    }
}
