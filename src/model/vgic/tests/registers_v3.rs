//! GICv3's registers, with the numbers of IHI 0069.

use super::*;

const CTLR: u32 = 0x0000;
const TYPER: u32 = 0x0004;
const ISENABLER: u32 = 0x0100;
const ISPENDR: u32 = 0x0200;
const ITARGETSR: u32 = 0x0800;
const IROUTER: u32 = 0x6000;
const SGI: u32 = 0x1_0000;

fn bench(vcpus: u8) -> Bench {
    Bench::new(&config(GicVersion::V3, vcpus, 4))
}

fn redistributor(bench: &mut Bench, of: u8, offset: u32) -> u32 {
    bench.gic.redistributor_read(vcpu(of), offset, 4) as u32
}

fn write_redistributor(bench: &mut Bench, of: u8, offset: u32, value: u32) -> Effects<'_> {
    bench.call(|gic, effects| gic.redistributor_write(vcpu(of), offset, 4, value.into(), effects))
}

#[test]
fn ctlr_has_one_security_state_and_affinity_routing_fixed() {
    let mut bench = bench(1);
    assert_eq!(bench.read(0, CTLR), 1 << 4 | 1 << 6);
    bench.write(0, CTLR, 0xffff_ffff);
    assert_eq!(bench.read(0, CTLR), 1 << 4 | 1 << 6 | 0b11);
}

#[test]
fn typer_has_ten_bits_of_intid_no_lpis_and_no_message_based_spis() {
    assert_eq!(bench(4).read(0, TYPER), 9 | 9 << 19);
    assert_eq!(bench(4).read(0, 0x000c), 0, "GICD_TYPER2");
}

#[test]
fn every_frame_says_gicv3() {
    let mut bench = bench(2);
    assert_eq!(bench.read(0, 0xffe8), 0x3b);
    assert_eq!(redistributor(&mut bench, 1, 0xffe8), 0x3b);
    assert_eq!(redistributor(&mut bench, 1, SGI + 0xffe8), 0x3b);
    assert_eq!(redistributor(&mut bench, 2, 0xffe8), 0, "there is no third");
}

#[test]
fn the_distributor_has_no_private_interrupts_and_no_targets() {
    let mut bench = bench(1);
    bench.write(0, ISENABLER, u32::MAX);
    assert_eq!(bench.read(0, ISENABLER), 0);
    assert_eq!(redistributor(&mut bench, 0, SGI + ISENABLER), 0);
    bench.write(0, ITARGETSR + 40, u32::MAX);
    assert_eq!(bench.read(0, ITARGETSR + 40), 0);
    assert_eq!(bench.read(0, 0x0c00), 0, "ICFGR0");
}

#[test]
fn redistributors_have_no_shared_interrupts() {
    let mut bench = bench(1);
    write_redistributor(&mut bench, 0, SGI + ISENABLER + 4, u32::MAX);
    assert_eq!(bench.read(0, ISENABLER + 4), 0);
    assert_eq!(redistributor(&mut bench, 0, SGI + 0xc08), 0);
}

#[test]
fn redistributor_types_number_and_end_them() {
    let gic = bench(3).gic;
    let typer = |of| gic.redistributor_read(vcpu(of), 8, 8);
    assert_eq!(typer(0), 0);
    assert_eq!(typer(1), 1 << 32 | 1 << 8);
    assert_eq!(typer(2), 2 << 32 | 2 << 8 | 1 << 4);
    assert_eq!(gic.redistributor_read(vcpu(2), 12, 4), 2);
}

#[test]
fn a_redistributor_wakes_and_sleeps_as_told() {
    let mut bench = bench(2);
    assert_eq!(redistributor(&mut bench, 1, 0x14), 0b110);
    write_redistributor(&mut bench, 1, 0x14, 0);
    assert_eq!(redistributor(&mut bench, 1, 0x14), 0);
    assert_eq!(redistributor(&mut bench, 0, 0x14), 0b110);
    bench.gic.reset_vcpu(vcpu(1));
    assert_eq!(redistributor(&mut bench, 1, 0x14), 0b110);
}

#[test]
fn a_private_enable_in_anothers_frame_is_for_that_other() {
    let mut bench = bench(2);
    let effects = write_redistributor(&mut bench, 1, SGI + ISENABLER, u32::MAX);
    let (word, mask) = (0, 1 << TIMER);
    assert_eq!(
        effects.physical[..],
        [Effect::Enable {
            vcpu: vcpu(1),
            word,
            mask
        }]
    );
    assert_eq!(
        redistributor(&mut bench, 1, SGI + ISENABLER),
        0xffff | 1 << TIMER
    );
    assert_eq!(redistributor(&mut bench, 0, SGI + ISENABLER), 0);
}

