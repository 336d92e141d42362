//! Channels: memory two partitions share, and the doorbells by which each calls the other.
//!
//! Invariants: a doorbell is a virtual edge; none is lost, and one not yet taken stays pending once. Ringing takes no lock,
//! least of all one of the peer's ([`Bell::ring`](crate::model::vgic::Bell::ring)), and however often a
//! doorbell is rung, the peer's core is interrupted at most twice for each time its guest takes it. What is rung after
//! that, before the guest has ended it, comes as one more. The memory is zero when the first end comes up and whenever
//! both are down: nothing outlives the two lives that shared it.
//!
//! A partition's start forgets what was rung before it: whoever starts looks at the memory first.

use super::here::Here;
use super::machine::Machine;
use super::partition::Partition;
use crate::model::placement::{End, Ends};
use crate::model::translation::{Access, Memory, stage2_leaf};
use crate::words::{Ipa, PAGE_SIZE, PartitionId, Range, patience};
use spin::mutex::SpinMutex;

/// A last-level table of the 4 KiB granule maps this much.
const LAST_TABLE: u64 = 2 << 20;

/// A channel, shared by its two ends.
#[derive(Debug)]
pub struct Link<'b> {
    /// Its name.
    pub name: &'b str,
    /// Where its memory lies.
    pub range: Range,
    /// Its ends.
    pub ends: Ends,
    /// Bit n: end n is up. Held while the memory is zeroed.
    up: SpinMutex<u8>,
}

/// Which end of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The manifest's first.
    First,
    /// The manifest's second.
    Second,
}

impl Side {
    /// The end's index.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }

    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

impl<'b> Link<'b> {
    /// A channel with both ends down. The caller has zeroed its memory.
    #[must_use]
    pub const fn new(name: &'b str, range: Range, ends: Ends) -> Self {
        Self {
            name,
            range,
            ends,
            up: SpinMutex::new(0),
        }
    }

    /// The partition's end, if it has one.
    #[must_use]
    pub fn port(&self, partition: PartitionId) -> Option<Port<'_>> {
        let sides = [Side::First, Side::Second];
        let side = sides
            .into_iter()
            .find(|side| self.ends[side.index()].partition == partition)?;
        Some(Port { link: self, side })
    }
}

/// A partition's end of a channel.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a> {
    /// The channel.
    pub link: &'a Link<'a>,
    /// Which end.
    pub side: Side,
}

impl Port<'_> {
    /// This end.
    #[must_use]
    pub const fn end(&self) -> &End {
        &self.link.ends[self.side.index()]
    }

    /// The other end.
    #[must_use]
    pub const fn peer(&self) -> &End {
        &self.link.ends[self.side.other().index()]
    }

    /// Bytes of shared memory.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.link.range.size()
    }

    /// The leaf attributes of the memory in the partition's stage 2: never executable.
    #[must_use]
    pub const fn leaf(&self) -> u64 {
        let access = if self.end().writable {
            Access::ReadWrite
        } else {
            Access::ReadOnly
        };
        stage2_leaf(Memory::Normal, access)
    }

    /// The most last-level tables the memory needs: its two addresses may allow no block.
    #[must_use]
    pub const fn tables(&self) -> u64 {
        self.size() / LAST_TABLE + 2
    }

    /// How far `address` lies in the doorbell's page, if it does.
    #[must_use]
    pub fn doorbell_offset(&self, address: Ipa) -> Option<u64> {
        let page = self.end().ipa.checked_add(self.size())?;
        address
            .offset_from(page)
            .filter(|offset| *offset < PAGE_SIZE)
    }

    /// This end comes up. `lost`: a core of either end's is, which may hold the channel; then nobody counts its ends any more.
    pub fn join(&self, lost: impl Fn() -> bool) {
        if let Some(mut up) = patience::wait(|| self.link.up.try_lock(), lost) {
            *up |= 1 << self.side.index();
        }
    }

    /// This end goes down; if the other is down too, `zero` clears the memory before either can come up again. `lost` as in
    /// [`Self::join`].
    pub fn leave(&self, lost: impl Fn() -> bool, zero: impl FnOnce(Range)) {
        let Some(mut up) = patience::wait(|| self.link.up.try_lock(), lost) else {
            return;
        };
        *up &= !(1 << self.side.index());
        if *up == 0 {
            zero(self.link.range);
        }
    }
}

