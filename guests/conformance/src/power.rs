//! The power states of all vCPUs (Arm DEN0022): a random walk held against a model, entry states, suspension.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::psci as id;
use bulkhead_rt::cpu::MAX_CPUS;
use bulkhead_rt::test::environment::Environment;
use bulkhead_rt::test::exchange::Instruction;
use bulkhead_rt::test::{poll, smp};
use bulkhead_rt::{Woken, cpu, machine, psci, timer};

use crate::suite::{Finding, Suite, call, expect};

const CPU_ON: &str = "DEN0022 CPU_ON";
const STATES: &str = "DEN0022 AFFINITY_INFO";
const ENTRY: &str = "DEN0022 Initial core configuration";
const CPU_SUSPEND: &str = "DEN0022 CPU_SUSPEND";
const SUSPEND: &str = "DEN0022 SYSTEM_SUSPEND";

/// CPU_SUSPEND power_state, original format: power-down.
const POWER_DOWN: u64 = 1 << 16;
/// SCTLR_EL1: M and C.
const SCTLR_MC: u64 = 1 << 0 | 1 << 2;
/// CurrentEL at EL1.
const EL1: u64 = 1 << 2;
/// DAIF, all masked.
const DAIF: u64 = 0xf << 6;
/// Steps of the walk.
const STEPS: u64 = 400;
/// Microseconds until a suspended CPU is woken.
const NAP: u64 = 5_000;

/// Not zero: the CPU with this index may go off.
static RELEASE: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
/// What a CPU that napped found.
static NAPPED: AtomicU64 = AtomicU64::new(0);

/// Checks the states.
pub fn run(suite: &mut Suite) {
    let cpus = suite.environment.machine.cpu_count();
    if cpus < 2 {
        suite.skip(CPU_ON, "CPU_ON and CPU_OFF of all CPUs", "one CPU");
    } else {
        suite.each(
            ENTRY,
            "a CPU enters at EL1h, MMU and caches off, DAIF masked, its context in X0, in both widths",
            entries,
        );
        suite.each(
            STATES,
            "400 random CPU_ON and CPU_OFF of all CPUs: answers and AFFINITY_INFO are those of the state machine",
            walk,
        );
    }
    suspension(suite);
    system_suspend(suite, cpus);
}

/// Others than the boot CPU, by index and affinity.
fn others(environment: &Environment) -> impl Iterator<Item = (usize, u64)> {
    let machine = environment.machine;
    (1..machine.cpu_count()).filter_map(move |index| Some((index, machine.cpu(index)?)))
}

fn nothing(_: u64) {}

fn entries(environment: &Environment, with: Instruction) -> Finding {
    for (index, target) in others(environment) {
        for function in [id::CPU_ON_32, id::CPU_ON_64] {
            smp::wait_off(index);
            let before = cpu::starts(index);
            let context = cpu::prepare(index, nothing, 0);
            let arguments = [target, cpu::secondary_entry(), context];
            expect(target, call(with, function, &arguments).code32(), 0)?;
            expect(
                target,
                smp::wait_begun(index, before) && smp::wait_off(index),
                true,
            )?;
            let state = cpu::entry_state(index);
            expect(context, state.x[0], context)?;
            expect(target, state.current_el, EL1)?;
            expect(target, state.spsel, 1)?;
            expect(target, state.daif, DAIF)?;
            expect(target, state.sctlr & SCTLR_MC, 0)?;
        }
    }
    Ok(())
}

fn stay(index: u64) {
    let release = usize::try_from(index)
        .ok()
        .and_then(|index| RELEASE.get(index));
    timer::wait_until(4 * smp::PATIENCE, || {
        release.is_none_or(|release| release.load(Relaxed) != 0)
    });
}

/// The states the walk expects.
struct Model {
    on: [bool; MAX_CPUS],
    random: u64,
}

impl Model {
    /// The next of a sequence of numbers (xorshift).
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn info(&self, index: usize) -> i32 {
        i32::from(!self.on[index])
    }
}

fn walk(environment: &Environment, with: Instruction) -> Finding {
    let cpus = environment.machine.cpu_count();
    let mut model = Model {
        on: [false; MAX_CPUS],
        random: 0x9e37_79b9_7f4a_7c15,
    };
    let mut outcome = Ok(());
    for step in 0..STEPS {
        let index = 1 + usize::try_from(model.next() % (cpus as u64 - 1)).unwrap_or(0);
        outcome = one_step(environment, with, &mut model, index)
            .and_then(|()| states(environment, with, &model));
        if outcome.is_err() {
            bulkhead_rt::println!("# step {step}, CPU {index}");
            break;
        }
    }
    for (index, _) in others(environment) {
        RELEASE[index].store(1, Relaxed);
        smp::wait_off(index);
    }
    outcome
}

