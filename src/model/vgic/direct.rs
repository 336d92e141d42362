//! The table of interrupts that may be given to a guest without asking the model.
//!
//! Invariant: a ready bit is set only for an interrupt of which the model holds nothing.

use super::state::for_each_bit;
use super::{FIRST_SPI, GicVersion, LAST_SPI, PRIVATE_SLOTS, SLOTS, slot};
use crate::arm::list_register::ListRegister;
use crate::words::VcpuId;
use crate::words::sync::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::words::sync::{AtomicU32, AtomicU64};
use bulkhead_abi::layout::CHANNEL_FIRST_INTID;

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
/// - A **doorbell** of another partition's: [`Bell::ring`] leaves it and says which vCPU to interrupt, if any; that
///   vCPU's core asks [`DirectTable::take_bell`] under the same conditions, or folds and fills.
///
/// The value is read without the lock: it may be one write old, as if the interrupt had come a little earlier. The model
/// then asks for a fold of this core ([`Effects::retract`]), which puts it right.
#[derive(Debug)]
pub struct DirectTable {
    /// Bits whose template may be used, thirty-two interrupts a word.
    ready: [AtomicU32; SLOTS],
    /// Bits that are enabled, as ISENABLER and ICENABLER show them.
    enabled: [AtomicU32; SLOTS],
    /// List-register values in the hardware's format; those of SPIs with the target vCPU in [`TARGET_SHIFT`].
    templates: [[AtomicU64; 32]; SLOTS],
    /// SGIs posted to each vCPU. GICv3: bit n of the first word is SGI n. GICv2, which tells sources apart: a byte of source
    /// CPUs for each SGI, eight SGIs a word.
    posted: [Posted; PRIVATE_SLOTS],
    /// What was rung.
    bells: Bells,
    /// GICD_TYPER, fixed once the partition has been given its interrupts.
    typer: AtomicU32,
}

/// A partition's doorbells: bit n is the SPI [`FIRST_BELL`] + n.
#[derive(Debug)]
struct Bells {
    /// Those that were rung, and that nobody has taken yet.
    rung: AtomicU64,
    /// Those of which the guest still has an earlier ring before it, and whose end is told: they interrupt no core.
    quiet: AtomicU64,
}

/// A doorbell of another partition's.
#[derive(Clone, Copy, Debug)]
pub struct Bell<'a> {
    bells: &'a Bells,
    template: &'a AtomicU64,
    bit: u64,
}

impl Bell<'_> {
    /// Rings. Gives the vCPU whose core to interrupt, with a barrier that makes this visible first; none if one that was
    /// rung before will be looked at anyway.
    ///
    /// Neither waits nor locks, whoever calls and however often: a ring that nobody has looked at yet takes the next one
    /// along, and so does an interrupt that the guest has not ended, once a second ring has found it so.
    #[must_use]
    #[inline(always)]
    pub fn ring(&self) -> Option<VcpuId> {
        // Either this sees that the bell is not quiet any more, or who made it so sees the ring: see `end_quiet`.
        let before = self.bells.rung.fetch_or(self.bit, SeqCst);
        if (before | self.bells.quiet.load(SeqCst)) & self.bit != 0 {
            return None;
        }
        let [target, ..] = (self.template.load(Relaxed) >> TARGET_SHIFT & 7).to_le_bytes();
        Some(VcpuId::new(target))
    }
}

/// SGIs posted to a vCPU, and by whom: see [`DirectTable::post`].
pub type Posted = [AtomicU64; 2];

/// The private interrupts of a vCPU in a [`DirectTable`].
#[derive(Clone, Copy, Debug)]
pub struct Private<'a> {
    ready: &'a AtomicU32,
    templates: &'a [AtomicU64; 32],
}

