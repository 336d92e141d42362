//! Emulated devices: what a load or store reaches, and what it is refused (hypercalls.md, section 5).

use super::super::exit::Next;
use super::super::testing::{Bench, EL0T, HALF, KERNEL, RAM, VECTOR};
use crate::model::vgic::GicVersion;
use proptest::prelude::*;

const UART: u64 = 0x0900_0000;
const DR: u64 = UART;
const IBRD: u64 = UART + 0x24;
const FBRD: u64 = UART + 0x28;
const ID0: u64 = UART + 0xfe0;
const CELL_ID0: u64 = UART + 0xff0;
const GICD: u64 = 0x0800_0000;
const GICD_TYPER: u64 = GICD + 4;
const IPRIORITYR33: u64 = GICD + 0x400 + 33;
const GICR: u64 = 0x080a_0000;

/// ESR of a data abort from below, translation fault level 3, 32-bit instruction.
const ABORT: u64 = 0x24 << 26 | 1 << 25 | 7;
const ISV: u64 = 1 << 24;
const WRITE: u64 = 1 << 6;
const WALK: u64 = 1 << 7;
const MAINTENANCE: u64 = 1 << 8;
/// ESR_EL1 of a synchronous external abort at the same level.
const EXTERNAL: u64 = 0x25 << 26 | 1 << 25 | 0x10;

/// ESR of a load with a valid syndrome: `size` is log2 of the bytes.
fn load(size: u64, register: u64) -> u64 {
    ABORT | ISV | size << 22 | register << 16 | 1 << 15
}

fn store(size: u64, register: u64) -> u64 {
    load(size, register) | WRITE
}

fn is_done(bench: &Bench, from: u64) -> bool {
    bench.machine.injected.is_empty() && bench.registers.pc == from + 4
}

/// Checks that the exit ended in exactly one external abort, and changed nothing.
fn is_refused(bench: &mut Bench, esr: u64, far: u64, ipa: u64) -> bool {
    let before = bench.registers;
    let next = bench.exit_at(esr, far, ipa);
    let write = if esr & WRITE == 0 { 0 } else { 1 << 6 };
    let [exception] = bench.machine.injected[..] else {
        return false;
    };
    bench.machine.injected.clear();
    let same = bench.registers.x == before.x && bench.registers.pc == VECTOR;
    bench.registers = before;
    next == Next::Resume && same && exception.esr == EXTERNAL | write && exception.far == Some(far)
}

#[test]
fn a_load_with_syndrome_reads_the_register_at_its_offset_and_width() {
    let mut bench = Bench::v3(1);
    let pc = bench.registers.pc;
    for (address, size, expected) in [
        (ID0, 2, 0x11),
        (ID0 + 4, 2, 0x10),
        (CELL_ID0 + 12, 0, 0xb1),
        (CELL_ID0 + 4, 1, 0xf0),
    ] {
        bench.registers.pc = pc;
        bench.registers.x[5] = u64::MAX;
        assert_eq!(bench.exit(load(size, 5), address), Next::Resume);
        assert_eq!(bench.registers.x[5], expected, "{address:#x}");
        assert!(is_done(&bench, pc));
    }
}

#[test]
fn a_big_endian_guests_data_is_turned_round() {
    let mut bench = Bench::v3(1);
    bench.machine.big_endian = true;
    bench.registers.x[7] = 0xffff_0000_41a5_0000;
    bench.exit(store(2, 7), IBRD);
    bench.exit(load(2, 1), IBRD);
    assert_eq!(bench.registers.x[1], 0x41a5_0000);
    bench.machine.big_endian = false;
    bench.exit(load(2, 1), IBRD);
    assert_eq!(bench.registers.x[1], 0xa541);
    bench.machine.big_endian = true;
    bench.exit(load(0, 1), ID0);
    assert_eq!(bench.registers.x[1], 0x11);
}

#[test]
fn a_store_with_syndrome_writes_its_width() {
    let mut bench = Bench::v3(1);
    bench.registers.x[7] = 0xffff_ffff_ffff_a541;
    bench.exit(store(2, 7), IBRD);
    bench.exit(load(2, 1), IBRD);
    assert_eq!(bench.registers.x[1], 0xa541);
    bench.exit(store(0, 7), DR);
    bench.exit(store(2, 31), IBRD);
    bench.exit(load(2, 1), IBRD);
    assert_eq!(bench.registers.x[1], 0, "WZR");
    assert_eq!(bench.output(), b"A");
    assert!(bench.machine.injected.is_empty());
}

