//! A 1 kHz control loop off the virtual timer. It reports how late its ticks came.
//!
//! With a channel it also follows a sensor: each tick reads the newest sample from shared memory, which costs no exit;
//! a doorbell only says that there is one, or that the sensor stopped.
//!
//! Boot arguments: `report=SECONDS` between reports (default 1, 0 never), `ticks=N` to stop after N.
//! Invariant: between reports it touches nothing but the timer and the CPU interface.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::layout::TIMER_VIRTUAL_INTID;
use bulkhead_rt::call::Conduit;
use bulkhead_rt::channel::{Memory, Port, Rings, Sample, Slot};
use bulkhead_rt::vectors::Frame;
use bulkhead_rt::{Machine, cpu, entry, hypervisor, machine, println, timer, vectors};

/// Ticks a second.
const RATE: u64 = 1000;

/// What the interrupt handler knows; only it writes while interrupts are unmasked.
struct Loop {
    period: AtomicU64,
    deadline: AtomicU64,
    ticks: AtomicU64,
    missed: AtomicU64,
    window: Window,
}

/// Lateness since the last report, in counter ticks.
struct Window {
    ticks: AtomicU64,
    missed: AtomicU64,
    least: AtomicU64,
    sum: AtomicU64,
    most: AtomicU64,
}

static LOOP: Loop = Loop {
    period: AtomicU64::new(0),
    deadline: AtomicU64::new(0),
    ticks: AtomicU64::new(0),
    missed: AtomicU64::new(0),
    window: Window {
        ticks: AtomicU64::new(0),
        missed: AtomicU64::new(0),
        least: AtomicU64::new(u64::MAX),
        sum: AtomicU64::new(0),
        most: AtomicU64::new(0),
    },
};

/// What is known of the sensor. Its port is opened before the first interrupt.
struct Sensor {
    port: Slot,
    doorbells: Rings,
    /// Number of the newest sample.
    number: AtomicU32,
    value: AtomicU64,
    /// Samples since the last report, and the greatest age of one at the tick that saw it first, in counter ticks.
    fresh: AtomicU32,
    age: AtomicU64,
}

static SENSOR: Sensor = Sensor {
    port: Slot::new(),
    doorbells: Rings::new(),
    number: AtomicU32::new(0),
    value: AtomicU64::new(0),
    fresh: AtomicU32::new(0),
    age: AtomicU64::new(0),
};

entry!(main);

fn main(machine: &'static Machine) {
    let report = machine.arguments.number("report").unwrap_or(1);
    let limit = machine.arguments.number("ticks").unwrap_or(u64::MAX);
    machine.gic.init();
    machine.gic.enable(TIMER_VIRTUAL_INTID);
    find_sensor(machine);
    vectors::on_irq(interrupt);
    println!("control: {RATE} Hz, counter at {} Hz", timer::frequency());

    let period = timer::frequency() / RATE;
    LOOP.period.store(period, Relaxed);
    LOOP.deadline.store(timer::now() + period, Relaxed);
    timer::set_virtual_deadline(LOOP.deadline.load(Relaxed));
    timer::set_virtual_control(timer::ENABLE);
    run(report.saturating_mul(RATE), limit);

    timer::set_virtual_control(0);
    let missed = LOOP.missed.load(Relaxed);
    println!("control: done, {limit} ticks, missed {missed}");
}

/// Opens the first channel, if Bulkhead is below and there is one.
fn find_sensor(machine: &'static Machine) {
    if machine.conduit != Conduit::Hvc || !hypervisor::is_bulkhead() {
        return;
    }
    if let Ok(port) = Port::open(0, Memory::Cached) {
        println!(
            "control: a sensor at the other end of a channel, partition {}",
            port.info().peer
        );
        machine.gic.enable(port.info().doorbell);
        SENSOR.port.fill(port);
    }
}

/// Waits for ticks and prints a report every `report` of them (0: never) until there are `limit`.
fn run(report: u64, limit: u64) {
    let mut reported = 0;
    loop {
        // Masked, so that a tick between the check and the wait still ends the wait.
        cpu::mask_interrupts();
        let ticks = LOOP.ticks.load(Relaxed);
        if report != 0 && ticks - reported >= report {
            reported = ticks;
            let line = LOOP.window.take();
            cpu::unmask_interrupts();
            line.print();
            SENSOR.print();
            continue;
        }
        if ticks >= limit {
            return;
        }
        cpu::wait_for_interrupt();
        cpu::unmask_interrupts();
    }
}

