//! Work on other CPUs: each piece starts its CPU by PSCI and ends with CPU_OFF.

use crate::abi::psci::AFFINITY_OFF;
use crate::{cpu, machine, psci, timer};

/// Microseconds after which something that must happen counts as lost.
pub const PATIENCE: u64 = 5_000_000;

/// Waits until CPU `index` is off; returns whether it came to that.
pub fn wait_off(index: usize) -> bool {
    let Some(target) = machine().cpu(index) else {
        return false;
    };
    timer::wait_until(PATIENCE, || {
        u32::try_from(psci::affinity_info(target)) == Ok(AFFINITY_OFF)
    })
}

/// Waits until CPU `index` has begun more often than `before`.
///
/// QEMU's AFFINITY_INFO says OFF for a while after CPU_ON has succeeded, so that cannot tell.
pub fn wait_begun(index: usize, before: u64) -> bool {
    timer::wait_until(PATIENCE, || cpu::starts(index) > before)
}

/// Starts `function(argument)` on CPU `index`; returns whether it began.
pub fn start(index: usize, function: fn(u64), argument: u64) -> bool {
    let before = cpu::starts(index);
    wait_off(index)
        && cpu::start_secondary(index, function, argument).is_ok()
        && wait_begun(index, before)
}

/// Runs `function(argument)` on CPU `index` to its end; returns whether it got there.
pub fn run(index: usize, function: fn(u64), argument: u64) -> bool {
    start(index, function, argument) && wait_off(index)
}