impl Private<'_> {
    /// As [`DirectTable::direct`] for the private interrupt `intid` (its lower five bits).
    #[must_use]
    #[inline(always)]
    pub fn direct(self, intid: u32) -> u64 {
        self.ready(intid).unwrap_or(0)
    }

    /// As [`Private::direct`]; `None` if the model must be asked. A private interrupt that is ready has a template.
    #[must_use]
    #[inline(always)]
    pub fn ready(self, intid: u32) -> Option<u64> {
        let bit = intid & 31;
        let ready = self.ready.load(Relaxed) >> bit & 1 != 0;
        ready.then(|| self.templates[bit as usize].load(Relaxed))
    }

    /// As [`DirectTable::take_one`] for this vCPU, to which `posted` belongs.
    #[must_use]
    #[inline(always)]
    pub fn take_one(self, posted: &Posted, version: GicVersion) -> Option<u64> {
        match version {
            GicVersion::V3 => self.take_one_v3(&posted[0]),
            GicVersion::V2 => self.take_one_v2(posted),
        }
    }

    #[inline(always)]
    fn take_one_v3(self, posted: &AtomicU64) -> Option<u64> {
        let bits = posted.swap(0, Acquire);
        let bit = bits.trailing_zeros();
        if bits.wrapping_shr(bit) == 1
            && let Some(value) = self.ready(bit)
        {
            return Some(value);
        }
        posted.fetch_or(bits, Release);
        None
    }

    /// (Those from 8 on are left to the fold: few guests use them.)
    #[inline(always)]
    fn take_one_v2(self, [posted, others]: &Posted) -> Option<u64> {
        let bits = posted.swap(0, Acquire);
        let bit = bits.trailing_zeros();
        if bits.wrapping_shr(bit) == 1
            && others.load(Relaxed) == 0
            && let Some(value) = self.ready(bit >> 3)
        {
            return Some(ListRegister::v2_from(value, bit & 7));
        }
        posted.fetch_or(bits, Release);
        None
    }
}

/// Where a template names the vCPU it is for: bits that both list-register formats leave zero.
const TARGET_SHIFT: u32 = 45;
/// INTID of the first doorbell.
pub(super) const FIRST_BELL: u16 = CHANNEL_FIRST_INTID;
/// Doorbells a partition has at most.
pub(super) const BELLS: u32 = u64::BITS;
/// Where the first doorbell's word is.
const BELL_SLOT: usize = PRIVATE_SLOTS + (FIRST_BELL as usize >> 5);
const _: () = assert!(FIRST_BELL.is_multiple_of(32) && BELL_SLOT + 1 < SLOTS);
const _: () = assert!(crate::words::limits::MAX_CHANNELS <= BELLS as usize);
/// Three bits: eight vCPUs.
const TARGET_MASK: u64 = 7 << TARGET_SHIFT;

