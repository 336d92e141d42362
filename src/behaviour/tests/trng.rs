//! The TRNG interface (Arm DEN0098) over a source that gives what the test says.

use super::super::testing::Bench;

const VERSION: u64 = 0x8400_0050;
const FEATURES: u64 = 0x8400_0051;
const GET_UUID: u64 = 0x8400_0052;
const RND_32: u64 = 0x8400_0053;
const RND_64: u64 = 0xc400_0053;
const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const NO_ENTROPY: i64 = -3;

fn with(entropy: &[u64]) -> Bench {
    let mut bench = Bench::v3(1);
    bench.machine.entropy = Some(entropy.iter().rev().copied().collect());
    bench
}

#[test]
fn without_a_source_there_is_no_service() {
    let mut bench = Bench::v3(1);
    for function in [VERSION, FEATURES, GET_UUID, RND_32, RND_64] {
        assert_eq!(
            bench.call(function, &[64]).0[0].cast_signed(),
            NOT_SUPPORTED
        );
    }
}

#[test]
fn the_interface_is_1_0_and_knows_its_functions() {
    let mut bench = with(&[]);
    assert_eq!(bench.call(VERSION, &[]).0, [0x1_0000, 0, 0, 0]);
    for function in [VERSION, FEATURES, GET_UUID, RND_32, RND_64] {
        assert_eq!(bench.call(FEATURES, &[function]).0, [0; 4]);
    }
    for function in [0xc400_0050, 0x8400_0054, 0x8400_0000, 0] {
        let code = bench.call(FEATURES, &[function]).0[0];
        assert_eq!(code.cast_signed(), NOT_SUPPORTED);
    }
    assert_ne!(bench.call(GET_UUID, &[]).0[0], 0xffff_ffff);
}

#[test]
fn bits_come_lowest_in_x3_and_no_bit_more_than_asked_for() {
    let source = [0x1111_1111_1111_1111, 0x2222_2222_2222_2222, u64::MAX];
    let draw = |function, bits| with(&source).call(function, &[bits]).0;
    assert_eq!(draw(RND_64, 1), [0, 0, 0, 1]);
    assert_eq!(draw(RND_64, 64), [0, 0, 0, source[0]]);
    assert_eq!(draw(RND_64, 65), [0, 0, 0, source[0]]);
    assert_eq!(draw(RND_64, 66), [0, 0, 2, source[0]]);
    assert_eq!(draw(RND_64, 129), [0, 1, source[1], source[0]]);
    assert_eq!(draw(RND_64, 192), [0, u64::MAX, source[1], source[0]]);
    assert_eq!(draw(RND_32, 32), [0, 0, 0, 0x1111_1111]);
    assert_eq!(draw(RND_32, 96), [0, 0xffff_ffff, 0x2222_2222, 0x1111_1111]);
}

#[test]
fn no_bits_and_too_many_are_invalid_and_draw_nothing() {
    for (function, bits) in [
        (RND_32, 0),
        (RND_32, 97),
        (RND_64, 0),
        (RND_64, 193),
        (RND_64, u64::MAX),
    ] {
        let mut bench = with(&[1, 2, 3]);
        let [code, rest @ ..] = bench.call(function, &[bits]).0;
        assert_eq!((code.cast_signed(), rest), (INVALID_PARAMETERS, [0; 3]));
        assert_eq!(bench.machine.entropy.as_ref().map(Vec::len), Some(3));
    }
}

#[test]
fn a_source_that_runs_dry_is_no_entropy_and_half_a_number_is_kept_back() {
    let [code, rest @ ..] = with(&[1, 2]).call(RND_64, &[192]).0;
    assert_eq!((code.cast_signed(), rest), (NO_ENTROPY, [0; 3]));
}
