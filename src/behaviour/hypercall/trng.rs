//! True random numbers (Arm DEN0098, version 1.0), where the CPU has them (FEAT_RNG); elsewhere the service is not there.

use super::{Answer, Call, lower};
use crate::behaviour::machine::Machine;
use bulkhead_abi::trng;

/// Words a call of the 64-bit convention can return.
const WORDS: usize = 3;
/// Most bits a call of the 32-bit convention can return: three words of 32.
const MAX_BITS_32: u64 = 96;
/// Most bits a call of the 64-bit convention can return.
const MAX_BITS_64: u64 = 192;

/// Answers a call of this service; `None` if it is none, or there is no source.
pub(super) fn answer(machine: &mut impl Machine, call: &Call) -> Option<Answer> {
    if !matches!(
        call.function,
        trng::VERSION | trng::FEATURES | trng::GET_UUID | trng::RND_32 | trng::RND_64
    ) || !machine.has_entropy()
    {
        return None;
    }
    Some(match call.function {
        trng::VERSION => Answer::code(trng::VERSION_1_0.into()),
        trng::FEATURES => Answer::code(features(lower(call.argument(1)))),
        trng::GET_UUID => Answer::values(trng::UUID.map(u64::from)),
        trng::RND_32 => random(machine, call.argument(1), MAX_BITS_32, u32::BITS),
        _ => random(machine, call.argument(1), MAX_BITS_64, u64::BITS),
    })
}

/// `TRNG_FEATURES(function)` (2.3): whether the function is there.
const fn features(function: u32) -> i64 {
    match function {
        trng::VERSION | trng::FEATURES | trng::GET_UUID | trng::RND_32 | trng::RND_64 => {
            trng::SUCCESS
        }
        _ => trng::NOT_SUPPORTED,
    }
}

/// `TRNG_RND(bits)` (2.5): X3 has the lowest bits, X1 the highest; those not asked for are zero.
fn random(machine: &mut impl Machine, bits: u64, most: u64, width: u32) -> Answer {
    if !(1..=most).contains(&bits) {
        return Answer::code(trng::INVALID_PARAMETERS);
    }
    let mut words = [0; WORDS];
    let mut left = bits;
    for word in words.iter_mut().rev() {
        if left == 0 {
            break;
        }
        let Some(drawn) = machine.entropy() else {
            return Answer::code(trng::NO_ENTROPY);
        };
        let kept = left.min(width.into());
        *word = drawn & (u64::MAX >> (64 - kept));
        left -= kept;
    }
    let [x1, x2, x3] = words;
    Answer::values([trng::SUCCESS.cast_unsigned(), x1, x2, x3])
}
