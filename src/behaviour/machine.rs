//! What behaviour asks of the core it runs on. The edge implements it; host tests fake it.

use crate::model::vgic::{Effect, Filled};
use crate::words::{CpuId, Ipa, Pa, Va};
use arrayvec::ArrayVec;

/// The list registers in use on the calling core, and how many EOIs found none.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Values in the hardware's format.
    pub list_registers: ArrayVec<u64, 16>,
    /// EOIcount of the hypervisor control register.
    pub eoi_count: u32,
}

/// An exception to be taken by the guest at EL1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exception {
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1, where the exception reports an address.
    pub far: Option<u64>,
}

/// The calling core, as far as its guest is concerned.
pub trait Machine {
    /// Reads the list registers in use and empties them.
    fn take_list_registers(&mut self) -> Taken;
    /// Whether any list register is in use.
    fn list_registers_used(&self) -> bool;
    /// Loads list registers, all of which are empty.
    fn put_list_registers(&mut self, filled: &Filled);
    /// Does work on the physical interrupt controller; `cpus` are the physical CPUs of the vCPUs.
    fn apply(&mut self, effect: &Effect, cpus: &[CpuId]);
    /// Interrupts another core.
    fn kick(&mut self, cpu: CpuId);
    /// Translates a guest's virtual address as the guest itself would read it at its present exception level.
    fn translate(&self, address: Va) -> Option<Ipa>;
    /// Reads an aligned word of guest RAM.
    fn read_guest(&self, address: Pa) -> Option<u32>;
    /// The hypervisor's time in counter ticks.
    fn now(&self) -> u64;
    /// Counter ticks in a second.
    fn frequency(&self) -> u64;
    /// An ID register of the core: op0 3, op1 0, CRn 0, `crm`, `op2`.
    fn id_register(&self, crm: u8, op2: u8) -> u64;
}
