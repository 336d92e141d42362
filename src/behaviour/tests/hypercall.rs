//! The calling convention (DEN0028; hypercalls.md, sections 1 and 2).

use super::super::testing::Bench;
use crate::properties::hypercall::{OTHERS, PSCI};
use crate::words::effort::{cases, some};
use proptest::prelude::*;

const NOT_SUPPORTED: u64 = u64::MAX;

fn known() -> impl Iterator<Item = u64> {
    PSCI.into_iter().chain(OTHERS)
}

/// Whether `function` answers anything but NOT_SUPPORTED to small arguments.
fn is_answered(function: u64) -> bool {
    let mut bench = Bench::v3(2);
    bench.call(function, &[0x8400_0000, 1, 1]).0[0] != NOT_SUPPORTED
}

#[test]
fn every_function_the_abi_lists_is_answered() {
    for function in PSCI.into_iter().chain(OTHERS) {
        let alone = match function {
            // They answer NOT_SUPPORTED for what they were asked about.
            0x8000_0001 | 0xc600_0000 => continue,
            _ => is_answered(function),
        };
        assert!(alone, "{function:#x}");
    }
}

#[test]
fn no_other_function_of_the_standard_ranges_is_answered() {
    let ranges = [
        0x8000_0000_u64,
        0xc000_0000,
        0x8400_0000,
        0xc400_0000,
        0x8600_0000,
        0xc600_0000,
        0x8600_ff00,
        0xc600_ff00,
        0x8000_7f00,
        0x8000_8000,
        0xc000_8000,
        0x8000_3f00,
    ];
    for base in ranges {
        for function in some(base..base + 0x100, 101) {
            if !known().any(|known| known == function) {
                assert!(!is_answered(function), "{function:#x}");
            }
        }
    }
}

#[test]
fn psci_features_claims_exactly_what_is_answered() {
    let mut bench = Bench::v3(1);
    for base in [0x8400_0000_u64, 0xc400_0000] {
        for function in some(base..base + 0x40, 7) {
            let claimed = bench.call(0x8400_000a, &[function]).0[0] != NOT_SUPPORTED;
            assert_eq!(claimed, PSCI.contains(&function), "{function:#x}");
        }
    }
    // DEN0022 5.15: SMCCC_VERSION is found by PSCI_FEATURES.
    assert_eq!(bench.call(0x8400_000a, &[0x8000_0000]).0, [0; 4]);
    assert_eq!(bench.call(0x8400_000a, &[0xc600_0001]).0[0], NOT_SUPPORTED);
}

#[test]
fn bulkheads_features_claims_exactly_what_is_answered() {
    let mut bench = Bench::v3(1);
    for function in some(0xc600_0000_u64..0xc600_0100, 13) {
        let claimed = bench.call(0xc600_0000, &[function]).0[0] == 0;
        assert_eq!(claimed, OTHERS.contains(&function), "{function:#x}");
    }
    for foreign in [0x8400_0000, 0x8000_0000, 0x8600_ff01, 0x8600_0001] {
        assert_eq!(bench.call(0xc600_0000, &[foreign]).0[0], NOT_SUPPORTED);
    }
}

#[test]
fn arch_features_claims_exactly_what_is_answered() {
    const WORKAROUNDS: [u64; 3] = [0x8000_8000, 0x8000_7fff, 0x8000_3fff];
    for (csv2, ssbs) in [(0, 0), (1, 0), (0, 1), (1, 2)] {
        let mut bench = Bench::v3(1);
        (bench.machine.csv2, bench.machine.ssbs) = (csv2, ssbs);
        let mut ask = |function: u64, x1: u64| bench.call(function, &[x1]).0[0].cast_signed();
        for function in some(0x8000_0000_u64..0x8000_0100, 37).chain(WORKAROUNDS) {
            let claimed = ask(0x8000_0001, function);
            let answered = match function {
                // What it answers about SMCCC_VERSION.
                0x8000_0001 => ask(function, 0x8000_0000) >= 0,
                _ => ask(function, 0) >= 0,
            };
            assert_eq!(claimed >= 0, answered, "{function:#x}");
        }
        // DEN0028 7.5.2, 7.6.2: 1, and NOT_REQUIRED (-2), where the CPU has no such flaw.
        assert_eq!(
            ask(0x8000_0001, WORKAROUNDS[0]),
            if csv2 > 0 { 1 } else { -1 }
        );
        assert_eq!(
            ask(0x8000_0001, WORKAROUNDS[1]),
            if ssbs > 0 { -2 } else { -1 }
        );
        assert_eq!(ask(0x8000_0001, WORKAROUNDS[2]), -1);
    }
}

