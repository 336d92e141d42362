//! A sensor: takes a measurement 100 times a second and publishes it in its first channel, ringing the doorbell.
//!
//! Boot arguments: `rate=HZ` (default 100), `samples=N` to stop after N.
#![no_std]
#![no_main]

use bulkhead_rt::abi::layout::TIMER_VIRTUAL_INTID;
use bulkhead_rt::channel::{Memory, Port, Sample};
use bulkhead_rt::{Machine, cpu, entry, println, timer};

/// Samples a second.
const RATE: u64 = 100;

entry!(main);

fn main(machine: &'static Machine) {
    let rate = machine.arguments.number("rate").unwrap_or(RATE).max(1);
    let limit = machine.arguments.number("samples").unwrap_or(u64::MAX);
    let port = match Port::open(0, Memory::Cached) {
        Ok(port) if port.info().writable => port,
        Ok(_) => panic!("the first channel is not this end's to write"),
        Err(code) => panic!("no channel to publish in (code {code})"),
    };
    println!(
        "sensor: {rate} Hz into a channel of {} bytes",
        port.info().size
    );
    machine.gic.init();
    machine.gic.enable(TIMER_VIRTUAL_INTID);

    let period = timer::frequency() / rate;
    let mut deadline = timer::now() + period;
    timer::set_virtual_control(timer::ENABLE);
    for number in 1..=u32::try_from(limit).unwrap_or(u32::MAX) {
        timer::set_virtual_deadline(deadline);
        // Interrupts stay masked: a pending one ends the wait, and the timer's new deadline takes it back.
        while timer::now() < deadline {
            cpu::wait_for_interrupt();
        }
        deadline += period;
        let sample = Sample {
            time: timer::physical_now(),
            value: wave(number),
        };
        sample.publish(&port, number);
        if let Err(code) = port.notify() {
            println!("sensor: CHANNEL_NOTIFY answers {code}");
        }
    }
    println!("sensor: done");
}

/// What is measured: a triangle from 0 to 1000 and back.
fn wave(number: u32) -> u64 {
    const TOP: u32 = 1000;
    let phase = number % (2 * TOP);
    u64::from(phase.min(2 * TOP - phase))
}
