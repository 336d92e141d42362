//! PSCI's rules row by row (DEN0022 1.1, section 5; hypercalls.md, section 2).

use super::super::exit::Next;
use super::super::hypercall;
use super::super::lifecycle::Reason;
use super::super::testing::{Bench, RAM, RAM_SIZE, switch_on};
use crate::model::power::{Start, State};
use crate::words::CpuId;

const CPU_SUSPEND: [u64; 2] = [0x8400_0001, 0xc400_0001];
const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: [u64; 2] = [0x8400_0003, 0xc400_0003];
const AFFINITY_INFO: [u64; 2] = [0x8400_0004, 0xc400_0004];
const SYSTEM_SUSPEND: [u64; 2] = [0x8400_000e, 0xc400_000e];
const SYSTEM_RESET2: [u64; 2] = [0x8400_0012, 0xc400_0012];

const SUCCESS: i64 = 0;
const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const DENIED: i64 = -3;
const ALREADY_ON: i64 = -4;
const ON_PENDING: i64 = -5;
const INVALID_ADDRESS: i64 = -9;

const ENTRY: u64 = RAM + 0x20_0000;
/// power_state, original format: power-down.
const POWER_DOWN: u64 = 1 << 16;

fn code(bench: &mut Bench, function: u64, arguments: &[u64]) -> i64 {
    let (results, next) = bench.call(function, arguments);
    assert_eq!(next, Next::Resume);
    results[0].cast_signed()
}

#[test]
fn cpu_on_starts_a_vcpu_once_where_it_was_told() {
    for function in CPU_ON {
        let mut bench = Bench::v3(3);
        assert_eq!(code(&mut bench, function, &[2, ENTRY, 77]), SUCCESS);
        assert_eq!(bench.machine.kicked, [CpuId::new(5)], "vCPU 2's core");
        assert_eq!(code(&mut bench, function, &[2, ENTRY, 77]), ON_PENDING);
        let start = bench.power(2).take_start();
        assert_eq!(
            start,
            Some(Start {
                entry: ENTRY,
                context: 77
            })
        );
        assert_eq!(code(&mut bench, function, &[2, ENTRY, 77]), ALREADY_ON);
        assert_eq!(bench.machine.kicked.len(), 1, "a refused call tells nobody");
        assert_eq!(bench.power(1).state(), State::Off);
    }
}

#[test]
fn cpu_on_is_answered_on_the_short_path_and_by_the_same_rules() {
    let mut bench = Bench::v3(2);
    let mut short = |arguments: [u64; 3]| {
        bench.registers.x[0] = CPU_ON[1];
        bench.registers.x[1..4].copy_from_slice(&arguments);
        let done = bench
            .on_core(|here, _, machine, registers| hypercall::at_once(here, machine, registers));
        assert!(done);
        bench.registers.x[0].cast_signed()
    };
    assert_eq!(short([2, ENTRY, 7]), INVALID_PARAMETERS);
    assert_eq!(short([1 << 32 | 1, ENTRY, 7]), INVALID_PARAMETERS);
    assert_eq!(short([1, ENTRY + 2, 7]), INVALID_ADDRESS);
    assert_eq!(short([1, RAM + RAM_SIZE, 7]), INVALID_ADDRESS);
    assert_eq!(short([0, ENTRY, 7]), ALREADY_ON);
    assert_eq!(short([1, ENTRY, 7]), SUCCESS);
    assert_eq!(short([1, ENTRY, 8]), ON_PENDING);
    assert_eq!(bench.machine.kicked, [bench.partition.vcpus[1].cpu]);
    let start = Start {
        entry: ENTRY,
        context: 7,
    };
    assert_eq!(bench.power(1).take_start(), Some(start));
}

#[test]
fn cpu_on_of_the_caller_or_of_a_suspended_vcpu_is_already_on() {
    let mut bench = Bench::v3(2);
    assert_eq!(code(&mut bench, CPU_ON[1], &[0, ENTRY, 0]), ALREADY_ON);
    switch_on(bench.power(1));
    bench.power(1).suspend(Start::default());
    assert_eq!(code(&mut bench, CPU_ON[1], &[1, ENTRY, 0]), ALREADY_ON);
}

