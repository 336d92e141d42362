//! The table of interrupts that may be given to a guest without asking the model.
//!
//! Invariant: a ready bit is set only for an interrupt of which the model holds nothing.

use super::{LAST_SPI, SLOTS, slot};
use crate::words::VcpuId;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Which interrupts may go into a list register without the model, and as what.
///
/// One for each partition, beside its [`Vgic`](super::Vgic) but outside the lock; the model keeps it current through
/// [`Effects`]. An interrupt is in it while it is enabled with its group, and the model holds nothing of it.
///
/// - A **physical** INTID that the core of `vcpu` just acknowledged: if [`DirectTable::direct`] is not zero, write it to a
///   free list register (one that ELRSR says is empty), unless the last fill of this core left something out
///   ([`Filled::overflow`](super::Filled)). Nothing else is needed. With [`Deactivation::Software`](super::Deactivation)
///   the end raises the maintenance interrupt; the core may then deactivate the physical interrupt and clear the list
///   register itself if it remembers that it wrote this one directly, or fold and fill.
/// - An **SGI** that `vcpu` sends to itself: the same, but only while *no* list register of the core is in use.
///
/// The value is read without the lock: it may be one write old, as if the interrupt had come a little earlier. The model
/// then asks for a fold of this core ([`Effects::retract`]), which puts it right.
#[derive(Debug)]
pub struct DirectTable {
    /// Bits of each word whose template may be used.
    ready: [AtomicU32; SLOTS],
    /// List-register values in the hardware's format, with the target vCPU in [`TARGET_SHIFT`].
    templates: [[AtomicU64; 32]; SLOTS],
}

/// Where a template names the vCPU it is for: bits that both list-register formats leave zero.
const TARGET_SHIFT: u32 = 45;
/// Three bits: eight vCPUs.
const TARGET_MASK: u64 = 7 << TARGET_SHIFT;

impl DirectTable {
    /// A table that offers nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ready: [const { AtomicU32::new(0) }; SLOTS],
            templates: [const { [const { AtomicU64::new(0) }; 32] }; SLOTS],
        }
    }

    /// The list-register value (ICH_LR<n>_EL2, or GICH_LR<n> in the lower half) with which `intid` may be given to `vcpu`,
    /// or 0 if the model must be asked.
    #[must_use]
    #[inline]
    pub fn direct(&self, vcpu: VcpuId, intid: u16) -> u64 {
        let bit = usize::from(intid) & 31;
        let slot = slot(usize::from(intid) >> 5, vcpu.index());
        if intid > LAST_SPI || self.ready[slot].load(Relaxed) >> bit & 1 == 0 {
            return 0;
        }
        let template = self.templates[slot][bit].load(Relaxed);
        if (template & TARGET_MASK) >> TARGET_SHIFT == u64::from(vcpu.get()) {
            template & !TARGET_MASK
        } else {
            0
        }
    }

    /// Says which bits of a word may be used.
    pub(super) fn set_ready(&self, slot: usize, bits: u32) {
        if let Some(ready) = self.ready.get(slot) {
            ready.store(bits, Relaxed);
        }
    }

    /// Says how one interrupt would be listed, and for whom; 0 forbids it.
    pub(super) fn set_template(&self, slot: usize, bit: usize, value: u64, target: u8) {
        let template = value | (u64::from(target) << TARGET_SHIFT) & TARGET_MASK;
        if let Some(entry) = self.templates.get(slot).and_then(|word| word.get(bit)) {
            entry.store(if value == 0 { 0 } else { template }, Relaxed);
        }
    }
}

impl Default for DirectTable {
    fn default() -> Self {
        Self::new()
    }
}
