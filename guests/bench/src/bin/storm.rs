//! A partition that does its worst on all its CPUs, one kind after another, while the control loop of another partition runs.
//!
//! Each kind lasts `milliseconds=N` (default 100) between two markers that the counting plugin knows; the last one is that the
//! partition restarts itself, until it was started `starts=N` times (default 8). Channel 0 leads to the control loop, channel 1 to
//! somebody else. Prints `storm: done`.
#![no_std]
#![no_main]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::layout::{GICD_BASE, UART_BASE};
use bulkhead_rt::gic::distributor;
use bulkhead_rt::vectors::{self, Frame};
use bulkhead_rt::{Machine, cpu, entry, hypervisor, machine, mmio, mmu, println, psci, timer};

/// The SGI of the storm of IPIs.
const SGI: u32 = 1;
/// Sets and ways of a first-level cache, as DC CISW names them: more than any core here has.
const WAYS: u64 = 4;
const SETS: u64 = 256;
/// Bits of the number in DC CISW: the way, the set.
const WAY_SHIFT: u32 = 30;
const SET_SHIFT: u32 = 6;
/// Goes between two looks at the clock.
const BATCH: u32 = 16;

entry!(main);

/// The kind that CPU 1 joins in, as an index of [`STORMS`].
static KIND: AtomicU64 = AtomicU64::new(0);

/// A kind: the marker at its beginning, and one go at it.
struct Storm {
    begin: fn(),
    once: fn(),
}

macro_rules! mark {
    ($id:literal) => {{
        // SAFETY: a hint.
        unsafe { asm!(concat!("hint #64 + ", $id)) };
    }};
}

macro_rules! storm {
    ($id:literal, $once:expr) => {
        Storm {
            begin: || mark!($id),
            once: || $once,
        }
    };
}

/// In the order of their markers; the last of all, 8, is the restarts.
const STORMS: &[Storm] = &[
    storm!(0, relax()),
    storm!(1, mmio::write32(UART_BASE, u32::from(b'~'))),
    storm!(2, accesses()),
    storm!(3, interrupts()),
    storm!(4, ring(1)),
    storm!(5, ring(0)),
    storm!(6, set_way()),
    storm!(7, tables()),
];

fn relax() {
    // SAFETY: a hint.
    unsafe { asm!("yield") };
}

fn end() {
    // SAFETY: a hint.
    unsafe { asm!("hint #127") };
}

fn accesses() {
    let gic = GICD_BASE;
    mmio::write32(gic + distributor::ISENABLER, 1 << SGI);
    mmio::write32(gic + distributor::IPRIORITYR, u32::MAX);
    let _ = mmio::read32(gic + distributor::ICFGR);
    let _ = mmio::read32(UART_BASE + 0x18);
}

fn interrupts() {
    let gic = &machine().gic;
    (0..machine().cpu_count() as u64).for_each(|target| gic.send_sgi(SGI, target));
}

fn ring(channel: u64) {
    let _ = hypervisor::notify(channel);
}

fn set_way() {
    for way in 0..WAYS {
        for set in 0..SETS {
            let place = way << WAY_SHIFT | set << SET_SHIFT;
            // SAFETY: cleaning and invalidating loses nothing.
            unsafe { asm!("dc cisw, {}", in(reg) place) };
        }
    }
}

/// Changes a descriptor that maps nothing, and drops all that is known of the tables on every CPU.
fn tables() {
    let last = mmu::root();
    const UNUSED: usize = 511;
    let was = last.get(UNUSED);
    last.set(UNUSED, 0);
    mmu::synchronize();
    last.set(UNUSED, was);
    // SAFETY: what is dropped is read again.
    unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb") };
}

fn main(machine: &'static Machine) {
    let number = |name, default| machine.arguments.number(name).unwrap_or(default);
    let starts = hypervisor::partition_info().map_or(0, |[_, starts, _]| starts);
    if starts > 1 {
        if starts == 2 {
            mark!(8);
        }
        if starts < number("starts", 8) {
            psci::system_reset();
        }
        end();
        println!("storm: done");
        return;
    }
    vectors::on_irq(take);
    prepare();
    let _ = cpu::start_secondary(1, join, 0);
    let time = timer::ticks(number("milliseconds", 100) * 1000);
    for (kind, storm) in STORMS.iter().enumerate() {
        KIND.store(kind as u64, Relaxed);
        let until = timer::now() + time;
        (storm.begin)();
        while timer::now() < until {
            (0..BATCH).for_each(|_| (storm.once)());
        }
        end();
    }
    println!();
    psci::system_reset();
}

fn prepare() {
    let gic = &machine().gic;
    gic.init();
    gic.enable(SGI);
    cpu::unmask_interrupts();
}

/// CPU 1 does as CPU 0.
fn join(_: u64) {
    prepare();
    loop {
        if let Some(storm) = usize::try_from(KIND.load(Relaxed))
            .ok()
            .and_then(|kind| STORMS.get(kind))
        {
            (storm.once)();
        }
    }
}

fn take(_: &mut Frame) -> bool {
    let gic = &machine().gic;
    if let Some(interrupt) = gic.acknowledge() {
        gic.end(interrupt);
    }
    true
}