#[test]
fn cpu_on_of_what_is_no_vcpu_is_invalid_parameters() {
    let mut bench = Bench::v3(2);
    // No such CPU; Aff1, Aff2, Aff3; U, MT and other bits that must be zero (5.1.4).
    let targets = [2, 255, 0x100, 0x1_0001, 1 << 24, 1 << 30 | 1, 1 << 31 | 1];
    for target in targets {
        for function in CPU_ON {
            let answer = code(&mut bench, function, &[target, ENTRY, 0]);
            assert_eq!(answer, INVALID_PARAMETERS, "{target:#x}");
        }
    }
    for target in [1 << 32 | 1, 1 << 40 | 1, u64::MAX] {
        let answer = code(&mut bench, CPU_ON[1], &[target, ENTRY, 0]);
        assert_eq!(answer, INVALID_PARAMETERS, "{target:#x}");
    }
    assert_eq!(bench.power(1).state(), State::Off);
}

#[test]
fn an_entry_outside_ram_or_misaligned_is_invalid_address() {
    let last = RAM + RAM_SIZE - 4;
    for (entry, expected) in [
        (RAM, SUCCESS),
        (last, SUCCESS),
        (RAM - 4, INVALID_ADDRESS),
        (last + 4, INVALID_ADDRESS),
        (0, INVALID_ADDRESS),
        (0x0900_0000, INVALID_ADDRESS),
        (RAM + 1, INVALID_ADDRESS),
        (RAM + 2, INVALID_ADDRESS),
        (u64::MAX - 3, INVALID_ADDRESS),
        (1 << 48 | RAM, INVALID_ADDRESS),
    ] {
        let mut bench = Bench::v3(2);
        assert_eq!(
            code(&mut bench, CPU_ON[1], &[1, entry, 0]),
            expected,
            "{entry:#x}"
        );
        let on = expected == SUCCESS;
        assert_eq!(bench.power(1).state() == State::OnPending, on);
        let (results, next) = bench.call(CPU_SUSPEND[1], &[POWER_DOWN, entry, 0]);
        assert_eq!(results[0].cast_signed(), expected);
        assert_eq!(matches!(next, Next::Suspend(_)), on);
    }
}

#[test]
fn a_32_bit_cpu_on_has_no_upper_halves() {
    let mut bench = Bench::v3(2);
    let junk = 0xdead_beef << 32;
    let arguments = [1 | junk, ENTRY | junk, 5 | junk];
    assert_eq!(code(&mut bench, CPU_ON[0], &arguments), SUCCESS);
    let start = bench.power(1).take_start();
    assert_eq!(
        start,
        Some(Start {
            entry: ENTRY,
            context: 5
        })
    );
}

#[test]
fn cpu_off_and_the_system_calls_do_not_return_success() {
    for (function, then) in [
        (CPU_OFF, Next::Off),
        (0x8400_0008, Next::Stop(Reason::Off)),
        (0x8400_0009, Next::Stop(Reason::Reset)),
        (SYSTEM_RESET2[0], Next::Stop(Reason::Reset)),
        (SYSTEM_RESET2[1], Next::Stop(Reason::Reset)),
    ] {
        let (results, next) = Bench::v3(2).call(function, &[0]);
        assert_eq!(next, then, "{function:#x}");
        assert_ne!(results[0], 0);
    }
}

#[test]
fn only_the_architectural_warm_reset_exists() {
    for function in SYSTEM_RESET2 {
        // Architectural types above 0, vendor types (bit 31).
        for kind in [1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
            let mut bench = Bench::v3(1);
            assert_eq!(code(&mut bench, function, &[kind, 0]), INVALID_PARAMETERS);
        }
        // reset_type is 32 bits wide in both.
        let (_, next) = Bench::v3(1).call(function, &[1 << 32, 0]);
        assert_eq!(next, Next::Stop(Reason::Reset));
    }
}

#[test]
fn cpu_suspend_knows_standby_and_power_down() {
    for function in CPU_SUSPEND {
        let (results, next) = Bench::v3(1).call(function, &[0x0100_1234, 1, 0]);
        assert_eq!(
            (results, next),
            ([0; 4], Next::Standby),
            "the entry does not count"
        );
        let arguments = [0x0301_0000, ENTRY, 9];
        let (_, next) = Bench::v3(1).call(function, &arguments);
        assert_eq!(
            next,
            Next::Suspend(Start {
                entry: ENTRY,
                context: 9
            })
        );
    }
}

