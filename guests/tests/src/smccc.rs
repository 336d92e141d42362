//! The calling convention (Arm DEN0028 1.4; hypercalls.md sections 1 and 3).

use bulkhead_rt::abi::{bulkhead, psci, smccc};

use crate::environment::Environment;
use crate::exchange::{Exchange, Instruction};
use crate::tap::Tap;
use crate::trap::{self, class};

/// A function number nobody defines, in any owner's range.
const NOBODYS: u32 = 0x6f6f;
/// Bits above the function identifier, which a call must ignore.
const UPPER: u64 = 0xdead_beef_0000_0000;

/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    for conduit in environment.conduits() {
        let instruction = Instruction::from(*conduit);
        versions(tap, environment, instruction);
        unknown(tap, instruction);
        widths(tap, environment, instruction);
        preserved(tap, environment, instruction);
    }
    vendor(tap, environment);
    immediates(tap, environment);
    undefined_smc(tap, environment);
}

fn call(instruction: Instruction, function: u32, arguments: &[u64]) -> Exchange {
    Exchange::make(instruction, u64::from(function), arguments)
}

// QEMU's PSCI has no SMCCC_VERSION (platforms.md): the convention's own calls are Bulkhead's.
fn versions(tap: &mut Tap, environment: &Environment, instruction: Instruction) {
    environment.only_bulkhead(
        tap,
        "SMCCC_VERSION is 1.2 or later, below 2",
        |tap, name| {
            let version = call(instruction, smccc::VERSION, &[]).code();
            tap.check(name, (0x1_0002..0x2_0000).contains(&version));
        },
    );
    let features =
        |function: u32| call(instruction, smccc::ARCH_FEATURES, &[u64::from(function)]).code();
    environment.only_bulkhead(tap, "SMCCC_ARCH_FEATURES knows itself", |tap, name| {
        tap.equal(name, features(smccc::ARCH_FEATURES), 0);
    });
    environment.only_bulkhead(
        tap,
        "SMCCC_ARCH_FEATURES knows SMCCC_VERSION",
        |tap, name| {
            tap.equal(name, features(smccc::VERSION), 0);
        },
    );
    environment.only_bulkhead(
        tap,
        "SMCCC_ARCH_FEATURES knows no unknown one",
        |tap, name| {
            tap.equal(name, features(0x8000_0000 | NOBODYS), -1);
        },
    );
    environment.only_bulkhead(tap, "workarounds that FEATURES shows work", |tap, name| {
        let all = [
            smccc::ARCH_WORKAROUND_1,
            smccc::ARCH_WORKAROUND_2,
            smccc::ARCH_WORKAROUND_3,
        ];
        // A workaround call returns nothing, so zero results and kept registers are all there is.
        let holds = all.iter().all(|function| match features(*function) {
            0 => call(instruction, *function, &[1]).preserved(),
            1.. | -2 | -1 => true,
            _ => false,
        });
        tap.check(name, holds);
    });
}

fn unknown(tap: &mut Tap, instruction: Instruction) {
    let mut wrong = None;
    for owner in 0..64u32 {
        for kind in [smccc::FAST, smccc::FAST | smccc::SMC64, smccc::SMC64, 0] {
            let function = kind | owner << 24 | NOBODYS;
            let result = call(instruction, function, &[1, 2, 3]);
            if result.code() != -1 || !result.preserved() || !result.results_zero_or_kept() {
                wrong = wrong.or(Some(function));
            }
        }
    }
    tap.equal(
        "unknown functions of all owners are NOT_SUPPORTED, nothing changed",
        wrong,
        None,
    );
    let reserved = [
        0x8401_0000,
        0x84fe_0000,
        0xc401_0003,
        0x0400_0000,
        0,
        u32::MAX,
    ];
    let wrong = reserved
        .into_iter()
        .find(|function| call(instruction, *function, &[]).code() != -1);
    tap.equal(
        "ids with reserved bits and yielding calls are NOT_SUPPORTED",
        wrong,
        None,
    );
}

// QEMU compares all 64 bits of x0 and x1 for 32-bit calls too: Bulkhead follows DEN0028 2.7.
fn widths(tap: &mut Tap, environment: &Environment, instruction: Instruction) {
    environment.only_bulkhead(tap, "bits 63:32 of x0 are ignored", |tap, name| {
        let result = Exchange::make(instruction, UPPER | u64::from(psci::VERSION), &[]);
        tap.equal(name, result.code(), i64::from(psci::VERSION_1_1));
    });
    environment.only_bulkhead(tap, "a 32-bit call reads w-registers", |tap, name| {
        let own = [UPPER, UPPER, UPPER];
        tap.equal(
            name,
            call(instruction, psci::AFFINITY_INFO_32, &own).code32(),
            0,
        );
    });
    environment.only_bulkhead(tap, "a 64-bit call reads x-registers", |tap, name| {
        let code = call(instruction, psci::AFFINITY_INFO_64, &[UPPER, 0]).code32();
        tap.equal(name, code, psci::INVALID_PARAMETERS);
    });
}

