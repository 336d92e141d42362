//! The SMC Calling Convention (Arm DEN0028, version 1.2) and the Arm Architecture service.

use bulkhead_rt::abi::{bulkhead, psci, pv_time, smccc, trng};
use bulkhead_rt::test::environment::Environment;
use bulkhead_rt::test::exchange::Instruction;
use bulkhead_rt::test::{fp, trap};

use crate::suite::{Finding, Suite, any_of, call, expect};

const UNKNOWN: &str = "DEN0028 Unknown Function Identifier";
const IDENTIFIERS: &str = "DEN0028 Function Identifiers";
const REGISTERS: &str = "DEN0028 Register use in AArch64 SMC and HVC calls";
const ARGUMENTS_32: &str = "DEN0028 SMC32/HVC32 argument passing";
const ARGUMENTS_64: &str = "DEN0028 SMC64/HVC64 argument passing";
const IMMEDIATE: &str = "DEN0028 SMC and HVC immediate value";
const VERSION: &str = "DEN0028 SMCCC_VERSION";
const ARCH_FEATURES: &str = "DEN0028 SMCCC_ARCH_FEATURES";
const RESULTS: &str = "ABI 1 Conduit and registers";

/// A function number nobody defines, in any owner's range.
const NOBODYS: u32 = 0x6f6f;
/// Bits above the function identifier.
const UPPER: u64 = 0xdead_beef_0000_0000;
/// Last of the function numbers.
const NUMBERS: u32 = 0xffff;

/// Every function this ABI defines.
pub const DEFINED: [u32; 42] = [
    smccc::VERSION,
    smccc::ARCH_FEATURES,
    smccc::ARCH_SOC_ID,
    smccc::ARCH_WORKAROUND_1,
    smccc::ARCH_WORKAROUND_2,
    smccc::ARCH_WORKAROUND_3,
    psci::VERSION,
    psci::CPU_SUSPEND_32,
    psci::CPU_SUSPEND_64,
    psci::CPU_OFF,
    psci::CPU_ON_32,
    psci::CPU_ON_64,
    psci::AFFINITY_INFO_32,
    psci::AFFINITY_INFO_64,
    psci::MIGRATE_INFO_TYPE,
    psci::SYSTEM_OFF,
    psci::SYSTEM_RESET,
    psci::FEATURES,
    psci::SYSTEM_SUSPEND_32,
    psci::SYSTEM_SUSPEND_64,
    psci::SYSTEM_RESET2_32,
    psci::SYSTEM_RESET2_64,
    trng::VERSION,
    trng::FEATURES,
    trng::GET_UUID,
    trng::RND_32,
    trng::RND_64,
    pv_time::FEATURES,
    pv_time::ST,
    bulkhead::CALL_UID,
    bulkhead::REVISION,
    bulkhead::FEATURES,
    bulkhead::PARTITION_INFO,
    bulkhead::CONSOLE_WRITE,
    bulkhead::CONSOLE_READ,
    bulkhead::CHANNEL_INFO,
    bulkhead::CHANNEL_NOTIFY,
    bulkhead::HEARTBEAT,
    bulkhead::PARTITION_STATUS,
    bulkhead::PARTITION_CONTROL,
    bulkhead::STATISTIC,
    bulkhead::CRASH_RECORD,
];

/// Calls that change nothing, with their first argument.
const HARMLESS: [(u32, u64); 25] = [
    (smccc::VERSION, 0),
    (smccc::ARCH_FEATURES, 0x8000_0000),
    (smccc::ARCH_SOC_ID, 0),
    (psci::VERSION, 0),
    (psci::FEATURES, 0xc400_0003),
    (psci::AFFINITY_INFO_32, 0),
    (psci::AFFINITY_INFO_64, 0),
    (psci::CPU_ON_64, u64::MAX),
    (psci::CPU_SUSPEND_32, 0xffff_ffff),
    (psci::CPU_SUSPEND_64, 0xffff_ffff),
    (psci::MIGRATE_32, 0),
    (psci::MIGRATE_INFO_TYPE, 0),
    (psci::SYSTEM_RESET2_64, 1),
    (trng::VERSION, 0),
    (trng::FEATURES, 0x8400_0050),
    (pv_time::FEATURES, 0xc500_0020),
    (bulkhead::FEATURES, 0xc600_0000),
    (bulkhead::CONSOLE_WRITE, 0),
    (bulkhead::CHANNEL_INFO, u64::MAX),
    (bulkhead::CHANNEL_NOTIFY, u64::MAX),
    (bulkhead::HEARTBEAT, u64::MAX),
    (bulkhead::PARTITION_STATUS, u64::MAX),
    (bulkhead::PARTITION_CONTROL, u64::MAX),
    (bulkhead::STATISTIC, u64::MAX),
    (bulkhead::CRASH_RECORD, u64::MAX),
];