#[test]
fn each_vcpu_reads_its_own_redistributor_and_others_too() {
    for vcpu in 0..4_u64 {
        let mut bench = Bench::v3(4);
        bench.vcpu = crate::words::VcpuId::new(vcpu as u8);
        for of in 0..4 {
            bench.exit(load(3, 1), GICR + 0x2_0000 * of + 8);
            // GICR_TYPER: affinity in 63:32, processor number in 23:8, Last in bit 4.
            let typer = bench.registers.x[1];
            assert_eq!(typer >> 32, of);
            assert_eq!(typer >> 8 & 0xffff, of);
            assert_eq!(typer >> 4 & 1 == 1, of == 3);
        }
        assert!(is_refused(
            &mut bench,
            load(2, 1),
            KERNEL + GICR + 0x8_0000,
            GICR + 0x8_0000
        ));
    }
}

#[test]
fn a_gicv2_has_no_redistributor() {
    let mut bench = Bench::new(GicVersion::V2, 1);
    assert!(is_refused(&mut bench, load(2, 1), KERNEL + GICR, GICR));
    bench.exit(load(2, 1), GICD_TYPER);
    assert_eq!(bench.registers.x[1] >> 5 & 7, 0, "one CPU");
}

#[test]
fn a_store_to_the_distributor_reaches_the_model() {
    for version in [GicVersion::V2, GicVersion::V3] {
        let mut bench = Bench::new(version, 2);
        bench.registers.x[2] = 0xa8;
        bench.exit(store(0, 2), IPRIORITYR33);
        bench.exit(load(2, 1), IPRIORITYR33 - 1);
        assert_eq!(bench.registers.x[1], 0xa800);
    }
}

#[test]
fn what_no_device_has_is_an_external_abort() {
    let mut bench = Bench::v3(2);
    for (esr, address) in [
        (load(2, 1), 0),
        (load(2, 1), UART - 4),
        (load(2, 1), UART + 0x1000),
        (store(2, 1), 0x0801_0000),
        (store(2, 1), GICR + 0x4_0000),
        (load(3, 1), CELL_ID0),
        (store(3, 1), IBRD),
        (load(2, 1), IBRD + 2),
        (store(1, 1), IBRD + 1),
        (load(2, 1), RAM + 0x40_0000),
        (store(2, 1) & !ISV | MAINTENANCE, UART - 8),
        // Not a translation fault: permission, access flag, external, alignment.
        (load(2, 1) & !0x3f | 0x0f, ID0),
        (load(2, 1) & !0x3f | 0x0b, ID0),
        (load(2, 1) & !0x3f | 0x10, ID0),
        (load(2, 1) & !0x3f | 0x21, ID0),
    ] {
        let far = KERNEL + address;
        assert!(
            is_refused(&mut bench, esr, far, address),
            "{esr:#x} {address:#x}"
        );
    }
    assert!(bench.output().is_empty());
}

#[test]
fn cache_maintenance_of_registers_does_nothing() {
    let mut bench = Bench::v3(1);
    let before = bench.registers;
    // WnR is set for all cache maintenance (D24.2.40).
    bench.exit(ABORT | WRITE | MAINTENANCE, DR);
    assert!(is_done(&bench, before.pc));
    assert_eq!(bench.registers.x, before.x);
    assert!(bench.output().is_empty());
}

#[test]
fn a_width_the_device_has_not_is_an_external_abort() {
    let gicc_dir = 0x0801_1000;
    for (version, size, address) in [
        (GicVersion::V3, 3, UART),
        (GicVersion::V3, 1, GICD),
        (GicVersion::V3, 1, GICR),
        (GicVersion::V2, 1, GICD),
        (GicVersion::V2, 3, GICD),
        (GicVersion::V2, 0, gicc_dir),
        (GicVersion::V2, 3, gicc_dir),
    ] {
        let mut bench = Bench::new(version, 1);
        let far = KERNEL + address;
        assert!(
            is_refused(&mut bench, store(size, 1), far, address),
            "{size} {address:#x}"
        );
    }
}

#[test]
fn an_abort_is_reported_as_coming_from_where_it_came() {
    let mut bench = Bench::v3(1);
    bench.registers.pstate = EL0T;
    bench.exit(store(2, 1), 0);
    let exception = bench.machine.injected[0];
    assert_eq!(exception.esr, 0x24 << 26 | 1 << 25 | 1 << 6 | 0x10);
    assert_eq!(exception.far, Some(KERNEL));
}

#[test]
fn a_table_walk_through_a_device_aborts_as_a_walk() {
    let mut bench = Bench::v3(1);
    bench.exit(load(2, 1) & !ISV | WALK | WRITE, ID0);
    let exception = bench.machine.injected[0];
    assert_eq!(exception.esr & !3, 0x25 << 26 | 1 << 25 | 0x14);
}

