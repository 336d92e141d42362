//! An attacker: does, on all its CPUs, whatever a guest can do to what is below it; and a witness beside it.
//!
//! Boot arguments: `seed=N` (default 1), `attacks=calls,mmio,...` (default all), `role=witness seconds=N
//! victims=N` (the vCPUs of the attacker, partition 0, that must still go on at the end).
//! The same seed makes the same choices in each start; each start of the partition has choices of its own. An attacker
//! that has caught itself misses its heartbeat and is restarted, if its manifest says so.
//! Invariant: nothing here asks the hypervisor for mercy; what the attacker needs to go on, `guard` keeps.
#![no_std]
#![no_main]

mod address;
mod attack;
mod guard;
mod instruction;
mod odd;
mod random;
mod storm;
mod tables;
mod witness;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use attack::{ATTACKS, Attacker};
use bulkhead_rt::abi::layout::TIMER_VIRTUAL_INTID;
use bulkhead_rt::{Machine, console, cpu, entry, hypervisor, machine, println, timer};
use guard::End;
use random::Random;

/// Attacks between two looks at whether all is in order.
const BATCH: u64 = 128;
/// Attacks between two heartbeats.
const BEAT: u64 = 8;
/// Batches between two lines on the console.
const REPORT: u64 = 4;
/// Milliseconds until an attacker that has caught itself is restarted.
const HEARTBEAT: u64 = 1000;
/// Microseconds an attack may take before its timer interrupts it.
const PATIENCE: u64 = 2_000;

static ATTACKS_DONE: AtomicU64 = AtomicU64::new(0);
/// A bit for each attack that is wanted.
static CHOSEN: AtomicU64 = AtomicU64::new(u64::MAX);
static EXCEPTIONS: AtomicU64 = AtomicU64::new(0);

entry!(main);

fn main(machine: &'static Machine) {
    let number = |name| machine.arguments.number(name);
    if machine.arguments.value("role") == Some("witness") {
        let (seconds, victims) = (number("seconds"), number("victims"));
        return witness::run(machine, seconds.unwrap_or(10), victims.unwrap_or(0));
    }
    // Its attacks hit its own code as well.
    console::RESETS_ON_PANIC.store(true, Relaxed);
    if machine.arguments.value("attacks").is_some() {
        let wanted = |name: &str| machine.arguments.list("attacks").any(|one| one == name);
        let chosen = (0..).zip(ATTACKS).filter(|(_, (name, _))| wanted(name));
        CHOSEN.store(
            chosen.fold(0, |mask, (bit, _)| mask | 1_u64 << bit),
            Relaxed,
        );
    }
    let start = hypervisor::partition_info().map_or(0, |[_, starts, _]| starts);
    let seed = number("seed").unwrap_or(1) ^ start << 20;
    attack::open_everything();
    machine.gic.init();
    if start <= 1 {
        println!("hostile: seed {seed:#x}, {} CPUs", machine.cpu_count());
    }
    storm(seed << 4);
}

/// Attacks for good. The CPU's number is added to `seed`.
fn storm(seed: u64) {
    let machine = machine();
    let cpu = cpu::index();
    let mut attacker = Attacker {
        cpu,
        cpus: machine.cpu_count(),
        // Each CPU goes through all of them, from its own place on.
        encoding: Random::new(seed + cpu as u64).word() % instruction::ENCODINGS,
        random: Random::new(seed + cpu as u64),
    };
    for batch in 1_u64.. {
        if cpu == 0 {
            beat();
            (1..machine.cpu_count()).for_each(|index| revive(index, seed + batch * 16));
            if batch.is_multiple_of(REPORT) {
                println!(
                    "hostile: {} attacks, {} exceptions",
                    ATTACKS_DONE.load(Relaxed),
                    EXCEPTIONS.load(Relaxed)
                );
            }
        }
        machine.gic.init();
        machine.gic.enable(TIMER_VIRTUAL_INTID);
        for attack in 0..BATCH {
            if cpu == 0 && attack.is_multiple_of(BEAT) {
                beat();
            }
            one(&mut attacker);
        }
    }
}

/// Promises to be back in time.
fn beat() {
    let _ = hypervisor::heartbeat(HEARTBEAT);
}

/// Starts CPU `index` if it is off.
fn revive(index: usize, seed: u64) {
    let off = machine()
        .cpu(index)
        .is_some_and(|target| bulkhead_rt::psci::affinity_info(target) == 1);
    if off {
        let _ = cpu::start_secondary(index, storm, seed);
    }
}

/// One attack.
fn one(attacker: &mut Attacker) {
    let index = usize::try_from(attacker.random.below(ATTACKS.len() as u64)).unwrap_or(0);
    let (_, run) = ATTACKS[index];
    if CHOSEN.load(Relaxed) >> index & 1 == 0 {
        return;
    }
    timer::set_virtual_deadline(timer::now() + timer::ticks(PATIENCE));
    timer::set_virtual_control(timer::ENABLE);
    let end = run(attacker);
    ATTACKS_DONE.fetch_add(1, Relaxed);
    if end == End::Exception {
        EXCEPTIONS.fetch_add(1, Relaxed);
    }
    if end == End::Interrupted {
        attack::drain();
    }
}