fn one_step(
    environment: &Environment,
    with: Instruction,
    model: &mut Model,
    index: usize,
) -> Finding {
    let target = environment.machine.cpu(index).unwrap_or(u64::MAX);
    let on = |context| {
        let arguments = [target, cpu::secondary_entry(), context];
        call(with, id::CPU_ON_64, &arguments).code32()
    };
    if !model.on[index] {
        RELEASE[index].store(0, Relaxed);
        let before = cpu::starts(index);
        let context = cpu::prepare(index, stay, index as u64);
        expect(target, on(context), id::SUCCESS)?;
        expect(target, smp::wait_begun(index, before), true)?;
        model.on[index] = true;
    } else if model.next() & 1 == 0 {
        expect(target, on(0), id::ALREADY_ON)?;
    } else {
        RELEASE[index].store(1, Relaxed);
        expect(target, smp::wait_off(index), true)?;
        model.on[index] = false;
    }
    Ok(())
}

fn states(environment: &Environment, with: Instruction, model: &Model) -> Finding {
    others(environment).try_for_each(|(index, target)| {
        let info = call(with, id::AFFINITY_INFO_64, &[target, 0]).code32();
        expect(target, info, model.info(index))
    })
}

/// What a nap ended with.
mod nap {
    /// It returned.
    pub const RETURNED: u64 = 1;
    /// It came back by its entry, in the state of a start, not before the timer.
    pub const RESTARTED: u64 = 2;
    /// Something else.
    pub const ODD: u64 = 3;
}

/// Suspends this CPU until its timer fires.
fn take_nap(power_state: u64) {
    let gic = &machine().gic;
    let deadline = poll::arm_timer(gic, NAP);
    let woken = psci::cpu_suspend(power_state);
    let in_time = timer::now() >= deadline;
    gic.init_cpu();
    let ended = match woken {
        Ok(Woken::Returned) => nap::RETURNED,
        Ok(Woken::Restarted { sctlr, current_el })
            if sctlr & SCTLR_MC == 0 && current_el == EL1 && in_time =>
        {
            nap::RESTARTED
        }
        Ok(Woken::Restarted { .. }) | Err(_) => nap::ODD,
    };
    // The timer still fires: nothing of it was lost.
    timer::wait_until(2 * NAP, || timer::now() >= deadline);
    let fired = poll::serve(gic) == Some(bulkhead_rt::abi::layout::TIMER_VIRTUAL_INTID);
    poll::disarm_timer(gic);
    NAPPED.store(if fired { ended } else { nap::ODD }, Relaxed);
}

/// Lets every CPU nap in turn.
fn everyone_naps(environment: &Environment, power_state: u64, expected: u64) -> Finding {
    take_nap(power_state);
    expect(0u64, NAPPED.load(Relaxed), expected)?;
    others(environment).try_for_each(|(index, target)| {
        NAPPED.store(0, Relaxed);
        expect(target, smp::run(index, take_nap, power_state), true)?;
        expect(target, NAPPED.load(Relaxed), expected)
    })
}

fn suspension(suite: &mut Suite) {
    suite.rule(
        CPU_SUSPEND,
        "CPU_SUSPEND standby returns, on every CPU, and the interrupt that ended it is taken",
        |environment| everyone_naps(environment, 0, nap::RETURNED),
    );
    suite.rule(
        CPU_SUSPEND,
        "CPU_SUSPEND power-down comes back by its entry when the timer fires",
        |environment| everyone_naps(environment, POWER_DOWN, nap::RESTARTED),
    );
}

fn system_suspend(suite: &mut Suite, cpus: usize) {
    suite.own(
        SUSPEND,
        "SYSTEM_SUSPEND comes back by its entry at an interrupt",
        |environment| {
            let gic = &environment.machine.gic;
            poll::arm_timer(gic, NAP);
            let woken = psci::system_suspend();
            poll::disarm_timer(gic);
            expect(0u64, matches!(woken, Ok(Woken::Restarted { .. })), true)
        },
    );
    const RULE: &str = "SYSTEM_SUSPEND is DENIED while another CPU is on";
    if cpus < 2 {
        suite.skip(SUSPEND, RULE, "one CPU");
        return;
    }
    suite.own(SUSPEND, RULE, |_| {
        RELEASE[1].store(0, Relaxed);
        expect(1u64, smp::start(1, stay, 1), true)?;
        let denied = psci::system_suspend() == Err(id::DENIED);
        RELEASE[1].store(1, Relaxed);
        smp::wait_off(1);
        expect(1u64, denied, true)
    });
}