/// Rings at the other end of `port`, which is `here`'s.
#[inline(always)]
pub fn notify(here: &Here<'_, '_>, port: &Port<'_>, machine: &mut impl Machine) {
    let peer = port.peer();
    if let Some(partition) = here.other(peer.partition) {
        ring(partition, peer.intid, machine);
    }
}

/// Tells the peers of all the partition's channels that it has come up or gone down.
pub fn announce(here: &Here<'_, '_>, machine: &mut impl Machine) {
    for port in &here.partition.channels {
        notify(here, port, machine);
    }
}

/// Rings the doorbell `intid` of `peer`, and interrupts the core it goes to unless that has been told already.
#[inline(always)]
fn ring(peer: &Partition<'_>, intid: u16, machine: &mut impl Machine) {
    let bell = peer.direct.bell(intid);
    if let Some(target) = bell.and_then(|bell| bell.ring())
        && let Some(cpu) = peer.cpus.get(target.index())
    {
        machine.kick_rung(*cpu);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Pa;
    use std::cell::RefCell;

    const A: PartitionId = PartitionId::new(0);
    const B: PartitionId = PartitionId::new(2);

    fn link() -> Link<'static> {
        let end = |partition, intid, writable| End {
            partition,
            ipa: Ipa::new(0x0a10_0000),
            intid,
            writable,
        };
        let range = Range::new(Pa::new(0x4800_0000), 0x2000).unwrap();
        Link::new("x", range, [end(A, 256, true), end(B, 300, false)])
    }

    #[test]
    fn only_its_two_ends_have_a_port() {
        let link = link();
        let port = |id: u8| {
            link.port(PartitionId::new(id))
                .map(|port| port.end().partition)
        };
        let found: Vec<_> = (0..8).map(port).collect();
        let none = None;
        assert_eq!(
            found,
            [Some(A), none, Some(B), none, none, none, none, none]
        );
    }

    #[test]
    fn each_end_sees_the_other_as_its_peer() {
        let link = link();
        let (a, b) = (link.port(A).unwrap(), link.port(B).unwrap());
        assert_eq!((a.end().intid, a.peer().intid), (256, 300));
        assert_eq!((b.end().intid, b.peer().intid), (300, 256));
    }

    #[test]
    fn no_end_may_execute_and_the_reading_end_not_write() {
        let link = link();
        // Arm ARM D8.4, D8.6: S2AP[1:0] at 7:6 (read 01, write 10), XN[1:0] at 54:53 (never: 10), MemAttr 5:2.
        let field = |leaf: u64| (leaf >> 6 & 0b11, leaf >> 53 & 0b11, leaf >> 2 & 0xf);
        assert_eq!(field(link.port(A).unwrap().leaf()), (0b11, 0b10, 0b1111));
        assert_eq!(field(link.port(B).unwrap().leaf()), (0b01, 0b10, 0b1111));
    }

    #[test]
    fn the_doorbell_page_is_the_one_behind_the_memory() {
        let link = link();
        let port = link.port(A).unwrap();
        let offset = |address| port.doorbell_offset(Ipa::new(address));
        assert_eq!(offset(0x0a10_1fff), None);
        assert_eq!(offset(0x0a10_2000), Some(0));
        assert_eq!(offset(0x0a10_2fff), Some(0xfff));
        assert_eq!(offset(0x0a10_3000), None);
    }

    #[test]
    fn memory_is_zeroed_when_the_second_end_goes_down_and_only_then() {
        let link = link();
        let (a, b) = (link.port(A).unwrap(), link.port(B).unwrap());
        let zeroed = RefCell::new(Vec::new());
        let leave = |port: &Port<'_>| port.leave(|| false, |range| zeroed.borrow_mut().push(range));
        a.join(|| false);
        b.join(|| false);
        leave(&a);
        a.join(|| false);
        leave(&b);
        assert!(zeroed.borrow().is_empty());
        leave(&a);
        assert_eq!(*zeroed.borrow(), [link.range]);
        // A life with the peer down the whole time leaves nothing either.
        b.join(|| false);
        leave(&b);
        assert_eq!(zeroed.borrow().len(), 2);
    }
}
