//! The virtual GIC: whatever a guest and its devices do, each vCPU is offered what a GIC would offer, no access panics, and
//! nothing shows of what the partition does not own.

use super::Input;
use crate::arm::list_register::ListRegister;
use crate::model::vgic::tests::late::{Late, LatePair};
use crate::model::vgic::tests::pair::{INTIDS, Pair, Step};
use crate::model::vgic::tests::{
    Bench, DEVICE, DEVICE_EDGE, DOORBELL, DOORBELL_2, LINE, TIMER, config, vcpu,
};
use crate::model::vgic::{Config, Deactivation, Frame, GicVersion};

/// Most steps of a sequence: longer ones say no more.
const STEPS: usize = 160;

fn version(input: &mut Input<'_>) -> GicVersion {
    input.pick(&[GicVersion::V2, GicVersion::V3])
}

/// A configuration, whether EOImode is 1, and whether the short path is used.
fn setup(input: &mut Input<'_>) -> (Config, bool, bool) {
    let version = version(input);
    // Few, where they run out, and as many as there can be.
    let most = input.pick(&[4, 4, 4, 4, 16]);
    let (vcpus, list_registers) = (1 + input.below(4), 1 + input.below(most));
    let deactivation = input.pick(&[Deactivation::Hardware, Deactivation::Software]);
    let config = Config {
        deactivation,
        ..config(version, vcpus, list_registers)
    };
    (config, input.flag(), input.flag())
}

/// The system and the reference side by side.
pub fn offers(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut pair = Pair::new(setup(&mut input));
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        pair.apply(&step(&mut input));
    }
    pair.drain();
}

fn step(input: &mut Input<'_>) -> Step {
    let kind = input.below(76);
    let cpu = input.below(4);
    match kind {
        0 => Step::GroupEnables(input.below(4)),
        1..5 => Step::Enable(cpu, input.pick(&INTIDS)),
        5..7 => Step::Disable(cpu, input.pick(&INTIDS)),
        7..10 => Step::SetPending(cpu, input.pick(&INTIDS)),
        10..12 => Step::ClearPending(cpu, input.pick(&INTIDS)),
        12 => Step::SetActive(cpu, input.pick(&INTIDS)),
        13 => Step::ClearActive(cpu, input.pick(&INTIDS)),
        14..17 => Step::Priority(cpu, input.pick(&INTIDS), input.byte()),
        17 => Step::Group(cpu, input.pick(&INTIDS), input.flag()),
        18..20 => Step::Target(cpu, input.pick(&INTIDS[4..]), input.below(6)),
        20 => Step::Edge(cpu, input.pick(&INTIDS[4..]), input.flag()),
        21..26 => Step::Sgi(cpu, input.below(3).into(), input.below(16)),
        26 => Step::ClearSource(cpu, input.below(3).into(), input.below(16)),
        27 => Step::SetSource(cpu, input.below(3).into(), input.below(16)),
        28..31 => Step::Line(input.flag()),
        31..35 => Step::Raise(input.pick(&[DOORBELL, DOORBELL_2])),
        35..41 => Step::Device(cpu, input.pick(&[TIMER, DEVICE, DEVICE_EDGE]), input.flag()),
        41..53 => Step::Acknowledge(cpu),
        53..61 => Step::End(cpu),
        61..67 => Step::Deactivate(cpu, input.below(8)),
        67..70 => Step::Visit(cpu),
        _ => Step::Read(cpu, input.pick(&INTIDS)),
    }
}

/// No interrupt is lost or doubled where nothing folds or fills until a core gets round to it.
pub fn late(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut late = LatePair::new(setup(&mut input));
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        late.apply(&late_step(&mut input));
    }
    late.finish();
}

