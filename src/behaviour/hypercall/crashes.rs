//! CRASH_RECORD (hypercalls.md, section 3).
//!
//! A record holds registers of a life that is over, so that even the partition itself needs `observe` to read it.

use super::Call;
use super::bulkhead::{CallError, Values};
use super::managing::named;
use crate::behaviour::crash::Record;
use crate::behaviour::here::Here;
use crate::behaviour::machine::Machine;
use crate::model::recorder::{Event, What};
use crate::words::Ipa;
use bulkhead_abi::bulkhead::crash_item;

/// Registers an item has.
const AN_ITEM: usize = 3;
/// Items that X0 to X30 fill.
const REGISTER_ITEMS: u64 = 11;
/// Where the vCPU and the number of exits are in the first item.
const VCPU: u32 = 16;
const EXITS: u32 = 32;
/// Where the detail of an exit is.
const DETAIL: u32 = 8;
/// Milliseconds in a second.
const MILLISECONDS: u64 = 1000;

/// `CRASH_RECORD(id, index, item)`: X1 to X3 of an item of the partition's crash record, index 0 the newest.
///
/// # Errors
/// `Denied` unless the caller observes and there is such a partition; `NoData` past its oldest record, or the last exit of
/// one; `InvalidParameter` for no item.
pub(super) fn record(here: &Here<'_, '_>, machine: &impl Machine, call: &Call) -> Values {
    let partition = named(here, call)
        .filter(|_| here.partition.plan.observe)
        .ok_or(CallError::Denied)?;
    let index = usize::try_from(call.argument(2)).map_err(|_| CallError::NoData)?;
    let crashes = partition.crashes().ok_or(CallError::NoData)?;
    let record = crashes.get(index).ok_or(CallError::NoData)?;
    item(record, call.argument(3), machine.counter_frequency())
}

/// An item of a record. `frequency` is that of the counter, in Hz.
fn item(record: &Record, item: u64, frequency: u64) -> Values {
    let (esr, far, ipa) = record.syndrome();
    let el1 = &record.el1;
    Ok(match item {
        crash_item::WHEN => {
            let exits = record.exits.len() as u64;
            let vcpu = u64::from(record.vcpu.get());
            let first = record.cause.code() | vcpu << VCPU | exits << EXITS;
            [first, record.starts, record.at]
        }
        crash_item::FAULT => [record.pc(), record.registers.pstate, esr],
        crash_item::ADDRESS => [far, ipa.map_or(u64::MAX, Ipa::get), el1.vbar],
        crash_item::EL1 => [el1.esr, el1.far, el1.elr],
        crash_item::STACK => [el1.sp_el0, el1.sp_el1, el1.spsr],
        crash_item::REGISTERS.. if item - crash_item::REGISTERS < REGISTER_ITEMS => {
            let first = usize::try_from(item - crash_item::REGISTERS).unwrap_or(0) * AN_ITEM;
            let value = |index| record.registers.x.get(first + index).copied();
            [0, 1, 2].map(|index| value(index).unwrap_or(0))
        }
        crash_item::EXITS.. => {
            let index = usize::try_from(item - crash_item::EXITS);
            let index = index.map_err(|_| CallError::InvalidParameter)?;
            exit(record.exits.get(index).ok_or(CallError::NoData)?, frequency)
        }
        _ => return Err(CallError::InvalidParameter),
    })
}

fn exit(event: &Event, frequency: u64) -> [u64; 3] {
    let kind: u64 = match event.what {
        What::Exit | What::Life => 0,
        What::Interrupt => 1,
        What::SystemError => 2,
    };
    let at = event.at / (frequency / MILLISECONDS).max(1);
    [at, kind | event.detail << DETAIL, event.pc]
}
