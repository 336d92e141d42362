//! List registers: what fold takes back from them, and what fill puts in.
//!
//! Invariant: after a fold nothing of its vCPU is listed; a fill lists each interrupt once, most urgent first.

use super::state::{Word, byte, deactivate, for_each_bit, intid_of, lowest};
use super::{
    Deactivation, DirectTable, Effects, GicVersion, LAST_SPI, MAX_LIST_REGISTERS, Vgic, slot,
};
use crate::arm::list_register::{InterfaceControl, ListRegister, State};
use crate::words::VcpuId;
use arrayvec::ArrayVec;

/// What a core's virtual CPU interface shall hold.
#[derive(Debug, Clone, Default)]
pub struct Filled {
    /// Values for the list registers 0 and up; the rest become zero.
    pub lrs: ArrayVec<ListRegister, MAX_LIST_REGISTERS>,
    /// Something deliverable found no list register. NPIE is set; nothing may be injected past the model meanwhile.
    pub overflow: bool,
    /// Active interrupts found no list register. LRENPIE is set; on GICv3 set TDIR as well, and pass trapped ICC_DIR_EL1
    /// writes to [`Vgic::deactivate`], as GICv2's GICV_DIR writes always.
    pub evicted: bool,
}

impl Filled {
    /// Adds a list register; there are never more than were counted.
    fn add(&mut self, lr: ListRegister) {
        let fits = self.lrs.try_push(lr).is_ok();
        debug_assert!(fits, "a fill lists no more than there are list registers");
    }

    /// The bits of ICH_HCR_EL2 or GICH_HCR that go with the list registers, ENABLE included; TDIR is the caller's.
    #[must_use]
    pub fn control(&self) -> InterfaceControl {
        let mut control = InterfaceControl::ENABLE;
        // With active interrupts alone in the list registers NPIE would fire at once; their EOI notices serve instead.
        let offers = self.lrs.iter().any(|lr| lr.state() == State::Pending);
        control.set(InterfaceControl::NO_PENDING, self.overflow && offers);
        control.set(InterfaceControl::ENTRY_NOT_PRESENT, self.evicted);
        control
    }
}

/// The most urgent of a kind, sorted: priority in the upper half, INTID in the lower.
type Ranking = ArrayVec<u32, MAX_LIST_REGISTERS>;

/// How active interrupts are listed.
#[derive(Clone, Copy)]
struct Listing {
    /// Each with an EOI notice.
    tell: bool,
    /// Their next occurrence in the same list register, where that can be.
    share: bool,
}

impl Listing {
    /// When nothing waits for a list register.
    const ALONE: Self = Self {
        tell: false,
        share: true,
    };
}

/// What a vCPU's interrupts want of its list registers.
struct Wanted {
    active: Ranking,
    pending: Ranking,
    /// All there are, ranked or not.
    active_count: usize,
    pending_count: usize,
}

impl Vgic {
    /// Takes back what `vcpu`'s list registers hold; they count as empty afterwards.
    ///
    /// `lrs` are those that ELRSR does not call empty, in any order, with what the hardware made of them; `eoi_count` is
    /// EOIcount, which the caller clears. What the last fill listed and `lrs` lacks has ended. Values that no fill
    /// wrote are welcome, if [`DirectTable`](super::DirectTable) offered them.
    pub fn fold(
        &mut self,
        vcpu: VcpuId,
        lrs: &[ListRegister],
        eoi_count: u32,
        effects: &mut Effects<'_>,
    ) {
        let index = vcpu.index() & 7;
        if eoi_count != 0 {
            self.complete_evicted(index, eoi_count, effects);
        }
        for &lr in lrs {
            self.fold_one(index, lr, effects);
        }
        while let Some(intid) = self.listed[index].pop() {
            let (word, bit) = Self::place(intid);
            let state = self.word(word, index);
            if state.listed >> bit & 1 != 0 && state.holder[bit] == byte(index) {
                let ended = ListRegister::new(intid, State::Invalid, 0, false);
                self.fold_one(index, ended, effects);
            }
        }
        let table = effects.direct;
        table.take_posted(index, self.config.version, |sgi, sources| {
            self.take_sgi(index, sgi, sources, effects)
        });
        self.take_bells(effects);
        // The caller fills next in any case.
        let own = self.bit_of(index);
        effects.kick &= !own;
        effects.retract &= !own;
    }

