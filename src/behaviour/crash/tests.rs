//! Crash records: what is kept, and the words for it.

use super::super::testing::Bench;
use super::*;
use crate::model::recorder::What;
use crate::model::vgic::GicVersion;
use crate::words::PartitionId;

/// Data abort from a lower level: a write, translation fault at level 2 (Arm ARM D24.2.45: EC 0x24, WnR, DFSC 0b000110).
const WRITE_NOWHERE: u64 = 0x24 << 26 | 1 << 25 | 1 << 6 | 0b00_0110;
/// Instruction abort at the same level: permission fault at level 3 (EC 0x21, IFSC 0b001111).
const FETCH_FORBIDDEN: u64 = 0x21 << 26 | 1 << 25 | 0b00_1111;

fn record(cause: Cause, fault: Fault) -> Record {
    Record {
        cause,
        vcpu: VcpuId::new(1),
        at: 12_345,
        starts: 3,
        fault,
        registers: Registers {
            pc: 0x4020_1234,
            ..Registers::new()
        },
        el1: El1 {
            esr: FETCH_FORBIDDEN,
            far: 0xffff_0000_0b00_0200,
            elr: 0xffff_0000_0b00_0200,
            ..El1::default()
        },
        exits: ArrayVec::new(),
    }
}

fn nowhere(ipa: u64) -> Fault {
    Fault::Stage2 {
        esr: WRITE_NOWHERE,
        far: ipa,
        ipa: Some(Ipa::new(ipa)),
    }
}

fn sentence(record: &Record) -> String {
    let bench = Bench::new(GicVersion::V3, 2);
    Sentence::new(record, &bench.partition).to_string()
}

#[test]
fn a_write_to_nowhere_reads_as_a_person_would_say_it() {
    assert_eq!(
        sentence(&record(Cause::ExceptionLoop, nowhere(0x0b00_0000))),
        "exception loop, its vector faults on itself: data abort, translation fault level 2, write to 0x0b00_0000, \
         which is no memory of this partition; pc 0xffff_0000_0b00_0200",
        "the instruction that faults: the exception has been taken"
    );
}

#[test]
fn an_serror_has_its_class_and_where_the_guest_was() {
    // EC 0x2f, an asynchronous abort (Arm ARM D24.2.45): no address is its own.
    let fault = Fault::Stage2 {
        esr: 0x2f << 26 | 1 << 25,
        far: 0x0b00_0000,
        ipa: None,
    };
    assert_eq!(
        sentence(&record(Cause::SystemError, fault)),
        "SError, a RAM error or an access that failed late: ESR 0xbe000000; pc 0x4020_1234"
    );
}

#[test]
fn what_a_partition_has_at_the_address_is_named() {
    let at = |ipa| sentence(&record(Cause::ExceptionLoop, nowhere(ipa)));
    assert!(at(0x4000_0000).contains("which is its own RAM"));
    assert!(at(0x0900_0018).contains("which is its UART"));
    assert!(at(0x0800_0f00).contains("which is its interrupt controller"));
    // Two vCPUs have redistributors of 128 KiB each from 0x080a_0000.
    assert!(at(0x080d_ffff).contains("its interrupt controller"));
    assert!(at(0x080e_0000).contains("no memory of this partition"));
}

#[test]
fn a_loop_that_stayed_at_el1_is_told_by_its_own_registers() {
    assert_eq!(
        sentence(&record(Cause::ExceptionLoop, Fault::Stage1)),
        "exception loop, its vector faults on itself: instruction abort, permission fault level 3, fetch from virtual \
         address 0xffff_0000_0b00_0200; pc 0xffff_0000_0b00_0200"
    );
}

#[test]
fn a_missed_heartbeat_has_no_syndrome() {
    assert_eq!(
        sentence(&record(Cause::Heartbeat, Fault::None)),
        "missed its heartbeat; pc 0x4020_1234"
    );
}

#[test]
fn the_last_four_are_kept_newest_first() {
    let mut crashes = Crashes::new();
    for starts in 1..=6 {
        crashes.add(Record {
            starts,
            ..record(Cause::Heartbeat, Fault::None)
        });
    }
    let starts = |index| crashes.get(index).map(|record| record.starts);
    assert_eq!(
        [starts(0), starts(1), starts(2), starts(3), starts(4)],
        [Some(6), Some(5), Some(4), Some(3), None]
    );
    assert_eq!(crashes.count(), 6);
}

#[test]
fn a_records_lines_are_bounded_and_name_every_register() {
    let bench = Bench::new(GicVersion::V3, 2);
    let mut full = record(Cause::ExceptionLoop, nowhere(u64::MAX >> 12));
    for number in 0..EXITS as u64 {
        full.exits.push(Event {
            at: 1_000_000 - number * 62_500,
            took: 0,
            what: What::Interrupt,
            partition: PartitionId::new(0),
            vcpu: VcpuId::new(0),
            pc: u64::MAX,
            detail: u64::MAX,
        });
    }
    full.registers.x = [u64::MAX; 31];
    let mut lines = Vec::new();
    super::lines(&full, &bench.partition, 62_500_000, &mut |line| {
        lines.push(line.to_string());
    });
    assert!(lines.len() <= 24 && lines.iter().all(|line| line.len() <= 200));
    let text = lines.join("\n");
    assert_eq!(text.matches("ffffffffffffffff").count(), 31 + 16);
    assert!(text.contains("x28 ") && text.contains("start 3") && text.contains("at 12.345 s"));
    assert!(text.contains("exit     1000 us before: interrupt"));
}