fn preserved(tap: &mut Tap, environment: &Environment, instruction: Instruction) {
    let calls = [
        (psci::VERSION, [0, 0]),
        (psci::FEATURES, [u64::from(psci::CPU_ON_64), 0]),
        (psci::AFFINITY_INFO_32, [0, 0]),
        (psci::AFFINITY_INFO_64, [0, 0]),
        (psci::CPU_ON_64, [u64::MAX, 0]),
        (psci::MIGRATE_INFO_TYPE, [0, 0]),
        (psci::CPU_SUSPEND_32, [0xffff_ffff, 0]),
        (smccc::VERSION, [0, 0]),
        (smccc::ARCH_FEATURES, [0, 0]),
        (bulkhead::FEATURES, [0, 0]),
        (bulkhead::PARTITION_STATUS, [u64::MAX, 0]),
    ];
    let broken = calls
        .into_iter()
        .find(|(function, arguments)| !call(instruction, *function, arguments).preserved());
    tap.equal("x4-x30 survive every call", broken, None);
    environment.only_bulkhead(
        tap,
        "results a call does not define are zero",
        |tap, name| {
            let leaking = calls[..9].iter().find(|(function, arguments)| {
                !call(instruction, *function, arguments).no_results()
            });
            tap.equal(name, leaking, None);
        },
    );
}

fn vendor(tap: &mut Tap, environment: &Environment) {
    environment.only_bulkhead(tap, "REVISION is 1.0", |tap, name| {
        let [major, minor, ..] = call(Instruction::Hvc, bulkhead::REVISION, &[]).results();
        tap.equal(name, (major, minor), (1, 0));
    });
    environment.only_bulkhead(tap, "CALL_UID is ours by SMC too", |tap, name| {
        let uid = call(Instruction::Smc, bulkhead::CALL_UID, &[]).results();
        tap.equal(
            name,
            uid,
            [0x6cd5_d6da, 0x5d41_b21b, 0xac11_869d, 0xdf91_2e17],
        );
    });
    environment.only_bulkhead(tap, "FEATURES knows itself", |tap, name| {
        let known = u64::from(bulkhead::FEATURES);
        tap.equal(
            name,
            call(Instruction::Hvc, bulkhead::FEATURES, &[known]).code(),
            0,
        );
    });
    environment.only_bulkhead(tap, "FEATURES knows no unknown function", |tap, name| {
        let unknown = 0xc600_0000 | u64::from(NOBODYS);
        tap.equal(
            name,
            call(Instruction::Hvc, bulkhead::FEATURES, &[unknown]).code(),
            -1,
        );
    });
}

// QEMU's PSCI does not look at the immediate.
fn immediates(tap: &mut Tap, environment: &Environment) {
    environment.only_bulkhead(
        tap,
        "HVC with another immediate is NOT_SUPPORTED",
        |tap, name| {
            for instruction in [Instruction::HvcOther, Instruction::HvcLast] {
                let result = call(instruction, psci::VERSION, &[]);
                tap.equal(name, (result.code(), result.preserved()), (-1, true));
            }
        },
    );
    environment.only_bulkhead(
        tap,
        "SMC with another immediate is UNDEFINED",
        |tap, name| {
            let (result, fault) = trap::catch(|| call(Instruction::SmcOther, psci::VERSION, &[]));
            tap.equal(
                name,
                fault.map(|fault| fault.class()),
                Some(class::UNDEFINED),
            );
            tap.equal(
                "and changes no register",
                result.results()[0],
                u64::from(psci::VERSION),
            );
        },
    );
}

/// Without EL3 and with PSCI by HVC, SMC is UNDEFINED on the bare machine.
fn undefined_smc(tap: &mut Tap, environment: &Environment) {
    if !environment.bulkhead && environment.conduits() == [bulkhead_rt::call::Conduit::Hvc] {
        let (_, fault) = trap::catch(|| call(Instruction::Smc, psci::VERSION, &[]));
        let class = fault.map(|fault| fault.class());
        tap.equal(
            "bare machine without EL3: SMC is UNDEFINED",
            class,
            Some(class::UNDEFINED),
        );
    }
}
