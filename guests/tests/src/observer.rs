//! The one who goes on: while a partition crashes, its own timer's interrupts come, it rings the other's doorbell, and it
//! reads the record of each crash.

use bulkhead_rt::abi::bulkhead::{NO_DATA, crash_item};
use bulkhead_rt::abi::layout::TIMER_VIRTUAL_INTID;
use bulkhead_rt::{Machine, hypervisor, println, timer};

use crate::poll;

/// Microseconds from one interrupt to the next.
const PERIOD: u64 = 10_000;
/// Interrupts after a crash that say that this partition goes on.
const AFTERWARDS: u64 = 20;
/// Interrupts from one line to the next while nothing happens.
const A_WHILE: u64 = 50;
/// Where the class is in a syndrome.
const CLASS: u32 = 26;

/// Observes partition `of` of the boot arguments, for good.
pub fn run(machine: &Machine) {
    let of = machine.arguments.number("of").unwrap_or(0);
    let (mut seen, mut left, mut count) = (None, 0, 0_u64);
    machine.gic.init();
    let doorbell = hypervisor::channel(0).map(|channel| channel.doorbell);
    let mut deadline = poll::arm_timer(&machine.gic, PERIOD);
    if let Ok(doorbell) = doorbell {
        machine.gic.enable(doorbell);
    }
    loop {
        let intid = poll::serve(&machine.gic);
        if intid.is_some() && intid == doorbell.ok() {
            println!("observer: the doorbell rings");
            continue;
        }
        if intid != Some(TIMER_VIRTUAL_INTID) {
            println!("observer: LOST an interrupt: {intid:?}");
            return;
        }
        deadline += timer::ticks(PERIOD);
        timer::set_virtual_deadline(deadline.max(timer::now()));
        count += 1;
        if count % A_WHILE == 0 {
            println!("observer: {count} interrupts");
        }
        // The other end may be in no state to be rung.
        let _ = hypervisor::notify(0);
        if left > 0 {
            left -= 1;
            if left == 0 {
                println!("observer: {AFTERWARDS} more interrupts");
            }
        }
        match hypervisor::crash_record(of, 0, crash_item::WHEN) {
            Ok([first, starts, _]) if seen != Some(starts) => {
                (seen, left) = (Some(starts), AFTERWARDS);
                say(of, first, starts);
            }
            Ok(_) | Err(NO_DATA) => {}
            Err(code) => {
                println!("observer: DENIED: {code}");
                return;
            }
        }
    }
}

/// Says what the newest record has.
fn say(of: u64, first: u64, starts: u64) {
    let item = |item| hypervisor::crash_record(of, 0, item).unwrap_or_default();
    let [pc, pstate, esr] = item(crash_item::FAULT);
    let [far, ipa, vbar] = item(crash_item::ADDRESS);
    let (cause, vcpu, exits) = (first & 0xffff, first >> 16 & 0xffff, first >> 32);
    let class = esr >> CLASS;
    println!("observer: cause {cause}, vCPU {vcpu}, start {starts}, {exits} exits");
    println!(
        "observer: class {class:#x}, pc {pc:#x}, from vbar {:#x}, pstate {pstate:#x}",
        pc.wrapping_sub(vbar)
    );
    println!("observer: far {far:#x}, ipa {ipa:#x}");
}
