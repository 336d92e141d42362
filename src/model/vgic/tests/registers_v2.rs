//! GICv2's registers, with the numbers of IHI 0048.

use super::*;

const CTLR: u32 = 0x000;
const TYPER: u32 = 0x004;
const IGROUPR: u32 = 0x080;
const ISENABLER: u32 = 0x100;
const ICENABLER: u32 = 0x180;
const ISPENDR: u32 = 0x200;
const ICPENDR: u32 = 0x280;
const IPRIORITYR: u32 = 0x400;
const ITARGETSR: u32 = 0x800;
const ICFGR: u32 = 0xc00;
const SGIR: u32 = 0xf00;
const CPENDSGIR: u32 = 0xf10;
const SPENDSGIR: u32 = 0xf20;

fn bench(vcpus: u8) -> Bench {
    Bench::new(&config(GicVersion::V2, vcpus, 4))
}

fn byte_write(bench: &mut Bench, by: u8, offset: u32, value: u64) {
    bench.call(|gic, effects| gic.distributor_write(vcpu(by), offset, 1, value, effects));
}

fn byte_read(bench: &Bench, by: u8, offset: u32) -> u64 {
    bench.gic.distributor_read(vcpu(by), offset, 1)
}

#[test]
fn typer_counts_words_and_cpus() {
    // The highest owned INTID is 294: ten words of 32. CPUNumber is one less than the CPUs.
    assert_eq!(bench(3).read(0, TYPER), 9 | 2 << 5);
    let mut small = Vgic::new(&config(GicVersion::V2, 1, 4));
    assert_eq!(
        small.distributor_read(vcpu(0), TYPER, 4),
        1,
        "never fewer than 64 INTIDs"
    );
    small.own(1019, Source::Edge);
    assert_eq!(small.distributor_read(vcpu(0), TYPER, 4), 31);
}

#[test]
fn the_identification_says_gicv2() {
    let mut bench = bench(1);
    let ids: Vec<_> = (0..12).map(|n| bench.read(0, 0xfd0 + 4 * n)).collect();
    assert_eq!(
        ids,
        [4, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1]
    );
}

#[test]
fn reset_leaves_nothing_enabled_but_sgis_and_all_priorities_zero() {
    let mut bench = bench(2);
    assert_eq!(bench.read(0, CTLR), 0);
    assert_eq!(bench.read(1, ISENABLER), 0xffff);
    assert_eq!(bench.read(1, ISENABLER + 4), 0);
    for offset in (IPRIORITYR..IPRIORITYR + 0x60).step_by(4) {
        assert_eq!(bench.read(0, offset), 0);
    }
}

#[test]
fn ctlr_keeps_both_group_enables_and_nothing_else() {
    let mut bench = bench(1);
    bench.write(0, CTLR, u32::MAX);
    assert_eq!(bench.read(0, CTLR), 3);
}

#[test]
fn private_registers_are_each_vcpus_own() {
    let mut bench = bench(2);
    bench.write(1, ISENABLER, 1 << TIMER);
    assert_eq!(bench.read(0, ISENABLER), 0xffff);
    assert_eq!(bench.read(1, ISENABLER), 0xffff | 1 << TIMER);
    assert_eq!(bench.read(1, ICENABLER), 0xffff | 1 << TIMER);
}

#[test]
fn sgis_cannot_be_disabled() {
    let mut bench = bench(1);
    bench.write(0, ICENABLER, u32::MAX);
    assert_eq!(bench.read(0, ISENABLER), 0xffff);
}

#[test]
fn enabling_a_physical_interrupt_reaches_the_physical_gic_once() {
    let mut bench = bench(2);
    let mask = 1 << (DEVICE - 32);
    let first = bench.write(1, ISENABLER + 4, u32::MAX).physical.clone();
    let both = mask | 1 << (DEVICE_EDGE - 32);
    assert_eq!(
        first[..],
        [Effect::Enable {
            vcpu: vcpu(1),
            word: 1,
            mask: both
        }]
    );
    assert!(bench.write(1, ISENABLER + 4, u32::MAX).is_empty());
    let off = bench.write(0, ICENABLER + 4, mask).physical.clone();
    assert_eq!(
        off[..],
        [Effect::Disable {
            vcpu: vcpu(0),
            word: 1,
            mask
        }]
    );
}

