//! Priorities: order, masks, preemption, groups.

use bulkhead_rt::gic::{Gic, Interrupt, distributor};
use bulkhead_rt::gicv2::{AEOIR, AIAR, BPR, CTLR, HPPIR, IAR, RPR};
use bulkhead_rt::{mmio, read_sysreg, write_sysreg};

use super::{SPI, SPURIOUS, enable_sgis, pend, send_to_self};
use crate::environment::Environment;
use crate::poll;
use crate::tap::Tap;

/// Priority bits every GIC with 4 list-register priority levels or more keeps: the upper four.
const IMPLEMENTED: u8 = 0xf0;

/// Runs the checks of this file.
pub fn run(tap: &mut Tap, environment: &Environment) {
    let gic = &environment.machine.gic;
    poll::reset(gic);
    enable_sgis(gic);
    order(tap, gic);
    mask(tap, gic);
    preemption(tap, gic);
    binary_point(tap, gic);
    nesting(tap, gic);
    interface_off(tap, gic);
    groups(tap, gic);
    poll::reset(gic);
}

/// Returns the running priority.
fn running(gic: &Gic) -> u64 {
    match *gic {
        Gic::V2 { cpu_interface, .. } => u64::from(mmio::read32(cpu_interface + RPR)),
        Gic::V3 { .. } => read_sysreg!("S3_0_C12_C11_3"),
    }
}

/// Returns the INTID of the highest pending interrupt.
fn highest(gic: &Gic) -> u64 {
    match *gic {
        Gic::V2 { cpu_interface, .. } => u64::from(mmio::read32(cpu_interface + HPPIR)) & 0x3ff,
        Gic::V3 { .. } => read_sysreg!("S3_0_C12_C12_2"),
    }
}

fn set_binary_point(gic: &Gic, value: u32) {
    match *gic {
        Gic::V2 { cpu_interface, .. } => mmio::write32(cpu_interface + BPR, value),
        Gic::V3 { .. } => write_sysreg!("S3_0_C12_C12_3", u64::from(value)),
    }
}

fn order(tap: &mut Tap, gic: &Gic) {
    for (intid, priority) in (0..8).zip((0..8).map(|step: u8| 0xe0 - step * 0x10)) {
        gic.set_priority(intid, priority);
    }
    for intid in 0..8 {
        send_to_self(gic, intid);
    }
    tap.equal("the highest pending one is shown", highest(gic), 7);
    let mut seen = [0; 8];
    for place in &mut seen {
        *place = poll::serve(gic).unwrap_or(SPURIOUS);
    }
    tap.equal(
        "the most urgent comes first",
        seen,
        [7, 6, 5, 4, 3, 2, 1, 0],
    );
    tap.equal(
        "nothing pending is shown as 1023",
        highest(gic),
        u64::from(SPURIOUS),
    );
    // A late, more urgent one overtakes those that wait already, in a list register or out of it.
    for intid in 0..7 {
        send_to_self(gic, intid);
    }
    gic.set_priority(SPI, 0x10);
    gic.write_bit(distributor::ISENABLER, SPI);
    gic.route_here(SPI);
    pend(gic);
    tap.equal(
        "a late, more urgent one overtakes",
        poll::serve(gic),
        Some(SPI),
    );
    tap.equal("then the others in order", poll::serve(gic), Some(6));
    poll::reset(gic);
    enable_sgis(gic);
}

fn mask(tap: &mut Tap, gic: &Gic) {
    gic.set_priority(1, 0x80);
    send_to_self(gic, 1);
    for (limit, delivered) in [(0x40, false), (0x80, false), (0x90, true)] {
        gic.set_priority_mask(limit);
        tap.equal(
            "PMR lets through what is more urgent",
            poll::signalled(),
            delivered,
        );
    }
    gic.set_priority_mask(0x80);
    tap.equal(
        "a masked interrupt is acknowledged as 1023",
        gic.acknowledge_raw() & 0x3ff,
        SPURIOUS,
    );
    gic.set_priority_mask(0xff);
    tap.equal("and comes when unmasked", poll::serve(gic), Some(1));
}

