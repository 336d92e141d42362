//! Crash records: what a partition was doing when it stopped by a fault, kept over its restarts.
//!
//! Invariant: a record is complete before the partition's stop is: the core that decided on the stop writes it before it
//! parks. A record holds registers of a former life, so it is shown to the monitor and to partitions with `observe` alone.

mod words;

pub use words::{Place, Sentence, lines, name_of, place};

use crate::arm::registers::{El1, Registers};
use crate::model::recorder::Event;
use crate::words::{Ipa, VcpuId};
use arrayvec::ArrayVec;
use bulkhead_abi::bulkhead::crash_cause;

/// Records a partition keeps.
pub const KEPT: usize = 4;
/// Exits a record has.
pub const EXITS: usize = 8;

/// Why a partition crashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// An exception vector of its EL1 faults on itself.
    ExceptionLoop,
    /// It missed its heartbeat.
    Heartbeat,
    /// An SError: a RAM error, or an access that failed late.
    SystemError,
    /// A payload does not match its SHA-256, or cannot be placed.
    Load,
    /// The hypervisor failed on one of its cores.
    Hypervisor,
}

impl Cause {
    /// The number guests see.
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Self::ExceptionLoop => crash_cause::EXCEPTION_LOOP,
            Self::Heartbeat => crash_cause::HEARTBEAT,
            Self::SystemError => crash_cause::SYSTEM_ERROR,
            Self::Load => crash_cause::LOAD,
            Self::Hypervisor => crash_cause::HYPERVISOR,
        }
    }
}

/// What is known of the fault itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No exception: a heartbeat, a payload.
    None,
    /// One that came to EL2.
    Stage2 {
        /// ESR_EL2.
        esr: u64,
        /// FAR_EL2.
        far: u64,
        /// The address, where HPFAR_EL2 has it.
        ipa: Option<Ipa>,
    },
    /// One that stayed at the guest's own EL1, of which [`El1`] tells.
    Stage1,
}

/// A crash.
#[derive(Clone, Debug)]
pub struct Record {
    /// Why.
    pub cause: Cause,
    /// The vCPU it was found on.
    pub vcpu: VcpuId,
    /// When, in milliseconds of the board's counter.
    pub at: u64,
    /// How often the partition had been started.
    pub starts: u64,
    /// What is known of the fault.
    pub fault: Fault,
    /// The vCPU's registers.
    pub registers: Registers,
    /// Its EL1.
    pub el1: El1,
    /// The last things its core left the guest for, newest first.
    pub exits: ArrayVec<Event, EXITS>,
}

impl Record {
    /// ESR, FAR and IPA of the fault; zero, zero and none if there is none.
    #[must_use]
    pub const fn syndrome(&self) -> (u64, u64, Option<Ipa>) {
        match self.fault {
            Fault::None => (0, 0, None),
            Fault::Stage2 { esr, far, ipa } => (esr, far, ipa),
            Fault::Stage1 => (self.el1.esr, self.el1.far, None),
        }
    }

    /// The PC of the fault: for a loop at EL1, of the instruction that faults, whose exception has been taken.
    #[must_use]
    pub const fn pc(&self) -> u64 {
        match self.cause {
            Cause::ExceptionLoop => self.el1.elr,
            Cause::Heartbeat | Cause::SystemError | Cause::Load | Cause::Hypervisor => {
                self.registers.pc
            }
        }
    }
}

/// The last [`KEPT`] crashes of a partition.
#[derive(Debug, Default)]
pub struct Crashes {
    /// Oldest first.
    records: ArrayVec<Record, KEPT>,
    /// How many there ever were.
    count: u64,
}

impl Crashes {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            records: ArrayVec::new_const(),
            count: 0,
        }
    }

    /// Adds a record; the oldest goes if there is no room.
    pub fn add(&mut self, record: Record) {
        if self.records.is_full() {
            self.records.remove(0);
        }
        self.records.push(record);
        self.count = self.count.saturating_add(1);
    }

    /// Record `index`, 0 the newest.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Record> {
        self.records.iter().rev().nth(index)
    }

    /// How many crashes there ever were.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests;
