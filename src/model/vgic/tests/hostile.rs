//! Any access with any value: no panic, and nothing of what the partition does not own.

use super::*;
use proptest::prelude::*;

/// Offsets near registers as often as anywhere.
fn offset() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..0x1000, 0u32..0x20000, any::<u32>()]
}

fn version() -> impl Strategy<Value = GicVersion> {
    prop::sample::select(vec![GicVersion::V2, GicVersion::V3])
}

/// The bits of 32-bit registers at `offset` of GICD that belong to owned interrupts, for vCPU `by` of a GICv2.
fn owned_bits(version: GicVersion, offset: u32) -> u32 {
    let word = offset / 4 % 32;
    let mine = |word: u32| match word {
        0 if version == GicVersion::V3 => 0,
        0 => 0x0000_ffff | 1 << TIMER,
        1 => 1 << (LINE - 32) | 1 << (DOORBELL - 32) | 1 << (DEVICE - 32) | 1 << (DEVICE_EDGE - 32),
        2 => 1 << (DOORBELL_2 - 64),
        _ => 0,
    };
    match offset {
        0x80..0x400 => mine(word),
        // ITARGETSR0 to 7 name the reader for every private interrupt.
        0x800..0x820 if version == GicVersion::V2 => u32::MAX,
        0x400..0xc00 => {
            let first = offset % 0x400;
            let bits = mine(first / 32) >> (first % 32) & 0xf;
            (0..4)
                .filter(|bit| bits >> bit & 1 != 0)
                .map(|bit| 0xff << (8 * bit))
                .sum()
        }
        0xc00..0xd00 => {
            let first = (offset - 0xc00) * 4;
            let bits = mine(first / 32) >> (first % 32) & 0xffff;
            (0..16)
                .filter(|bit| bits >> bit & 1 != 0)
                .map(|bit| 3 << (2 * bit))
                .sum()
        }
        _ => u32::MAX,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_access_panics_and_unowned_bits_stay_zero(
        version in version(),
        vcpus in any::<u8>(),
        list_registers in any::<u8>(),
        accesses in prop::collection::vec((any::<u8>(), offset(), any::<u8>(), any::<u64>(), 0u8..4), 1..60),
    ) {
        let mut bench = Bench::new(&config(version, vcpus, list_registers));
        for (by, offset, width, value, kind) in accesses {
            let width = if width < 200 { [1, 2, 4, 8][usize::from(width % 4)] } else { width };
            let by = if by < 200 { by % 4 } else { by };
            let _ = bench.gic.reach(vcpu(by), Frame::Distributor, offset);
            let _ = bench.gic.reach(vcpu(by), Frame::Redistributor(vcpu(by)), offset);
            let _ = bench.gic.physical_pending(vcpu(by), Frame::Distributor, offset);
            let _ = bench.gic.redistributor_read(vcpu(by), offset, width);
            let _ = bench.gic.distributor_read(vcpu(by), offset, width);
            bench.call(|gic, effects| match kind {
                0 => gic.distributor_write(vcpu(by), offset, width, value, effects),
                1 => gic.redistributor_write(vcpu(by), offset, width, value, effects),
                2 => gic.send_sgi1r(vcpu(by), value, effects),
                _ => gic.deactivate(vcpu(by), value as u16, effects),
            });
            let read = bench.read(by % 4, offset & !3);
            prop_assert_eq!(read & !owned_bits(version, offset & !3), 0);
            let filled = bench.fill(by);
            bench.fold(by, &filled.lrs);
        }
    }

    #[test]
    fn no_list_register_or_event_panics(
        version in version(),
        events in prop::collection::vec((any::<u8>(), any::<u64>(), any::<u32>(), 0u8..6), 1..60),
    ) {
        let mut bench = Bench::new(&config(version, 4, 4));
        bench.write(0, 0, 3);
        for (by, raw, number, kind) in events {
            let (by, intid) = (vcpu(by), number as u16);
            let lr = ListRegister::decode(version, raw);
            let direct = bench.table.direct(by, intid);
            prop_assert!(direct == 0 || ListRegister::decode(version, direct).intid() == intid);
            bench.call(|gic, effects| match kind {
                0 => gic.fold(by, &[lr, lr], number, effects),
                1 => gic.physical(by, intid, effects),
                2 => gic.set_level(intid, raw & 1 != 0, effects),
                3 => gic.raise(intid, effects),
                4 => gic.deactivate(by, intid, effects),
                _ => drop(gic.fill(by, effects)),
            });
        }
    }
}

#[test]
fn what_never_reaches_needs_no_fold() {
    for version in [GicVersion::V2, GicVersion::V3] {
        let mut vgic = Vgic::new(&Config {
            version,
            vcpus: 4,
            list_registers: 4,
            priority_bits: 5,
            deactivation: Deactivation::Hardware,
        });
        vgic.own(27, Source::Physical { edge: false });
        vgic.own(33, Source::Level);
        let table = DirectTable::new();
        vgic.reset(&mut Effects::new(&table));
        let vcpu = VcpuId::new(1);
        for frame in [Frame::Distributor, Frame::Redistributor(VcpuId::new(2))] {
            for offset in (0..0x2_0000).step_by(4) {
                if Vgic::never_reaches(frame, offset) {
                    let reach = vgic.reach(vcpu, frame, offset);
                    assert_eq!(reach, Reach::None, "{frame:?} {offset:#x}");
                }
            }
        }
    }
}
