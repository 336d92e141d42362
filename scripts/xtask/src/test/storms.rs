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
/// Fewest periods that say anything: where control has time for them, and where it has not.
const FEWEST: usize = 64;
const FEWEST_UNBOUNDED: usize = 8;
/// Periods at the beginning of a storm that have something of what was before.
const BEGINNING: usize = 2;
/// Held where an exit waits for a lock that others hold: only ever to become a number.
const UNBOUNDED: u64 = u64::MAX;

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
    storm(
        5,
        "doorbell storm, at control itself",
        [UNBOUNDED, UNBOUNDED],
    ),
    storm(6, "set/way cache maintenance", [60, 130]),
    storm(7, "page-table thrash", [60, 130]),
    storm(8, "restart loop of a peer on a channel", [2_000, 2_250]),
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
        let held = storm.held[usize::from(gic == 2)];
        let (fewest, limit) = match held {
            UNBOUNDED => (FEWEST_UNBOUNDED, "no bound yet".to_string()),
            held => (FEWEST, format!("of {held}")),
        };
        let Some(beside) = beside(counts, storm).filter(|beside| beside.periods >= fewest) else {
            let why = format!("{}: too few periods were counted", storm.name);
            outcome.failures.push(why);
            continue;
        };
        let text = format!(
            "{}: longest exit {}, {limit}, {} waits",
            storm.name, beside.longest.max, beside.waits
        );
        if beside.longest.max <= held && (beside.waits == 0 || held == UNBOUNDED) {
            outcome.passed += 1;
            if held == UNBOUNDED {
                outcome.notes.push(text.clone());
            }
        } else {
            outcome.failures.push(text.clone());
        }
        outcome.tail.push(text);
    }
    outcome
}

/// The table of one machine, for people.
pub fn table(counts: &Counts, machine: &str) -> String {
    let mut text = format!(
        "{machine}: what stands between control's timer interrupt and its handler, on its core, beside a partition that does its worst\n"
    );
    let spread = |spread: Spread| format!("{}/{}/{}", spread.min, spread.median, spread.max);
    let _ = writeln!(
        text,
        "{:38} {:>5} {:>17} {:>8} {:>17} {:>6}  instructions a tick, and how often",
        "storm", "ticks", "instructions", "exits", "longest exit", "waits"
    );
    for storm in STORMS {
        let Some(beside) = beside(counts, storm) else {
            continue;
        };
        let _ = writeln!(
            text,
            "{:38} {:5} {:>17} {:>8} {:>17} {:6}  {}",
            storm.name,
            beside.periods,
            spread(beside.el2),
            spread(beside.exits),
            spread(beside.longest),
            beside.waits,
            histogram(&beside.histogram)
        );
    }
    text
}

/// The commonest first.
fn histogram(counted: &BTreeMap<u64, usize>) -> String {
    /// Those that are listed.
    const MOST: usize = 4;
    let mut counted: Vec<_> = counted.iter().collect();
    counted.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    let more = counted.len().saturating_sub(MOST);
    let shown = counted.iter().take(MOST);
    let mut parts: Vec<String> = shown
        .map(|(el2, times)| format!("{el2} x{times}"))
        .collect();
    if more > 0 {
        parts.push(format!("and {more} others"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(longest: u64, waits: u64) -> Counts {
        let line = |window: u64, longest: u64, waits: u64| {
            format!(
                "period core=2 window={window} longest={longest} el2={longest} irq=1 waits={waits}\n"
            )
        };
        let of = |storm: &Storm| match storm.window {
            1 => line(1, longest, waits),
            window => line(window, 60, 0),
        };
        let text: String = STORMS.iter().map(|storm| of(storm).repeat(70)).collect();
        Counts::parse(&text)
    }

    #[test]
    fn a_long_exit_and_a_wait_are_found() {
        assert_eq!(
            stay_bounded(&counted(60, 0), 3).failures,
            Vec::<String>::new()
        );
        assert_eq!(stay_bounded(&counted(61, 0), 3).failures.len(), 1);
        assert_eq!(stay_bounded(&counted(60, 1), 3).failures.len(), 1);
    }
}
