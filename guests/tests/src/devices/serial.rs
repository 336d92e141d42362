//! A PL011 of the board's (Arm DDI 0183), beside the virtual one: its transmit interrupt, which each byte sent raises.

use core::sync::atomic::Ordering::Relaxed;

use bulkhead_rt::{cpu, vectors};
use dtoolkit::Node;
use dtoolkit::standard::NodeStandard;

use super::{Device, SERIAL, SERIAL_INTID, handle, many};
use crate::environment::Environment;
use crate::poll;
use crate::tap::Tap;

/// UARTDR.
const DATA: u64 = 0x00;
/// UARTCR: on, and transmitting.
const CONTROL: u64 = 0x30;
const ON: u32 = 1 << 0 | 1 << 8;
/// UARTLCR_H: eight bits, no FIFO.
const LINE: u64 = 0x2c;
const EIGHT_BITS: u32 = 0b11 << 5;
/// UARTIMSC, UARTMIS, UARTICR.
const MASK: u64 = 0x38;
const MASKED: u64 = 0x40;
const CLEAR: u64 = 0x44;
/// The transmit interrupt in these.
const TRANSMIT: u32 = 1 << 5;

/// Clears the transmit interrupt; returns whether there was one.
pub fn clear(serial: &Device) -> bool {
    let was = serial.read(MASKED) & TRANSMIT != 0;
    serial.write(CLEAR, TRANSMIT);
    was
}

/// Runs the subject: the partition has a PL011 of the board's.
pub fn run(tap: &mut Tap, environment: &Environment) {
    let machine = environment.machine;
    let mut nodes = machine.tree.root().children();
    let serial = nodes.find_map(|node| {
        let found = node.is_compatible("arm,pl011").then(|| Device::of(node))?;
        found.filter(|device| device.base != machine.uart)
    });
    tap.check("the tree has the serial port", serial.is_some());
    let Some(serial) = serial else {
        return;
    };
    tap.equal("it is a PL011", serial.part(), 0x011);
    SERIAL.store(serial.base, Relaxed);
    SERIAL_INTID.store(serial.intid.into(), Relaxed);
    let old = vectors::on_irq(handle);
    poll::reset(&machine.gic);
    serial.write(CONTROL, 0);
    serial.write(LINE, EIGHT_BITS);
    serial.write(CONTROL, ON);
    serial.write(CLEAR, u32::MAX);
    serial.write(MASK, TRANSMIT);
    machine.gic.enable(serial.intid);
    cpu::unmask_interrupts();
    many::count(tap, "bytes", many::MANY, || {
        serial.write(DATA, u32::from(b'.'))
    });
    cpu::mask_interrupts();
    machine.gic.disable(serial.intid);
    if let Some(old) = old {
        vectors::on_irq(old);
    }
}
