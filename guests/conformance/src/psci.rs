//! PSCI 1.1 (Arm DEN0022): every function, and its arguments at and beyond their limits.

use bulkhead_rt::abi::psci as id;
use bulkhead_rt::cpu;
use bulkhead_rt::test::environment::Environment;
use bulkhead_rt::test::exchange::Instruction;
use bulkhead_rt::test::smp;

use crate::suite::{Suite, any_of, call, expect};

const VERSION: &str = "DEN0022 PSCI_VERSION";
const FEATURES: &str = "DEN0022 PSCI_FEATURES";
const AFFINITY_INFO: &str = "DEN0022 AFFINITY_INFO";
const CPU_ON: &str = "DEN0022 CPU_ON";
const CPU_SUSPEND: &str = "DEN0022 CPU_SUSPEND";
const MIGRATE: &str = "DEN0022 MIGRATE_INFO_TYPE";
const RESET2: &str = "DEN0022 SYSTEM_RESET2";
const SUSPEND: &str = "DEN0022 SYSTEM_SUSPEND";
const OURS: &str = "ABI 2 Standard services";

/// An IPA that is no RAM on any machine of ours.
const NO_RAM: u64 = 0x0f80_0000;
/// CPU_SUSPEND power_state, original format: power-down.
const POWER_DOWN: u64 = 1 << 16;
/// Bits that must be zero in the original format: all but StateID 15:0, StateType 16, PowerLevel 25:24.
const RESERVED: [u32; 13] = [17, 18, 19, 20, 21, 22, 23, 26, 27, 28, 29, 30, 31];
/// PSCI's function numbers (DEN0022, function identifiers), in both widths.
const NUMBERS: u32 = 0x20;

/// Checks the service.
pub fn run(suite: &mut Suite) {
    versions(suite);
    features(suite);
    affinity(suite);
    cpu_on(suite);
    suspend(suite);
    system(suite);
}

fn ask(with: Instruction, function: u32, arguments: &[u64]) -> i32 {
    call(with, function, arguments).code32()
}

fn versions(suite: &mut Suite) {
    suite.each(VERSION, "PSCI_VERSION is 1.1", |_, with| {
        expect(id::VERSION, ask(with, id::VERSION, &[]), 0x1_0001)
    });
    suite.each(VERSION, "PSCI_VERSION ignores its arguments", |_, with| {
        let arguments = [u64::MAX; 7];
        expect(u64::MAX, ask(with, id::VERSION, &arguments), 0x1_0001)
    });
    suite.each(
        MIGRATE,
        "MIGRATE_INFO_TYPE says that there is nothing to migrate, and MIGRATE is NOT_SUPPORTED",
        |_, with| {
            let kind = ask(with, id::MIGRATE_INFO_TYPE, &[]);
            any_of(id::MIGRATE_INFO_TYPE, kind, &[2, id::NOT_SUPPORTED])?;
            [id::MIGRATE_32, 0xc400_0005, 0x8400_0007, 0xc400_0007]
                .into_iter()
                .try_for_each(|function| {
                    expect(function, ask(with, function, &[0]), id::NOT_SUPPORTED)
                })
        },
    );
}

