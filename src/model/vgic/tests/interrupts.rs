//! Single interrupts from arrival to end, and what list registers and effects are used for it.

use super::*;
use crate::arm::list_register::InterfaceControl;

const DEVICE_BIT: u32 = 1 << (DEVICE - 32);
/// DEVICE_EDGE in its word.
const DEVICE_EDGE_BIT: u32 = 1 << (DEVICE_EDGE - 32);

/// A GICv3 with one vCPU, everything enabled in group 1, and all priorities 0xa0.
fn started(deactivation: Deactivation, list_registers: u8) -> Bench {
    let config = Config {
        deactivation,
        ..config(GicVersion::V3, 1, list_registers)
    };
    let mut bench = Bench::new(&config);
    bench.write(0, 0, 3);
    for word in (4..0x28).step_by(4) {
        bench.write(0, 0x80 + word, u32::MAX);
        bench.write(0, 0x100 + word, u32::MAX);
    }
    for priority in (0x420..0x540).step_by(4) {
        bench.write(0, priority, 0xa0a0_a0a0);
    }
    bench
}

fn arrive(bench: &mut Bench, intid: u16) -> u8 {
    bench
        .call(|gic, effects| gic.physical(vcpu(0), intid, effects))
        .kick
}

fn deactivation_of(effects: &Effects<'_>) -> u32 {
    let mut bits = 0;
    for effect in &effects.physical {
        if let Effect::Deactivate { word: 1, mask, .. } = effect {
            bits |= mask;
        }
    }
    bits
}

#[test]
fn a_physical_interrupt_is_tied_to_its_list_register() {
    let mut bench = started(Deactivation::Hardware, 4);
    assert_eq!(arrive(&mut bench, DEVICE), 1);
    let expected = ListRegister::new(DEVICE, State::Pending, 0xa0, true).with_hardware();
    assert_eq!(bench.fill(0).lrs[..], [expected]);
}

#[test]
fn without_hardware_deactivation_the_end_is_told_and_passed_on() {
    let mut bench = started(Deactivation::Software, 4);
    arrive(&mut bench, DEVICE);
    let lr = bench.fill(0).lrs[0];
    assert!(lr.has_eoi() && !lr.is_hardware());
    assert_eq!(
        deactivation_of(&bench.fold(0, &[lr.with_state(State::Active)])),
        0
    );
    let lr = bench.fill(0).lrs[0];
    assert_eq!(lr.state(), State::Active);
    assert_eq!(
        deactivation_of(&bench.fold(0, &[lr.with_state(State::Invalid)])),
        DEVICE_BIT
    );
}

#[test]
fn the_table_offers_what_the_model_would_list_and_nothing_it_holds() {
    for deactivation in [Deactivation::Hardware, Deactivation::Software] {
        let mut bench = started(deactivation, 4);
        let direct = |bench: &Bench| bench.table.direct(vcpu(0), DEVICE);
        let offered = direct(&bench);
        arrive(&mut bench, DEVICE);
        assert_eq!(direct(&bench), 0, "it is pending in the model");
        assert_eq!(bench.fill(0).lrs[0].encode(GicVersion::V3), offered);
        assert_eq!(bench.table.direct(vcpu(1), DEVICE), 0, "it goes to vCPU 0");
        assert_eq!(bench.table.direct(vcpu(0), LINE), 0, "it is not physical");
    }
}

#[test]
fn the_table_follows_every_register() {
    let mut bench = started(Deactivation::Hardware, 4);
    let direct = |bench: &Bench| bench.table.direct(vcpu(0), DEVICE);
    let plain = ListRegister::new(DEVICE, State::Pending, 0x50, false).with_hardware();
    bench.write(0, 0x428, 0x50);
    bench.write(0, 0x084, 0);
    assert_eq!(direct(&bench), plain.encode(GicVersion::V3));
    bench.write(0, 0, 2);
    assert_eq!(direct(&bench), 0, "group 0 is held back");
    bench.write(0, 0, 1);
    assert_ne!(direct(&bench), 0);
    bench.write(0, 0x184, DEVICE_BIT);
    assert_eq!(direct(&bench), 0, "disabled");
    bench.write(0, 0x104, DEVICE_BIT);
    assert_ne!(direct(&bench), 0);
    bench.write(0, 0x204, DEVICE_BIT);
    assert_eq!(direct(&bench), 0, "pending by software");
    bench.write(0, 0x284, DEVICE_BIT);
    assert_ne!(direct(&bench), 0);
    bench.call(|gic, effects| gic.reset(effects));
    assert_eq!(direct(&bench), 0);
}

