//! The rows that need a second partition, and that partition (`role=peer`).
//!
//! The channel's words: [`COMMAND`] is the measuring end's, [`DONE`] and [`STARTS`] are the peer's.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::bulkhead::action;
use bulkhead_rt::channel::{Memory, Port, Slot};
use bulkhead_rt::vectors::{self, Frame};
use bulkhead_rt::{Machine, cpu, hypervisor, machine};

use crate::interrupts::relax;

/// What the peer is to do at the next doorbell.
const COMMAND: u64 = 0;
/// Doorbells the peer is done with.
const DONE: u64 = 1;
/// How often the peer was started.
const STARTS: u64 = 2;
/// Where data begins.
const DATA: u64 = 8;
/// Words of data: 4 KiB.
const WORDS: u64 = 512;

/// Commands: count the doorbell, ring back, sum the data up and ring back.
const COUNT: u64 = 0;
const ANSWER: u64 = 1;
const SUM: u64 = 2;

static PORT: Slot = Slot::new();
/// Doorbells this end was rung.
static RUNG: AtomicU64 = AtomicU64::new(0);
/// Where the peer leaves its sum.
static TOTAL: AtomicU64 = AtomicU64::new(0);

/// Opens the measuring end, if there is a peer.
pub fn open(machine: &'static Machine, channel: u64) {
    if let Ok(port) = Port::open(channel, Memory::Cached) {
        machine.gic.enable(port.info().doorbell);
        PORT.fill(port);
        while port.read(STARTS) == 0 {
            relax();
        }
    }
}

/// Whether a row needs a peer and there is none.
pub fn is_missing(name: &str) -> bool {
    let needs = name.starts_with("doorbell") || matches!(name, "channel-4k" | "restart");
    needs && PORT.get().is_none()
}

/// Whether an interrupt is the doorbell.
pub fn is_doorbell(intid: u32) -> bool {
    PORT.get().is_some_and(|port| port.info().doorbell == intid)
}

/// Counts a doorbell of the measuring end.
pub fn rung() {
    RUNG.fetch_add(1, Relaxed);
}

/// Rings by `how`, and waits until the peer is done with it.
#[inline(always)]
fn count(how: impl FnOnce(&Port)) {
    let Some(port) = PORT.get() else { return };
    let before = port.read(DONE);
    port.write(COMMAND, COUNT);
    how(port);
    while port.read(DONE) == before {
        relax();
    }
}

/// A doorbell by a call, to the end of the peer's handler.
pub fn notify() {
    count(|port| {
        let _ = port.notify();
    });
}

/// A doorbell by its page.
pub fn ring() {
    count(Port::ring);
}

#[inline(always)]
fn there_and_back(command: u64) {
    let Some(port) = PORT.get() else { return };
    let before = RUNG.load(Relaxed);
    port.write(COMMAND, command);
    let _ = port.notify();
    while RUNG.load(Relaxed) == before {
        relax();
    }
}

/// A doorbell that the peer answers with one.
pub fn ask() {
    there_and_back(ANSWER);
}

/// 4 KiB written, read by the peer, and answered.
pub fn send() {
    if let Some(port) = PORT.get() {
        (0..WORDS).for_each(|word| port.write(DATA + word, word));
    }
    there_and_back(SUM);
}

/// The peer restarted, until it runs Rust: it ends the window itself.
pub fn restart() {
    let Some(port) = PORT.get() else { return };
    let before = port.read(STARTS);
    let _ = hypervisor::control(u64::from(port.info().peer), action::RESTART);
    while port.read(STARTS) == before {
        relax();
    }
}

/// The peer: does what doorbells ask it for.
pub fn play(machine: &'static Machine, channel: u64) {
    // The end of a window of `restart`.
    // SAFETY: a hint.
    unsafe { core::arch::asm!("hint #127") };
    let starts = hypervisor::partition_info().map_or(1, |[_, starts, _]| starts);
    machine.gic.init();
    let Ok(port) = Port::open(channel, Memory::Cached) else {
        return;
    };
    machine.gic.enable(port.info().doorbell);
    PORT.fill(port);
    vectors::on_irq(serve);
    cpu::unmask_interrupts();
    port.write(STARTS, starts);
    loop {
        relax();
    }
}

fn serve(_: &mut Frame) -> bool {
    let gic = &machine().gic;
    let (Some(interrupt), Some(port)) = (gic.acknowledge(), PORT.get()) else {
        return true;
    };
    let command = port.read(COMMAND);
    if command == SUM {
        let sum = (0..WORDS).map(|word| port.read(DATA + word)).sum();
        TOTAL.store(sum, Relaxed);
    }
    if command != COUNT {
        let _ = port.notify();
    }
    gic.end(interrupt);
    port.write(DONE, port.read(DONE) + 1);
    true
}
