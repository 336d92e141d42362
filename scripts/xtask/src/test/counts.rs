//! What must hold of what the counting plugin (`scripts/xtask/plugin/counts.c`) says of a run.

use std::collections::BTreeMap;

use super::Outcome;
use crate::bench::plugin::{Counts, Fact};
use crate::bench::rows::{self, Row};
use crate::bench::{figures, profile, recorder};

/// ESR classes that the plugin names (Arm ARM D24.2.40).
const SYSTEM_REGISTER: u64 = 0x18;
const DATA_ABORT: u64 = 0x24;
/// Where the virtual PL011 is.
const UART: std::ops::Range<u64> = 0x0900_0000..0x0900_1000;
/// GICD_SGIR: an interrupt is sent.
const SGIR: u64 = 0x0800_0f00;
/// The syndrome of a write to ICC_SGI1R_EL1: an interrupt is sent.
const SGI1R: u64 = 0x003a_3016;
/// "no more than a few hundred" (issue 2).
const FEW_HUNDRED: u64 = 300;
/// Instructions of EL2 in a million while Linux boots: may only be lowered.
const SHARE_HELD: u64 = 31_500;
/// Rows of interrupts that belong to the guest's hardware.
const INTERRUPTS: [&str; 4] = [
    "virtual-timer",
    "virtual-timer-from-wfi",
    "physical-timer",
    "device-interrupt",
];
/// Instructions and device accesses of such an interrupt on a GICv2 that deactivates by hardware (performance.md).
const BY_HARDWARE: [u64; 2] = [65, 4];
/// Periods at the beginning, of a guest that is still setting itself up.
const BEGINNING: usize = 2;
/// Fewer periods than this prove nothing.
const ENOUGH_PERIODS: usize = 1000;
/// The core of the control loop in the cases of this subject.
const CONTROL_CORE: u64 = 2;

/// What must hold of the counts on a GIC of this version.
pub type Claim = fn(&Counts, u8) -> Outcome;

/// Exits the control loop's core may take in a period, beyond the interrupt itself: on QEMU's GICv2, whose hardware
/// deactivation is broken (platforms.md, trap 1), the notice that the guest is done.
fn exits_per_period(gic: u8) -> u64 {
    if gic == 2 { 2 } else { 1 }
}

/// The control loop takes one exit for each timer interrupt and no other, of the same length each time.
pub fn control_is_left_alone(counts: &Counts, gic: u8) -> Outcome {
    let periods: Vec<&Fact> = counts
        .of("period")
        .filter(|period| period.get("core") == CONTROL_CORE)
        .skip(BEGINNING)
        .collect();
    let mut outcome = Outcome::default();
    let mut hold = |holds: bool, why: String| match holds {
        true => outcome.passed += 1,
        false => outcome.failures.push(why),
    };
    hold(
        periods.len() >= ENOUGH_PERIODS,
        format!("only {} periods were counted", periods.len()),
    );
    let expected = exits_per_period(gic);
    let other = periods.iter().find(|period| {
        period.get("irq") != expected || period.get("sync") + period.get("other") != 0
    });
    hold(
        other.is_none(),
        format!("a period has other exits than {expected} interrupts: {other:?}"),
    );
    let lengths = || periods.iter().map(|period| period.get("el2"));
    let (least, most) = (lengths().min(), lengths().max());
    hold(
        least == most,
        format!("EL2 takes {least:?} to {most:?} instructions in a period"),
    );
    let (least, count) = (least.unwrap_or(0), periods.len());
    outcome.tail.push(format!(
        "{count} periods, each {expected} exits and {least} instructions at EL2"
    ));
    outcome
}

/// Linux reaches its shell with few exits that are neither interrupts, sent or taken, nor its console.
pub fn linux_exits_seldom(counts: &Counts, _: u8) -> Outcome {
    let mut outcome = few_exits(counts);
    let share = share(counts);
    let text = format!(
        "EL2 executes {share} of a million instructions from Linux's first to its shell, of {SHARE_HELD}"
    );
    if (1..=SHARE_HELD).contains(&share) {
        outcome.passed += 1;
    } else {
        outcome.failures.push(text.clone());
    }
    outcome.tail.push(text);
    outcome
}