fn preemption(tap: &mut Tap, gic: &Gic) {
    set_binary_point(gic, 0);
    tap.equal("RPR is idle", running(gic) & 0xff, 0xff);
    gic.set_priority(1, 0xa0);
    gic.set_priority(2, 0x40);
    gic.set_priority(3, 0xa0);
    send_to_self(gic, 1);
    let low = poll::take(gic);
    let shown = running(gic) & u64::from(IMPLEMENTED);
    tap.equal("RPR shows the active priority", shown, 0xa0);
    send_to_self(gic, 3);
    tap.check("the same priority does not preempt", poll::stays_quiet());
    send_to_self(gic, 2);
    let high = poll::take(gic);
    tap.equal(
        "a more urgent one preempts",
        high.map(|one| one.intid()),
        Some(2),
    );
    tap.equal(
        "RPR shows its priority",
        running(gic) & u64::from(IMPLEMENTED),
        0x40,
    );
    tap.check("nothing else is signalled", !poll::signalled());
    high.inspect(|one| gic.end(*one));
    tap.equal(
        "its end drops to the one below",
        running(gic) & u64::from(IMPLEMENTED),
        0xa0,
    );
    low.inspect(|one| gic.end(*one));
    tap.equal("then the waiting one comes", poll::serve(gic), Some(3));
    tap.equal("RPR is idle again", running(gic) & 0xff, 0xff);
}

fn binary_point(tap: &mut Tap, gic: &Gic) {
    // No or one group priority bit, depending on the architecture: 0x80 and 0xa0 share a group.
    set_binary_point(gic, 7);
    gic.set_priority(1, 0xa0);
    gic.set_priority(2, 0x80);
    gic.set_priority(3, 0x90);
    send_to_self(gic, 1);
    let low = poll::take(gic);
    send_to_self(gic, 3);
    send_to_self(gic, 2);
    tap.check(
        "within a priority group nothing preempts",
        poll::stays_quiet(),
    );
    low.inspect(|one| gic.end(*one));
    let then = (poll::serve(gic), poll::serve(gic));
    tap.equal(
        "but the order is by the whole priority",
        then,
        (Some(2), Some(3)),
    );
    set_binary_point(gic, 0);
    let least = match *gic {
        Gic::V2 { cpu_interface, .. } => u64::from(mmio::read32(cpu_interface + BPR)),
        Gic::V3 { .. } => read_sysreg!("S3_0_C12_C12_3"),
    };
    tap.check("BPR has a least value of at most 4", least <= 4);
    poll::reset(gic);
    enable_sgis(gic);
}

/// As many levels of preemption as there are list registers, and more.
fn nesting(tap: &mut Tap, gic: &Gic) {
    let mut taken: [Option<Interrupt>; 8] = [None; 8];
    for (intid, priority) in (0..8).zip((0..8).map(|step: u8| 0xe0 - step * 0x10)) {
        gic.set_priority(intid, priority);
    }
    for (intid, place) in (0..).zip(&mut taken) {
        send_to_self(gic, intid);
        *place = poll::take(gic);
    }
    let right = (0..)
        .zip(&taken)
        .all(|(intid, one)| one.map(|one| one.intid()) == Some(intid));
    tap.check("8 levels of preemption", right);
    let active = (0..8).all(|intid| gic.read_bit(distributor::ISACTIVER, intid));
    tap.check("all of them active at once", active);
    for interrupt in taken.into_iter().rev().flatten() {
        gic.end(interrupt);
    }
    let active = (0..8).any(|intid| gic.read_bit(distributor::ISACTIVER, intid));
    tap.equal(
        "and back down",
        (active, running(gic) & 0xff),
        (false, 0xff),
    );
    poll::reset(gic);
    enable_sgis(gic);
}

