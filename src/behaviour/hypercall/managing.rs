//! HEARTBEAT, PARTITION_STATUS, PARTITION_CONTROL and STATISTIC (hypercalls.md, section 3).
//!
//! Whoever lacks the capability gets `Denied`, whether or not the partition exists.

use super::Call;
use super::bulkhead::{CallError, Values};
use crate::behaviour::here::Here;
use crate::behaviour::lifecycle::State;
use crate::behaviour::machine::{BoardEnd, Machine};
use crate::behaviour::partition::Partition;
use crate::model::monitor::Order;
use crate::words::{PartitionId, VcpuId};
use bulkhead_abi::bulkhead::{BOARD, action, state};

/// `HEARTBEAT(milliseconds, 0)`: the next call is due within so many milliseconds; 0 disarms.
///
/// # Errors
/// `InvalidParameter` for argument 2 or beyond the manifest's limit; `Denied` if the manifest grants no heartbeat.
#[inline(always)]
pub(super) fn heartbeat(
    here: &Here<'_, '_>,
    machine: &mut impl Machine,
    milliseconds: u64,
    zero: u64,
) -> Values {
    if zero != 0 {
        return Err(CallError::InvalidParameter);
    }
    let limit = here.partition.plan.heartbeat_ms.ok_or(CallError::Denied)?;
    let milliseconds = u32::try_from(milliseconds)
        .ok()
        .filter(|milliseconds| *milliseconds <= limit)
        .ok_or(CallError::InvalidParameter)?;
    here.partition.heartbeat.arm(milliseconds, machine);
    Ok([0; 3])
}

/// The partition argument 1 names.
pub(super) fn named<'a, 'b>(here: &Here<'a, 'b>, call: &Call) -> Option<&'a Partition<'b>> {
    let id = u8::try_from(call.argument(1)).ok().map(PartitionId::new)?;
    if id == here.partition.plan.id {
        Some(here.partition)
    } else {
        here.other(id)
    }
}

/// Whether the caller manages `other`.
fn manages(here: &Here<'_, '_>, other: &Partition<'_>) -> bool {
    here.partition
        .plan
        .manage
        .checked_shr(other.plan.id.get().into())
        .is_some_and(|bits| bits & 1 == 1)
}

fn is_own(here: &Here<'_, '_>, other: &Partition<'_>) -> bool {
    here.partition.plan.id == other.plan.id
}

/// Whether a channel joins the caller and `other`.
fn is_peer(here: &Here<'_, '_>, other: &Partition<'_>) -> bool {
    let mut ports = here.partition.channels.iter();
    ports.any(|port| port.peer().partition == other.plan.id)
}

/// `PARTITION_STATUS(id)`: X1 state, X2 starts, X3 why it last stopped, which a channel's peer is not told.
///
/// # Errors
/// `Denied` unless it is the caller, one it manages or one it has a channel with.
pub(super) fn status(here: &Here<'_, '_>, call: &Call) -> Values {
    let partition = named(here, call).ok_or(CallError::Denied)?;
    let all = is_own(here, partition) || manages(here, partition);
    if !all && !is_peer(here, partition) {
        return Err(CallError::Denied);
    }
    let (now, reason) = partition.life.now();
    let state = match now {
        State::Off => state::OFF,
        State::Starting | State::Running | State::Stopping => state::RUNNING,
        State::Paused => state::PAUSED,
        State::Crashed | State::Waiting => state::CRASHED,
    };
    let why = if all { reason.code().into() } else { 0 };
    Ok([state, partition.life.starts(), why])
}

/// `PARTITION_CONTROL(id, action)`.
///
/// # Errors
/// `Denied` unless the caller manages it, `InvalidParameter` for no action, `Busy` where its state does not allow it.
pub(super) fn control(here: &Here<'_, '_>, machine: &mut impl Machine, call: &Call) -> Values {
    if call.argument(1) == BOARD {
        return board(here, machine, call.argument(2));
    }
    let partition = named(here, call)
        .filter(|partition| manages(here, partition))
        .ok_or(CallError::Denied)?;
    let order = match call.argument(2) {
        action::START => Order::Start,
        action::STOP => Order::Stop,
        action::RESTART => Order::Restart,
        action::PAUSE => Order::Pause,
        action::RESUME => Order::Resume,
        _ => return Err(CallError::InvalidParameter),
    };
    if !partition.obey(order, machine.counter(), machine.counter_frequency()) {
        return Err(CallError::Busy);
    }
    // All its cores look at its state; the leader alone acts on a start.
    partition.cpus.iter().for_each(|cpu| machine.kick(*cpu));
    Ok([0; 3])
}

/// Ends the board. It does not come back where the board's tree names a way to do so.
///
/// # Errors
/// `Denied` unless the caller manages every other partition, and one at least; `InvalidParameter` for an action that is
/// not the board's; `NotSupported` where the board has no way.
fn board(here: &Here<'_, '_>, machine: &mut impl Machine, action: u64) -> Values {
    let mut others = here.partitions.iter().copied().flatten();
    let manages_all = others.all(|other| is_own(here, other) || manages(here, other));
    if here.partition.plan.manage == 0 || !manages_all {
        return Err(CallError::Denied);
    }
    let end = match action {
        action::STOP => BoardEnd::Off,
        action::RESTART => BoardEnd::Reset,
        _ => return Err(CallError::InvalidParameter),
    };
    machine.end_board(end);
    Err(CallError::NotSupported)
}

/// `STATISTIC(id, vcpu, counter)`: X1 the counter's value.
///
/// # Errors
/// `Denied` unless it is the caller or the caller observes; `InvalidParameter` for no vCPU of it or no counter.
pub(super) fn statistic(here: &Here<'_, '_>, call: &Call) -> Values {
    let partition = named(here, call)
        .filter(|partition| is_own(here, partition) || here.partition.plan.observe)
        .ok_or(CallError::Denied)?;
    let vcpu = u8::try_from(call.argument(2))
        .ok()
        .and_then(|vcpu| partition.vcpu(VcpuId::new(vcpu)));
    let counter = usize::try_from(call.argument(3)).map_err(|_| CallError::InvalidParameter)?;
    let value = vcpu
        .and_then(|vcpu| vcpu.statistics.get(counter))
        .ok_or(CallError::InvalidParameter)?;
    Ok([value, 0, 0])
}