/// Calls that change nothing and have more results than X0, or may have; with their first argument.
const ANSWERING: [(u32, u64); 12] = [
    (smccc::ARCH_WORKAROUND_1, 0),
    (smccc::ARCH_WORKAROUND_2, 1),
    (smccc::ARCH_WORKAROUND_3, 0),
    (trng::GET_UUID, 0),
    (trng::RND_32, 96),
    (trng::RND_64, 192),
    (bulkhead::CALL_UID, 0),
    (bulkhead::REVISION, 0),
    (bulkhead::PARTITION_INFO, 0),
    (bulkhead::CONSOLE_READ, 16),
    (bulkhead::CHANNEL_INFO, 0),
    (bulkhead::STATISTIC, 0),
];

/// All calls that change nothing.
fn all_harmless() -> impl Iterator<Item = (u32, u64)> {
    HARMLESS.into_iter().chain(ANSWERING)
}

/// Checks the service.
pub fn run(suite: &mut Suite) {
    suite.each(
        UNKNOWN,
        "unknown functions of all 64 owners, fast and yielding, 32-bit and 64-bit, are NOT_SUPPORTED",
        |_, with| unknown_owners(with),
    );
    suite.rule(
        UNKNOWN,
        "of all 65536 numbers of the owners served, in both widths, undefined ones are NOT_SUPPORTED",
        every_number,
    );
    suite.each(
        IDENTIFIERS,
        "an identifier with a bit of 23:16 set is NOT_SUPPORTED",
        |_, with| reserved_bits(with),
    );
    suite.each(
        IDENTIFIERS,
        "a function in a width it is not defined in is NOT_SUPPORTED",
        |_, with| other_width(with),
    );
    registers(suite);
    widths(suite);
    immediates(suite);
    architecture(suite);
}

fn unknown_owners(with: Instruction) -> Finding {
    for owner in 0..64u32 {
        for kind in [smccc::FAST, smccc::FAST | smccc::SMC64, smccc::SMC64, 0] {
            not_supported(with, kind | owner << 24 | NOBODYS, 1)?;
        }
    }
    Ok(())
}

/// A call that must find nothing: -1 in all of X0, all else as it was or zero.
fn not_supported(with: Instruction, function: u32, argument: u64) -> Finding {
    let result = call(with, function, &[argument, 2, 3]);
    expect(function, result.code(), smccc::NOT_SUPPORTED)?;
    expect(function, result.preserved(), true)?;
    expect(function, result.results_zero_or_kept(), true)
}

fn every_number(environment: &Environment) -> Finding {
    let with = Instruction::from(environment.machine.conduit);
    for owner in [0, 4, 5, 6] {
        for width in [0, smccc::SMC64] {
            let base = smccc::FAST | width | owner << 24;
            for function in (0..=NUMBERS).map(|number| base | number) {
                if !DEFINED.contains(&function) {
                    expect(
                        function,
                        call(with, function, &[]).code(),
                        smccc::NOT_SUPPORTED,
                    )?;
                }
            }
        }
    }
    Ok(())
}

fn reserved_bits(with: Instruction) -> Finding {
    let functions = DEFINED
        .iter()
        .flat_map(|function| (16..24).map(move |bit| function | 1 << bit));
    functions
        .into_iter()
        .try_for_each(|function| not_supported(with, function, u64::MAX))
}

fn other_width(with: Instruction) -> Finding {
    let others = DEFINED.map(|function| function ^ smccc::SMC64);
    others
        .into_iter()
        .filter(|function| !DEFINED.contains(function))
        .try_for_each(|function| not_supported(with, function, u64::MAX))
}

fn registers(suite: &mut Suite) {
    suite.each(REGISTERS, "X4 to X30 survive every call", |_, with| {
        all_harmless().try_for_each(|(function, argument)| {
            let result = call(with, function, &[argument, 0, 0]);
            expect(function, result.preserved(), true)
        })
    });
    suite.each(
        REGISTERS,
        "V0 to V31, FPCR and FPSR survive every call",
        |_, with| {
            fp::enable();
            (0..)
                .zip(all_harmless())
                .try_for_each(|(seed, (function, argument))| {
                    let before = fp::pattern(seed);
                    fp::load(&before);
                    call(with, function, &[argument, 0, 0]);
                    expect(function, fp::store() == before, true)
                })
        },
    );
    suite.own(
        RESULTS,
        "results a call does not define are zero",
        |environment| {
            let mut conduits = environment.conduits().iter();
            conduits.try_for_each(|conduit| {
                HARMLESS.iter().try_for_each(|(function, argument)| {
                    let result = call((*conduit).into(), *function, &[*argument, 0, 0]);
                    // An unknown function changes X0 alone, which includes services that are not there.
                    let holds = result.no_results() || result.code() == smccc::NOT_SUPPORTED;
                    expect(*function, holds, true)
                })
            })
        },
    );
    suite.own(RESULTS, "HVC and SMC answer alike", |_| {
        HARMLESS.iter().try_for_each(|(function, argument)| {
            let ask = |with| call(with, *function, &[*argument, 0, 0]).results();
            expect(
                *function,
                ask(Instruction::Hvc) == ask(Instruction::Smc),
                true,
            )
        })
    });
}

