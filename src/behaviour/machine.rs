//! What behaviour asks of the core it runs on. The edge implements it; host tests fake it.

use crate::arm::id::{IdRegister, Rights};
use crate::arm::list_register::ListRegister;
use crate::arm::registers::Registers;
use crate::model::vgic::{Effect, Filled, MAX_LIST_REGISTERS};
use crate::words::{CpuId, Ipa, Pa, Va};
use arrayvec::ArrayVec;

/// The list registers in use on the calling core, and how many EOIs found none.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Those that were not empty.
    pub list_registers: ArrayVec<ListRegister, MAX_LIST_REGISTERS>,
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

/// How the board as a whole ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BoardEnd {
    /// Switched off, or halted where it cannot switch itself off.
    Off,
    /// Started again from its firmware.
    Reset,
}

/// A flaw of some cores that firmware may work around (DEN0028 7.5 to 7.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workaround {
    /// SMCCC_ARCH_WORKAROUND_1: branch targets (CVE-2017-5715).
    BranchTargets,
    /// SMCCC_ARCH_WORKAROUND_2: loads before stores (CVE-2018-3639).
    StoreBypass,
    /// SMCCC_ARCH_WORKAROUND_3: branch history (CVE-2022-23960).
    BranchHistory,
}

/// The calling core, as far as its guest is concerned.
pub trait Machine {
    /// Reads the list registers in use into `taken`, which is empty, and empties them.
    fn take_list_registers(&mut self, taken: &mut Taken);
    /// Whether any list register is in use.
    fn list_registers_used(&self) -> bool;
    /// Whether the last load of list registers left interrupts out.
    fn list_registers_overflow(&self) -> bool;
    /// Loads one list register with a value of the direct table's; all are empty.
    fn list_one(&mut self, value: u64);
    /// Loads list registers, all of which are empty.
    fn put_list_registers(&mut self, filled: &Filled);
    /// Whether the guest deactivates interrupts separately (its EOImode).
    fn split_eoi(&self) -> bool;
    /// Does work on the physical interrupt controller; `cpus` are the physical CPUs of the vCPUs.
    fn apply(&mut self, effect: &Effect, cpus: &[CpuId]);
    /// Reads a word of the physical controller's pending bits; word 0 of `cpu`'s.
    fn physical_pending(&self, word: u8, cpu: CpuId) -> u32;
    /// Interrupts another core.
    fn kick(&mut self, cpu: CpuId);
    /// Interrupts another core for nothing but what was posted to its vCPU.
    fn kick_posted(&mut self, cpu: CpuId);
    /// Interrupts another core for nothing but that doorbells of its partition were rung.
    fn kick_rung(&mut self, cpu: CpuId);
    /// Interrupts another core for nothing but that its vCPU was switched on.
    fn kick_on(&mut self, cpu: CpuId);
    /// Where the guest's last exception at EL1 would return to (ELR_EL1).
    fn exception_link(&self) -> u64;
    /// Makes the guest take an exception at EL1.
    fn inject(&mut self, registers: &mut Registers, exception: Exception);
    /// Translates a guest's virtual address as the guest itself would read it at the exception level it is at.
    fn translate(&self, registers: &Registers, address: Va) -> Option<Ipa>;
    /// Reads an aligned word of the partition's RAM.
    fn read_guest(&self, address: Pa) -> Option<u32>;
    /// The stack pointer the guest uses now.
    fn stack_pointer(&self, registers: &Registers) -> u64;
    /// Sets the stack pointer the guest uses now.
    fn set_stack_pointer(&mut self, registers: &Registers, value: u64);
    /// What the partition may use of the CPU.
    fn rights(&self) -> Rights;
    /// Does for the guest what cache maintenance by set and way, with this argument, is for, or a part of that: then it
    /// answers `false`, and the instruction is to be tried again.
    fn maintain_set_way(&mut self, argument: u64) -> bool;
    /// Whether the guest's loads and stores are big-endian where it is now (SCTLR_EL1.EE, E0E).
    fn is_big_endian(&self, registers: &Registers) -> bool;
    /// What the partition is shown of an ID register of the core.
    fn id_register(&self, register: IdRegister) -> u64;
    /// Takes typed bytes out of the board's UART, which held them back until the partition had room.
    fn take_input(&mut self);
    /// What the firmware below says of a workaround on this core: 0 it is to be called, 1 not here, -2 nowhere; -1 if it does
    /// not know it, or there is no firmware that could.
    fn firmware_says(&self, workaround: Workaround) -> i64;
    /// Has the firmware below work around a flaw, or no longer where `on` is false (store bypass alone). Only where it said 0.
    fn work_around(&mut self, workaround: Workaround, on: bool);
    /// Whether the core has a source of true random numbers.
    fn has_entropy(&self) -> bool;
    /// A word of true random bits; `None` if the source has none now.
    fn entropy(&mut self) -> Option<u64>;
    /// The physical counter.
    fn counter(&self) -> u64;
    /// Ticks of the physical counter in a second.
    fn counter_frequency(&self) -> u64;
    /// Lets EL2's timer of this core fire when the physical counter reaches `deadline`, or never.
    fn set_timer(&mut self, deadline: Option<u64>);
    /// Moves the partition's output on to the board's console, as far as that is possible now.
    fn console_written(&mut self);
    /// Ends the board for a manager. Comes back only where there is no way to.
    fn end_board(&mut self, end: BoardEnd);
}
