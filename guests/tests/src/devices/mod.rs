//! Real devices of the board, handed over: a PL031 (real-time clock) and a PL061 (GPIO), registers and interrupts; or, on
//! boards that have neither, a PL011.
//!
//! The first two can interrupt by their own registers alone: the clock by an alarm that is due now, the GPIO by the level at which a
//! pin that rests low is said to interrupt. Invariant: [`HANDLED`] counts what the handler took from a device that had
//! asked for it, [`SPURIOUS`] everything else.

mod dma;
mod gpio;
mod many;
mod off;
mod restart;
mod rtc;
mod serial;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::gic::Gic;
use bulkhead_rt::machine::registers;
use bulkhead_rt::vectors::Frame;
use bulkhead_rt::{Machine, machine, mmio};
use dtoolkit::Property;
use dtoolkit::fdt::FdtNode;
use dtoolkit::standard::NodeStandard;

use crate::environment::Environment;
use crate::tap::Tap;

pub use dma::run as run_dma;
pub use off::{role as role_off, run as run_off};
pub use restart::role;
pub use serial::run as run_serial;

/// The first SPI.
const FIRST_SPI: u32 = 32;
/// PrimeCell identification: the lowest byte of each of eight words (Arm DDI 0190 3.3.15).
const PERIPHERAL_ID: u64 = 0xfe0;

/// A device the tree names: its registers, its interrupt.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    base: u64,
    intid: u32,
}

impl Device {
    /// The first device of a kind.
    fn find(machine: &Machine, kind: &str) -> Option<Self> {
        Self::of(machine.find(kind)?)
    }

    /// The device of a node.
    fn of(node: FdtNode<'static>) -> Option<Self> {
        let [group, number, _] = interrupt(node)?;
        (group == 0).then_some(Self {
            base: registers(node, 0)?.base,
            intid: FIRST_SPI + number,
        })
    }

    /// PeriphID0 and 1: the part number.
    fn part(&self) -> u32 {
        let byte = |offset| mmio::read32(self.base + PERIPHERAL_ID + offset) & 0xff;
        byte(0) | (byte(4) & 0xf) << 8
    }

    fn read(&self, register: u64) -> u32 {
        mmio::read32(self.base + register)
    }

    fn write(&self, register: u64, value: u32) {
        mmio::write32(self.base + register, value);
    }
}

/// The cells of a node's first interrupt.
fn interrupt(node: FdtNode<'static>) -> Option<[u32; 3]> {
    use dtoolkit::Node;
    let property = node.property("interrupts")?;
    let bytes: &[u8] = property.value_as().ok()?;
    let cell = |index: usize| {
        let bytes = bytes.get(index * 4..index * 4 + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    Some([cell(0)?, cell(1)?, cell(2)?])
}

/// Interrupts a device had asked for.
static HANDLED: AtomicU64 = AtomicU64::new(0);
/// Interrupts nobody had asked for.
static SPURIOUS: AtomicU64 = AtomicU64::new(0);
/// Addresses of the devices' registers, for the handler.
static GPIO: AtomicU64 = AtomicU64::new(0);
static GPIO_INTID: AtomicU64 = AtomicU64::new(0);
static RTC: AtomicU64 = AtomicU64::new(0);
static RTC_INTID: AtomicU64 = AtomicU64::new(0);
static SERIAL: AtomicU64 = AtomicU64::new(0);
static SERIAL_INTID: AtomicU64 = AtomicU64::new(0);

/// Takes an interrupt: the device's line falls, and the interrupt ends.
fn handle(_: &mut Frame) -> bool {
    let gic = &machine().gic;
    let Some(interrupt) = gic.acknowledge() else {
        SPURIOUS.fetch_add(1, Relaxed);
        return true;
    };
    let intid = u64::from(interrupt.intid());
    let asked = if intid == GPIO_INTID.load(Relaxed) {
        gpio::lower(&known(&GPIO, &GPIO_INTID))
    } else if intid == RTC_INTID.load(Relaxed) {
        rtc::clear(&known(&RTC, &RTC_INTID))
    } else if intid == SERIAL_INTID.load(Relaxed) {
        serial::clear(&known(&SERIAL, &SERIAL_INTID))
    } else {
        false
    };
    let counter = if asked { &HANDLED } else { &SPURIOUS };
    counter.fetch_add(1, Relaxed);
    gic.end(interrupt);
    true
}

fn known(base: &AtomicU64, intid: &AtomicU64) -> Device {
    Device {
        base: base.load(Relaxed),
        intid: u32::try_from(intid.load(Relaxed)).unwrap_or(0),
    }
}

/// Runs the subject: both devices are this partition's.
pub fn run(tap: &mut Tap, environment: &Environment) {
    let machine = environment.machine;
    let (gpio, rtc) = (
        Device::find(machine, "arm,pl061"),
        Device::find(machine, "arm,pl031"),
    );
    tap.check("the tree has the GPIO", gpio.is_some());
    tap.check("the tree has the clock", rtc.is_some());
    if let (Some(gpio), Some(rtc)) = (gpio, rtc) {
        GPIO.store(gpio.base, Relaxed);
        GPIO_INTID.store(gpio.intid.into(), Relaxed);
        RTC.store(rtc.base, Relaxed);
        RTC_INTID.store(rtc.intid.into(), Relaxed);
        identify(tap, machine, &gpio, &rtc);
        let gic: &Gic = &machine.gic;
        gpio::run(tap, gic, &gpio);
        rtc::run(tap, gic, &rtc);
        many::run(tap, environment, &gpio, &rtc);
    }
}

fn identify(tap: &mut Tap, machine: &Machine, gpio: &Device, rtc: &Device) {
    tap.equal("the GPIO is a PL061", gpio.part(), 0x061);
    tap.equal("the clock is a PL031", rtc.part(), 0x031);
    let node = machine.find("arm,pl061");
    let is_controller = node.is_some_and(|node| {
        use dtoolkit::Node;
        node.property("gpio-controller").is_some() && node.property("#gpio-cells").is_some()
    });
    tap.check("its node says that it is a GPIO controller", is_controller);
    tap.check("its clock is one of the tree's", has_clock(machine, node));
    let others = [
        "qemu,fw-cfg-mmio",
        "cfi-flash",
        "virtio,mmio",
        "pci-host-ecam-generic",
    ];
    let seen = others.iter().any(|kind| machine.find(kind).is_some());
    tap.check("no other device of the board is there", !seen);
}

/// Whether the node's first clock leads to a clock of a fixed rate.
fn has_clock(machine: &Machine, node: Option<FdtNode<'static>>) -> bool {
    use dtoolkit::Node;
    let phandle = |node: FdtNode<'static>, name: &str| {
        let property = node.property(name)?;
        let bytes: &[u8] = property.value_as().ok()?;
        Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
    };
    let wanted = node.and_then(|node| phandle(node, "clocks"));
    let mut clocks = machine
        .tree
        .root()
        .children()
        .filter(|node| node.is_compatible("fixed-clock"));
    wanted.is_some() && clocks.any(|clock| phandle(clock, "phandle") == wanted)
}