#[test]
fn priorities_take_bytes_and_keep_only_implemented_bits() {
    let mut bench = bench(1);
    byte_write(&mut bench, 0, IPRIORITYR + u32::from(LINE), 0xab);
    assert_eq!(byte_read(&bench, 0, IPRIORITYR + u32::from(LINE)), 0xa8);
    bench.write(0, IPRIORITYR + 32, 0xffff_ffff);
    assert_eq!(bench.read(0, IPRIORITYR + 32), 0x0000_f800, "33 is owned");
    bench.call(|gic, effects| gic.distributor_write(vcpu(0), IPRIORITYR + 32, 2, 0, effects));
    assert_eq!(
        bench.read(0, IPRIORITYR + 32),
        0x0000_f800,
        "half words are none"
    );
}

#[test]
fn targets_of_private_interrupts_name_the_reader() {
    let mut bench = bench(4);
    assert_eq!(bench.read(2, ITARGETSR), 0x0404_0404);
    bench.write(2, ITARGETSR, 0);
    assert_eq!(bench.read(3, ITARGETSR + 12), 0x0808_0808);
    assert_eq!(
        bench.read(3, ITARGETSR + 16),
        0x0808_0808,
        "PPIs nobody has"
    );
}

#[test]
fn targets_of_spis_are_kept_and_route_physical_ones() {
    let mut bench = bench(4);
    let device = ITARGETSR + u32::from(DEVICE);
    let effects =
        bench.call(|gic, effects| gic.distributor_write(vcpu(0), device, 1, 0xfc, effects));
    assert_eq!(
        effects.physical[..],
        [Effect::Route {
            intid: DEVICE,
            vcpu: vcpu(2)
        }]
    );
    assert_eq!(byte_read(&bench, 0, device), 0x0c, "only CPUs that exist");
}

#[test]
fn a_single_cpu_has_no_targets() {
    let mut bench = bench(1);
    bench.write(0, ITARGETSR + 32, u32::MAX);
    assert_eq!(bench.read(0, ITARGETSR), 0);
    assert_eq!(bench.read(0, ITARGETSR + 32), 0);
}

#[test]
fn sgis_and_ppis_have_a_fixed_trigger() {
    let mut bench = bench(1);
    bench.write(0, ICFGR, 0);
    bench.write(0, ICFGR + 4, u32::MAX);
    assert_eq!(bench.read(0, ICFGR), 0xaaaa_aaaa);
    assert_eq!(bench.read(0, ICFGR + 4), 0, "the timer is level-sensitive");
}

#[test]
fn a_trigger_of_a_physical_spi_reaches_the_physical_gic() {
    let mut bench = bench(1);
    assert_eq!(bench.read(0, ICFGR + 8), 0b10 << 18, "41 is edge-triggered");
    // 40 and 41 are the eighth and ninth of this word's first register.
    let effects = bench.write(0, ICFGR + 8, 0b10 << 16);
    let mask = 1 << 8 | 1 << 9;
    assert_eq!(
        effects.physical[..],
        [Effect::Trigger {
            word: 1,
            mask,
            edge: 1 << 8
        }]
    );
}