/// Takes one interrupt: the timer's or a doorbell.
fn interrupt(_: &mut Frame) -> bool {
    let gic = &machine().gic;
    let Some(interrupt) = gic.acknowledge() else {
        return true;
    };
    if interrupt.intid() == TIMER_VIRTUAL_INTID {
        tick();
        SENSOR.look();
    } else {
        SENSOR.doorbells.count();
    }
    gic.end(interrupt);
    true
}

/// Takes one tick: measures its lateness and sets the next deadline, an absolute time.
fn tick() {
    let now = timer::now();
    let deadline = LOOP.deadline.load(Relaxed);
    // Under emulation an interrupt may be seen once more after its level fell: that is no tick.
    if now >= deadline {
        let late = now - deadline;
        let period = LOOP.period.load(Relaxed);
        let missed = late / period;
        let next = deadline + period * (missed + 1);
        LOOP.deadline.store(next, Relaxed);
        timer::set_virtual_deadline(next);
        LOOP.record(late, missed);
    }
}

impl Sensor {
    /// Reads the newest sample.
    fn look(&self) {
        let Some((number, sample)) = self.port.get().and_then(Sample::read) else {
            return;
        };
        if number != self.number.load(Relaxed) {
            self.number.store(number, Relaxed);
            self.value.store(sample.value, Relaxed);
            self.fresh.store(self.fresh.load(Relaxed) + 1, Relaxed);
            let age = timer::physical_now().saturating_sub(sample.time);
            self.age.store(self.age.load(Relaxed).max(age), Relaxed);
        }
    }

    fn print(&self) {
        if self.port.get().is_none() {
            return;
        }
        let age = Microseconds::from_ticks(self.age.swap(0, Relaxed));
        println!(
            "control: sensor at {}, {} samples, oldest {age} us, {} doorbells in all",
            self.value.load(Relaxed),
            self.fresh.swap(0, Relaxed),
            self.doorbells.get()
        );
    }
}

fn add(counter: &AtomicU64, amount: u64) -> u64 {
    let sum = counter.load(Relaxed) + amount;
    counter.store(sum, Relaxed);
    sum
}

impl Loop {
    fn record(&self, late: u64, missed: u64) {
        let window = &self.window;
        add(&self.ticks, 1);
        add(&self.missed, missed);
        add(&window.ticks, 1);
        add(&window.missed, missed);
        add(&window.sum, late);
        window
            .least
            .store(window.least.load(Relaxed).min(late), Relaxed);
        window
            .most
            .store(window.most.load(Relaxed).max(late), Relaxed);
    }
}

/// One report's numbers; lateness in counter ticks.
struct Report {
    ticks: u64,
    missed: u64,
    least: u64,
    mean: u64,
    most: u64,
}

impl Window {
    /// Takes the window's numbers and begins a new one; call with interrupts masked.
    fn take(&self) -> Report {
        let ticks = self.ticks.swap(0, Relaxed);
        Report {
            ticks,
            missed: self.missed.swap(0, Relaxed),
            least: self.least.swap(u64::MAX, Relaxed),
            mean: self.sum.swap(0, Relaxed) / ticks.max(1),
            most: self.most.swap(0, Relaxed),
        }
    }
}

impl Report {
    fn print(&self) {
        let [least, mean, most] = [self.least, self.mean, self.most].map(Microseconds::from_ticks);
        println!(
            "control: {} ticks, lateness min/mean/max {least}/{mean}/{most} us, missed {}",
            self.ticks, self.missed
        );
    }
}

/// A time in microseconds with one decimal.
struct Microseconds {
    nanoseconds: u64,
}

impl Microseconds {
    fn from_ticks(ticks: u64) -> Self {
        Self {
            nanoseconds: timer::nanoseconds(ticks),
        }
    }
}

impl core::fmt::Display for Microseconds {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{}.{}",
            self.nanoseconds / 1000,
            self.nanoseconds % 1000 / 100
        )
    }
}