fn widths(suite: &mut Suite) {
    suite.each(
        ARGUMENTS_32,
        "bits 63:32 of the function identifier are ignored",
        |_, with| {
            let result = bulkhead_rt::test::exchange::Exchange::make(
                with,
                UPPER | u64::from(psci::VERSION),
                &[],
            );
            expect(UPPER, result.code() >= 0x1_0000, true)
        },
    );
    suite.each(
        ARGUMENTS_32,
        "a 32-bit call reads W registers alone",
        |_, with| {
            let result = call(with, psci::AFFINITY_INFO_32, &[UPPER, UPPER, UPPER]);
            expect(UPPER, result.code32(), 0)
        },
    );
    suite.each(
        ARGUMENTS_64,
        "a 64-bit call reads X registers",
        |_, with| {
            let result = call(with, psci::AFFINITY_INFO_64, &[UPPER, 0]);
            expect(UPPER, result.code32(), psci::INVALID_PARAMETERS)
        },
    );
}

fn immediates(suite: &mut Suite) {
    suite.rule(
        IMMEDIATE,
        "HVC with another immediate is NOT_SUPPORTED",
        |_| {
            [Instruction::HvcOther, Instruction::HvcLast]
                .into_iter()
                .try_for_each(|with| not_supported(with, psci::VERSION, 0))
        },
    );
    suite.own(RESULTS, "SMC with another immediate is UNDEFINED", |_| {
        let (result, fault) = trap::catch(|| call(Instruction::SmcOther, psci::VERSION, &[]));
        let class = fault.map_or(u64::MAX, |fault| fault.class());
        expect(1u64, class, trap::class::UNDEFINED)?;
        expect(1u64, result.results()[0], u64::from(psci::VERSION))
    });
}

fn architecture(suite: &mut Suite) {
    suite.each(VERSION, "SMCCC_VERSION is 1.1 or later", |_, with| {
        let version = call(with, smccc::VERSION, &[]).code();
        expect(smccc::VERSION, version >= 0x1_0001, true)
    });
    suite.own(VERSION, "SMCCC_VERSION is 1.2 or later and below 2", |_| {
        let version = call(Instruction::Hvc, smccc::VERSION, &[]).code();
        expect(
            smccc::VERSION,
            (0x1_0002..0x2_0000).contains(&version),
            true,
        )
    });
    suite.each(
        VERSION,
        "PSCI_FEATURES says whether SMCCC_VERSION is there",
        |_, with| {
            let listed = call(with, psci::FEATURES, &[u64::from(smccc::VERSION)]).code32() == 0;
            let there = call(with, smccc::VERSION, &[]).code32() >= 0;
            expect(smccc::VERSION, listed, there)
        },
    );
    suite.each(
        ARCH_FEATURES,
        "SMCCC_ARCH_FEATURES knows what this service has",
        |_, with| {
            expect(smccc::VERSION, features(with, smccc::VERSION), 0)?;
            expect(
                smccc::ARCH_FEATURES,
                features(with, smccc::ARCH_FEATURES),
                0,
            )
        },
    );
    suite.each(
        ARCH_FEATURES,
        "SMCCC_ARCH_FEATURES knows nothing else",
        |_, with| {
            let others = [
                0,
                u32::MAX,
                smccc::FAST | NOBODYS,
                0xc000_0000,
                0xc000_0001,
                0x8400_0000,
                0x8600_ff01,
            ];
            others.into_iter().try_for_each(|function| {
                expect(function, features(with, function), smccc::NOT_SUPPORTED)
            })
        },
    );
    suite.each(
        ARCH_FEATURES,
        "a workaround that SMCCC_ARCH_FEATURES shows can be called, one it does not show cannot",
        |_, with| workarounds(with),
    );
}

fn features(with: Instruction, function: u32) -> i64 {
    call(with, smccc::ARCH_FEATURES, &[u64::from(function)]).code()
}

fn workarounds(with: Instruction) -> Finding {
    let all = [
        (smccc::ARCH_WORKAROUND_1, [0, 1, -1].as_slice()),
        (smccc::ARCH_WORKAROUND_2, &[0, 1, -1, -2]),
        (smccc::ARCH_WORKAROUND_3, &[0, 1, -1]),
        (smccc::ARCH_SOC_ID, &[-1]),
    ];
    for (function, allowed) in all {
        let shown = features(with, function);
        any_of(function, shown, allowed)?;
        let result = call(with, function, &[1]);
        expect(function, result.preserved(), true)?;
        if shown == smccc::NOT_SUPPORTED {
            expect(function, result.code(), smccc::NOT_SUPPORTED)?;
        }
        if shown >= 0 {
            expect(function, result.code(), smccc::SUCCESS)?;
        }
    }
    Ok(())
}
