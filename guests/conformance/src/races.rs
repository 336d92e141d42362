//! PSCI calls that race (Arm DEN0022): one of many callers wins, and no success is without its effect.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::psci as id;
use bulkhead_rt::cpu::MAX_CPUS;
use bulkhead_rt::test::environment::Environment;
use bulkhead_rt::test::smp;
use bulkhead_rt::{cpu, psci, timer};

use crate::suite::{Finding, Suite, expect};

const CPU_ON: &str = "DEN0022 CPU_ON";
const CONCURRENT: &str = "DEN0022 CPU_ON and CPU_OFF race conditions";

/// Rounds of callers against each other.
const ROUNDS: u64 = 200;
/// Rounds of CPU_ON against CPU_OFF.
const SWITCHES: u64 = 500;

/// The round that may begin.
static GO: AtomicU64 = AtomicU64::new(0);
/// The CPU asked for, and its context.
static TARGET: AtomicU64 = AtomicU64::new(0);
static CONTEXT: AtomicU64 = AtomicU64::new(0);
/// Bit 0: whether CPU n won; above: the round it did so in.
static WON: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
/// How often the target ran.
static RUNS: AtomicU64 = AtomicU64::new(0);
/// Not zero: the target may go off.
static RELEASE: AtomicU64 = AtomicU64::new(0);

/// Checks the races.
pub fn run(suite: &mut Suite) {
    const ONE_WINS: &str = "of all callers of one CPU_ON exactly one succeeds";
    const ONE_RUN: &str = "every successful CPU_ON is one run, however fast the CPU goes off";
    let cpus = suite.environment.machine.cpu_count();
    if cpus >= 2 {
        suite.rule(CONCURRENT, ONE_RUN, |_| switch_fast());
    } else {
        suite.skip(CONCURRENT, ONE_RUN, "one CPU");
    }
    if cpus >= 3 {
        suite.rule(CPU_ON, ONE_WINS, callers);
    } else {
        suite.skip(CPU_ON, ONE_WINS, "fewer than three CPUs");
    }
}

fn count(_: u64) {
    RUNS.store(RUNS.load(Relaxed) + 1, Relaxed);
}

fn count_and_stay(_: u64) {
    count(0);
    timer::wait_until(smp::PATIENCE, || RELEASE.load(Relaxed) != 0);
}

/// CPU 0 switches CPU 1 on as fast as it can, which switches itself off as fast as it can.
fn switch_fast() -> Finding {
    smp::wait_off(1);
    RUNS.store(0, Relaxed);
    let context = cpu::prepare(1, count, 0);
    let (mut successes, mut odd) = (0, None);
    timer::wait_until(8 * smp::PATIENCE, || {
        match psci::cpu_on(1, cpu::secondary_entry(), context) {
            Ok(()) => successes += 1,
            Err(id::ALREADY_ON | id::ON_PENDING) => {}
            Err(code) => odd = odd.or(Some(code)),
        }
        successes == SWITCHES || odd.is_some()
    });
    smp::wait_off(1);
    expect(0u64, odd.unwrap_or(0), 0)?;
    expect(successes, successes, SWITCHES)?;
    expect(successes, RUNS.load(Relaxed), SWITCHES)
}

/// On each caller: in each round, when told to go, tries to start the target.
fn caller(index: u64) {
    let Some(won) = usize::try_from(index).ok().and_then(|index| WON.get(index)) else {
        return;
    };
    for round in 1..=ROUNDS {
        if !timer::wait_until(smp::PATIENCE, || GO.load(Relaxed) >= round) {
            return;
        }
        let context = CONTEXT.load(Relaxed);
        let on = psci::cpu_on(TARGET.load(Relaxed), cpu::secondary_entry(), context);
        won.store(round << 1 | u64::from(on.is_ok()), Relaxed);
    }
}

fn callers(environment: &Environment) -> Finding {
    let last = environment.machine.cpu_count() - 1;
    smp::wait_off(last);
    RUNS.store(0, Relaxed);
    GO.store(0, Relaxed);
    RELEASE.store(0, Relaxed);
    TARGET.store(environment.machine.cpu(last).unwrap_or(u64::MAX), Relaxed);
    CONTEXT.store(cpu::prepare(last, count_and_stay, 0), Relaxed);
    for won in &WON {
        won.store(0, Relaxed);
    }
    for index in 1..last {
        expect(index as u64, smp::start(index, caller, index as u64), true)?;
    }
    let outcome = (1..=ROUNDS).try_for_each(|round| one_round(round, last));
    GO.store(u64::MAX, Relaxed);
    RELEASE.store(1, Relaxed);
    for index in 1..=last {
        smp::wait_off(index);
    }
    outcome
}

fn one_round(round: u64, last: usize) -> Finding {
    RELEASE.store(0, Relaxed);
    GO.store(round, Relaxed);
    let entry = cpu::secondary_entry();
    let own = psci::cpu_on(TARGET.load(Relaxed), entry, CONTEXT.load(Relaxed)).is_ok();
    let mut winners = u64::from(own);
    for won in &WON[1..last] {
        expect(
            round,
            timer::wait_until(smp::PATIENCE, || won.load(Relaxed) >> 1 == round),
            true,
        )?;
        winners += won.load(Relaxed) & 1;
    }
    expect(round, winners, 1)?;
    RELEASE.store(1, Relaxed);
    expect(round, smp::wait_off(last), true)?;
    expect(round, RUNS.load(Relaxed), round)
}
