//! The table of interrupts that may be given to a guest without asking the model.
//!
//! Invariant: a ready bit is set only for an interrupt of which the model holds nothing.

use super::{FIRST_SPI, GicVersion, LAST_SPI, PRIVATE_SLOTS, SLOTS, slot};
use crate::arm::list_register::ListRegister;
use crate::words::VcpuId;
use crate::words::sync::Ordering::{Acquire, Relaxed, Release};
use crate::words::sync::{AtomicU32, AtomicU64};

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
/// - An **SGI**: [`sgi_targets`](super::sgi_targets) says whom a register write means, [`DirectTable::post`] leaves it for
///   them, and each target, the sender among them, asks [`DirectTable::take_one`] if *no* list register of its core is in use
///   and its last fill left nothing out; else it folds and fills, which finds all that is posted.
///
/// The value is read without the lock: it may be one write old, as if the interrupt had come a little earlier. The model
/// then asks for a fold of this core ([`Effects::retract`]), which puts it right.
#[derive(Debug)]
pub struct DirectTable {
    /// The interrupts, thirty-two at a time.
    slots: [DirectWord; SLOTS],
    /// SGIs posted to each vCPU: a byte of source CPUs for each SGI, eight SGIs a word.
    posted: [[AtomicU64; 2]; PRIVATE_SLOTS],
}

/// Thirty-two interrupts of a [`DirectTable`].
#[derive(Debug)]
pub struct DirectWord {
    /// Bits whose template may be used.
    ready: AtomicU32,
    /// List-register values in the hardware's format; those of SPIs with the target vCPU in [`TARGET_SHIFT`].
    templates: [AtomicU64; 32],
}

impl DirectWord {
    const fn new() -> Self {
        Self {
            ready: AtomicU32::new(0),
            templates: [const { AtomicU64::new(0) }; 32],
        }
    }

    /// The template of interrupt `bit` (its lower five bits), or 0 if the model must be asked.
    #[inline(always)]
    fn template(&self, bit: u32) -> u64 {
        if self.ready.load(Relaxed) >> (bit & 31) & 1 == 0 {
            return 0;
        }
        self.templates[(bit & 31) as usize].load(Relaxed)
    }

