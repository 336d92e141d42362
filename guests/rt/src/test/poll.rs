//! Interrupts taken by polling the CPU interface, with IRQs masked in PSTATE.

use crate::abi::layout::TIMER_VIRTUAL_INTID;
use crate::gic::{Gic, Interrupt, distributor};
use crate::{read_sysreg, timer};

/// ISR_EL1.I: an IRQ is pending for the CPU.
const ISR_I: u64 = 1 << 7;

/// Microseconds within which an interrupt that is coming has come, on a host however busy.
pub const SOON: u64 = 10_000_000;
/// Microseconds within which one that must not come would have come.
pub const QUIET: u64 = 2_000;

/// Tells whether an IRQ is signalled to this CPU.
pub fn signalled() -> bool {
    read_sysreg!("isr_el1") & ISR_I != 0
}

/// Waits for an IRQ to be signalled.
pub fn wait_signalled() -> bool {
    timer::wait_until(SOON, signalled)
}

/// Checks for a while that no IRQ is signalled.
pub fn stays_quiet() -> bool {
    !timer::wait_until(QUIET, signalled)
}

/// Waits for an interrupt and acknowledges it.
pub fn take(gic: &Gic) -> Option<Interrupt> {
    wait_signalled();
    gic.acknowledge()
}

/// Waits for an interrupt, acknowledges and ends it, and returns its INTID.
pub fn serve(gic: &Gic) -> Option<u32> {
    let interrupt = take(gic)?;
    gic.end(interrupt);
    Some(interrupt.intid())
}

/// Makes this CPU's interrupts and the UART's forget everything: disabled, not pending, not
/// active, in the middle of the priorities; the interface open for all.
pub fn reset(gic: &Gic) {
    gic.init_cpu();
    while let Some(interrupt) = gic.acknowledge() {
        gic.end(interrupt);
    }
    for word in [0, 32] {
        let frame = gic.frame(word) + u64::from(word / 8);
        // The UART's is the only shared interrupt a partition surely owns.
        let bits = if word == 0 { u32::MAX } else { 0b10 };
        for group in [
            distributor::ICENABLER,
            distributor::ICPENDR,
            distributor::ICACTIVER,
        ] {
            crate::mmio::write32(frame + group, bits);
        }
    }
    clear_sgis(gic);
    for intid in 0..16 {
        gic.set_priority(intid, 0xa0);
    }
}

/// Clears pending SGIs of all sources: GICv2 has registers of its own for that.
fn clear_sgis(gic: &Gic) {
    if let Gic::V2 {
        distributor: base, ..
    } = *gic
    {
        for word in 0..4 {
            crate::mmio::write32(base + distributor::CPENDSGIR + word * 4, u32::MAX);
        }
    }
}

/// Sets the virtual timer to fire in `microseconds`, its interrupt enabled but masked in PSTATE; returns when, in
/// ticks.
pub fn arm_timer(gic: &Gic, microseconds: u64) -> u64 {
    gic.init_cpu();
    gic.enable(TIMER_VIRTUAL_INTID);
    let deadline = timer::now() + timer::ticks(microseconds);
    timer::set_virtual_deadline(deadline);
    timer::set_virtual_control(timer::ENABLE);
    deadline
}

/// Stops the virtual timer and forgets its interrupt.
pub fn disarm_timer(gic: &Gic) {
    timer::set_virtual_control(0);
    gic.disable(TIMER_VIRTUAL_INTID);
    reset(gic);
}
