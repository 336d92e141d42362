//! Thirty-two interrupts at a time: their state as bit words, and what follows from it.
//!
//! Invariants: bits outside `owned` are zero (SGIs count as owned); `arrived` and `active_physical` are never both set for
//! one interrupt, `active_physical` implies `active`; a bit of `listed` is set while a list register without HW of `holder`
//! carries the interrupt, and `listed_latch`, `listed_physical` imply it.

use super::{
    Deactivation, Effect, Effects, FIRST_SPI, GicVersion, NOBODY, PRIVATE_SLOTS, SGIS, Vgic, slot,
};
use crate::arm::list_register::{ListRegister, State};
use crate::words::VcpuId;

/// The state of 32 interrupts; bit n and entry n are INTID 32 * word + n.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// The partition has it.
    pub owned: u32,
    /// Comes from the physical GIC.
    pub physical: u32,
    /// Edge-triggered after a reset.
    pub initial_edge: u32,
    /// Edge-triggered, as the guest configured it (ICFGR).
    pub edge: u32,
    /// In group 1 (IGROUPR).
    pub group: u32,
    /// Enabled (ISENABLER).
    pub enabled: u32,
    /// Pending by an edge, an SGI, or software (ISPENDR).
    pub latch: u32,
    /// The virtual device's line is high.
    pub line: u32,
    /// Pending because the physical interrupt arrived; EL2 still owes its deactivation.
    pub arrived: u32,
    /// Active, and in no list register.
    pub active: u32,
    /// Active because of the physical interrupt; EL2 still owes its deactivation.
    pub active_physical: u32,
    /// In which group an active one was acknowledged.
    pub active_group: u32,
    /// In a list register without HW.
    pub listed: u32,
    /// That list register stands for the physical interrupt.
    pub listed_physical: u32,
    /// That list register took the latch.
    pub listed_latch: u32,
    /// IPRIORITYR.
    pub priority: [u8; 32],
    /// The priority an active one was acknowledged with.
    pub active_priority: [u8; 32],
    /// Which vCPU an SPI goes to, or [`NOBODY`].
    pub target: [u8; 32],
    /// Whose list register or active state it is.
    pub holder: [u8; 32],
    /// As written: ITARGETSR's byte, or IROUTER's IRM and lower three affinities.
    pub route: [u32; 32],
}

impl Word {
    pub const fn new() -> Self {
        Self {
            owned: 0,
            physical: 0,
            initial_edge: 0,
            edge: 0,
            group: 0,
            enabled: 0,
            latch: 0,
            line: 0,
            arrived: 0,
            active: 0,
            active_physical: 0,
            active_group: 0,
            listed: 0,
            listed_physical: 0,
            listed_latch: 0,
            priority: [0; 32],
            active_priority: [0; 32],
            target: [0; 32],
            holder: [0; 32],
            route: [0; 32],
        }
    }

    /// Pending bits as ISPENDR shows them, list registers apart.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.latch | self.arrived | (self.line & !self.edge)
    }

    /// Bits whose group is forwarded, given both groups' enables.
    #[inline]
    pub fn forwarded(&self, group_enable: [u32; 2]) -> u32 {
        (self.group & group_enable[1]) | (!self.group & group_enable[0])
    }

    /// Pending bits that may be offered to a vCPU.
    #[inline]
    pub fn deliverable(&self, group_enable: [u32; 2]) -> u32 {
        self.pending() & self.enabled & self.forwarded(group_enable)
    }

    /// The bits that the path without the model may use.
    #[inline(always)]
    pub fn ready(&self, sgis: u32, group_enable: [u32; 2]) -> u32 {
        let kept = self.latch | self.arrived | self.active | self.listed;
        (self.physical | sgis | self.virtual_edges())
            & self.enabled
            & self.forwarded(group_enable)
            & !kept
    }

    /// Edge-triggered SPIs of virtual devices. They go without the model as SGIs do: a list register that holds one is in no
    /// record.
    #[inline(always)]
    pub fn virtual_edges(&self) -> u32 {
        self.initial_edge & !self.physical
    }
}

