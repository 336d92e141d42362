//! PSCI 1.1 (Arm DEN0022; hypercalls.md section 2).

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::psci as id;
use bulkhead_rt::{Woken, cpu, psci, timer};

use crate::environment::Environment;
use crate::exchange::{Exchange, Instruction};
use crate::poll;
use crate::smp;
use crate::tap::Tap;

/// An IPA that is no RAM on any machine of ours.
const NO_RAM: u64 = 0x0f80_0000;
/// SCTLR_EL1: M and C.
const SCTLR_MC: u64 = 1 << 0 | 1 << 2;
/// CurrentEL at EL1.
const EL1: u64 = 1 << 2;
/// CPU_SUSPEND's power state: power-down (StateType, bit 16 of the original format).
const POWER_DOWN: u64 = 1 << 16;

/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    for conduit in environment.conduits() {
        let instruction = Instruction::from(*conduit);
        versions(tap, environment, instruction);
        features(tap, environment, instruction);
        affinity(tap, environment, instruction);
        bad_targets(tap, environment, instruction);
        turn_on(tap, environment, instruction);
    }
    again_and_again(tap, environment);
    // QEMU answers SUCCESS to a second CPU_ON before the first has had its effect.
    environment.only_bulkhead(tap, "CPU_ON racing CPU_OFF", |tap, name| {
        race_on_off(tap, environment, name);
    });
    environment.only_bulkhead(tap, "two callers of one CPU_ON", |tap, name| {
        race_two_callers(tap, environment, name);
    });
    suspend(tap, environment);
    system_suspend(tap, environment);
}

fn call(instruction: Instruction, function: u32, arguments: &[u64]) -> i32 {
    Exchange::make(instruction, u64::from(function), arguments).code32()
}

fn versions(tap: &mut Tap, _: &Environment, instruction: Instruction) {
    let version = call(instruction, id::VERSION, &[]);
    tap.equal("PSCI_VERSION is 1.1", version, 0x1_0001);
    let kind = call(instruction, id::MIGRATE_INFO_TYPE, &[]);
    tap.equal("MIGRATE_INFO_TYPE: no Trusted OS", kind, 2);
    let migrate = call(instruction, id::MIGRATE_32, &[0]);
    tap.equal("MIGRATE is NOT_SUPPORTED", migrate, -1);
    // PSCI_VERSION exists in the 32-bit convention alone.
    tap.equal(
        "PSCI_VERSION as a 64-bit call is NOT_SUPPORTED",
        call(instruction, 0xc400_0000, &[]),
        -1,
    );
}

fn features(tap: &mut Tap, environment: &Environment, instruction: Instruction) {
    let ask = |function: u32| call(instruction, id::FEATURES, &[u64::from(function)]);
    let mandatory = [
        id::VERSION,
        id::CPU_OFF,
        id::CPU_ON_32,
        id::CPU_ON_64,
        id::AFFINITY_INFO_32,
        id::AFFINITY_INFO_64,
        id::MIGRATE_INFO_TYPE,
        id::SYSTEM_OFF,
        id::SYSTEM_RESET,
        id::FEATURES,
    ];
    let missing = mandatory.into_iter().find(|function| ask(*function) != 0);
    tap.equal("PSCI_FEATURES: 0 for what has no flags", missing, None);
    for function in [id::CPU_SUSPEND_32, id::CPU_SUSPEND_64] {
        tap.one_of("PSCI_FEATURES of CPU_SUSPEND", ask(function), &[0, 1, 2, 3]);
    }
    // PSCI_VERSION, CPU_OFF, SYSTEM_* as 64-bit calls; CPU_FREEZE, NODE_HW_STATE, STAT_*, MEM_*; nothing.
    let unknown = [
        0xc400_0000,
        0xc400_0002,
        0xc400_0006,
        0xc400_0008,
        0xc400_0009,
        0x8400_000b,
        0xc400_000d,
        0x8400_0010,
        0x8400_0013,
        0x8400_001f,
        0x8400_7777,
        0xffff_ffff,
        0,
    ];
    let known = unknown.into_iter().find(|function| ask(*function) != -1);
    tap.equal(
        "PSCI_FEATURES: NOT_SUPPORTED for what is not there",
        known,
        None,
    );
    // QEMU's PSCI has neither suspend nor SYSTEM_RESET2 nor SMCCC_VERSION.
    environment.only_bulkhead(tap, "PSCI_FEATURES knows the 1.1 functions", |tap, name| {
        let ours = [
            id::SYSTEM_SUSPEND_32,
            id::SYSTEM_SUSPEND_64,
            id::SYSTEM_RESET2_32,
            id::SYSTEM_RESET2_64,
            0x8000_0000,
        ];
        tap.equal(
            name,
            ours.into_iter().find(|function| ask(*function) != 0),
            None,
        );
    });
}