    fn fold_one(&mut self, vcpu: usize, lr: ListRegister, effects: &mut Effects<'_>) {
        let intid = lr.intid();
        let (word, bit) = Self::place(intid);
        let mask = 1u32 << bit;
        let v2 = self.config.version == GicVersion::V2;
        let state = &mut self.words[slot(word, vcpu)];
        if intid > LAST_SPI || state.owned & mask == 0 {
            return;
        }
        let listed = state.listed & mask != 0;
        let physical = if listed {
            state.listed_physical & mask != 0
        } else {
            state.physical & mask != 0
        };
        let took_latch = if listed {
            state.listed_latch & mask != 0
        } else {
            !physical
        };
        if !lr.is_hardware() {
            state.listed &= !mask;
            state.listed_physical &= !mask;
            state.listed_latch &= !mask;
        }
        if lr.state().is_pending() {
            state.arrived |= if physical { mask } else { 0 };
            if took_latch {
                state.latch |= mask;
                if v2 && word == 0 && bit < 16 {
                    self.sources[vcpu & 7][bit] |= 1 << lr.source();
                }
            }
        }
        if lr.state().is_active() {
            state.active |= mask;
            state.active_physical |= if physical { mask } else { 0 };
            state.active_group = state.active_group & !mask | if lr.is_group1() { mask } else { 0 };
            state.active_priority[bit] = lr.priority();
            state.holder[bit] = byte(vcpu);
            if word == 0 && bit < 16 {
                self.active_source[vcpu & 7][bit] = lr.source();
            }
        }
        self.maybe[vcpu & 7] |= 1 << word;
        let due = state.pending() & mask != 0;
        if lr.state() == State::Invalid && physical && !lr.is_hardware() {
            deactivate(word, vcpu, mask, effects);
        }
        if due {
            self.shed(word, vcpu, effects);
            self.notice(word, vcpu, mask, effects);
        }
        self.publish(word, vcpu, effects);
    }

    /// Makes an SGI pending that was posted without the model.
    fn take_sgi(&mut self, vcpu: usize, sgi: usize, sources: u8, effects: &mut Effects<'_>) {
        self.sources[vcpu & 7][sgi & 15] |= sources;
        self.word_mut(0, vcpu).latch |= 1 << (sgi & 15);
        self.publish(0, vcpu, effects);
        self.notice(0, vcpu, 1 << (sgi & 15), effects);
    }

    /// Chooses what goes into `vcpu`'s list registers, after a fold of them, and moves it there.
    #[inline(always)]
    pub fn fill(&mut self, vcpu: VcpuId, effects: &mut Effects<'_>) -> Filled {
        let mut filled = Filled::default();
        self.fill_into(vcpu, &mut filled, effects);
        filled
    }

    /// Does what [`Vgic::fill`] does, into an empty `filled`: this spares a copy.
    pub fn fill_into(&mut self, vcpu: VcpuId, filled: &mut Filled, effects: &mut Effects<'_>) {
        // What was done since the fold may have ended some.
        self.take_bells(effects);
        let index = vcpu.index() & 7;
        let room = usize::from(self.config.list_registers);
        if self.maybe[index] == 0 {
            return;
        }
        let mut all = Ranking::new();
        if !self.gather(index, room, &mut all) {
            return self.fill_ranked(index, room, filled, effects);
        }
        for &key in &all {
            let lr = if key & ACTIVE_KEY != 0 {
                self.list_active(index, key, Listing::ALONE, effects)
            } else {
                self.list_pending(index, key, effects)
            };
            filled.add(lr);
        }
    }

    /// Whether anything may wait for `vcpu`, whose list registers are empty. If not, a fold and a fill would change nothing.
    #[must_use]
    #[inline(always)]
    pub fn may_wait(&self, vcpu: VcpuId, direct: &DirectTable) -> bool {
        self.maybe[vcpu.index() & 7] != 0 || direct.is_posted(vcpu)
    }

    /// Looks at what may wait for `vcpu`, whose list registers are empty, so that [`Vgic::may_wait`] need not say so of what
    /// does not.
    pub fn sift(&mut self, vcpu: VcpuId) {
        let index = vcpu.index() & 7;
        // What it collects stays where it is.
        let _ = self.gather(index, MAX_LIST_REGISTERS, &mut Ranking::new());
    }

    /// Collects a vCPU's active and deliverable interrupts, unless there are more than `room`.
    fn gather(&mut self, vcpu: usize, room: usize, all: &mut Ranking) -> bool {
        let mut left = self.maybe[vcpu & 7];
        while left != 0 {
            let word = lowest(left);
            left &= left - 1;
            let (mut active, mut due) = self.candidates(word, vcpu);
            if active | due == 0 {
                self.maybe[vcpu & 7] &= !(1 << word);
            }
            while active | due != 0 {
                // Both kinds exclude each other.
                let (bits, mark) = if active != 0 {
                    (&mut active, ACTIVE_KEY)
                } else {
                    (&mut due, 0)
                };
                let key = mark | key(0, word, lowest(*bits));
                *bits &= *bits - 1;
                if all.len() >= room || all.try_push(key).is_err() {
                    return false;
                }
            }
        }
        true
    }

