//! A level interrupt from a device: the PL011's transmit interrupt.

use bulkhead_rt::gic::{Gic, Interrupt, distributor};
use bulkhead_rt::{machine, mmio, println, timer};

use super::{SPI, state};
use crate::environment::Environment;
use crate::poll;
use crate::smp;
use crate::tap::{Notes, Tap};

/// UARTIMSC (Arm DDI 0183 3.3.10).
const IMSC: u64 = 0x38;
/// UARTRIS.
const RIS: u64 = 0x3c;
/// UARTMIS.
const MIS: u64 = 0x40;
/// UARTICR.
const ICR: u64 = 0x44;
/// The transmit interrupt in these four.
const TX: u32 = 1 << 5;

/// Runs the checks of this file.
pub fn run(tap: &mut Tap, environment: &Environment) {
    let gic = &environment.machine.gic;
    let uart = environment.machine.uart;
    poll::reset(gic);
    level(tap, gic, uart);
    withdrawn(tap, gic, uart);
    retargeted(tap, environment, uart);
    silence(uart);
    poll::reset(gic);
}

/// Makes the transmit interrupt's raw status high: it comes after output has gone.
fn raise(uart: u64) -> bool {
    println!("# a line whose end raises the transmit interrupt");
    timer::wait_until(poll::SOON, || mmio::read32(uart + RIS) & TX != 0)
}

/// Silences the UART and lowers its interrupt, so that results can be printed.
fn silence(uart: u64) {
    mmio::write32(uart + IMSC, 0);
    mmio::write32(uart + ICR, TX);
}

fn level(tap: &mut Tap, gic: &Gic, uart: u64) {
    let mut notes = Notes::new();
    let is_spi = |one: Option<Interrupt>| one.map(|one| one.intid()) == Some(SPI);
    gic.enable(SPI);
    silence(uart);
    notes.check("transmitting raises RIS.TX", raise(uart));
    notes.check("masked in IMSC it is not pending", poll::stays_quiet());
    notes.check("nor in MIS", mmio::read32(uart + MIS) & TX == 0);
    mmio::write32(uart + IMSC, TX);
    notes.check("MIS follows IMSC", mmio::read32(uart + MIS) & TX == TX);
    let interrupt = poll::take(gic);
    notes.check("unmasked it is delivered", is_spi(interrupt));
    // IHI 0048B 4.3.7: a level that is still high reads as pending, and is pending after the end.
    notes.check(
        "a level still high is pending and active",
        state(gic) == (true, true),
    );
    interrupt.inspect(|one| gic.end(*one));
    gic.write_bit(distributor::ICPENDR, SPI);
    let pending = gic.read_bit(distributor::ISPENDR, SPI);
    notes.check("ICPENDR does not clear a level", pending);
    let interrupt = poll::take(gic);
    notes.check("a level still high comes again", is_spi(interrupt));
    mmio::write32(uart + ICR, TX);
    notes.check(
        "ICR lowers the level: active only",
        state(gic) == (false, true),
    );
    interrupt.inspect(|one| gic.end(*one));
    notes.check("and it comes no more", poll::stays_quiet());
    notes.check("idle in the end", state(gic) == (false, false));
    silence(uart);
    notes.report(tap);
}

fn withdrawn(tap: &mut Tap, gic: &Gic, uart: u64) {
    let mut notes = Notes::new();
    raise(uart);
    mmio::write32(uart + IMSC, TX);
    poll::wait_signalled();
    mmio::write32(uart + IMSC, 0);
    notes.check(
        "a level that falls before it is taken is taken back",
        poll::stays_quiet(),
    );
    notes.check("and acknowledged as nothing", gic.acknowledge().is_none());
    mmio::write32(uart + IMSC, TX);
    notes.check("it rises again", poll::wait_signalled());
    gic.disable(SPI);
    notes.check("disabled it is not signalled", poll::stays_quiet());
    gic.enable(SPI);
    notes.check("enabled it is", poll::wait_signalled());
    mmio::write32(uart + ICR, TX);
    notes.check("cleared it is not", poll::stays_quiet());
    // A latch set by software stays when the line never rose.
    gic.write_bit(distributor::ISPENDR, SPI);
    notes.check(
        "ISPENDR latches without a line",
        poll::serve(gic) == Some(SPI),
    );
    notes.check("once", poll::stays_quiet());
    silence(uart);
    notes.report(tap);
}

/// On CPU 1: makes the SPI its own, waits for it, lowers it.
fn take_it(_: u64) {
    let gic = &machine().gic;
    poll::reset(gic);
    gic.enable(SPI);
    if let Some(interrupt) = poll::take(gic)
        && interrupt.intid() == SPI
    {
        mmio::write32(machine().uart + ICR, TX);
        gic.end(interrupt);
        TAKEN.store(1, core::sync::atomic::Ordering::Relaxed);
    }
}

static TAKEN: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

fn retargeted(tap: &mut Tap, environment: &Environment, uart: u64) {
    const NAME: &str = "an SPI goes to the CPU it is routed to";
    if !environment.has_cpus(tap, 2, NAME) {
        return;
    }
    let gic = &environment.machine.gic;
    raise(uart);
    gic.disable(SPI);
    mmio::write32(uart + IMSC, TX);
    let ran = smp::run(1, take_it, 0);
    silence(uart);
    tap.check("CPU 1 runs", ran);
    let taken = TAKEN.load(core::sync::atomic::Ordering::Relaxed);
    tap.equal(NAME, taken, 1);
    tap.check("and not to the other", poll::stays_quiet());
    mmio::write32(uart + ICR, TX);
    gic.enable(SPI);
    gic.write_bit(distributor::ISPENDR, SPI);
    tap.equal("and back when routed back", poll::serve(gic), Some(SPI));
}
