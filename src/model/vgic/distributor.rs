//! The register banks that all front ends share: one bit, one byte or two bits for each interrupt, at the same offsets in
//! GICv2's and GICv3's distributor and in a redistributor's SGI frame (IHI 0048 4.3, IHI 0069 12.9 and 12.11).
//!
//! Invariant: writes are masked with what the partition owns before anything else sees them.

use super::state::{bit_of, byte, for_each_bit};
use super::{DirectTable, Effect, Effects, Frame, GicVersion, SGIS, Vgic};
use crate::words::VcpuId;

/// ISPENDR0: the first register of pending and active state.
pub(super) const FIRST_STATE: u32 = 0x200;
/// IPRIORITYR0, past ICACTIVER31: the last of them.
pub(super) const STATE_END: u32 = 0x400;

/// A register that exists for 32, 4 or 16 interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bank {
    /// IGROUPR<word>.
    Group(usize),
    /// ISENABLER<word>.
    SetEnable(usize),
    /// ICENABLER<word>.
    ClearEnable(usize),
    /// ISPENDR<word>.
    SetPending(usize),
    /// ICPENDR<word>.
    ClearPending(usize),
    /// ISACTIVER<word>.
    SetActive(usize),
    /// ICACTIVER<word>.
    ClearActive(usize),
    /// IPRIORITYR's bytes from this INTID on: word and first bit.
    Priority(usize, usize),
    /// ITARGETSR's bytes from this INTID on.
    Target(usize, usize),
    /// ICFGR for 16 interrupts from this bit on, 0 or 16.
    Trigger(usize, usize),
}

impl Bank {
    /// The bank at `offset`, if `width` bytes may be accessed there.
    #[inline(always)]
    pub fn at(offset: u32, width: u8) -> Option<Self> {
        let word = (offset >> 2 & 31) as usize;
        let intid = (offset & 0x3ff) as usize;
        let bytes = (intid >> 5, intid & 31);
        match (offset >> 7, width) {
            (1, 4) => Some(Self::Group(word)),
            (2, 4) => Some(Self::SetEnable(word)),
            (3, 4) => Some(Self::ClearEnable(word)),
            (4, 4) => Some(Self::SetPending(word)),
            (5, 4) => Some(Self::ClearPending(word)),
            (6, 4) => Some(Self::SetActive(word)),
            (7, 4) => Some(Self::ClearActive(word)),
            (8..=15, 1 | 4) => Some(Self::Priority(bytes.0, bytes.1)),
            (16..=23, 1 | 4) => Some(Self::Target(bytes.0, bytes.1)),
            (24 | 25, 4) => {
                let register = (offset & 0xff) as usize >> 2;
                Some(Self::Trigger(register >> 1, (register & 1) << 4))
            }
            _ => None,
        }
    }

    /// The word that the register's interrupts are in.
    pub fn word(self) -> usize {
        match self {
            Self::Group(word)
            | Self::SetEnable(word)
            | Self::ClearEnable(word)
            | Self::SetPending(word)
            | Self::ClearPending(word)
            | Self::SetActive(word)
            | Self::ClearActive(word)
            | Self::Priority(word, _)
            | Self::Target(word, _)
            | Self::Trigger(word, _) => word,
        }
    }

    /// Whether it shows what list registers may hold.
    pub fn is_state(self) -> bool {
        matches!(
            self,
            Self::SetPending(_) | Self::ClearPending(_) | Self::SetActive(_) | Self::ClearActive(_)
        )
    }
}

impl Vgic {
    /// The bank of 32-bit access at `offset` of a frame, and whose word 0 it would be; none if the frame has no such bank.
    pub(super) fn bank_of(
        &self,
        vcpu: VcpuId,
        frame: Frame,
        offset: u32,
    ) -> Option<(VcpuId, Bank)> {
        let (vcpu, offset) = match frame {
            Frame::Distributor => (vcpu, offset),
            Frame::Redistributor(of) => (of, offset.checked_sub(super::v3::SGI_FRAME)?),
        };
        let bank = Bank::at(offset, 4)?;
        self.has_bank(frame, bank).then_some((vcpu, bank))
    }

