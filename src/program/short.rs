//! The short path: exits that are done before the rest of the registers is saved.
//!
//! Each function answers 0 when the guest goes on, anything else when the core's loop has to look.

use super::state;
use crate::edge::context::{ACKNOWLEDGED, Context};
use crate::edge::gic::{HostGic, SPECIAL};

/// The guest goes on.
const DONE: u64 = 0;
/// The loop has to look.
const LEAVE: u64 = 1;
/// The first INTID that is not an SGI.
const FIRST_PPI: u32 = 16;
/// INTID field of IAR: GICv3 has 24 bits, GICv2 10 and a source above them.
const GICV2_INTID: u32 = 0x3ff;

/// A synchronous exit: nothing is short yet.
pub extern "C" fn synchronous(context: &mut Context) -> u64 {
    context.hot.exits += 1;
    LEAVE
}

/// A physical interrupt: acknowledged, its priority dropped, and given to the guest through a list register if the
/// model need not be asked.
pub extern "C" fn interrupt(context: &mut Context) -> u64 {
    context.hot.exits += 1;
    let Some(host) = state::HOST.get() else { return LEAVE };
    let iar = host.gic.acknowledge();
    let intid = match host.gic {
        HostGic::V2(_) => iar & GICV2_INTID,
        HostGic::V3(_) => iar,
    };
    if intid >= SPECIAL {
        return LEAVE;
    }
    host.gic.drop_priority(iar);
    // Physical SGIs are EL2's own: a guest's never reach the physical controller.
    if intid >= FIRST_PPI && inject(context, &host.gic, intid) {
        context.hot.injected += 1;
        return DONE;
    }
    context.acknowledged = ACKNOWLEDGED | u64::from(iar);
    LEAVE
}

/// Puts `intid` into a free list register, if that is all there is to do.
#[inline(always)]
fn inject(context: &Context, gic: &HostGic, intid: u32) -> bool {
    let Some(direct) = context.hot.direct else { return false };
    if context.hot.overflow {
        return false;
    }
    let Ok(narrow) = u16::try_from(intid) else { return false };
    let value = direct.direct(context.hot.vcpu, narrow);
    let free = gic.empty_list_registers().trailing_zeros() as usize;
    if value == 0 || free >= gic.list_registers() {
        return false;
    }
    gic.write_list_register(free, value);
    true
}
