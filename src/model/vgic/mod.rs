//! The virtual GIC of one partition: one model behind two register front ends, GICv2 and GICv3.
//!
//! # Who knows what
//! All truth about a virtual interrupt is either here or in the list registers of one core, and each piece of it exists
//! once. [`Vgic::fill`] moves pending and active states *out* into list registers; [`Vgic::fold`] moves what is left of
//! them back, and finds SGIs posted in the [`DirectTable`]. An interrupt that arrives in between is new, and is kept here until the next fold merges the two. So no
//! interrupt is lost, and none is doubled: two occurrences that no acknowledge separates are one, as in hardware.
//!
//! # What a caller does
//! - A register access: [`Vgic::reach`] first; fold the cores it names; then the read or write.
//! - After any call: the [`Effects`]. A kicked core folds its list registers, then fills them, with no guest
//!   entry between. Fold and fill always come as this pair, under the partition's lock.
//! - Retracted cores do the same, unless none of their list registers is in use.
//! - Frequent things need no lock: [`DirectTable`] says how physical interrupts and SGIs go without the model.
//! - `fold` gets every list register that ELRSR does not call empty (those with an EOI notice due included).
//! - Set [`Filled`]'s HCR bits before the guest runs.
//!
//! # Physical interrupts
//! EL2 acknowledges, drops the priority, and the interrupt stays active in the physical GIC until the guest is done with
//! the virtual one: by the hardware (HW=1), or by [`Effect::Deactivate`] where the list register carries no HW bit. The
//! latter serves [`Deactivation::Software`], and in either mode the odd cases: a physical interrupt that is active while the
//! guest has set it pending by hand, or that is cleared, or whose list register was needed by a more urgent one.
//! A level-sensitive one that waits undelivered when the guest disables it is handed back (deactivated, while physically
//! disabled), so that its line speaks for it; an edge is kept.
//!
//! # What is guaranteed with too few list registers
//! The most urgent deliverable interrupt is always in a list register. Active ones come first, most urgent first, but leave
//! one to it. Ends of evicted active interrupts are counted by the hardware (EOIcount), and belong to the most urgent evicted
//! ones, which EOImode 0 makes certain. With EOImode 1 the guest deactivates in any order: on GICv3 [`Filled::evicted`] asks
//! for TDIR and [`Vgic::deactivate`]; on GICv2 the page that holds GICV_DIR is never the guest's, so that its writes always
//! come to [`Vgic::deactivate`].
//!
//! # Choices the architecture leaves
//! An SPI for several vCPUs (GICv2 targets, IRM) goes to the lowest-numbered, or to vCPU 0. GICv2 SGIs are always enabled.
//! Priority changes reach an interrupt that is active only with its next occurrence. A sleeping redistributor
//! (GICR_WAKER) still delivers. Power-down of a vCPU keeps its private interrupts' configuration, pending and active state.

mod direct;
mod distributor;
mod effects;
mod events;
mod lists;
mod state;
mod v2;
mod v3;

#[cfg(any(test, fuzzing))]
pub(crate) mod tests;

pub use crate::arm::list_register::GicVersion;
pub use direct::{Bell, DirectTable, Posted, Private, post_to};
pub use effects::{Effect, Effects, MAX_EFFECTS};
pub use lists::Filled;

use crate::words::VcpuId;
use crate::words::limits::MAX_VCPUS;
use arrayvec::ArrayVec;
use direct::{BELLS, FIRST_BELL};
use state::Word;

/// The last INTID of an SPI (IHI 0069 2.2).
pub const LAST_SPI: u16 = 1019;
/// The first INTID of an SPI.
const FIRST_SPI: u16 = 32;
/// SGIs: INTIDs 0..16.
const SGIS: u32 = 0xffff;
/// Most list registers GICv3 has.
pub const MAX_LIST_REGISTERS: usize = 16;
/// Words of private interrupts, one a vCPU.
const PRIVATE_SLOTS: usize = MAX_VCPUS;
/// Words in all: the private ones, then 32 of which the first is unused.
const SLOTS: usize = PRIVATE_SLOTS + 32;
/// A target or holder that is no vCPU.
const NOBODY: u8 = 0xff;

