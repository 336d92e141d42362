//! The PL011 (Arm DDI 0183) as a device, and its output without polling.

use bulkhead_rt::{console, mmio, println, timer};

use crate::environment::Environment;
use crate::tap::{Notes, Tap};

/// UARTDR.
const DR: u64 = 0x00;
/// UARTFR.
const FR: u64 = 0x18;
/// UARTIBRD, UARTFBRD, UARTLCR_H, UARTCR, UARTIFLS, UARTIMSC.
const IBRD: u64 = 0x24;
const FBRD: u64 = 0x28;
const LCR_H: u64 = 0x2c;
const CR: u64 = 0x30;
const IFLS: u64 = 0x34;
const IMSC: u64 = 0x38;
/// UARTRIS, UARTMIS, UARTICR.
const RIS: u64 = 0x3c;
const MIS: u64 = 0x40;
const ICR: u64 = 0x44;
/// FR: transmit FIFO empty and receive FIFO empty.
const FR_IDLE: u32 = 1 << 7 | 1 << 4;
/// FR: busy, transmit FIFO full.
const FR_OCCUPIED: u32 = 1 << 3 | 1 << 5;
/// Bytes of a numbered line.
const LINE: usize = 64;
/// Lines of a hundred kilobytes.
const LINES: usize = 1600;

/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    let uart = environment.machine.uart;
    identification(tap, uart);
    registers(tap, uart);
    flags(tap, uart);
    numbered(uart);
    tap.check(
        "100 KB written without polling (the host counts the lines)",
        true,
    );
}

fn identification(tap: &mut Tap, uart: u64) {
    let byte = |index: u64| mmio::read32(uart + 0xfe0 + index * 4);
    let part = [byte(0), byte(1), byte(2) & 0xf, byte(3)];
    // PeriphID2's upper half is the revision: r1p4 or r1p5.
    tap.equal("PeriphID is a PL011's", part, [0x11, 0x10, 0x04, 0x00]);
    let cell = [byte(4), byte(5), byte(6), byte(7)];
    tap.equal("PCellID is PrimeCell's", cell, [0x0d, 0xf0, 0x05, 0xb1]);
    mmio::write32(uart + 0xfe0, 0);
    tap.equal("and read-only", byte(0), 0x11);
}

fn registers(tap: &mut Tap, uart: u64) {
    let mut notes = Notes::new();
    let kept = |offset: u64, value: u32| {
        let before = mmio::read32(uart + offset);
        mmio::write32(uart + offset, value);
        let after = mmio::read32(uart + offset);
        mmio::write32(uart + offset, before);
        after == value
    };
    notes.check("IBRD keeps 16 bits", kept(IBRD, 0xabcd));
    notes.check("FBRD keeps 6 bits", kept(FBRD, 0x2a));
    notes.check("LCR_H reads back", kept(LCR_H, 0x70));
    notes.check("CR reads back", kept(CR, 0x301));
    notes.check("IFLS reads back", kept(IFLS, 0x12));
    mmio::write32(uart + IMSC, 0);
    mmio::write32(uart + ICR, 0x7ff);
    notes.check("MIS is RIS under IMSC", mmio::read32(uart + MIS) == 0);
    notes.check(
        "nothing received is no interrupt",
        mmio::read32(uart + RIS) & 0x50 == 0,
    );
    mmio::write32(uart + FR, 0);
    notes.check("FR is read-only", mmio::read32(uart + FR) & FR_IDLE != 0);
    notes.report(tap);
}

fn flags(tap: &mut Tap, uart: u64) {
    let idle = timer::wait_until(1_000_000, || {
        mmio::read32(uart + FR) & (FR_IDLE | FR_OCCUPIED) == FR_IDLE
    });
    tap.check(
        "with nothing to do FR says empty, empty, not busy, not full",
        idle,
    );
}

/// Writes lines `N<number> <letters>` of 64 bytes to DR, never asking whether there is room.
fn numbered(uart: u64) {
    println!("# {LINES} lines of {LINE} bytes follow");
    for number in 0..LINES {
        let mut line = [b'a'; LINE];
        line[0] = b'N';
        let mut rest = number;
        for place in line[1..6].iter_mut().rev() {
            *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        line[6] = b' ';
        for (letter, place) in (0u8..26).cycle().zip(line[7..LINE - 1].iter_mut()) {
            *place = b'a' + letter;
        }
        line[LINE - 1] = b'\n';
        line.iter()
            .for_each(|byte| mmio::write32(uart + DR, u32::from(*byte)));
    }
}

/// Echoes back each line the host types, until the line `end` (subject `uart-rx`, on request).
pub fn receive(tap: &mut Tap, _: &Environment) {
    println!("# ready to receive; end with the line `end`");
    let mut line = [0u8; 256];
    let mut length = 0;
    loop {
        let Some(byte) = console::read() else {
            core::hint::spin_loop();
            continue;
        };
        match byte {
            b'\r' | b'\n' => {
                let text = core::str::from_utf8(&line[..length]).unwrap_or("?");
                if text == "end" {
                    break;
                }
                println!("echo: {text}");
                length = 0;
            }
            other if length < line.len() => {
                line[length] = other;
                length += 1;
            }
            _ => {}
        }
    }
    tap.check("lines were received until `end`", true);
}
