//! The rows that end in an interrupt handler, on this CPU or another.
//!
//! Invariant: CPU 1 waits in [`echo`] with its interrupts unmasked, except while the row that switches it on runs.

use core::sync::atomic::{AtomicU64, Ordering};

use bulkhead_rt::abi::layout::{TIMER_PHYSICAL_INTID, TIMER_VIRTUAL_INTID};
use bulkhead_rt::abi::psci::AFFINITY_OFF;
use bulkhead_rt::vectors::{self, Frame};
use bulkhead_rt::{Machine, cpu, machine, psci, timer, write_sysreg};

use crate::{device, peer};

/// The SGI a CPU sends itself.
const OWN: u32 = 1;
/// The SGI that CPU 1 takes and is silent about.
const ONE_WAY: u32 = 2;
/// The SGI that CPU 1 answers with [`ANSWER`].
const ASK: u32 = 3;
/// CPU 1's answer.
const ANSWER: u32 = 4;
/// Affinity of CPU 1.
const OTHER: u64 = 1;
/// What CPU 1 was started for.
const ECHO: u64 = 0;
const LEAVE: u64 = 1;

/// Interrupts taken, by either CPU.
static TAKEN: AtomicU64 = AtomicU64::new(0);
/// Starts of CPU 1 that got as far as Rust.
static ARRIVED: AtomicU64 = AtomicU64::new(0);

/// Set once CPU 1 has to leave its loop.
static LEAVING: AtomicU64 = AtomicU64::new(0);
/// Set once CPU 1, started to leave, may: so that a row is about one of the two, to come or to go.
static MAY_LEAVE: AtomicU64 = AtomicU64::new(0);

/// Turns that CPU 1 has to go off and wait, each as long as it lasts: more than it needs.
const TURNS: u32 = 64;

/// SGIs of [`make_pending`]: more than any GIC has list registers under QEMU.
const MANY: core::ops::Range<u32> = 5..16;

/// Lets another CPU go on: QEMU runs them in turns under `-icount`, and YIELD ends a turn.
#[inline(always)]
pub fn relax() {
    // SAFETY: a hint.
    unsafe { core::arch::asm!("yield") };
}

/// Prepares this CPU, and CPU 1 if there is one.
pub fn start(machine: &'static Machine) {
    vectors::on_irq(handle);
    device::open(machine);
    prepare_cpu();
    if machine.cpu_count() > 1 {
        // It uses devices then, whose translation the next step changes.
        switch_to(ECHO);
    }
}

/// Whether a row needs a CPU that is not there.
pub fn is_missing(name: &str) -> bool {
    machine().cpu_count() < 2 && matches!(name, "ipi" | "ipi-round-trip" | "cpu-on" | "cpu-off")
        || device::intid() == 0 && name == "device-interrupt"
}

/// Does what a row needs once before it.
pub fn prepare(name: &str) {
    if name == "physical-timer" {
        // A row before it disables this interrupt.
        machine().gic.enable(TIMER_PHYSICAL_INTID);
    }
    if name == "device-interrupt" {
        machine().gic.enable(device::intid());
    }
    if matches!(name, "cpu-on" | "cpu-off") && LEAVING.load(Ordering::Acquire) == 0 {
        // CPU 1 leaves its loop at the next interrupt, and stays off until it is switched on.
        LEAVING.store(1, Ordering::Release);
        machine().gic.send_sgi(ONE_WAY, OTHER);
        wait_until_off();
    }
}

fn prepare_cpu() {
    let gic = &machine().gic;
    gic.init();
    for intid in [
        OWN,
        ONE_WAY,
        ASK,
        ANSWER,
        TIMER_VIRTUAL_INTID,
        TIMER_PHYSICAL_INTID,
    ] {
        gic.enable(intid);
    }
    MANY.for_each(|intid| gic.enable(intid));
    cpu::unmask_interrupts();
}

fn handle(_: &mut Frame) -> bool {
    let gic = &machine().gic;
    let Some(interrupt) = gic.acknowledge() else {
        return true;
    };
    match interrupt.intid() {
        TIMER_VIRTUAL_INTID => timer::set_virtual_control(0),
        TIMER_PHYSICAL_INTID => write_sysreg!("cntp_ctl_el0", 0),
        ASK => gic.send_sgi(ANSWER, 0),
        intid if intid == device::intid() => device::calm(),
        _ => {}
    }
    gic.end(interrupt);
    if peer::is_doorbell(interrupt.intid()) {
        peer::rung();
    }
    TAKEN.fetch_add(1, Ordering::Release);
    true
}

