//! Holds the decoding to values as CPUs report them, and the exception entry to the manual's table.

use super::*;

#[test]
fn classes_are_named_by_their_numbers() {
    let class = |number: u64| Syndrome::new(number << 26).class();
    let named = [
        (0x00, Class::Unknown),
        (0x01, Class::Wait),
        (0x07, Class::FloatingPoint),
        (0x09, Class::PointerAuthentication),
        (0x12, Class::Hvc32),
        (0x16, Class::Hvc64),
        (0x17, Class::Smc64),
        (0x18, Class::SystemRegister),
        (0x19, Class::Sve),
        (0x20, Class::InstructionAbortLower),
        (0x24, Class::DataAbortLower),
        (0x25, Class::DataAbortSame),
        (0x2f, Class::SError),
        (0x3c, Class::SoftwareBreakpoint),
        (0x02, Class::Reserved(2)),
        (0x3f, Class::Reserved(0x3f)),
    ];
    for (number, expected) in named {
        assert_eq!(class(number), expected);
        assert_eq!(
            u64::from(Syndrome::new(number << 26).class_number()),
            number
        );
    }
}

#[test]
fn a_data_abort_with_syndrome_is_read_whole() {
    // ldrsh x3, [uart]: ISV, SAS=1, SSE, SRT=3, SF, read, translation fault level 3.
    let abort = Syndrome::new(0x93e3_8007 & !(1 << 23)).data_abort();
    let transfer = abort.transfer.unwrap();
    assert_eq!((transfer.bytes, transfer.register), (2, 3));
    assert!(transfer.sign_extend && transfer.wide && !transfer.ordered);
    assert!(!abort.write && !abort.cache_maintenance);
    assert_eq!(abort.fault.kind, FaultKind::Translation);
    assert_eq!(abort.fault.level(), 3);
    assert!(abort.fault.gives_ipa());
    assert_eq!(transfer.loaded(0x8000), 0xffff_ffff_ffff_8000);
}

#[test]
fn without_isv_nothing_is_known_of_the_transfer() {
    let abort = Syndrome::new(0x92ff_ffff & !(1 << 24)).data_abort();
    assert_eq!(abort.transfer, None);
    assert!(abort.write && abort.cache_maintenance && abort.fault.table_walk);
}

#[test]
fn narrow_loads_clear_and_extend_as_told() {
    let transfer = |sse: u64, sf: u64, sas: u64| {
        let esr = 1 << 24 | sas << 22 | sse << 21 | sf << 15;
        Syndrome::new(esr).data_abort().transfer.unwrap()
    };
    assert_eq!(transfer(0, 0, 0).loaded(0xff80), 0x80);
    assert_eq!(transfer(1, 0, 0).loaded(0x80), 0xffff_ff80);
    assert_eq!(transfer(1, 1, 2).loaded(0x8000_0000), 0xffff_ffff_8000_0000);
    assert_eq!(transfer(0, 1, 3).loaded(u64::MAX), u64::MAX);
    assert_eq!(transfer(0, 0, 1).stored(0x1234_5678), 0x5678);
}

#[test]
fn fault_codes_are_sorted_into_kinds() {
    let kind = |status: u64| Syndrome::new(status).instruction_abort().kind;
    assert_eq!(kind(0b00_0100), FaultKind::Translation);
    assert_eq!(kind(0b00_1001), FaultKind::AccessFlag);
    assert_eq!(kind(0b00_1111), FaultKind::Permission);
    assert_eq!(kind(0b00_0000), FaultKind::AddressSize);
    assert_eq!(kind(0b01_0000), FaultKind::External);
    assert_eq!(kind(0b01_0111), FaultKind::External);
    assert_eq!(kind(0b01_1000), FaultKind::Parity);
    assert_eq!(kind(0b10_0001), FaultKind::Alignment);
    assert_eq!(kind(0b11_0000), FaultKind::TlbConflict);
    assert_eq!(kind(0b11_0101), FaultKind::Other);
    let permission = |walk: u64| Syndrome::new(0b1111 | walk << 7).instruction_abort();
    assert!(!permission(0).gives_ipa());
    assert!(permission(1).gives_ipa());
    assert!(!Syndrome::new(1 << 10).instruction_abort().far_valid);
}

