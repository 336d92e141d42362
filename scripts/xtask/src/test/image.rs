//! What must hold of the hypervisor's image: its size, and that its short path cannot panic.

use super::Outcome;
use super::host::Step;
use crate::bench::symbols::Image;
use crate::bench::{graph, size};
use crate::build;

/// Functions the short path has at least: fewer would mean that it was not followed.
const FEWEST: usize = 10;

/// Functions that panic still, or call by a pointer (what a wait for a lock asks whether to go on waiting): may only become fewer.
const HELD: &[&str] = &[
    "arrayvec::arrayvec::ArrayVec<T,_>::try_insert",
    "bulkhead::behaviour::here::Here::locked",
    "bulkhead::program::short::further",
];

/// The tests.
pub const STEPS: &[Step] = &[
    Step {
        name: "bench/size",
        quick: true,
        run: is_small,
    },
    Step {
        name: "bench/short-path-cannot-panic",
        quick: true,
        run: cannot_panic,
    },
];

/// The image is no larger than what is held of it.
fn is_small() -> anyhow::Result<Outcome> {
    build::hypervisor()?;
    let size = size::constant(&Image::built()?);
    let mut outcome = one(size <= size::HELD, size::judge(size));
    if size > size::TARGET {
        outcome.notes.push(size::judge(size));
    }
    Ok(outcome)
}

/// No function of the short path may come to a panic, to formatting, or to where a pointer leads.
fn cannot_panic() -> anyhow::Result<Outcome> {
    build::hypervisor()?;
    let image = Image::built()?;
    let reached = graph::short_path(&image)?;
    let mut outcome = one(
        reached.functions.len() >= FEWEST,
        format!("{} functions on the short path", reached.functions.len()),
    );
    for (at, from, to) in &reached.barred {
        let line = image.innermost_line(*at)?;
        let text = format!("{to} is called: {line}, in {}", reached.way(from));
        if HELD.contains(&from.as_str()) {
            outcome.notes.push(text);
        } else {
            outcome.failures.push(text);
        }
    }
    Ok(outcome)
}

fn one(holds: bool, text: String) -> Outcome {
    let mut outcome = Outcome::default();
    if holds {
        outcome.passed = 1;
    } else {
        outcome.failures.push(text.clone());
    }
    outcome.tail.push(text);
    outcome
}