/// Calls `each` with the index of every set bit.
#[inline]
pub(super) fn for_each_bit(mut bits: u32, mut each: impl FnMut(usize)) {
    while bits != 0 {
        each(lowest(bits));
        bits &= bits - 1;
    }
}

/// The index of the lowest set bit, 31 at most.
#[inline]
pub(super) fn lowest(bits: u32) -> usize {
    (bits.trailing_zeros() & 31) as usize
}

/// A byte out of a small index.
#[inline]
pub(super) fn byte(index: usize) -> u8 {
    index.to_le_bytes()[0]
}

/// The INTID of bit `bit` of word `word`.
#[inline]
pub(super) fn intid_of(word: usize, bit: usize) -> u16 {
    let [low, high, ..] = (word << 5 | bit).to_le_bytes();
    u16::from_le_bytes([low, high])
}

impl Vgic {
    /// The word and bit index of `intid`.
    #[inline]
    pub(super) fn place(intid: u16) -> (usize, usize) {
        (usize::from(intid >> 5) & 31, usize::from(intid) & 31)
    }

    /// The state of a word; word 0 is `vcpu`'s.
    #[inline]
    pub(super) fn word(&self, word: usize, vcpu: usize) -> &Word {
        &self.words[slot(word, vcpu)]
    }

    /// The state of a word, to change it.
    #[inline]
    pub(super) fn word_mut(&mut self, word: usize, vcpu: usize) -> &mut Word {
        &mut self.words[slot(word, vcpu)]
    }

    /// Looks at interrupts that may have become deliverable: whoever they are for must fold and fill.
    ///
    /// One that a list register still stands before goes to the core with that list register, to merge the two. One that
    /// is active here needs nothing: it is offered when that ends.
    pub(super) fn notice(
        &mut self,
        word: usize,
        vcpu: usize,
        bits: u32,
        effects: &mut Effects<'_>,
    ) {
        let state = &self.words[slot(word, vcpu)];
        let due = bits & state.deliverable(self.group_enable);
        for_each_bit(due & state.listed, |bit| {
            effects.kick |= bit_of(state.holder[bit]);
        });
        for_each_bit(due & !state.listed & !state.active, |bit| {
            let target = if word == 0 {
                byte(vcpu)
            } else {
                state.target[bit]
            };
            if let Some(maybe) = self.maybe.get_mut(usize::from(target)) {
                *maybe |= 1 << word;
                effects.kick |= bit_of(target);
            }
        });
    }

    /// Looks at interrupts that must no longer be offered, or be offered differently: whoever may hold them folds.
    ///
    /// Those with HW are in no record, nor are edges that went without the model, so the vCPU they go to is asked.
    pub(super) fn retract(&self, word: usize, vcpu: usize, bits: u32, effects: &mut Effects<'_>) {
        let state = self.word(word, vcpu);
        if word == 0 {
            if bits & (state.listed | state.physical | SGIS) != 0 {
                effects.retract |= bit_of(byte(vcpu));
            }
            return;
        }
        for_each_bit(bits & state.listed, |bit| {
            effects.retract |= bit_of(state.holder[bit]);
        });
        for_each_bit(bits & (state.physical | state.virtual_edges()), |bit| {
            effects.retract |= bit_of(state.target[bit]);
        });
    }

    /// Hands undelivered level-sensitive physical interrupts that are disabled back to the physical GIC.
    pub(super) fn shed(&mut self, word: usize, vcpu: usize, effects: &mut Effects<'_>) {
        let state = self.word_mut(word, vcpu);
        let back = state.arrived & !state.enabled & !state.edge;
        state.arrived &= !back;
        deactivate(word, vcpu, back, effects);
    }

    /// Ends active states kept here, and with them the physical ones they stand for.
    pub(super) fn complete(
        &mut self,
        word: usize,
        vcpu: usize,
        bits: u32,
        effects: &mut Effects<'_>,
    ) {
        let state = self.word_mut(word, vcpu);
        let ended = bits & state.active;
        let physical = ended & state.active_physical;
        state.active &= !ended;
        state.active_physical &= !ended;
        deactivate(word, vcpu, physical, effects);
        self.notice(word, vcpu, ended, effects);
    }