#[test]
fn sgir_sends_to_the_list_to_the_others_or_to_itself() {
    for (filter, list, expected) in [
        (0, 0b1011, [1, 1, 0, 1]),
        (1, 0, [1, 0, 1, 1]),
        (2, 0, [0, 1, 0, 0]),
        (3, 0xff, [0, 0, 0, 0]),
    ] {
        let mut bench = bench(4);
        bench.write(1, SGIR, filter << 24 | list << 16 | 1 << 15 | 5);
        for (target, pending) in expected.into_iter().enumerate() {
            let target = target as u8;
            assert_eq!(bench.read(target, ISPENDR) >> 5 & 1, pending);
            assert_eq!(
                bench.read(target, SPENDSGIR + 4) >> 8,
                pending * 0b10,
                "from CPU 1"
            );
        }
    }
}

#[test]
fn pending_sgis_are_set_and_cleared_by_source() {
    let mut bench = bench(4);
    byte_write(&mut bench, 0, SPENDSGIR + 3, 0xff);
    assert_eq!(bench.read(0, CPENDSGIR), 0x0f00_0000);
    bench.write(0, ICPENDR, u32::MAX);
    byte_write(&mut bench, 0, CPENDSGIR + 3, 0b0111);
    assert_eq!(byte_read(&bench, 0, SPENDSGIR + 3), 0b1000);
    assert_eq!(bench.read(0, ISPENDR), 1 << 3);
    byte_write(&mut bench, 0, CPENDSGIR + 3, 0b1000);
    assert_eq!(bench.read(0, ISPENDR), 0);
}

#[test]
fn each_source_of_an_sgi_is_given_once() {
    let mut bench = bench(4);
    bench.write(0, CTLR, 1);
    bench.write(2, SGIR, 1 << 16 | 7);
    bench.write(1, SGIR, 1 << 16 | 7);
    bench.write(1, SGIR, 1 << 16 | 7);
    let mut sources = vec![];
    for _ in 0..3 {
        for lr in bench.fill(0).lrs {
            assert_eq!(lr.intid(), 7);
            sources.push(lr.source());
            bench.fold(0, &[lr.with_state(State::Invalid)]);
        }
    }
    assert_eq!(sources, [1, 2]);
}

#[test]
fn groups_are_kept_and_gate_what_is_offered() {
    let mut bench = bench(1);
    let (doorbell, word) = (1 << (DOORBELL % 32), 4 * u32::from(DOORBELL / 32));
    bench.write(0, IGROUPR + word, u32::MAX);
    assert_eq!(bench.read(0, IGROUPR + word) & doorbell, doorbell);
    bench.write(0, ISENABLER + word, doorbell);
    bench.write(0, CTLR, 1);
    assert_eq!(
        bench.call(|gic, effects| gic.raise(DOORBELL, effects)).kick,
        0
    );
    assert_eq!(bench.write(0, CTLR, 2).kick, 1);
    let lrs = bench.fill(0).lrs;
    assert!(lrs.len() == 1 && lrs[0].is_group1());
}

#[test]
fn redistributors_and_sgi1r_are_not_there() {
    let mut bench = bench(2);
    assert_eq!(bench.gic.redistributor_read(vcpu(0), 0xffe8, 4), 0);
    assert!(
        bench
            .call(|gic, effects| gic.send_sgi1r(vcpu(0), 2, effects))
            .is_empty()
    );
}

#[test]
fn only_pending_and_active_state_needs_folding() {
    let gic = bench(2).gic;
    let reach = |offset| gic.reach(vcpu(1), Frame::Distributor, offset);
    for offset in [ISPENDR, ICPENDR, 0x300, 0x380, CPENDSGIR, SPENDSGIR + 12] {
        assert_eq!(reach(offset), Reach::Of(vcpu(1)));
    }
    for offset in [ISPENDR + 4, ICPENDR + 0x20, 0x304, 0x3a0] {
        assert_eq!(reach(offset), Reach::All);
    }
    for offset in [
        CTLR,
        IGROUPR,
        ISENABLER,
        ICENABLER + 4,
        IPRIORITYR,
        ITARGETSR + 40,
        ICFGR,
        SGIR,
        ISPENDR + 12,
    ] {
        assert_eq!(reach(offset), Reach::None, "{offset:#x}");
    }
}
