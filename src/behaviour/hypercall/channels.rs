//! CHANNEL_INFO and CHANNEL_NOTIFY (hypercalls.md, section 3).

use super::Call;
use super::bulkhead::{CallError, Values};
use crate::behaviour::channel::{self, Port};
use crate::behaviour::here::Here;
use crate::behaviour::machine::Machine;

/// X3 of CHANNEL_INFO: where the peer's id is.
const INFO_PEER: u32 = 16;
/// X3 of CHANNEL_INFO: this end may write.
const INFO_WRITABLE: u32 = 32;

/// The end with this index.
#[inline(always)]
fn port<'a>(here: &Here<'a, '_>, index: u64) -> Result<&'a Port<'a>, CallError> {
    let index = usize::try_from(index).map_err(|_| CallError::Denied)?;
    here.partition.channels.get(index).ok_or(CallError::Denied)
}

/// `CHANNEL_INFO(index)`: X1 where the memory is, X2 its bytes, X3 doorbell, peer, and whether this end may write.
///
/// # Errors
/// `Denied` past the partition's last end.
pub(super) fn info(here: &Here<'_, '_>, call: &Call) -> Values {
    let port = port(here, call.argument(1))?;
    let (end, peer) = (port.end(), port.peer());
    let x3 = u64::from(end.intid)
        | u64::from(peer.partition.get()) << INFO_PEER
        | u64::from(end.writable) << INFO_WRITABLE;
    Ok([end.ipa.get(), port.size(), x3])
}

/// `CHANNEL_NOTIFY(index)`: raises the doorbell at the other end.
///
/// # Errors
/// `Denied` past the partition's last end.
#[inline(always)]
pub(super) fn notify(here: &Here<'_, '_>, machine: &mut impl Machine, index: u64) -> Values {
    channel::notify(here, port(here, index)?, machine);
    Ok([0; 3])
}