#[test]
fn a_list_register_the_model_never_wrote_is_taken_back() {
    for deactivation in [Deactivation::Hardware, Deactivation::Software] {
        let mut bench = started(deactivation, 4);
        let direct = bench.table.direct(vcpu(0), DEVICE);
        let lr = ListRegister::decode(GicVersion::V3, direct);
        bench.fold(0, &[lr.with_state(State::Active)]);
        assert_eq!(bench.read(0, 0x304), DEVICE_BIT);
        assert_eq!(
            deactivation_of(&bench.write(0, 0x384, DEVICE_BIT)),
            DEVICE_BIT
        );
        let ended = bench.fold(0, &[lr.with_state(State::Invalid)]);
        let owed = deactivation == Deactivation::Software;
        assert_eq!(deactivation_of(&ended), if owed { DEVICE_BIT } else { 0 });
    }
}

#[test]
fn a_disabled_level_goes_back_to_the_physical_gic_and_a_disabled_edge_stays() {
    let mut bench = started(Deactivation::Hardware, 4);
    bench.write(0, 0, 0);
    arrive(&mut bench, DEVICE);
    arrive(&mut bench, DEVICE_EDGE);
    let effects = bench.write(0, 0x184, u32::MAX).physical.clone();
    let both = DEVICE_BIT | 1 << (DEVICE_EDGE - 32);
    let expected = [
        Effect::Disable {
            vcpu: vcpu(0),
            word: 1,
            mask: both,
        },
        Effect::Deactivate {
            vcpu: vcpu(0),
            word: 1,
            mask: DEVICE_BIT,
        },
    ];
    assert_eq!(effects[..], expected);
    assert_eq!(bench.read(0, 0x204), 1 << (DEVICE_EDGE - 32));
}

#[test]
fn an_active_interrupt_that_is_disabled_keeps_its_list_register() {
    let mut bench = started(Deactivation::Hardware, 4);
    arrive(&mut bench, DEVICE);
    let lr = bench.fill(0).lrs[0].with_state(State::Active);
    assert_eq!(bench.write(0, 0x184, DEVICE_BIT).retract, 1);
    bench.fold(0, &[lr]);
    assert_eq!(bench.fill(0).lrs[..], [lr]);
}

#[test]
fn clearing_a_pending_physical_interrupt_ends_it_physically() {
    let mut bench = started(Deactivation::Hardware, 4);
    arrive(&mut bench, DEVICE_EDGE);
    let mask = 1 << (DEVICE_EDGE - 32);
    let effects = bench.write(0, 0x284, mask).physical.clone();
    let place = (vcpu(0), 1);
    let expected = [
        Effect::ClearPending {
            vcpu: place.0,
            word: place.1,
            mask,
        },
        Effect::Deactivate {
            vcpu: place.0,
            word: place.1,
            mask,
        },
    ];
    assert_eq!(effects[..], expected);
    assert!(bench.fill(0).lrs.is_empty());
}

#[test]
fn a_foreign_physical_interrupt_is_silenced() {
    let mut bench = started(Deactivation::Hardware, 4);
    let effects = bench.call(|gic, effects| gic.physical(vcpu(0), 99, effects));
    let (vcpu, word, mask) = (vcpu(0), 3, 1 << 3);
    let expected = [
        Effect::Disable { vcpu, word, mask },
        Effect::Deactivate { vcpu, word, mask },
    ];
    assert_eq!(effects.physical[..], expected);
    assert_eq!(effects.kick, 0);
}

