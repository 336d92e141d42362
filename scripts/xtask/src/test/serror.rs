//! An SError out of a guest, which QEMU has no device for and raises for nobody (its system emulation knows the virtual one
//! alone; failed accesses are synchronous): made over its debugger's port (GDB's remote serial protocol).
//!
//! The guest comes to EL2 by an exception of its own. Where the first instruction of that vector would run, the core is sent
//! to the vector for an SError of a lower level instead, with ESR_EL2 as an SError sets it. ELR_EL2, SPSR_EL2, PSTATE and the
//! stack are what any exception leaves (Arm ARM D1.3.1), so from there on everything is as if an SError had come; that the
//! core would take one there, masks and routing, is what this cannot show.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::{build, elf};

/// The symbol of EL2's vectors.
const VECTORS: &str = "vectors";
/// Vectors of exceptions from a lower level in AArch64 (Arm ARM table D1-8).
const SYNCHRONOUS: u64 = 0x400;
const SERROR: u64 = 0x580;
/// ESR_EL2 of an SError: class 0x2f, 32 bits, DFSC 0b010001 (D24.2.45).
const SYNDROME: u64 = 0x2f << 26 | 1 << 25 | 0x11;
/// `msr esr_el2, x0`.
const MSR_ESR_EL2_X0: u32 = 0xd51c_5200;
/// Numbers of registers (GDB's org.gnu.gdb.aarch64.core).
const X0: u8 = 0;
const PC: u8 = 32;
const CPSR: u8 = 33;
/// CPSR: the exception level, and EL2.
const LEVEL: u64 = 0b1100;
const EL2: u64 = 0b1000;
/// Bytes of an instruction.
const LONG: u64 = 4;
/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Exceptions of other cores, and of guests at the same address, that are let go by.
const OTHERS: usize = 10_000;

/// QEMU's arguments, and the debugger's port they open.
pub fn port() -> ([String; 2], PathBuf) {
    // Not in the test's folder: a socket's path is 107 bytes at most.
    let name = format!(
        "bulkhead-{}-{:?}.gdb",
        std::process::id(),
        std::thread::current().id()
    );
    let name: String = name.replace(['(', ')'], "-");
    let path = std::env::temp_dir().join(name);
    let port = format!("unix:{},server=on,wait=off", path.display());
    (["-gdb".to_string(), port], path)
}

/// Raises an SError out of the guest of core `cpu`, which often calls; EL2's image lies at `image`.
///
/// # Errors
/// QEMU does not answer as it should, or the guest does not come to EL2.
pub fn raise(port: &Path, cpu: u8, image: u64) -> anyhow::Result<()> {
    let symbols = std::fs::read(build::symbols())?;
    let vectors = image + elf::symbol(&symbols, VECTORS).context("the image has no `vectors`")?;
    let mut debugger = Debugger::connect(port)?;
    let result = debugger.raise(u64::from(cpu) + 1, vectors);
    let gone = debugger.ask("D");
    result?;
    gone.map(drop)
}

struct Debugger(UnixStream);

impl Debugger {
    fn connect(port: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(port).context("QEMU's debugger's port")?;
        // Nobody else comes by this name.
        std::fs::remove_file(port).ok();
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut debugger = Self(stream);
        debugger.ask("?")?;
        Ok(debugger)
    }

    /// `thread` is QEMU's number of the core, from 1.
    fn raise(&mut self, thread: u64, vectors: u64) -> anyhow::Result<()> {
        let (entry, serror) = (vectors + SYNCHRONOUS, vectors + SERROR);
        self.stop_at(thread, entry)?;
        let (first, x0) = (self.memory(serror)?, self.register(X0)?);
        self.set_memory(serror, MSR_ESR_EL2_X0)?;
        self.set_register(X0, SYNDROME)?;
        self.set_register(PC, serror)?;
        self.step(thread)?;
        let after = self.register(PC)?;
        self.set_memory(serror, first)?;
        self.set_register(X0, x0)?;
        self.set_register(PC, serror)?;
        ensure!(after == serror + LONG, "the core is at {after:#x}");
        Ok(())
    }

    /// Runs until the core of `thread` is at `entry`, at EL2.
    fn stop_at(&mut self, thread: u64, entry: u64) -> anyhow::Result<()> {
        for _ in 0..OTHERS {
            self.done(&format!("Z0,{entry:x},{LONG}"))?;
            let stopped = self.ask("vCont;c")?;
            self.done(&format!("z0,{entry:x},{LONG}"))?;
            let (_, who) = stopped.split_once("thread:").context("nobody stopped")?;
            let who = u64::from_str_radix(who.split(';').next().unwrap_or_default(), 16)?;
            self.done(&format!("Hg{who:x}"))?;
            let at = (self.register(PC)?, self.register(CPSR)? & LEVEL);
            if who == thread && at == (entry, EL2) {
                return Ok(());
            }
            self.step(who)?;
        }
        bail!("the guest does not come to EL2");
    }

    fn step(&mut self, thread: u64) -> anyhow::Result<()> {
        self.ask(&format!("vCont;s:{thread:x}")).map(drop)
    }

    fn register(&mut self, number: u8) -> anyhow::Result<u64> {
        let text = self.ask(&format!("p{number:x}"))?;
        let mut bytes = bytes(&text)?;
        bytes.resize(8, 0);
        let bytes = bytes.try_into().map_err(|_| anyhow::anyhow!("{text}"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn set_register(&mut self, number: u8, value: u64) -> anyhow::Result<()> {
        self.done(&format!("P{number:x}={}", hex(&value.to_le_bytes())))
    }

    fn memory(&mut self, address: u64) -> anyhow::Result<u32> {
        let text = self.ask(&format!("m{address:x},{LONG}"))?;
        let bytes = bytes(&text)?.try_into();
        Ok(u32::from_le_bytes(
            bytes.map_err(|_| anyhow::anyhow!("{text}"))?,
        ))
    }

    fn set_memory(&mut self, address: u64, value: u32) -> anyhow::Result<()> {
        self.done(&format!(
            "M{address:x},{LONG}:{}",
            hex(&value.to_le_bytes())
        ))
    }

    fn done(&mut self, question: &str) -> anyhow::Result<()> {
        let answer = self.ask(question)?;
        ensure!(answer == "OK", "{question}: {answer}");
        Ok(())
    }

    /// Sends a packet and gives the answer's.
    fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        let sum = question.bytes().fold(0, u8::wrapping_add);
        write!(self.0, "${question}#{sum:02x}")?;
        let mut text = String::new();
        let mut byte = [0];
        while !text.contains('#') {
            self.0
                .read_exact(&mut byte)
                .with_context(|| format!("QEMU does not answer {question}"))?;
            text.push(char::from(byte[0]));
        }
        // Two digits of a checksum, which a socket does not need.
        self.0.read_exact(&mut [0; 2])?;
        self.0.write_all(b"+")?;
        let (_, answer) = text.split_once('$').context("no packet")?;
        Ok(answer.trim_end_matches('#').to_string())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let pair = |pair| anyhow::Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    digits.map(pair).collect()
}