    /// Reads a bank; word 0 is `vcpu`'s.
    #[inline(always)]
    pub(super) fn bank_read(&self, vcpu: usize, bank: Bank, width: u8) -> u32 {
        let state = self.word(bank.word(), vcpu);
        match bank {
            Bank::Group(_) => state.group,
            Bank::SetEnable(_) | Bank::ClearEnable(_) => state.enabled,
            Bank::SetPending(_) | Bank::ClearPending(_) => state.pending(),
            Bank::SetActive(_) | Bank::ClearActive(_) => state.active,
            Bank::Priority(_, first) => bytes_at(&state.priority, first, width),
            Bank::Target(word, first) => self.read_targets(vcpu, word, first, width),
            Bank::Trigger(_, first) => spread(state.edge >> first & 0xffff) << 1,
        }
    }

    /// Writes a bank; word 0 is `vcpu`'s.
    pub(super) fn bank_write(
        &mut self,
        vcpu: usize,
        bank: Bank,
        width: u8,
        value: u32,
        effects: &mut Effects<'_>,
    ) {
        let mask = value & self.word(bank.word(), vcpu).owned;
        match bank {
            Bank::Group(word) => self.write_group(word, vcpu, mask, effects),
            Bank::SetEnable(word) => self.enable(word, vcpu, mask, effects),
            Bank::ClearEnable(word) => self.disable(word, vcpu, mask, effects),
            Bank::SetPending(word) => self.set_pending(word, vcpu, mask, effects),
            Bank::ClearPending(word) => self.clear_pending(word, vcpu, mask, effects),
            Bank::SetActive(word) => self.set_active(word, vcpu, mask, effects),
            Bank::ClearActive(word) => {
                self.complete(word, vcpu, mask, effects);
                self.publish(word, vcpu, effects);
            }
            Bank::Priority(word, first) => {
                self.write_priorities(word, vcpu, first, width, value, effects)
            }
            Bank::Target(word, first) => self.write_targets(word, first, width, value, effects),
            Bank::Trigger(word, first) => self.write_trigger(word, first, value, effects),
        }
    }

    /// Enables the interrupts `mask` of register word `word`, or disables them, where that concerns nothing that waits here or
    /// in a list register; word 0 is the accessing vCPU's own. Returns the physical ones among those that have changed, to be
    /// told the controller; `None`, and nothing has changed, if the write must go the usual way.
    ///
    /// `idle` says whether all list registers of that vCPU are out of use.
    #[inline(always)]
    pub fn switch_at_once(
        &mut self,
        word: usize,
        vcpu: VcpuId,
        mask: u32,
        on: bool,
        idle: impl FnOnce() -> bool,
        direct: &DirectTable,
    ) -> Option<u32> {
        let slot = super::slot(word, vcpu.index());
        let single = word == 0 || self.config.vcpus == 1;
        let version = self.config.version;
        let state = &mut self.words[slot];
        let mask = mask & state.owned;
        let changed = if on {
            mask & !state.enabled
        } else {
            mask & state.enabled
        };
        if changed == 0 {
            return Some(0);
        }
        if changed & (state.pending() | state.listed) != 0 {
            return None;
        }
        if !on && (!single || version == GicVersion::V2 && word == 0 || !idle()) {
            return None;
        }
        state.enabled ^= changed;
        let sgis = if word == 0 { SGIS } else { 0 };
        direct.set_ready(slot, state.ready(sgis, self.group_enable), state.enabled);
        Some(changed & state.physical)
    }

    fn write_group(&mut self, word: usize, vcpu: usize, group: u32, effects: &mut Effects<'_>) {
        let state = self.word_mut(word, vcpu);
        let changed = state.group ^ group;
        if changed == 0 {
            return;
        }
        state.group = group;
        self.retract(word, vcpu, changed, effects);
        self.publish_templates(word, vcpu, changed, effects);
        self.publish(word, vcpu, effects);
        self.notice(word, vcpu, changed, effects);
    }

