//! What an exit costs does not grow with the system, boot grows only with what is copied, hashed and mapped, and nothing differs
//! from one run to the next.

use std::fmt::Write as _;

use anyhow::Context as _;

use super::case::{Case, case};
use super::host::Step;
use super::{Outcome, Variant, measure, variants};
use crate::bench::plugin::Counts;
use crate::bench::rows::{self, BOOT};
use crate::bench::{figures, profile};
use crate::{build, workspace};

/// The rows that are compared: calls, the distributor, an SGI, the timer, a doorbell where there is a peer.
const ROWS: &str = "1,2,5,6,8,14,15,24";
/// What boot may take for each 2 MiB of guest RAM more (performance.md).
const PER_BLOCK: u64 = 20;
/// What one payload more takes today beside its bytes: it is read in the bundle, and named in the guest's tree.
const RAMDISK_HELD: u64 = 6_000;
/// 2 MiB.
const BLOCK: u64 = 2 << 20;
/// MiB of RAM of the systems that boot, both more than lies free before the image, and bytes of the ramdisk.
const RAM: [u64; 2] = [72, 200];
const RAMDISK: usize = 2 << 20;

/// The tests.
pub const STEPS: &[Step] = &[
    Step {
        name: "bench/growth",
        quick: false,
        run: exits,
    },
    Step {
        name: "bench/same-figures",
        quick: false,
        run: twice,
    },
    Step {
        name: "bench/growth-of-boot",
        quick: false,
        run: boot,
    },
];

/// A system of so many partitions, two of which have so many channels; the last channel rings.
fn system(name: &'static str, partitions: u8, channels: u8) -> Case {
    let last = channels.saturating_sub(1);
    let mut system = case(name, "bench")
        .guest("bench", "bench", &[0], "4M")
        .with(&format!("bootargs = \"rows={ROWS} channel={last}\""));
    if partitions > 1 {
        system = system
            .guest("peer", "bench", &[1], "4M")
            .with(&format!("bootargs = \"role=peer channel={last}\""));
    }
    for other in 2..partitions {
        system = system
            .guest(&format!("other{other}"), "guest-tests", &[other], "8M")
            .with("bootargs = \"role=spin\"");
    }
    for channel in 0..channels {
        system = system.with(&format!(
            "[[channel]]\nname = \"c{channel}\"\nbetween = [\"bench\", \"peer\"]\nsize = \"4K\"\nrw = \"both\""
        ));
    }
    system.wait(r"^\[bench\] bench: done").gics(&[3]).icount()
}

fn counts(case: Case) -> anyhow::Result<Counts> {
    let variant: Variant = variants(case).into_iter().next().context("no machine")?;
    measure(&variant)
}

/// What is counted of each of `systems`, two at a time.
fn count_all(systems: Vec<Case>) -> anyhow::Result<Vec<Counts>> {
    build::hypervisor()?;
    build::all_guests()?;
    let mut all = Vec::new();
    for pair in systems.chunks(2) {
        let runs: Vec<anyhow::Result<Counts>> = std::thread::scope(|scope| {
            let threads: Vec<_> = pair
                .iter()
                .map(|case| scope.spawn(|| counts(case.clone())))
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("the run failed")))
            };
            threads.into_iter().map(join).collect()
        });
        for run in runs {
            all.push(run?);
        }
    }
    Ok(all)
}

