//! The generic timer (Arm ARM D12; hypercalls.md section 4).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::layout::{TIMER_PHYSICAL_INTID, TIMER_VIRTUAL_INTID};
use bulkhead_rt::gic::{Gic, distributor};
use bulkhead_rt::timer::{self, ENABLE, IMASK, ISTATUS};
use bulkhead_rt::vectors::{self, Frame};
use bulkhead_rt::{cpu, machine, read_sysreg, write_sysreg};

use crate::environment::Environment;
use crate::poll;
use crate::smp;
use crate::tap::Tap;

/// One of the two timers EL1 has.
struct Timer {
    intid: u32,
    now: fn() -> u64,
    set_deadline: fn(u64),
    set_control: fn(u64),
    control: fn() -> u64,
}

const VIRTUAL: Timer = Timer {
    intid: TIMER_VIRTUAL_INTID,
    now: timer::now,
    set_deadline: timer::set_virtual_deadline,
    set_control: timer::set_virtual_control,
    control: timer::virtual_control,
};
const PHYSICAL: Timer = Timer {
    intid: TIMER_PHYSICAL_INTID,
    now: timer::physical_now,
    set_deadline: timer::set_physical_deadline,
    set_control: timer::set_physical_control,
    control: timer::physical_control,
};

/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    poll::reset(&environment.machine.gic);
    for timer in [&VIRTUAL, &PHYSICAL] {
        fires(tap, &environment.machine.gic, timer);
        masks(tap, &environment.machine.gic, timer);
        withdraws(tap, &environment.machine.gic, timer);
        (timer.set_control)(0);
        environment.machine.gic.disable(timer.intid);
    }
    both(tap, &environment.machine.gic);
    views(tap);
    monotonic(tap);
    ticks(tap, environment);
    on_all_cpus(tap, environment);
    poll::reset(&environment.machine.gic);
}

fn fires(tap: &mut Tap, gic: &Gic, timer: &Timer) {
    gic.enable(timer.intid);
    let deadline = (timer.now)() + timer::ticks(2_000);
    (timer.set_deadline)(deadline);
    (timer.set_control)(ENABLE);
    let early = poll::signalled() && (timer.now)() < deadline;
    tap.check("no interrupt before the deadline", !early);
    let interrupt = poll::take(gic);
    let after = (timer.now)() >= deadline;
    let intid = interrupt.map(|interrupt| interrupt.intid());
    tap.equal(
        "the timer fires after its deadline",
        (intid, after),
        (Some(timer.intid), true),
    );
    tap.equal("ISTATUS is set", (timer.control)() & ISTATUS, ISTATUS);
    (timer.set_control)(0);
    interrupt.inspect(|interrupt| gic.end(*interrupt));
    tap.check(
        "once, if it is switched off before the end",
        poll::stays_quiet(),
    );
    (timer.set_deadline)((timer.now)() - 1);
    (timer.set_control)(ENABLE);
    let first = poll::serve(gic);
    tap.equal(
        "a deadline in the past fires at once",
        first,
        Some(timer.intid),
    );
    let again = poll::serve(gic);
    tap.equal(
        "and, being a level, again after the end",
        again,
        Some(timer.intid),
    );
    (timer.set_control)(0);
}

fn masks(tap: &mut Tap, gic: &Gic, timer: &Timer) {
    (timer.set_control)(IMASK | ENABLE);
    // After the last end the line was high for a moment. A hypervisor that leaves the deactivation to the hardware
    // (ICH_LR.HW) has that occurrence in a list register, and only trapping the timer would tell it that the line fell:
    // one may be left over.
    if poll::signalled() {
        poll::serve(gic);
    }
    (timer.set_deadline)((timer.now)() - 1);
    tap.equal(
        "IMASK leaves ISTATUS",
        (timer.control)(),
        ENABLE | IMASK | ISTATUS,
    );
    tap.check("IMASK keeps the interrupt back", poll::stays_quiet());
    (timer.set_control)(ENABLE);
    tap.equal(
        "and lets it through when cleared",
        poll::serve(gic),
        Some(timer.intid),
    );
    (timer.set_control)(0);
}

