//! The figures of a row: what all of its windows took.

use std::collections::BTreeMap;

use super::plugin::{Counts, Fact};
use super::profile;
use super::rows::{self, Row};

/// Fewest windows that say anything (performance.md).
pub const FEWEST: usize = 64;
/// What is counted in a window beside instructions, as the plugin names it.
pub const OTHERS: [&str; 6] = [
    "exits",
    "device",
    "sysreg",
    "barriers",
    "exclusives",
    "maintenance",
];

/// Least, middle and most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// The least.
    pub min: u64,
    /// The middle.
    pub median: u64,
    /// The most.
    pub max: u64,
}

impl Spread {
    /// That of `values`; `None` if there is none.
    pub fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        Some(Self {
            min: *values.first()?,
            median: *values.get(values.len() / 2)?,
            max: *values.last()?,
        })
    }
}

impl Spread {
    /// Each less `amount`.
    fn less(self, amount: u64) -> Self {
        let [min, median, max] =
            [self.min, self.median, self.max].map(|value| value.saturating_sub(amount));
        Self { min, median, max }
    }
}

/// What a row took, on all cores together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many windows there were.
    pub windows: usize,
    /// Instructions at EL2, without those that work on much memory where the row counts them apart.
    pub el2: Spread,
    /// Those, on an average.
    pub apart: u64,
    /// The middle of each of [`OTHERS`].
    pub others: [u64; OTHERS.len()],
}

/// The figures of a row; `None` if there are too few windows, or what is left out of them cannot be told.
pub fn of(counts: &Counts, row: &Row) -> Option<Figures> {
    let figures = if row.id == rows::BOOT {
        figures_of(counts.of("boot").map(|fact| (0, fact)), 1)?
    } else {
        let windows = counts.of("window");
        let has_part = |fact: &&Fact| row.is_shared || counted(fact, "exits") != 0;
        let own = windows.filter(|fact| fact.get("id") == row.id);
        let own = own.filter(has_part);
        figures_of(own.map(|fact| (fact.get("n"), fact)), FEWEST)?
    };
    if !row.is_apart {
        return Some(figures);
    }
    let profile = profile::all(counts, row.id).ok()?;
    let apart = profile.bulk().ok()? / figures.windows as u64;
    Some(Figures {
        el2: figures.el2.less(apart),
        apart,
        ..figures
    })
}

/// The figures of facts that belong to windows by number; `None` if there are too few windows.
fn figures_of<'a>(facts: impl Iterator<Item = (u64, &'a Fact)>, fewest: usize) -> Option<Figures> {
    let mut windows: BTreeMap<u64, Vec<&Fact>> = BTreeMap::new();
    for (number, fact) in facts {
        windows.entry(number).or_default().push(fact);
    }
    if windows.len() < fewest {
        return None;
    }
    let spread = |name: &str| {
        let sum = |facts: &Vec<&Fact>| facts.iter().map(|fact| counted(fact, name)).sum();
        Spread::of(windows.values().map(sum).collect())
    };
    let mut others = [0; OTHERS.len()];
    for (other, name) in others.iter_mut().zip(OTHERS) {
        *other = spread(name)?.median;
    }
    Some(Figures {
        windows: windows.len(),
        el2: spread("el2")?,
        apart: 0,
        others,
    })
}

fn counted(fact: &Fact, name: &str) -> u64 {
    match name {
        "exits" => ["sync", "irq", "other"]
            .iter()
            .map(|name| fact.get(name))
            .sum(),
        name => fact.get(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_all_cores_of_a_window() {
        let lines: Vec<String> = (0..64)
            .flat_map(|n| [(n, 0, 100), (n, 1, 50 + n / 63)])
            .map(|(n, core, el2)| {
                format!("window 18 n={n} core={core} el2={el2} sync=1 irq={core} device=2")
            })
            .collect();
        let row = rows::find("ipi").unwrap();
        let figures = of(&Counts::parse(&lines.join("\n")), row).unwrap();
        assert_eq!(figures.windows, 64);
        assert_eq!(
            [figures.el2.min, figures.el2.median, figures.el2.max],
            [150, 150, 151]
        );
        assert_eq!(figures.others, [3, 4, 0, 0, 0, 0]);
        assert_eq!(of(&Counts::parse(&lines[2..].join("\n")), row), None);
    }

    #[test]
    fn what_another_core_does_of_its_own_is_not_the_rows_unless_it_has_a_part_in_it() {
        let lines = |id: u64| -> Vec<String> {
            let windows = (0..64).flat_map(|n| [(n, 0, 100, 1), (n, 1, 9, 0)]);
            let line = |(n, core, el2, sync)| {
                format!("window {id} n={n} core={core} el2={el2} sync={sync} irq=0")
            };
            windows.map(line).collect()
        };
        for (name, most) in [("gicd-typer-read", 100), ("cpu-on", 109)] {
            let row = rows::find(name).unwrap();
            let figures = of(&Counts::parse(&lines(row.id).join("\n")), row).unwrap();
            assert_eq!(figures.el2.max, most, "{name}");
        }
    }
}
