//! Holds the decoder against an assembler's output and against a second reading of the encoding tables.

use super::*;
use crate::words::effort::{some, times};

const ENCODINGS: &str = include_str!("encodings.txt");
const REFUSED: &str = include_str!("refused.txt");

fn table(text: &str) -> impl Iterator<Item = (u32, &str)> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (word, text) = line.split_once(' ').unwrap();
            (u32::from_str_radix(word, 16).unwrap(), text)
        })
}

fn number(register: &str) -> u8 {
    match register {
        "sp" | "xzr" | "wzr" => 31,
        _ => register[1..].parse().unwrap(),
    }
}

fn immediate(text: Option<&str>) -> i64 {
    text.map_or(0, |text| text.strip_prefix('#').unwrap().parse().unwrap())
}

/// Reads the assembler's text: direction, size and sign from the mnemonic, the rest from the operands.
fn parse(text: &str) -> Access {
    let (mnemonic, operands) = text.split_once(' ').unwrap();
    let (data, rest) = operands.split_once(", [").unwrap();
    let data: Vec<&str> = data.split(", ").collect();
    let wide = data[0].starts_with('x');
    let (inside, after) = rest.split_once(']').unwrap();
    let parts: Vec<&str> = inside.split(", ").collect();
    let is_pair = data.len() == 2;
    let (bytes, signed) = if mnemonic.ends_with("sw") {
        (4, true)
    } else if mnemonic.ends_with("sb") {
        (1, true)
    } else if mnemonic.ends_with("sh") {
        (2, true)
    } else if mnemonic.ends_with('b') {
        (1, false)
    } else if mnemonic.ends_with('h') {
        (2, false)
    } else if wide {
        (8, false)
    } else {
        (4, false)
    };
    let base = number(parts[0].trim_start_matches("pc"));
    let address = if after == "!" {
        Address::PreIndex {
            base,
            bytes: immediate(parts.get(1).copied()),
        }
    } else if let Some(bytes) = after.strip_prefix(", ") {
        Address::PostIndex {
            base,
            bytes: immediate(Some(bytes)),
        }
    } else if parts.len() > 1 && !parts[1].starts_with('#') {
        let (extension, shift) = match parts.get(2) {
            None => ("lsl", 0),
            Some(text) => match text.split_once(" #") {
                None => (*text, 0),
                Some((extension, shift)) => (extension, shift.parse().unwrap()),
            },
        };
        Address::Indexed {
            base,
            index: number(parts[1]),
            extension: match extension {
                "uxtw" => Index::Word,
                "sxtw" => Index::SignedWord,
                "lsl" | "sxtx" => Index::Full,
                other => panic!("{other}"),
            },
            shift,
        }
    } else {
        Address::Offset {
            base,
            bytes: immediate(parts.get(1).copied()),
        }
    };
    Access {
        direction: if mnemonic.starts_with("ld") {
            Direction::Load
        } else {
            Direction::Store
        },
        first: number(data[0]),
        second: is_pair.then(|| number(data[1])),
        bytes,
        extend: match (signed, wide) {
            (false, _) => Extend::Zero,
            (true, true) => Extend::SignTo64,
            (true, false) => Extend::SignTo32,
        },
        address,
    }
}

/// Reads a literal's text, which has no base register.
fn parse_literal(text: &str) -> Access {
    let bytes = text.split_once("[pc, #").unwrap().1.trim_end_matches(']');
    let access = parse(&text.replace("[pc,", "[sp,"));
    Access {
        address: Address::Literal {
            bytes: bytes.parse().unwrap(),
        },
        ..access
    }
}

#[test]
fn decodes_what_the_assembler_encodes() {
    let mut seen = 0;
    for (word, text) in some(table(ENCODINGS), 25) {
        let expected = if text.contains("[pc") {
            parse_literal(text)
        } else {
            parse(text)
        };
        assert_eq!(decode(word), Some(expected), "{word:08x} {text}");
        seen += 1;
    }
    assert!(seen > times(500, 20), "the table has {seen} rows");
}

#[test]
fn refuses_everything_that_is_not_a_plain_access() {
    let mut seen = 0;
    for (word, text) in table(REFUSED) {
        assert_eq!(decode(word), None, "{word:08x} {text}");
        seen += 1;
    }
    assert!(seen > 50, "the table has {seen} rows");
}

