//! The virtual GIC between its model and several cores' list registers.

use super::super::exit::Next;
use super::super::here::Here;
use super::super::machine::Machine;
use super::super::testing::{Bench, Fake, switch_on};
use crate::model::vgic::GicVersion;
use crate::words::VcpuId;
use crate::words::effort::times;
use std::sync::atomic::{AtomicBool, Ordering};

const GICD_CTLR: u64 = 0x0800_0000;
const GICD_SGIR: u64 = 0x0800_0f00;
const GICR: u64 = 0x080a_0000;
const SGI_FRAME: u64 = 0x1_0000;
const ISENABLER0: u64 = 0x100;
const ISPENDR0: u64 = 0x200;
const STRIDE: u64 = 0x2_0000;
const SGI: u64 = 5;

/// ESR of a 32-bit access of W1 with a valid syndrome.
const LOAD: u64 = 0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 1 << 16 | 7;
const STORE: u64 = LOAD | 1 << 6;

fn write(bench: &mut Bench, address: u64, value: u64) {
    bench.registers.x[1] = value;
    assert_eq!(bench.exit(STORE, address), Next::Resume);
}

fn read(bench: &mut Bench, address: u64) -> u64 {
    assert_eq!(bench.exit(LOAD, address), Next::Resume);
    bench.registers.x[1]
}

/// A GICv3 partition of two with an SGI enabled at vCPU 1.
fn pair() -> Bench {
    let mut bench = Bench::v3(2);
    switch_on(bench.power(1));
    write(&mut bench, GICD_CTLR, 3);
    write(&mut bench, GICR + STRIDE + SGI_FRAME + ISENABLER0, 1 << SGI);
    bench
}

fn send_to_1(bench: &mut Bench) {
    bench.registers.x[1] = SGI << 24 | 0b10;
    // msr icc_sgi1r_el1, x1
    let esr = 0x18 << 26 | 1 << 25 | 3 << 20 | 5 << 17 | 12 << 10 | 1 << 5 | 11 << 1;
    bench.exit(esr, 0);
}

#[test]
fn an_sgi_for_another_vcpu_interrupts_its_core_and_is_listed_there() {
    let mut bench = pair();
    send_to_1(&mut bench);
    assert_eq!(bench.machine.kicked, [bench.partition.vcpus[1].cpu]);
    assert!(bench.machine.list_registers.is_empty(), "not on this core");
    let here = Here {
        partition: &bench.partition,
        vcpu: VcpuId::new(1),
        partitions: &[],
    };
    let mut other = Fake::new(GicVersion::V3);
    assert!(here.is_pending(&mut other));
    assert_eq!(u64::from(other.list_registers[0].intid()), SGI);
    here.unload(&mut other);
    assert!(
        !other.list_registers_used(),
        "a vCPU that goes off leaves them empty"
    );
    assert!(here.is_pending(&mut other), "and loses nothing");
}

#[test]
fn a_vcpu_that_comes_up_has_what_was_sent_while_it_was_off() {
    for sent in [true, false] {
        let mut bench = pair();
        if sent {
            send_to_1(&mut bench);
        }
        let here = Here {
            partition: &bench.partition,
            vcpu: VcpuId::new(1),
            partitions: &[],
        };
        let mut other = Fake::new(GicVersion::V3);
        here.load(&mut other);
        let listed = other.list_registers.iter().map(|lr| u64::from(lr.intid()));
        let expected = if sent { vec![SGI] } else { vec![] };
        assert_eq!(listed.collect::<Vec<_>>(), expected);
        assert!(
            bench.partition.quiesce.call(VcpuId::new(1)),
            "its list registers may hold something"
        );
    }
}

#[test]
fn a_gicv2_sgi_to_oneself_is_listed_at_once() {
    let mut bench = Bench::new(GicVersion::V2, 1);
    write(&mut bench, GICD_CTLR, 3);
    // Target list filter 2: the requester.
    write(&mut bench, GICD_SGIR, 2 << 24 | SGI);
    assert_eq!(u64::from(bench.machine.list_registers[0].intid()), SGI);
}

