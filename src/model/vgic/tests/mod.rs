//! Properties of the virtual GIC: registers and list registers. The whole against an independent reference is in
//! `crate::properties`.
#![allow(
    clippy::cast_possible_truncation,
    reason = "numbers in tests are small"
)]

#[cfg(test)]
mod at_once;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod interrupts;
pub mod late;
pub mod pair;
mod reference;
#[cfg(test)]
mod registers_v2;
#[cfg(test)]
mod registers_v3;
mod system;

use super::*;

/// A virtual GIC with its table, for tests of single calls.
pub struct Bench {
    pub gic: Box<Vgic>,
    pub table: Box<DirectTable>,
}

/// What the test partition owns: a level timer PPI, two virtual SPIs of each kind, two physical SPIs.
pub const TIMER: u16 = 27;
pub const LINE: u16 = 33;
pub const DOORBELL: u16 = 258;
pub const DOORBELL_2: u16 = 294;
pub const DEVICE: u16 = 40;
pub const DEVICE_EDGE: u16 = 41;

pub fn config(version: GicVersion, vcpus: u8, list_registers: u8) -> Config {
    Config {
        version,
        vcpus,
        list_registers,
        priority_bits: 5,
        deactivation: Deactivation::Hardware,
    }
}

pub fn vcpu(index: u8) -> VcpuId {
    VcpuId::new(index)
}

impl Bench {
    pub fn new(config: &Config) -> Self {
        let mut gic = Box::new(Vgic::new(config));
        let table = Box::new(DirectTable::new());
        gic.own(TIMER, Source::Physical { edge: false });
        gic.own(LINE, Source::Level);
        gic.own(DOORBELL, Source::Edge);
        gic.own(DOORBELL_2, Source::Edge);
        gic.own(DEVICE, Source::Physical { edge: false });
        gic.own(DEVICE_EDGE, Source::Physical { edge: true });
        gic.reset(&mut Effects::new(&table));
        Self { gic, table }
    }

    /// Calls the model and gives its effects.
    pub fn call(&mut self, call: impl FnOnce(&mut Vgic, &mut Effects<'_>)) -> Effects<'_> {
        let mut effects = Effects::new(&self.table);
        call(&mut self.gic, &mut effects);
        effects
    }

    pub fn write(&mut self, by: u8, offset: u32, value: u32) -> Effects<'_> {
        self.call(|gic, effects| gic.distributor_write(vcpu(by), offset, 4, value.into(), effects))
    }

    pub fn read(&mut self, by: u8, offset: u32) -> u32 {
        self.gic.distributor_read(vcpu(by), offset, 4) as u32
    }

    pub fn fold(&mut self, of: u8, lrs: &[ListRegister]) -> Effects<'_> {
        self.call(|gic, effects| gic.fold(vcpu(of), lrs, 0, effects))
    }

    pub fn fill(&mut self, of: u8) -> Filled {
        self.gic.fill(vcpu(of), &mut Effects::new(&self.table))
    }
}

use crate::arm::list_register::{ListRegister, State};