#[test]
fn a_system_register_access_names_its_encoding() {
    // mrs x5, id_aa64pfr0_el1 (S3_0_C0_C4_0).
    let esr = 0x18 << 26 | 1 << 25 | 3 << 20 | 5 << 5 | 4 << 1 | 1;
    let access = Syndrome::new(esr).system_register();
    assert_eq!(access.encoding, Encoding::new(3, 0, 0, 4, 0));
    assert_eq!((access.register, access.read), (5, true));
    // dc cisw, xzr (S1_0_C7_C14_2).
    let esr = 0x18 << 26 | 1 << 25 | 1 << 20 | 2 << 17 | 7 << 10 | 31 << 5 | 14 << 1;
    let access = Syndrome::new(esr).system_register();
    assert_eq!(access.encoding, Encoding::new(1, 0, 7, 14, 2));
    assert_eq!((access.register, access.read), (31, false));
}

#[test]
fn calls_and_waits_are_read() {
    let hvc = Syndrome::new(0x5a00_1234);
    assert_eq!(hvc.class(), Class::Hvc64);
    assert_eq!(hvc.immediate(), 0x1234);
    assert_eq!(hvc.instruction_length(), 4);
    assert_eq!(Syndrome::new(0x04 << 24).instruction_length(), 2);
    for (bits, wait) in [
        (0, Wait::Interrupt),
        (1, Wait::Event),
        (2, Wait::InterruptOrTime),
        (3, Wait::EventOrTime),
    ] {
        assert_eq!(Syndrome::new(0x0600_0000 | bits).wait(), wait);
    }
}

#[test]
fn the_faulting_ipa_is_put_together() {
    assert_eq!(fault_ipa(0x0009_0000, 0xffff_8000_1234_5018), 0x0900_0018);
    assert_eq!(fault_ipa(1 << 63 | 0x10, 0xfff), 0x1fff);
    assert_eq!(fault_ipa(0x0000_ffff_ffff_fff0, 0), 0x00ff_ffff_ffff_f000);
}

const PLAIN: PstateFeatures = PstateFeatures {
    privileged_access_never: false,
    speculative_store_bypass: false,
    memory_tagging: false,
};
const ALL: PstateFeatures = PstateFeatures {
    privileged_access_never: true,
    speculative_store_bypass: true,
    memory_tagging: true,
};

#[test]
fn the_vector_depends_on_where_the_guest_was() {
    let vector = |pstate, kind| enter_el1(pstate, 0, 0x4020_0800, kind, PLAIN).pc - 0x4020_0800;
    for (pstate, group) in [
        (0x3c4, 0x000), // EL1t
        (0x3c5, 0x200), // EL1h
        (0x3c0, 0x400), // EL0t
        (0x1d0, 0x600), // AArch32 user
    ] {
        assert_eq!(vector(pstate, Kind::Synchronous), group);
        assert_eq!(vector(pstate, Kind::SError), group + 0x180);
    }
    let entry = enter_el1(0x3c5, 0, 0x4020_0fff, Kind::Synchronous, PLAIN);
    assert_eq!(
        entry.pc, 0x4020_0a00,
        "reserved bits of VBAR_EL1 do not count"
    );
}

#[test]
fn entry_masks_and_keeps_what_the_manual_says() {
    let enter =
        |pstate, sctlr, features| enter_el1(pstate, sctlr, 0, Kind::Synchronous, features).pstate;
    assert_eq!(enter(0, 0, PLAIN), 0x3c5, "EL1h, DAIF");
    assert_eq!(enter(0xf000_0000, 0, PLAIN), 0xf000_03c5, "NZCV stay");
    assert_eq!(enter(1 << 24, 0, PLAIN), 0x0100_03c5, "DIT stays");
    assert_eq!(
        enter(1 << 20 | 1 << 21 | 1 << 23 | 3 << 10 | 1 << 12, 0, PLAIN),
        0x3c5,
        "IL, SS, UAO, BTYPE, SSBS do not"
    );
    let (pan, ssbs, tco) = (1 << 22, 1 << 12, 1 << 25);
    let (span, dssbs) = (1 << 23, 1 << 44);
    assert_eq!(enter(0, 0, ALL), 0x3c5 | pan | tco, "SPAN clear sets PAN");
    assert_eq!(enter(0, span, ALL), 0x3c5 | tco);
    assert_eq!(enter(pan, span, ALL), 0x3c5 | pan | tco, "PAN stays");
    assert_eq!(enter(0, span | dssbs, ALL), 0x3c5 | ssbs | tco);
    assert_eq!(enter(ssbs, span, ALL), 0x3c5 | tco, "SSBS is DSSBS");
    assert_eq!(enter(pan, dssbs, PLAIN), 0x3c5, "absent bits stay zero");
}

