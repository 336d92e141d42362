//! The benchmark's table, for a terminal.

use std::fmt::Write as _;

use super::figures::{self, Figures};
use super::plugin::Counts;
use super::rows::{ROWS, Row};
use crate::test::Variant;

/// The table of one machine.
pub fn table(counts: &Counts, variant: &Variant) -> String {
    let mut text = format!(
        "{}: instructions at EL2 for one go, and what else is on the way\n",
        variant.machine()
    );
    let _ = writeln!(
        text,
        "{:24} {:>5} {:>6} {:>5}  {:>6} {:>5} {:>12}  {:>5} {:>6} {:>6} {:>8}  verdict",
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
    for row in ROWS {
        if let Some(figures) = figures::of(counts, row) {
            line(&mut text, row, variant.gic, &figures);
        }
    }
    text.push('\n');
    text
}

fn line(text: &mut String, row: &Row, gic: u8, figures: &Figures) {
    let number =
        |value: Option<u64>| value.map_or_else(|| "-".to_string(), |value| value.to_string());
    let peer = row.peer.map_or_else(
        || "-".to_string(),
        |(count, name)| format!("{count} {name}"),
    );
    let [exits, device, sysreg, barriers, ..] = figures.others;
    let _ = writeln!(
        text,
        "{:24} {:5} {:6} {:5}  {:>6} {:5} {:>12}  {:5} {:6} {:6} {:8}  {}",
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
        verdict(row, gic, figures.el2.max)
    );
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
    over(row.half(), "half the peer's");
    match (parts.is_empty(), row.goal(gic).or(row.half())) {
        (true, Some(_)) => "ok".to_string(),
        (true, None) => "no target".to_string(),
        (false, _) => parts.join(", "),
    }
}