fn affinity(tap: &mut Tap, environment: &Environment, instruction: Instruction) {
    let info = |function, target: u64, level| call(instruction, function, &[target, level]);
    for function in [id::AFFINITY_INFO_32, id::AFFINITY_INFO_64] {
        tap.equal("AFFINITY_INFO: the caller is on", info(function, 0, 0), 0);
        for (index, target) in
            (1..).map_while(|index| Some((index, environment.machine.cpu(index)?)))
        {
            smp::wait_off(index);
            tap.equal(
                "AFFINITY_INFO: the others are off",
                info(function, target, 0),
                1,
            );
        }
        let beyond = environment.machine.cpu_count() as u64;
        for target in [beyond, 0x100, 0x1_0000, 0xff_ffff] {
            tap.equal(
                "AFFINITY_INFO: INVALID_PARAMETERS for no CPU",
                info(function, target, 0),
                -2,
            );
        }
        for level in 1..4 {
            // Not required since PSCI 1.0: an answer or INVALID_PARAMETERS (DEN0022 5.7).
            tap.one_of(
                "AFFINITY_INFO of higher levels",
                info(function, 0, level),
                &[0, -2],
            );
        }
    }
    // QEMU answers ON for every level above 0.
    environment.only_bulkhead(tap, "AFFINITY_INFO has no level above 3", |tap, name| {
        for level in [4, 0xff, 0xffff_ffff, u64::MAX] {
            tap.equal(name, info(id::AFFINITY_INFO_64, 0, level), -2);
        }
    });
}

fn bad_targets(tap: &mut Tap, environment: &Environment, instruction: Instruction) {
    let entry = cpu::secondary_entry();
    let on = |target, entry| call(instruction, id::CPU_ON_64, &[target, entry, 0]);
    tap.equal("CPU_ON of the caller is ALREADY_ON", on(0, entry), -4);
    let beyond = environment.machine.cpu_count() as u64;
    let bad = [
        beyond,
        0x100,
        1 << 16,
        1 << 24,
        1 << 31,
        1 << 31 | 1,
        1 << 32,
        1 << 40 | 1,
        1 << 63,
        u64::MAX,
    ];
    for target in bad {
        tap.equal(
            "CPU_ON of no CPU is INVALID_PARAMETERS",
            on(target, entry),
            -2,
        );
    }
    if environment.has_cpus(tap, 2, "CPU_ON's entry point") {
        // QEMU does not look at the entry point.
        environment.only_bulkhead(tap, "CPU_ON outside RAM is INVALID_ADDRESS", |tap, name| {
            for entry in [NO_RAM, 0, 0x0900_0000, u64::MAX - 3, 1 << 48] {
                tap.equal(name, on(1, entry), -9);
            }
        });
        environment.only_bulkhead(
            tap,
            "CPU_ON at a misaligned entry is INVALID_ADDRESS",
            |tap, name| {
                for low in 1..4 {
                    tap.equal(name, on(1, entry + low), -9);
                }
            },
        );
    }
}

static ARGUMENT: AtomicU64 = AtomicU64::new(0);
static SEEN_ON: AtomicU64 = AtomicU64::new(0);
static RUNS: AtomicU64 = AtomicU64::new(0);
static RELEASE: AtomicU64 = AtomicU64::new(0);

fn count(argument: u64) {
    ARGUMENT.store(argument, Relaxed);
    SEEN_ON.store(cpu::affinity() + 1, Relaxed);
    RUNS.store(RUNS.load(Relaxed) + 1, Relaxed);
}

fn wait_for_release(_: u64) {
    RUNS.store(RUNS.load(Relaxed) + 1, Relaxed);
    timer::wait_until(smp::PATIENCE, || RELEASE.load(Relaxed) != 0);
}

fn turn_on(tap: &mut Tap, environment: &Environment, instruction: Instruction) {
    let others = (1..).map_while(|index| Some((index, environment.machine.cpu(index)?)));
    for (index, target) in others {
        for function in [id::CPU_ON_32, id::CPU_ON_64] {
            let argument = 0x1000 + index as u64;
            smp::wait_off(index);
            let before = cpu::starts(index);
            let context = cpu::prepare(index, count, argument);
            let code = call(
                instruction,
                function,
                &[target, cpu::secondary_entry(), context],
            );
            tap.equal("CPU_ON succeeds", code, 0);
            let ran = smp::wait_begun(index, before) && smp::wait_off(index);
            tap.check("the CPU ran and switched itself off", ran);
            tap.equal(
                "it ran on the CPU asked for",
                SEEN_ON.load(Relaxed),
                target + 1,
            );
            tap.equal("its context arrived", ARGUMENT.load(Relaxed), argument);
            entry_state(tap, index, context);
        }
    }
    if environment.has_cpus(tap, 2, "CPU_ON of a CPU that is on") {
        already_on(tap, environment, instruction);
    }
}

