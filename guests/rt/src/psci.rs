//! PSCI (Arm DEN0022) by the conduit the tree names.

use crate::abi::psci as id;
use crate::call::{Conduit, code32};
use crate::machine;
use crate::start::{self, Woken};

/// The affinity fields of MPIDR_EL1: Aff3 in 39:32, Aff2-Aff0 in 23:0.
pub const AFFINITY_MASK: u64 = 0xff_00ff_ffff;

fn conduit() -> Conduit {
    machine::try_machine().map_or(Conduit::Hvc, |machine| machine.conduit)
}

fn call(function: u32, arguments: &[u64]) -> i32 {
    code32(conduit().call(function, arguments)[0])
}

/// Starts the CPU with affinity `target` at `entry` with `context` in x0.
///
/// # Errors
/// The code PSCI answers.
pub fn cpu_on(target: u64, entry: u64, context: u64) -> Result<(), i32> {
    match call(id::CPU_ON_64, &[target, entry, context]) {
        id::SUCCESS => Ok(()),
        code => Err(code),
    }
}

/// Switches the calling CPU off.
pub fn cpu_off() -> ! {
    call(id::CPU_OFF, &[]);
    halt()
}

/// Returns the code of AFFINITY_INFO at level 0: 0 on, 1 off, 2 on pending, negative an error.
pub fn affinity_info(target: u64) -> i32 {
    call(id::AFFINITY_INFO_64, &[target, 0])
}

/// Suspends the calling CPU until an interrupt is pending; `power_state` in the original format.
///
/// After [`Woken::Restarted`] the caller brings its GIC interface up again.
///
/// # Errors
/// The code PSCI answers.
pub fn cpu_suspend(power_state: u64) -> Result<Woken, i32> {
    start::suspend(id::CPU_SUSPEND_64, &[power_state])
}

/// Suspends the machine until an interrupt is pending; all other CPUs must be off.
///
/// # Errors
/// The code PSCI answers.
pub fn system_suspend() -> Result<Woken, i32> {
    start::suspend(id::SYSTEM_SUSPEND_64, &[])
}

/// Switches the machine off.
pub fn system_off() -> ! {
    call(id::SYSTEM_OFF, &[]);
    halt()
}

/// Restarts the machine.
pub fn system_reset() -> ! {
    call(id::SYSTEM_RESET, &[]);
    halt()
}

fn halt() -> ! {
    loop {
        crate::cpu::mask_interrupts();
        crate::cpu::wait_for_interrupt();
    }
}
