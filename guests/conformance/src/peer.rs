//! The other end of the suite's channels: does what the suite asks for, a request at a time.
//!
//! Channel 0 is two-way. The suite writes a request to its first words and rings; the peer answers behind them. Channel 1
//! the peer writes and the suite reads.

use bulkhead_rt::abi::psci as id;
use bulkhead_rt::call::Conduit;
use bulkhead_rt::channel::{Memory, Port};
use bulkhead_rt::{Machine, cpu, hypervisor, machine, mmio, println, psci, timer};

use crate::channel::aborts;

/// Words of channel 0 the suite writes: number of the request, what it is, its argument.
pub mod request {
    /// Number.
    pub const NUMBER: u64 = 0;
    /// What.
    pub const WHAT: u64 = 1;
    /// Argument.
    pub const ARGUMENT: u64 = 2;
}

/// Words of channel 0 the peer writes.
pub mod reply {
    /// Number of the request that is done.
    pub const NUMBER: u64 = 8;
    /// How often the peer has started, by its own account.
    pub const STARTS: u64 = 9;
}

/// What can be asked for.
pub mod what {
    /// Ring the suite's doorbell of channel 0 so many times by CHANNEL_NOTIFY.
    pub const NOTIFY: u64 = 1;
    /// The same by the doorbell's page.
    pub const RING: u64 = 2;
    /// Write the argument to the first word of channel 1.
    pub const WRITE: u64 = 3;
    /// SYSTEM_RESET.
    pub const RESET: u64 = 4;
    /// SYSTEM_OFF.
    pub const OFF: u64 = 5;
    /// Arm a heartbeat of so many milliseconds, and never call again.
    pub const FALL_SILENT: u64 = 6;
    /// SYSTEM_RESET2, architectural warm reset.
    pub const RESET2: u64 = 7;
    /// Ring by CHANNEL_NOTIFY, write a word to the argument, where nothing is, and say in the second word of channel 1
    /// whether that was an external abort.
    pub const STRAY: u64 = 8;
}

/// Serves the suite for good.
pub fn run(machine: &'static Machine) {
    let (Ok(talk), Ok(tell)) = (Port::open(0, Memory::Cached), Port::open(1, Memory::Cached))
    else {
        panic!("the peer needs two channels");
    };
    machine.gic.enable(talk.info().doorbell);
    machine.gic.enable(tell.info().doorbell);
    let [_, starts, _] = hypervisor::partition_info().unwrap_or_default();
    println!("peer: start {starts}");
    // A request a former life was busy with is done.
    let mut done = talk.read(request::NUMBER);
    talk.write(reply::NUMBER, done);
    talk.write(reply::STARTS, starts);
    loop {
        let number = talk.read(request::NUMBER);
        if number == done {
            wait();
            continue;
        }
        done = number;
        // A life that ends with the request has done it.
        let last = talk.read(request::WHAT);
        if matches!(
            last,
            what::RESET | what::RESET2 | what::OFF | what::FALL_SILENT
        ) {
            talk.write(reply::NUMBER, done);
        }
        serve(last, talk.read(request::ARGUMENT), &talk, &tell);
        cpu::data_barrier();
        talk.write(reply::NUMBER, done);
    }
}

fn wait() {
    cpu::wait_for_interrupt();
    while let Some(interrupt) = machine().gic.acknowledge() {
        machine().gic.end(interrupt);
    }
}

fn serve(asked: u64, argument: u64, talk: &Port, tell: &Port) {
    match asked {
        what::NOTIFY => {
            for _ in 0..argument {
                if let Err(code) = talk.notify() {
                    println!("peer: CHANNEL_NOTIFY answers {code}");
                }
            }
        }
        what::RING => (0..argument).for_each(|_| talk.ring()),
        what::WRITE => tell.write(0, argument),
        what::STRAY => {
            serve(what::NOTIFY, 1, talk, tell);
            tell.write(1, aborts(|| mmio::write32(argument, 1)).into());
        }
        what::RESET => psci::system_reset(),
        what::RESET2 => {
            Conduit::Hvc.call(id::SYSTEM_RESET2_64, &[0, 0]);
        }
        what::OFF => psci::system_off(),
        what::FALL_SILENT => {
            if let Err(code) = hypervisor::heartbeat(argument) {
                println!("peer: HEARTBEAT answers {code}");
            }
            timer::delay(10 * argument * 1000);
        }
        other => println!("peer: unknown request {other}"),
    }
}
