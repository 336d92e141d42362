//! The conformance suite: a guest that checks the guest ABI from inside, a check a rule, in TAP on the console.
//!
//! Boot arguments: `tests=psci,...` chooses subjects; `heartbeat=MS` is the manifest's limit; `role=peer` makes the kernel
//! the other end of the suite's channels. Each file is one service; each rule cites where it is written, by the title of
//! the section. What Arm's standards say holds on any machine; `differences` lists what QEMU's own PSCI does otherwise, and
//! why. What only Bulkhead promises is skipped elsewhere.
#![no_std]
#![no_main]

mod channel;
mod console;
mod crashes;
mod differences;
mod heartbeat;
mod info;
mod partition;
mod peer;
mod power;
mod psci;
mod pv_time;
mod races;
mod smccc;
mod statistic;
mod suite;
mod tree;
mod trng;
mod vendor;

use bulkhead_rt::test::environment::Environment;
use bulkhead_rt::test::trap;
use bulkhead_rt::{Machine, entry, println};
use suite::Suite;

/// A service: its name, and what checks it.
type Subject = (&'static str, fn(&mut Suite));

const SUBJECTS: &[Subject] = &[
    ("smccc", smccc::run),
    ("psci", psci::run),
    ("power", power::run),
    ("races", races::run),
    ("trng", trng::run),
    ("pv-time", pv_time::run),
    ("vendor", vendor::run),
    ("tree", tree::run),
    ("info", info::run),
    ("console", console::run),
    ("heartbeat", heartbeat::run),
    ("statistic", statistic::run),
    ("channel", channel::run),
    ("partition", partition::run),
    ("crashes", crashes::run),
];

entry!(main);

fn main(machine: &'static Machine) {
    trap::install();
    machine.gic.init();
    if machine.arguments.value("role") == Some("peer") {
        return peer::run(machine);
    }
    let mut suite = Suite::new(Environment::find(machine));
    println!("# conformance on {}", suite.environment);
    let chosen = |name: &str| {
        let mut asked = machine.arguments.list("tests").peekable();
        asked.peek().is_none() || asked.any(|subject| subject == name)
    };
    for (name, run) in SUBJECTS {
        if chosen(name) {
            suite.subject(name);
            run(&mut suite);
        }
    }
    suite.finish();
}