    /// Tells the direct table which interrupts of a word may go without the model.
    #[inline(never)]
    pub(super) fn publish(&self, word: usize, vcpu: usize, effects: &Effects<'_>) {
        let sgis = if word == 0 { SGIS } else { 0 };
        let state = self.word(word, vcpu);
        let ready = state.ready(sgis, self.group_enable);
        effects
            .direct
            .set_ready(slot(word, vcpu), ready, state.enabled);
    }

    /// Tells the direct table how some interrupts of a word would be listed.
    pub(super) fn publish_templates(
        &self,
        word: usize,
        vcpu: usize,
        bits: u32,
        effects: &Effects<'_>,
    ) {
        let state = self.word(word, vcpu);
        let sgis = if word == 0 { SGIS } else { 0 };
        for_each_bit(
            bits & (state.physical | sgis | state.virtual_edges()),
            |bit| {
                let target = if word == 0 {
                    byte(vcpu)
                } else {
                    state.target[bit]
                };
                let physical = state.physical >> bit & 1 != 0;
                let group1 = state.group >> bit & 1 != 0;
                let plain = ListRegister::new(
                    intid_of(word, bit),
                    State::Pending,
                    state.priority[bit],
                    group1,
                );
                let lr = match (physical, self.config.deactivation, self.config.version) {
                    (true, Deactivation::Hardware, _) => plain.with_hardware(),
                    (true, Deactivation::Software, _) => plain.with_eoi(),
                    (false, _, GicVersion::V2) if word == 0 => plain.with_source(target),
                    (false, _, _) => plain,
                };
                let value = if target == NOBODY {
                    0
                } else {
                    lr.encode(self.config.version)
                };
                effects
                    .direct
                    .set_template(slot(word, vcpu), bit, value, target);
            },
        );
    }

    /// Puts a word back to reset.
    pub(super) fn reset_word(&mut self, word: usize, vcpu: usize, effects: &mut Effects<'_>) {
        let private = word == 0;
        let sgis_enabled = private && self.config.version == GicVersion::V2;
        let nobody = !private && self.config.version == GicVersion::V2 && self.config.vcpus > 1;
        let state = self.word_mut(word, vcpu);
        let before = (state.owned, state.physical, state.initial_edge, state.edge);
        let (owned, physical, initial_edge, edge) = before;
        *state = Word {
            owned: if private { owned | SGIS } else { owned },
            physical,
            initial_edge,
            edge: if private {
                initial_edge | SGIS
            } else {
                initial_edge
            },
            enabled: if sgis_enabled { SGIS } else { 0 },
            target: [if nobody { NOBODY } else { 0 }; 32],
            ..Word::new()
        };
        if physical != 0 {
            let (vcpu, word) = (VcpuId::new(byte(vcpu)), byte(word));
            effects.push(Effect::Reset {
                vcpu,
                word,
                mask: physical,
            });
            let changed = physical & (edge ^ initial_edge);
            if !private && changed != 0 {
                effects.push(Effect::Trigger {
                    word,
                    mask: changed,
                    edge: initial_edge & changed,
                });
            }
        }
        self.publish_templates(word, vcpu, u32::MAX, effects);
        self.publish(word, vcpu, effects);
    }

    /// Whether `intid` names an SPI that the partition has.
    pub(super) fn owns_spi(&self, intid: u16) -> bool {
        let (word, bit) = Self::place(intid);
        (FIRST_SPI..=super::LAST_SPI).contains(&intid) && self.word(word, 0).owned >> bit & 1 != 0
    }
}

/// Asks for the end of physical active states, if there are any.
pub(super) fn deactivate(word: usize, vcpu: usize, mask: u32, effects: &mut Effects<'_>) {
    if mask != 0 {
        let (vcpu, word) = (VcpuId::new(byte(vcpu)), byte(word));
        effects.push(Effect::Deactivate { vcpu, word, mask });
    }
}

/// The bit of a vCPU in a mask of them; none for [`NOBODY`].
#[inline]
pub(super) fn bit_of(vcpu: u8) -> u8 {
    if usize::from(vcpu) < PRIVATE_SLOTS {
        1 << vcpu
    } else {
        0
    }
}
