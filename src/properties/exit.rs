//! Any synchronous exit from any state: no panic, and no more than one exception, which is UNDEFINED or an external abort
//! at the guest's own EL1.

use super::Input;
use crate::behaviour::exit::Next;
use crate::behaviour::testing::{Bench, KERNEL, RAM};
use crate::model::vgic::GicVersion;

/// Most exits of a sequence.
const EXITS: usize = 24;
/// ESR.IL.
const IL: u64 = 1 << 25;
/// Exception classes that a guest reaches EL2 by: WFx, HVC, SMC, system registers, aborts.
const CLASSES: [u64; 6] = [0x01, 0x16, 0x17, 0x18, 0x20, 0x24];
/// PSTATE: EL1h, EL1t, EL0t, AArch32 EL0, and what is none.
const STATES: [u64; 5] = [0x3c5, 0x3c4, 0, 0x10, 0x30];
/// Addresses worth an access: GICD, GICR, the UART, a channel, RAM, and just past them.
const PLACES: [u64; 7] = [
    0x0800_0000,
    0x080a_0000,
    0x0900_0000,
    0x0a10_0000,
    0x4000_0000,
    0x0901_0000,
    0x0a10_2000,
];

/// Exits of one vCPU, one after another, until it or its partition stops.
pub fn sequence(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let version = input.pick(&[GicVersion::V2, GicVersion::V3]);
    let mut bench = Bench::new(version, 1 + input.below(4));
    bench.neighbour(1);
    bench.channel(1, input.flag());
    for _ in 0..EXITS {
        if input.is_empty() || !one(&mut bench, &mut input) {
            return;
        }
    }
}

/// One exit. `false`: the vCPU does not go on.
fn one(bench: &mut Bench, input: &mut Input<'_>) -> bool {
    let esr = match input.below(4) {
        0 => input.long(),
        1 => u64::from(input.below(64)) << 26 | u64::from(input.word() & 0x3ff_ffff),
        _ => input.pick(&CLASSES) << 26 | u64::from(input.word() & 0x3ff_ffff),
    };
    let ipa = match input.below(8) {
        0 => input.long(),
        _ => input.pick(&PLACES) + u64::from(input.half()),
    };
    let far = match input.below(4) {
        0 => input.long(),
        _ => KERNEL.wrapping_add(ipa),
    };
    if input.flag() {
        let seed = input.long();
        bench.registers.x = core::array::from_fn(|index| seed.rotate_left(index as u32));
        bench.registers.x[0] = input.number(&[far, 0x8400_0003, 0xc600_0011]);
    }
    bench.registers.pstate = input.pick(&STATES);
    bench.registers.pc = KERNEL + RAM + u64::from(input.half() & !3);
    bench.instruction(input.word());
    bench.machine.big_endian = input.flag();
    bench.machine.injected.clear();
    let pstate = bench.registers.pstate;
    let next = bench.exit_at(esr, far, ipa);
    check(bench, far, pstate);
    matches!(next, Next::Resume | Next::Standby)
}

/// What was injected is one exception, that of an instruction at `pstate` about `far`.
fn check(bench: &Bench, far: u64, pstate: u64) {
    assert!(bench.machine.injected.len() <= 1);
    let [exception] = bench.machine.injected[..] else {
        return;
    };
    let from_below = pstate & 0xf == 0;
    let number = exception.esr >> 26;
    assert_eq!(exception.esr & IL, IL);
    if number == 0 {
        assert_eq!((exception.esr, exception.far), (IL, None));
        return;
    }
    assert_eq!(exception.far, Some(far));
    assert_eq!(number & 1 == 0, from_below);
    assert!(matches!(number, 0x20 | 0x21 | 0x24 | 0x25));
    assert!(matches!(exception.esr & 0x3f, 0x10 | 0x14..=0x17));
}
