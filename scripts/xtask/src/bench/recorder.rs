//! What the flight recorder takes of some rows: it is always on, so its instructions are among theirs.

use super::plugin::Counts;
use super::{profile, rows};

/// What is the recorder's by its source: an inlined instruction counts too.
const SOURCE: &str = "src/model/recorder";

/// Rows that it records, and how many instructions of each it may take: one through the core's loop, then the kinds the
/// short path notes. (Calls that the vectors answer take 9 of theirs for it, which assembly does not tell apart.)
const HELD: [(&str, f64); 5] = [
    ("id-register-read", 14.0),
    ("device-interrupt", 9.0),
    ("sgi-to-self", 9.0),
    ("isenabler0-write", 9.0),
    ("ipi", 18.0),
];

/// What it takes of one row.
pub struct Share {
    /// The row.
    pub row: &'static str,
    /// Instructions in one go.
    pub takes: f64,
    /// How many it may take.
    pub held: f64,
}

/// What it takes of each row that says so.
///
/// # Errors
/// A row was not counted, or the image has no symbols.
pub fn shares(counts: &Counts) -> anyhow::Result<Vec<Share>> {
    let share = |&(name, held): &(&'static str, f64)| {
        let row = rows::find(name).ok_or_else(|| anyhow::anyhow!("no row {name}"))?;
        let takes = profile::of(counts, row)?.written_in(SOURCE)?;
        anyhow::Ok(Share {
            row: name,
            takes,
            held,
        })
    };
    HELD.iter().map(share).collect()
}

/// The shares in one line, for people.
pub fn line(shares: &[Share]) -> String {
    let each: Vec<String> = shares
        .iter()
        .map(|share| format!("{:.0} of {}", share.takes, share.row))
        .collect();
    format!(
        "of these instructions the flight recorder's: {}",
        each.join(", ")
    )
}
