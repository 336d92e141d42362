//! What the counting plugin (`scripts/xtask/plugin/counts.c`) says of a run, and what must hold of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::Outcome;
use crate::workspace;

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
/// Periods at the beginning, of a guest that is still setting itself up.
const BEGINNING: usize = 2;
/// Fewer periods than this prove nothing.
const ENOUGH_PERIODS: usize = 1000;
/// The core of the control loop in the cases of this subject.
const CONTROL_CORE: u64 = 2;

/// A line of the plugin's: what it counts, and its numbers by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    kind: String,
    values: BTreeMap<String, u64>,
}

impl Fact {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let kind = words.next()?.to_string();
        let mut values = BTreeMap::new();
        for word in words {
            let Some((name, value)) = word.split_once('=') else {
                values.insert("id".to_string(), word.parse().ok()?);
                continue;
            };
            let value = match value.strip_prefix("0x") {
                Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
                None => value.parse(),
            };
            values.insert(name.to_string(), value.ok()?);
        }
        Some(Self { kind, values })
    }

    fn get(&self, name: &str) -> u64 {
        self.values.get(name).copied().unwrap_or(0)
    }
}

/// Everything the plugin said.
#[derive(Clone, Debug, Default)]
pub struct Counts(Vec<Fact>);

impl Counts {
    /// Reads the plugin's file; a line that was cut off at the end is left out.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("the counting plugin wrote no {}", workspace::show(file)))?;
        Ok(Self(text.lines().filter_map(Fact::parse).collect()))
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Fact> {
        self.0.iter().filter(move |fact| fact.kind == kind)
    }
}

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

/// A row of `guests/bench`: its window, and the most instructions it may take at EL2 on all cores together, on a GICv3 and on
/// QEMU's GICv2. The budgets of performance.md where they are kept; else what it takes now, which it must not exceed.
struct Budget {
    row: u64,
    name: &'static str,
    most: [u64; 2],
}

const fn budget(row: u64, name: &'static str, gicv3: u64, gicv2: u64) -> Budget {
    Budget {
        row,
        name,
        most: [gicv3, gicv2],
    }
}

const BUDGETS: &[Budget] = &[
    budget(1, "HVC PSCI_VERSION", 40, 40),
    budget(2, "SMC PSCI_VERSION", 95, 95),
    budget(3, "HVC SMCCC_VERSION", 40, 40),
    budget(4, "HVC PSCI_FEATURES", 105, 105),
    budget(6, "GICD_TYPER read", 215, 220),
    budget(8, "ISENABLER0 write", 315, 275),
    budget(14, "SGI to self", 240, 345),
    // On QEMU's GICv2 with the maintenance interrupt that stands for hardware deactivation.
    budget(15, "virtual timer", 60, 190),
    budget(16, "virtual timer out of WFI", 60, 190),
    budget(17, "physical timer", 60, 190),
    budget(18, "IPI, both sides", 360, 475),
    // More than a private one: whose it is has to be looked up.
    budget(22, "HVC FEATURES", 120, 120),
    budget(23, "HVC HEARTBEAT", 160, 160),
    budget(21, "passed-through SPI", 72, 196),
];

/// No operation of `guests/bench` takes more than its budget, at any time.
pub fn budgets_are_kept(counts: &Counts, gic: u8) -> Outcome {
    let mut outcome = Outcome::default();
    for budget in BUDGETS {
        let most = budget.most[usize::from(gic == 2)];
        // The facts of one window follow each other, a core each; other cores may have had something to do of their own
        // in some windows, so the middle of all is compared.
        let mut sums: Vec<u64> = Vec::new();
        let mut last = u64::MAX;
        for fact in counts
            .of("window")
            .filter(|fact| fact.get("id") == budget.row)
        {
            match sums.last_mut() {
                Some(sum) if fact.get("core") > last => *sum += fact.get("el2"),
                _ => sums.push(fact.get("el2")),
            }
            last = fact.get("core");
        }
        sums.sort_unstable();
        let middle = sums.get(sums.len() / 2).copied().unwrap_or(0);
        let text = format!("{}: {middle} instructions of {most}", budget.name);
        if middle > 0 && middle <= most {
            outcome.passed += 1;
        } else {
            outcome.failures.push(text.clone());
        }
        outcome.tail.push(text);
    }
    outcome
}

/// Builds the plugin, unless that was done since its source changed, and gives QEMU's argument for it.
///
/// # Errors
/// There is no C compiler, or it refuses the source.
pub fn plugin(out: &Path) -> anyhow::Result<Vec<String>> {
    let source = workspace::root().join("scripts/xtask/plugin/counts.c");
    let built = workspace::target().join("plugin/counts.so");
    let modified = |file: &PathBuf| {
        std::fs::metadata(file)
            .and_then(|meta| meta.modified())
            .ok()
    };
    if modified(&built).is_none() || modified(&built) < modified(&source) {
        compile(&source, &built)?;
    }
    let option = format!("{},out={}", built.display(), out.display());
    Ok(vec!["-plugin".into(), option])
}

fn compile(source: &Path, built: &Path) -> anyhow::Result<()> {
    let part = built.with_extension(format!("{}.part", std::process::id()));
    std::fs::create_dir_all(built.parent().unwrap_or(Path::new(".")))?;
    let output = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o"])
        .args([&part, source])
        .output()
        .context("a C compiler (cc) is missing: install gcc")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::rename(part, built).context("placing the counting plugin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(lines: &[String]) -> Counts {
        Counts(lines.iter().filter_map(|line| Fact::parse(line)).collect())
    }

    fn periods(change: impl Fn(usize) -> &'static str) -> Vec<String> {
        (0..2000)
            .map(|index| format!("period core=2 {}", change(index)))
            .collect()
    }

    #[test]
    fn a_line_of_the_plugins_is_read() {
        let fact = Fact::parse("window 3 core=1 el2=92 detail=0x9000018").unwrap();
        assert_eq!(fact.kind, "window");
        assert_eq!([fact.get("id"), fact.get("el2")], [3, 92]);
        assert_eq!(fact.get("detail"), 0x900_0018);
        assert_eq!(Fact::parse("period core=2 el2="), None);
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
    fn a_budget_counts_all_cores_of_a_window() {
        let window = |core, el2| format!("window 18 core={core} el2={el2}");
        let line = |counts: &Counts| {
            let outcome = budgets_are_kept(counts, 3);
            outcome.tail.into_iter().find(|line| line.contains("IPI"))
        };
        let lines = [window(0, 100), window(1, 50), window(0, 100), window(1, 50)];
        let expected = "IPI, both sides: 150 instructions of 360".to_string();
        assert_eq!(line(&counts(&lines)), Some(expected));
        assert!(
            !budgets_are_kept(&counts(&[window(0, 999)]), 3)
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
            ])
        };
        assert!(linux_exits_seldom(&lines("126"), 3).failures.is_empty());
        assert!(!linux_exits_seldom(&lines("1260"), 3).failures.is_empty());
    }
}