#[test]
fn routes_go_by_affinity_or_to_any() {
    let mut bench = bench(4);
    let router = IROUTER + 8 * u32::from(DEVICE);
    let mut route = |offset, width, value| {
        let effects = bench
            .call(|gic, effects| gic.distributor_write(vcpu(0), offset, width, value, effects));
        let routed = effects.physical.clone();
        (routed, bench.gic.distributor_read(vcpu(0), router, 8))
    };
    let to = |index| Effect::Route {
        intid: DEVICE,
        vcpu: vcpu(index),
    };
    let (routed, read) = route(router, 8, 3);
    assert_eq!((&routed[..], read), (&[to(3)][..], 3));
    let (routed, read) = route(router, 4, 1 << 31 | 3);
    assert_eq!((&routed[..], read), (&[to(0)][..], 1 << 31 | 3));
    let (routed, read) = route(router, 8, 0x0101);
    assert_eq!(
        (&routed[..], read),
        (&[][..], 0x0101),
        "nobody has this affinity"
    );
    let (routed, read) = route(router + 4, 4, 0xff);
    assert_eq!(
        (&routed[..], read),
        (&[][..], 0x0101),
        "Aff3 is not supported"
    );
}

#[test]
fn a_pending_spi_moves_with_its_route() {
    let mut bench = bench(2);
    bench.write(0, CTLR, 3);
    let word = 4 * u32::from(DOORBELL / 32);
    bench.write(0, ISENABLER + word, 1 << (DOORBELL % 32));
    assert_eq!(
        bench.call(|gic, effects| gic.raise(DOORBELL, effects)).kick,
        0b01
    );
    let filled = bench.fill(0);
    assert_eq!(filled.lrs.len(), 1);
    let router = IROUTER + 8 * u32::from(DOORBELL);
    let effects = bench.call(|gic, effects| gic.distributor_write(vcpu(1), router, 8, 1, effects));
    assert_eq!(effects.retract, 0b01, "whoever holds it must give it back");
    assert_eq!(bench.fold(0, &filled.lrs).kick, 0b10);
    assert!(bench.fill(0).lrs.is_empty());
    assert_eq!(bench.fill(1).lrs.len(), 1);
}

#[test]
fn sgi1r_sends_to_a_list_of_this_cluster_or_to_all_others() {
    for (value, kicked) in [
        (0b1010 | 3 << 24, 0b1010),
        (0xffff | 3 << 24, 0b1111),
        (1 << 40 | 3 << 24, 0b1101),
        (1 << 16 | 0b1111 | 3 << 24, 0),
        (1 << 32 | 0b1111 | 3 << 24, 0),
        (1 << 48 | 0b1111 | 3 << 24, 0),
        (1 << 44 | 0b1111 | 3 << 24, 0),
    ] {
        let mut bench = bench(4);
        bench.write(0, CTLR, 3);
        for of in 0..4 {
            write_redistributor(&mut bench, of, SGI + ISENABLER, 1 << 3);
        }
        let kick = bench
            .call(|gic, effects| gic.send_sgi1r(vcpu(1), value, effects))
            .kick;
        assert_eq!(kick, kicked, "{value:#x}");
        for of in 0..4 {
            let pending = redistributor(&mut bench, of, SGI + ISPENDR);
            assert_eq!(pending, (kicked as u32 >> of & 1) << 3);
        }
    }
}

#[test]
fn sgi0r_reaches_only_interrupts_in_group_0() {
    let mut bench = bench(1);
    write_redistributor(&mut bench, 0, SGI + 0x80, 1 << 3);
    for sgi in [3, 4] {
        bench.call(|gic, effects| gic.send_sgi0r(vcpu(0), 1 | sgi << 24, effects));
    }
    assert_eq!(redistributor(&mut bench, 0, SGI + ISPENDR), 1 << 4);
}

#[test]
fn reading_pending_state_says_which_physical_bits_count_too() {
    let gic = bench(2).gic;
    let pending = |frame, offset| gic.physical_pending(vcpu(0), frame, offset);
    let private = Frame::Redistributor(vcpu(1));
    let spis = 1 << (DEVICE - 32) | 1 << (DEVICE_EDGE - 32);
    assert_eq!(pending(Frame::Distributor, ISPENDR + 4), Some((1, spis)));
    assert_eq!(pending(private, SGI + 0x280), Some((0, 1 << TIMER)));
    assert_eq!(pending(Frame::Distributor, ISPENDR), None);
    assert_eq!(pending(private, SGI + 0x300), None);
}
