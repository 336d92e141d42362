//! Trapped system registers: what the table's answers do.

use super::super::exit::Next;
use super::super::testing::{Bench, VECTOR};
use crate::model::vgic::GicVersion;
use crate::words::CpuId;

/// op0, op1, CRn, CRm, op2.
type Encoding = (u64, u64, u64, u64, u64);

const SGI1R: Encoding = (3, 0, 12, 11, 5);
const ASGI1R: Encoding = (3, 0, 12, 11, 6);
const SGI0R: Encoding = (3, 0, 12, 11, 7);
const DIR: Encoding = (3, 0, 12, 11, 1);
const SRE: Encoding = (3, 0, 12, 12, 5);
const PFR0: Encoding = (3, 0, 0, 4, 0);
const ACTLR: Encoding = (3, 0, 1, 0, 1);
const DC_CISW: Encoding = (1, 0, 7, 14, 2);
const PMCR: Encoding = (3, 3, 9, 12, 0);
const IGROUPR0: u64 = 0x080b_0080;
const ISENABLER0: u64 = 0x080b_0100;
const GICD_CTLR: u64 = 0x0800_0000;

/// ESR of an MSR or MRS between the register and X`register` (D24.2.45, EC 0x18).
fn esr((op0, op1, crn, crm, op2): Encoding, register: u64, read: bool) -> u64 {
    0x18 << 26
        | 1 << 25
        | op0 << 20
        | op2 << 17
        | op1 << 14
        | crn << 10
        | register << 5
        | crm << 1
        | u64::from(read)
}

fn write(bench: &mut Bench, encoding: Encoding, value: u64) {
    bench.registers.x[9] = value;
    assert_eq!(bench.exit(esr(encoding, 9, false), 0), Next::Resume);
}

fn read(bench: &mut Bench, encoding: Encoding) -> u64 {
    bench.registers.x[9] = u64::MAX;
    assert_eq!(bench.exit(esr(encoding, 9, true), 0), Next::Resume);
    bench.registers.x[9]
}

#[test]
fn maintenance_that_takes_long_is_tried_again_until_it_is_done() {
    let mut bench = Bench::v3(1);
    bench.machine.set_way_parts = 3;
    let pc = bench.registers.pc;
    for passed in [0, 0, 4] {
        write(&mut bench, DC_CISW, 2);
        assert_eq!(bench.registers.pc, pc + passed);
    }
    assert_eq!(bench.machine.set_way, [2; 3]);
}

#[test]
fn what_is_answered_goes_on_behind_the_instruction() {
    let mut bench = Bench::v3(1);
    bench.machine.csv2 = 1;
    let pc = bench.registers.pc;
    assert_eq!(read(&mut bench, PFR0), 1 << 56 | 0x11);
    assert_eq!(read(&mut bench, SRE), 7);
    write(&mut bench, ACTLR, u64::MAX);
    assert_eq!(read(&mut bench, ACTLR), 0);
    write(&mut bench, DC_CISW, 0x123);
    assert_eq!(bench.machine.set_way, [0x123]);
    assert_eq!(bench.registers.pc, pc + 4 * 5);
    assert!(bench.machine.injected.is_empty());
}

#[test]
fn a_read_into_xzr_changes_nothing() {
    let mut bench = Bench::v3(1);
    let before = bench.registers.x;
    bench.exit(esr(PFR0, 31, true), 0);
    assert_eq!(bench.registers.x, before);
}

#[test]
fn what_is_not_there_is_undefined_and_changes_nothing() {
    for (encoding, is_read) in [
        (PMCR, true),
        (PFR0, false),
        (SGI1R, true),
        ((3, 4, 1, 1, 0), false),
    ] {
        let mut bench = Bench::v3(1);
        let before = bench.registers.x;
        bench.exit(esr(encoding, 9, is_read), 0);
        assert_eq!(bench.machine.injected.len(), 1);
        assert_eq!(bench.machine.injected[0].esr, 1 << 25);
        assert_eq!((bench.registers.x, bench.registers.pc), (before, VECTOR));
    }
}

#[test]
fn a_gicv2_partition_has_no_interrupt_registers() {
    for encoding in [SGI1R, ASGI1R, SGI0R, DIR, SRE] {
        let mut bench = Bench::new(GicVersion::V2, 2);
        bench.exit(esr(encoding, 9, false), 0);
        assert_eq!(bench.machine.injected.len(), 1, "{encoding:?}");
    }
}

/// A partition of two whose vCPU 1 has SGIs in `groups` (its IGROUPR0), all enabled.
fn with_groups(groups: u64) -> Bench {
    let mut bench = Bench::v3(2);
    let store = 0x24 << 26 | 1 << 25 | 1 << 24 | 2 << 22 | 3 << 16 | 1 << 6 | 7;
    for (address, value) in [
        (GICD_CTLR, 3),
        (IGROUPR0 + 0x2_0000, groups),
        (ISENABLER0 + 0x2_0000, 0xffff),
    ] {
        bench.registers.x[3] = value;
        bench.exit(store, address);
    }
    bench.machine.kicked.clear();
    bench
}

#[test]
fn sgis_reach_the_groups_their_register_may() {
    // ICC_SGInR_EL1: INTID in 27:24, target list in 15:0.
    let to_1 = 5 << 24 | 0b10;
    for (encoding, groups, arrives) in [
        (SGI1R, 0xffff, true),
        (SGI1R, 0, true),
        (SGI0R, 0, true),
        (SGI0R, 0xffff, false),
        (ASGI1R, 0xffff, false),
    ] {
        let mut bench = with_groups(groups);
        write(&mut bench, encoding, to_1);
        let expected: &[CpuId] = if arrives { &[CpuId::new(6)] } else { &[] };
        assert_eq!(bench.machine.kicked, expected, "{encoding:?} {groups:#x}");
    }
}

#[test]
fn a_deactivation_of_anything_harms_nobody() {
    let mut bench = Bench::v3(1);
    for intid in [0, 33, 1019, 1023, 0xff_ffff, u64::MAX] {
        write(&mut bench, DIR, intid);
    }
    assert!(bench.machine.injected.is_empty());
}