#[test]
fn injected_syndromes_have_the_class_of_their_origin() {
    assert_eq!(injected::undefined(), 0x0200_0000);
    assert_eq!(injected::data_abort(0x3c5, false), 0x9600_0010);
    assert_eq!(injected::data_abort(0x3c5, true), 0x9600_0050);
    assert_eq!(injected::data_abort(0, false), 0x9200_0010);
    assert_eq!(injected::data_abort(0x10, true), 0x9200_0050);
    assert_eq!(injected::instruction_abort(0x3c4), 0x8600_0010);
    assert_eq!(injected::instruction_abort(0), 0x8200_0010);
    assert_eq!(
        injected::on_table_walk(injected::data_abort(0x3c5, true), 2),
        0x9600_0056
    );
}

/// A stage-2 translation fault, level 3, of `ldr w5, [..]` or `str w5, [..]`, as a Cortex-A72 reports it.
const LOAD_WORD: u64 = 0x9385_0007;
const STORE_WORD: u64 = 0x9385_0047;

#[test]
fn plain_word_accesses_are_recognised_with_any_low_register_width_order_and_level() {
    for esr in [LOAD_WORD, STORE_WORD] {
        for free in [0, 1 << 14, 1 << 15, 0xf << 16, 0b11, 1 << 40] {
            let esr = esr ^ free;
            assert!(is_plain_word_access(esr), "{esr:#x}");
            assert_eq!(is_write(esr), esr & 0x40 != 0);
            assert_eq!(transfer_register(esr) as u64, esr >> 16 & 31);
        }
        assert!(!is_plain_word_access(esr | 0x10 << 16), "X16 and up");
    }
    assert_eq!(transfer_register(LOAD_WORD), 5);
}

#[test]
fn writes_to_icc_sgi1r_are_recognised_with_any_low_register() {
    // MSR ICC_SGI1R_EL1, X3: S3_0_C12_C11_5.
    let write = 0x18 << 26 | 1 << 25 | 3 << 20 | 5 << 17 | 12 << 10 | 3 << 5 | 11 << 1;
    assert!(is_sgi1r_write(write));
    assert_eq!(moved_register(write), 3);
    assert!(is_sgi1r_write(write | 0xf << 5));
    assert!(!is_sgi1r_write(write | 0x10 << 5), "X16 and up");
    // MRS, ICC_ASGI1R_EL1, ICC_SGI0R_EL1.
    for other in [write | 1, write ^ (5 ^ 6) << 17, write ^ (5 ^ 7) << 17] {
        assert!(!is_sgi1r_write(other), "{other:#x}");
    }
}

proptest::proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    /// What is recognised whole is what the decoding says in parts.
    #[test]
    fn what_is_recognised_is_decoded_the_same(flips in 0_u64..1 << 32, base in 0_usize..3) {
        let sgi1r = 0x623a_3076;
        let esr = [LOAD_WORD, STORE_WORD, sgi1r][base] ^ (flips & flips >> 16);
        let syndrome = Syndrome::new(esr);
        if is_plain_word_access(esr) {
            let abort = syndrome.data_abort();
            let transfer = abort.transfer.unwrap();
            proptest::prop_assert_eq!(syndrome.class(), Class::DataAbortLower);
            proptest::prop_assert_eq!(syndrome.instruction_length(), 4);
            proptest::prop_assert_eq!(abort.fault.kind, FaultKind::Translation);
            proptest::prop_assert!(!abort.fault.table_walk && !abort.cache_maintenance);
            proptest::prop_assert_eq!(abort.write, is_write(esr));
            proptest::prop_assert_eq!(usize::from(transfer.register), transfer_register(esr));
            proptest::prop_assert_eq!(transfer.bytes, 4);
            proptest::prop_assert_eq!(transfer.loaded(0x8765_4321), 0x8765_4321);
        }
        if is_sgi1r_write(esr) {
            let access = syndrome.system_register();
            proptest::prop_assert_eq!(syndrome.class(), Class::SystemRegister);
            proptest::prop_assert_eq!(access.encoding, Encoding::ICC_SGI1R_EL1);
            proptest::prop_assert!(!access.read);
            proptest::prop_assert_eq!(usize::from(access.register), moved_register(esr));
        }
    }
}
