//! Power states of a partition's vCPUs (Arm DEN0022, PSCI 1.1), shared by the cores that run them.
//!
//! Invariant: between two starts of a vCPU lies exactly one stop; each CPU_ON that answered SUCCESS leads to one start,
//! with its own entry point and context.
//!
//! | state | event | by | next | answer |
//! |---|---|---|---|---|
//! | Off | CPU_ON | any core | Claimed, then Pending | SUCCESS |
//! | Claimed, Pending | CPU_ON | any core | same | ON_PENDING |
//! | On | CPU_ON | any core | same | ALREADY_ON |
//! | Pending | start | own core | On | the entry point and context |
//! | On | CPU_OFF | own core | Off | |
//! | any | reset | with all cores parked | Off | |
//!
//! A CPU_ON that meets a CPU_OFF under way gets ALREADY_ON until the vCPU is off (DEN0022 5.6.2, 6.6): its caller asks
//! AFFINITY_INFO and tries again. Claimed is the moment in which the caller writes entry point and context: to
//! everybody else it is Pending. A vCPU in CPU_SUSPEND is on.

use bulkhead_abi::psci;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const OFF: u8 = 0;
const CLAIMED: u8 = 1;
const PENDING: u8 = 2;
const ON: u8 = 3;

/// Where a vCPU starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// The program counter: an IPA.
    pub entry: u64,
    /// What x0 holds.
    pub context: u64,
}

/// What AFFINITY_INFO says of a vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Affinity {
    /// It runs, or waits in CPU_SUSPEND.
    On,
    /// It is off.
    Off,
    /// It was turned on and has not started yet.
    OnPending,
}

impl Affinity {
    /// The number AFFINITY_INFO answers.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::On => psci::AFFINITY_ON,
            Self::Off => psci::AFFINITY_OFF,
            Self::OnPending => psci::AFFINITY_ON_PENDING,
        }
    }
}

/// Why a vCPU could not be turned on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnError {
    /// It is on.
    AlreadyOn,
    /// Another CPU_ON came first.
    OnPending,
}

impl OnError {
    /// The number CPU_ON answers.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::AlreadyOn => psci::ALREADY_ON,
            Self::OnPending => psci::ON_PENDING,
        }
    }
}

/// The power state of one vCPU.
#[derive(Debug, Default)]
pub struct Power {
    state: AtomicU8,
    entry: AtomicU64,
    context: AtomicU64,
}

