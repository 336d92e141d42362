//! `cargo xtask bench`: what each operation costs at EL2, beside its budget and the best peer.
//!
//! - [`plugin`]: QEMU's counting plugin and what it says. [`figures`]: the figures of a row.
//! - [`rows`]: the table of rows, budgets and peers. `report`: the table for people.
//! - `saved`: figures in a file, compared with those in another. `plot`, `markdown`: a picture of them, and a table for a document.
//! - [`graph`]: what the short path may call. [`size`]: how large the image is.
//! - [`profile`], [`symbols`]: which functions of the image the instructions are in.
//!
//! Instructions are exact and the same on every run of a build: the clock is the count of instructions (`-icount`).

pub mod figures;
pub mod graph;
mod markdown;
mod plot;
pub mod plugin;
pub mod profile;
pub mod recorder;
mod report;
pub mod rows;
mod saved;
pub mod size;
pub mod symbols;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use self::plugin::Counts;
use self::rows::{ROWS, Row};
use self::saved::{Measured, Saved};
use crate::{test, workspace};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  cargo xtask bench                              every machine: virt with GICv3 and GICv2, raspi4b
  cargo xtask bench --gic 3                      one of them
  cargo xtask bench --save before.txt            keep the figures; later, what has changed:
  cargo xtask bench --compare before.txt
  cargo xtask bench --svg bench.svg              a picture of the table
  cargo xtask bench --storms                     the control loop beside a partition that does its worst
  cargo xtask bench --linux                      how much of Linux's boot is EL2's
  cargo xtask bench --gic 3 --profile ipi        in which functions a row's instructions are
  cargo xtask bench --gic 3 --profile ipi --listing
                                                 and which they are, one by one";

/// What to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only this board: qemu-virt or rpi4
    #[arg(long, value_name = "BOARD")]
    board: Option<String>,
    /// Only this version of the GIC, on QEMU virt
    #[arg(long, value_name = "2|3", value_parser = clap::value_parser!(u8).range(2..=3))]
    gic: Option<u8>,
    /// Keep the figures in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["profile", "linux", "storms"])]
    save: Option<PathBuf>,
    /// Print how the figures differ from those kept in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["profile", "linux", "storms"])]
    compare: Option<PathBuf>,
    /// Draw the table into this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["profile", "linux", "storms"])]
    svg: Option<PathBuf>,
    /// Write the table, in Markdown, to this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["profile", "linux", "storms"])]
    markdown: Option<PathBuf>,
    /// As on a GICv2 that deactivates by hardware, which QEMU's does not
    #[arg(long, conflicts_with_all = ["gic", "board", "storms", "linux"])]
    by_hardware: bool,
    /// Instead: what stands between the control loop's interrupt and its handler, beside a partition that does its worst
    #[arg(long, conflicts_with_all = ["profile", "linux"])]
    storms: bool,
    /// Instead: how many of the instructions until Linux's shell are EL2's
    #[arg(long, conflicts_with = "profile")]
    linux: bool,
    /// Print the functions that this row's instructions are in, by its name or number
    #[arg(long, value_name = "ROW")]
    profile: Option<String>,
    /// With --profile: every instruction, with its source
    #[arg(long, requires = "profile")]
    listing: bool,
}

/// Measures and prints.
///
/// # Errors
/// Something cannot be built or run, or there is no such row or machine.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let profiled = arguments.profile.as_deref().map(find).transpose()?;
    let before = arguments.compare.as_deref().map(Saved::read).transpose()?;
    let machines: Vec<test::Variant> = arguments
        .machines()
        .into_iter()
        .filter(|variant| arguments.selects(variant))
        .collect();
    ensure!(
        !machines.is_empty(),
        "there is no such machine: `--board qemu-virt --gic 2|3`, `--board rpi4`"
    );
    let mut measured = Measured::new();
    for variant in &machines {
        if let Some(row) = profiled.filter(|row| row.id == rows::BOOT) {
            let boot = test::boot_on(variant).context("no such machine boots")?;
            profiles(
                &test::measure(&boot)?,
                row,
                &variant.machine(),
                arguments.listing,
            )?;
            continue;
        }
        let counts = test::measure(variant)?;
        let machine = variant.machine();
        if arguments.storms {
            println!("{}", test::storms::table(&counts, &machine));
        } else if arguments.linux {
            let share = test::counts::share(&counts);
            println!(
                "{machine}: EL2 executes {share} of a million instructions until Linux has its shell"
            );
        } else if let Some(row) = profiled {
            profiles(&counts, row, &machine, arguments.listing)?;
        } else {
            let mut own = report::figures(&counts);
            if let Some(boot) = test::boot_on(variant) {
                let boot = report::figures(&test::measure(&boot)?);
                own.retain(|(row, _)| row.id != rows::BOOT);
                own.extend(boot.into_iter().filter(|(row, _)| row.id == rows::BOOT));
            }
            print!("{}", report::table(&own, variant));
            println!("{}\n", recorder::line(&recorder::shares(&counts)?));
            let own = own.into_iter();
            measured.extend(own.map(|(row, figures)| (machine.clone(), row.name, figures)));
        }
    }
    if let Some(before) = before {
        print!("{}", before.compare(&measured));
    }
    if let Some(file) = &arguments.save {
        saved::save(file, &measured)?;
    }
    let gic = |machine: &str| {
        let found = machines.iter().find(|variant| variant.machine() == machine);
        found.map_or(3, |variant| variant.gic)
    };
    if let Some(file) = &arguments.svg {
        workspace::write(file, plot::svg(&measured, gic).as_bytes())?;
    }
    if let Some(file) = &arguments.markdown {
        workspace::write(file, markdown::table(&measured, gic).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the functions of a row, or every instruction.
fn profiles(counts: &Counts, row: &Row, machine: &str, listing: bool) -> anyhow::Result<()> {
    println!("{machine}: {}, instructions at EL2 in one go", row.name);
    let profile = profile::of(counts, row)?;
    let lines = if listing {
        profile.listing()?
    } else {
        profile.lines()?
    };
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

impl Arguments {
    fn machines(&self) -> Vec<test::Variant> {
        match (self.storms, self.linux, self.by_hardware) {
            (true, ..) => test::beside_storms(),
            (_, true, _) => test::linux_boots(),
            (.., true) => test::benchmarks_by_hardware(),
            _ => test::benchmarks(),
        }
    }

    fn selects(&self, variant: &test::Variant) -> bool {
        let board = variant.board.unwrap_or("qemu-virt");
        let gic = variant.board.is_none().then_some(variant.gic);
        self.board.as_deref().is_none_or(|wanted| wanted == board)
            && self.gic.is_none_or(|wanted| Some(wanted) == gic)
    }
}

/// The row called `name`, or what there is.
fn find(name: &str) -> anyhow::Result<&'static Row> {
    rows::find(name).with_context(|| {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        format!("there is no row {name}; there are: {}", names.join(", "))
    })
}