    /// The active and the deliverable interrupts of a word that are `vcpu`'s to list.
    #[inline]
    fn candidates(&self, word: usize, vcpu: usize) -> (u32, u32) {
        let state = self.word(word, vcpu);
        let mut active = state.active & !state.listed;
        let mut due = state.deliverable(self.group_enable) & !state.listed & !state.active;
        if word != 0 {
            for_each_bit(active, |bit| {
                active &= !(u32::from(state.holder[bit] != byte(vcpu)) << bit);
            });
            for_each_bit(due, |bit| {
                due &= !(u32::from(state.target[bit] != byte(vcpu)) << bit);
            });
        }
        (active, due)
    }

    /// Fills when there are more interrupts than list registers.
    #[cold]
    fn fill_ranked(
        &mut self,
        vcpu: usize,
        room: usize,
        filled: &mut Filled,
        effects: &mut Effects<'_>,
    ) {
        let wanted = self.wanted(vcpu, room);
        let reserved = usize::from(wanted.pending_count != 0);
        let active = wanted.active_count.min(room.saturating_sub(reserved));
        let pending = wanted.pending_count.min(room.saturating_sub(active));
        filled.evicted = active < wanted.active_count;
        filled.overflow = pending < wanted.pending_count;
        // If nothing pending is listed that could tell when to look again, the end of any active one must. And if something
        // waits at all, nothing may become pending past it, unseen.
        let listing = Listing {
            tell: filled.overflow && pending == 0,
            share: !filled.overflow,
        };
        for &key in wanted.active.iter().take(active) {
            filled.add(self.list_active(vcpu, key, listing, effects));
        }
        for &key in wanted.pending.iter().take(pending) {
            filled.add(self.list_pending(vcpu, key, effects));
        }
    }

    /// Ranks a vCPU's active and deliverable interrupts, as many as there is room for.
    fn wanted(&self, vcpu: usize, room: usize) -> Wanted {
        let mut wanted = Wanted {
            active: ArrayVec::new(),
            pending: ArrayVec::new(),
            active_count: 0,
            pending_count: 0,
        };
        for_each_bit(self.maybe[vcpu & 7], |word| {
            let state = self.word(word, vcpu);
            let (active, due) = self.candidates(word, vcpu);
            wanted.active_count += active.count_ones() as usize;
            wanted.pending_count += due.count_ones() as usize;
            for_each_bit(active, |bit| {
                rank(
                    &mut wanted.active,
                    room,
                    key(state.active_priority[bit], word, bit),
                );
            });
            for_each_bit(due, |bit| {
                rank(
                    &mut wanted.pending,
                    room,
                    key(state.priority[bit], word, bit),
                );
            });
        });
        wanted
    }

    /// Moves a pending interrupt into a list register.
    fn list_pending(&mut self, vcpu: usize, key: u32, effects: &mut Effects<'_>) -> ListRegister {
        let (word, bit, mask) = unkey(key);
        let software = self.config.deactivation == Deactivation::Software;
        let v2_sgi = word == 0 && bit < 16 && self.config.version == GicVersion::V2;
        let state = &mut self.words[slot(word, vcpu)];
        let mut lr = state.listing(word, bit, State::Pending);
        let both = state.arrived & state.latch & mask != 0;
        if state.arrived & mask != 0 && !software && !both {
            state.arrived &= !mask;
            lr = lr.with_hardware();
        } else if state.arrived & mask != 0 {
            // One occurrence for the guest, but each cause may still be taken back alone: HW has no room to say so.
            state.arrived &= !mask;
            state.listed_latch |= state.latch & mask;
            state.latch &= !mask;
            lr = lr.with_eoi();
            state.list(bit, vcpu);
            state.listed_physical |= mask;
            self.remember(vcpu, word, bit);
        } else {
            let plain = (word == 0 && bit < 16) || state.virtual_edges() & mask != 0;
            let mut more =
                state.line & !state.edge & mask != 0 || effects.direct.is_quiet(word, bit);
            let took = state.latch & mask;
            state.latch &= !mask;
            if v2_sgi {
                let sources = &mut self.sources[vcpu & 7][bit & 15];
                let source = byte(lowest(u32::from(*sources)) & 7);
                *sources &= !(1 << source);
                more = *sources != 0;
                state.latch |= if more { mask } else { 0 };
                lr = lr.with_source(source);
            }
            if plain && !more {
                // In no record, as if it had come without the model: so may the next.
                self.publish(word, vcpu, effects);
                return lr;
            }
            state.listed_latch |= took;
            state.list(bit, vcpu);
            if more {
                lr = lr.with_eoi();
            }
            self.remember(vcpu, word, bit);
        }
        self.publish(word, vcpu, effects);
        lr
    }

