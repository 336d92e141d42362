//! Where the two ends of each channel see it: from the channels' base up, in the manifest's order, the shared memory
//! and behind it the doorbell's page; doorbells are numbered from the first channel interrupt up (hypercalls.md,
//! section 4).

use super::PlacementError;
use crate::model::bundle::{ChannelPlan, System};
use crate::words::limits::{MAX_CHANNELS, MAX_PARTITIONS};
use crate::words::{Ipa, PAGE_SIZE, PartitionId, Text};
use arrayvec::ArrayVec;
use bulkhead_abi::layout::{CHANNEL_BASE, CHANNEL_FIRST_INTID, RAM_BASE};

/// One end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct End {
    /// Whose end it is.
    pub partition: PartitionId,
    /// Where that partition sees the memory; the doorbell's page follows it.
    pub ipa: Ipa,
    /// INTID of its doorbell, an SPI.
    pub intid: u16,
    /// Whether it may write.
    pub writable: bool,
}

/// Both ends of a channel: the manifest's first, then its second.
pub type Ends = [End; 2];

/// Where the next end of each partition goes.
struct Windows {
    next: [u64; MAX_PARTITIONS],
    ends: [u16; MAX_PARTITIONS],
}

/// Places the ends of every channel, into `placed`.
///
/// # Errors
/// `Window` names the first channel that reaches past the addresses a partition has for channels.
pub fn ends(
    system: &System<'_>,
    placed: &mut ArrayVec<Ends, MAX_CHANNELS>,
) -> Result<(), PlacementError> {
    placed.clear();
    let mut windows = Windows {
        next: [CHANNEL_BASE; MAX_PARTITIONS],
        ends: [0; MAX_PARTITIONS],
    };
    for channel in &system.channels {
        let both = [
            windows.take(channel, channel.from, true)?,
            windows.take(channel, channel.to, channel.both)?,
        ];
        let _ = placed.try_push(both);
    }
    Ok(())
}

impl Windows {
    /// Takes the addresses and the interrupt of one end.
    fn take(
        &mut self,
        channel: &ChannelPlan<'_>,
        partition: PartitionId,
        writable: bool,
    ) -> Result<End, PlacementError> {
        let full = PlacementError::Window {
            channel: Text::from(channel.name),
            asked: channel.size,
        };
        let index = partition.index() % MAX_PARTITIONS;
        let (next, ends) = (&mut self.next[index], &mut self.ends[index]);
        let after = next
            .checked_add(channel.size)
            .and_then(|doorbell| doorbell.checked_add(PAGE_SIZE))
            .filter(|after| *after <= RAM_BASE)
            .ok_or(full)?;
        let end = End {
            partition,
            ipa: Ipa::new(*next),
            intid: CHANNEL_FIRST_INTID + *ends,
            writable,
        };
        *next = after;
        *ends += 1;
        Ok(end)
    }
}
