//! Crash records, made where a crash is found: on the vCPU's own core, before it parks.

use super::log;
use crate::arm::registers::{El1, Registers};
use crate::arm::syndrome::Class;
use crate::behaviour::crash::{self, Cause, EXITS, Fault, Record};
use crate::behaviour::exit::Exit;
use crate::behaviour::here::Here;
use crate::behaviour::partition::Partition;
use crate::edge::{guest, init, timer};
use crate::model::recorder::{Event, Recorder, What};
use crate::words::VcpuId;
use arrayvec::ArrayVec;

/// Events of a core looked at for a record's exits: some are turns in the partition's life.
const LOOKED_AT: u64 = 2 * EXITS as u64;

/// What `exit`, after which the partition cannot go on, means.
#[must_use]
pub fn of(exit: &Exit) -> (Cause, Fault) {
    let syndrome = exit.syndrome();
    let class = syndrome.class();
    let abort = matches!(class, Class::DataAbortLower | Class::InstructionAbortLower);
    let gives_ipa = abort && syndrome.data_abort().fault.gives_ipa();
    let fault = Fault::Stage2 {
        esr: exit.esr,
        far: exit.far,
        ipa: gives_ipa.then(|| exit.ipa()),
    };
    let cause = match class {
        Class::SError => Cause::SystemError,
        _ => Cause::ExceptionLoop,
    };
    (cause, fault)
}

/// Leaves a record of a crash of `here`, on its own core.
pub fn record(
    here: &Here<'_, '_>,
    recorder: &Recorder,
    registers: &Registers,
    cause: Cause,
    fault: Fault,
) {
    let partition = here.partition;
    let own = |event: &Event| {
        event.partition == partition.plan.id && event.vcpu == here.vcpu && event.what != What::Life
    };
    let record = Record {
        cause,
        vcpu: here.vcpu,
        at: timer::now(),
        starts: partition.life.starts(),
        fault,
        registers: *registers,
        el1: guest::el1(),
        exits: recorder.latest(LOOKED_AT).filter(own).take(EXITS).collect(),
    };
    if let Some(mut crashes) = partition.crashes() {
        crashes.add(record);
    }
}

/// Leaves a record of a core that failed at EL2, and with it its vCPU. Nothing is waited for: the core may hold any lock.
pub fn record_lost(partition: &Partition<'_>, vcpu: VcpuId) {
    if let Some(mut crashes) = partition.crashes.try_lock() {
        crashes.add(Record {
            cause: Cause::Hypervisor,
            vcpu,
            at: timer::now(),
            starts: partition.life.starts(),
            fault: Fault::None,
            registers: Registers::new(),
            el1: El1::default(),
            exits: ArrayVec::new(),
        });
    }
}

/// Record `index` of the partition, 0 the newest.
#[must_use]
pub fn newest(partition: &Partition<'_>, index: usize) -> Option<Record> {
    partition.crashes()?.get(index).cloned()
}

/// Says in the log what the partition crashed of, in a bounded number of lines.
pub fn report(partition: &Partition<'_>) {
    // Copied out: the log's lines take their time, and others may want the lock.
    let record = newest(partition, 0);
    if let Some(record) = record {
        let name = partition.plan.name;
        crash::lines(&record, partition, init::counter_frequency(), &mut |line| {
            log::info!("partition {name}: {line}");
        });
    }
}