/// Where the state of a register word is kept: `word` 0 is private to `vcpu`, the others are shared.
#[inline]
const fn slot(word: usize, vcpu: usize) -> usize {
    if word == 0 {
        vcpu & (PRIVATE_SLOTS - 1)
    } else {
        PRIVATE_SLOTS + (word & 31)
    }
}

/// Who ends the active state of a physical interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deactivation {
    /// The list register's HW bit does.
    Hardware,
    /// EL2 does, after an EOI maintenance interrupt: for QEMU's GICv2, which forgets to look at the line again
    /// (platforms.md, trap 1).
    Software,
}

/// Where an interrupt comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The physical interrupt of the same INTID: a PPI of every vCPU's core, or an SPI.
    Physical {
        /// Edge-triggered, or else level-sensitive.
        edge: bool,
    },
    /// A level-sensitive SPI of a virtual device: [`Vgic::set_level`].
    Level,
    /// An edge-triggered SPI of a virtual device: [`Vgic::raise`].
    Edge,
}

/// What the virtual GIC is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Which registers the guest sees; also the format of list registers.
    pub version: GicVersion,
    /// vCPUs, 1..=8; with affinities 0.0.0.n.
    pub vcpus: u8,
    /// List registers of a core, 1..=16 (ICH_VTR).
    pub list_registers: u8,
    /// Implemented priority bits, 1..=8 (ICH_VTR; at most 5 in GICv2's list registers).
    pub priority_bits: u8,
    /// Who deactivates physical interrupts.
    pub deactivation: Deactivation,
}

/// Which frame of the guest's GIC an access hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// GICD.
    Distributor,
    /// GICR of this vCPU, both its frames (GICv3).
    Redistributor(VcpuId),
}

/// Whose list registers must be folded before an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Nobody's.
    None,
    /// This vCPU's.
    Of(VcpuId),
    /// Every vCPU's.
    All,
}

/// An interrupt of a partition, for people to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Given {
    /// Its INTID.
    pub intid: u16,
    /// Whose it is, if private.
    pub vcpu: Option<VcpuId>,
    /// The physical interrupt of the same INTID.
    pub physical: bool,
    /// Edge-triggered.
    pub edge: bool,
    /// Enabled.
    pub enabled: bool,
    /// Pending.
    pub pending: bool,
    /// Active.
    pub active: bool,
    /// Its priority.
    pub priority: u8,
}

/// The virtual GIC of a partition. Plain data; one lock around it.
#[derive(Debug)]
pub struct Vgic {
    config: Config,
    /// Register words in use: two, or as many as the highest owned INTID needs.
    words_in_use: u8,
    /// Bits of INTIDs whose group may be forwarded: all or none, for group 0 and 1 (GICD_CTLR).
    group_enable: [u32; 2],
    /// All interrupts; see [`slot`].
    words: [Word; SLOTS],
    /// GICv2: which CPUs have sent each SGI that is pending at a vCPU; bit n is CPU n.
    sources: [[u8; 16]; PRIVATE_SLOTS],
    /// GICv2: which CPU sent each SGI that is active at a vCPU.
    active_source: [[u8; 16]; PRIVATE_SLOTS],
    /// Bit n: vCPU n's redistributor is awake (GICR_WAKER).
    awake: u8,
    /// Words in which fill may find something for a vCPU; never a bit too few.
    maybe: [u32; PRIVATE_SLOTS],
    /// What the last fill of each vCPU listed without HW.
    listed: [ArrayVec<u16, MAX_LIST_REGISTERS>; PRIVATE_SLOTS],
}

impl Vgic {
    /// One that is nobody's yet: all zeros. It is large, and made where it stays, by [`Vgic::configure`].
    pub const EMPTY: Self = Self {
        config: Config {
            version: GicVersion::V2,
            vcpus: 0,
            list_registers: 0,
            priority_bits: 0,
            deactivation: Deactivation::Hardware,
        },
        words_in_use: 0,
        group_enable: [0; 2],
        words: [const { Word::new() }; SLOTS],
        sources: [[0; 16]; PRIVATE_SLOTS],
        active_source: [[0; 16]; PRIVATE_SLOTS],
        awake: 0,
        maybe: [0; PRIVATE_SLOTS],
        listed: [const { ArrayVec::new_const() }; PRIVATE_SLOTS],
    };

