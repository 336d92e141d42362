//! Tells a person what takes long. On a terminal a line that moves, elsewhere one plain line; always on
//! standard error, so that standard output stays the console's.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How long something may take before it is worth a line of its own afterwards.
const WORTH_MENTION: Duration = Duration::from_secs(1);

/// Does `work`, saying `what` is being done meanwhile.
pub fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    if !std::io::stderr().is_terminal() {
        eprintln!("{what} ...");
        return work();
    }
    let bar = ProgressBar::new_spinner().with_message(format!("{what} ..."));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    let result = work();
    bar.finish_and_clear();
    let took = started.elapsed();
    if took >= WORTH_MENTION {
        eprintln!("{what}: {:.1} s", took.as_secs_f32());
    }
    result
}