fn entry_state(tap: &mut Tap, index: usize, context: u64) {
    let state = cpu::entry_state(index);
    tap.equal("entered with the context in x0", state.x[0], context);
    tap.equal("entered at EL1", state.current_el, EL1);
    tap.equal("entered with SP_EL1 selected", state.spsel, 1);
    tap.equal("entered with DAIF masked", state.daif, 0x3c0);
    tap.equal(
        "entered with MMU and data cache off",
        state.sctlr & SCTLR_MC,
        0,
    );
    tap.equal(
        "entered with x1-x3 and x4-x30 zero",
        (&state.x[1..], state.rest),
        (&[0; 3][..], 0),
    );
}

fn already_on(tap: &mut Tap, environment: &Environment, instruction: Instruction) {
    RELEASE.store(0, Relaxed);
    let before = RUNS.load(Relaxed);
    smp::wait_off(1);
    let entry = cpu::secondary_entry();
    tap.equal(
        "a CPU starts",
        cpu::start_secondary(1, wait_for_release, 0),
        Ok(()),
    );
    let on = || call(instruction, id::CPU_ON_64, &[1, entry, 0]);
    // Before it has arrived the answer may be ON_PENDING, and AFFINITY_INFO's 2. QEMU keeps no
    // such state: until the CPU has arrived it starts it once more.
    if !environment.bulkhead {
        timer::wait_until(smp::PATIENCE, || RUNS.load(Relaxed) != before);
    }
    tap.one_of("CPU_ON right after CPU_ON is refused", on(), &[-4, -5]);
    let info = call(instruction, id::AFFINITY_INFO_64, &[1, 0]);
    tap.one_of("AFFINITY_INFO of a starting CPU", info, &[0, 2]);
    timer::wait_until(smp::PATIENCE, || RUNS.load(Relaxed) != before);
    tap.equal("CPU_ON of a CPU that is on is ALREADY_ON", on(), -4);
    tap.equal(
        "AFFINITY_INFO says that it is on",
        call(instruction, id::AFFINITY_INFO_64, &[1, 0]),
        0,
    );
    RELEASE.store(1, Relaxed);
    tap.check("and off after it is off", smp::wait_off(1));
}

fn again_and_again(tap: &mut Tap, environment: &Environment) {
    const ROUNDS: u64 = 100;
    let others = (1..).map_while(|index| Some((index, environment.machine.cpu(index)?)));
    for (index, _) in others {
        RUNS.store(0, Relaxed);
        let done = (0..ROUNDS)
            .take_while(|round| smp::run(index, count, *round) && ARGUMENT.load(Relaxed) == *round);
        let done = done.count();
        tap.equal(
            "100 times CPU_OFF and CPU_ON again",
            (done, RUNS.load(Relaxed)),
            (100, ROUNDS),
        );
    }
}

/// CPU 0 turns CPU 1 on as fast as it can, while CPU 1 turns itself off as fast as it can: every
/// SUCCESS must be one run.
fn race_on_off(tap: &mut Tap, environment: &Environment, name: &str) {
    const ROUNDS: u64 = 500;
    if !environment.has_cpus(tap, 2, name) {
        return;
    }
    smp::wait_off(1);
    RUNS.store(0, Relaxed);
    let context = cpu::prepare(1, count, 0);
    let (mut successes, mut odd) = (0, None);
    timer::wait_until(4 * smp::PATIENCE, || {
        match psci::cpu_on(1, cpu::secondary_entry(), context) {
            Ok(()) => successes += 1,
            Err(id::ALREADY_ON | id::ON_PENDING) => {}
            Err(code) => odd = odd.or(Some(code)),
        }
        successes == ROUNDS || odd.is_some()
    });
    smp::wait_off(1);
    tap.equal(
        name,
        (RUNS.load(Relaxed), successes, odd),
        (ROUNDS, ROUNDS, None),
    );
}

static GO: AtomicU64 = AtomicU64::new(0);
static CONTEXT: AtomicU64 = AtomicU64::new(0);
static WON: AtomicU64 = AtomicU64::new(0);

/// On CPU 1: in each round, when told to go, tries to start CPU 2.
fn second_caller(rounds: u64) {
    for round in 1..=rounds {
        if !timer::wait_until(smp::PATIENCE, || GO.load(Relaxed) >= round) {
            return;
        }
        let context = CONTEXT.load(Relaxed);
        let won = psci::cpu_on(2, cpu::secondary_entry(), context).is_ok();
        WON.store(round << 1 | u64::from(won), Relaxed);
    }
}