#[test]
fn a_line_still_high_at_the_end_is_pending_again() {
    let mut bench = started(Deactivation::Hardware, 4);
    bench.call(|gic, effects| gic.set_level(LINE, true, effects));
    let lr = bench.fill(0).lrs[0];
    assert!(lr.has_eoi(), "so that the line is looked at again");
    bench.fold(0, &[lr.with_state(State::Active)]);
    let lr = bench.fill(0).lrs[0];
    assert!(lr.has_eoi() && lr.state() == State::Active);
    bench.fold(0, &[lr.with_state(State::Invalid)]);
    assert_eq!(bench.fill(0).lrs[0].state(), State::Pending);
    assert_eq!(
        bench
            .call(|gic, effects| gic.set_level(LINE, false, effects))
            .retract,
        1
    );
    bench.fold(0, &[lr.with_state(State::Pending)]);
    assert!(bench.fill(0).lrs.is_empty());
}

#[test]
fn a_line_that_fell_during_the_handler_needs_no_maintenance() {
    let mut bench = started(Deactivation::Hardware, 4);
    bench.call(|gic, effects| gic.set_level(LINE, true, effects));
    let lr = bench.fill(0).lrs[0];
    bench.call(|gic, effects| gic.set_level(LINE, false, effects));
    bench.fold(0, &[lr.with_state(State::Active)]);
    assert!(!bench.fill(0).lrs[0].has_eoi());
    assert_eq!(
        bench
            .call(|gic, effects| gic.set_level(LINE, true, effects))
            .kick,
        1
    );
}

#[test]
fn pending_by_software_stays_when_the_line_falls() {
    let mut bench = started(Deactivation::Hardware, 4);
    let bit = 1 << (LINE - 32);
    bench.write(0, 0x204, bit);
    bench.call(|gic, effects| gic.set_level(LINE, true, effects));
    bench.call(|gic, effects| gic.set_level(LINE, false, effects));
    assert_eq!(bench.read(0, 0x204), bit);
    let lr = bench.fill(0).lrs[0];
    bench.fold(0, &[lr]);
    assert_eq!(bench.read(0, 0x204), bit, "also out of a list register");
    bench.write(0, 0x284, bit);
    assert_eq!(bench.read(0, 0x204), 0);
}

#[test]
fn a_doorbell_rung_in_its_handler_comes_again_without_maintenance() {
    let mut bench = started(Deactivation::Hardware, 4);
    bench.call(|gic, effects| gic.raise(DOORBELL, effects));
    let lr = bench.fill(0).lrs[0];
    assert!(!lr.has_eoi());
    assert_eq!(
        bench.call(|gic, effects| gic.raise(DOORBELL, effects)).kick,
        1
    );
    bench.fold(0, &[lr.with_state(State::Active)]);
    let lr = bench.fill(0).lrs[0];
    assert_eq!((lr.state(), lr.has_eoi()), (State::PendingActive, false));
}

#[test]
fn a_doorbell_rung_twice_before_it_is_taken_comes_once() {
    let mut bench = started(Deactivation::Hardware, 4);
    bench.call(|gic, effects| gic.raise(DOORBELL, effects));
    let lr = bench.fill(0).lrs[0];
    bench.call(|gic, effects| gic.raise(DOORBELL, effects));
    bench.fold(0, &[lr]);
    let lrs = bench.fill(0).lrs;
    assert_eq!(lrs[..], [lr]);
    bench.fold(0, &[lr.with_state(State::Invalid)]);
    assert!(bench.fill(0).lrs.is_empty());
}

#[test]
fn the_most_urgent_come_first_and_the_rest_when_those_are_taken() {
    let mut bench = started(Deactivation::Hardware, 1);
    // LINE is INTID 33, DOORBELL 258.
    bench.write(0, 0x420, 0x60_00);
    bench.write(0, 0x500, 0x50_0000);
    bench.call(|gic, effects| gic.set_level(LINE, true, effects));
    bench.call(|gic, effects| gic.raise(DOORBELL, effects));
    let filled = bench.fill(0);
    assert_eq!(filled.lrs[0].intid(), DOORBELL);
    assert!(filled.overflow && !filled.evicted);
    assert_eq!(
        filled.control(),
        InterfaceControl::ENABLE | InterfaceControl::NO_PENDING
    );
}