/// How many of a million instructions are EL2's, on all cores, from the first of a guest to the last.
pub fn share(counts: &Counts) -> u64 {
    let sum = |kind: &'static str, name: &str| -> u64 {
        counts.of(kind).map(|fact| fact.get(name)).sum()
    };
    let el2 = sum("total", "el2").saturating_sub(sum("boot", "el2"));
    let all = el2 + sum("total", "el0") + sum("total", "el1");
    el2 * 1_000_000 / all.max(1)
}

fn few_exits(counts: &Counts) -> Outcome {
    let is_counted = |exit: &&Fact| {
        let (class, detail) = (exit.get("class"), exit.get("detail"));
        let sends = detail == SGI1R && class == SYSTEM_REGISTER;
        let memory = class == DATA_ABORT;
        let apart = memory && (UART.contains(&detail) || detail == SGIR);
        exit.get("vector") == 0 && !sends && !apart
    };
    let mut causes: BTreeMap<u64, u64> = BTreeMap::new();
    for exit in counts.of("exit").filter(is_counted) {
        *causes.entry(exit.get("class")).or_default() += exit.get("count");
    }
    let all: u64 = causes.values().sum();
    let text = format!("{all} exits that are no interrupts and no console; by class: {causes:#x?}");
    let mut outcome = Outcome::default();
    if all > 0 && all <= FEW_HUNDRED {
        outcome.passed = 1;
    } else {
        outcome.failures.push(text.clone());
    }
    outcome.tail.push(text);
    outcome
}

/// No operation of `guests/bench` takes more than what is held of it, at any time; where one does, the functions say so.
pub fn budgets_are_kept(counts: &Counts, gic: u8) -> Outcome {
    let mut outcome = Outcome::default();
    for row in rows::ROWS.iter().filter(|row| row.id != rows::BOOT) {
        outcome.join(is_kept(counts, row, gic));
    }
    outcome.join(recorder_is_cheap(counts));
    with_missed(outcome)
}

/// On a GICv2 that deactivates by hardware an interrupt takes one exit, few instructions and few device accesses.
pub fn hardware_ends_interrupts(counts: &Counts, _: u8) -> Outcome {
    let mut outcome = Outcome::default();
    let [most, accesses] = BY_HARDWARE;
    for name in INTERRUPTS {
        let Some(figures) = rows::find(name).and_then(|row| figures::of(counts, row)) else {
            return Outcome::failed(format!("{name}: nothing was counted"));
        };
        let [exits, device, ..] = figures.others;
        let took = figures.el2.max;
        let text = format!(
            "{name}: {took} instructions of {most}, {device} device accesses of {accesses}, {exits} exits of 1"
        );
        if took <= most && device <= accesses && exits == 1 {
            outcome.passed += 1;
        } else {
            outcome.failures.push(text.clone());
        }
        outcome.tail.push(text);
    }
    outcome
}

/// The flight recorder takes no more of the rows than what is held of it.
fn recorder_is_cheap(counts: &Counts) -> Outcome {
    let shares = match recorder::shares(counts) {
        Ok(shares) => shares,
        Err(error) => return Outcome::failed(format!("the flight recorder: {error:#}")),
    };
    let mut outcome = Outcome::default();
    for share in &shares {
        if share.takes > 0.0 && share.takes <= share.held {
            outcome.passed += 1;
        } else {
            let text = format!(
                "the flight recorder takes {} of {}, of {}",
                share.takes, share.row, share.held
            );
            outcome.failures.push(text);
        }
    }
    outcome.tail.push(recorder::line(&shares));
    outcome
}

/// Puts the targets that are missed into one note.
fn with_missed(mut outcome: Outcome) -> Outcome {
    if !outcome.notes.is_empty() {
        outcome.notes = vec![format!("missed: {}", outcome.notes.join(", "))];
    }
    outcome
}

/// Everything before the first instruction of a guest takes no more than what is held of it.
pub fn boot_is_short(counts: &Counts, gic: u8) -> Outcome {
    let row = rows::ROWS.iter().find(|row| row.id == rows::BOOT);
    with_missed(row.map_or_else(Outcome::default, |row| is_kept(counts, row, gic)))
}

