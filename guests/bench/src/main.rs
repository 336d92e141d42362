//! What each operation costs: every row is done [`TIMES`] times between two markers that the counting plugin
//! (scripts/xtask/plugin) knows, and timed by the counter, of which one tick is one instruction under `-icount`.
//!
//! Prints `bench: ID NAME min/median/max`, in counter ticks less those of an empty window, and `bench: done`. Boot
//! arguments: `rows=ID,ID` measures those rows alone; `channel=N` is the channel whose other end is the `role=peer`.
#![no_std]
#![no_main]

mod device;
mod interrupts;
mod output;
mod peer;

use bulkhead_rt::abi::layout::{GICD_BASE, UART_BASE};
use bulkhead_rt::abi::{bulkhead, psci, smccc};
use bulkhead_rt::call::Conduit;
use bulkhead_rt::gic::{Gic, distributor};
use bulkhead_rt::{Machine, entry, mmio, println, timer};

/// Times each row is done.
const TIMES: usize = 64;
/// Times it is done before, uncounted.
const WARM: usize = 4;
/// UARTFR.
const UART_FLAGS: u64 = 0x18;
/// A UART register nobody watches: UARTIBRD.
const UART_BAUD: u64 = 0x24;

entry!(main);

/// What is measured of a row: the marker at its beginning, and one go at it.
struct Row {
    name: &'static str,
    /// Does it once, marked, and says how many ticks it took.
    once: fn() -> u64,
}

/// A row: its number, which is its marker's, its name, what is done before it uncounted, and what it does.
macro_rules! row {
    ($id:literal, $name:literal, $work:expr) => {
        row!($id, $name, (), $work)
    };
    ($id:literal, $name:literal, $before:expr, $work:expr) => {
        Row {
            name: $name,
            once: || {
                let _ = $before;
                let from = timer::now();
                // SAFETY: hints that QEMU and every core take for no operation.
                unsafe { core::arch::asm!(concat!("hint #64 + ", $id)) };
                let _ = $work;
                // SAFETY: as above.
                unsafe { core::arch::asm!("hint #127") };
                timer::now() - from
            },
        }
    };
}
/// The rows any machine has, in the order of their numbers.
const ROWS: &[Row] = &[
    row!(0, "empty", ()),
    row!(1, "hvc-psci-version", call(Conduit::Hvc, psci::VERSION, 0)),
    row!(2, "smc-psci-version", call(Conduit::Smc, psci::VERSION, 0)),
    row!(
        3,
        "hvc-smccc-version",
        call(Conduit::Hvc, smccc::VERSION, 0)
    ),
    row!(
        4,
        "hvc-psci-features",
        call(Conduit::Hvc, psci::FEATURES, psci::CPU_OFF)
    ),
    row!(5, "hvc-unknown", call(Conduit::Hvc, 0x8600_1234, 0)),
    row!(
        6,
        "gicd-typer-read",
        mmio::read32(GICD_BASE + distributor::TYPER)
    ),
    row!(
        7,
        "gicd-isenabler1-read",
        mmio::read32(GICD_BASE + distributor::ISENABLER + 4)
    ),
    row!(
        8,
        "isenabler0-write",
        mmio::write32(private() + distributor::ISENABLER, 0)
    ),
    row!(
        9,
        "isenabler0-write-all",
        mmio::write32(private() + distributor::ISENABLER, u32::MAX)
    ),
    row!(
        10,
        "icenabler0-write-one",
        mmio::write32(private() + distributor::ICENABLER, 1 << 30)
    ),
    row!(11, "uart-flags-read", mmio::read32(UART_BASE + UART_FLAGS)),
    row!(
        12,
        "uart-register-write",
        mmio::write32(UART_BASE + UART_BAUD, 1)
    ),
    row!(
        13,
        "id-register-read",
        bulkhead_rt::read_sysreg!("id_aa64pfr0_el1")
    ),
    row!(14, "sgi-to-self", interrupts::to_self()),
    row!(15, "virtual-timer", interrupts::virtual_timer()),
    row!(
        16,
        "virtual-timer-from-wfi",
        interrupts::virtual_timer_asleep()
    ),
    row!(17, "physical-timer", interrupts::physical_timer()),
    row!(18, "ipi", interrupts::to_other()),
    row!(19, "ipi-round-trip", interrupts::there_and_back()),
    row!(20, "cpu-on", interrupts::switch_on()),
    row!(21, "device-interrupt", interrupts::device()),
    row!(
        22,
        "hvc-features",
        call(Conduit::Hvc, bulkhead::FEATURES, bulkhead::HEARTBEAT)
    ),
    row!(
        23,
        "hvc-heartbeat",
        call(Conduit::Hvc, bulkhead::HEARTBEAT, 60_000)
    ),
    row!(24, "doorbell", peer::notify()),
    row!(25, "doorbell-by-page", peer::ring()),
    row!(26, "doorbell-round-trip", peer::ask()),
    row!(27, "channel-4k", peer::send()),
    row!(28, "console-byte", output::byte()),
    row!(29, "console-64-bytes", output::line()),
    row!(30, "console-call-48", output::call()),
    row!(
        31,
        "load-without-syndrome",
        mmio_post_index(GICD_BASE + distributor::TYPER)
    ),
    row!(
        32,
        "more-than-list-registers",
        interrupts::make_pending(),
        interrupts::take_pending()
    ),
    row!(33, "restart", peer::restart()),
    row!(
        34,
        "cpu-off",
        interrupts::switch_on(),
        interrupts::switch_off()
    ),
];

