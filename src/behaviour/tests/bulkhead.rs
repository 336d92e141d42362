//! Bulkhead's own services (hypercalls.md, section 3).

use super::super::lifecycle::Reason;
use super::super::partition::Counter;
use super::super::testing::{Bench, ID};
use crate::words::effort::times;
use proptest::prelude::*;

const PARTITION_INFO: u64 = 0xc600_0001;
const CONSOLE_WRITE: u64 = 0xc600_0002;
const CONSOLE_READ: u64 = 0xc600_0003;
const PARTITION_STATUS: u64 = 0xc600_0030;
const STATISTIC: u64 = 0xc600_0040;

const INVALID_PARAMETER: i64 = -3;
const DENIED: i64 = -4;
const NO_DATA: i64 = -6;

/// Bytes a partition's output ring holds.
const RING: usize = if cfg!(miri) { 0x400 } else { 0x4000 };

fn code(bench: &mut Bench, function: u64, arguments: &[u64]) -> i64 {
    let results = bench.call(function, arguments).0;
    assert_eq!(results[1..], [0; 3]);
    results[0].cast_signed()
}

#[test]
fn partition_info_says_who_one_is() {
    let mut bench = Bench::v3(3);
    let own = u64::from(ID) | 3 << 16;
    assert_eq!(bench.call(PARTITION_INFO, &[]).0, [0, own, 1, 0]);
    bench.partition.plan.manage = 1;
    bench.partition.plan.observe = true;
    bench.partition.life.stop(Reason::Reset);
    bench.partition.life.run();
    assert_eq!(bench.call(PARTITION_INFO, &[]).0, [0, own | 3 << 32, 2, 2]);
}

#[test]
fn status_is_ones_own() {
    let mut bench = Bench::v3(1);
    assert_eq!(bench.call(PARTITION_STATUS, &[ID.into()]).0, [0, 1, 1, 0]);
    for id in [0, u64::from(ID) + 1, u64::from(ID) | 1 << 32, u64::MAX] {
        assert_eq!(code(&mut bench, PARTITION_STATUS, &[id]), DENIED);
        assert_eq!(code(&mut bench, STATISTIC, &[id, 0, 0]), DENIED);
    }
}

#[test]
fn statistics_have_bounds() {
    let mut bench = Bench::v3(2);
    bench.on_core(|here, _, _, _| here.count(Counter::Mmio));
    let own = u64::from(ID);
    assert_eq!(bench.call(STATISTIC, &[own, 0, 5]).0, [0, 1, 0, 0]);
    assert_eq!(bench.call(STATISTIC, &[own, 1, 5]).0, [0; 4]);
    assert_eq!(bench.call(STATISTIC, &[own, 0, 10]).0, [0; 4]);
    for (vcpu, counter) in [(2, 0), (256, 0), (u64::MAX, 0), (0, 11), (0, u64::MAX)] {
        let answer = code(&mut bench, STATISTIC, &[own, vcpu, counter]);
        assert_eq!(answer, INVALID_PARAMETER);
    }
}

#[test]
fn console_write_takes_1_to_48_bytes_in_order() {
    let words: Vec<u64> = (0_u64..6)
        .map(|word| 0x0706_0504_0302_0100 + 0x0808_0808_0808_0808 * word)
        .collect();
    for count in [1, 7, 8, 9, 47, 48] {
        let mut bench = Bench::v3(1);
        let arguments: Vec<u64> = [count].into_iter().chain(words.clone()).collect();
        assert_eq!(bench.call(CONSOLE_WRITE, &arguments).0, [0, count, 0, 0]);
        let expected: Vec<u8> = (0..count as u8).collect();
        assert_eq!(bench.output(), expected);
        assert_eq!(bench.machine.printed, 1);
    }
    let mut bench = Bench::v3(1);
    for count in [0, 49, 256 + 1, 1 << 32 | 1, u64::MAX] {
        assert_eq!(
            code(&mut bench, CONSOLE_WRITE, &[count, 1]),
            INVALID_PARAMETER
        );
    }
    assert!(bench.output().is_empty());
}

#[test]
#[cfg_attr(
    miri,
    ignore = "wants a ring of its real size, which takes an interpreter long"
)]
fn console_write_into_a_full_ring_says_how_much_it_took() {
    let mut bench = Bench::v3(1);
    for _ in 0..RING / 48 {
        assert_eq!(bench.call(CONSOLE_WRITE, &[48]).0[1], 48);
    }
    let left = (RING % 48) as u64;
    assert_eq!(bench.call(CONSOLE_WRITE, &[48]).0, [0, left, 0, 0]);
    assert_eq!(bench.call(CONSOLE_WRITE, &[48]).0, [0; 4]);
}

#[test]
fn console_read_returns_what_was_typed_and_then_no_data() {
    let mut bench = Bench::v3(1);
    assert_eq!(code(&mut bench, CONSOLE_READ, &[16]), NO_DATA);
    bench.type_in(b"0123456789abcdefXYZ");
    assert_eq!(
        bench.call(CONSOLE_READ, &[16]).0,
        [0, 16, 0x3736_3534_3332_3130, 0x6665_6463_6261_3938]
    );
    assert_eq!(bench.call(CONSOLE_READ, &[1]).0, [0, 1, u64::from(b'X'), 0]);
    assert_eq!(bench.call(CONSOLE_READ, &[16]).0, [0, 2, 0x5a59, 0]);
    assert_eq!(code(&mut bench, CONSOLE_READ, &[16]), NO_DATA);
    for most in [0, 17, u64::MAX] {
        assert_eq!(code(&mut bench, CONSOLE_READ, &[most]), INVALID_PARAMETER);
    }
}

#[test]
fn console_read_gets_bytes_that_have_reached_the_uart_first() {
    let mut bench = Bench::v3(1);
    bench.type_in(b"ab");
    // A kick brings typed bytes to the UART, whose FIFO is off after reset: one byte.
    bench.on_core(|here, console, machine, _| {
        super::super::console::refresh(here, console, machine)
    });
    bench.type_in(b"c");
    assert_eq!(bench.call(CONSOLE_READ, &[16]).0, [0, 3, 0x0063_6261, 0]);
}

proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    /// Bytes come out once and in order, however reads are sized.
    #[test]
    fn console_read_loses_and_doubles_nothing(typed in prop::collection::vec(any::<u8>(), 0..times(200, 20)), sizes in prop::collection::vec(1_u64..=16, times(200, 20))) {
        let mut bench = Bench::v3(1);
        bench.type_in(&typed);
        let mut read = Vec::new();
        for size in sizes {
            let [code, count, low, high] = bench.call(CONSOLE_READ, &[size]).0;
            if code != 0 {
                break;
            }
            prop_assert!(count <= size);
            let bytes = low.to_le_bytes().into_iter().chain(high.to_le_bytes());
            read.extend(bytes.take(count as usize));
        }
        prop_assert_eq!(read, typed);
    }
}
