//! What leaves the model: work for the physical GIC, and cores to call.

use super::DirectTable;
use crate::words::VcpuId;
use arrayvec::ArrayVec;

/// Most effects one call has: a reset, with two for each of 31 shared words and one for each of 8 private ones, and room.
///
/// Register writes have at most 8, an end of interrupts at most 63.
pub const MAX_EFFECTS: usize = 80;

/// Work on the physical GIC, for physical interrupts the partition owns. Do them in the order given.
///
/// `word` is the register's index (INTIDs `32 * word` and up) and `mask` its bits, ready for GICD_ISENABLER<word> and the
/// like; with word 0 they are the private interrupts of `vcpu`'s core, and `vcpu` means nothing otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Enable them (ISENABLER).
    Enable {
        /// Whose private interrupts, in word 0.
        vcpu: VcpuId,
        /// Index of the register.
        word: u8,
        /// The interrupts.
        mask: u32,
    },
    /// Disable them (ICENABLER).
    Disable {
        /// Whose private interrupts, in word 0.
        vcpu: VcpuId,
        /// Index of the register.
        word: u8,
        /// The interrupts.
        mask: u32,
    },
    /// End their active state (ICACTIVER, or DIR): EL2 acknowledged them and the guest is done with them.
    Deactivate {
        /// Whose private interrupts, in word 0.
        vcpu: VcpuId,
        /// Index of the register.
        word: u8,
        /// The interrupts.
        mask: u32,
    },
    /// Clear their pending state (ICPENDR).
    ClearPending {
        /// Whose private interrupts, in word 0.
        vcpu: VcpuId,
        /// Index of the register.
        word: u8,
        /// The interrupts.
        mask: u32,
    },
    /// Back to reset: disable them, clear pending, deactivate, and route the SPIs among them to vCPU 0's core.
    Reset {
        /// Whose private interrupts, in word 0.
        vcpu: VcpuId,
        /// Index of the register.
        word: u8,
        /// The interrupts.
        mask: u32,
    },
    /// Make the SPIs in `mask` edge-triggered where `edge` has their bit, level-sensitive elsewhere (ICFGR).
    Trigger {
        /// Index of the register, 1 and up.
        word: u8,
        /// The interrupts.
        mask: u32,
        /// Which of them are edge-triggered.
        edge: u32,
    },
    /// Route the SPI `intid` to the core of `vcpu` (ITARGETSR, IROUTER).
    Route {
        /// The SPI.
        intid: u16,
        /// Whose core takes it.
        vcpu: VcpuId,
    },
}

/// Collects what one or several calls ask of the caller. Empty it by doing it.
#[derive(Debug)]
pub struct Effects<'a> {
    /// Bit n: vCPU n has something new. Its core must fold and fill, whatever its list registers hold.
    pub kick: u8,
    /// Bit n: something that may sit in vCPU n's list registers must no longer be offered. Its core must fold and fill,
    /// unless none of its list registers is in use.
    pub retract: u8,
    /// Work on the physical GIC, in order.
    pub physical: ArrayVec<Effect, MAX_EFFECTS>,
    /// Kept current by the model; read by the path that asks no model.
    pub(super) direct: &'a DirectTable,
}

impl<'a> Effects<'a> {
    /// Starts an empty list for the partition that `direct` belongs to.
    #[must_use]
    pub fn new(direct: &'a DirectTable) -> Self {
        Self {
            kick: 0,
            retract: 0,
            physical: ArrayVec::new(),
            direct,
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kick | self.retract == 0 && self.physical.is_empty()
    }

    /// Adds an effect; the bound on [`MAX_EFFECTS`] is why it cannot be full.
    pub(super) fn push(&mut self, effect: Effect) {
        let fits = self.physical.try_push(effect).is_ok();
        debug_assert!(fits, "more effects in one call than MAX_EFFECTS says");
    }
}
