//! What can be done to the memory of a running machine behind the hypervisor's back, through QEMU's debugger port: as a
//! failing memory or a fault of the hypervisor's own would.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use regex::Regex;

/// What is done.
pub type Damage = fn(&mut Live<'_>) -> anyhow::Result<()>;

/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Descriptors of a table, and bytes of one.
const ENTRIES: u64 = 512;
const ENTRY: u64 = 8;
/// Bits of a descriptor: valid, table or page, its address, EL2's read-only and execute-never (D8.3).
const VALID: u64 = 1;
const TABLE: u64 = 0b11;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const READ_ONLY: u64 = 1 << 7;
const EXECUTE_NEVER: u64 = 1 << 54;
/// Address bits of a block of 2 MiB.
const BLOCK: u64 = 1 << 21;

/// A machine that stands still while something is done to it.
pub struct Live<'a> {
    debugger: Debugger,
    /// What its console has said so far, line by line.
    pub heard: &'a [String],
    /// The bundle, and where it was put.
    pub bundle: &'a [u8],
    bundle_at: u64,
}

impl<'a> Live<'a> {
    /// Stops the machine whose debugger port is `socket`; it goes on when this is dropped.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn stop(
        socket: &Path,
        heard: &'a [String],
        bundle: &'a [u8],
        bundle_at: u64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            debugger: Debugger::attach(socket)?,
            heard,
            bundle,
            bundle_at,
        })
    }

    /// The number in the first group of the last line that matches `pattern`.
    fn number(&self, pattern: &str) -> anyhow::Result<u64> {
        let regex = Regex::new(pattern)?;
        let found = self
            .heard
            .iter()
            .rev()
            .find_map(|line| regex.captures(line));
        let found = found.with_context(|| format!("no line matches {pattern:?}"))?;
        Ok(u64::from_str_radix(&found[1], 16)?)
    }

    fn entries(&mut self, table: u64) -> anyhow::Result<Vec<u64>> {
        (0..ENTRIES)
            .map(|index| self.debugger.read(table + index * ENTRY))
            .collect()
    }

    /// The address of the first entry at or below `table` that `wanted` holds of; `level` is the table's.
    fn find_leaf(
        &mut self,
        table: u64,
        level: u8,
        wanted: fn(u64) -> bool,
    ) -> anyhow::Result<Option<u64>> {
        for (index, entry) in (0..).zip(self.entries(table)?) {
            let is_table = entry & TABLE == TABLE && level < 3;
            if is_table {
                let found = self.find_leaf(entry & ADDRESS, level + 1, wanted)?;
                if found.is_some() {
                    return Ok(found);
                }
            } else if entry & VALID != 0 && wanted(entry) {
                return Ok(Some(table + index * ENTRY));
            }
        }
        Ok(None)
    }

    fn flip(&mut self, address: u64, bits: u64) -> anyhow::Result<()> {
        let before = self.debugger.read(address)?;
        self.debugger.write(address, before ^ bits)
    }
}

/// Where the stage-2 tables of the partition `bad` begin, as the monitor's `memory` says.
const TABLES_OF_BAD: &str = r"^\[monitor\] 0x([0-9a-f]+)\.\.0x[0-9a-f]+ tables of bad$";
/// Where EL2's own are.
const OWN_TABLES: &str = r"^\[monitor\] 0x([0-9a-f]+) tables of the hypervisor$";

/// Lets a block of `bad`'s RAM lead 2 MiB further or back, or makes it right again.
///
/// # Errors
/// The machine does not answer, or has no such block.
pub fn stage2_block(live: &mut Live<'_>) -> anyhow::Result<()> {
    let tables = live.number(TABLES_OF_BAD)?;
    // The root is level 1, of 39 bits: the partition sees nothing at 2^39 or above.
    let leaf = live.find_leaf(tables, 1, |entry| entry & TABLE == VALID)?;
    live.flip(leaf.context("no block")?, BLOCK)
}

/// QEMU virt's distributor, its ISENABLER1 and ICENABLER1, and an interrupt there that no device has: 60.
const ENABLE: u64 = 0x0800_0104;
const DISABLE: u64 = 0x0800_0184;
const NOBODYS: u32 = 1 << 28;

/// Enables interrupt 60, which is nobody's.
///
/// # Errors
/// The machine does not answer.
pub fn stray_interrupt(live: &mut Live<'_>) -> anyhow::Result<()> {
    live.debugger.write_register(ENABLE, NOBODYS)
}

