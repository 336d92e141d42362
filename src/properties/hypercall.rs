//! Any hypercall: X4 to X30, the PC and PSTATE stay, an error has no other result, and what is unknown changes nothing but
//! X0.

use super::Input;
use crate::arm::registers::Registers;
use crate::behaviour::exit::Next;
use crate::behaviour::hypercall;
use crate::behaviour::lifecycle::State;
use crate::behaviour::testing::{Bench, EL1H, RAM};
use crate::model::vgic::GicVersion;

/// Most calls of a sequence.
const CALLS: usize = 32;
const NOT_SUPPORTED: u64 = u64::MAX;
const CPU_ON: u64 = 0xc400_0003;
/// Other partitions: one may be managed, none may manage the other.
const MANAGED: u8 = 1;
const FOREIGN: u8 = 2;

/// The functions of PSCI that the ABI lists (hypercalls.md, section 2).
pub(crate) const PSCI: [u64; 16] = [
    0x8400_0000,
    0x8400_0001,
    0xc400_0001,
    0x8400_0002,
    0x8400_0003,
    0xc400_0003,
    0x8400_0004,
    0xc400_0004,
    0x8400_0006,
    0x8400_0008,
    0x8400_0009,
    0x8400_000a,
    0x8400_000e,
    0xc400_000e,
    0x8400_0012,
    0xc400_0012,
];
/// All others that it lists.
pub(crate) const OTHERS: [u64; 15] = [
    0x8000_0000,
    0x8000_0001,
    0x8600_ff01,
    0x8600_ff03,
    0xc600_0000,
    0xc600_0001,
    0xc600_0002,
    0xc600_0003,
    0xc600_0010,
    0xc600_0011,
    0xc600_0020,
    0xc600_0030,
    0xc600_0031,
    0xc600_0040,
    0xc600_0041,
];

/// Those that firmware or the core must have: workarounds, the SoC's identity, random numbers.
const CONDITIONAL: [u64; 9] = [
    0x8000_0002,
    0x8000_3fff,
    0x8000_7fff,
    0x8000_8000,
    0x8400_0050,
    0x8400_0051,
    0x8400_0052,
    0x8400_0053,
    0xc400_0053,
];

/// Whether the ABI knows `function`.
pub(crate) fn is_known(function: u64) -> bool {
    PSCI.contains(&function) || OTHERS.contains(&function)
}

/// Calls of one vCPU, one after another, until it or its partition stops.
pub fn sequence(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let version = input.pick(&[GicVersion::V2, GicVersion::V3]);
    let mut bench = Bench::new(version, 1 + input.below(4));
    bench.neighbour(MANAGED);
    bench.neighbour(FOREIGN);
    bench.channel(MANAGED, input.flag());
    bench.partition.plan.manage = u32::from(input.flag()) << MANAGED;
    bench.partition.plan.observe = input.flag();
    bench.partition.plan.heartbeat_ms = input.flag().then_some(100);
    bench.machine.entropy = input
        .flag()
        .then(|| std::vec![1; usize::from(input.byte())]);
    for _ in 0..CALLS {
        if input.is_empty() || !one(&mut bench, &mut input) {
            return;
        }
    }
}

fn function(input: &mut Input<'_>) -> u64 {
    match input.below(10) {
        0..4 => input.pick(&OTHERS),
        4..6 => input.pick(&PSCI),
        6 => input.long(),
        7 => 0x8400_0000 + u64::from(input.below(0x20)),
        8 => u64::from(input.word()),
        _ => 0xc600_0000 + u64::from(input.below(0x50)),
    }
}

/// One call. `false`: the vCPU does not go on.
fn one(bench: &mut Bench, input: &mut Input<'_>) -> bool {
    let rest = input.long();
    let mut before = Registers {
        x: [rest; 31],
        pc: rest,
        pstate: EL1H,
    };
    before.x[0] = function(input) ^ u64::from(input.below(8) == 0) << 32;
    for register in &mut before.x[1..8] {
        *register = input.number(&[RAM, 0x8400_0003, u64::from(MANAGED), u64::from(FOREIGN)]);
    }
    bench.registers = before;
    let (kicked, ended) = (bench.machine.kicked.len(), bench.machine.ended.len());
    let next = bench.on_core(hypercall::answer);
    let after = bench.registers;
    assert_eq!(&after.x[4..], &before.x[4..]);
    assert_eq!((after.pc, after.pstate), (before.pc, before.pstate));
    assert!(bench.machine.injected.is_empty());
    let function = before.x[0] & 0xffff_ffff;
    if CONDITIONAL.contains(&function) {
        // What they answer is their services' own to show.
        assert_eq!(next, Next::Resume);
    } else if !is_known(function) {
        assert_eq!(after.x[0], NOT_SUPPORTED);
        assert_eq!(&after.x[1..], &before.x[1..]);
        assert_eq!(next, Next::Resume);
        assert_eq!(
            (bench.machine.kicked.len(), bench.machine.ended.len()),
            (kicked, ended)
        );
    } else if after.x[0].cast_signed() < 0 {
        assert_eq!(&after.x[1..4], &[0; 3]);
    }
    others(bench);
    narrow(bench, &before);
    matches!(next, Next::Resume | Next::Standby)
}

/// The partition that may not be managed runs on.
fn others(bench: &Bench) {
    let state = |id: u8| {
        bench.others[usize::from(id)]
            .get()
            .map(|other| other.life.state())
    };
    assert_eq!(state(FOREIGN), Some(State::Running));
    if bench.partition.plan.manage == 0 {
        assert_eq!(state(MANAGED), Some(State::Running));
    }
}

/// A call that the short path answers too gets the same answer there.
fn narrow(bench: &mut Bench, before: &Registers) {
    let whole = bench.registers;
    let mut short = *before;
    if before.x[0] & 0xffff_ffff == CPU_ON && whole.x[0] == 0 {
        // The first of the two calls finds it off, and so does the second.
        let started = usize::try_from(before.x[1]).expect("a vCPU");
        bench.partition.vcpus[started].power.switch_off();
    }
    let done = bench.on_core(|here, _, machine, _| hypercall::at_once(here, machine, &mut short));
    if done {
        assert_eq!(short.x[..4], whole.x[..4]);
    }
    assert_eq!(short.x[4..], before.x[4..]);
}