    fn enable(&mut self, word: usize, vcpu: usize, mask: u32, effects: &mut Effects<'_>) {
        let state = self.word_mut(word, vcpu);
        let changed = mask & !state.enabled;
        if changed == 0 {
            return;
        }
        state.enabled |= changed;
        let physical = changed & state.physical;
        let pending = changed & state.pending();
        if physical != 0 {
            let (vcpu, word) = (VcpuId::new(byte(vcpu)), byte(word));
            effects.push(Effect::Enable {
                vcpu,
                word,
                mask: physical,
            });
        }
        self.publish(word, vcpu, effects);
        if pending != 0 {
            self.notice(word, vcpu, pending, effects);
        }
    }

    fn disable(&mut self, word: usize, vcpu: usize, mask: u32, effects: &mut Effects<'_>) {
        let always = self.v2_sgis(word);
        let state = self.word_mut(word, vcpu);
        let changed = mask & state.enabled & !always;
        if changed == 0 {
            return;
        }
        state.enabled &= !changed;
        let physical = changed & state.physical;
        if physical != 0 {
            let (vcpu, word) = (VcpuId::new(byte(vcpu)), byte(word));
            effects.push(Effect::Disable {
                vcpu,
                word,
                mask: physical,
            });
        }
        self.publish(word, vcpu, effects);
        self.shed(word, vcpu, effects);
        self.retract(word, vcpu, changed, effects);
    }

    /// SGIs of a GICv2: they cannot be disabled, as in the GIC-400, and their pending state has registers of its own.
    fn v2_sgis(&self, word: usize) -> u32 {
        match self.config.version {
            GicVersion::V2 if word == 0 => SGIS,
            _ => 0,
        }
    }

    fn set_pending(&mut self, word: usize, vcpu: usize, mask: u32, effects: &mut Effects<'_>) {
        let mask = mask & !self.v2_sgis(word);
        self.word_mut(word, vcpu).latch |= mask;
        self.publish(word, vcpu, effects);
        self.notice(word, vcpu, mask, effects);
    }

    fn clear_pending(&mut self, word: usize, vcpu: usize, mask: u32, effects: &mut Effects<'_>) {
        let mask = mask & !self.v2_sgis(word);
        let state = self.word_mut(word, vcpu);
        state.latch &= !mask;
        let handed_back = state.arrived & mask;
        state.arrived &= !mask;
        let physical = mask & state.physical;
        if physical != 0 {
            let (vcpu, word) = (VcpuId::new(byte(vcpu)), byte(word));
            effects.push(Effect::ClearPending {
                vcpu,
                word,
                mask: physical,
            });
        }
        super::state::deactivate(word, vcpu, handed_back, effects);
        self.publish(word, vcpu, effects);
    }

    fn set_active(&mut self, word: usize, vcpu: usize, mask: u32, effects: &mut Effects<'_>) {
        let state = self.word_mut(word, vcpu);
        let started = mask & !state.active;
        state.active |= started;
        state.active_group = state.active_group & !started | state.group & started;
        let mut holders = 0;
        for_each_bit(started, |bit| {
            let target = if word == 0 {
                byte(vcpu)
            } else {
                state.target[bit]
            };
            let holder = if bit_of(target) == 0 {
                byte(vcpu)
            } else {
                target
            };
            state.active_priority[bit] = state.priority[bit];
            state.holder[bit] = holder;
            holders |= bit_of(holder);
        });
        for_each_bit(u32::from(holders), |holder| {
            self.maybe[holder & 7] |= 1 << word
        });
        effects.kick |= holders;
        self.publish(word, vcpu, effects);
    }

    fn write_priorities(
        &mut self,
        word: usize,
        vcpu: usize,
        first: usize,
        width: u8,
        value: u32,
        effects: &mut Effects<'_>,
    ) {
        let implemented = 0xff00u16 >> self.config.priority_bits.min(8);
        let implemented = implemented.to_le_bytes()[0];
        let state = self.word_mut(word, vcpu);
        let mut changed = 0;
        for (index, new) in value
            .to_le_bytes()
            .into_iter()
            .take(usize::from(width))
            .enumerate()
        {
            let bit = (first + index) & 31;
            let new = new & implemented;
            if state.owned >> bit & 1 != 0 && state.priority[bit] != new {
                state.priority[bit] = new;
                changed |= 1 << bit;
            }
        }
        if changed != 0 {
            self.publish_templates(word, vcpu, changed, effects);
            self.retract(word, vcpu, changed, effects);
            self.notice(word, vcpu, changed, effects);
        }
    }