fn exits() -> anyhow::Result<Outcome> {
    let systems = [
        ("growth-1-partition", 1, 0),
        ("growth-2-partitions", 2, 1),
        ("growth-4-partitions", 4, 1),
        ("growth-8-channels", 2, 8),
        ("growth-64-channels", 2, 64),
    ];
    let cases = systems.map(|(name, partitions, channels)| system(name, partitions, channels));
    let counts = count_all(cases.to_vec())?;
    let mut outcome = Outcome::default();
    for row in rows::ROWS.iter().filter(|row| row.id != BOOT) {
        let measured = systems.iter().zip(&counts).filter_map(|(system, counts)| {
            let figures = figures::of(counts, row)?;
            Some((system, figures.el2.median))
        });
        let measured: Vec<_> = measured.collect();
        if measured.is_empty() {
            continue;
        }
        let mut text = format!("{}:", row.name);
        for ((_, partitions, channels), median) in &measured {
            let _ = write!(text, " {median} ({partitions}/{channels})");
        }
        let values = || measured.iter().map(|(_, median)| *median);
        let slope = values().max().unwrap_or(0) - values().min().unwrap_or(0);
        hold(
            &mut outcome,
            slope == 0,
            format!("grows by {slope}, {text}"),
        );
    }
    let last = "(partitions/channels), instructions at EL2";
    outcome.tail.push(last.to_string());
    Ok(outcome)
}

/// Two runs of a build count the same, to the instruction.
fn twice() -> anyhow::Result<Outcome> {
    let systems = ["same-figures-1", "same-figures-2"].map(|name| system(name, 1, 0));
    let [one, other] = &count_all(systems.to_vec())?[..] else {
        anyhow::bail!("a run is missing");
    };
    let mut outcome = Outcome::default();
    for kind in ["boot", "window"] {
        let [one, other] = [one, other].map(|counts| counts.of(kind).collect::<Vec<_>>());
        let text = format!("{} facts of each {kind}, the same in both runs", one.len());
        hold(&mut outcome, !one.is_empty() && one == other, text);
    }
    Ok(outcome)
}

fn hold(outcome: &mut Outcome, holds: bool, text: String) {
    if holds {
        outcome.passed += 1;
    } else {
        outcome.failures.push(text.clone());
    }
    outcome.tail.push(text);
}

fn boot() -> anyhow::Result<Outcome> {
    let ramdisk = workspace::target().join("tests/ramdisk");
    workspace::write(&ramdisk, &vec![0x5a; RAMDISK])?;
    let [few, many] = RAM;
    let system = |name, ram| {
        case(name, "bench")
            .guest("bench", "bench", &[0], &format!("{ram}M"))
            .with("bootargs = \"rows=0\"")
            .wait(r"^\[bench\] bench: done")
            .gics(&[3])
            .icount()
    };
    let systems = vec![
        system("growth-boot", few),
        system("growth-boot-ram", many),
        system("growth-boot-ramdisk", few).with(&format!("initrd = \"{}\"", ramdisk.display())),
    ];
    let counts = count_all(systems)?;
    let row = rows::find("boot").context("no row")?;
    let took = |counts: &Counts| {
        let figures = figures::of(counts, row).context("no boot was counted")?;
        anyhow::Ok((figures.el2.max, figures.apart))
    };
    let took = counts
        .iter()
        .map(took)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let [(base, _), (ram, ram_apart), (ramdisk, ramdisk_apart)] = took[..] else {
        anyhow::bail!("a boot is missing");
    };
    let mut outcome = Outcome::default();
    let blocks = (many - few) * (1 << 20) / BLOCK;
    let text = format!(
        "{base} instructions with {few} MiB of RAM, {ram} (and {ram_apart} that zero it) with {many}: {} for 2 MiB of \
         {PER_BLOCK}",
        ram.saturating_sub(base) / blocks
    );
    hold(&mut outcome, ram <= base + blocks * PER_BLOCK, text);
    let text = format!(
        "{base} instructions without a ramdisk, {ramdisk} (and {ramdisk_apart} that hash, copy and zero) with one of {RAMDISK} bytes"
    );
    hold(&mut outcome, ramdisk <= base + RAMDISK_HELD, text);
    if !outcome.failures.is_empty() {
        for counts in &counts {
            let functions = profile::of(counts, row)?.functions()?;
            outcome.tail.extend(functions);
        }
    }
    Ok(outcome)
}