#[test]
fn an_external_abort_without_an_address_says_so() {
    let mut bench = Bench::v3(1);
    bench.exit(ABORT & !0x3f | 0x10 | 1 << 10, 0);
    assert_eq!(bench.machine.injected[0].esr, EXTERNAL | 1 << 10);
}

/// An instruction without syndrome: its encoding, base register 0's value less the address, what it does.
struct Form {
    name: &'static str,
    word: u32,
    /// Address of the access less the base's value.
    distance: u64,
    write: bool,
    /// What the base register grows by.
    writeback: u64,
}

const MINUS_8: u64 = 8_u64.wrapping_neg();

/// Encodings by GNU as; all have the base X0, data W1 and W2, index X3 = 4.
const FORMS: [Form; 9] = [
    Form {
        name: "ldp w1, w2, [x0]",
        word: 0x2940_0801,
        distance: 0,
        write: false,
        writeback: 0,
    },
    Form {
        name: "ldp w1, w2, [x0, #-8]",
        word: 0x297f_0801,
        distance: MINUS_8,
        write: false,
        writeback: 0,
    },
    Form {
        name: "ldp w1, w2, [x0], #8",
        word: 0x28c1_0801,
        distance: 0,
        write: false,
        writeback: 8,
    },
    Form {
        name: "ldp w1, w2, [x0, #8]!",
        word: 0x29c1_0801,
        distance: 8,
        write: false,
        writeback: 8,
    },
    Form {
        name: "ldr w1, [x0], #4",
        word: 0xb840_4401,
        distance: 0,
        write: false,
        writeback: 4,
    },
    Form {
        name: "ldr w1, [x0, #-8]!",
        word: 0xb85f_8c01,
        distance: MINUS_8,
        write: false,
        writeback: MINUS_8,
    },
    Form {
        name: "ldr w1, [x0, x3]",
        word: 0xb863_6801,
        distance: 4,
        write: false,
        writeback: 0,
    },
    Form {
        name: "stp w1, w2, [x0], #8",
        word: 0x2881_0801,
        distance: 0,
        write: true,
        writeback: 8,
    },
    Form {
        name: "str w1, [x0, #8]!",
        word: 0xb800_8c01,
        distance: 8,
        write: true,
        writeback: 8,
    },
];

fn prepare(form: &Form, address: u64) -> Bench {
    let mut bench = Bench::v3(1);
    bench.registers.x[0] = (KERNEL + address).wrapping_sub(form.distance);
    (bench.registers.x[1], bench.registers.x[2]) = (0x1234, 0x3f);
    bench.registers.x[3] = 4;
    bench.instruction(form.word);
    bench
}

fn esr(form: &Form) -> u64 {
    ABORT | if form.write { WRITE } else { 0 }
}

#[test]
fn a_pair_or_writeback_reaches_the_device_and_writes_back() {
    for form in &FORMS {
        let address = if form.write { IBRD } else { ID0 };
        let mut bench = prepare(form, address);
        let (base, pc) = (bench.registers.x[0], bench.registers.pc);
        assert_eq!(bench.exit(esr(form), address), Next::Resume);
        assert!(is_done(&bench, pc), "{}", form.name);
        assert_eq!(bench.registers.x[0], base.wrapping_add(form.writeback));
        assert_eq!(bench.machine.fetched.get(), 1, "copied once");
        let pair = form.word >> 27 & 7 == 0b101;
        if form.write {
            bench.exit(load(2, 4), IBRD);
            bench.exit(load(2, 5), FBRD);
            let second = if pair { 0x3f } else { 0 };
            assert_eq!(bench.registers.x[4..6], [0x1234, second], "{}", form.name);
        } else {
            assert_eq!(bench.registers.x[1], 0x11, "{}", form.name);
            assert_eq!(bench.registers.x[2], if pair { 0x10 } else { 0x3f });
        }
    }
}

#[test]
fn an_instruction_that_does_not_fit_the_fault_is_refused() {
    for form in &FORMS {
        let address = if form.write { IBRD } else { ID0 };
        let far = KERNEL + address;
        let refuse = |far: u64, esr: u64, ipa: u64| {
            let mut bench = prepare(form, address);
            assert!(is_refused(&mut bench, esr, far, ipa), "{}", form.name);
        };
        refuse(far + 4, esr(form), address + 4);
        refuse(far ^ 1 << 40, esr(form), address);
        refuse(far, esr(form) ^ WRITE, address);
        let mut bench = prepare(form, address);
        bench.machine.memory.clear();
        assert!(
            is_refused(&mut bench, esr(form), far, address),
            "no instruction"
        );
        let mut bench = prepare(form, address);
        bench.registers.pc = KERNEL + 0x0900_0000;
        assert!(
            is_refused(&mut bench, esr(form), far, address),
            "code in no RAM"
        );
        let mut bench = prepare(form, address);
        bench.registers.pc &= !KERNEL;
        assert!(
            is_refused(&mut bench, esr(form), far, address),
            "code unmapped"
        );
    }
}

