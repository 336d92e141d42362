//! A device that was handed over and interrupts by its own registers: a PL061, or a PL011 beside the console's.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use bulkhead_rt::machine::registers;
use bulkhead_rt::{Machine, mmio};
use dtoolkit::Node;
use dtoolkit::standard::NodeStandard;

/// The PL061's interrupt on QEMU virt.
const GPIO_INTID: u32 = 39;
/// GPIOIS: a pin interrupts at a level (Arm DDI 0190).
const GPIO_SENSE: u64 = 0x404;
/// GPIOIEV: at which, 1 the high one.
const GPIO_EVENT: u64 = 0x40c;
/// GPIOIE: it may interrupt.
const GPIO_MASK: u64 = 0x410;
/// GPIOIC.
const GPIO_CLEAR: u64 = 0x41c;
/// A pin that rests low.
const PIN: u32 = 1;

/// UART0's interrupt on the Raspberry Pi 4.
const SERIAL_INTID: u32 = 153;
/// UARTCR: on, and transmitting (Arm DDI 0183).
const SERIAL_CONTROL: u64 = 0x30;
const SERIAL_ON: u32 = 1 << 0 | 1 << 8;
/// UARTLCR_H: eight bits, no FIFO.
const SERIAL_LINE: u64 = 0x2c;
const EIGHT_BITS: u32 = 0b11 << 5;
/// UARTIMSC, UARTICR.
const SERIAL_MASK: u64 = 0x38;
const SERIAL_CLEAR: u64 = 0x44;
/// The transmit interrupt in these: each byte sent raises it.
const TRANSMIT: u32 = 1 << 5;

/// The device's registers and interrupt; 0 where there is none.
static BASE: AtomicU64 = AtomicU64::new(0);
static INTID: AtomicU32 = AtomicU32::new(0);

/// Finds the device and lets it interrupt.
pub fn open(machine: &'static Machine) {
    let gpio = machine
        .find("arm,pl061")
        .and_then(|node| registers(node, 0));
    if let Some(range) = gpio {
        mmio::write32(range.base + GPIO_EVENT, PIN);
        mmio::write32(range.base + GPIO_SENSE, PIN);
        mmio::write32(range.base + GPIO_CLEAR, PIN);
        mmio::write32(range.base + GPIO_MASK, PIN);
        BASE.store(range.base, Relaxed);
        INTID.store(GPIO_INTID, Relaxed);
        return;
    }
    let mut nodes = machine.tree.root().children();
    let serial = nodes.find_map(|node| {
        let range = node
            .is_compatible("arm,pl011")
            .then(|| registers(node, 0))?;
        range.filter(|range| range.base != machine.uart)
    });
    if let Some(range) = serial {
        mmio::write32(range.base + SERIAL_CONTROL, 0);
        mmio::write32(range.base + SERIAL_LINE, EIGHT_BITS);
        mmio::write32(range.base + SERIAL_CONTROL, SERIAL_ON);
        mmio::write32(range.base + SERIAL_CLEAR, u32::MAX);
        mmio::write32(range.base + SERIAL_MASK, TRANSMIT);
        BASE.store(range.base, Relaxed);
        INTID.store(SERIAL_INTID, Relaxed);
    }
}

/// The device's INTID; 0 if there is none.
pub fn intid() -> u32 {
    INTID.load(Relaxed)
}

/// Makes it interrupt.
#[inline(always)]
pub fn excite() {
    let base = BASE.load(Relaxed);
    if intid() == GPIO_INTID {
        mmio::write32(base + GPIO_EVENT, 0);
    } else {
        mmio::write32(base, u32::from(b'.'));
    }
}

/// Takes its interrupt back.
pub fn calm() {
    let base = BASE.load(Relaxed);
    if intid() == GPIO_INTID {
        mmio::write32(base + GPIO_EVENT, PIN);
        mmio::write32(base + GPIO_CLEAR, PIN);
    } else {
        mmio::write32(base + SERIAL_CLEAR, TRANSMIT);
    }
}