    /// Moves an active interrupt into a list register; its end is told where it must be, also if it is due again.
    fn list_active(
        &mut self,
        vcpu: usize,
        key: u32,
        listing: Listing,
        effects: &mut Effects<'_>,
    ) -> ListRegister {
        let (word, bit, mask) = unkey(key);
        let software = self.config.deactivation == Deactivation::Software;
        let v2_sgi = word == 0 && bit < 16 && self.config.version == GicVersion::V2;
        let source = if v2_sgi {
            self.active_source[vcpu & 7][bit]
        } else {
            0
        };
        let state = &mut self.words[slot(word, vcpu)];
        let group1 = state.active_group & mask != 0;
        let active = ListRegister::new(
            intid_of(word, bit),
            State::Active,
            state.active_priority[bit],
            group1,
        );
        let due = state.deliverable(self.group_enable) & mask != 0;
        // One that waits here may become due while it is active there: the list register must be on record then.
        let waits = state.pending() & mask != 0;
        let physical = state.active_physical & mask != 0;
        state.active &= !mask;
        state.active_physical &= !mask;
        if physical && !software && !listing.tell && !waits {
            self.publish(word, vcpu, effects);
            return active.with_hardware();
        }
        state.list(bit, vcpu);
        // Only a plain edge, for this vCPU and of the same standing, may share a list register with its active self.
        let alike = state.priority[bit] == state.active_priority[bit]
            && (state.group & mask != 0) == group1
            && (word == 0 || state.target[bit] == byte(vcpu));
        let plain = !physical && !v2_sgi && state.latch & mask != 0;
        let shares = listing.share
            && due
            && alike
            && plain
            && state.arrived & mask == 0
            && state.line & mask == 0;
        state.listed_physical |= if physical { mask } else { 0 };
        if shares {
            state.listed_latch |= mask;
            state.latch &= !mask;
        }
        let mut lr = active.with_state(if shares {
            State::PendingActive
        } else {
            State::Active
        });
        if v2_sgi {
            lr = lr.with_source(source);
        }
        if physical || listing.tell || (due && !shares) || effects.direct.is_quiet(word, bit) {
            lr = lr.with_eoi();
        }
        self.remember(vcpu, word, bit);
        self.publish(word, vcpu, effects);
        lr
    }

    /// Notes that a fill listed an interrupt without HW.
    fn remember(&mut self, vcpu: usize, word: usize, bit: usize) {
        let fits = self.listed[vcpu & 7].try_push(intid_of(word, bit)).is_ok();
        debug_assert!(fits, "a fill lists no more than there are list registers");
    }
}

impl Word {
    /// A list register for an interrupt as it is configured.
    fn listing(&self, word: usize, bit: usize, state: State) -> ListRegister {
        let group1 = self.group >> bit & 1 != 0;
        ListRegister::new(intid_of(word, bit), state, self.priority[bit], group1)
    }

    /// Records that a list register of `vcpu` without HW carries an interrupt.
    fn list(&mut self, bit: usize, vcpu: usize) {
        self.listed |= 1 << bit;
        self.holder[bit] = byte(vcpu);
    }
}

/// Marks the key of an active interrupt where both kinds are together.
const ACTIVE_KEY: u32 = 1 << 31;

/// The sort key of an interrupt: lower is more urgent, ties go to the lower INTID as in the GIC.
fn key(priority: u8, word: usize, bit: usize) -> u32 {
    u32::from(priority) << 16 | u32::from(intid_of(word, bit))
}

/// The word, bit index and bit that a key names.
fn unkey(key: u32) -> (usize, usize, u32) {
    let (word, bit) = (key >> 5 & 31, key & 31);
    (word as usize, bit as usize, 1 << bit)
}

/// Keeps the `room` most urgent keys, in order.
#[inline(always)]
fn rank(ranking: &mut Ranking, room: usize, key: u32) {
    if ranking.len() >= room.min(MAX_LIST_REGISTERS) {
        if ranking.last().is_none_or(|&last| last < key) {
            return;
        }
        ranking.pop();
    }
    let at = ranking
        .iter()
        .rposition(|&other| other < key)
        .map_or(0, |at| at + 1);
    let fits = ranking.try_insert(at, key).is_ok();
    debug_assert!(fits, "a full ranking has lost its last");
}