    /// As [`DirectTable::direct`] for the private interrupt `intid`, below 32, of the vCPU this word is of.
    #[must_use]
    #[inline(always)]
    pub fn private(&self, intid: u32) -> u64 {
        self.template(intid)
    }
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
            slots: [const { DirectWord::new() }; SLOTS],
            posted: [const { [const { AtomicU64::new(0) }; 2] }; PRIVATE_SLOTS],
        }
    }

    /// The list-register value (ICH_LR<n>_EL2, or GICH_LR<n> in the lower half) with which `intid` may be given to `vcpu`,
    /// or 0 if the model must be asked.
    #[must_use]
    #[inline]
    pub fn direct(&self, vcpu: VcpuId, intid: u16) -> u64 {
        if intid > LAST_SPI {
            return 0;
        }
        if intid < FIRST_SPI {
            return self.private(vcpu).private(intid.into());
        }
        self.shared(vcpu, intid.into())
    }

    /// As [`DirectTable::direct`] for the SPI `intid`, below 1024; 0 for a smaller number.
    #[must_use]
    #[inline(always)]
    pub fn shared(&self, vcpu: VcpuId, intid: u32) -> u64 {
        // Nothing is ever ready in the first of the shared words: private interrupts have words of their own.
        let word = &self.slots[PRIVATE_SLOTS + (intid as usize >> 5 & 31)];
        let template = word.template(intid);
        if (template & TARGET_MASK) >> TARGET_SHIFT == u64::from(vcpu.get()) {
            template & !TARGET_MASK
        } else {
            0
        }
    }

    /// The private interrupts of `vcpu`.
    #[must_use]
    pub fn private(&self, vcpu: VcpuId) -> &DirectWord {
        &self.slots[slot(0, vcpu.index())]
    }

    /// Posts SGI `sgi` (its lower four bits) from vCPU `from` to every vCPU in the mask `targets`, without the model.
    ///
    /// The next fold of a target finds it, or [`DirectTable::take_one`]: the caller kicks all targets, with a barrier that
    /// makes this store visible first. `targets` holds only vCPUs that exist.
    #[inline]
    pub fn post(&self, from: VcpuId, sgi: u8, targets: u8) {
        let (word, bits) = posted_place(sgi, 1 << (from.get() & 7));
        let mut left = targets;
        while left != 0 {
            let target = left.trailing_zeros() as usize & (PRIVATE_SLOTS - 1);
            left &= left - 1;
            self.posted[target][word].fetch_or(bits, Release);
        }
    }

    /// Takes the only SGI posted to `vcpu` as a list-register value, or gives 0: then the core must fold and fill.
    ///
    /// Only for a core whose list registers are all out of use, and whose last fill left nothing out.
    #[must_use]
    #[inline]
    pub fn take_one(&self, vcpu: VcpuId, version: GicVersion) -> u64 {
        let posted = &self.posted[vcpu.index() & (PRIVATE_SLOTS - 1)];
        let (low, high) = (posted[0].load(Relaxed), posted[1].load(Relaxed));
        let (word, bits) = if high == 0 { (0, low) } else { (1, high) };
        let bit = bits.trailing_zeros();
        let sgi = u16::from(word == 1) * 8 + u16::from((bit / 8).to_le_bytes()[0]);
        let all_of_it = 0xffu64 << (bit & 0x38);
        // GICv2 gives each source apart; GICv3 knows none.
        let one = match version {
            GicVersion::V2 => bits & bits.wrapping_sub(1) == 0,
            GicVersion::V3 => bits & !all_of_it == 0,
        };
        let value = self.direct(vcpu, sgi & 15);
        if bits == 0 || !one || (low != 0 && high != 0) || value == 0 {
            return 0;
        }
        // Another source may post meanwhile: what is not taken here stays posted.
        posted[word].fetch_and(!bits, Acquire);
        match version {
            GicVersion::V3 => value,
            GicVersion::V2 => {
                let source = (bit & 7).to_le_bytes()[0];
                let lr = ListRegister::decode(version, value)
                    .without_source()
                    .with_source(source);
                lr.encode(version)
            }
        }
    }

    /// Calls `take` with each SGI posted to a vCPU and its source CPUs, and forgets them.
    pub(super) fn take_posted(&self, vcpu: usize, mut take: impl FnMut(usize, u8)) {
        for (word, posted) in self.posted[vcpu & (PRIVATE_SLOTS - 1)].iter().enumerate() {
            if posted.load(Relaxed) == 0 {
                continue;
            }
            let bytes = posted.swap(0, Acquire).to_le_bytes();
            for (sgi, sources) in bytes
                .into_iter()
                .enumerate()
                .filter(|(_, sources)| *sources != 0)
            {
                take(word * 8 + sgi, sources);
            }
        }
    }

    /// Says which bits of a word may be used.
    pub(super) fn set_ready(&self, slot: usize, bits: u32) {
        if let Some(word) = self.slots.get(slot) {
            word.ready.store(bits, Relaxed);
        }
    }

    /// Says how one interrupt would be listed, and for whom; 0 forbids it.
    pub(super) fn set_template(&self, slot: usize, bit: usize, value: u64, target: u8) {
        let target = if slot < PRIVATE_SLOTS { 0 } else { target };
        let template = value | (u64::from(target) << TARGET_SHIFT) & TARGET_MASK;
        let word = self.slots.get(slot);
        if let Some(entry) = word.and_then(|word| word.templates.get(bit)) {
            entry.store(if value == 0 { 0 } else { template }, Relaxed);
        }
    }
}

/// Where the sources of an SGI are posted.
#[inline]
fn posted_place(sgi: u8, sources: u8) -> (usize, u64) {
    (
        usize::from(sgi >> 3 & 1),
        u64::from(sources) << (8 * (sgi & 7)),
    )
}

impl Default for DirectTable {
    fn default() -> Self {
        Self::new()
    }
}
