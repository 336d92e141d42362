//! A device's interrupt comes while its partition is off: nobody takes it, and the next life does not find it.

use bulkhead_rt::abi::bulkhead::{action, state};
use bulkhead_rt::test::smp;
use bulkhead_rt::{Machine, hypervisor, println, psci, timer};

use super::{Device, rtc};
use crate::environment::Environment;
use crate::poll;
use crate::tap::Tap;

/// Seconds ahead the alarm is set.
const AHEAD: u32 = 2;
/// Microseconds after which it has gone off.
const LATER: u64 = 4_000_000;
/// The partition with the device: the manifest's first.
const OTHER: u64 = 0;
/// STATISTIC's counter of physical interrupts.
const INTERRUPTS: u64 = 7;

/// The partition with the device: sets the alarm and goes off; in its second life looks for it.
pub fn role(machine: &Machine) {
    let Some(rtc) = Device::find(machine, "arm,pl031") else {
        println!("role: no clock");
        return;
    };
    let gic = &machine.gic;
    gic.init();
    let Ok([_, starts, _]) = hypervisor::partition_info() else {
        return;
    };
    if starts == 1 {
        rtc::prepare(&rtc);
        rtc::set(&rtc, AHEAD);
        gic.enable(rtc.intid);
        println!("role: alarm set");
        psci::system_off();
    }
    println!("role: the alarm has gone off: {}", rtc::is_raised(&rtc));
    println!("role: it interrupts nobody: {}", poll::stays_quiet());
    gic.enable(rtc.intid);
    let taken = poll::serve(gic) == Some(rtc.intid);
    rtc::clear(&rtc);
    println!("role: until it is enabled: {taken}");
}

/// Runs the subject: this partition manages and observes the other.
pub fn run(tap: &mut Tap, _: &Environment) {
    let is = |wanted| hypervisor::status(OTHER).is_ok_and(|[state, ..]| state == wanted);
    tap.check(
        "it goes off",
        timer::wait_until(smp::PATIENCE, || is(state::OFF)),
    );
    let count = || hypervisor::statistic(OTHER, 0, INTERRUPTS);
    let before = count();
    timer::delay(LATER);
    tap.check("it is off still", is(state::OFF));
    tap.equal("its core took no interrupt meanwhile", count(), before);
    tap.check("its counter can be read", before.is_ok());
    let started = hypervisor::control(OTHER, action::START);
    tap.check("it starts again", started.is_ok());
}
