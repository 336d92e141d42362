//! A partition's UART: the virtual PL011 between the guest, its interrupt, and the console.

use super::here::Here;
use super::machine::Machine;
use crate::model::console::{Console, Speaker};
use crate::model::pl011::Pl011;
use crate::words::PartitionId;
use bulkhead_abi::layout::UART_INTID;

/// The virtual UART of a partition.
pub type Uart = Pl011;

/// Free bytes of the output ring at which the UART has room: a FIFO full.
const ROOM: u32 = 32;
/// PL011 data register.
const DR: u64 = 0;
/// The INTID of the virtual UART, as the virtual GIC takes it.
const INTID: u16 = (UART_INTID & 0x3ff) as u16;

/// What became of a store to the UART.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// It is done.
    Done,
    /// The output ring is full: the store is to be tried again, and nothing is lost.
    Full,
}

fn id(here: &Here<'_, '_>) -> PartitionId {
    here.partition.plan.id
}

/// Reads the UART's register at `offset`.
pub fn read(
    here: &Here<'_, '_>,
    console: &Console,
    machine: &mut impl Machine,
    offset: u64,
) -> u32 {
    let ring = console.ring(Speaker::partition(id(here)));
    let mut uart = here.partition.uart();
    let value = uart.read(offset, ring.space() >= ROOM);
    if offset & !3 == DR {
        feed(&mut uart, console, id(here));
    }
    settle(here, &uart, machine);
    drop(uart);
    ask_for_more(here, console, machine);
    value
}

/// Writes the UART's register at `offset`. A byte the guest sends goes into the partition's output ring.
pub fn write(
    here: &Here<'_, '_>,
    console: &Console,
    machine: &mut impl Machine,
    offset: u64,
    value: u32,
) -> Stored {
    let ring = console.ring(Speaker::partition(id(here)));
    let mut uart = here.partition.uart();
    if offset & !3 == DR && ring.space() == 0 {
        drop(uart);
        machine.console_written();
        return Stored::Full;
    }
    if let Some(byte) = uart.write(offset, value, ring.space() > ROOM) {
        ring.push(byte);
        machine.console_written();
    }
    feed(&mut uart, console, id(here));
    settle(here, &uart, machine);
    drop(uart);
    ask_for_more(here, console, machine);
    Stored::Done
}

/// Puts `bytes` into the partition's output as far as there is room; gives how many.
pub fn print(here: &Here<'_, '_>, console: &Console, bytes: &[u8]) -> u64 {
    let ring = console.ring(Speaker::partition(id(here)));
    let _producer = here.partition.uart();
    ring.push_all(bytes) as u64
}

/// Takes the next typed byte for the partition, whether or not it has reached the UART's FIFO. Follow it with
/// [`refresh`].
pub fn take_typed(here: &Here<'_, '_>, console: &Console) -> Option<u8> {
    let mut uart = here.partition.uart();
    uart.take_received()
        .or_else(|| console.input(id(here))?.pop())
}

/// Brings what was typed to the guest, and tells it of room for output. For the partition's own cores.
pub fn refresh(here: &Here<'_, '_>, console: &Console, machine: &mut impl Machine) {
    let ring = console.ring(Speaker::partition(id(here)));
    let mut uart = here.partition.uart();
    if uart.awaits_drain() && ring.space() >= ROOM {
        uart.drained();
    }
    feed(&mut uart, console, id(here));
    settle(here, &uart, machine);
    drop(uart);
    ask_for_more(here, console, machine);
}

/// Fetches what the board's UART holds back, once the partition has room for it.
fn ask_for_more(here: &Here<'_, '_>, console: &Console, machine: &mut impl Machine) {
    if console.wants_input(id(here)) {
        machine.take_input();
    }
}

/// Moves typed bytes into the receive FIFO as far as there is room.
fn feed(uart: &mut Pl011, console: &Console, partition: PartitionId) {
    let Some(input) = console.input(partition) else {
        return;
    };
    while uart.room() > 0 {
        let Some(byte) = input.pop() else { return };
        uart.receive(byte);
    }
}

/// Brings the interrupt line up to date.
fn settle(here: &Here<'_, '_>, uart: &Pl011, machine: &mut impl Machine) {
    let level = uart.irq();
    here.with(machine, |vgic, effects| {
        vgic.set_level(INTID, level, effects)
    });
}
