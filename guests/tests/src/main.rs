//! A kernel that tests the machine it runs on from inside, and says so in TAP on the console.
//!
//! Boot arguments: `tests=boot,psci,...` chooses subjects (default: all that need nobody's help),
//! `role=...` makes it a neighbour instead (see `roles`).
//! Invariant: each check names a property of an Arm specification or of the guest ABI; what only
//! Bulkhead promises is skipped elsewhere, the rest holds on any machine (bare QEMU virt).
#![no_std]
#![no_main]

mod access;
mod boot;
mod code;
mod cold;
mod debug;
mod devices;
mod fp;
mod hostile;
mod mmio;
mod observer;
mod poison;
mod psci;
mod roles;
mod smccc;
mod sysreg;
mod timer;
mod uart;
mod vgic;

use bulkhead_rt::test::{environment, exchange, poll, smp, tap, trap};
use bulkhead_rt::{Machine, entry, println};
use environment::Environment;
use tap::Tap;

/// A group of checks: its name, what runs it, whether it runs unasked.
struct Subject {
    name: &'static str,
    run: fn(&mut Tap, &Environment),
    default: bool,
}

const fn subject(name: &'static str, run: fn(&mut Tap, &Environment)) -> Subject {
    Subject {
        name,
        run,
        default: true,
    }
}

const SUBJECTS: &[Subject] = &[
    subject("boot", boot::run),
    subject("smccc", smccc::run),
    subject("psci", psci::run),
    subject("timer", timer::run),
    subject("vgic", vgic::run),
    subject("mmio", mmio::run),
    subject("fp", fp::run),
    subject("sysreg", sysreg::run),
    subject("poison", poison::run),
    subject("debug", debug::run),
    subject("hostile-lite", hostile::run),
    subject("uart", uart::run),
    Subject {
        name: "devices",
        run: devices::run,
        default: false,
    },
    Subject {
        name: "dma",
        run: devices::run_dma,
        default: false,
    },
    Subject {
        name: "off",
        run: devices::run_off,
        default: false,
    },
    Subject {
        name: "serial",
        run: devices::run_serial,
        default: false,
    },
    Subject {
        name: "uart-rx",
        run: uart::receive,
        default: false,
    },
];

entry!(main);

fn main(machine: &'static Machine) {
    trap::install();
    if let Some(role) = machine.arguments.value("role") {
        return roles::run(role, machine);
    }
    let environment = Environment::find(machine);
    machine.gic.init();
    let mut tap = Tap::new();
    println!("# guest-tests on {environment}");
    for name in machine.arguments.list("tests") {
        if !SUBJECTS.iter().any(|subject| subject.name == name) {
            tap.begin("main");
            tap.check("every subject asked for exists", false);
            println!("# no subject {name}");
        }
    }
    let all = machine.arguments.list("tests").next().is_none();
    for subject in SUBJECTS {
        let asked = machine
            .arguments
            .list("tests")
            .any(|name| name == subject.name);
        if asked || all && subject.default {
            tap.begin(subject.name);
            (subject.run)(&mut tap, &environment);
        }
    }
    tap.finish();
}
