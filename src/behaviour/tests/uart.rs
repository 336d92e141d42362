//! The virtual UART between guest and console: output loses nothing, input arrives as the guest drains.

use super::super::testing::{Bench, ID};
use super::super::{console, exit::Next};
use crate::model::console::{Console, Intake, ROOM, Then};
use crate::words::PartitionId;
use std::collections::VecDeque;

const UART: u64 = 0x0900_0000;
const DR: u64 = UART;
const FR: u64 = UART + 0x18;
const LCR_H: u64 = UART + 0x2c;
const IMSC: u64 = UART + 0x38;
const FR_RXFE: u64 = 1 << 4;

/// ESR of a 32-bit access of W1 with a valid syndrome.
const LOAD: u64 = 0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 1 << 16 | 7;
const STORE: u64 = LOAD | 1 << 6;

fn read(bench: &mut Bench, address: u64) -> u64 {
    assert_eq!(bench.exit(LOAD, address), Next::Resume);
    bench.registers.x[1]
}

fn write(bench: &mut Bench, address: u64, value: u64) {
    bench.registers.x[1] = value;
    assert_eq!(bench.exit(STORE, address), Next::Resume);
}

fn kick(bench: &mut Bench) {
    bench.on_core(|here, board, machine, _| console::refresh(here, board, machine));
}

#[test]
fn a_store_into_a_full_ring_is_tried_again_and_loses_nothing() {
    let mut bench = Bench::v3(1);
    for _ in 0..ROOM {
        write(&mut bench, DR, u64::from(b'a'));
    }
    let pc = bench.registers.pc;
    write(&mut bench, DR, u64::from(b'z'));
    assert_eq!(bench.registers.pc, pc, "the store has not happened");
    assert_eq!(bench.output().len(), ROOM);
    write(&mut bench, DR, u64::from(b'z'));
    assert_eq!(bench.registers.pc, pc + 4);
    assert_eq!(bench.output(), b"z");
}

#[test]
fn typed_bytes_raise_the_interrupt_and_reading_them_lowers_it() {
    let mut bench = Bench::v3(1);
    // SPI 33 enabled, group 1, routed to vCPU 0; the distributor on.
    write(&mut bench, 0x0800_0000 + 0x84, 2);
    write(&mut bench, 0x0800_0000 + 0x104, 2);
    write(&mut bench, 0x0800_0000, 3);
    write(&mut bench, LCR_H, 0x70);
    write(&mut bench, IMSC, 0x50);
    assert!(bench.machine.list_registers.is_empty());
    bench.type_in(b"x");
    kick(&mut bench);
    let pending: Vec<u16> = bench
        .machine
        .list_registers
        .iter()
        .map(|lr| lr.intid())
        .collect();
    assert_eq!(pending, [33]);
    assert_eq!(read(&mut bench, DR), u64::from(b'x'));
    assert!(bench.machine.list_registers.is_empty());
    assert_eq!(read(&mut bench, FR) & FR_RXFE, FR_RXFE);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "wants a ring of its real size, which takes an interpreter long"
)]
fn a_paste_longer_than_all_queues_arrives_whole_and_asks_for_the_rest_itself() {
    let mut bench = Bench::v3(1);
    bench.console.set_focus(PartitionId::new(ID));
    write(&mut bench, LCR_H, 0x70);
    let paste: Vec<u8> = (0..ROOM as u32 * 3 / 2).map(|byte| byte as u8).collect();
    let typed: Vec<u8> = paste.iter().copied().filter(|byte| *byte != 0x1d).collect();
    let mut board = typed.iter().copied().collect::<VecDeque<u8>>();
    let mut intake = Intake::new();
    let mut take = |console: &Console| {
        let taken = intake.take(console, 0, || board.pop_front(), |_| Then::GoOn);
        taken.held_until.is_some() || board.is_empty()
    };
    while !take(&bench.console) {}
    assert_eq!(bench.machine.took_input, 0);
    kick(&mut bench);
    let (mut read_bytes, mut asked) = (Vec::new(), 0);
    while read(&mut bench, FR) & FR_RXFE == 0 {
        read_bytes.push(read(&mut bench, DR) as u8);
        if bench.machine.took_input > asked {
            asked = bench.machine.took_input;
            while !take(&bench.console) {}
            kick(&mut bench);
        }
    }
    assert!(read_bytes == typed);
    assert!(asked > 1 && asked < 100, "not for every byte: {asked}");
}
