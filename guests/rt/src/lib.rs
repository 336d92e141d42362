//! The guest runtime: all that an EL1 kernel needs before it can do its own work.
//!
//! A guest is an arm64 Image that runs on any machine with a device tree: under Bulkhead, and on
//! bare QEMU virt. The runtime relocates it, gives each CPU a stack, switches the MMU on with an
//! identity map, installs the vectors, reads the tree into a [`Machine`], and calls the function
//! named by [`entry!`]. When that returns, the machine is switched off by PSCI.
//!
//! Invariant: everything that touches registers or memory by address is in this crate; a guest's
//! own code needs no `unsafe` to take interrupts, use timers, print, start CPUs or make hypercalls.
#![cfg_attr(not(test), no_std)]

pub mod arguments;

#[cfg(target_os = "none")]
pub mod call;
#[cfg(target_os = "none")]
pub mod channel;
#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
pub mod gic;
#[cfg(target_os = "none")]
pub mod gicv2;
#[cfg(target_os = "none")]
pub mod gicv3;
#[cfg(target_os = "none")]
pub mod hypervisor;
#[cfg(target_os = "none")]
pub mod machine;
#[cfg(target_os = "none")]
pub mod mmio;
#[cfg(target_os = "none")]
pub mod mmu;
#[cfg(target_os = "none")]
pub mod psci;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
pub mod test;
#[cfg(target_os = "none")]
pub mod timer;
#[cfg(target_os = "none")]
pub mod vectors;

#[cfg(target_os = "none")]
pub use machine::{Machine, machine};
#[cfg(target_os = "none")]
pub use start::{EntryState, Woken, image};

pub use bulkhead_abi as abi;

/// Names the guest's main function, of type `fn(&'static Machine)`.
///
/// When it returns, the runtime calls PSCI `SYSTEM_OFF`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn bulkhead_guest_main(machine: &'static $crate::Machine) {
            let main: fn(&'static $crate::Machine) = $main;
            main(machine);
        }
    };
}
