//! Attackers (`guests/hostile`) beside a witness that looks whether anything of its own changes: as tests, and for as long
//! as anybody likes (`cargo xtask hostile`).
//!
//! An attacker that has caught itself misses its heartbeat and starts again with other choices; one that is off is started by
//! the witness. At the end each of its vCPUs must still go on, after a restart if it must. The seed decides all choices of a
//! start.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::case::{Case, case};
use super::{Totals, runner, variants};
use crate::build;
use crate::console::interrupted;

/// Samples for the witness, and the attacker's own channel.
const SAMPLES: &str =
    "[[channel]]\nname = \"samples\"\nbetween = [\"sensor\", \"witness\"]\nsize = \"4K\"";
const OWN: &str = "[[channel]]\nname = \"own\"\nbetween = [\"attacker\", \"sensor\"]\nsize = \"4K\"\nrw = \"both\"";
/// Seconds a long attack takes beside those of its witness, at most: the last vCPU that must go on may take its time.
const ROOM: u64 = 200;

/// How an attack is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of the attacker's choices.
    pub seed: u64,
    /// Seconds the witness watches.
    pub seconds: u64,
    /// Attacks, all of them if empty.
    pub attacks: Vec<String>,
}

impl Default for Plan {
    /// What the tests take.
    fn default() -> Self {
        Self {
            seed: 1,
            seconds: 11,
            attacks: Vec::new(),
        }
    }
}

/// The attacks that `plan` asks for.
pub fn cases(plan: &Plan) -> Vec<Case> {
    let attack = |name, cpus: &[u8], witness: u8| {
        let attacks = match plan.attacks.as_slice() {
            [] => String::new(),
            some => format!(" attacks={}", some.join(",")),
        };
        case(name, "hostile")
            .with("audit = true")
            .guest("attacker", "hostile", cpus, "8M")
            .with(&format!("bootargs = \"seed={}{attacks}\"", plan.seed))
            .with("heartbeat = \"2s\"\non_crash = { restart = 100000, within = \"1s\" }")
            .guest("witness", "hostile", &[witness], "8M")
            .with(&format!(
                "bootargs = \"role=witness seconds={} victims={}\"",
                plan.seconds,
                cpus.len()
            ))
            .with("capabilities = [\"manage:attacker\", \"observe\"]")
            .allow_panic()
            .forbid(r"^\[bulkhead\].*PANIC")
            .forbid(r"^\[bulkhead\] error: audit: ")
            .forbid(r"hostile: NOT ARCHITECTURAL")
            .forbid(r"^\[witness\].*NOTICED")
            .wait(r"^\[witness\] witness: done, noticed nothing")
            .seconds(plan.seconds + ROOM)
    };
    vec![
        attack("one-cpu", &[0], 1).pi(),
        // Three attack where the board has no more, and a core each for those who watch.
        attack("two-cpus", &[0, 1], 2)
            .guest("sensor", "sensor", &[3], "4M")
            .with(SAMPLES)
            .with(OWN)
            .pi(),
        attack("three-cpus", &[0, 1, 2], 3).pi_alone(),
        attack("four-cpus", &[0, 1, 2, 3], 4)
            .guest("sensor", "sensor", &[5], "4M")
            .with(SAMPLES)
            .with(OWN)
            .cores(6)
            .on(&["max"]),
    ]
}

/// How long to attack, and how.
#[derive(clap::Args)]
pub struct Arguments {
    /// How long
    #[arg(long, value_name = "MINUTES", default_value = "60")]
    minutes: u64,
    /// The first seed; each round takes the next [default: by the clock]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Seconds of each attack
    #[arg(long, value_name = "SECONDS", default_value = "40")]
    seconds: u64,
    /// Only these attacks, by their names in guests/hostile/src/attack.rs
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    attacks: Vec<String>,
    /// Only tests whose name contains one of these
    names: Vec<String>,
}

/// Attacks on one machine after another, round by round, each with a seed of its own, until the time is over. An attack that
/// fails is kept: its seed is printed, its console is in the test's folder until the next round.
///
/// # Errors
/// The images cannot be built.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    build::hypervisor()?;
    build::all_guests()?;
    let end = Instant::now() + Duration::from_secs(arguments.minutes * 60);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let first = arguments.seed.unwrap_or(clock.as_secs() & 0xffff_ffff);
    let mut totals = Totals::default();
    for seed in first.. {
        let plan = Plan {
            seed,
            seconds: arguments.seconds,
            attacks: arguments.attacks.clone(),
        };
        let selected = |name: &str| {
            arguments.names.is_empty() || arguments.names.iter().any(|part| name.contains(part))
        };
        for variant in cases(&plan).into_iter().flat_map(variants) {
            if !selected(&variant.name()) {
                continue;
            }
            if interrupted() || Instant::now() >= end {
                return Ok(totals.conclude());
            }
            let started = Instant::now();
            let outcome = runner::run(&variant);
            let failed = !outcome.failures.is_empty();
            totals.add(
                &format!("{} seed {seed}", variant.name()),
                &outcome,
                started.elapsed(),
            );
            if failed {
                runner::keep_log(&variant, seed)?;
            }
        }
    }
    Ok(totals.conclude())
}