/// The interrupt is a level: what falls before it is taken is not delivered.
fn withdraws(tap: &mut Tap, gic: &Gic, timer: &Timer) {
    (timer.set_deadline)((timer.now)() - 1);
    (timer.set_control)(ENABLE);
    poll::wait_signalled();
    tap.check(
        "it is pending in the controller",
        gic.read_bit(distributor::ISPENDR, timer.intid),
    );
    (timer.set_control)(0);
    let intid = gic.acknowledge().map(|interrupt| {
        gic.end(interrupt);
        interrupt.intid()
    });
    // A hypervisor that forwards by list register may have the falling edge arrive late: then it
    // is delivered once, and the handler finds ISTATUS clear. KVM does the same.
    tap.one_of(
        "a level that fell is not delivered, or once",
        intid,
        &[None, Some(timer.intid)],
    );
    tap.check("and not again", poll::stays_quiet());
}

fn both(tap: &mut Tap, gic: &Gic) {
    gic.enable(VIRTUAL.intid);
    gic.enable(PHYSICAL.intid);
    for timer in [&VIRTUAL, &PHYSICAL] {
        (timer.set_deadline)((timer.now)() + timer::ticks(1_000));
        (timer.set_control)(ENABLE);
    }
    let mut seen = [0; 2];
    for place in &mut seen {
        let interrupt = poll::take(gic);
        *place = interrupt.map_or(0, |interrupt| interrupt.intid());
        match *place {
            TIMER_VIRTUAL_INTID => timer::set_virtual_control(0),
            _ => timer::set_physical_control(0),
        }
        interrupt.inspect(|interrupt| gic.end(*interrupt));
    }
    seen.sort_unstable();
    tap.equal("both timers fire side by side", seen, [27, 30]);
    gic.disable(VIRTUAL.intid);
    gic.disable(PHYSICAL.intid);
}

fn views(tap: &mut Tap) {
    let window = timer::frequency();
    write_sysreg!("cntv_tval_el0", window);
    let left = read_sysreg!("cntv_cval_el0").wrapping_sub(timer::now());
    tap.check(
        "TVAL sets CVAL from now",
        left <= window && left > window / 2,
    );
    // TVAL is signed 32 bits: -1 is a deadline that has passed.
    write_sysreg!("cntv_tval_el0", 0xffff_ffff);
    timer::set_virtual_control(ENABLE | IMASK);
    let met = timer::virtual_control() & ISTATUS;
    tap.equal("a negative TVAL is in the past", met, ISTATUS);
    let view = read_sysreg!("cntv_tval_el0");
    tap.equal("TVAL reads as a negative 32-bit count", view >> 31, 1);
    timer::set_virtual_deadline(u64::MAX);
    tap.equal(
        "CVAL keeps 64 bits",
        read_sysreg!("cntv_cval_el0"),
        u64::MAX,
    );
    timer::set_virtual_control(0);
    tap.equal(
        "ENABLE clear leaves ENABLE and IMASK clear",
        timer::virtual_control() & 0b11,
        0,
    );
}

fn monotonic(tap: &mut Tap) {
    let mut last = timer::now();
    let backward = (0..100_000).any(|_| {
        let before = core::mem::replace(&mut last, timer::now());
        last < before
    });
    tap.check("CNTVCT never goes back", !backward);
    let mut last = timer::physical_now();
    let backward = (0..100_000).any(|_| {
        let before = core::mem::replace(&mut last, timer::physical_now());
        last < before
    });
    tap.check("CNTPCT never goes back", !backward);
    tap.check(
        "CNTPCT is not behind CNTVCT",
        timer::now() <= timer::physical_now(),
    );
}

/// Ticks to take.
const COUNT: u64 = 1000;

static TICKS: AtomicU64 = AtomicU64::new(0);
static STRAY: AtomicU64 = AtomicU64::new(0);
static DEADLINE: AtomicU64 = AtomicU64::new(0);
static PERIOD: AtomicU64 = AtomicU64::new(0);