    /// Writes ICFGR: only SPIs have a choice.
    fn write_trigger(&mut self, word: usize, first: usize, value: u32, effects: &mut Effects<'_>) {
        if word == 0 {
            return;
        }
        let edge = gather(value >> 1) << first;
        let state = self.word_mut(word, 0);
        let changed = (state.edge ^ edge) & state.owned & 0xffff << first;
        if changed == 0 {
            return;
        }
        state.edge ^= changed;
        let mask = changed & state.physical;
        if mask != 0 {
            let edge = edge & mask;
            effects.push(Effect::Trigger {
                word: byte(word),
                mask,
                edge,
            });
        }
        self.shed(word, 0, effects);
        self.retract(word, 0, changed, effects);
        self.notice(word, 0, changed, effects);
    }

    /// Sends an SPI to another vCPU, or to none: what waits moves along, what is active stays where it is.
    pub(super) fn retarget(
        &mut self,
        word: usize,
        bit: usize,
        target: u8,
        effects: &mut Effects<'_>,
    ) {
        let mask = 1 << bit;
        if self.word(word, 0).target[bit] == target {
            return;
        }
        self.retract(word, 0, mask, effects);
        self.word_mut(word, 0).target[bit] = target;
        if bit_of(target) != 0 && self.word(word, 0).physical & mask != 0 {
            let (intid, vcpu) = (super::state::intid_of(word, bit), VcpuId::new(target));
            effects.push(Effect::Route { intid, vcpu });
        }
        self.publish_templates(word, 0, mask, effects);
        self.publish(word, 0, effects);
        self.notice(word, 0, mask, effects);
    }

    /// The physical interrupts whose physical pending bits the guest shall see, ORed into what it reads, when `vcpu` reads
    /// ISPENDR or ICPENDR at `offset` of `frame`: a device's line shows even while the interrupt is disabled.
    ///
    /// Gives the word and the mask, or nothing for any other register.
    #[must_use]
    pub fn physical_pending(&self, vcpu: VcpuId, frame: Frame, offset: u32) -> Option<(u8, u32)> {
        let (vcpu, bank) = self.bank_of(vcpu, frame, offset)?;
        let mask = self.word(bank.word(), vcpu.index()).physical;
        let asked = matches!(bank, Bank::SetPending(_) | Bank::ClearPending(_));
        (asked && mask != 0).then_some((byte(bank.word()), mask))
    }

    /// Whether a frame shows a bank: GICv3's distributor has no private interrupts, a redistributor no others.
    pub(super) fn has_bank(&self, frame: Frame, bank: Bank) -> bool {
        match (frame, self.config.version) {
            (Frame::Distributor, GicVersion::V2) => true,
            (Frame::Distributor, GicVersion::V3) => bank.word() != 0,
            (Frame::Redistributor(_), _) => bank.word() == 0,
        }
    }
}

/// `width` bytes of a byte-per-interrupt register.
pub(super) fn bytes_at(bytes: &[u8; 32], first: usize, width: u8) -> u32 {
    let mut value = [0; 4];
    for (index, to) in value.iter_mut().take(usize::from(width)).enumerate() {
        *to = bytes[(first + index) & 31];
    }
    u32::from_le_bytes(value)
}

/// Moves bit n of the lower half to bit 2n.
fn spread(half: u32) -> u32 {
    let mut bits = half & 0xffff;
    bits = (bits | bits << 8) & 0x00ff_00ff;
    bits = (bits | bits << 4) & 0x0f0f_0f0f;
    bits = (bits | bits << 2) & 0x3333_3333;
    (bits | bits << 1) & 0x5555_5555
}

/// Moves bit 2n to bit n of the lower half.
fn gather(bits: u32) -> u32 {
    let mut bits = bits & 0x5555_5555;
    bits = (bits | bits >> 1) & 0x3333_3333;
    bits = (bits | bits >> 2) & 0x0f0f_0f0f;
    bits = (bits | bits >> 4) & 0x00ff_00ff;
    (bits | bits >> 8) & 0xffff
}
