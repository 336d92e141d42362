//! Pending, active and enabled, by the distributor's registers and by the CPU interface.

use bulkhead_rt::gic::{Gic, distributor};

use super::{SPI, SPURIOUS, enable_sgis, pend, send_to_self, state};
use crate::environment::Environment;
use crate::poll;
use crate::tap::Tap;

/// Neither pending nor active.
const IDLE: (bool, bool) = (false, false);
/// Pending only.
const PENDING: (bool, bool) = (true, false);
/// Active only.
const ACTIVE: (bool, bool) = (false, true);
/// Pending while active.
const BOTH: (bool, bool) = (true, true);

/// Runs the checks of this file.
pub fn run(tap: &mut Tap, environment: &Environment) {
    let gic = &environment.machine.gic;
    poll::reset(gic);
    spurious(tap, gic);
    life_cycle(tap, gic);
    enabling(tap, gic);
    withdrawing(tap, gic);
    active_by_register(tap, gic);
    disabled_while_active(tap, gic);
    split_end(tap, gic);
    sgi_state(tap, gic);
    poll::reset(gic);
}

fn spurious(tap: &mut Tap, gic: &Gic) {
    tap.equal(
        "nothing pending is acknowledged as 1023",
        gic.acknowledge_raw() & 0x3ff,
        SPURIOUS,
    );
    gic.end(bulkhead_rt::gic::Interrupt::from_raw(SPURIOUS));
    tap.equal(
        "ending 1023 does nothing",
        gic.acknowledge_raw() & 0x3ff,
        SPURIOUS,
    );
}

fn life_cycle(tap: &mut Tap, gic: &Gic) {
    gic.enable(SPI);
    tap.equal(
        "an idle SPI is neither pending nor active",
        state(gic),
        IDLE,
    );
    pend(gic);
    tap.equal("ISPENDR makes it pending", state(gic), PENDING);
    let interrupt = poll::take(gic);
    tap.equal(
        "it is delivered",
        interrupt.map(|one| one.intid()),
        Some(SPI),
    );
    tap.equal("acknowledged it is active", state(gic), ACTIVE);
    pend(gic);
    tap.equal("it can be pending while active", state(gic), BOTH);
    tap.check("but is not delivered while active", poll::stays_quiet());
    interrupt.inspect(|one| gic.end(*one));
    tap.equal("after the end it is pending", state(gic), PENDING);
    tap.equal("and delivered again", poll::serve(gic), Some(SPI));
    tap.equal("and idle in the end", state(gic), IDLE);
    tap.check("and quiet", poll::stays_quiet());
}

fn enabling(tap: &mut Tap, gic: &Gic) {
    gic.disable(SPI);
    tap.check(
        "ICENABLER disables",
        !gic.read_bit(distributor::ISENABLER, SPI),
    );
    pend(gic);
    tap.equal("a disabled interrupt can be pending", state(gic), PENDING);
    tap.check("but is not delivered", poll::stays_quiet());
    gic.enable(SPI);
    tap.check(
        "ISENABLER reads as enabled",
        gic.read_bit(distributor::ISENABLER, SPI),
    );
    tap.check(
        "ICENABLER reads the same",
        gic.read_bit(distributor::ICENABLER, SPI),
    );
    tap.equal(
        "enabling delivers what was pending",
        poll::serve(gic),
        Some(SPI),
    );
}

/// What is already on its way to the CPU is taken back: with a hypervisor it sits in a list
/// register then.
fn withdrawing(tap: &mut Tap, gic: &Gic) {
    pend(gic);
    poll::wait_signalled();
    gic.disable(SPI);
    tap.check(
        "disabling takes back a signalled interrupt",
        poll::stays_quiet(),
    );
    tap.equal("it stays pending", state(gic), PENDING);
    gic.enable(SPI);
    tap.equal("and comes when enabled again", poll::serve(gic), Some(SPI));
    pend(gic);
    poll::wait_signalled();
    gic.write_bit(distributor::ICPENDR, SPI);
    tap.check(
        "ICPENDR takes back a signalled interrupt",
        poll::stays_quiet(),
    );
    tap.equal("for good", (state(gic), gic.acknowledge()), (IDLE, None));
    pend(gic);
    poll::wait_signalled();
    gic.set_priority_mask(0);
    tap.equal(
        "a priority mask of 0 keeps it back",
        gic.acknowledge(),
        None,
    );
    gic.set_priority_mask(0xff);
    tap.equal("and gives it back", poll::serve(gic), Some(SPI));
}

fn active_by_register(tap: &mut Tap, gic: &Gic) {
    gic.write_bit(distributor::ISACTIVER, SPI);
    tap.equal("ISACTIVER makes active", state(gic), ACTIVE);
    tap.check(
        "ICACTIVER reads the same",
        gic.read_bit(distributor::ICACTIVER, SPI),
    );
    pend(gic);
    tap.check(
        "an interrupt made active is not delivered",
        poll::stays_quiet(),
    );
    gic.write_bit(distributor::ICACTIVER, SPI);
    tap.equal("after ICACTIVER it is", poll::serve(gic), Some(SPI));
    tap.equal("and ends as usual", state(gic), IDLE);
    pend(gic);
    let interrupt = poll::take(gic);
    gic.write_bit(distributor::ICACTIVER, SPI);
    tap.equal(
        "ICACTIVER deactivates an acknowledged interrupt",
        state(gic),
        IDLE,
    );
    interrupt.inspect(|one| gic.end(*one));
    pend(gic);
    tap.equal(
        "which comes again after its end",
        poll::serve(gic),
        Some(SPI),
    );
}