/// The pending state of another vCPU's interrupt may be in a list register of the other core: it is called in, answers,
/// and has its interrupt again afterwards.
#[test]
fn what_another_core_holds_is_seen_and_given_back() {
    for _ in 0..times(50, 2) {
        let mut bench = pair();
        send_to_1(&mut bench);
        let partition = std::mem::replace(&mut bench.partition, Bench::v3(1).partition);
        let partition = &*partition;
        let done = AtomicBool::new(false);
        let ready = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let here = Here {
                    partition,
                    vcpu: VcpuId::new(1),
                    partitions: &[],
                };
                let mut machine = Fake::new(GicVersion::V3);
                partition.quiesce.set_loaded(VcpuId::new(1), true);
                here.refresh(&mut machine);
                ready.store(true, Ordering::SeqCst);
                while !done.load(Ordering::SeqCst) {
                    here.answer_call(&mut machine);
                    std::thread::yield_now();
                }
                machine.list_registers
            });
            while !ready.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            let here = Here {
                partition,
                vcpu: VcpuId::new(0),
                partitions: &[],
            };
            let (offset, frame) = (
                (SGI_FRAME + ISPENDR0) as u32,
                crate::model::vgic::Frame::Redistributor(VcpuId::new(1)),
            );
            let pending = here.access(&mut bench.machine, frame, offset, |vgic, _| {
                vgic.redistributor_read(VcpuId::new(1), offset, 4)
            });
            done.store(true, Ordering::SeqCst);
            assert_eq!(pending, 1 << SGI);
            let held = other.join().unwrap();
            assert_eq!(held.len(), 1);
            assert_eq!(u64::from(held[0].intid()), SGI);
        });
    }
}

#[test]
fn nobody_waits_for_a_vcpu_that_is_off() {
    let mut bench = Bench::v3(4);
    let pending = read(&mut bench, GICR + 3 * STRIDE + SGI_FRAME + ISPENDR0);
    assert_eq!(pending, 0);
    assert!(bench.machine.kicked.is_empty());
}

#[test]
fn what_ones_own_core_holds_is_seen_and_stays() {
    let mut bench = Bench::v3(2);
    write(&mut bench, GICD_CTLR, 3);
    write(&mut bench, GICR + SGI_FRAME + ISENABLER0, 1 << SGI);
    write(&mut bench, GICR + SGI_FRAME + ISPENDR0, 1 << SGI);
    assert_eq!(bench.machine.list_registers.len(), 1);
    let pending = read(&mut bench, GICR + SGI_FRAME + ISPENDR0);
    assert_eq!(pending, 1 << SGI);
    assert_eq!(u64::from(bench.machine.list_registers[0].intid()), SGI);
}

#[test]
fn what_wakes_a_suspended_vcpu_stays_in_the_model_until_it_runs() {
    let mut bench = pair();
    fn here(bench: &Bench) -> Here<'_, 'static> {
        Here {
            partition: &bench.partition,
            vcpu: VcpuId::new(1),
            partitions: &[],
        }
    }
    let mut other = Fake::new(GicVersion::V3);
    here(&bench).unload(&mut other);
    assert!(!here(&bench).would_wake(&mut other), "nothing is pending");
    send_to_1(&mut bench);
    assert!(here(&bench).would_wake(&mut other));
    assert!(other.list_registers.is_empty());
    // It can still be read, and taken back, without asking that core.
    let pending = GICR + STRIDE + SGI_FRAME + ISPENDR0;
    assert_eq!(read(&mut bench, pending), 1 << SGI);
    write(&mut bench, pending + 0x80, 1 << SGI);
    assert!(!here(&bench).would_wake(&mut other));
}