    /// One that was configured.
    #[cfg(any(test, fuzzing))]
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut gic = Self::EMPTY;
        gic.configure(config);
        gic
    }

    /// Makes an empty one a GIC as after a hardware reset, with no interrupt but the SGIs. Numbers out of range count as the
    /// nearest.
    ///
    /// Follow it with [`Vgic::own`] for every interrupt, then [`Vgic::reset`].
    pub const fn configure(&mut self, config: &Config) {
        self.config = *config;
        self.config.vcpus = within(config.vcpus, PRIVATE_SLOTS);
        self.config.list_registers = within(config.list_registers, MAX_LIST_REGISTERS);
        self.config.priority_bits = within(config.priority_bits, 8);
        self.words_in_use = 2;
    }

    /// Gives the partition the interrupt `intid`. Its registers read as zero and ignore writes until then.
    ///
    /// Takes PPIs (16..32, physical only) and SPIs (32..=1019); others are ignored. Call [`Vgic::reset`] after the last.
    pub fn own(&mut self, intid: u16, source: Source) {
        let physical = matches!(source, Source::Physical { .. });
        let spi = intid >= FIRST_SPI;
        if intid > LAST_SPI || (!spi && (intid < 16 || !physical)) {
            return;
        }
        let (word, bit) = (usize::from(intid >> 5), 1 << (intid & 31));
        let edge = matches!(source, Source::Edge | Source::Physical { edge: true });
        let banks = if spi {
            1
        } else {
            usize::from(self.config.vcpus)
        };
        for vcpu in 0..banks {
            let word = &mut self.words[slot(word, vcpu)];
            word.owned |= bit;
            word.physical |= if physical { bit } else { 0 };
            word.initial_edge |= if edge { bit } else { 0 };
        }
        let words = u8::try_from(intid / 32 + 1).unwrap_or(u8::MAX);
        self.words_in_use = self.words_in_use.max(words);
    }

    /// Puts everything back to reset: no interrupt enabled, pending or active, priorities, groups and targets zero.
    ///
    /// For the start and every restart of the partition, with no vCPU running: the list registers count as empty after it,
    /// and virtual lines as low. Physical interrupts leave as [`Effect::Reset`].
    pub fn reset(&mut self, effects: &mut Effects<'_>) {
        let vcpus = usize::from(self.config.vcpus);
        self.group_enable = [0; 2];
        self.sources = [[0; 16]; PRIVATE_SLOTS];
        self.awake = 0;
        for vcpu in 0..PRIVATE_SLOTS {
            effects
                .direct
                .take_posted(vcpu, self.config.version, |_, _| ());
        }
        effects.direct.forget_bells();
        self.maybe = [0; PRIVATE_SLOTS];
        for listed in &mut self.listed {
            listed.clear();
        }
        for vcpu in 0..vcpus {
            self.reset_word(0, vcpu, effects);
        }
        for word in 1..usize::from(self.words_in_use) {
            self.reset_word(word, 0, effects);
        }
        effects.direct.set_typer(self.typer());
    }

    /// Records that `vcpu` was powered down or is about to start, its list registers folded or empty.
    ///
    /// What belongs to the CPU interface (VMCR, active priorities) is the caller's to reset. As on a real power-down, the
    /// distributor's and redistributor's state of its interrupts stays; its redistributor sleeps (GICR_WAKER).
    pub fn reset_vcpu(&mut self, vcpu: VcpuId) {
        self.awake &= !self.bit_of(vcpu.index());
    }

    /// What must be folded before the access at `offset` of `frame` by `vcpu`.
    ///
    /// Only pending and active state can be in list registers; enabling, priorities, routes and SGIs need no fold. But a
    /// doorbell may be in a list register that is in no record, and must not come to another vCPU meanwhile.
    #[must_use]
    pub fn reach(&self, vcpu: VcpuId, frame: Frame, offset: u32) -> Reach {
        match self.bank_of(vcpu, frame, offset) {
            Some((vcpu, bank)) if bank.is_state() => match bank.word() {
                0 => Reach::Of(vcpu),
                word if self.word(word, 0).owned == 0 => Reach::None,
                _ => Reach::All,
            },
            None if self.is_sgi_pending(frame, offset) => Reach::Of(vcpu),
            _ if frame == Frame::Distributor && routes_bells(offset) => Reach::All,
            _ => Reach::None,
        }
    }

    /// Whether [`Vgic::reach`] is [`Reach::None`] for the register at `offset` of `frame`, whoever accesses it. It may be so
    /// although this says no.
    #[must_use]
    #[inline(always)]
    pub const fn never_reaches(frame: Frame, offset: u32) -> bool {
        let offset = match frame {
            Frame::Distributor => offset,
            Frame::Redistributor(_) => offset.wrapping_sub(v3::SGI_FRAME),
        };
        let state = distributor::FIRST_STATE <= offset && offset < distributor::STATE_END;
        let sgi_pending = v2::CPENDSGIR <= offset && offset < v2::SGI_PENDING_END;
        !state && !sgi_pending && !routes_bells(offset)
    }

    /// Gives the interrupts the partition has been given, each private one once for each vCPU, as the model has them: what
    /// list registers hold at the moment counts as neither pending nor active.
    pub fn given(&self) -> impl Iterator<Item = Given> + '_ {
        let private = (0..self.config.vcpus).map(|vcpu| (0, Some(VcpuId::new(vcpu))));
        let shared = (1..self.words_in_use).map(|word| (word, None));
        private.chain(shared).flat_map(|(word, vcpu)| {
            let state = &self.words[slot(usize::from(word), vcpu.map_or(0, VcpuId::index))];
            (0..32).filter_map(move |bit: u8| {
                let has = |bits: u32| bits >> bit & 1 == 1;
                has(state.owned & if word == 0 { !SGIS } else { u32::MAX }).then(|| Given {
                    intid: u16::from(word) * 32 + u16::from(bit),
                    vcpu,
                    physical: has(state.physical),
                    edge: has(state.edge),
                    enabled: has(state.enabled),
                    pending: has(state.pending()),
                    active: has(state.active),
                    priority: state.priority[usize::from(bit)],
                })
            })
        })
    }

    /// The bit for a vCPU in a mask of vCPUs; none for one that does not exist.
    fn bit_of(&self, vcpu: usize) -> u8 {
        if vcpu < usize::from(self.config.vcpus) {
            1 << (vcpu & 7)
        } else {
            0
        }
    }
}