fn disabled_while_active(tap: &mut Tap, gic: &Gic) {
    pend(gic);
    let interrupt = poll::take(gic);
    gic.disable(SPI);
    tap.equal(
        "disabling leaves an active interrupt active",
        state(gic),
        ACTIVE,
    );
    pend(gic);
    interrupt.inspect(|one| gic.end(*one));
    tap.equal(
        "after its end it is pending, not active",
        state(gic),
        PENDING,
    );
    tap.check("and not delivered", poll::stays_quiet());
    gic.enable(SPI);
    tap.equal("until enabled", poll::serve(gic), Some(SPI));
}

/// EOImode 1: the end drops the priority, DIR deactivates.
fn split_end(tap: &mut Tap, gic: &Gic) {
    gic.set_split_end(true);
    enable_sgis(gic);
    pend(gic);
    let interrupt = poll::take(gic);
    interrupt.inspect(|one| gic.end(*one));
    tap.equal("EOImode 1: active after the end", state(gic), ACTIVE);
    pend(gic);
    tap.check(
        "EOImode 1: not delivered again before DIR",
        poll::stays_quiet(),
    );
    send_to_self(gic, 8);
    let other = poll::take(gic);
    tap.equal(
        "EOImode 1: the priority is dropped",
        other.map(|one| one.intid()),
        Some(8),
    );
    other.inspect(|one| gic.end(*one));
    other.inspect(|one| gic.deactivate(*one));
    interrupt.inspect(|one| gic.deactivate(*one));
    tap.equal("EOImode 1: pending after DIR", state(gic), PENDING);
    let again = poll::take(gic);
    tap.equal(
        "EOImode 1: and delivered",
        again.map(|one| one.intid()),
        Some(SPI),
    );
    again.inspect(|one| gic.end(*one));
    again.inspect(|one| gic.deactivate(*one));
    tap.equal("EOImode 1: idle in the end", state(gic), IDLE);
    // Deactivation may come in any order: that is what the mode is for.
    send_to_self(gic, 1);
    let first = poll::take(gic);
    first.inspect(|one| gic.end(*one));
    send_to_self(gic, 2);
    let second = poll::take(gic);
    second.inspect(|one| gic.end(*one));
    first.inspect(|one| gic.deactivate(*one));
    second.inspect(|one| gic.deactivate(*one));
    let active = (1..3).any(|intid| gic.read_bit(distributor::ISACTIVER, intid));
    tap.check("EOImode 1: any order of deactivation", !active);
    many_active(tap, gic, false);
    many_active(tap, gic, true);
    gic.set_split_end(false);
}

/// More active interrupts at once than there are list registers. `looked`: each is looked at before its end, so that the
/// hypervisor deals the list registers out anew and the end may find none that is its own.
fn many_active(tap: &mut Tap, gic: &Gic, looked: bool) {
    let is_active = |intid: &u32| gic.read_bit(distributor::ISACTIVER, *intid);
    let mut taken = [None; 16];
    for (intid, place) in (0..).zip(&mut taken) {
        send_to_self(gic, intid);
        *place = poll::take(gic);
        if looked {
            let _ = is_active(&intid);
        }
        place.inspect(|one| gic.end(*one));
    }
    let active = (0..16).all(|intid| is_active(&intid));
    tap.check("EOImode 1: 16 interrupts active at once", active);
    for interrupt in taken.into_iter().rev().flatten() {
        gic.deactivate(interrupt);
    }
    let active = (0..16).any(|intid| is_active(&intid));
    tap.check("EOImode 1: and all deactivated", !active);
    let wrong = (0..16).find(|intid| {
        send_to_self(gic, *intid);
        let one = poll::take(gic);
        one.inspect(|one| gic.end(*one));
        one.inspect(|one| gic.deactivate(*one));
        one.map(|one| one.intid()) != Some(*intid)
    });
    tap.equal("EOImode 1: and each comes again", wrong, None);
}

fn sgi_state(tap: &mut Tap, gic: &Gic) {
    send_to_self(gic, 15);
    tap.check(
        "an SGI shows in ISPENDR0",
        gic.read_bit(distributor::ISPENDR, 15),
    );
    let interrupt = poll::take(gic);
    tap.check(
        "acknowledged it shows in ISACTIVER0",
        gic.read_bit(distributor::ISACTIVER, 15),
    );
    send_to_self(gic, 15);
    tap.check("it is not delivered while active", poll::stays_quiet());
    interrupt.inspect(|one| gic.end(*one));
    tap.equal("but after its end", poll::serve(gic), Some(15));
}
