//! The table of interrupts that may be given to a guest without asking the model.
//!
//! Invariant: a ready bit is set only for an interrupt of which the model holds nothing.

use super::{FIRST_SPI, GicVersion, LAST_SPI, PRIVATE_SLOTS, SLOTS, slot};
use crate::arm::list_register::ListRegister;
use crate::words::VcpuId;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};

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
    /// GICD_TYPER, fixed once the partition has been given its interrupts.
    typer: AtomicU32,
}

/// Thirty-two interrupts of a [`DirectTable`].
#[derive(Debug)]
pub struct DirectWord {
    /// Bits whose template may be used.
    ready: AtomicU32,
    /// Bits that are enabled, as ISENABLER and ICENABLER show them.
    enabled: AtomicU32,
    /// List-register values in the hardware's format; those of SPIs with the target vCPU in [`TARGET_SHIFT`].
    templates: [AtomicU64; 32],
}

impl DirectWord {
    const fn new() -> Self {
        Self {
            ready: AtomicU32::new(0),
            enabled: AtomicU32::new(0),
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

    /// As [`DirectTable::take_one`] for the vCPU this word is of, to which `posted` belongs.
    #[must_use]
    #[inline(always)]
    pub fn take_one(&self, posted: &[AtomicU64; 2], version: GicVersion) -> u64 {
        let (low, high) = (posted[0].load(Relaxed), posted[1].load(Relaxed));
        let (word, bits) = if high == 0 { (0, low) } else { (1, high) };
        let bit = bits.trailing_zeros();
        let all_of_it = 0xffu64 << (bit & 0x38);
        // GICv2 gives each source apart; GICv3 knows none.
        let one = match version {
            GicVersion::V2 => bits & bits.wrapping_sub(1) == 0,
            GicVersion::V3 => bits & !all_of_it == 0,
        };
        if bits == 0 || !one || (low != 0 && high != 0) {
            return 0;
        }
        let value = self.template((bit >> 3) + 8 * u32::from(word == 1));
        if value == 0 {
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

    /// What the word's ISENABLER and ICENABLER read as.
    #[must_use]
    #[inline(always)]
    pub fn enabled(&self) -> u32 {
        self.enabled.load(Relaxed)
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
            typer: AtomicU32::new(0),
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
        let template = self.shared_word(intid >> 5).template(intid);
        // Without the name of its vCPU it is the list register's value.
        let value = template ^ u64::from(vcpu.get()) << TARGET_SHIFT;
        if template != 0 && value & TARGET_MASK == 0 {
            value
        } else {
            0
        }
    }

    /// The shared interrupts from `32 * word` on (its lower five bits); in the first of them nothing is ever enabled.
    #[must_use]
    #[inline(always)]
    pub fn shared_word(&self, word: u32) -> &DirectWord {
        &self.slots[PRIVATE_SLOTS + (word as usize & 31)]
    }

    /// What GICD_TYPER reads as.
    #[must_use]
    #[inline(always)]
    pub fn typer(&self) -> u32 {
        self.typer.load(Relaxed)
    }

    /// Says what GICD_TYPER reads as.
    pub(super) fn set_typer(&self, value: u32) {
        self.typer.store(value, Relaxed);
    }

    /// The private interrupts of `vcpu`.
    #[must_use]
    pub fn private(&self, vcpu: VcpuId) -> &DirectWord {
        &self.slots[slot(0, vcpu.index())]
    }

    /// The words in which SGIs are posted to `vcpu`.
    #[must_use]
    pub fn posted(&self, vcpu: VcpuId) -> &[AtomicU64; 2] {
        &self.posted[vcpu.index() & (PRIVATE_SLOTS - 1)]
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

    /// As [`DirectTable::post`], from the vCPU whose bit is `from` to vCPU `target`.
    #[inline(always)]
    pub fn post_one(&self, from: u8, sgi: u32, target: usize) {
        let (word, shift) = ((sgi >> 3 & 1) as usize, 8 * (sgi & 7));
        let posted = &self.posted[target & (PRIVATE_SLOTS - 1)];
        posted[word].fetch_or(u64::from(from) << shift, Release);
    }

    /// Takes the only SGI posted to `vcpu` as a list-register value, or gives 0: then the core must fold and fill.
    ///
    /// Only for a core whose list registers are all out of use, and whose last fill left nothing out.
    #[must_use]
    #[inline(always)]
    pub fn take_one(&self, vcpu: VcpuId, version: GicVersion) -> u64 {
        self.private(vcpu).take_one(self.posted(vcpu), version)
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

    /// Says which bits of a word may be used, and which are enabled.
    #[inline(always)]
    pub(super) fn set_ready(&self, slot: usize, bits: u32, enabled: u32) {
        if let Some(word) = self.slots.get(slot) {
            word.enabled.store(enabled, Relaxed);
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