#[test]
fn an_evicted_active_interrupt_ends_by_count() {
    let mut bench = started(Deactivation::Hardware, 1);
    bench.write(0, 0x524, 0x60_0000);
    arrive(&mut bench, DEVICE);
    let device = bench.fill(0).lrs[0];
    bench.call(|gic, effects| gic.raise(DOORBELL_2, effects));
    bench.fold(0, &[device.with_state(State::Active)]);
    let filled = bench.fill(0);
    assert_eq!(filled.lrs[0].intid(), DOORBELL_2);
    assert!(filled.evicted);
    let control = InterfaceControl::ENABLE | InterfaceControl::ENTRY_NOT_PRESENT;
    assert_eq!(filled.control(), control);
    let ended = [filled.lrs[0].with_state(State::Invalid)];
    let effects = bench.call(|gic, effects| gic.fold(vcpu(0), &ended, 1, effects));
    assert_eq!(deactivation_of(&effects), DEVICE_BIT);
    assert!(bench.fill(0).lrs.is_empty());
}

#[test]
fn reset_hands_physical_interrupts_back_and_forgets_all() {
    let mut bench = started(Deactivation::Hardware, 4);
    arrive(&mut bench, DEVICE);
    bench.call(|gic, effects| gic.raise(DOORBELL, effects));
    bench.write(0, 0xc08, 0b10 << 16);
    let effects = bench
        .call(|gic, effects| gic.reset(effects))
        .physical
        .clone();
    let both = DEVICE_BIT | 1 << (DEVICE_EDGE - 32);
    let expected = [
        Effect::Reset {
            vcpu: vcpu(0),
            word: 0,
            mask: 1 << TIMER,
        },
        Effect::Reset {
            vcpu: vcpu(0),
            word: 1,
            mask: both,
        },
        Effect::Trigger {
            word: 1,
            mask: both,
            edge: 1 << (DEVICE_EDGE - 32),
        },
    ];
    assert_eq!(effects[..], expected);
    assert!(bench.fill(0).lrs.is_empty());
    for offset in (0..0xd00)
        .step_by(4)
        .filter(|offset| *offset >= 0x80 && *offset < 0xc00)
    {
        assert_eq!(bench.read(0, offset), 0, "{offset:#x}");
    }
}

#[test]
fn the_largest_reset_fits_its_effects() {
    let mut gic = Box::new(Vgic::new(&config(GicVersion::V3, 8, 16)));
    let table = Box::new(DirectTable::new());
    for intid in 0..1024 {
        gic.own(intid, Source::Physical { edge: true });
    }
    gic.reset(&mut Effects::new(&table));
    for register in 2..64 {
        let mut effects = Effects::new(&table);
        gic.distributor_write(vcpu(0), 0xc00 + 4 * register, 4, 0, &mut effects);
    }
    let mut effects = Effects::new(&table);
    gic.reset(&mut effects);
    // 8 private words, 31 shared ones with their triggers; 80 is MAX_EFFECTS.
    assert_eq!(effects.physical.len(), 8 + 2 * 31);
}

#[test]
fn a_lone_posted_sgi_needs_no_model_and_several_are_found_by_the_fold() {
    for version in [GicVersion::V2, GicVersion::V3] {
        let mut bench = Bench::new(&config(version, 4, 4));
        bench.write(0, 0, 3);
        bench.call(|gic, effects| gic.redistributor_write(vcpu(1), 0x1_0100, 4, 0xffff, effects));
        bench.table.post(vcpu(2), 5, 0b0010, version);
        assert_eq!(
            bench.table.take_one(vcpu(0), version),
            0,
            "it is for vCPU 1"
        );
        let source = if version == GicVersion::V2 { 2 } else { 0 };
        let lr = ListRegister::new(5, State::Pending, 0, false).with_source(source);
        assert_eq!(bench.table.take_one(vcpu(1), version), lr.encode(version));
        assert_eq!(bench.table.take_one(vcpu(1), version), 0, "taken once");
        bench.table.post(vcpu(1), 11, 0b0010, version);
        bench.table.post(vcpu(1), 3, 0b0010, version);
        assert_eq!(bench.table.take_one(vcpu(1), version), 0);
        bench.fold(1, &[]);
        let found: Vec<_> = bench.fill(1).lrs.iter().map(|lr| lr.intid()).collect();
        assert_eq!(found, [3, 11]);
    }
}