fn features(suite: &mut Suite) {
    let shown = |with, function: u32| ask(with, id::FEATURES, &[u64::from(function)]);
    suite.each(
        FEATURES,
        "PSCI_FEATURES knows every mandatory function",
        move |_, with| {
            let mandatory = [
                id::VERSION,
                id::CPU_OFF,
                id::CPU_ON_32,
                id::CPU_ON_64,
                id::AFFINITY_INFO_32,
                id::AFFINITY_INFO_64,
                id::SYSTEM_OFF,
                id::SYSTEM_RESET,
                id::FEATURES,
            ];
            mandatory
                .into_iter()
                .try_for_each(|function| expect(function, shown(with, function), 0))
        },
    );
    suite.own(
        OURS,
        "PSCI_FEATURES knows every function the ABI names",
        |_| {
            let ours = [
                id::CPU_SUSPEND_32,
                id::CPU_SUSPEND_64,
                id::MIGRATE_INFO_TYPE,
                id::SYSTEM_SUSPEND_32,
                id::SYSTEM_SUSPEND_64,
                id::SYSTEM_RESET2_32,
                id::SYSTEM_RESET2_64,
            ];
            ours.into_iter()
                .try_for_each(|function| expect(function, shown(Instruction::Hvc, function), 0))
        },
    );
    suite.each(
        FEATURES,
        "CPU_SUSPEND's flags have no bit but 1:0 set",
        move |_, with| {
            [id::CPU_SUSPEND_32, id::CPU_SUSPEND_64]
                .into_iter()
                .try_for_each(|function| any_of(function, shown(with, function), &[0, 1, 2, 3, -1]))
        },
    );
    suite.each(
        FEATURES,
        "what PSCI_FEATURES does not know is NOT_SUPPORTED when called",
        move |_, with| {
            for base in [0x8400_0000, 0xc400_0000] {
                for function in base..base + NUMBERS {
                    if shown(with, function) == id::NOT_SUPPORTED {
                        expect(function, ask(with, function, &[]), id::NOT_SUPPORTED)?;
                    }
                }
            }
            Ok(())
        },
    );
    suite.each(
        FEATURES,
        "what PSCI_FEATURES knows is not NOT_SUPPORTED when called wrongly",
        move |_, with| {
            let wrongly = [
                (id::CPU_ON_32, u64::MAX),
                (id::CPU_ON_64, u64::MAX),
                (id::AFFINITY_INFO_32, u64::MAX),
                (id::AFFINITY_INFO_64, u64::MAX),
                (id::CPU_SUSPEND_32, 0xffff_ffff),
                (id::CPU_SUSPEND_64, 0xffff_ffff),
                (id::SYSTEM_RESET2_32, 1),
                (id::SYSTEM_RESET2_64, 1),
            ];
            let mut there = wrongly
                .into_iter()
                .filter(|(function, _)| shown(with, *function) >= 0);
            there.try_for_each(|(function, argument)| {
                let code = ask(with, function, &[argument, 0, 0]);
                expect(function, code < 0 && code != id::NOT_SUPPORTED, true)
            })
        },
    );
    suite.each(
        FEATURES,
        "PSCI_FEATURES knows nothing else",
        move |_, with| {
            let others = [
                0,
                1,
                0x8400_7777,
                0xc400_ffff,
                0x0400_0000,
                0x8600_0000,
                u32::MAX,
            ];
            others
                .into_iter()
                .try_for_each(|function| expect(function, shown(with, function), id::NOT_SUPPORTED))
        },
    );
}

/// Affinities that no CPU here has: past the last, each other affinity field, and bits outside all fields.
fn nobody(environment: &Environment) -> [u64; 10] {
    let beyond = environment.machine.cpu_count() as u64;
    [
        beyond,
        0xff,
        1 << 8,
        1 << 16,
        1 << 24,
        1 << 31,
        1 << 32,
        1 << 40,
        1 << 63,
        u64::MAX,
    ]
}

fn affinity(suite: &mut Suite) {
    let info = |with, function, target, level| ask(with, function, &[target, level]);
    suite.each(
        AFFINITY_INFO,
        "AFFINITY_INFO: the caller is on, the others off, in both widths",
        move |environment, with| {
            for function in [id::AFFINITY_INFO_32, id::AFFINITY_INFO_64] {
                expect(0u64, info(with, function, cpu::affinity(), 0), 0)?;
                for index in 1..environment.machine.cpu_count() {
                    let target = environment.machine.cpu(index).unwrap_or(u64::MAX);
                    smp::wait_off(index);
                    expect(target, info(with, function, target, 0), 1)?;
                }
            }
            Ok(())
        },
    );
    suite.each(
        AFFINITY_INFO,
        "AFFINITY_INFO of no CPU is INVALID_PARAMETERS",
        move |environment, with| {
            nobody(environment).into_iter().try_for_each(|target| {
                expect(
                    target,
                    info(with, id::AFFINITY_INFO_64, target, 0),
                    id::INVALID_PARAMETERS,
                )
            })
        },
    );
    suite.each(
        AFFINITY_INFO,
        "AFFINITY_INFO at levels 1 to 3 is an answer or INVALID_PARAMETERS",
        move |_, with| {
            (1..4).try_for_each(|level| {
                any_of(level, info(with, id::AFFINITY_INFO_64, 0, level), &[0, -2])
            })
        },
    );
    suite.each(
        AFFINITY_INFO,
        "AFFINITY_INFO at levels 1 to 3 knows no other instance",
        move |_, with| {
            let others = [(1 << 8, 1), (1 << 16, 2), (1 << 32, 3)];
            others.into_iter().try_for_each(|(target, level)| {
                expect(target, info(with, id::AFFINITY_INFO_64, target, level), -2)
            })
        },
    );
    suite.each(
        AFFINITY_INFO,
        "AFFINITY_INFO above level 3 is INVALID_PARAMETERS",
        move |_, with| {
            let levels = [4, 0xff, 0x8000_0000, 0xffff_ffff];
            levels
                .into_iter()
                .try_for_each(|level| expect(level, info(with, id::AFFINITY_INFO_64, 0, level), -2))
        },
    );
}

