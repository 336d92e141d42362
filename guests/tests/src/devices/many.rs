//! Ten thousand interrupts of each kind, taken by a handler: none is lost, none comes twice; fewer on another CPU.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::gic::Gic;
use bulkhead_rt::{cpu, machine, timer, vectors};

use super::{Device, GPIO, GPIO_INTID, HANDLED, SPURIOUS, gpio, handle, known, rtc};
use crate::environment::Environment;
use crate::poll;
use crate::smp;
use crate::tap::Tap;

/// How many of each kind.
pub const MANY: u64 = 10_000;
/// How many for the other CPU: a busy host has to run both for each.
const ELSEWHERE: u64 = 1_000;

/// Set once CPU 1 may leave.
static DONE: AtomicU64 = AtomicU64::new(0);

/// Runs the checks of this file.
pub fn run(tap: &mut Tap, environment: &Environment, gpio: &Device, rtc: &Device) {
    let gic = &environment.machine.gic;
    let old = vectors::on_irq(handle);
    poll::reset(gic);
    gpio::prepare(gpio);
    rtc::prepare(rtc);
    gic.enable(gpio.intid);
    gic.enable(rtc.intid);
    cpu::unmask_interrupts();
    count(tap, "levels", MANY, || gpio::raise(gpio));
    count(tap, "alarms", MANY, || {
        // Whether it went off can be seen only before it is handled.
        cpu::without_interrupts(|| rtc::ring(rtc));
    });
    edges(tap, gic, gpio);
    cpu::mask_interrupts();
    elsewhere(tap, environment, gpio);
    gic.disable(gpio.intid);
    gic.disable(rtc.intid);
    if let Some(old) = old {
        vectors::on_irq(old);
    }
}

/// Causes interrupts one after another, each once the one before is handled.
pub fn count(tap: &mut Tap, what: &str, many: u64, mut cause: impl FnMut()) {
    HANDLED.store(0, Relaxed);
    SPURIOUS.store(0, Relaxed);
    let caused = (1..=many).take_while(|number| {
        cause();
        timer::wait_until(poll::SOON, || HANDLED.load(Relaxed) >= *number)
    });
    let caused = caused.count() as u64;
    timer::delay(poll::QUIET);
    bulkhead_rt::println!("# {many} {what}");
    tap.equal("each interrupt is handled", caused, many);
    tap.equal("each once", HANDLED.load(Relaxed), many);
    tap.equal("and nothing else", SPURIOUS.load(Relaxed), 0);
}

/// The handler's own lowering of the line makes room for the next edge.
fn edges(tap: &mut Tap, gic: &Gic, gpio: &Device) {
    gic.disable(gpio.intid);
    gpio::set_edge(gic, gpio, true);
    gic.enable(gpio.intid);
    count(tap, "edges", MANY, || gpio::raise(gpio));
    gic.disable(gpio.intid);
    gpio::set_edge(gic, gpio, false);
}

/// On CPU 1: takes the GPIO's interrupts until the other CPU has seen enough.
fn take_all(_: u64) {
    let gic = &machine().gic;
    gic.init_cpu();
    gic.enable(known(&GPIO, &GPIO_INTID).intid);
    cpu::unmask_interrupts();
    while DONE.load(Relaxed) == 0 {
        core::hint::spin_loop();
    }
    cpu::mask_interrupts();
}

fn elsewhere(tap: &mut Tap, environment: &Environment, gpio: &Device) {
    const NAME: &str = "the interrupts go to the CPU they are routed to";
    if !environment.has_cpus(tap, 2, NAME) {
        return;
    }
    gpio::lower(gpio);
    DONE.store(0, Relaxed);
    tap.check("CPU 1 takes the interrupts", smp::start(1, take_all, 0));
    // This CPU takes none: they are masked here.
    count(tap, "levels for CPU 1", ELSEWHERE, || gpio::raise(gpio));
    DONE.store(1, Relaxed);
    tap.check(NAME, smp::wait_off(1));
}