#[test]
fn sgi_writes_name_their_sgi_and_existing_targets() {
    let own = vcpu(1);
    for (version, value, expected) in [
        (GicVersion::V2, 0x00ff_0005, (5, 0b111)),
        (GicVersion::V2, 0x0100_0005, (5, 0b101)),
        (GicVersion::V2, 0x0200_800f, (15, 0b010)),
        (GicVersion::V3, 0x0500_0006, (5, 0b110)),
        (GicVersion::V3, 0x0100_0500_0000, (5, 0b101)),
        (GicVersion::V3, 0x0001_0500_0006, (5, 0)),
    ] {
        assert_eq!(sgi_targets(version, 3, own, value), expected, "{value:#x}");
    }
}

/// IHI 0069H 4.1.2: what is active and pending is signalled to nobody until its active state ends.
#[test]
fn an_edge_that_is_active_at_one_vcpu_is_not_offered_to_another_meanwhile() {
    let mut bench = Bench::new(&config(GicVersion::V3, 2, 4));
    bench.write(0, 0, 3);
    bench.write(0, 0x104, DEVICE_EDGE_BIT);
    bench.write(0, 0x6000 + 8 * u32::from(DEVICE_EDGE), 0);
    let direct = bench.table.direct(vcpu(0), DEVICE_EDGE);
    let taken = ListRegister::decode(GicVersion::V3, direct).with_state(State::Active);
    bench.fold(0, &[taken]);
    // Both groups off: it is made pending, and nobody is to have it.
    bench.write(0, 0, 0);
    bench.write(0, 0x204, DEVICE_EDGE_BIT);
    let listed: Vec<_> = bench.fill(0).lrs.to_vec();
    assert_eq!(listed.len(), 1);
    bench.write(0, 0x6000 + 8 * u32::from(DEVICE_EDGE), 1);
    bench.write(0, 0, 3);
    assert!(bench.fill(1).lrs.is_empty());
    bench.fold(0, &[listed[0].with_state(State::Invalid)]);
    let offered: Vec<_> = bench.fill(1).lrs.iter().map(|lr| lr.intid()).collect();
    assert_eq!(offered, [DEVICE_EDGE]);
}

#[test]
fn what_ended_does_not_wait_once_all_was_sifted_and_what_is_due_does() {
    let mut bench = Bench::new(&config(GicVersion::V3, 2, 4));
    bench.write(0, 0, 3);
    assert!(!bench.gic.may_wait(vcpu(1), &bench.table));
    bench.table.post(vcpu(0), 3, 0b10, GicVersion::V3);
    assert!(bench.gic.may_wait(vcpu(1), &bench.table), "posted");
    bench.fold(1, &[]);
    bench.gic.sift(vcpu(1));
    assert!(
        !bench.gic.may_wait(vcpu(1), &bench.table),
        "pending, but not enabled"
    );
    bench.call(|gic, effects| gic.redistributor_write(vcpu(1), 0x1_0100, 4, 1 << 3, effects));
    assert!(bench.gic.may_wait(vcpu(1), &bench.table), "due");
    bench.gic.sift(vcpu(1));
    assert!(bench.gic.may_wait(vcpu(1), &bench.table), "due still");
    let listed = bench.fill(1).lrs;
    assert_eq!(listed.len(), 1, "where the sifting left it");
    bench.fold(1, &[]);
    bench.gic.sift(vcpu(1));
    assert!(!bench.gic.may_wait(vcpu(1), &bench.table), "ended");
}