/// Takes a tick; deadlines are absolute, so a late tick is taken late but not left out.
fn tick(_: &mut Frame) -> bool {
    let gic = &machine().gic;
    if let Some(interrupt) = gic.acknowledge() {
        let deadline = DEADLINE.load(Relaxed);
        if interrupt.intid() == TIMER_VIRTUAL_INTID && timer::now() >= deadline {
            let count = TICKS.load(Relaxed) + 1;
            TICKS.store(count, Relaxed);
            if count == COUNT {
                timer::set_virtual_control(0);
            }
            DEADLINE.store(deadline + PERIOD.load(Relaxed), Relaxed);
            timer::set_virtual_deadline(deadline + PERIOD.load(Relaxed));
        } else {
            STRAY.store(STRAY.load(Relaxed) + 1, Relaxed);
        }
        gic.end(interrupt);
    }
    true
}

fn ticks(tap: &mut Tap, environment: &Environment) {
    let gic = &environment.machine.gic;
    vectors::on_irq(tick);
    gic.enable(TIMER_VIRTUAL_INTID);
    let period = timer::ticks(1_000);
    let start = timer::now();
    PERIOD.store(period, Relaxed);
    DEADLINE.store(start + period, Relaxed);
    TICKS.store(0, Relaxed);
    timer::set_virtual_deadline(start + period);
    timer::set_virtual_control(ENABLE);
    while TICKS.load(Relaxed) < COUNT && timer::now() < start + 30 * COUNT * period {
        cpu::mask_interrupts();
        if TICKS.load(Relaxed) < COUNT {
            cpu::wait_for_interrupt();
        }
        cpu::unmask_interrupts();
    }
    cpu::mask_interrupts();
    timer::set_virtual_control(0);
    gic.disable(TIMER_VIRTUAL_INTID);
    tap.equal(
        "1000 ticks out of WFI, none lost",
        TICKS.load(Relaxed),
        COUNT,
    );
    tap.check(
        "none comes before its time",
        timer::now() >= start + COUNT * period,
    );
    // See `withdraws`: a falling edge may be seen late, but not as a habit.
    tap.check("hardly any tick is stray", STRAY.load(Relaxed) < COUNT / 10);
}

static OFFSET: AtomicU64 = AtomicU64::new(0);
static FIRED: AtomicU64 = AtomicU64::new(0);

/// On another CPU: its counters' distance, and how many of its timers fire.
fn other_cpu(_: u64) {
    let virtual_first = timer::now();
    let physical = timer::physical_now();
    OFFSET.store(physical.saturating_sub(virtual_first), Relaxed);
    let gic = &machine().gic;
    poll::reset(gic);
    for timer in [&VIRTUAL, &PHYSICAL] {
        gic.enable(timer.intid);
        (timer.set_deadline)((timer.now)() + timer::ticks(500));
        (timer.set_control)(ENABLE);
        let interrupt = poll::take(gic);
        (timer.set_control)(0);
        interrupt.inspect(|interrupt| gic.end(*interrupt));
        let fired = interrupt.map(|interrupt| interrupt.intid()) == Some(timer.intid);
        FIRED.store(FIRED.load(Relaxed) + u64::from(fired), Relaxed);
        poll::reset(gic);
    }
}

fn on_all_cpus(tap: &mut Tap, environment: &Environment) {
    let virtual_first = timer::now();
    let own = timer::physical_now().saturating_sub(virtual_first);
    for index in 1..environment.machine.cpu_count() {
        FIRED.store(0, Relaxed);
        let before = timer::now();
        tap.check("another CPU runs", smp::run(index, other_cpu, 0));
        tap.check(
            "CNTVCT does not go back from CPU to CPU",
            timer::now() >= before,
        );
        tap.equal("its timers fire", FIRED.load(Relaxed), 2);
        // The two reads are a moment apart, on a busy host a long one.
        let apart = OFFSET.load(Relaxed).abs_diff(own);
        tap.check(
            "its virtual offset is the boot CPU's",
            apart < timer::frequency(),
        );
    }
}