fn cpu_on(suite: &mut Suite) {
    let on = |with, target, entry| ask(with, id::CPU_ON_64, &[target, entry, 0]);
    suite.each(
        CPU_ON,
        "CPU_ON of the caller is ALREADY_ON",
        move |_, with| {
            expect(
                0u64,
                on(with, cpu::affinity(), cpu::secondary_entry()),
                id::ALREADY_ON,
            )
        },
    );
    suite.each(
        CPU_ON,
        "CPU_ON of no CPU is INVALID_PARAMETERS",
        move |environment, with| {
            nobody(environment).into_iter().try_for_each(|target| {
                expect(
                    target,
                    on(with, target, cpu::secondary_entry()),
                    id::INVALID_PARAMETERS,
                )
            })
        },
    );
    if suite.environment.machine.cpu_count() < 2 {
        suite.skip(CPU_ON, "CPU_ON's entry point", "one CPU");
        return;
    }
    suite.each(
        CPU_ON,
        "CPU_ON at a misaligned entry is INVALID_ADDRESS",
        move |_, with| {
            (1..4).try_for_each(|low| {
                expect(
                    low,
                    on(with, 1, cpu::secondary_entry() + low),
                    id::INVALID_ADDRESS,
                )
            })
        },
    );
    suite.each(
        CPU_ON,
        "CPU_ON outside RAM is INVALID_ADDRESS",
        move |environment, with| {
            let end = environment.machine.ram().map(|range| range.end()).max();
            let outside = [
                NO_RAM,
                0,
                0x0900_0000,
                end.unwrap_or(0),
                1 << 48,
                u64::MAX - 3,
            ];
            outside
                .into_iter()
                .try_for_each(|entry| expect(entry, on(with, 1, entry), id::INVALID_ADDRESS))
        },
    );
}

fn suspend(suite: &mut Suite) {
    suite.each(
        CPU_SUSPEND,
        "CPU_SUSPEND with any reserved bit is INVALID_PARAMETERS, in both widths",
        |_, with| {
            for function in [id::CPU_SUSPEND_32, id::CPU_SUSPEND_64] {
                for bit in RESERVED {
                    expect(
                        bit,
                        ask(with, function, &[1 << bit, 0, 0]),
                        id::INVALID_PARAMETERS,
                    )?;
                }
            }
            Ok(())
        },
    );
    suite.each(
        CPU_SUSPEND,
        "CPU_SUSPEND power-down outside RAM is INVALID_ADDRESS",
        |_, with| {
            [NO_RAM, 0, 2, u64::MAX].into_iter().try_for_each(|entry| {
                let code = ask(with, id::CPU_SUSPEND_64, &[POWER_DOWN, entry, 0]);
                expect(entry, code, id::INVALID_ADDRESS)
            })
        },
    );
}

fn system(suite: &mut Suite) {
    suite.own(
        RESET2,
        "SYSTEM_RESET2 with a reset type that is not there is an error and resets nothing",
        |environment| {
            for conduit in environment.conduits() {
                for kind in [1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
                    for function in [id::SYSTEM_RESET2_32, id::SYSTEM_RESET2_64] {
                        let code = ask((*conduit).into(), function, &[kind, 0]);
                        any_of(kind, code, &[id::INVALID_PARAMETERS, id::NOT_SUPPORTED])?;
                    }
                }
            }
            Ok(())
        },
    );
    suite.own(
        SUSPEND,
        "SYSTEM_SUSPEND outside RAM is INVALID_ADDRESS",
        |environment| {
            for conduit in environment.conduits() {
                for entry in [NO_RAM, 0, 2, u64::MAX] {
                    let code = ask((*conduit).into(), id::SYSTEM_SUSPEND_64, &[entry, 0]);
                    expect(entry, code, id::INVALID_ADDRESS)?;
                }
            }
            Ok(())
        },
    );
}