fn late_step(input: &mut Input<'_>) -> Late {
    let kind = input.below(33);
    let cpu = input.below(4);
    match kind {
        0..3 => Late::Raise(input.pick(&[DOORBELL, DOORBELL_2])),
        3..7 => Late::Sgi(cpu, input.below(2).into(), input.below(4)),
        7..10 => Late::Pulse,
        10..13 => Late::Take,
        13..19 => Late::Acknowledge(cpu),
        19..24 => Late::End(cpu),
        24..28 => Late::Deactivate(cpu),
        28..32 => Late::Visit(cpu),
        _ => Late::Target(input.pick(&[DOORBELL, DOORBELL_2, DEVICE_EDGE]), cpu),
    }
}

/// Any access with any value by any vCPU, and any list register: no panic, and bits of what is not owned stay zero.
pub fn registers(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let version = version(&mut input);
    let mut bench = Bench::new(&config(version, input.byte(), input.byte()));
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        match input.below(3) {
            0 => event(&mut bench, version, &mut input),
            _ => access(&mut bench, version, &mut input),
        }
    }
}

/// An offset near registers as often as anywhere.
fn offset(input: &mut Input<'_>) -> u32 {
    match input.below(3) {
        0 => input.word() & 0xfff,
        1 => input.word() & 0x1_ffff,
        _ => input.word(),
    }
}

fn access(bench: &mut Bench, version: GicVersion, input: &mut Input<'_>) {
    let odd = input.below(8) == 0;
    let (by, width) = if odd {
        (input.byte(), input.byte())
    } else {
        (input.below(4), input.pick(&[1, 2, 4, 8]))
    };
    let (offset, value, kind) = (offset(input), input.long(), input.below(4));
    let frame = Frame::Redistributor(vcpu(by));
    let _ = bench.gic.reach(vcpu(by), Frame::Distributor, offset);
    let _ = bench.gic.reach(vcpu(by), frame, offset);
    let _ = bench
        .gic
        .physical_pending(vcpu(by), Frame::Distributor, offset);
    let _ = bench.gic.redistributor_read(vcpu(by), offset, width);
    let _ = bench.gic.distributor_read(vcpu(by), offset, width);
    bench.call(|gic, effects| match kind {
        0 => gic.distributor_write(vcpu(by), offset, width, value, effects),
        1 => gic.redistributor_write(vcpu(by), offset, width, value, effects),
        2 => gic.send_sgi1r(vcpu(by), value, effects),
        _ => gic.deactivate(vcpu(by), value as u16, effects),
    });
    let read = bench.read(by % 4, offset & !3);
    assert_eq!(read & !owned_bits(version, offset & !3), 0, "{offset:#x}");
    let filled = bench.fill(by);
    bench.fold(by, &filled.lrs);
}

/// A list register as a core may hand it back, or what the board says of an interrupt.
fn event(bench: &mut Bench, version: GicVersion, input: &mut Input<'_>) {
    let (by, raw, number) = (vcpu(input.byte()), input.long(), input.word());
    let intid = number as u16;
    let kind = input.below(6);
    let lr = ListRegister::decode(version, raw);
    let direct = bench.table.direct(by, intid);
    assert!(direct == 0 || ListRegister::decode(version, direct).intid() == intid);
    bench.call(|gic, effects| match kind {
        0 => gic.fold(by, &[lr, lr], number, effects),
        1 => gic.physical(by, intid, effects),
        2 => gic.set_level(intid, raw & 1 != 0, effects),
        3 => gic.raise(intid, effects),
        4 => gic.deactivate(by, intid, effects),
        _ => {
            // A fill follows a fold.
            gic.fold(by, &[lr], number, effects);
            drop(gic.fill(by, effects));
        }
    });
}

/// The bits of 32-bit registers at `offset` of GICD that belong to owned interrupts, for vCPU `by` of a GICv2.
fn owned_bits(version: GicVersion, offset: u32) -> u32 {
    let word = offset / 4 % 32;
    let mine = |word: u32| match word {
        0 if version == GicVersion::V3 => 0,
        0 => 0x0000_ffff | 1 << TIMER,
        1 => 1 << (LINE - 32) | 1 << (DEVICE - 32) | 1 << (DEVICE_EDGE - 32),
        8 => 1 << (DOORBELL - 256),
        9 => 1 << (DOORBELL_2 - 288),
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
