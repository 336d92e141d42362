//! Bulkhead's own services (hypercalls.md, section 3).

use super::{Answer, Call, channels, crashes, lower, managing};
use crate::behaviour::console;
use crate::behaviour::here::Here;
use crate::behaviour::machine::Machine;
use crate::model::console::Console;
use bulkhead_abi::bulkhead;

/// Why a call has no answer but a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CallError {
    /// No such function.
    NotSupported,
    /// An argument is out of its range.
    InvalidParameter,
    /// Not this partition's to do, or no such thing.
    Denied,
    /// Legal, but not in the present state.
    Busy,
    /// Nothing to return now.
    NoData,
}

impl CallError {
    const fn code(self) -> i64 {
        match self {
            Self::NotSupported => bulkhead::NOT_SUPPORTED,
            Self::InvalidParameter => bulkhead::INVALID_PARAMETER,
            Self::Denied => bulkhead::DENIED,
            Self::Busy => bulkhead::BUSY,
            Self::NoData => bulkhead::NO_DATA,
        }
    }
}

/// Bytes two registers hold: what CONSOLE_READ returns at most.
const READ_MOST: usize = 16;

/// X1 to X3 of a call that succeeds.
pub(super) type Values = Result<[u64; 3], CallError>;

/// Answers a call of this service; `None` if it is none.
pub(super) fn answer(
    here: &Here<'_, '_>,
    board: &Console,
    machine: &mut impl Machine,
    call: &Call,
) -> Option<Answer> {
    let values = match call.function {
        bulkhead::FEATURES => features(lower(call.argument(1))),
        bulkhead::PARTITION_INFO => partition_info(here),
        bulkhead::CONSOLE_WRITE => console_write(here, board, machine, call),
        bulkhead::CONSOLE_READ => console_read(here, board, machine, call),
        bulkhead::CHANNEL_INFO => channels::info(here, call),
        bulkhead::CHANNEL_NOTIFY => channels::notify(here, machine, call.argument(1)),
        bulkhead::HEARTBEAT => {
            managing::heartbeat(here, machine, call.argument(1), call.argument(2))
        }
        bulkhead::PARTITION_STATUS => managing::status(here, call),
        bulkhead::PARTITION_CONTROL => managing::control(here, machine, call),
        bulkhead::STATISTIC => managing::statistic(here, call),
        bulkhead::CRASH_RECORD => crashes::record(here, machine, call),
        _ => return None,
    };
    Some(match values {
        Ok([x1, x2, x3]) => Answer::values([bulkhead::SUCCESS.cast_unsigned(), x1, x2, x3]),
        Err(error) => Answer::code(error.code()),
    })
}

/// The code of a call that takes no more than X1 and X2, if it is one: FEATURES, HEARTBEAT, CHANNEL_NOTIFY.
#[inline(always)]
pub(super) fn at_once(
    here: &Here<'_, '_>,
    machine: &mut impl Machine,
    function: u32,
    [x1, x2]: [u64; 2],
) -> Option<i64> {
    let values = match function {
        bulkhead::FEATURES => features(lower(x1)),
        bulkhead::HEARTBEAT => managing::heartbeat(here, machine, x1, x2),
        bulkhead::CHANNEL_NOTIFY => channels::notify(here, machine, x1),
        _ => return None,
    };
    Some(values.map_or_else(CallError::code, |_| bulkhead::SUCCESS))
}

/// The functions of this service that [`answer`] knows.
const FUNCTIONS: [u32; 11] = [
    bulkhead::FEATURES,
    bulkhead::PARTITION_INFO,
    bulkhead::CONSOLE_WRITE,
    bulkhead::CONSOLE_READ,
    bulkhead::CHANNEL_INFO,
    bulkhead::CHANNEL_NOTIFY,
    bulkhead::HEARTBEAT,
    bulkhead::PARTITION_STATUS,
    bulkhead::PARTITION_CONTROL,
    bulkhead::STATISTIC,
    bulkhead::CRASH_RECORD,
];

/// The functions that are there as bits: bit n of word m is the service's function 64m + n.
pub const FUNCTION_BITS: [u64; 2] = {
    let mut bits = [0; 2];
    let mut index = 0;
    while index < FUNCTIONS.len() {
        let number = (FUNCTIONS[index] - bulkhead::FEATURES) as usize;
        bits[number / 64] |= 1 << (number % 64);
        index += 1;
    }
    bits
};

/// `FEATURES(function)`: whether the function is one of this service that [`answer`] knows.
fn features(function: u32) -> Values {
    if FUNCTIONS.contains(&function) {
        Ok([0; 3])
    } else {
        Err(CallError::NotSupported)
    }
}

/// `PARTITION_INFO()`: X1 own id, vCPUs and capabilities, X2 starts, X3 why it last stopped.
fn partition_info(here: &Here<'_, '_>) -> Values {
    let partition = here.partition;
    let vcpus = partition.vcpus.len() as u64;
    let capabilities =
        u64::from(partition.plan.manage != 0) | u64::from(partition.plan.observe) << 1;
    let (_, reason) = partition.life.now();
    let x1 = u64::from(partition.plan.id.get()) | vcpus << 16 | capabilities << 32;
    Ok([x1, partition.life.starts(), reason.code().into()])
}

/// `CONSOLE_WRITE(count, bytes...)`: puts 1 to 48 bytes into the partition's output; X1 how many it took.
fn console_write(
    here: &Here<'_, '_>,
    board: &Console,
    machine: &mut impl Machine,
    call: &Call,
) -> Values {
    let count = call.argument(1);
    if !(1..=bulkhead::CONSOLE_WRITE_MAX).contains(&count) {
        return Err(CallError::InvalidParameter);
    }
    let bytes = [2, 3, 4, 5, 6, 7].map(|index| call.argument(index).to_le_bytes());
    let most = usize::try_from(count).unwrap_or(0);
    let bytes = bytes.as_flattened().get(..most).unwrap_or_default();
    let taken = console::print(here, board, bytes);
    machine.console_written();
    Ok([taken, 0, 0])
}

/// `CONSOLE_READ(most)`: takes 1 to 16 typed bytes; X1 how many, X2 and X3 the bytes.
fn console_read(
    here: &Here<'_, '_>,
    board: &Console,
    machine: &mut impl Machine,
    call: &Call,
) -> Values {
    let most = call.argument(1);
    if !(1..=bulkhead::CONSOLE_READ_MAX).contains(&most) {
        return Err(CallError::InvalidParameter);
    }
    let mut bytes = [0_u8; READ_MOST];
    let mut count = 0;
    for slot in bytes.iter_mut().take(usize::try_from(most).unwrap_or(0)) {
        let Some(byte) = console::take_typed(here, board) else {
            break;
        };
        *slot = byte;
        count += 1;
    }
    console::refresh(here, board, machine);
    if count == 0 {
        return Err(CallError::NoData);
    }
    let both = u128::from_le_bytes(bytes);
    let word = |shift: u32| u64::try_from(both >> shift & u128::from(u64::MAX)).unwrap_or(0);
    Ok([count, word(0), word(64)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_say_what_features_says() {
        for number in 0..128 {
            let known = FUNCTION_BITS[number as usize / 64] >> (number % 64) & 1 == 1;
            assert_eq!(known, features(bulkhead::FEATURES + number).is_ok());
        }
    }
}
