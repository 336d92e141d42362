//! Bulkhead's own services (hypercalls.md, section 3).

use super::{Answer, Call, channels, lower, managing};
use crate::behaviour::console;
use crate::behaviour::here::Here;
use crate::behaviour::machine::Machine;
use crate::model::console::{Console, Speaker};
use bulkhead_abi::bulkhead;

/// Why a call has no answer but a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CallError {
    /// An argument is out of its range.
    InvalidParameter,
    /// Not this partition's to do, or no such thing.
    Denied,
    /// Legal, but not in the present state.
    Busy,
    /// Nothing to return now.
    NoData,
}

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
        bulkhead::FEATURES => {
            let known = is_known(lower(call.argument(1)));
            return Some(Answer::code(if known {
                bulkhead::SUCCESS
            } else {
                bulkhead::NOT_SUPPORTED
            }));
        }
        bulkhead::PARTITION_INFO => partition_info(here),
        bulkhead::CONSOLE_WRITE => console_write(here, board, machine, call),
        bulkhead::CONSOLE_READ => console_read(here, board, machine, call),
        bulkhead::CHANNEL_INFO => channels::info(here, call),
        bulkhead::CHANNEL_NOTIFY => channels::notify(here, machine, call),
        bulkhead::HEARTBEAT => managing::heartbeat(here, machine, call),
        bulkhead::PARTITION_STATUS => managing::status(here, call),
        bulkhead::PARTITION_CONTROL => managing::control(here, machine, call),
        bulkhead::STATISTIC => managing::statistic(here, call),
        _ => return None,
    };
    Some(match values {
        Ok([x1, x2, x3]) => Answer::values([bulkhead::SUCCESS.cast_unsigned(), x1, x2, x3]),
        Err(CallError::InvalidParameter) => Answer::code(bulkhead::INVALID_PARAMETER),
        Err(CallError::Denied) => Answer::code(bulkhead::DENIED),
        Err(CallError::Busy) => Answer::code(bulkhead::BUSY),
        Err(CallError::NoData) => Answer::code(bulkhead::NO_DATA),
    })
}

/// Whether `function` is one of this service that [`answer`] knows.
const fn is_known(function: u32) -> bool {
    matches!(
        function,
        bulkhead::FEATURES
            | bulkhead::PARTITION_INFO
            | bulkhead::CONSOLE_WRITE
            | bulkhead::CONSOLE_READ
            | bulkhead::CHANNEL_INFO
            | bulkhead::CHANNEL_NOTIFY
            | bulkhead::HEARTBEAT
            | bulkhead::PARTITION_STATUS
            | bulkhead::PARTITION_CONTROL
            | bulkhead::STATISTIC
    )
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
    let ring = board.ring(Speaker::Partition(here.partition.plan.id));
    let bytes = (2..=7).flat_map(|index| call.argument(index).to_le_bytes());
    let taken = {
        let _producer = here.partition.uart.lock();
        bytes
            .take(usize::try_from(count).unwrap_or(0))
            .take_while(|byte| ring.push(*byte))
            .count()
    };
    machine.console_written();
    Ok([taken as u64, 0, 0])
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
    let mut bytes = [0_u8; 16];
    let mut count = 0;
    {
        let _consumer = here.partition.uart.lock();
        let input = board
            .input(here.partition.plan.id)
            .ok_or(CallError::NoData)?;
        for slot in bytes.iter_mut().take(usize::try_from(most).unwrap_or(0)) {
            let Some(byte) = input.pop() else { break };
            *slot = byte;
            count += 1;
        }
    }
    console::refresh(here, board, machine);
    let word = |from: usize| {
        bytes
            .iter()
            .skip(from)
            .take(8)
            .rev()
            .fold(0_u64, |word, byte| word << 8 | u64::from(*byte))
    };
    if count == 0 {
        Err(CallError::NoData)
    } else {
        Ok([count, word(0), word(8)])
    }
}
