//! Any instruction word: decoded exactly if the manual's diagrams have it as a plain access, and then within bounds.

use super::Input;
use crate::model::decode::{Registers, decode};

/// Ways to make a word of the load and store class: bits kept, bits set.
const CLASSES: [(u32, u32); 4] = [
    (u32::MAX, 0),
    (!0x0a00_0000, 0x0800_0000),
    (!0x0600_0000, 0x3800_0000),
    (!0x1600_0000, 0x2800_0000),
];

/// Decodes any number of words.
pub fn words(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        let (kept, set) = input.pick(&CLASSES);
        one(input.word() & kept | set, &mut input);
    }
}

fn one(word: u32, input: &mut Input<'_>) {
    let decoded = decode(word);
    let expected = belongs(word) && !unpredictable(word);
    assert_eq!(decoded.is_some(), expected, "{word:08x}");
    let Some(access) = decoded else {
        return;
    };
    // C4.1: loads and stores are op0 = x1x0.
    assert_eq!(word >> 25 & 0b0101, 0b0100);
    let seed = input.long();
    let general: [u64; 31] = core::array::from_fn(|index| seed.rotate_left(index as u32));
    let registers = Registers {
        general: &general,
        stack_pointer: !seed,
        program_counter: seed & !3,
    };
    let _ = access.effective_address(&registers);
    let _ = access.loaded(seed);
    assert!(
        access
            .writeback(&registers)
            .is_none_or(|(base, _)| base < 32)
    );
    assert!(matches!(access.bytes, 1 | 2 | 4 | 8));
    assert!(access.first < 32 && access.second.is_none_or(|second| second < 32));
    let mask = u64::MAX >> (64 - 8 * u32::from(access.bytes));
    assert_eq!(access.stored(seed), seed & mask);
}

/// The same question as [`decode`]'s, asked as mask and value from the diagrams of C4.1.94, one row a form:
/// does the word belong to a form that moves general registers?
fn belongs(word: u32) -> bool {
    const FORMS: &[(u32, u32)] = &[
        (0x3fff_fc00, 0x08df_fc00), // LDAR
        (0x3fff_fc00, 0x089f_fc00), // STLR
        (0x3fff_fc00, 0x08df_7c00), // LDLAR
        (0x3fff_fc00, 0x089f_7c00), // STLLR
        (0x3fff_fc00, 0x38bf_c000), // LDAPR
        (0x3fa0_0c00, 0x1900_0000), // STLUR, LDAPUR
        (0xffe0_0c00, 0x9980_0000), // LDAPURSW
        (0xbfa0_0c00, 0x1980_0000), // LDAPURSB, LDAPURSH
        (0xbf00_0000, 0x1800_0000), // LDR literal
        (0xff00_0000, 0x9800_0000), // LDRSW literal
        (0x7e00_0000, 0x2800_0000), // LDP, STP, LDNP, STNP
        (0xffc0_0000, 0x6940_0000), // LDPSW, offset
        (0xfec0_0000, 0x68c0_0000), // LDPSW, post- and pre-index
        (0x3f80_0000, 0x3900_0000), // STR, LDR unsigned offset
        (0xffc0_0000, 0xb980_0000), // LDRSW unsigned offset
        (0xbf80_0000, 0x3980_0000), // LDRSB, LDRSH unsigned offset
        (0x3fa0_0000, 0x3800_0000), // STR, LDR with imm9
        (0xffe0_0000, 0xb880_0000), // LDRSW with imm9
        (0xbfa0_0000, 0x3880_0000), // LDRSB, LDRSH with imm9
        (0x3fa0_4c00, 0x3820_4800), // STR, LDR register offset
        (0xffe0_4c00, 0xb8a0_4800), // LDRSW register offset
        (0xbfa0_4c00, 0x38a0_4800), // LDRSB, LDRSH register offset
    ];
    FORMS.iter().any(|&(mask, value)| word & mask == value)
}

/// Whether the word writes back over its own data, or loads a pair into one register.
fn unpredictable(word: u32) -> bool {
    let (rt, rn, rt2) = (word & 31, (word >> 5) & 31, (word >> 10) & 31);
    let is_pair = word & 0x3a00_0000 == 0x2800_0000;
    if is_pair {
        let writeback = word & (1 << 23) != 0;
        let load = word & (1 << 22) != 0;
        return (load && rt == rt2) || (writeback && rn != 31 && (rn == rt || rn == rt2));
    }
    let immediate_nine = word & 0x3f20_0000 == 0x3800_0000;
    immediate_nine && word & (1 << 10) != 0 && rn != 31 && rn == rt
}
