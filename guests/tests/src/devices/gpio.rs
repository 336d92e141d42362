//! The PL061's interrupt (Arm DDI 0190): level-sensitive, and as the GIC takes it when it is told that it is an edge.

use bulkhead_rt::gic::{Gic, distributor};

use super::Device;
use crate::poll;
use crate::tap::{Notes, Tap};

/// GPIODIR: 0 is an input.
const DIR: u64 = 0x400;
/// GPIOIS: 1 is sensitive to levels.
const SENSE: u64 = 0x404;
/// GPIOIBE.
const BOTH_EDGES: u64 = 0x408;
/// GPIOIEV: which level or edge; 0 is low.
const EVENT: u64 = 0x40c;
/// GPIOIE: 1 lets the pin interrupt.
const MASK: u64 = 0x410;
/// GPIORIS.
const RAW: u64 = 0x414;
/// GPIOMIS.
const MASKED: u64 = 0x418;
/// GPIOIC.
const CLEAR: u64 = 0x41c;
/// The pin: nothing is wired to it, so that it rests at one level.
const PIN: u32 = 1 << 0;
/// GPIODATA of that pin alone: the address masks the bits.
const DATA: u64 = (PIN as u64) << 2;
/// The upper bit of an interrupt's two in ICFGR: it is an edge.
const EDGE: u32 = 0b10;

/// Sets the pin up as an input that interrupts at a level it is not at.
pub fn prepare(gpio: &Device) {
    gpio.write(MASK, 0);
    gpio.write(DIR, 0);
    gpio.write(BOTH_EDGES, 0);
    gpio.write(SENSE, PIN);
    lower(gpio);
    gpio.write(MASK, PIN);
}

/// The event that is not at the pin now.
fn absent(gpio: &Device) -> u32 {
    if gpio.read(DATA) & PIN == 0 { PIN } else { 0 }
}

/// Makes the line high: the level that the pin is at is what interrupts.
pub fn raise(gpio: &Device) {
    gpio.write(EVENT, PIN & !absent(gpio));
}

/// Makes the line low; returns whether it was high.
pub fn lower(gpio: &Device) -> bool {
    let was = gpio.read(MASKED) & PIN != 0;
    gpio.write(EVENT, absent(gpio));
    gpio.write(CLEAR, PIN);
    was
}

/// Tells the GIC whether the interrupt is an edge.
pub fn set_edge(gic: &Gic, gpio: &Device, edge: bool) {
    let register = gic.distributor() + distributor::ICFGR + u64::from(gpio.intid / 16 * 4);
    let bits = EDGE << (gpio.intid % 16 * 2);
    let others = bulkhead_rt::mmio::read32(register) & !bits;
    bulkhead_rt::mmio::write32(register, others | if edge { bits } else { 0 });
}

/// Runs the checks of this file, by polling.
pub fn run(tap: &mut Tap, gic: &Gic, gpio: &Device) {
    poll::reset(gic);
    prepare(gpio);
    level(tap, gic, gpio);
    edge(tap, gic, gpio);
    poll::reset(gic);
}

fn state(gic: &Gic, gpio: &Device) -> (bool, bool) {
    (
        gic.read_bit(distributor::ISPENDR, gpio.intid),
        gic.read_bit(distributor::ISACTIVER, gpio.intid),
    )
}

fn level(tap: &mut Tap, gic: &Gic, gpio: &Device) {
    let mut notes = Notes::new();
    notes.check("the pin rests", gpio.read(RAW) & PIN == 0);
    raise(gpio);
    notes.check("its level raises GPIORIS", gpio.read(RAW) & PIN != 0);
    notes.check("disabled it is not signalled", poll::stays_quiet());
    notes.check("but pending", state(gic, gpio) == (true, false));
    gic.enable(gpio.intid);
    let taken = poll::take(gic);
    let intid = taken.map(|interrupt| interrupt.intid());
    notes.check("enabled it is delivered", intid == Some(gpio.intid));
    notes.check("and active while it is handled", state(gic, gpio).1);
    notes.check("once", poll::stays_quiet());
    taken.iter().for_each(|interrupt| gic.end(*interrupt));
    notes.check("a level still high comes again", poll::wait_signalled());
    let taken = poll::take(gic);
    lower(gpio);
    taken.iter().for_each(|interrupt| gic.end(*interrupt));
    notes.check("a level that fell does not", poll::stays_quiet());
    notes.check("and is not pending", state(gic, gpio) == (false, false));
    notes.report(tap);
}

fn edge(tap: &mut Tap, gic: &Gic, gpio: &Device) {
    let mut notes = Notes::new();
    gic.disable(gpio.intid);
    set_edge(gic, gpio, true);
    gic.enable(gpio.intid);
    raise(gpio);
    lower(gpio);
    let taken = poll::take(gic);
    let intid = taken.map(|interrupt| interrupt.intid());
    notes.check(
        "an edge is kept after its level fell",
        intid == Some(gpio.intid),
    );
    raise(gpio);
    lower(gpio);
    taken.iter().for_each(|interrupt| gic.end(*interrupt));
    let again = poll::serve(gic);
    notes.check(
        "one while it is handled is kept too",
        again == Some(gpio.intid),
    );
    notes.check("each comes once", poll::stays_quiet());
    raise(gpio);
    notes.check(
        "a level that stays high is one edge",
        poll::serve(gic) == Some(gpio.intid),
    );
    notes.check("and no more", poll::stays_quiet());
    lower(gpio);
    gic.disable(gpio.intid);
    set_edge(gic, gpio, false);
    gic.write_bit(distributor::ICPENDR, gpio.intid);
    notes.report(tap);
}
