//! Neighbours from hell: what a partition does while others are measured or watched (`role=...`).

use core::arch::asm;

use bulkhead_rt::{Machine, cpu, hypervisor, mmio, println, psci, timer};

use crate::trap;

/// An IPA where no machine of ours has anything.
const NOWHERE: u64 = 0x0f80_0000;

/// Plays a role; returns when the machine is to be switched off.
pub fn run(role: &str, machine: &Machine) {
    println!("# role {role}");
    match role {
        "flood" => flood(),
        "fault-data" => fault_data(),
        "fault-loop" => fault_loop(),
        "spin" => spin(),
        "reset" => reset(machine.arguments.number("starts").unwrap_or(3)),
        "panic" => panic!("asked to"),
        "off" => {}
        other => println!("# no role {other}"),
    }
}

/// Prints without end.
fn flood() -> ! {
    let mut line = 0u64;
    loop {
        println!("flood {line:012} abcdefghijklmnopqrstuvwxyz0123456789");
        line += 1;
    }
}

/// Takes aborts without end, and says once a second how many.
fn fault_data() -> ! {
    let (mut count, mut next) = (0u64, timer::now());
    loop {
        let (_, fault) = trap::catch(|| mmio::read32(NOWHERE));
        count += u64::from(fault.is_some());
        if timer::now() >= next {
            println!("role: {count} aborts survived");
            next += timer::frequency();
        }
    }
}

/// Points the vectors to nowhere and takes an exception: each fetch of the vector faults again.
fn fault_loop() -> ! {
    // SAFETY: nothing of Rust's runs after this.
    unsafe { asm!("msr vbar_el1, {0}", "isb", "svc #0", in(reg) NOWHERE, options(noreturn)) }
}

/// Keeps its core busy with everything masked.
fn spin() -> ! {
    cpu::mask_interrupts();
    loop {
        // Not `spin_loop`, which may yield.
        // SAFETY: does nothing.
        unsafe { asm!("nop") };
    }
}

/// Restarts itself until it has been started `starts` times; elsewhere than under Bulkhead, where
/// starts are not counted, until its counter shows three seconds.
fn reset(starts: u64) {
    let again = match hypervisor::partition_info() {
        Ok([_, count, _]) => {
            println!("role: start {count}");
            count < starts
        }
        Err(_) => timer::now() < 3 * timer::frequency(),
    };
    if again {
        psci::system_reset();
    }
    println!("role: done");
}