/// CPUs 0 and 1 start CPU 2 at the same time: one of them does.
fn race_two_callers(tap: &mut Tap, environment: &Environment, name: &str) {
    const ROUNDS: u64 = 200;
    if !environment.has_cpus(tap, 3, name) {
        return;
    }
    RUNS.store(0, Relaxed);
    GO.store(0, Relaxed);
    WON.store(0, Relaxed);
    RELEASE.store(0, Relaxed);
    smp::wait_off(2);
    CONTEXT.store(cpu::prepare(2, wait_for_release, 0), Relaxed);
    smp::start(1, second_caller, ROUNDS);
    let mut right = 0;
    for round in 1..=ROUNDS {
        RELEASE.store(0, Relaxed);
        GO.store(round, Relaxed);
        let first = psci::cpu_on(2, cpu::secondary_entry(), CONTEXT.load(Relaxed)).is_ok();
        if !timer::wait_until(smp::PATIENCE, || WON.load(Relaxed) >> 1 == round) {
            break;
        }
        let second = WON.load(Relaxed) & 1 == 1;
        right += u64::from(first != second);
        RELEASE.store(1, Relaxed);
        smp::wait_off(2);
    }
    smp::wait_off(1);
    tap.equal(name, (right, RUNS.load(Relaxed)), (ROUNDS, ROUNDS));
}

fn suspend(tap: &mut Tap, environment: &Environment) {
    environment.machine.gic.init();
    poll::arm_timer(&environment.machine.gic, 5_000);
    // Standby returns SUCCESS, when it likes (a wake-up event may be anything).
    tap.equal(
        "CPU_SUSPEND standby returns",
        psci::cpu_suspend(0),
        Ok(Woken::Returned),
    );
    poll::disarm_timer(&environment.machine.gic);
    let deadline = poll::arm_timer(&environment.machine.gic, 5_000);
    let woken = psci::cpu_suspend(POWER_DOWN);
    environment.machine.gic.init_cpu();
    // DEN0022 5.4.5: the entry state is that of CPU_ON; or it may return as from standby.
    let right = match woken {
        Ok(Woken::Returned) => true,
        Ok(Woken::Restarted { sctlr, current_el }) => sctlr & SCTLR_MC == 0 && current_el == EL1,
        Err(_) => false,
    };
    tap.check("CPU_SUSPEND power-down comes back", right);
    environment.only_bulkhead(
        tap,
        "power-down comes back by its entry, after the timer",
        |tap, name| {
            let restarted = matches!(woken, Ok(Woken::Restarted { .. }));
            tap.equal(name, (restarted, timer::now() >= deadline), (true, true));
        },
    );
    tap.equal(
        "the timer still fires after power-down",
        poll::serve(&environment.machine.gic),
        Some(27),
    );
    poll::disarm_timer(&environment.machine.gic);
    // Reserved bits 31:26, 23:17 of the original format (DEN0022 5.4.2).
    let bad = call(
        environment.conduits()[0].into(),
        id::CPU_SUSPEND_64,
        &[0x00fe_0000, 0, 0],
    );
    tap.equal(
        "CPU_SUSPEND with reserved bits is INVALID_PARAMETERS",
        bad,
        -2,
    );
    environment.only_bulkhead(
        tap,
        "power-down with an entry outside RAM is INVALID_ADDRESS",
        |tap, name| {
            let code = call(
                Instruction::Hvc,
                id::CPU_SUSPEND_64,
                &[POWER_DOWN, NO_RAM, 0],
            );
            tap.equal(name, code, -9);
        },
    );
}

// QEMU's PSCI has no SYSTEM_SUSPEND.
fn system_suspend(tap: &mut Tap, environment: &Environment) {
    environment.only_bulkhead(
        tap,
        "SYSTEM_SUSPEND outside RAM is INVALID_ADDRESS",
        |tap, name| {
            let code = call(Instruction::Hvc, id::SYSTEM_SUSPEND_64, &[NO_RAM, 0]);
            tap.equal(name, code, -9);
        },
    );
    environment.only_bulkhead(
        tap,
        "SYSTEM_SUSPEND comes back by its entry at an interrupt",
        |tap, name| {
            poll::arm_timer(&environment.machine.gic, 5_000);
            let woken = psci::system_suspend();
            tap.check(name, matches!(woken, Ok(Woken::Restarted { .. })));
            poll::disarm_timer(&environment.machine.gic);
        },
    );
    const NAME: &str = "SYSTEM_SUSPEND is DENIED while another CPU is on";
    if environment.has_cpus(tap, 2, NAME) {
        environment.only_bulkhead(tap, NAME, |tap, name| {
            RELEASE.store(0, Relaxed);
            let before = RUNS.load(Relaxed);
            smp::start(1, wait_for_release, 0);
            timer::wait_until(smp::PATIENCE, || RUNS.load(Relaxed) != before);
            tap.equal(name, psci::system_suspend(), Err(-3));
            RELEASE.store(1, Relaxed);
            smp::wait_off(1);
        });
    }
}