#[test]
fn reserved_bits_of_power_state_are_invalid_parameters() {
    let mut bench = Bench::v3(1);
    for bit in (17..24).chain(26..32) {
        for function in CPU_SUSPEND {
            for kind in [0, POWER_DOWN] {
                let answer = code(&mut bench, function, &[kind | 1 << bit, ENTRY, 0]);
                assert_eq!(answer, INVALID_PARAMETERS, "bit {bit}");
            }
        }
    }
    // power_state is 32 bits wide in both.
    let (results, next) = bench.call(CPU_SUSPEND[1], &[1 << 40, ENTRY, 0]);
    assert_eq!((results[0], next), (0, Next::Standby));
}

#[test]
fn affinity_info_tells_the_three_states() {
    for function in AFFINITY_INFO {
        let mut bench = Bench::v3(2);
        assert_eq!(code(&mut bench, function, &[0, 0]), 0, "ON");
        assert_eq!(code(&mut bench, function, &[1, 0]), 1, "OFF");
        bench.power(1).switch_on(Start::default()).unwrap();
        assert_eq!(code(&mut bench, function, &[1, 0]), 2, "ON_PENDING");
        bench.power(1).take_start();
        assert_eq!(code(&mut bench, function, &[1, 0]), 0);
        bench.power(1).suspend(Start::default());
        assert_eq!(code(&mut bench, function, &[1, 0]), 0, "suspended is on");
        bench.power(1).wake();
        bench.power(1).switch_off();
        assert_eq!(code(&mut bench, function, &[1, 0]), 1);
    }
}

#[test]
fn affinity_info_of_a_level_is_that_of_all_in_it() {
    let mut bench = Bench::v3(2);
    for level in 1..=3 {
        assert_eq!(code(&mut bench, AFFINITY_INFO[1], &[0, level]), 0);
        assert_eq!(
            code(&mut bench, AFFINITY_INFO[1], &[0x7f, level]),
            0,
            "fields below the level are ignored"
        );
    }
    bench.power(0).switch_off();
    assert_eq!(code(&mut bench, AFFINITY_INFO[1], &[0, 1]), 1);
    bench.power(1).switch_on(Start::default()).unwrap();
    assert_eq!(code(&mut bench, AFFINITY_INFO[1], &[0, 1]), 2);
}

#[test]
fn affinity_info_of_what_is_not_there_is_invalid_parameters() {
    let mut bench = Bench::v3(2);
    for (affinity, level) in [
        (2, 0),
        (0x100, 0),
        (0x100, 1),
        (0x1_0000, 2),
        (1 << 32, 3),
        (1 << 24, 0),
        (1 << 24, 1),
        (1 << 31, 3),
        (1 << 40, 3),
        (0, 4),
        (0, 0xffff_ffff),
        (u64::MAX, u64::MAX),
    ] {
        let answer = code(&mut bench, AFFINITY_INFO[1], &[affinity, level]);
        assert_eq!(answer, INVALID_PARAMETERS, "{affinity:#x} {level}");
    }
    // lowest_affinity_level is 32 bits wide in both.
    assert_eq!(code(&mut bench, AFFINITY_INFO[1], &[1, 1 << 32]), 1);
}

#[test]
fn system_suspend_wants_every_other_vcpu_off() {
    for function in SYSTEM_SUSPEND {
        let mut bench = Bench::v3(3);
        let (results, next) = bench.call(function, &[ENTRY, 4]);
        let start = Start {
            entry: ENTRY,
            context: 4,
        };
        assert_eq!((results[0], next), (0, Next::Suspend(start)));
        assert_eq!(code(&mut bench, function, &[RAM - 4, 4]), INVALID_ADDRESS);
        bench.power(2).switch_on(Start::default()).unwrap();
        assert_eq!(code(&mut bench, function, &[ENTRY, 4]), DENIED, "pending");
        bench.power(2).take_start();
        assert_eq!(code(&mut bench, function, &[ENTRY, 4]), DENIED, "on");
        bench.power(2).suspend(Start::default());
        assert_eq!(code(&mut bench, function, &[ENTRY, 4]), DENIED, "suspended");
    }
}

#[test]
fn there_is_no_trusted_os_to_migrate() {
    let mut bench = Bench::v3(1);
    assert_eq!(code(&mut bench, 0x8400_0006, &[]), 2);
    // MIGRATE (both widths), MIGRATE_INFO_UP_CPU.
    for function in [0x8400_0005, 0xc400_0005, 0x8400_0007, 0xc400_0007] {
        assert_eq!(code(&mut bench, function, &[0]), NOT_SUPPORTED);
    }
}
