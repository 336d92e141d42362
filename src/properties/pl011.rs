//! The virtual UART against a queue: bytes taken in come out once, in order, unless the guest turned the FIFOs off.

use super::Input;
use crate::model::pl011::Pl011;
use std::collections::VecDeque;

// Registers, by their offsets (PL011 TRM, DDI 0183, table 3-1).
const DR: u64 = 0x00;
const FR: u64 = 0x18;
const LCR_H: u64 = 0x2c;
const CR: u64 = 0x30;
const MIS: u64 = 0x40;
/// Bytes a FIFO holds.
const FIFO: usize = 32;

/// Reads, writes and received bytes in any order, at any offset.
pub fn sequence(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let room = input.flag();
    let mut pair = Pair {
        uart: Pl011::new(),
        queue: VecDeque::new(),
        room,
    };
    while !input.is_empty() {
        pair.step(&mut input);
        let Pair { uart, queue, room } = &mut pair;
        assert_eq!(uart.irq(), uart.read(MIS, *room) != 0);
        assert_eq!(uart.read(FR, *room) & 0x10 != 0, queue.is_empty());
        assert!(queue.len() <= FIFO);
    }
}

struct Pair {
    uart: Pl011,
    queue: VecDeque<u8>,
    room: bool,
}

impl Pair {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(5) {
            0 => {
                let offset = offset(input);
                self.read(offset);
            }
            1 | 2 => {
                let (offset, value) = (offset(input), input.word());
                self.write(offset, value);
            }
            3 => {
                let byte = input.byte();
                if self.uart.receive(byte) {
                    self.queue.push_back(byte);
                }
            }
            _ => {
                self.uart.drained();
                self.room = input.flag();
            }
        }
    }

    fn read(&mut self, offset: u64) {
        let value = self.uart.read(offset, self.room);
        if offset & !3 == DR {
            let byte = self.queue.pop_front().unwrap_or(0);
            if offset == DR {
                assert_eq!(value & 0xff, u32::from(byte));
            }
        }
    }

    fn write(&mut self, offset: u64, value: u32) {
        let room = self.room;
        let fifos = self.uart.read(LCR_H, room) & 0x10 != 0;
        let loopback = self.uart.read(CR, room) & 0x80 != 0;
        let full = self.uart.read(FR, room) & 0x40 != 0;
        let sent = self.uart.write(offset, value, room);
        assert_eq!(sent.is_some(), offset & !3 == DR && !loopback);
        if offset & !3 == DR && loopback && !full {
            let byte = if offset == DR {
                value.to_le_bytes()[0]
            } else {
                0
            };
            self.queue.push_back(byte);
        }
        if fifos && self.uart.read(LCR_H, room) & 0x10 == 0 {
            self.queue.clear();
        }
    }
}

/// A register's offset, any in the page, or any at all.
fn offset(input: &mut Input<'_>) -> u64 {
    match input.below(5) {
        0..3 => u64::from(input.below(0x50)),
        3 => u64::from(input.half() & 0xfff),
        _ => input.long(),
    }
}