fn main(machine: &'static Machine) {
    let channel = machine.arguments.number("channel").unwrap_or(0);
    if machine.arguments.value("role") == Some("peer") {
        return peer::play(machine, channel);
    }
    let has_rows = machine.arguments.value("rows").is_some();
    let is_chosen = |id: u32| {
        let mut rows = machine.arguments.list("rows");
        !has_rows || rows.any(|row| row.parse() == Ok(id))
    };
    interrupts::start(machine);
    peer::open(machine, channel);
    let empty = median(&mut measure(&ROWS[0]));
    for (id, row) in (0..).zip(ROWS) {
        let is_missing = interrupts::is_missing(row.name) || peer::is_missing(row.name);
        if !is_chosen(id) || is_missing {
            continue;
        }
        interrupts::prepare(row.name);
        let mut ticks = measure(row);
        let median = median(&mut ticks);
        let [min, median, max] =
            [ticks[0], median, ticks[TIMES - 1]].map(|ticks| ticks.saturating_sub(empty));
        if row.name == "console-byte" {
            println!();
        }
        println!("bench: {id} {} {min}/{median}/{max}", row.name);
    }
    println!("bench: done");
}

fn measure(row: &Row) -> [u64; TIMES] {
    let once = || {
        let ticks = (row.once)();
        interrupts::settle();
        ticks
    };
    for _ in 0..WARM {
        once();
    }
    core::array::from_fn(|_| once())
}

/// Sorts them and returns the middle one.
fn median(ticks: &mut [u64; TIMES]) -> u64 {
    ticks.sort_unstable();
    ticks[TIMES / 2]
}

/// Calls `function` with one argument; X0 alone comes back.
#[inline(always)]
fn call(conduit: Conduit, function: u32, argument: u32) -> u64 {
    let (mut x0, x1) = (u64::from(function), u64::from(argument));
    match conduit {
        // SAFETY: the convention preserves all but x0-x17.
        Conduit::Hvc => unsafe {
            core::arch::asm!("hvc #0", inout("x0") x0, inout("x1") x1 => _, inout("x2") 0_u64 => _, clobber_abi("C"));
        },
        // SAFETY: as above.
        Conduit::Smc => unsafe {
            core::arch::asm!("smc #0", inout("x0") x0, inout("x1") x1 => _, inout("x2") 0_u64 => _, clobber_abi("C"));
        },
    }
    x0
}

/// A load whose abort has no syndrome, since it changes its address register too (Arm ARM D24.2.40, ISV).
#[inline(always)]
fn mmio_post_index(mut address: u64) -> u32 {
    let value: u32;
    // SAFETY: reads a device's register.
    unsafe {
        core::arch::asm!("ldr {value:w}, [{address}], #4", value = out(reg) value, address = inout(reg) address,
            options(nostack, preserves_flags));
    }
    let _ = address;
    value
}

/// The frame of this CPU's private interrupts.
#[inline(always)]
fn private() -> u64 {
    match bulkhead_rt::machine().gic {
        Gic::V2 { distributor, .. } => distributor,
        Gic::V3 { redistributors, .. } => redistributors + 0x1_0000,
    }
}