/// DEN0028 7.5 to 7.7: what ARCH_FEATURES says of each workaround, by what CPU and firmware say; and whether firmware is
/// called.
#[test]
fn a_workaround_is_the_firmwares_unless_the_cpu_needs_none() {
    use super::super::machine::Workaround::{self, BranchHistory, BranchTargets, StoreBypass};
    let all: [(u64, Workaround); 3] = [
        (0x8000_8000, BranchTargets),
        (0x8000_7fff, StoreBypass),
        (0x8000_3fff, BranchHistory),
    ];
    for said in some([0, 1, -1, -2, -3, 7, i64::MIN], 3) {
        for (csv2, ssbs) in [(0, 0), (1, 2)] {
            for (function, workaround) in all {
                let mut bench = Bench::v3(1);
                (bench.machine.csv2, bench.machine.ssbs) = (csv2, ssbs);
                bench.machine.firmware = [said; 3];
                let expected = match (workaround, csv2, said) {
                    (BranchTargets, 1, _) => 1,
                    (StoreBypass, 1, _) => -2,
                    (StoreBypass, 0, -2) => -2,
                    (_, _, 0 | 1) => said,
                    _ => -1,
                };
                let shown = bench.call(0x8000_0001, &[function]).0[0].cast_signed();
                assert_eq!(shown, expected, "{workaround:?} {said} {csv2}");
                let answer = bench.call(function, &[1]).0;
                let callable = if expected >= 0 { 0 } else { -1 };
                assert_eq!(answer[0].cast_signed(), callable);
                let asked = [(workaround, true)];
                let asked = if expected == 0 { &asked[..] } else { &[] };
                assert_eq!(bench.machine.worked_around, asked);
            }
        }
    }
}

#[test]
fn a_guest_may_let_loads_pass_stores_again() {
    use super::super::machine::Workaround::StoreBypass;
    let mut bench = Bench::v3(1);
    bench.machine.firmware = [0; 3];
    for (argument, on) in [(0, false), (1, true), (1 << 32, false), (7, true)] {
        bench.machine.worked_around.clear();
        assert_eq!(bench.call(0x8000_7fff, &[argument]).0, [0; 4]);
        assert_eq!(bench.machine.worked_around, [(StoreBypass, on)]);
    }
}

#[test]
fn versions_and_identity_are_as_the_abi_says() {
    let mut bench = Bench::v3(1);
    assert_eq!(bench.call(0x8000_0000, &[]).0, [0x1_0002, 0, 0, 0]);
    assert_eq!(bench.call(0x8400_0000, &[]).0, [0x1_0001, 0, 0, 0]);
    assert_eq!(bench.call(0x8600_ff03, &[]).0, [1, 0, 0, 0]);
    let words = bench.call(0x8600_ff01, &[]).0;
    // dad6d56c-1bb2-415d-9d86-11ac172e91df, byte by byte from W0's lowest (DEN0028 6.2).
    let bytes: Vec<u8> = words
        .iter()
        .flat_map(|word| u32::try_from(*word).unwrap().to_le_bytes())
        .collect();
    assert_eq!(
        bytes,
        [
            0xda, 0xd6, 0xd5, 0x6c, 0x1b, 0xb2, 0x41, 0x5d, 0x9d, 0x86, 0x11, 0xac, 0x17, 0x2e,
            0x91, 0xdf
        ]
    );
}

fn function() -> impl Strategy<Value = u64> {
    let all: Vec<u64> = known().collect();
    prop_oneof![
        6 => prop::sample::select(all),
        2 => any::<u64>(),
        1 => 0x8400_0000_u64..0x8400_0020,
        1 => 0xc600_0000_u64..0xc600_0050,
    ]
}

fn argument() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => 0_u64..6,
        1 => any::<u64>(),
        1 => Just(0x4000_0000),
        1 => (0_u32..64).prop_map(|bit| 1 << bit),
    ]
}

proptest! {
    #![proptest_config(cases(256))]

    /// A 32-bit call gives the same whatever its arguments' upper halves hold.
    #[test]
    fn a_32_bit_call_reads_w_registers_only(
        function in function(),
        arguments in prop::collection::vec(argument(), 3),
        upper: u32,
    ) {
        prop_assume!(function & 1 << 30 == 0);
        let above = |value: u64| value & 0xffff_ffff | u64::from(upper) << 32;
        let low: Vec<u64> = arguments.iter().map(|value| value & 0xffff_ffff).collect();
        let high: Vec<u64> = arguments.iter().map(|value| above(*value)).collect();
        prop_assume!(known().any(|known| known == function));
        prop_assert_eq!(
            Bench::v3(3).call(function, &low),
            Bench::v3(3).call(above(function), &high)
        );
    }
}
