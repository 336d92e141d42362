//! The TRNG firmware interface 1.0 (Arm DEN0098): there and sound, or not there at all.

use bulkhead_rt::abi::trng as id;
use bulkhead_rt::read_sysreg;
use bulkhead_rt::test::exchange::Instruction;
use bulkhead_rt::timer;

use crate::suite::{Finding, Suite, call, expect};

const VERSION: &str = "DEN0098 TRNG_VERSION";
const FEATURES: &str = "DEN0098 TRNG_FEATURES";
const UUID: &str = "DEN0098 TRNG_GET_UUID";
const RND: &str = "DEN0098 TRNG_RND";
const OURS: &str = "ABI 2 Standard services";

/// ID_AA64ISAR0_EL1.RNDR.
const RNDR_SHIFT: u32 = 60;
/// Microseconds the source may take to have entropy again.
const PATIENCE: u64 = 1_000_000;
/// Draws of the health test.
const DRAWS: usize = 128;

/// Functions of the interface.
const ALL: [u32; 5] = [
    id::VERSION,
    id::FEATURES,
    id::GET_UUID,
    id::RND_32,
    id::RND_64,
];

/// Checks the service.
pub fn run(suite: &mut Suite) {
    suite.own(
        OURS,
        "the service is there where the CPU has FEAT_RNG, and nowhere else",
        |_| {
            let real = read_sysreg!("id_aa64isar0_el1") >> RNDR_SHIFT != 0;
            expect(id::VERSION, is_there(), real)
        },
    );
    if !is_there() {
        suite.each(
            VERSION,
            "without a source every function is NOT_SUPPORTED",
            |_, with| {
                ALL.into_iter().try_for_each(|function| {
                    expect(function, call(with, function, &[64]).code32(), -1)
                })
            },
        );
        return;
    }
    suite.each(
        VERSION,
        "TRNG_VERSION is 1.0 or later, bit 31 clear",
        |_, with| {
            expect(
                id::VERSION,
                call(with, id::VERSION, &[]).code() >= 0x1_0000,
                true,
            )
        },
    );
    suite.each(FEATURES, "TRNG_FEATURES knows every function", |_, with| {
        ALL.into_iter().try_for_each(|function| {
            let code = call(with, id::FEATURES, &[u64::from(function)]).code32();
            expect(function, code >= 0, true)
        })
    });
    suite.each(FEATURES, "TRNG_FEATURES knows nothing else", |_, with| {
        let others = [
            0,
            0x8400_0000,
            0x8400_0054,
            0xc400_0050,
            0xc400_0052,
            u32::MAX,
        ];
        others.into_iter().try_for_each(|function| {
            let code = call(with, id::FEATURES, &[u64::from(function)]).code32();
            expect(function, code, -1)
        })
    });
    suite.each(
        UUID,
        "TRNG_GET_UUID returns one UUID, whose first word is not NOT_SUPPORTED",
        |_, with| {
            let uuid = call(with, id::GET_UUID, &[]).results();
            expect(id::GET_UUID, uuid[0] != 0xffff_ffff && uuid != [0; 4], true)?;
            expect(id::GET_UUID, uuid.iter().all(|word| word >> 32 == 0), true)?;
            expect(
                id::GET_UUID,
                call(with, id::GET_UUID, &[]).results() == uuid,
                true,
            )
        },
    );
    random(suite);
}

fn is_there() -> bool {
    call(Instruction::Hvc, id::VERSION, &[]).code32() >= 0
}

/// Draws `bits`, patiently; x1 to x3.
fn draw(with: Instruction, function: u32, bits: u64) -> Result<[u64; 3], i64> {
    let mut result = Err(0);
    timer::wait_until(PATIENCE, || {
        let drawn = call(with, function, &[bits]);
        let [_, x1, x2, x3] = drawn.results();
        result = match drawn.code() {
            id::SUCCESS => Ok([x1, x2, x3]),
            code => Err(code),
        };
        result != Err(id::NO_ENTROPY)
    });
    result
}

fn random(suite: &mut Suite) {
    let widths = [(id::RND_32, 96, 32), (id::RND_64, 192, 64)];
    suite.each(
        RND,
        "no bits, or more than the call returns, is INVALID_PARAMETERS with no results",
        move |_, with| {
            for (function, most, _) in widths {
                for bits in [0, most + 1, 0xffff_ffff] {
                    let result = call(with, function, &[bits]);
                    expect(bits, result.code32(), -2)?;
                    expect(bits, result.no_results(), true)?;
                }
            }
            expect(1u64 << 32, call(with, id::RND_64, &[1 << 32]).code32(), -2)
        },
    );
    suite.each(
        RND,
        "every number of bits is returned in X3 up, and no bit more",
        move |_, with| {
            for (function, most, width) in widths {
                for bits in 1..=most {
                    let Ok([x1, x2, x3]) = draw(with, function, bits) else {
                        return expect(bits, false, true);
                    };
                    for (place, word) in [x3, x2, x1].into_iter().enumerate() {
                        let has = bits.saturating_sub(place as u64 * width).min(width);
                        let beyond = if has == 64 { 0 } else { word >> has };
                        expect(bits, beyond, 0)?;
                    }
                }
            }
            Ok(())
        },
    );
    suite.each(
        RND,
        "128 draws: no two alike, every bit seen as 0 and as 1",
        move |_, with| {
            widths
                .into_iter()
                .try_for_each(|(function, most, width)| healthy(with, function, most, width))
        },
    );
}

fn healthy(with: Instruction, function: u32, most: u64, width: u64) -> Finding {
    let mut seen = [[0; 3]; DRAWS];
    let (mut ones, mut zeros) = ([0; 3], [0; 3]);
    for index in 0..DRAWS {
        let Ok(words) = draw(with, function, most) else {
            return expect(most, false, true);
        };
        expect(index as u64, seen[..index].contains(&words), false)?;
        seen[index] = words;
        for place in 0..3 {
            ones[place] |= words[place];
            zeros[place] |= !words[place];
        }
    }
    let whole = u64::MAX >> (64 - width);
    (0..3).try_for_each(|place| {
        expect(place as u64, ones[place], whole)?;
        expect(place as u64, zeros[place] & whole, whole)
    })
}
