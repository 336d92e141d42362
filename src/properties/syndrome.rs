//! Any ESR, FAR, HPFAR and PSTATE: every field is one the manual has, and an exception enters EL1 at a vector.

use super::Input;
use crate::arm::syndrome::{Kind, PstateFeatures, Syndrome, enter_el1, fault_ipa};

/// HPFAR_EL2.FIPA has 44 bits, of an address's bits 55:12 (Arm ARM D24.2.63).
const IPA_BITS: u32 = 56;
/// PSTATE on entry to EL1: EL1h, and D, A, I, F masked (Arm ARM D1.3.6).
const ENTERED: u64 = 0x3c5;
/// A vector's bytes, and a table's (Arm ARM D1.3.1).
const VECTOR: u64 = 0x80;
const VECTORS: u64 = 0x800;

/// Reads any number of syndromes.
pub fn any(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        one(&mut input);
    }
}

fn one(input: &mut Input<'_>) {
    let esr = input.long();
    let syndrome = Syndrome::new(esr);
    assert_eq!(u64::from(syndrome.class_number()), esr >> 26 & 0x3f);
    let _ = (syndrome.class(), syndrome.wait(), syndrome.immediate());
    assert!(matches!(syndrome.instruction_length(), 2 | 4));
    let abort = syndrome.data_abort();
    // ISV, bit 24: without it nothing of the transfer is known.
    assert_eq!(abort.transfer.is_some(), esr >> 24 & 1 == 1);
    if let Some(transfer) = abort.transfer {
        assert!(matches!(transfer.bytes, 1 | 2 | 4 | 8) && transfer.register < 32);
        let raw = input.long();
        let mask = u64::MAX >> (64 - 8 * u32::from(transfer.bytes));
        assert_eq!(transfer.stored(raw), raw & mask);
        assert_eq!(
            transfer.loaded(raw) & mask,
            raw & mask & width(transfer.wide)
        );
    }
    for fault in [abort.fault, syndrome.instruction_abort()] {
        assert!(fault.status < 64 && fault.level() < 4);
        let _ = fault.gives_ipa();
    }
    let access = syndrome.system_register();
    let name = access.encoding;
    assert!(name.op0 < 4 && name.op1 < 8 && name.crn < 16 && name.crm < 16 && name.op2 < 8);
    assert!(access.register < 32);
    let (hpfar, far) = (input.long(), input.long());
    let ipa = fault_ipa(hpfar, far);
    assert!(ipa >> IPA_BITS == 0 && ipa & 0xfff == far & 0xfff);
    entry(input);
}

/// The bits of a register of which an instruction names all, or the lower half.
const fn width(wide: bool) -> u64 {
    if wide { u64::MAX } else { 0xffff_ffff }
}

fn entry(input: &mut Input<'_>) {
    let (pstate, sctlr, vbar) = (input.long(), input.long(), input.long());
    let features = PstateFeatures {
        privileged_access_never: input.flag(),
        speculative_store_bypass: input.flag(),
        memory_tagging: input.flag(),
    };
    let entry = enter_el1(pstate, sctlr, vbar, Kind::Synchronous, features);
    assert_eq!(entry.pc & !(VECTORS - 1), vbar & !(VECTORS - 1));
    assert_eq!(entry.pc % VECTOR, 0);
    assert_eq!(entry.pstate & 0x3df, ENTERED);
}
