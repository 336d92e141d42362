//! Who has fallen silent, and whether it is caught in a loop of exceptions at its own EL1.
//!
//! A guest whose vector faults on itself may never come to EL2 again. Nobody interrupts a guest to see whether it does:
//! its exits say that it does not. A vCPU without any exit for a while is looked at once, and again only if what is seen
//! is such a loop. A guest that computes with its interrupts masked, or sleeps, is looked at ever more seldom.
//!
//! # What is a loop
//! An exception taken from EL1 goes to VBAR_EL1 + 0x200, a slot of 0x80 bytes (Arm ARM D1.3.1), with SP_EL1 selected and
//! interrupts masked. If an instruction in that slot raises one itself, ELR_EL1 lies in the slot, and the PC is always
//! between its beginning and ELR_EL1: the instruction never completes. Seen [`SAMPLES`] times, some time apart, with the
//! same ELR, ESR and FAR, that is a loop. A guest that merely spins, also in its vectors, has ELR_EL1 elsewhere or its PC behind it.

use core::sync::atomic::{AtomicU8, Ordering};

/// Looks at which all must agree.
pub const SAMPLES: u8 = 8;
/// Periods without an exit after which a vCPU is looked at first.
pub const PATIENCE: u8 = 3;
/// Most periods between two looks at one that is innocent.
pub const PATIENCE_MOST: u8 = 64;

/// Where the vector for synchronous exceptions taken from EL1 with SP_EL1 begins, and its bytes.
const SLOT: u64 = 0x200;
const SLOT_SIZE: u64 = 0x80;
/// VBAR_EL1: bits 10:0 are not part of the address.
const VBAR: u64 = !0x7ff;
/// PSTATE.M and nRW: AArch64, EL1 with SP_EL1.
const MODE: u64 = 0b1_1111;
const EL1H: u64 = 0b0_0101;
/// PSTATE.I.
const MASKED: u64 = 1 << 7;

/// What a vCPU looks like when it is interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Its PC.
    pub pc: u64,
    /// Its PSTATE.
    pub pstate: u64,
    /// VBAR_EL1.
    pub vbar: u64,
    /// ELR_EL1.
    pub elr: u64,
    /// SPSR_EL1.
    pub spsr: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
}

impl Sample {
    /// Whether this may be a moment of a loop.
    #[must_use]
    pub const fn may_loop(&self) -> bool {
        let slot = (self.vbar & VBAR).wrapping_add(SLOT);
        let fault = self.elr.wrapping_sub(slot);
        let now = self.pc.wrapping_sub(slot);
        let entered = self.pstate & MODE == EL1H && self.pstate & MASKED != 0;
        let came_from_el1 = self.spsr & MODE == EL1H;
        entered && came_from_el1 && fault < SLOT_SIZE && now <= fault && self.is_fault()
    }

    /// Whether the exception is one that its instruction raises each time: unknown, FP, illegal state, aborts at the same
    /// level, PC and SP alignment.
    const fn is_fault(&self) -> bool {
        matches!(
            self.esr >> 26 & 0x3f,
            0x00 | 0x07 | 0x0e | 0x21 | 0x22 | 0x25 | 0x26
        )
    }

    /// Whether no other exception was taken between the two, as far as can be seen.
    const fn agrees(&self, other: &Self) -> bool {
        self.vbar == other.vbar
            && self.elr == other.elr
            && self.esr == other.esr
            && self.far == other.far
    }
}

/// What a look says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is in no such loop.
    Innocent,
    /// It has to be looked at again.
    Again,
    /// It is in a loop.
    Looping,
}

/// A vCPU that is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suspect {
    first: Option<Sample>,
    seen: u8,
}

impl Suspect {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: None,
            seen: 0,
        }
    }

    /// Judges by one more look.
    pub fn look(&mut self, sample: &Sample) -> Verdict {
        let first = *self.first.get_or_insert(*sample);
        if !sample.may_loop() || !sample.agrees(&first) {
            return Verdict::Innocent;
        }
        self.seen += 1;
        if self.seen >= SAMPLES {
            Verdict::Looping
        } else {
            Verdict::Again
        }
    }
}