/// Waits until `count` interrupts were taken since TAKEN was `before`.
#[inline(always)]
fn wait(before: u64, count: u64) {
    while TAKEN.load(Ordering::Acquire) - before < count {
        relax();
    }
}

/// An SGI to this CPU, to the end of its handler.
pub fn to_self() {
    let before = TAKEN.load(Ordering::Acquire);
    machine().gic.send_sgi(OWN, 0);
    wait(before, 1);
}

/// A virtual timer interrupt that is due at once.
pub fn virtual_timer() {
    let before = TAKEN.load(Ordering::Acquire);
    timer::set_virtual_deadline(0);
    timer::set_virtual_control(timer::ENABLE);
    wait(before, 1);
}

/// A virtual timer interrupt that ends a WFI.
pub fn virtual_timer_asleep() {
    let before = TAKEN.load(Ordering::Acquire);
    cpu::mask_interrupts();
    timer::set_virtual_deadline(timer::now() + 2000);
    timer::set_virtual_control(timer::ENABLE);
    while TAKEN.load(Ordering::Acquire) == before {
        cpu::wait_for_interrupt();
        cpu::unmask_interrupts();
        cpu::mask_interrupts();
    }
    cpu::unmask_interrupts();
}

/// A physical timer interrupt that is due at once.
pub fn physical_timer() {
    let before = TAKEN.load(Ordering::Acquire);
    write_sysreg!("cntp_cval_el0", 0);
    write_sysreg!("cntp_ctl_el0", timer::ENABLE);
    wait(before, 1);
}

/// An SGI to CPU 1, to the end of its handler.
pub fn to_other() {
    let before = TAKEN.load(Ordering::Acquire);
    machine().gic.send_sgi(ONE_WAY, OTHER);
    wait(before, 1);
}

/// An SGI to CPU 1, which sends one back.
pub fn there_and_back() {
    let before = TAKEN.load(Ordering::Acquire);
    machine().gic.send_sgi(ASK, OTHER);
    wait(before, 2);
}

/// An interrupt of a device that was handed over.
pub fn device() {
    let before = TAKEN.load(Ordering::Acquire);
    device::excite();
    wait(before, 1);
}

/// Makes more SGIs pending than there are list registers, with interrupts masked.
pub fn make_pending() {
    cpu::mask_interrupts();
    MANY.for_each(|intid| machine().gic.send_sgi(intid, 0));
}

/// Takes them all.
pub fn take_pending() {
    let before = TAKEN.load(Ordering::Acquire);
    cpu::unmask_interrupts();
    wait(before, MANY.len() as u64);
}

/// CPU_ON, until CPU 1 runs Rust, where it waits. It is off and waits in the hypervisor before: see [`settle`].
pub fn switch_on() {
    switch_to(LEAVE);
}

#[inline(always)]
fn switch_to(what: u64) {
    let before = ARRIVED.load(Ordering::Acquire);
    switch(what);
    while ARRIVED.load(Ordering::Acquire) == before {
        relax();
    }
}

/// CPU_OFF of CPU 1, which waits for that, until it has had the time to wait in the hypervisor.
pub fn switch_off() {
    MAY_LEAVE.store(1, Ordering::Release);
    (0..TURNS).for_each(|_| relax());
}

/// Waits, outside the measured window, until the next go can begin.
pub fn settle() {
    if LEAVING.load(Ordering::Acquire) != 0 {
        switch_off();
        wait_until_off();
        MAY_LEAVE.store(0, Ordering::Release);
    }
}

fn wait_until_off() {
    while psci::affinity_info(OTHER) != AFFINITY_OFF.cast_signed() {
        relax();
    }
}

fn switch(what: u64) {
    while cpu::start_secondary(1, secondary, what).is_err() {
        relax();
    }
}

/// CPU 1.
fn secondary(what: u64) {
    if what == LEAVE {
        ARRIVED.fetch_add(1, Ordering::Release);
        while MAY_LEAVE.load(Ordering::Acquire) == 0 {
            relax();
        }
        return;
    }
    prepare_cpu();
    ARRIVED.fetch_add(1, Ordering::Release);
    while LEAVING.load(Ordering::Acquire) == 0 {
        relax();
    }
    cpu::mask_interrupts();
}