fn is_kept(counts: &Counts, row: &Row, gic: u8) -> Outcome {
    let Some(figures) = figures::of(counts, row) else {
        return Outcome::failed(format!("{}: nothing was counted", row.name));
    };
    let (held, mut outcome) = (row.held(gic), Outcome::default());
    let most = figures.el2.max;
    let text = format!("{}: {}", row.name, rows::judge(row, gic, &figures));
    let limit = [row.goal(gic), row.half(gic)].into_iter().flatten().min();
    let missed = limit.filter(|limit| most > *limit);
    outcome.notes = missed
        .map(|limit| format!("{} {most} of {limit}", row.name))
        .into_iter()
        .collect();
    if most <= held {
        outcome.passed = 1;
    } else {
        let over = most - held;
        let functions = profile::of(counts, row).and_then(|profile| profile.functions());
        let functions = functions.unwrap_or_default().join("\n");
        outcome
            .failures
            .push(format!("{over} over: {text}\n{functions}"));
    }
    outcome.tail.push(text);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(lines: &[String]) -> Counts {
        Counts::parse(&lines.join("\n"))
    }

    fn periods(change: impl Fn(usize) -> &'static str) -> Vec<String> {
        (0..2000)
            .map(|index| format!("period core=2 {}", change(index)))
            .collect()
    }

    #[test]
    fn equal_periods_hold_and_an_odd_one_does_not() {
        let even = counts(&periods(|_| "el2=92 irq=1 sync=0"));
        assert!(control_is_left_alone(&even, 3).failures.is_empty());
        for odd in ["el2=93 irq=1", "el2=92 irq=2", "el2=92 irq=1 sync=1"] {
            let lines = periods(|index| if index == 1999 { odd } else { "el2=92 irq=1" });
            assert!(
                !control_is_left_alone(&counts(&lines), 3)
                    .failures
                    .is_empty()
            );
        }
        let few = counts(&periods(|_| "el2=92 irq=1")[..100]);
        assert!(!control_is_left_alone(&few, 3).failures.is_empty());
    }

    #[test]
    fn a_row_that_takes_more_than_is_held_fails_by_how_much() {
        let most = |el2| {
            let lines: Vec<String> = (0..64)
                .flat_map(|n| rows::ROWS.iter().map(move |row| (n, row.id)))
                .map(|(n, id)| format!("window {id} n={n} core=0 el2={el2} sync=1"))
                .collect();
            budgets_are_kept(&counts(&lines), 3)
        };
        assert!(
            most(41)
                .failures
                .iter()
                .any(|text| text.starts_with("1 over: hvc-psci-version: 41 instructions of 40"))
        );
        assert!(
            !most(40)
                .failures
                .iter()
                .any(|text| text.contains("over: hvc-"))
        );
        assert!(budgets_are_kept(&Counts::default(), 3).failures.len() > 20);
    }

    #[test]
    fn an_interrupt_that_hardware_ends_takes_one_short_exit() {
        let holds = |what: &str| {
            let ids = INTERRUPTS.map(|name| rows::find(name).unwrap().id);
            let lines: Vec<String> = (0..64)
                .flat_map(|n| ids.map(move |id| (n, id)))
                .map(|(n, id)| format!("window {id} n={n} core=0 {what}"))
                .collect();
            hardware_ends_interrupts(&counts(&lines), 2)
                .failures
                .is_empty()
        };
        assert!(holds("el2=65 irq=1 device=4"));
        for more in [
            "el2=66 irq=1 device=4",
            "el2=65 irq=2 device=4",
            "el2=65 irq=1 device=5",
        ] {
            assert!(!holds(more), "{more}");
        }
        assert!(
            !hardware_ends_interrupts(&Counts::default(), 2)
                .failures
                .is_empty()
        );
    }

    #[test]
    fn interrupts_and_console_are_no_exits_to_count() {
        let lines = |more: &str| {
            counts(&[
                "exit core=0 vector=1 class=0 detail=0 write=0 count=9000".into(),
                "exit core=0 vector=0 class=0x24 detail=0x9000018 write=0 count=9000".into(),
                "exit core=0 vector=0 class=0x18 detail=0x3a3016 write=1 count=900".into(),
                format!("exit core=0 vector=0 class=0x18 detail=0x300009 write=0 count={more}"),
                "total core=0 el0=1000 el1=998000 el2=1000".into(),
            ])
        };
        assert!(linux_exits_seldom(&lines("126"), 3).failures.is_empty());
        assert!(!linux_exits_seldom(&lines("1260"), 3).failures.is_empty());
    }
}
