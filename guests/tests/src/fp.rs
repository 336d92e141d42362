//! FP and SIMD registers: calls, interrupts, device accesses and other CPUs leave them alone.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::layout::TIMER_VIRTUAL_INTID;
use bulkhead_rt::abi::psci;
use bulkhead_rt::call::Conduit;
use bulkhead_rt::vectors::{self, Frame};
use bulkhead_rt::{cpu, machine, mmio, read_sysreg, timer, write_sysreg};

use bulkhead_rt::test::fp::{FPEN, enable, load, pattern, store};

use crate::environment::Environment;
use crate::poll;
use crate::smp;
use crate::tap::Tap;
use crate::trap;

/// Tells whether the registers survive `doing`.
fn survive(doing: impl FnOnce()) -> bool {
    let before = pattern(timer::now());
    load(&before);
    doing();
    store() == before
}

/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    // CPACR_EL1.FPEN = 0 traps to EL1 itself (EC 0x07), to nobody else.
    write_sysreg!("cpacr_el1", read_sysreg!("cpacr_el1") & !FPEN);
    let (_, fault) = trap::catch(|| load(&pattern(0)));
    tap.equal(
        "with FPEN 0 FP traps to EL1",
        fault.map(|fault| fault.class()),
        Some(0x07),
    );
    enable();
    tap.check(
        "V0-V31, FPCR and FPSR keep what they are given",
        survive(|| {}),
    );
    for conduit in environment.conduits() {
        let calls = || {
            for _ in 0..100 {
                conduit.call(psci::VERSION, &[]);
                conduit.call(0x8400_7777, &[]);
            }
        };
        tap.check("they survive calls", survive(calls));
    }
    let uart = environment.machine.uart;
    let distributor = environment.machine.gic.distributor();
    let accesses = || {
        for _ in 0..100 {
            mmio::read32(uart + 0x18);
            mmio::read32(distributor + 4);
            read_sysreg!("id_aa64pfr0_el1");
        }
    };
    tap.check(
        "they survive device and ID register accesses",
        survive(accesses),
    );
    tap.check(
        "they survive printing",
        survive(|| bulkhead_rt::println!("# a line")),
    );
    interrupts(tap);
    others(tap, environment);
}

static TAKEN: AtomicU64 = AtomicU64::new(0);

fn on_timer(_: &mut Frame) -> bool {
    let gic = &machine().gic;
    if let Some(interrupt) = gic.acknowledge() {
        timer::set_virtual_deadline(timer::now() + timer::ticks(200));
        TAKEN.store(TAKEN.load(Relaxed) + 1, Relaxed);
        gic.end(interrupt);
    }
    true
}

/// Takes `count` timer interrupts out of WFI.
fn take_interrupts(count: u64) {
    let end = timer::now() + timer::ticks(smp::PATIENCE);
    TAKEN.store(0, Relaxed);
    timer::set_virtual_deadline(timer::now());
    timer::set_virtual_control(timer::ENABLE);
    while TAKEN.load(Relaxed) < count && timer::now() < end {
        cpu::unmask_interrupts();
        cpu::wait_for_interrupt();
    }
    cpu::mask_interrupts();
    timer::set_virtual_control(0);
}

fn interrupts(tap: &mut Tap) {
    let gic = &machine().gic;
    poll::reset(gic);
    gic.enable(TIMER_VIRTUAL_INTID);
    vectors::on_irq(on_timer);
    let kept = survive(|| take_interrupts(100));
    tap.check("they survive interrupts and WFI", kept);
    tap.check("and there were interrupts", TAKEN.load(Relaxed) >= 100);
    poll::reset(gic);
}

static KEPT: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicU64 = AtomicU64::new(0);

/// On another CPU: keeps its own pattern while it calls and waits, until told to stop.
fn busy(index: u64) {
    enable();
    KEPT.store(0, Relaxed);
    while STOP.load(Relaxed) == 0 {
        let before = pattern(index << 32);
        load(&before);
        for _ in 0..10 {
            Conduit::Hvc.call(psci::VERSION, &[]);
        }
        if store() != before {
            return;
        }
        KEPT.store(KEPT.load(Relaxed) + 1, Relaxed);
    }
}

fn others(tap: &mut Tap, environment: &Environment) {
    const NAME: &str = "they survive another CPU's doings";
    if !environment.has_cpus(tap, 2, NAME) {
        return;
    }
    STOP.store(0, Relaxed);
    smp::start(1, busy, 1);
    let conduit = environment.conduits()[0];
    let kept = (0..100).all(|_| {
        survive(|| {
            for _ in 0..20 {
                conduit.call(psci::VERSION, &[]);
            }
        })
    });
    timer::wait_until(smp::PATIENCE, || KEPT.load(Relaxed) > 10);
    let still_running = psci_is_on(1);
    STOP.store(1, Relaxed);
    smp::wait_off(1);
    tap.equal(NAME, (kept, still_running), (true, true));
}

fn psci_is_on(index: u64) -> bool {
    bulkhead_rt::psci::affinity_info(index) == 0
}