#[test]
fn a_tag_in_the_base_register_is_no_part_of_the_address() {
    let mut bench = prepare(&FORMS[0], ID0);
    bench.registers.x[0] ^= 0x5a << 56;
    let pc = bench.registers.pc;
    bench.exit(esr(&FORMS[0]), ID0);
    assert!(is_done(&bench, pc));
}

#[test]
fn the_stack_pointer_can_be_the_base() {
    let mut bench = Bench::v3(1);
    bench.machine.stack_pointer = KERNEL + ID0;
    // ldp w1, w2, [sp], #8
    bench.instruction(0x28c1_0be1);
    let pc = bench.registers.pc;
    bench.exit(ABORT, ID0);
    assert!(is_done(&bench, pc));
    assert_eq!(bench.registers.x[1..3], [0x11, 0x10]);
    assert_eq!(bench.machine.stack_pointer, KERNEL + ID0 + 8);
}

#[test]
fn what_is_no_load_or_store_of_general_registers_is_refused() {
    for word in [
        0x2d40_0801_u32, // ldp s1, s2, [x0]
        0x885f_7c01,     // ldxr w1, [x0]
        0x3d80_0001,     // str q1, [x0]
        0xb820_0001,     // ldadd w0, w1, [x0]
        0xd500_4000,     // none
        0xd503_201f,     // nop
        0,
        u32::MAX,
        0x2940_0401, // ldp w1, w1, [x0]: CONSTRAINED UNPREDICTABLE
        0x28c1_0800, // ldp w0, w2, [x0], #8: the same
        0xa940_0801, // ldp x1, x2, [x0]: a width the UART has not
    ] {
        let mut bench = Bench::v3(1);
        bench.registers.x[0] = KERNEL + ID0;
        bench.instruction(word);
        assert!(
            is_refused(&mut bench, ABORT, KERNEL + ID0, ID0),
            "{word:#x}"
        );
    }
}

#[test]
fn a_pair_that_leaves_the_devices_page_is_refused() {
    let mut bench = Bench::v3(1);
    let last = UART + 0xffc;
    bench.registers.x[0] = KERNEL + last;
    bench.instruction(0x2940_0801);
    assert!(is_refused(&mut bench, ABORT, KERNEL + last, last));
}

#[test]
fn aarch32_code_is_not_decoded() {
    let mut bench = Bench::v3(1);
    bench.registers.x[0] = KERNEL + ID0;
    bench.instruction(0x2940_0801);
    bench.registers.pstate = 0x10;
    bench.exit(ABORT, ID0);
    assert_eq!(bench.machine.fetched.get(), 0);
    assert_eq!(bench.machine.injected.len(), 1);
}

#[test]
fn code_is_found_in_every_piece_of_ram() {
    for at in [0, HALF - 4, HALF, 2 * HALF - 4] {
        let mut bench = Bench::v3(1);
        bench.registers.pc = KERNEL + RAM + at;
        bench.registers.x[0] = KERNEL + ID0;
        bench.instruction(0xb840_4401);
        bench.exit(ABORT, ID0);
        assert_eq!(bench.registers.x[1], 0x11, "{at:#x}");
    }
}

proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    /// Any instruction, any abort in any device: it is done whole, refused whole, or tried again.
    #[test]
    fn any_access_is_done_refused_or_tried_again(
        word in prop_oneof![any::<u32>(), any::<u32>().prop_map(|word| word & !(1 << 26) | 0x2800_0000)],
        iss in 0_u64..1 << 25,
        base in prop::sample::select(vec![UART, GICD, GICR, GICR + 0x1_0000, 0, RAM]),
        offset in 0_u64..0x1_0000,
        registers in prop::array::uniform31(any::<u64>()),
        near: bool,
        v2: bool,
    ) {
        let mut bench = Bench::new(if v2 { GicVersion::V2 } else { GicVersion::V3 }, 1);
        bench.registers.x = registers;
        if near {
            bench.registers.x.fill(KERNEL + base + offset);
        }
        bench.instruction(word);
        let before = bench.registers;
        let next = bench.exit(0x24 << 26 | 1 << 25 | iss, base + offset);
        prop_assert_eq!(next, Next::Resume);
        match bench.machine.injected[..] {
            [] => prop_assert!(bench.registers.pc == before.pc + 4),
            [exception] => {
                prop_assert_eq!(bench.registers.x, before.x);
                prop_assert_eq!(exception.esr >> 26, 0x25);
                prop_assert_eq!(exception.far, Some(KERNEL + base + offset));
            }
            _ => prop_assert!(false, "one exception at most"),
        }
    }
}