fn interface_off(tap: &mut Tap, gic: &Gic) {
    let base = gic.distributor() + distributor::CTLR;
    let control = mmio::read32(base);
    mmio::write32(base, control & !0b11);
    send_to_self(gic, 1);
    tap.check("GICD_CTLR off: nothing is delivered", poll::stays_quiet());
    mmio::write32(base, control);
    tap.equal("GICD_CTLR on: it comes", poll::serve(gic), Some(1));
    match *gic {
        Gic::V2 { cpu_interface, .. } => mmio::write32(cpu_interface + CTLR, 0),
        Gic::V3 { .. } => write_sysreg!("S3_0_C12_C12_7", 0),
    }
    send_to_self(gic, 2);
    tap.check(
        "CPU interface off: nothing is delivered",
        poll::stays_quiet(),
    );
    gic.init_cpu();
    tap.equal("CPU interface on: it comes", poll::serve(gic), Some(2));
}

/// GICv2's interrupt groups, where IGROUPR keeps what is written.
fn groups(tap: &mut Tap, gic: &Gic) {
    let Gic::V2 {
        distributor: base,
        cpu_interface,
    } = *gic
    else {
        return groups_v3(tap, gic);
    };
    let group = base + distributor::IGROUPR + 4;
    let control = mmio::read32(base + distributor::CTLR);
    mmio::write32(group, 0b10);
    if mmio::read32(group) & 0b10 == 0 {
        return tap.skip("groups", "IGROUPR keeps nothing");
    }
    gic.enable(SPI);
    mmio::write32(base + distributor::CTLR, 0b11);
    mmio::write32(cpu_interface + CTLR, 0b01);
    pend(gic);
    tap.check(
        "group 1 is not delivered while only group 0 is on",
        poll::stays_quiet(),
    );
    mmio::write32(cpu_interface + CTLR, 0b11);
    tap.check("group 1 is delivered when on", poll::wait_signalled());
    let intid = mmio::read32(cpu_interface + IAR) & 0x3ff;
    tap.equal("IAR answers 1022 for group 1 without AckCtl", intid, 1022);
    // QEMU implements neither AIAR nor AEOIR, in GICC and in GICV.
    let aliased = mmio::read32(cpu_interface + AIAR);
    if aliased == 0 {
        tap.skip("AIAR acknowledges group 1", "this GIC has no AIAR");
        gic.write_bit(distributor::ICPENDR, SPI);
    } else {
        tap.equal("AIAR acknowledges group 1", aliased & 0x3ff, SPI);
        mmio::write32(cpu_interface + AEOIR, aliased);
        let active = gic.read_bit(distributor::ISACTIVER, SPI);
        tap.check("AEOIR ends it", !active);
    }
    mmio::write32(cpu_interface + CTLR, 0b111);
    pend(gic);
    tap.equal(
        "with AckCtl IAR acknowledges group 1",
        poll::serve(gic),
        Some(SPI),
    );
    mmio::write32(group, 0);
    mmio::write32(base + distributor::CTLR, control);
    gic.init_cpu();
    pend(gic);
    tap.equal(
        "back in group 0 it comes as before",
        poll::serve(gic),
        Some(SPI),
    );
}

/// GICv3 with one security state: group 0 comes as FIQ and by its own registers.
fn groups_v3(tap: &mut Tap, gic: &Gic) {
    let frame = gic.frame(0) + distributor::IGROUPR;
    let all = mmio::read32(frame);
    mmio::write32(frame, all & !(1 << 5));
    if mmio::read32(frame) & 1 << 5 != 0 {
        return tap.skip("group 0", "IGROUPR0 keeps group 1");
    }
    send_to_self(gic, 5);
    tap.check(
        "SGI1R sends no group 0 interrupt to group 1",
        !poll::signalled(),
    );
    tap.equal("IAR1 does not acknowledge group 0", gic.acknowledge(), None);
    gic.write_bit(distributor::ICPENDR, 5);
    mmio::write32(frame, all);
    send_to_self(gic, 5);
    tap.equal(
        "back in group 1 it comes as before",
        poll::serve(gic),
        Some(5),
    );
}
