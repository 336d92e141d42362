//! What happens to interrupts from outside: physical arrivals, virtual lines and edges, SGIs, trapped deactivations.

use super::direct::FIRST_BELL;
use super::state::{bit_of, byte, for_each_bit, lowest};
use super::{Effect, Effects, LAST_SPI, Vgic};
use crate::words::VcpuId;

impl Vgic {
    /// Takes the physical interrupt `intid`, which the core of `vcpu` acknowledged and whose priority it dropped.
    ///
    /// One that the partition does not own is disabled and deactivated.
    pub fn physical(&mut self, vcpu: VcpuId, intid: u16, effects: &mut Effects<'_>) {
        let (word, bit) = Self::place(intid.min(LAST_SPI));
        let (index, mask) = (vcpu.index(), 1 << bit);
        let state = self.word_mut(word, index);
        if state.physical & mask == 0 {
            let word = byte(word);
            effects.push(Effect::Disable { vcpu, word, mask });
            effects.push(Effect::Deactivate { vcpu, word, mask });
            return;
        }
        state.arrived |= mask;
        self.shed(word, index, effects);
        self.publish(word, index, effects);
        self.notice(word, index, mask, effects);
    }

    /// Sets the line of a virtual level-sensitive SPI. Ignores interrupts that are not owned or are physical.
    ///
    /// If the guest configured it as edge-triggered, a rising line is one occurrence.
    pub fn set_level(&mut self, intid: u16, level: bool, effects: &mut Effects<'_>) {
        let (word, bit) = Self::place(intid);
        let mask = 1 << bit;
        if !self.owns_spi(intid) || self.word(word, 0).physical & mask != 0 {
            return;
        }
        let state = self.word_mut(word, 0);
        let was = state.line & mask != 0;
        if was == level {
            return;
        }
        state.line ^= mask;
        if !level {
            self.retract(word, 0, mask, effects);
        } else {
            state.latch |= state.edge & mask;
            self.notice(word, 0, mask, effects);
        }
    }

    /// Raises a virtual edge-triggered SPI; one not yet acknowledged stays pending once. Ignores interrupts that are not owned
    /// or are physical.
    pub fn raise(&mut self, intid: u16, effects: &mut Effects<'_>) {
        let (word, bit) = Self::place(intid);
        let mask = 1 << bit;
        if self.owns_spi(intid) && self.word(word, 0).physical & mask == 0 {
            self.word_mut(word, 0).latch |= mask;
            self.publish(word, 0, effects);
            self.notice(word, 0, mask, effects);
        }
    }

    /// Raises the doorbells that were rung without the model: see [`Bell::ring`](super::Bell::ring).
    ///
    /// One that the guest still has before it becomes quiet: its next rings interrupt nobody, and its end is told. One that
    /// has come to its end is looked at here, and is quiet no more unless it was rung again. So however often it is rung,
    /// its core is interrupted at most twice for each time the guest takes it.
    #[inline(always)]
    pub(super) fn take_bells(&mut self, effects: &mut Effects<'_>) {
        let (rung, quiet) = effects.direct.take_rung();
        if rung | quiet != 0 {
            self.take_these_bells(rung, quiet, effects);
        }
    }

    fn take_these_bells(&mut self, mut rung: u64, quiet: u64, effects: &mut Effects<'_>) {
        let mut ended = 0;
        for_each_bell(quiet & !rung, |bell, bit| {
            ended |= if self.is_in_use(bell) { 0 } else { bit };
        });
        if ended != 0 {
            rung |= effects.direct.end_quiet(ended);
        }
        let mut in_use = 0;
        for_each_bell(rung, |bell, bit| {
            in_use |= if self.is_in_use(bell) { bit } else { 0 };
            self.raise(bell, effects);
        });
        // (One that is quiet, at its end and rung again stays quiet.)
        if in_use != 0 {
            effects.direct.make_quiet(in_use);
        }
    }

    /// Whether an earlier occurrence of the virtual edge `intid` is still to be acknowledged or ended.
    fn is_in_use(&self, intid: u16) -> bool {
        let (word, bit) = Self::place(intid);
        let state = self.word(word, 0);
        (state.latch | state.active | state.listed) >> bit & 1 != 0
    }

    /// Ends the active state of `intid` because the guest's ICC_DIR_EL1 write trapped; fold `vcpu`'s list registers first.
    pub fn deactivate(&mut self, vcpu: VcpuId, intid: u16, effects: &mut Effects<'_>) {
        if intid <= LAST_SPI {
            let (word, bit) = Self::place(intid);
            self.complete(word, vcpu.index(), 1 << bit, effects);
            self.publish(word, vcpu.index(), effects);
        }
    }

    /// Makes SGI `sgi` from vCPU `from` pending at every vCPU in the mask `targets` that has it in one of the `groups` (bit 0
    /// for group 0, bit 1 for group 1).
    pub(super) fn send(
        &mut self,
        from: usize,
        sgi: u8,
        targets: u8,
        groups: u32,
        effects: &mut Effects<'_>,
    ) {
        let (bit, mask) = (usize::from(sgi & 15), 1 << (sgi & 15));
        let mut left = targets & self.everyone();
        while left != 0 {
            let target = lowest(u32::from(left)) & 7;
            left &= left - 1;
            let group = self.word(0, target).group >> bit & 1;
            if groups >> group & 1 == 0 {
                continue;
            }
            self.sources[target][bit] |= bit_of(byte(from));
            self.word_mut(0, target).latch |= mask;
            self.publish(0, target, effects);
            self.notice(0, target, mask, effects);
        }
    }

    /// The vCPUs that exist, as a mask.
    pub(super) fn everyone(&self) -> u8 {
        u8::MAX >> (8 - self.config.vcpus.clamp(1, 8))
    }

    /// The highest-priority active interrupts kept here end, one for each of `count` ends that found no list register.
    pub(super) fn complete_evicted(&mut self, vcpu: usize, count: u32, effects: &mut Effects<'_>) {
        for _ in 0..count.min(31) {
            let Some((word, bit)) = self.most_urgent_active(vcpu) else {
                return;
            };
            self.complete(word, vcpu, 1 << bit, effects);
            self.publish(word, vcpu, effects);
        }
    }

    fn most_urgent_active(&self, vcpu: usize) -> Option<(usize, usize)> {
        let mut best: Option<(u8, usize, usize)> = None;
        for_each_bit(self.maybe[vcpu & 7], |word| {
            let state = self.word(word, vcpu);
            for_each_bit(state.active, |bit| {
                let key = (state.active_priority[bit], word, bit);
                if state.holder[bit] == byte(vcpu) && best.is_none_or(|best| key < best) {
                    best = Some(key);
                }
            });
        });
        best.map(|(_, word, bit)| (word, bit))
    }
}

/// Calls `each` with the INTID and the bit of every doorbell in `bells`.
fn for_each_bell(mut bells: u64, mut each: impl FnMut(u16, u64)) {
    while bells != 0 {
        let [index, ..] = bells.trailing_zeros().to_le_bytes();
        each(FIRST_BELL + u16::from(index), bells & bells.wrapping_neg());
        bells &= bells - 1;
    }
}