/// Disables it.
///
/// # Errors
/// The machine does not answer.
pub fn no_stray_interrupt(live: &mut Live<'_>) -> anyhow::Result<()> {
    live.debugger.write_register(DISABLE, NOBODYS)
}

/// Makes the first of EL2's own pages that may be written executable, or right again.
///
/// # Errors
/// As [`stage2_block`].
pub fn own_page(live: &mut Live<'_>) -> anyhow::Result<()> {
    let root = live.number(OWN_TABLES)?;
    // The root is level 1: nothing on these boards is at 2^39 or above.
    let leaf = live.find_leaf(root, 1, |entry| entry & READ_ONLY == 0)?;
    live.flip(leaf.context("nothing can be written")?, EXECUTE_NEVER)
}

/// Changes a byte of the stored image that has `lateness` in it.
///
/// # Errors
/// The machine does not answer, or the bundle has no such word.
pub fn stored_image(live: &mut Live<'_>) -> anyhow::Result<()> {
    let mark = b"lateness";
    let found = live
        .bundle
        .windows(mark.len())
        .position(|window| window == mark);
    let at = live.bundle_at + found.context("no such image")? as u64;
    let aligned = at & !(ENTRY - 1);
    let word = live.debugger.read(aligned)?;
    let byte = word.to_le_bytes()[usize::try_from(at - aligned)?];
    ensure!(
        byte | 1 == mark[0] | 1,
        "the bundle is not at {:#x}",
        live.bundle_at
    );
    live.flip(aligned, 1 << ((at - aligned) * 8))
}

/// QEMU's side of GDB's remote protocol, with physical addresses.
struct Debugger(UnixStream);

impl Debugger {
    /// Attaches, which stops the machine.
    fn attach(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("connecting to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut debugger = Self(stream);
        ensure!(
            debugger.ask("Qqemu.PhyMemMode:1")? == "OK",
            "QEMU knows no physical memory"
        );
        Ok(debugger)
    }

    fn read(&mut self, address: u64) -> anyhow::Result<u64> {
        let answer = self.ask(&format!("m{address:x},{ENTRY:x}"))?;
        // Little-endian bytes.
        let number = u64::from_str_radix(&answer, 16)
            .with_context(|| format!("reading {address:#x}: {answer}"))?;
        Ok(number.swap_bytes())
    }

    fn write(&mut self, address: u64, value: u64) -> anyhow::Result<()> {
        let bytes = value.swap_bytes();
        let answer = self.ask(&format!("M{address:x},{ENTRY:x}:{bytes:016x}"))?;
        ensure!(answer == "OK", "writing {address:#x}: {answer}");
        Ok(())
    }

    /// Writes a device's register of 32 bits.
    fn write_register(&mut self, address: u64, value: u32) -> anyhow::Result<()> {
        let bytes = value.swap_bytes();
        let answer = self.ask(&format!("M{address:x},4:{bytes:08x}"))?;
        ensure!(answer == "OK", "writing {address:#x}: {answer}");
        Ok(())
    }

    /// Sends a packet and gives the answer's text.
    fn ask(&mut self, text: &str) -> anyhow::Result<String> {
        let sum = text.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.0, "${text}#{sum:02x}")?;
        let mut answer = Vec::new();
        loop {
            let mut byte = [0];
            if self.0.read(&mut byte)? == 0 {
                bail!("QEMU has closed its debugger port");
            }
            match byte[0] {
                b'#' => break,
                // What comes before a packet acknowledges ours.
                b'$' => answer.clear(),
                byte => answer.push(byte),
            }
        }
        let mut sum = [0; 2];
        self.0.read_exact(&mut sum)?;
        self.0.write_all(b"+")?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for Debugger {
    /// Lets the machine go on.
    fn drop(&mut self) {
        let _ = self.ask("D");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_carry_their_sum_and_numbers_their_bytes_in_order() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs
            .write_all(b"+$0102030405060708#a4+$OK#9a+$OK#9a")
            .unwrap();
        let mut debugger = Debugger(ours);
        assert_eq!(debugger.read(0x4000).unwrap(), 0x0807_0605_0403_0201);
        debugger.write(0x4000, 0x11).unwrap();
        drop(debugger);
        let mut sent = String::new();
        theirs.read_to_string(&mut sent).unwrap();
        // The sums: of the characters between $ and #, modulo 256.
        assert_eq!(sent, "$m4000,8#95+$M4000,8:1100000000000000#b1+$D#44+");
    }
}
