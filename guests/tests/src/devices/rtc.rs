//! The PL031's alarm (Arm DDI 0224).

use bulkhead_rt::gic::Gic;

use super::Device;
use crate::poll;
use crate::tap::{Notes, Tap};

/// RTCDR: seconds.
const NOW: u64 = 0x000;
/// RTCMR: the alarm.
const MATCH: u64 = 0x004;
/// RTCIMSC.
const MASK: u64 = 0x010;
/// RTCRIS.
const RAW: u64 = 0x014;
/// RTCICR.
const CLEAR: u64 = 0x01c;
/// The alarm in the last three.
const ALARM: u32 = 1;
/// Tries until the second does not change between the reading and the writing of it.
const TRIES: usize = 100;

/// Lets the alarm interrupt.
pub fn prepare(rtc: &Device) {
    rtc.write(CLEAR, ALARM);
    rtc.write(MASK, ALARM);
}

/// Sets the alarm to now; returns whether it went off.
pub fn ring(rtc: &Device) -> bool {
    (0..TRIES).any(|_| {
        rtc.write(MATCH, rtc.read(NOW));
        rtc.read(RAW) & ALARM != 0
    })
}

/// Sets the alarm so many seconds ahead.
pub fn set(rtc: &Device, seconds: u32) {
    rtc.write(MATCH, rtc.read(NOW).wrapping_add(seconds));
}

/// Whether the alarm has gone off.
pub fn is_raised(rtc: &Device) -> bool {
    rtc.read(RAW) & ALARM != 0
}

/// Clears the alarm; returns whether it had gone off.
pub fn clear(rtc: &Device) -> bool {
    let was = rtc.read(RAW) & ALARM != 0;
    rtc.write(CLEAR, ALARM);
    was
}

/// Runs the checks of this file, by polling.
pub fn run(tap: &mut Tap, gic: &Gic, rtc: &Device) {
    let mut notes = Notes::new();
    poll::reset(gic);
    prepare(rtc);
    gic.enable(rtc.intid);
    notes.check("no alarm, no interrupt", poll::stays_quiet());
    notes.check("an alarm for this second goes off", ring(rtc));
    let taken = poll::take(gic);
    let intid = taken.map(|interrupt| interrupt.intid());
    notes.check("it interrupts", intid == Some(rtc.intid));
    notes.check("the handler finds it", clear(rtc));
    taken.iter().for_each(|interrupt| gic.end(*interrupt));
    notes.check("and no other", poll::stays_quiet());
    gic.disable(rtc.intid);
    notes.report(tap);
}
