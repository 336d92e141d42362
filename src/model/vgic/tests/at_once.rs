//! What is done without the model, or with less of it, does what the model does.

use super::*;
use proptest::prelude::*;

/// Registers that set the scene: control, groups, enables, pending, active, priorities, SPI routing by both versions.
const SCENE: [u32; 9] = [
    0x000, 0x084, 0x104, 0x184, 0x204, 0x284, 0x304, 0x404, 0x108,
];
/// ISENABLER, ICENABLER.
const SET: u32 = 0x100;
const CLEAR: u32 = 0x180;
/// The distance from a GICv3 redistributor's frames to its private registers.
const PRIVATE: u32 = 0x1_0000;

/// Everything a guest can read, and what may be injected.
fn state(bench: &mut Bench, version: GicVersion) -> (Vec<u32>, Vec<u64>) {
    let private = |bench: &Bench, offset| {
        let gic = &bench.gic;
        gic.redistributor_read(vcpu(0), PRIVATE + offset, 4) as u32
    };
    let offsets = (0x000..0x500).step_by(4);
    let mut registers: Vec<u32> = offsets.clone().map(|at| bench.read(0, at)).collect();
    if version == GicVersion::V3 {
        registers.extend(offsets.map(|at| private(bench, at)));
    }
    let direct = (0..128).map(|intid| bench.table.direct(vcpu(0), intid));
    let direct = direct.collect();
    (registers, direct)
}

fn scene(version: GicVersion, vcpus: u8, writes: &[(usize, u32)]) -> Bench {
    let mut bench = Bench::new(&config(version, vcpus, 4));
    for (at, value) in writes {
        bench.write(0, SCENE[*at], *value);
        if version == GicVersion::V3 {
            let offset = PRIVATE + (SCENE[*at] & !0x7f);
            let value = u64::from(*value);
            bench.call(|gic, effects| {
                gic.redistributor_write(vcpu(0), offset, 4, value, effects);
            });
        }
    }
    bench
}

proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    #[test]
    fn a_switch_at_once_is_the_register_write_or_nothing(
        version in prop::sample::select(vec![GicVersion::V2, GicVersion::V3]),
        vcpus in 1_u8..3,
        writes in prop::collection::vec((0..SCENE.len(), any::<u32>()), 0..12),
        word in 0_usize..4,
        mask: u32,
        on: bool,
        idle: bool,
    ) {
        let mut short = scene(version, vcpus, &writes);
        let mut whole = scene(version, vcpus, &writes);
        let before = state(&mut short, version);
        let Bench { gic, table } = &mut short;
        let done = gic.switch_at_once(word, vcpu(0), mask, on, || idle, table);
        let Some(physical) = done else {
            prop_assert_eq!(before, state(&mut short, version));
            return Ok(());
        };
        let offset = if on { SET } else { CLEAR } + 4 * word as u32;
        let private = version == GicVersion::V3 && word == 0;
        let effects = whole.call(|gic, effects| {
            if private {
                gic.redistributor_write(vcpu(0), PRIVATE + offset, 4, mask.into(), effects);
            } else {
                gic.distributor_write(vcpu(0), offset, 4, mask.into(), effects);
            }
        });
        let (own, index) = (vcpu(0), word as u8);
        let expected = match (physical, on) {
            (0, _) => vec![],
            (mask, true) => vec![Effect::Enable { vcpu: own, word: index, mask }],
            (mask, false) => vec![Effect::Disable { vcpu: own, word: index, mask }],
        };
        prop_assert_eq!(effects.kick, 0);
        // Nobody's list registers have to be looked at but the vCPU's own, which are out of use.
        prop_assert!(effects.retract == 0 || effects.retract == 1 && idle);
        prop_assert_eq!(&effects.physical[..], &expected[..]);
        prop_assert_eq!(state(&mut short, version), state(&mut whole, version));
    }

    #[test]
    fn what_the_table_shows_is_what_the_registers_read(
        version in prop::sample::select(vec![GicVersion::V2, GicVersion::V3]),
        writes in prop::collection::vec((0..SCENE.len(), any::<u32>()), 0..12),
    ) {
        let mut bench = scene(version, 2, &writes);
        prop_assert_eq!(bench.table.typer(), bench.read(0, 4));
        for word in 1..32 {
            prop_assert_eq!(bench.table.enabled(word, None), bench.read(0, SET + 4 * word));
        }
        let private = match version {
            GicVersion::V2 => bench.read(0, SET),
            GicVersion::V3 => bench.gic.redistributor_read(vcpu(0), PRIVATE + SET, 4) as u32,
        };
        prop_assert_eq!(bench.table.enabled(0, Some(vcpu(0))), private);
        // A GICv3's distributor has no private interrupts.
        prop_assert_eq!(bench.table.enabled(0, None), 0);
    }
}
