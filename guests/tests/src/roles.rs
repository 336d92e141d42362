//! Neighbours from hell: what a partition does while others are measured or watched (`role=...`).

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::bulkhead::BOARD;
use bulkhead_rt::abi::layout::TIMER_VIRTUAL_INTID;
use bulkhead_rt::{Machine, cpu, hypervisor, machine, mmio, println, psci, timer};

use crate::{cold, poll, smp, trap};

/// An IPA where no machine of ours has anything.
const NOWHERE: u64 = 0x0f80_0000;

/// SCTLR_EL1 with the MMU and caches off (Arm ARM D24.2.118: the bits that are RES1).
const SCTLR_OFF: u64 = 0x30d0_0800;

/// Plays a role; returns when the machine is to be switched off.
pub fn run(role: &str, machine: &'static Machine) {
    println!("# role {role}");
    match role {
        "flood" => flood(),
        "fault-data" => fault_data(),
        "fault-loop" => fault_loop(),
        "fault-exit" => fault_exit(NOWHERE),
        "fault-stack" => fault_stack(),
        "fault-undefined" => fault_undefined(),
        "fault-silent" => silent(machine),
        "calls" => calls(),
        "observer" => crate::observer::run(machine),
        "spin" => spin(),
        "cold" => cold::run(machine),
        "commands" => commands(),
        "reset" => reset(machine, machine.arguments.number("starts").unwrap_or(3)),
        "device-restart" => {
            crate::devices::role(machine, machine.arguments.number("starts").unwrap_or(3));
        }
        "device-off" => crate::devices::role_off(machine),
        "panic" => panic!("asked to"),
        "off" => {}
        "board" => board(machine.arguments.number("action").unwrap_or(0)),
        other => println!("# no role {other}"),
    }
}

/// Ends the board, as its manager.
fn board(action: u64) {
    let answer = hypervisor::control(BOARD, action);
    println!("role: the board goes on: {answer:?}");
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

/// Prints what a person would type to command the hypervisor.
fn commands() -> ! {
    loop {
        println!("\x1dstop t\rpause t\r\x1d]stop t\n\x1b[5i");
        timer::delay(10_000);
    }
}

/// Points the vectors to `address`, through an MMU that is off, and takes an exception: each fetch of the vector comes to EL2.
fn fault_exit(address: u64) -> ! {
    // SAFETY: nothing of Rust's runs after this; the fetch that follows is from where the image lies, mapped one to one.
    unsafe {
        asm!("msr vbar_el1, {0}", "msr sctlr_el1, {1}", "isb", "svc #0",
            in(reg) address, in(reg) SCTLR_OFF, options(noreturn))
    }
}

/// Loses its stack and takes an exception: the vector's second instruction stores to it, and comes to EL2 each time.
fn fault_stack() -> ! {
    const PAGE: u64 = 0x1000;
    // SAFETY: nothing of Rust's runs after this.
    unsafe { asm!("mov sp, {0}", "svc #0", in(reg) NOWHERE + PAGE, options(noreturn)) }
}

/// Takes an exception to a vector whose first instruction is UNDEFINED, which EL2 says: an SMC that is none.
fn fault_undefined() -> ! {
    // SAFETY: nothing of Rust's runs after this; the vectors are aligned as VBAR_EL1 wants them.
    unsafe {
        asm!(
            "adr x9, 2f",
            "msr vbar_el1, x9",
            "isb",
            "svc #0",
            ".balign 0x800",
            "2:",
            ".skip 0x200",
            "smc #1",
            "b .",
            options(noreturn)
        )
    }
}

/// Calls without end.
fn calls() -> ! {
    loop {
        let _ = hypervisor::partition_info();
    }
}

/// Asks for a heartbeat and never keeps it.
fn silent(machine: &Machine) -> ! {
    let time = machine.arguments.number("heartbeat").unwrap_or(100);
    let _ = hypervisor::heartbeat(time);
    spin()
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

static FIRED: AtomicU64 = AtomicU64::new(0);

/// On another CPU: notes whether its timer's interrupt comes, and leaves it active, with the timer on.
fn leave_active(_: u64) {
    let gic = &machine().gic;
    gic.init_cpu();
    gic.enable(TIMER_VIRTUAL_INTID);
    timer::set_virtual_deadline(timer::now());
    timer::set_virtual_control(timer::ENABLE);
    let intid = poll::take(gic).map(|interrupt| interrupt.intid());
    FIRED.fetch_add(u64::from(intid == Some(TIMER_VIRTUAL_INTID)), Relaxed);
}

/// Restarts itself until it has been started `starts` times; elsewhere than under Bulkhead, where
/// starts are not counted, until its counter shows three seconds. Each time the other CPUs must come up as after a
/// reset, whatever the last life has left of their interrupts.
fn reset(machine: &Machine, starts: u64) {
    machine.gic.init();
    let others = (1..machine.cpu_count()).filter(|index| smp::run(*index, leave_active, 0));
    let expected = machine.cpu_count() as u64 - 1;
    if others.count() as u64 != expected || FIRED.load(Relaxed) != expected {
        println!("role: another CPU is not as after a reset");
        return;
    }
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