/// Whether ITARGETSR or IROUTER of a doorbell is at `offset` of the distributor, on either version.
const fn routes_bells(offset: u32) -> bool {
    let (first, end) = (FIRST_BELL as u32, FIRST_BELL as u32 + BELLS);
    let targets = v2::ITARGETSR + first <= offset && offset < v2::ITARGETSR + end;
    targets || v3::IROUTER + 8 * first <= offset && offset < v3::IROUTER + 8 * end
}

/// Which SGI, and which of `vcpus` vCPUs (as a mask), a write of `value` by `from` means: to GICD_SGIR on GICv2, to
/// ICC_SGI1R_EL1 on GICv3.
///
/// For [`DirectTable::post`]; ICC_SGI0R_EL1 and ICC_ASGI1R_EL1 depend on the target's groups and go to [`Vgic::send_sgi0r`].
#[must_use]
#[inline]
pub fn sgi_targets(version: GicVersion, vcpus: u8, from: VcpuId, value: u64) -> (u8, u8) {
    let everyone = u8::MAX >> (8 - vcpus.clamp(1, 8));
    let own = 1u8 << (from.get() & 7);
    let (sgi, targets) = match version {
        GicVersion::V2 => v2::targets(own, value),
        GicVersion::V3 => v3::targets(own, value),
    };
    (sgi, targets & everyone)
}

/// `value`, at least 1 and at most `most`.
const fn within(value: u8, most: usize) -> u8 {
    if value == 0 {
        1
    } else if value as usize > most {
        most.to_le_bytes()[0]
    } else {
        value
    }
}