/// Exceptions in a row that EL2 gives a vCPU and its vector raises again: a loop that is not silent.
///
/// The first instruction of a vector that raises the exception again has nothing before it that could do otherwise the next
/// time. A later one is given [`SAMPLES`] times in which ELR_EL1 says that nothing else happened in between: the vector may
/// count. Its own core's alone.
#[derive(Debug, Default)]
pub struct Repeats(AtomicU8);

impl Repeats {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// An exception raised at `pc` is taken to `vector`, and ELR_EL1 was `link` before: gives whether that is a loop.
    #[must_use]
    pub fn again(&self, pc: u64, vector: u64, link: u64) -> bool {
        let in_vector = pc.wrapping_sub(vector) < SLOT_SIZE;
        let count = match self.0.load(Ordering::Relaxed) {
            count if in_vector && link == pc => count.saturating_add(1),
            _ => 0,
        };
        let looping = pc == vector || count >= SAMPLES;
        self.0
            .store(if looping { 0 } else { count }, Ordering::Relaxed);
        looping
    }
}

/// How long a vCPU has been silent.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    exits: u64,
    periods: u8,
    patience: u8,
    looked: bool,
}

impl Default for Silence {
    fn default() -> Self {
        Self::new()
    }
}

impl Silence {
    /// Not silent yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            exits: 0,
            periods: 0,
            patience: PATIENCE,
            looked: false,
        }
    }

    /// A period is over, in which the vCPU's exits came to `exits`; `runs`: it is on. Gives whether it is to be looked at,
    /// which costs it exits of its own.
    pub fn period(&mut self, exits: u64, runs: bool) -> bool {
        if !runs {
            *self = Self::new();
            return false;
        }
        let moved = exits != self.exits;
        self.exits = exits;
        if core::mem::take(&mut self.looked) {
            // The look's own exits say nothing.
            return false;
        }
        if moved {
            self.periods = 0;
            self.patience = PATIENCE;
            return false;
        }
        self.periods = self.periods.saturating_add(1);
        self.looked = self.periods >= self.patience;
        if self.looked {
            self.periods = 0;
            self.patience = self.patience.saturating_mul(2).min(PATIENCE_MOST);
        }
        self.looked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// EL1h with DAIF masked.
    const MASKED_EL1H: u64 = 0x3c5;
    const VECTORS: u64 = 0xffff_8000_0801_0800;

    /// A vector whose instruction at `offset` of its slot reads where nothing is (EC 0x25), interrupted at `pc`.
    fn sample(pc: u64, offset: u64) -> Sample {
        Sample {
            pc: VECTORS + 0x200 + pc,
            pstate: MASKED_EL1H,
            vbar: VECTORS,
            elr: VECTORS + 0x200 + offset,
            spsr: MASKED_EL1H,
            esr: 0x25 << 26 | 1 << 25 | 7,
            far: 0x1234,
        }
    }

    #[test]
    fn a_vector_that_raises_its_exception_again_is_a_loop() {
        let slot = VECTORS + 0x200;
        let repeats = Repeats::new();
        assert!(repeats.again(slot, slot, 0), "at once: nothing is before");
        for offset in [4, 0x7c] {
            let pc = slot + offset;
            assert!(
                !repeats.again(pc, slot, 0x4020_0000),
                "it came from elsewhere"
            );
            let looping: Vec<bool> = (0..8).map(|_| repeats.again(pc, slot, pc)).collect();
            assert_eq!(
                looping,
                [false, false, false, false, false, false, false, true]
            );
        }
    }

    #[test]
    fn exceptions_raised_elsewhere_or_with_others_between_are_no_loop() {
        let slot = VECTORS + 0x200;
        let repeats = Repeats::new();
        for _ in 0..100 {
            // A probe outside the vector that comes back without an exception return.
            assert!(!repeats.again(slot + 0x80, slot, slot + 0x80));
            assert!(!repeats.again(slot - 4, slot, slot - 4));
            // A vector that probes: the exception it serves has come in between.
            assert!(!repeats.again(slot + 8, slot, 0x4020_0000));
        }
    }

    fn judge(samples: impl Iterator<Item = Sample>) -> Verdict {
        let mut suspect = Suspect::new();
        for sample in samples {
            match suspect.look(&sample) {
                Verdict::Again => {}
                verdict => return verdict,
            }
        }
        Verdict::Again
    }

    #[test]
    fn a_vector_that_faults_on_itself_is_found_after_eight_looks() {
        for offset in [0, 4, 0x7c] {
            let at = |count| judge((0..count).map(|look| sample(look * 4 % (offset + 4), offset)));
            assert_eq!(at(7), Verdict::Again);
            assert_eq!(at(8), Verdict::Looping);
        }
    }

    #[test]
    fn a_guest_that_hangs_in_its_vector_after_a_fault_elsewhere_is_innocent() {
        let hangs = Sample {
            elr: 0xffff_8000_0900_0000,
            ..sample(0, 0)
        };
        assert_eq!(judge([hangs; 9].into_iter()), Verdict::Innocent);
    }

    #[test]
    fn a_guest_that_is_past_the_instruction_that_faulted_is_innocent() {
        assert_eq!(judge([sample(8, 4); 9].into_iter()), Verdict::Innocent);
    }

    #[test]
    fn a_busy_guest_with_interrupts_masked_is_innocent() {
        let busy = Sample {
            pc: 0xffff_8000_0900_0000,
            ..sample(0, 0)
        };
        assert_eq!(judge([busy; 9].into_iter()), Verdict::Innocent);
        for pstate in [0, 0x3c0, 0x3c4, 0x345, 0x3d5] {
            let other = Sample {
                pstate,
                ..sample(0, 0)
            };
            assert!(!other.may_loop(), "{pstate:#x}");
        }
    }

    #[test]
    fn a_system_call_or_a_breakpoint_in_the_vector_is_no_fault() {
        for class in [0x15, 0x16, 0x17, 0x30, 0x31, 0x33, 0x3c] {
            let other = Sample {
                esr: class << 26,
                ..sample(0, 0)
            };
            assert!(!other.may_loop(), "{class:#x}");
        }
    }

    #[test]
    fn exceptions_that_differ_are_no_loop() {
        let far = |far| Sample {
            far,
            ..sample(0, 0)
        };
        assert_eq!(judge((0..9).map(far)), Verdict::Innocent);
    }

    #[test]
    fn one_that_exits_is_never_looked_at_and_a_silent_one_ever_more_seldom() {
        let mut silence = Silence::new();
        assert!((1..1000).all(|exits| !silence.period(exits, true)));
        // Each look is an exit itself.
        let (mut exits, mut looks) = (999, Vec::new());
        for period in 0..200 {
            if silence.period(exits, true) {
                looks.push(period);
                exits += 1;
            }
        }
        assert_eq!(looks, [2, 9, 22, 47, 96, 161]);
        exits += 1;
        assert!(!silence.period(exits, true));
        assert!(!silence.period(exits, true) && !silence.period(exits, true));
        assert!(silence.period(exits, true), "patience is short again");
    }

    #[test]
    fn one_that_is_off_is_not_looked_at() {
        let mut silence = Silence::new();
        assert!((0..100).all(|_| !silence.period(5, false)));
    }

    proptest! {
        #![proptest_config(crate::words::effort::cases(256))]

        /// Nothing but the loop itself is ever condemned.
        #[test]
        fn no_other_guest_is_condemned(looks in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()), 8..20)) {
            let samples = looks.iter().map(|(pc, elr, esr, far)| Sample {
                pc: *pc, elr: *elr, esr: *esr, far: *far, ..sample(0, 0)
            });
            prop_assert_ne!(judge(samples), Verdict::Looping);
        }
    }
}
