//! Bulkhead's own services (hypercalls.md section 3), for guests that know where they run.

use crate::abi::bulkhead as id;
use crate::call::{Conduit, code64};

/// One end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Address of the shared memory.
    pub base: u64,
    /// Its size in bytes.
    pub size: u64,
    /// INTID of the doorbell.
    pub doorbell: u32,
    /// The partition at the other end.
    pub peer: u16,
    /// Whether this end may write.
    pub writable: bool,
}

/// Tells whether Bulkhead is below, by its vendor identification.
pub fn is_bulkhead() -> bool {
    let words = Conduit::Hvc.call(id::CALL_UID, &[]);
    words
        .iter()
        .zip(id::UID)
        .all(|(word, expected)| *word == u64::from(expected))
}

fn call(function: u32, arguments: &[u64]) -> Result<[u64; 3], i64> {
    let [x0, x1, x2, x3] = Conduit::Hvc.call(function, arguments);
    match code64(x0) {
        id::SUCCESS => Ok([x1, x2, x3]),
        code => Err(code),
    }
}

/// Asks whether `function` is there.
pub fn has(function: u32) -> bool {
    call(id::FEATURES, &[u64::from(function)]).is_ok()
}

/// Returns x1-x3 of `PARTITION_INFO`.
///
/// # Errors
/// The code of the call.
pub fn partition_info() -> Result<[u64; 3], i64> {
    call(id::PARTITION_INFO, &[])
}

/// Writes at most 48 bytes to the console in one call; returns how many were taken.
///
/// # Errors
/// The code of the call.
pub fn console_write(bytes: &[u8]) -> Result<usize, i64> {
    let mut arguments = [0u64; 7];
    let count = bytes.len().min(48);
    arguments[0] = count as u64;
    for (place, chunk) in arguments[1..].iter_mut().zip(bytes[..count].chunks(8)) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        *place = u64::from_le_bytes(word);
    }
    let [taken, ..] = call(id::CONSOLE_WRITE, &arguments)?;
    usize::try_from(taken).map_err(|_| id::INVALID_PARAMETER)
}

/// Returns the `index`-th channel this partition holds an end of.
///
/// # Errors
/// DENIED past the last.
pub fn channel(index: u64) -> Result<Channel, i64> {
    let [base, size, rest] = call(id::CHANNEL_INFO, &[index])?;
    let [low, high, peer_low, peer_high, flags, ..] = rest.to_le_bytes();
    Ok(Channel {
        base,
        size,
        doorbell: u32::from(u16::from_le_bytes([low, high])),
        peer: u16::from_le_bytes([peer_low, peer_high]),
        writable: flags & 1 != 0,
    })
}

/// Rings the doorbell at the other end of channel `index`.
///
/// # Errors
/// DENIED if this partition holds no such end.
pub fn notify(index: u64) -> Result<(), i64> {
    call(id::CHANNEL_NOTIFY, &[index]).map(|_| ())
}

/// Promises the next heartbeat within `milliseconds`; 0 disarms.
///
/// # Errors
/// INVALID_PARAMETER beyond the manifest's limit.
pub fn heartbeat(milliseconds: u64) -> Result<(), i64> {
    call(id::HEARTBEAT, &[milliseconds, 0]).map(|_| ())
}

/// Returns state, starts and last stop reason of partition `partition`.
///
/// # Errors
/// DENIED without `manage`, unless it is the caller.
pub fn status(partition: u64) -> Result<[u64; 3], i64> {
    call(id::PARTITION_STATUS, &[partition])
}

/// Starts (0), stops (1), restarts (2), pauses (3) or resumes (4) a partition; stops or restarts the board (`BOARD`).
///
/// # Errors
/// DENIED without `manage`; BUSY if its state does not allow it.
pub fn control(partition: u64, action: u64) -> Result<(), i64> {
    call(id::PARTITION_CONTROL, &[partition, action]).map(|_| ())
}

/// Returns x1-x3 of an item of a partition's crash record, index 0 the newest.
///
/// # Errors
/// DENIED without `observe`; NO_DATA past the oldest record; INVALID_PARAMETER if there is no such item.
pub fn crash_record(partition: u64, index: u64, item: u64) -> Result<[u64; 3], i64> {
    call(id::CRASH_RECORD, &[partition, index, item])
}

/// Returns a counter of a vCPU.
///
/// # Errors
/// DENIED without `observe`, unless it is the caller's own.
pub fn statistic(partition: u64, vcpu: u64, counter: u64) -> Result<u64, i64> {
    call(id::STATISTIC, &[partition, vcpu, counter]).map(|[value, ..]| value)
}
