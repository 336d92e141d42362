//! Figures in a file, and how they compare with those in another.
//!
//! A line a row, words between blanks: machine, row, instructions (least, middle, most), then [`OTHERS`]. `#` begins a comment.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};

use super::figures::{Figures, OTHERS, Spread};
use crate::workspace;

/// The figures of every row of every machine, in the order they were measured.
pub type Measured = Vec<(String, &'static str, Figures)>;

/// Numbers of a line: the spread, then the others.
const NUMBERS: usize = 3 + OTHERS.len();

/// Writes `measured` to `file`.
///
/// # Errors
/// As the file system's.
pub fn save(file: &Path, measured: &Measured) -> anyhow::Result<()> {
    let mut text = format!(
        "# cargo xtask bench: machine row min median max {}\n",
        OTHERS.join(" ")
    );
    for (machine, row, figures) in measured {
        let numbers = numbers(figures).map(|number| number.to_string()).join(" ");
        let _ = writeln!(text, "{} {row} {numbers}", word(machine));
    }
    workspace::write(file, text.as_bytes())
}

/// A machine's name as one word.
fn word(machine: &str) -> String {
    machine.replace(", ", ",").replace(' ', "-")
}

fn numbers(figures: &Figures) -> [u64; NUMBERS] {
    let Spread { min, median, max } = figures.el2;
    let mut all = [min, median, max].into_iter().chain(figures.others);
    std::array::from_fn(|_| all.next().unwrap_or(0))
}

/// What was saved: the numbers by machine and row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved(BTreeMap<(String, String), [u64; NUMBERS]>);

impl Saved {
    /// Reads `file`.
    ///
    /// # Errors
    /// It is not what [`save`] writes.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| workspace::show(file))?;
        Self::parse(&text).with_context(|| workspace::show(file))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut rows = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = || format!("line {}: not machine, row and {NUMBERS} numbers", index + 1);
            ensure!(words.len() == NUMBERS + 2, bad());
            let mut numbers = [0; NUMBERS];
            for (number, word) in numbers.iter_mut().zip(&words[2..]) {
                *number = word.parse().with_context(bad)?;
            }
            rows.insert((words[0].to_string(), words[1].to_string()), numbers);
        }
        Ok(Self(rows))
    }

    /// For people: how `measured` differs from this, row by row.
    pub fn compare(&self, measured: &Measured) -> String {
        let mut text = format!(
            "{:22} {:24} {:>8} {:>8} {:>8}  what else\n",
            "machine", "row", "before", "now", "change"
        );
        for (machine, row, figures) in measured {
            let now = numbers(figures);
            let machine = word(machine);
            let Some(before) = self.0.get(&(machine.clone(), (*row).to_string())) else {
                let _ = writeln!(text, "{machine:22} {row:24} {:>8} {:8}", "-", now[1]);
                continue;
            };
            let others = OTHERS.iter().zip(before[3..].iter().zip(&now[3..]));
            let others = others.filter(|(_, (before, now))| before != now);
            let others: Vec<String> = others
                .map(|(name, (before, now))| format!("{name} {before} to {now}"))
                .collect();
            let change = i128::from(now[1]) - i128::from(before[1]);
            let change = if change == 0 {
                "=".to_string()
            } else {
                format!("{change:+}")
            };
            let _ = writeln!(
                text,
                "{machine:22} {row:24} {:8} {:8} {change:>8}  {}",
                before[1],
                now[1],
                others.join(", ")
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(median: u64) -> Measured {
        let figures = Figures {
            windows: 64,
            el2: Spread {
                min: 1,
                median,
                max: 300,
            },
            apart: 0,
            others: [2, 0, 12, 2, 0, 0],
        };
        vec![("GICv3, cortex-a72".into(), "ipi", figures)]
    }

    #[test]
    fn what_is_saved_is_read_and_compared() {
        let file = std::env::temp_dir().join(format!("bulkhead-bench-{}", std::process::id()));
        save(&file, &measured(150)).unwrap();
        let saved = Saved::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let line = |median| {
            saved
                .compare(&measured(median))
                .lines()
                .nth(1)
                .unwrap()
                .to_string()
        };
        assert!(
            line(150).ends_with("150      150        =  "),
            "{}",
            line(150)
        );
        assert!(line(140).contains("-10"), "{}", line(140));
        assert!(Saved::parse("a b 1 2").is_err());
    }
}