impl Power {
    /// A vCPU that is off.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: AtomicU8::new(OFF),
            entry: AtomicU64::new(0),
            context: AtomicU64::new(0),
        }
    }

    /// CPU_ON, or a partition's first vCPU: asks for a start. On success the caller kicks the vCPU's core.
    ///
    /// # Errors
    /// [`OnError`] if the vCPU is on or about to be.
    pub fn turn_on(&self, start: Start) -> Result<(), OnError> {
        match self
            .state
            .compare_exchange(OFF, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
        {
            Ok(_) => {}
            Err(ON) => return Err(OnError::AlreadyOn),
            Err(_) => return Err(OnError::OnPending),
        }
        self.entry.store(start.entry, Ordering::Relaxed);
        self.context.store(start.context, Ordering::Relaxed);
        self.state.store(PENDING, Ordering::Release);
        Ok(())
    }

    /// The vCPU's own core: takes a start that was asked for. The vCPU is then on.
    ///
    /// The core looks here after each [`Power::turn_off`] and each kick, before it waits.
    pub fn take_start(&self) -> Option<Start> {
        self.state
            .compare_exchange(PENDING, ON, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        Some(Start {
            entry: self.entry.load(Ordering::Relaxed),
            context: self.context.load(Ordering::Relaxed),
        })
    }

    /// The vCPU's own core: CPU_OFF. All of the guest's state is put away by now: from here on another core may have it
    /// started again. Gives false, and changes nothing, if the vCPU was not on.
    pub fn turn_off(&self) -> bool {
        self.state
            .compare_exchange(ON, OFF, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// Turns the vCPU off whatever it was, when all cores of a stopped partition are parked.
    pub fn reset(&self) {
        self.state.store(OFF, Ordering::Release);
    }

    /// AFFINITY_INFO of this vCPU.
    #[must_use]
    pub fn affinity(&self) -> Affinity {
        match self.state.load(Ordering::Acquire) {
            OFF => Affinity::Off,
            ON => Affinity::On,
            _ => Affinity::OnPending,
        }
    }
}

/// Affinity fields of a `target_cpu` above Aff0; all other bits must be zero as well, since vCPU `n` is Aff0 = `n`.
const AFF0: u64 = 0xff;

/// Finds the vCPU a `target_cpu` names, among `vcpus` of them.
///
/// Every bit but Aff0 must be zero: no vCPU has other affinity fields, and bits 31:24 and 63:40 are reserved (5.1.4).
/// A call of the 32-bit convention passes the low word only.
#[must_use]
pub fn target(target_cpu: u64, vcpus: usize) -> Option<usize> {
    usize::try_from(target_cpu)
        .ok()
        .filter(|index| *index < vcpus && target_cpu <= AFF0)
}

/// AFFINITY_INFO: the state of the vCPUs whose affinity fields from `level` up are those of `target_affinity`.
///
/// Gives on if one is on, else pending if one is pending, else off; none if there is no such vCPU or level (5.7).
#[must_use]
pub fn affinity_info(vcpus: &[Power], target_affinity: u64, level: u64) -> Option<Affinity> {
    /// Bits of the fields below a level, which are ignored: Aff0 is 7:0, Aff1 15:8, Aff2 23:16.
    const BELOW: [u64; 4] = [0, 0xff, 0xffff, 0xff_ffff];
    if level == 0 {
        let index = target(target_affinity, vcpus.len())?;
        return vcpus.get(index).map(Power::affinity);
    }
    let below = BELOW.get(usize::try_from(level).ok()?)?;
    if target_affinity & !below != 0 {
        return None;
    }
    let has = |wanted| vcpus.iter().any(|vcpu| vcpu.affinity() == wanted);
    Some(if has(Affinity::On) {
        Affinity::On
    } else if has(Affinity::OnPending) {
        Affinity::OnPending
    } else {
        Affinity::Off
    })
}

/// Whether all vCPUs but `caller` are off, as SYSTEM_SUSPEND demands (5.20.1).
///
/// If so it stays so: only the caller could turn one on.
#[must_use]
pub fn others_off(vcpus: &[Power], caller: usize) -> bool {
    vcpus
        .iter()
        .enumerate()
        .all(|(index, vcpu)| index == caller || vcpu.affinity() == Affinity::Off)
}

/// What CPU_SUSPEND asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suspend {
    /// Wait for an interrupt and return SUCCESS, all registers kept.
    Standby,
    /// Wait for an interrupt and start anew at the entry point.
    PowerDown,
}

/// Reads `power_state` in the original format (5.4.2): state id in 15:0, type in 16, power level in 25:24.
///
/// Gives none if a reserved bit is set.
#[must_use]
pub const fn suspend(power_state: u32) -> Option<Suspend> {
    const TYPE: u32 = 1 << 16;
    const RESERVED: u32 = 0xfcfe_0000;
    if power_state & RESERVED != 0 {
        return None;
    }
    Some(if power_state & TYPE == 0 {
        Suspend::Standby
    } else {
        Suspend::PowerDown
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    const START: Start = Start {
        entry: 0x4020_0000,
        context: 7,
    };

    /// The states a caller can see, and what happens next by the table above.
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Model {
        Off,
        Pending(Start),
        On,
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        TurnOn(u64),
        Take,
        TurnOff,
        Reset,
    }

    fn check(power: &Power, model: Model, event: Event) -> Model {
        match (event, model) {
            (Event::TurnOn(entry), _) => {
                let start = Start {
                    entry,
                    context: !entry,
                };
                let expected = match model {
                    Model::Off => Ok(()),
                    Model::Pending(_) => Err(OnError::OnPending),
                    Model::On => Err(OnError::AlreadyOn),
                };
                assert_eq!(power.turn_on(start), expected);
                if expected.is_ok() {
                    Model::Pending(start)
                } else {
                    model
                }
            }
            (Event::Take, Model::Pending(start)) => {
                assert_eq!(power.take_start(), Some(start));
                Model::On
            }
            (Event::Take, _) => {
                assert_eq!(power.take_start(), None);
                model
            }
            (Event::TurnOff, Model::On) => {
                assert!(power.turn_off());
                Model::Off
            }
            (Event::TurnOff, _) => {
                assert!(!power.turn_off());
                model
            }
            (Event::Reset, _) => {
                power.reset();
                Model::Off
            }
        }
    }

    #[test]
    fn every_sequence_of_seven_events_follows_the_table() {
        let events = [
            Event::TurnOn(1),
            Event::TurnOn(2),
            Event::Take,
            Event::TurnOff,
            Event::Reset,
        ];
        for sequence in 0..5_usize.pow(7) {
            let power = Power::new();
            let mut model = Model::Off;
            for position in 0..7 {
                let event = events[sequence / 5_usize.pow(position) % 5];
                model = check(&power, model, event);
                let expected = match model {
                    Model::Off => 1,
                    Model::Pending(_) => 2,
                    Model::On => 0,
                };
                assert_eq!(power.affinity().code(), expected, "DEN0022 5.7");
            }
        }
    }

    #[test]
    fn a_caller_between_claim_and_publication_shows_pending() {
        let power = Power::new();
        power.state.store(CLAIMED, Ordering::Relaxed);
        assert_eq!(power.affinity(), Affinity::OnPending);
        assert_eq!(power.turn_on(START), Err(OnError::OnPending));
        assert_eq!(
            power.take_start(),
            None,
            "entry and context are not there yet"
        );
        assert!(!power.turn_off());
    }

    /// Two callers against one vCPU that starts and stops at once: each success is one start with its own values.
    #[test]
    fn each_success_is_one_start() {
        const EACH: u32 = 2000;
        let power = Power::new();
        let successes = AtomicU32::new(0);
        let finished = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for caller in 1..=2_u64 {
                let (power, successes, finished) = (&power, &successes, &finished);
                scope.spawn(move || {
                    let mut done = 0;
                    while done < EACH {
                        let entry = caller << 32 | u64::from(done);
                        let context = !entry;
                        match power.turn_on(Start { entry, context }) {
                            Ok(()) => {
                                successes.fetch_add(1, Ordering::Relaxed);
                                done += 1;
                            }
                            Err(_) => std::thread::yield_now(),
                        }
                    }
                    finished.fetch_add(1, Ordering::Release);
                });
            }
            let mut last = [None; 3];
            let mut starts = 0;
            while starts < 2 * EACH {
                if let Some(start) = power.take_start() {
                    assert_eq!(start.context, !start.entry, "values of two callers mixed");
                    let caller = usize::try_from(start.entry >> 32).unwrap();
                    assert!(last[caller] < Some(start.entry), "started twice");
                    last[caller] = Some(start.entry);
                    starts += 1;
                    assert!(power.turn_off());
                } else {
                    std::thread::yield_now();
                }
            }
        });
        assert_eq!(successes.into_inner(), 2 * EACH);
        assert_eq!(power.take_start(), None);
    }

    #[test]
    fn a_target_is_an_index_and_nothing_else() {
        assert_eq!(target(0, 2), Some(0));
        assert_eq!(target(1, 2), Some(1));
        for wrong in [2, 0x100, 1 << 31, 1 << 31 | 1, 1 << 32, 1 << 40, u64::MAX] {
            assert_eq!(target(wrong, 2), None, "{wrong:#x}");
        }
    }

    #[test]
    fn affinity_of_higher_levels_gathers_all() {
        let vcpus = [const { Power::new() }; 3];
        assert_eq!(affinity_info(&vcpus, 0, 1), Some(Affinity::Off));
        assert_eq!(vcpus[1].turn_on(START), Ok(()));
        assert_eq!(affinity_info(&vcpus, 0xff, 1), Some(Affinity::OnPending));
        assert_eq!(vcpus[2].turn_on(START), Ok(()));
        assert_eq!(vcpus[2].take_start(), Some(START));
        assert_eq!(affinity_info(&vcpus, 0, 3), Some(Affinity::On));
        assert_eq!(affinity_info(&vcpus, 1, 0), Some(Affinity::OnPending));
        assert_eq!(affinity_info(&vcpus, 0, 0), Some(Affinity::Off));
        assert_eq!(affinity_info(&vcpus, 3, 0), None);
        assert_eq!(affinity_info(&vcpus, 0x100, 1), None);
        assert_eq!(affinity_info(&vcpus, 0, 4), None);
        assert_eq!(affinity_info(&vcpus, 0, u64::MAX), None);
    }

    #[test]
    fn a_system_suspends_only_when_all_others_are_off() {
        let vcpus = [const { Power::new() }; 2];
        assert!(others_off(&vcpus, 0));
        assert_eq!(vcpus[1].turn_on(START), Ok(()));
        assert!(!others_off(&vcpus, 0));
        assert!(others_off(&vcpus, 1));
    }

    #[test]
    fn suspend_reads_the_state_type() {
        assert_eq!(suspend(0), Some(Suspend::Standby));
        assert_eq!(suspend(0x0300_0001), Some(Suspend::Standby));
        assert_eq!(suspend(0x0101_0000), Some(Suspend::PowerDown));
        for reserved in [1 << 17, 1 << 23, 1 << 26, 1 << 30, 1 << 31] {
            assert_eq!(suspend(reserved), None, "{reserved:#x}");
        }
    }
}