impl DirectTable {
    /// A table that offers nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ready: [const { AtomicU32::new(0) }; SLOTS],
            enabled: [const { AtomicU32::new(0) }; SLOTS],
            templates: [const { [const { AtomicU64::new(0) }; 32] }; SLOTS],
            posted: [const { [const { AtomicU64::new(0) }; 2] }; PRIVATE_SLOTS],
            bells: Bells {
                rung: AtomicU64::new(0),
                quiet: AtomicU64::new(0),
            },
            typer: AtomicU32::new(0),
        }
    }

    /// The doorbell with this INTID, for who rings it; `None` for an INTID that is no doorbell's.
    #[must_use]
    pub fn bell(&self, intid: u16) -> Option<Bell<'_>> {
        let bell = u32::from(intid.wrapping_sub(FIRST_BELL));
        let slot = BELL_SLOT + (bell >> 5 & 1) as usize;
        (bell < BELLS).then(|| Bell {
            bells: &self.bells,
            template: &self.templates[slot][(bell & 31) as usize],
            bit: 1 << bell,
        })
    }

    /// Takes the only doorbell that was rung as a list-register value for `vcpu`, or gives 0: then its core must fold and
    /// fill. `offered` is this table, or an empty one while the core's last fill left something out.
    ///
    /// Only for a core whose list registers are all out of use.
    #[must_use]
    #[inline(always)]
    pub fn take_bell(&self, offered: &Self, vcpu: VcpuId) -> u64 {
        let rung = self.bells.rung.swap(0, SeqCst);
        let bell = rung.trailing_zeros();
        // (One that is quiet is not ready.)
        if rung.wrapping_shr(bell) == 1 {
            let value = offered.shared(vcpu, u32::from(FIRST_BELL) + bell);
            if value != 0 {
                return value;
            }
        }
        self.bells.rung.fetch_or(rung, SeqCst);
        0
    }

    /// Takes the doorbells that were rung, for the model; and which are quiet.
    pub(super) fn take_rung(&self) -> (u64, u64) {
        let rung = match self.bells.rung.load(Relaxed) {
            0 => 0,
            _ => self.bells.rung.swap(0, SeqCst),
        };
        (rung, self.bells.quiet.load(Relaxed))
    }

    /// The doorbells `bells` interrupt no core: somebody looks at them when the guest ends them.
    pub(super) fn make_quiet(&self, bells: u64) {
        self.bells.quiet.fetch_or(bells, SeqCst);
    }

    /// The doorbells `bells` interrupt a core again. Gives those that were rung meanwhile, of which nobody was told.
    pub(super) fn end_quiet(&self, bells: u64) -> u64 {
        self.bells.quiet.fetch_and(!bells, SeqCst);
        // Whoever rings after this sees that the bell is not quiet; whoever rang before it is seen here.
        match self.bells.rung.load(SeqCst) & bells {
            0 => 0,
            _ => self.bells.rung.fetch_and(!bells, SeqCst) & bells,
        }
    }

    /// Whether the SPI of bit `bit` of `word` is a doorbell whose end must be told.
    pub(super) fn is_quiet(&self, word: usize, bit: usize) -> bool {
        let bell = (word * 32 + bit).wrapping_sub(usize::from(FIRST_BELL));
        bell < BELLS as usize && self.bells.quiet.load(Relaxed) >> bell & 1 == 1
    }

    /// Forgets the doorbells that were rung.
    pub(super) fn forget_bells(&self) {
        self.bells.rung.store(0, SeqCst);
        self.bells.quiet.store(0, SeqCst);
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
            return self.private(vcpu).direct(intid.into());
        }
        self.shared(vcpu, intid.into())
    }

    /// As [`DirectTable::direct`] for the SPI `intid`; 0 for a number that is none.
    #[must_use]
    #[inline(always)]
    pub fn shared(&self, vcpu: VcpuId, intid: u32) -> u64 {
        // Nothing is ever ready in the first of the shared words, and beyond the last SPI.
        let at = 32 * PRIVATE_SLOTS + (intid as usize & 0x3ff);
        if self.ready[at / 32].load(Relaxed) >> (intid & 31) & 1 == 0 {
            return 0;
        }
        // Without the name of its vCPU it is the list register's value.
        let template = self.templates.as_flattened()[at].load(Relaxed);
        let value = template ^ u64::from(vcpu.get()) << TARGET_SHIFT;
        if value & TARGET_MASK == 0 { value } else { 0 }
    }

    /// What ISENABLER and ICENABLER of the interrupts from `32 * word` on (its lower five bits) read as; word 0 is `vcpu`'s
    /// own, or nobody's.
    #[must_use]
    #[inline(always)]
    pub fn enabled(&self, word: u32, vcpu: Option<VcpuId>) -> u32 {
        let slot = match vcpu {
            Some(vcpu) => slot(word as usize & 31, vcpu.index()),
            None => PRIVATE_SLOTS + (word as usize & 31),
        };
        self.enabled[slot].load(Relaxed)
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
    #[inline(always)]
    pub fn private(&self, vcpu: VcpuId) -> Private<'_> {
        let slot = slot(0, vcpu.index());
        Private {
            ready: &self.ready[slot],
            templates: &self.templates[slot],
        }
    }

    /// Where SGIs are posted to `vcpu`.
    #[must_use]
    pub fn posted(&self, vcpu: VcpuId) -> &Posted {
        &self.posted[vcpu.index() & (PRIVATE_SLOTS - 1)]
    }

    /// Whether an SGI is posted to `vcpu`.
    #[must_use]
    #[inline(always)]
    pub fn is_posted(&self, vcpu: VcpuId) -> bool {
        let [first, second] = self.posted(vcpu);
        first.load(Acquire) | second.load(Acquire) != 0
    }

    /// Posts SGI `sgi` (its lower four bits) from vCPU `from` to every vCPU in the mask `targets`, without the model.
    ///
    /// The next fold of a target finds it, or [`DirectTable::take_one`]: the caller kicks all targets, with a barrier that
    /// makes this store visible first. `targets` holds only vCPUs that exist.
    pub fn post(&self, from: VcpuId, sgi: u8, targets: u8, version: GicVersion) {
        let mut left = targets;
        while left != 0 {
            let target = left.trailing_zeros() as usize & (PRIVATE_SLOTS - 1);
            left &= left - 1;
            post_to(
                &self.posted[target],
                1 << (from.get() & 7),
                sgi.into(),
                version,
            );
        }
    }

    /// Takes the only SGI posted to `vcpu` as a list-register value, or gives 0: then the core must fold and fill.
    ///
    /// Only for a core whose list registers are all out of use, and whose last fill left nothing out.
    #[must_use]
    #[inline(always)]
    pub fn take_one(&self, vcpu: VcpuId, version: GicVersion) -> u64 {
        self.private(vcpu)
            .take_one(self.posted(vcpu), version)
            .unwrap_or(0)
    }

    /// Calls `take` with each SGI posted to a vCPU and its source CPUs (none told on GICv3), and forgets them.
    pub(super) fn take_posted(
        &self,
        vcpu: usize,
        version: GicVersion,
        mut take: impl FnMut(usize, u8),
    ) {
        for (word, posted) in self.posted[vcpu & (PRIVATE_SLOTS - 1)].iter().enumerate() {
            if posted.load(Relaxed) == 0 {
                continue;
            }
            let bits = posted.swap(0, Acquire);
            match version {
                GicVersion::V3 => {
                    for_each_bit(crate::words::lower_half(bits), |sgi| take(sgi, 0));
                }
                GicVersion::V2 => {
                    let bytes = bits.to_le_bytes().into_iter().enumerate();
                    for (sgi, sources) in bytes.filter(|(_, sources)| *sources != 0) {
                        take(word * 8 + sgi, sources);
                    }
                }
            }
        }
    }

    /// Says which bits of a word may be used, and which are enabled.
    #[inline(always)]
    pub(super) fn set_ready(&self, slot: usize, bits: u32, enabled: u32) {
        if let (Some(ready), Some(shown)) = (self.ready.get(slot), self.enabled.get(slot)) {
            shown.store(enabled, Relaxed);
            ready.store(bits, Relaxed);
        }
    }

    /// Says how one interrupt would be listed, and for whom; 0 forbids it.
    pub(super) fn set_template(&self, slot: usize, bit: usize, value: u64, target: u8) {
        let target = if slot < PRIVATE_SLOTS { 0 } else { target };
        let template = value | (u64::from(target) << TARGET_SHIFT) & TARGET_MASK;
        let word = self.templates.get(slot);
        if let Some(entry) = word.and_then(|word| word.get(bit)) {
            entry.store(if value == 0 { 0 } else { template }, Relaxed);
        }
    }
}

/// Posts SGI `sgi` (its lower four bits) from the vCPU whose bit is `from`: [`DirectTable::post`] for one target.
#[inline(always)]
pub fn post_to(posted: &Posted, from: u8, sgi: u32, version: GicVersion) {
    let (word, bits) = match version {
        GicVersion::V3 => (0, 1 << (sgi & 15)),
        GicVersion::V2 => (sgi >> 3 & 1, u64::from(from) << (8 * (sgi & 7))),
    };
    posted[word as usize].fetch_or(bits, Release);
}

impl Default for DirectTable {
    fn default() -> Self {
        Self::new()
    }
}
