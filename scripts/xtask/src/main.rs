//! Bulkhead's host tool: builds the hypervisor, checks and packs systems, runs them on the emulator, tests.
//!
//! - `cli`: the command line. `run`: a system on the emulator. [`test`]: every test there is.
//! - `manifest`, `check`: what a system's author wrote, and whether the board has it. The rules that also
//!   hold at boot are the hypervisor's own code, linked from its library.
//! - `payload`, `bundle`: guests' images in, one file for the boot loader out.
//! - `board`, `qemu`, `tree`, `console`: a board's data, the emulator's command line and tree, its console.
//! - `fuzz`, `coverage`: the properties against a fuzzer's inputs, and what the host tests reach. `nightly`: the compiler both may need.
//! - [`bench`]: what each operation costs at EL2.
//! - `sdcard`: a card a board's firmware boots from.
//! - `trace`: the flight recorders of a run. `symbolize`: names for the addresses in a report of the hypervisor's own failure.
//! - `build`, `elf`, `apt`, `debian`, `cpio`, `initramfs`, `uio`: where images come from.

mod apt;
mod bench;
mod board;
mod build;
mod bundle;
mod check;
mod cli;
mod console;
mod coverage;
mod cpio;
mod debian;
mod elf;
mod fuzz;
mod initramfs;
mod manifest;
mod nightly;
mod payload;
mod progress;
mod qemu;
mod report;
mod run;
mod sdcard;
mod symbolize;
mod test;
mod trace;
mod tree;
mod uio;
mod workspace;

use std::io::IsTerminal as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    be_quiet_when_nobody_reads();
    match cli::main() {
        Ok(code) => code,
        Err(error) => {
            let (on, off) = if std::io::stderr().is_terminal() {
                ("\x1b[1;31m", "\x1b[0m")
            } else {
                ("", "")
            };
            eprintln!("{on}error{off}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Who reads what is printed may have seen enough (`| head`): all that runs is ended then, as by any panic, and nothing is said.
fn be_quiet_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let why = info.payload_as_str().unwrap_or_default();
        if !why.starts_with("failed printing to stdout: Broken pipe") {
            usual(info);
        }
    }));
}
