//! The CPU: its number, interrupt masks, waiting, system registers, and the other CPUs.

use core::arch::asm;

use crate::start;
use crate::{EntryState, machine, psci};

/// CPUs a guest can use.
pub const MAX_CPUS: usize = 8;

/// Reads a system register by its name, or by its encoding as `S3_0_C1_C0_1`.
#[macro_export]
macro_rules! read_sysreg {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a system register changes no memory the compiler knows of.
        unsafe { ::core::arch::asm!(concat!("mrs {0}, ", $name), out(reg) value) };
        value
    }};
}

/// Writes a system register by its name, and synchronizes.
///
/// For registers that change neither the memory map nor the vectors; the others have functions.
#[macro_export]
macro_rules! write_sysreg {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the caller names a register that leaves memory, stack and vectors as they are.
        unsafe { ::core::arch::asm!(concat!("msr ", $name, ", {0}"), "isb", in(reg) value) };
    }};
}

/// DAIF's interrupt mask bit, I (Arm ARM C5.2.2).
const DAIF_I: u64 = 1 << 7;

pub(crate) fn set_index(index: usize) {
    write_sysreg!("tpidr_el1", index as u64);
}

/// Returns this CPU's number: 0 for the boot CPU, else as in [`start_secondary`].
pub fn index() -> usize {
    usize::try_from(read_sysreg!("tpidr_el1")).unwrap_or(0)
}

/// Takes IRQs from now on.
pub fn unmask_interrupts() {
    // SAFETY: handlers save and restore all they use.
    unsafe { asm!("msr daifclr, #2") };
}

/// Takes no IRQs from now on.
pub fn mask_interrupts() {
    // SAFETY: masking changes no memory.
    unsafe { asm!("msr daifset, #2") };
}

/// Runs `function` with IRQs masked and puts the mask back as it was.
pub fn without_interrupts<R>(function: impl FnOnce() -> R) -> R {
    let masked = read_sysreg!("daif") & DAIF_I != 0;
    mask_interrupts();
    let result = function();
    if !masked {
        unmask_interrupts();
    }
    result
}

/// Waits for an interrupt, masked or not; may return early.
pub fn wait_for_interrupt() {
    // SAFETY: waiting changes no memory.
    unsafe { asm!("dsb sy", "wfi") };
}

/// Waits for an event; may return at once.
pub fn wait_for_event() {
    // SAFETY: waiting changes no memory.
    unsafe { asm!("wfe") };
}

/// Sends an event to all CPUs.
pub fn send_event() {
    // SAFETY: an event changes no memory.
    unsafe { asm!("dsb ish", "sev") };
}

/// Returns MPIDR_EL1's affinity fields.
pub fn affinity() -> u64 {
    read_sysreg!("mpidr_el1") & psci::AFFINITY_MASK
}

/// Starts CPU `index` of the tree by PSCI; it runs `function(argument)`, then switches itself off.
///
/// # Errors
/// The code of CPU_ON; NOT_PRESENT if the tree has no such CPU.
pub fn start_secondary(index: usize, function: fn(u64), argument: u64) -> Result<(), i32> {
    let target = machine().cpu(index).ok_or(crate::abi::psci::NOT_PRESENT)?;
    let context = prepare(index, function, argument);
    psci::cpu_on(target, secondary_entry(), context)
}

/// Returns the address at which CPU_ON must enter a CPU that [`prepare`] was called for.
pub fn secondary_entry() -> u64 {
    start::secondary_address()
}

/// Prepares the start of CPU `index` and returns the context CPU_ON must pass. The CPU must be off.
pub fn prepare(index: usize, function: fn(u64), argument: u64) -> u64 {
    start::prepare(index, function, argument)
}

/// Returns how often CPU `index`, not the boot CPU, has begun to run what it was started for.
pub fn starts(index: usize) -> u64 {
    start::starts(index)
}

/// Returns the state in which CPU `index` was entered: as the hypervisor or the machine left it.
pub fn entry_state(index: usize) -> EntryState {
    match index {
        0 => start::boot_entry(),
        other => start::secondary_entry_state(other),
    }
}

/// Completes all memory accesses before what follows.
pub fn data_barrier() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy") };
}
