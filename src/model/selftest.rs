//! What the self-test at boot found, in words: a line for the interrupt controller, for each core, for each partition.
//!
//! Invariant: a line says "ok" if and only if everything on it was found right.

use crate::words::{CpuId, Ipa, Pa};
use bitflags::bitflags;
use core::fmt::{self, Display, Formatter};

bitflags! {
    /// What was found right of a core.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct CoreFound: u32 {
        /// It runs the hypervisor.
        const ARRIVED = 1 << 0;
        /// Its physical counter counts.
        const COUNTER = 1 << 1;
        /// EL2's timer interrupts it.
        const HYPERVISOR_TIMER = 1 << 2;
        /// EL1's virtual timer interrupts it.
        const VIRTUAL_TIMER = 1 << 3;
        /// EL1's physical timer interrupts it.
        const PHYSICAL_TIMER = 1 << 4;
        /// Its list registers hold what is written to them.
        const LIST_REGISTERS = 1 << 5;
        /// Another core can interrupt it.
        const SOFTWARE_INTERRUPT = 1 << 6;
        /// It has looked at everything but the interrupt of another core.
        const ALONE_DONE = 1 << 7;
    }
}

impl CoreFound {
    /// What a sound core has, each with its name.
    const NAMES: [(Self, &'static str); 6] = [
        (Self::COUNTER, "counter"),
        (Self::HYPERVISOR_TIMER, "EL2 timer"),
        (Self::VIRTUAL_TIMER, "virtual timer"),
        (Self::PHYSICAL_TIMER, "physical timer"),
        (Self::LIST_REGISTERS, "list registers"),
        (Self::SOFTWARE_INTERRUPT, "interrupt from another core"),
    ];

    /// Whether everything was found right.
    #[must_use]
    pub const fn is_sound(self) -> bool {
        self.contains(Self::all())
    }
}

/// The line of a core.
#[derive(Clone, Copy, Debug)]
pub struct CoreLine {
    /// The core.
    pub cpu: CpuId,
    /// What was found right of it.
    pub found: CoreFound,
}

impl Display for CoreLine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "core {}: ", self.cpu.get())?;
        if !self.found.contains(CoreFound::ARRIVED) {
            return f.write_str("FAILED: it did not come");
        }
        let missing = |part: &&(CoreFound, &str)| !self.found.contains(part.0);
        if !CoreFound::NAMES.iter().any(|part| missing(&part)) {
            f.write_str("ok: ")?;
            return join(f, CoreFound::NAMES.iter().map(|(_, name)| *name));
        }
        f.write_str("FAILED: ")?;
        join(
            f,
            CoreFound::NAMES
                .iter()
                .filter(missing)
                .map(|(_, name)| *name),
        )
    }
}

fn join<'n>(f: &mut Formatter<'_>, names: impl Iterator<Item = &'n str>) -> fmt::Result {
    for (index, name) in names.enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{name}")?;
    }
    Ok(())
}

/// What is wrong with a partition's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryFault {
    /// Stage 2 leads somewhere else than to the partition's RAM, or nowhere.
    Wrong {
        /// Where the guest would access.
        ipa: Ipa,
        /// Where that should lead, if anywhere.
        expected: Option<Pa>,
        /// Where it leads, if anywhere.
        found: Option<Pa>,
    },
    /// RAM does not hold what was written.
    Ram(Pa),
}

impl Display for MemoryFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let place = |f: &mut Formatter<'_>, place: Option<Pa>| match place {
            Some(address) => write!(f, "{address}"),
            None => f.write_str("nowhere"),
        };
        match *self {
            Self::Wrong {
                ipa,
                expected,
                found,
            } => {
                write!(f, "stage 2 leads from {ipa} to ")?;
                place(f, found)?;
                f.write_str(" instead of ")?;
                place(f, expected)
            }
            Self::Ram(address) => write!(f, "RAM at {address} does not keep what is written"),
        }
    }
}

/// The line of a partition.
#[derive(Clone, Copy, Debug)]
pub struct PartitionLine<'n> {
    /// Its name.
    pub name: &'n str,
    /// Bytes of its RAM.
    pub memory: u64,
    /// What is wrong.
    pub fault: Option<MemoryFault>,
}

impl Display for PartitionLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.fault {
            None => write!(
                f,
                "partition {}: ok: stage 2, {} KiB of RAM",
                self.name,
                self.memory >> 10
            ),
            Some(fault) => write!(f, "partition {}: FAILED: {fault}", self.name),
        }
    }
}

/// The word written at `address` in `round`: different for every address, and every bit is once one and once zero.
#[must_use]
pub const fn pattern(address: u64, round: Round) -> u64 {
    /// An odd number with as many ones as zeroes: the product's upper bits depend on all of the address.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = address.wrapping_mul(SPREAD);
    match round {
        Round::Plain => word,
        Round::Inverted => !word,
    }
}

/// Which of the two patterns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Round {
    /// The first.
    Plain,
    /// Its complement.
    Inverted,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::string::ToString;

    fn line(found: CoreFound) -> std::string::String {
        let cpu = CpuId::new(2);
        CoreLine { cpu, found }.to_string()
    }

    #[test]
    fn a_core_is_ok_only_with_everything() {
        assert_eq!(
            line(CoreFound::all()),
            "core 2: ok: counter, EL2 timer, virtual timer, physical timer, list registers, interrupt from another core"
        );
        for (part, name) in CoreFound::NAMES {
            let found = CoreFound::all() - part;
            assert_eq!(line(found), std::format!("core 2: FAILED: {name}"));
            assert!(!found.is_sound());
        }
        assert!(CoreFound::all().is_sound());
    }

    #[test]
    fn a_core_that_did_not_come_is_named() {
        assert_eq!(line(CoreFound::empty()), "core 2: FAILED: it did not come");
    }

    #[test]
    fn a_partition_is_ok_or_its_fault_is_told_with_addresses() {
        let with = |fault| {
            PartitionLine {
                name: "p",
                memory: 4 << 20,
                fault,
            }
            .to_string()
        };
        assert_eq!(with(None), "partition p: ok: stage 2, 4096 KiB of RAM");
        let wrong = MemoryFault::Wrong {
            ipa: Ipa::new(0x4000_0000),
            expected: Some(Pa::new(0x8000_0000)),
            found: None,
        };
        assert_eq!(
            with(Some(wrong)),
            "partition p: FAILED: stage 2 leads from 0x40000000 to nowhere instead of 0x80000000"
        );
        assert_eq!(
            with(Some(MemoryFault::Ram(Pa::new(0x1000)))),
            "partition p: FAILED: RAM at 0x1000 does not keep what is written"
        );
    }

    #[test]
    fn no_two_words_of_a_memory_share_a_pattern_and_every_bit_is_both() {
        let count = crate::words::effort::times(100_000, 100);
        let addresses = (0_u64..).step_by(8).take(count);
        let words: BTreeSet<u64> = addresses.map(|at| pattern(at, Round::Plain)).collect();
        assert_eq!(words.len(), count);
        for address in [0, 8, 0xfbff_fff8, 0x1_ffff_fff8] {
            let both = pattern(address, Round::Plain) ^ pattern(address, Round::Inverted);
            assert_eq!(both, u64::MAX);
        }
    }
}