/// What the assembler will not make, by the encoding diagrams of C6.2: each row is unpredictable or unallocated.
#[test]
fn refuses_unpredictable_forms() {
    let rows = [
        (0xf840_8421_u32, "ldr x1, [x1], #8"),
        (0xf800_8421, "str x1, [x1], #8"),
        (0x3840_1c42, "ldrb w2, [x2, #1]!"),
        (0xa940_0c63, "ldp x3, x3, [x3]"),
        (0xa840_0c63, "ldnp x3, x3, [x3]"),
        (0x6940_0c63, "ldpsw x3, x3, [x3]"),
        (0xa8c1_0400, "ldp x0, x1, [x0], #16"),
        (0xa9bf_0420, "stp x0, x1, [x1, #-16]!"),
        (0x6840_0440, "LDPSW without allocation hint, unallocated"),
        (0x6900_0440, "STGP"),
        (0xe940_0440, "opc 11 of the pairs"),
        (0xb8c0_0020, "opc 11 of a word"),
        (0xf8c0_0020, "opc 11 of a doubleword"),
        (0xf862_0820, "option 000 of a register offset"),
        (0xf862_a820, "option 101 of a register offset"),
        (0xc8c0_fc20, "LDAR with Rs not all ones"),
        (0xc8df_8020, "LDAR with Rt2 not all ones"),
    ];
    for (word, text) in rows {
        assert_eq!(decode(word), None, "{word:08x} {text}");
    }
}

#[test]
fn same_register_without_writeback_is_fine() {
    assert!(decode(0xf940_0021).is_some(), "ldr x1, [x1]");
    assert!(decode(0xa900_0c63).is_some(), "stp x3, x3, [x3]");
    assert!(decode(0xf840_87ff).is_some(), "ldr xzr, [sp], #8");
}

fn general() -> [u64; 31] {
    core::array::from_fn(|index| 0x1000 * (u64::try_from(index).unwrap() + 1))
}

fn address_of(word: u32, general: &[u64; 31]) -> (u64, Option<(u8, u64)>) {
    let registers = Registers {
        general,
        stack_pointer: 0xffff_0000_0000_8000,
        program_counter: 0x4020_0000,
    };
    let access = decode(word).unwrap();
    (
        access.effective_address(&registers),
        access.writeback(&registers),
    )
}

#[test]
fn effective_address_and_writeback_follow_the_mode() {
    let mut general = general();
    assert_eq!(address_of(0xf940_0420, &general), (0x2008, None)); // ldr x0, [x1, #8]
    assert_eq!(
        address_of(0xf840_8c20, &general), // ldr x0, [x1, #8]!
        (0x2008, Some((1, 0x2008)))
    );
    assert_eq!(
        address_of(0xf840_8420, &general), // ldr x0, [x1], #8
        (0x2000, Some((1, 0x2008)))
    );
    assert_eq!(
        address_of(0xa9bf_07e0, &general), // stp x0, x1, [sp, #-16]!
        (0xffff_0000_0000_7ff0, Some((31, 0xffff_0000_0000_7ff0)))
    );
    general[2] = 0xffff_ffff; // as a word: -1
    assert_eq!(address_of(0xb862_d820, &general), (0x1ffc, None)); // ldr w0, [x1, w2, sxtw #2]
    assert_eq!(
        address_of(0xb862_5820, &general), // ldr w0, [x1, w2, uxtw #2]
        (0x2000 + 4 * 0xffff_ffff, None)
    );
    assert_eq!(
        address_of(0xb862_6820, &general), // ldr w0, [x1, x2]
        (0x2000 + 0xffff_ffff, None)
    );
    assert_eq!(address_of(0xf87f_7820, &general), (0x2000, None)); // ldr x0, [x1, xzr, lsl #3]
    assert_eq!(address_of(0x58ff_ffe0, &general), (0x401f_fffc, None)); // ldr x0, .-4
}

#[test]
fn loaded_values_are_extended_to_the_target() {
    let load = |word: u32, raw| decode(word).unwrap().loaded(raw);
    assert_eq!(load(0x3940_0000, 0xffff_ff80), 0x80); // ldrb w0
    assert_eq!(load(0x39c0_0000, 0x80), 0xffff_ff80); // ldrsb w0
    assert_eq!(load(0x3980_0000, 0x80), 0xffff_ffff_ffff_ff80); // ldrsb x0
    assert_eq!(load(0x79c0_0000, 0x7fff), 0x7fff); // ldrsh w0
    assert_eq!(load(0xb980_0000, 0x8000_0000), 0xffff_ffff_8000_0000); // ldrsw x0
    assert_eq!(load(0xb940_0000, u64::MAX), 0xffff_ffff); // ldr w0
    assert_eq!(load(0xf940_0000, u64::MAX), u64::MAX); // ldr x0
    assert_eq!(decode(0x7900_0000).unwrap().stored(0x1234_5678), 0x5678); // strh w0
}
