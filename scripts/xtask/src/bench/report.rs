//! The benchmark's table, for a terminal.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use super::figures::{self, Figures};
use super::plugin::Counts;
use super::rows::{ROWS, Row};
use crate::test::Variant;

/// The verdict on a row that has nothing to be compared with.
const NO_TARGET: &str = "no target";

/// What was measured of each row.
pub fn figures(counts: &Counts) -> Vec<(&'static Row, Figures)> {
    let rows = ROWS.iter();
    rows.filter_map(|row| Some((row, figures::of(counts, row)?)))
        .collect()
}

/// The table of one machine.
pub fn table(measured: &[(&Row, Figures)], variant: &Variant) -> String {
    let mut text = format!(
        "{}: instructions at EL2 for one go, and what else is on the way\n",
        variant.machine()
    );
    let _ = writeln!(
        text,
        "{:24} {:>8} {:>8} {:>8}  {:>6} {:>8} {:>12}  {:>5} {:>6} {:>6} {:>8}  verdict",
        "row",
        "min",
        "median",
        "max",
        "target",
        "held",
        "best peer",
        "exits",
        "device",
        "sysreg",
        "barriers"
    );
    for (row, figures) in measured {
        line(&mut text, row, variant.gic, figures);
    }
    missed(&mut text, measured, variant.gic);
    text
}

/// How many rows are where they should be, and how many are not yet.
fn missed(text: &mut String, measured: &[(&Row, Figures)], gic: u8) {
    let (mut met, mut missed) = (0, 0);
    for (row, figures) in measured {
        let limits = [row.goal(gic), row.half(gic)];
        if limits
            .iter()
            .flatten()
            .any(|limit| figures.el2.max > *limit)
        {
            missed += 1;
        } else if limits.iter().any(Option::is_some) {
            met += 1;
        }
    }
    let _ = writeln!(
        text,
        "{met} rows meet their target and half of the best peer's, {missed} do not"
    );
}

fn line(text: &mut String, row: &Row, gic: u8, figures: &Figures) {
    let number =
        |value: Option<u64>| value.map_or_else(|| "-".to_string(), |value| value.to_string());
    let peer = row.peer_on(gic).map_or_else(
        || "-".to_string(),
        |(count, name)| format!("{count} {name}"),
    );
    let [exits, device, sysreg, barriers, ..] = figures.others;
    let _ = writeln!(
        text,
        "{:24} {:8} {:8} {:8}  {:>6} {:8} {:>12}  {:5} {:6} {:6} {:8}  {}",
        row.name,
        figures.el2.min,
        figures.el2.median,
        figures.el2.max,
        number(row.goal(gic)),
        row.held(gic),
        peer,
        exits,
        device,
        sysreg,
        barriers,
        coloured(verdict(row, gic, figures.el2.max))
    );
}

/// A verdict in green or red, on a terminal.
fn coloured(verdict: String) -> String {
    if !std::io::stdout().is_terminal() {
        return verdict;
    }
    match verdict.as_str() {
        "ok" => format!("\x1b[32m{verdict}\x1b[0m"),
        NO_TARGET => verdict,
        _ => format!("\x1b[31m{verdict}\x1b[0m"),
    }
}

/// How a row stands: to its target, half of its best peer, and what is held of it.
fn verdict(row: &Row, gic: u8, most: u64) -> String {
    let mut parts = Vec::new();
    let mut over = |limit: Option<u64>, what: &str| {
        if let Some(limit) = limit.filter(|limit| most > *limit) {
            parts.push(format!("{} over {what}", most - limit));
        }
    };
    over(Some(row.held(gic)), "what is held");
    over(row.goal(gic), "target");
    over(row.half(gic), "half the peer's");
    match (parts.is_empty(), row.goal(gic).or(row.half(gic))) {
        (true, Some(_)) => "ok".to_string(),
        (true, None) => NO_TARGET.to_string(),
        (false, _) => parts.join(", "),
    }
}
