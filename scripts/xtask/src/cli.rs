//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use regex::Regex;

use crate::board::Choice;
use crate::run::Options;
use crate::{
    bench, build, check, coverage, fuzz, initramfs, run, sdcard, symbolize, test, trace, workspace,
};

const EXAMPLES: &str = "\
Examples:
  ./scripts/run                                  the demo: Linux and a control loop, GICv3, 4 cores
  ./scripts/run my.toml                          a system of your own
  ./scripts/run --gic 2 --cpu cortex-a53         the demo on another machine
  ./scripts/run --until 'shell ready' --timeout 60
                                                 for scripts: the console on standard output,
                                                 success when a line matches, nothing left running
  ./scripts/run --dry-run                        print QEMU's command line
  ./scripts/run --gdb                            wait for a debugger on port 1234";

/// Bulkhead's host tool.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the hypervisor's flat image and every guest
    Build,
    /// Check a manifest and print the plan it makes
    Check(CheckArguments),
    /// Check a manifest and pack it with its guests into one file for a boot loader
    Bundle {
        #[command(flatten)]
        check: CheckArguments,
        /// Where to put the bundle
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Build, check, pack and start a system on the emulator
    #[command(after_help = EXAMPLES)]
    Run(RunArguments),
    /// Run the tests: formatting, lints, host tests, emulator tests
    Test(test::Arguments),
    /// Hold the properties against what a coverage-guided fuzzer makes of the corpus; needs a nightly compiler
    Fuzz {
        /// The targets [default: all]
        targets: Vec<String>,
        /// How long each is fuzzed
        #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
        seconds: Duration,
    },
    /// Print how much of the pure core the host tests reach, file by file
    Coverage,
    /// Count what each operation costs at EL2, beside its budget and the best peer
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::Arguments),
    /// Print how large the hypervisor's image is, by section, module and symbol, and its memory
    #[command(after_help = bench::size::EXAMPLES)]
    Size(bench::size::Arguments),
    /// Attack the hypervisor for as long as you like, on every machine, with other choices each time
    Hostile(test::hostile::Arguments),
    /// Run the conformance suite on every machine and write its rules and their results as a table
    Conformance(test::conformance::Arguments),
    /// Make a card that the board's stock firmware boots the system from, or look at one
    Sdcard(sdcard::Arguments),
    /// Make the demo's initial ramdisk
    Initramfs,
    /// Run a system, take its flight recorders, and write a trace for Perfetto with a summary by cause
    Trace {
        /// The manifest [default: the demo]
        manifest: Option<PathBuf>,
        #[command(flatten)]
        machine: MachineArguments,
        /// Take the recorders after the first console line that matches
        #[arg(long, value_name = "REGEX", default_value = "shell ready")]
        after: Regex,
        /// Give up after so many seconds
        #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "120")]
        timeout: Duration,
        /// Where to put the trace
        #[arg(
            short,
            long,
            value_name = "FILE",
            default_value = "target/bulkhead/trace.json"
        )]
        output: PathBuf,
    },
    /// Name the addresses (image+0x...) in what the hypervisor said of its own failure
    Symbolize {
        /// A file with the console's text [default: standard input]
        file: Option<PathBuf>,
        /// The hypervisor's ELF file, of the very build that failed [default: the one built last]
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,
    },
}

#[derive(Args)]
struct CheckArguments {
    /// The manifest
    manifest: PathBuf,
    #[command(flatten)]
    machine: MachineArguments,
}

#[derive(Args)]
struct MachineArguments {
    /// Another board than the manifest's: a folder under platform/, or a path to one
    #[arg(long)]
    board: Option<String>,
    /// The GIC's version, where the board leaves it open
    #[arg(long, value_name = "2|3", value_parser = clap::value_parser!(u8).range(2..=3))]
    gic: Option<u8>,
    /// The CPU model, as QEMU names it: cortex-a53, cortex-a72, max
    #[arg(long, value_name = "NAME")]
    cpu: Option<String>,
}

impl MachineArguments {
    fn choice(&self) -> Choice {
        Choice {
            gic: self.gic,
            cpu: self.cpu.clone(),
            cpus: None,
        }
    }
}

#[derive(Args)]
struct RunArguments {
    /// The manifest [default: platform/BOARD/demo.toml]
    manifest: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineArguments,
    /// End with success at the first console line that matches; standard input is typed on the console
    #[arg(long, value_name = "REGEX")]
    until: Option<Regex>,
    /// End with failure after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Let executed instructions be the clock: slower, and the same every time
    #[arg(long)]
    icount: bool,
    /// Start stopped, and wait for a debugger on port 1234
    #[arg(long)]
    gdb: bool,
    /// Print QEMU's command line and start nothing
    #[arg(long)]
    dry_run: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

/// Does what the command line says.
///
/// # Errors
/// What could not be done, for a person to read.
pub fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Build => {
            let image = build::hypervisor()?;
            build::all_guests()?;
            println!("{}", workspace::show(&image));
        }
        Command::Check(arguments) => print!("{}", checked(&arguments)?.plan),
        Command::Bundle { check, output } => {
            let checked = checked(&check)?;
            workspace::write(&output, &checked.bundle)?;
            print!("{}", checked.plan);
            println!("{}: {} bytes", output.display(), checked.bundle.len());
        }
        Command::Run(arguments) => return run::run(&options(arguments)),
        Command::Conformance(arguments) => return test::conformance::main(&arguments),
        Command::Fuzz { targets, seconds } => return fuzz::main(&targets, seconds),
        Command::Coverage => return coverage::main(),
        Command::Bench(arguments) => return bench::main(&arguments),
        Command::Size(arguments) => bench::size::main(&arguments)?,
        Command::Hostile(arguments) => return test::hostile::main(&arguments),
        Command::Test(arguments) => return test::main(&arguments),
        Command::Trace {
            manifest,
            machine,
            after,
            timeout,
            output,
        } => trace::run(&trace::Options {
            manifest,
            choice: machine.choice(),
            after,
            timeout,
            output,
        })?,
        Command::Sdcard(arguments) => return sdcard::main(&arguments),
        Command::Symbolize { file, image } => {
            symbolize::run(file.as_deref(), image.as_deref())?;
        }
        Command::Initramfs => println!("{}", workspace::show(&initramfs::ready()?)),
    }
    Ok(ExitCode::SUCCESS)
}

fn checked(arguments: &CheckArguments) -> anyhow::Result<check::Checked> {
    let machine = &arguments.machine;
    check::file(
        &arguments.manifest,
        machine.board.as_deref(),
        &machine.choice(),
    )
}

fn options(arguments: RunArguments) -> Options {
    Options {
        choice: arguments.machine.choice(),
        manifest: arguments.manifest,
        board: arguments.machine.board,
        until: arguments.until,
        timeout: arguments.timeout,
        icount: arguments.icount,
        gdb: arguments.gdb,
        dry_run: arguments.dry_run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }
}
