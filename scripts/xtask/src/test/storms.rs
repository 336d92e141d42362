//! What stands between an interrupt of the control loop and its handler, while another partition does its worst.
//!
//! Counted on the control loop's core alone, from one interrupt of its timer to the next: instructions at EL2, exits, the
//! longest exit, and waits for another core, of which there must be none.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Outcome;
use crate::bench::figures::Spread;
use crate::bench::plugin::{Counts, Fact};

/// The core of the control loop.
const CORE: u64 = 2;
/// Fewest periods that say anything.
const FEWEST: usize = 64;
/// Periods at the beginning of a storm that began in what was before.
const BEGINNING: usize = 1;

/// A storm: its marker in `guests/bench/src/bin/storm.rs`, its name, and the most instructions of EL2 that one exit of the control
/// loop's core may take meanwhile, on a GICv3 and on QEMU's GICv2.
pub struct Storm {
    window: u64,
    /// Its name.
    pub name: &'static str,
    held: [u64; 2],
}

const fn storm(window: u64, name: &'static str, held: [u64; 2]) -> Storm {
    Storm { window, name, held }
}

/// All of them.
pub const STORMS: &[Storm] = &[
    storm(0, "nothing", [60, 130]),
    storm(1, "console flood", [60, 130]),
    storm(2, "MMIO storm", [60, 130]),
    storm(3, "IPI storm", [60, 130]),
    storm(4, "doorbell storm, at another partition", [60, 130]),
    storm(5, "doorbell storm, at control itself", [2_000, 2_000]),
    storm(6, "set/way cache maintenance", [60, 130]),
    storm(7, "page-table thrash", [60, 130]),
    storm(8, "restart loop", [60, 130]),
];

/// What was counted of control's core in a storm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Timer interrupts counted.
    pub periods: usize,
    /// Instructions at EL2 from one timer interrupt to the next.
    pub el2: Spread,
    /// Exits from one to the next.
    pub exits: Spread,
    /// Instructions of the longest exit.
    pub longest: Spread,
    /// Waits for another core, in all.
    pub waits: u64,
    /// How many periods took how many instructions.
    pub histogram: BTreeMap<u64, usize>,
}

/// What was counted of control's core in `storm`; `None` if nothing was.
pub fn beside(counts: &Counts, storm: &Storm) -> Option<Beside> {
    let periods: Vec<&Fact> = counts
        .of("period")
        .filter(|period| period.get("core") == CORE && period.get("window") == storm.window)
        .skip(BEGINNING)
        .collect();
    let spread =
        |of: &dyn Fn(&Fact) -> u64| Spread::of(periods.iter().map(|period| of(period)).collect());
    let mut histogram = BTreeMap::new();
    for period in &periods {
        *histogram.entry(period.get("el2")).or_default() += 1;
    }
    Some(Beside {
        periods: periods.len(),
        el2: spread(&|period| period.get("el2"))?,
        exits: spread(&|period| {
            ["sync", "irq", "other"]
                .iter()
                .map(|name| period.get(name))
                .sum()
        })?,
        longest: spread(&|period| period.get("longest"))?,
        waits: periods.iter().map(|period| period.get("waits")).sum(),
        histogram,
    })
}

/// The claim: no storm makes an exit of control's core longer than is held, and nobody is waited for there.
pub fn stay_bounded(counts: &Counts, gic: u8) -> Outcome {
    let mut outcome = Outcome::default();
    for storm in STORMS {
        let Some(beside) = beside(counts, storm).filter(|beside| beside.periods >= FEWEST) else {
            let why = format!("{}: too few periods were counted", storm.name);
            outcome.failures.push(why);
            continue;
        };
        let held = storm.held[usize::from(gic == 2)];
        let text = format!(
            "{}: longest exit {} of {held}, {}",
            storm.name,
            beside.longest.max,
            show(&beside)
        );
        if beside.longest.max <= held && beside.waits == 0 {
            outcome.passed += 1;
        } else {
            outcome.failures.push(text.clone());
        }
        outcome.tail.push(text);
    }
    outcome
}

fn show(beside: &Beside) -> String {
    let Spread { min, median, max } = beside.el2;
    let mut text = format!(
        "{min}/{median}/{max} instructions and {}/{}/{} exits in {} periods, {} waits:",
        beside.exits.min, beside.exits.median, beside.exits.max, beside.periods, beside.waits
    );
    for (el2, times) in &beside.histogram {
        let _ = write!(text, " {el2}x{times}");
    }
    text
}
