//! The audit: isolation, proved from the tables themselves.
//!
//! What a partition may reach is a list of [`Grant`]s. The audit shows that no two grants of different owners overlap (but
//! a channel's, which are its two ends'), that none overlaps what the hypervisor keeps, and that a partition's stage-2
//! tables map exactly its grants, each with the rights of its kind, and nothing else. It looks at the tables as the
//! hardware does and shares no code with what built them but the descriptor's format.

use super::partition::Partition;
use crate::model::translation::{Access, Leaf, Memory, TableMemory, Tree, WalkEnd, stage2_leaf};
use crate::words::{CpuId, PAGE_SIZE, Pa, PartitionId, Range};
use bulkhead_abi::layout;
use thiserror::Error;

/// What a range is to a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// RAM: everything.
    Ram,
    /// A channel's writing end: never executed.
    ChannelWritten,
    /// A channel's reading end.
    ChannelRead,
    /// Registers: a device's, or GICV.
    Device,
    /// The page of zeros that the blank flash is made of.
    Blank,
}

impl Kind {
    /// The leaf attributes it must have, all of them.
    const fn attributes(self) -> u64 {
        match self {
            Self::Ram => stage2_leaf(Memory::Normal, Access::All),
            Self::ChannelWritten => stage2_leaf(Memory::Normal, Access::ReadWrite),
            Self::ChannelRead | Self::Blank => stage2_leaf(Memory::Normal, Access::ReadOnly),
            Self::Device => stage2_leaf(Memory::Device, Access::ReadWrite),
        }
    }

    const fn is_channel(self) -> bool {
        matches!(self, Self::ChannelWritten | Self::ChannelRead)
    }
}

/// A range a partition may reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Whose it is.
    pub owner: PartitionId,
    /// What it is.
    pub kind: Kind,
    /// Where the guest sees it.
    pub ipa: u64,
    /// Where it is.
    pub range: Range,
}

impl Grant {
    /// Bytes of guest addresses it takes: the blank flash is one page many times.
    const fn span(&self) -> u64 {
        match self.kind {
            Kind::Blank => layout::FLASH_SIZE,
            _ => self.range.size(),
        }
    }

    /// Whether `size` bytes at `input` that go to `output` are within it.
    fn covers(&self, input: u64, output: Pa, size: u64) -> bool {
        let Some(offset) = input.checked_sub(self.ipa) else {
            return false;
        };
        let within = offset
            .checked_add(size)
            .is_some_and(|end| end <= self.span());
        let expected = match self.kind {
            Kind::Blank => Some(self.range.base()).filter(|_| size == PAGE_SIZE),
            _ => self.range.base().checked_add(offset),
        };
        within && expected == Some(output)
    }

    /// How many bytes of `leaf`, whose first entry is covered, are.
    fn part(&self, leaf: &Leaf) -> u64 {
        if leaf.repeated != (self.kind == Kind::Blank) {
            return leaf.entry;
        }
        let left = self.span() - leaf.input.saturating_sub(self.ipa).min(self.span());
        (left & !(leaf.entry - 1)).clamp(leaf.entry, leaf.size)
    }

    /// Whether the contiguous runs that the first `part` bytes of `leaf` lie in are covered whole.
    fn has_runs(&self, leaf: &Leaf, part: u64) -> bool {
        let start = leaf.input & !(leaf.run - 1);
        let end = (leaf.input + part).next_multiple_of(leaf.run);
        let from = leaf.output.get().checked_sub(leaf.input - start);
        from.is_some_and(|from| {
            from & (leaf.run - 1) == 0 && self.covers(start, Pa::new(from), end - start)
        })
    }
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Finding {
    /// A leaf that no grant explains.
    #[error("partition {0} can reach {1:#x}, which is not its own, at its {2:#x}")]
    Stray(PartitionId, u64, u64),
    /// A leaf with other rights than its grant's.
    #[error("partition {0} has other rights than it should at its {1:#x}: {2:#x}")]
    Rights(PartitionId, u64, u64),
    /// A grant that is not mapped whole.
    #[error("partition {0}: {1} bytes of its own are not mapped")]
    Missing(PartitionId, u64),
    /// A table that is not the partition's.
    #[error("partition {0} walks a table at {1:#x}, which is not its own")]
    Table(PartitionId, u64),
    /// Tables that go round.
    #[error("partition {0}: its tables go round")]
    Endless(PartitionId),
    /// Two owners.
    #[error("partitions {0} and {1} both have {2:#x}")]
    Shared(PartitionId, PartitionId, u64),
    /// A grant of what the hypervisor keeps.
    #[error("partition {0} has {1:#x}, which is the hypervisor's")]
    Kept(PartitionId, u64),
    /// An interrupt with two owners.
    #[error("partitions {0} and {1} both have interrupt {2}")]
    Interrupt(PartitionId, PartitionId, u32),
    /// An interrupt that could come and is nobody's.
    #[error("interrupt {0} is enabled, and is nobody's")]
    Enabled(u32),
    /// An interrupt that could come to a core of another partition, or of none.
    #[error("interrupt {1} of partition {0} goes to core {2}, which is not its own")]
    Routed(PartitionId, u32, CpuId),
    /// Memory that the hypervisor may execute and is none of its code.
    #[error("the hypervisor may execute {0:#x}, which is not its code")]
    Execute(u64),
    /// A core whose own translation is not the one that was looked at.
    #[error(
        "the hypervisor's translation on this core is another: tables at {0:#x}, TCR_EL2 {1:#x}, SCTLR_EL2 {2:#x}"
    )]
    Regime(u64, u64, u64),
    /// Memory that the hypervisor may both write and execute.
    #[error("the hypervisor may write and execute {0:#x}")]
    WriteExecute(u64),
}

/// What `partition` may reach. `virtual_cpu` is GICV, where guests use it directly.
pub fn grants<'a>(
    partition: &'a Partition<'_>,
    virtual_cpu: Option<Range>,
) -> impl Iterator<Item = Grant> + use<'a> {
    let owner = partition.plan.id;
    let grant = move |kind, ipa, range| Grant {
        owner,
        kind,
        ipa,
        range,
    };
    let ram = partition
        .extents
        .iter()
        .map(move |extent| grant(Kind::Ram, extent.ipa.get(), extent.range));
    let channels = partition.channels.iter().map(move |port| {
        let end = port.end();
        let kind = if end.writable {
            Kind::ChannelWritten
        } else {
            Kind::ChannelRead
        };
        grant(kind, end.ipa.get(), port.link.range)
    });
    let windows = partition.share.windows.iter();
    let devices = windows.map(move |window| grant(Kind::Device, window.ipa.get(), window.range));
    let interface = virtual_cpu.map(move |range| grant(Kind::Device, layout::GICC_BASE, range));
    let blank = grant(Kind::Blank, layout::FLASH_BASE, partition.blank);
    ram.chain(channels)
        .chain(devices)
        .chain(interface)
        .chain([blank])
}

/// Shows that `tree` maps the grants of `owner` among `grants`, and nothing else; returns the bytes it maps. `tables` is where
/// its tables lie.
///
/// # Errors
/// The first [`Finding`].
pub fn tables(
    owner: PartitionId,
    tree: &Tree,
    memory: &impl TableMemory,
    tables: &[Range],
    grants: &[Grant],
) -> Result<u64, Finding> {
    let own = || grants.iter().filter(|grant| grant.owner == owner);
    let is_table = |table| {
        let page = Range::new(table, PAGE_SIZE);
        page.is_some_and(|page| tables.iter().any(|range| range.contains(page)))
    };
    let mut mapped = 0;
    let look = |leaf: Leaf| {
        mapped += leaf.size;
        explain(owner, own(), leaf)
    };
    tree.leaves(memory, &is_table, look)
        .map_err(|end| match end {
            WalkEnd::NotATable(table) => Finding::Table(owner, table.get()),
            WalkEnd::Endless => Finding::Endless(owner),
            WalkEnd::Found(finding) => finding,
        })?;
    // Each leaf lies in a grant and none lies twice in the tree, so equal sums are equal sets.
    let granted: u64 = own().map(Grant::span).sum();
    if mapped < granted {
        return Err(Finding::Missing(owner, granted - mapped));
    }
    Ok(mapped)
}

/// Finds the grants that allow `leaf`, its contiguous runs included.
fn explain<'a>(
    owner: PartitionId,
    own: impl Iterator<Item = &'a Grant> + Clone,
    leaf: Leaf,
) -> Result<(), Finding> {
    let mut rest = leaf;
    // Each turn explains an entry at least.
    while rest.size > 0 {
        let stray = Finding::Stray(owner, rest.output.get(), rest.input);
        let mut own = own.clone();
        let grant = own.find(|grant| grant.covers(rest.input, rest.output, rest.entry));
        let grant = grant.ok_or(stray)?;
        if grant.kind.attributes() != rest.attributes {
            return Err(Finding::Rights(owner, rest.input, rest.attributes));
        }
        let part = grant.part(&rest);
        if rest.run > rest.entry && !grant.has_runs(&rest, part) {
            return Err(stray);
        }
        let further = if rest.repeated { 0 } else { part };
        rest.input += part;
        rest.output = rest.output.checked_add(further).ok_or(stray)?;
        rest.size -= part;
    }
    Ok(())
}

/// Shows that no two grants of different owners overlap but a channel's two ends, and none what is `kept`.
///
/// # Errors
/// The first [`Finding`].
pub fn owners(grants: &[Grant], kept: &[Range]) -> Result<(), Finding> {
    for (index, grant) in grants.iter().enumerate() {
        let (owner, range) = (grant.owner, grant.range);
        if kept.iter().any(|kept| kept.overlaps(range)) {
            return Err(Finding::Kept(owner, range.base().get()));
        }
        for other in grants.iter().skip(index + 1) {
            let ends = grant.kind.is_channel()
                && other.kind.is_channel()
                && range == other.range
                && owner != other.owner;
            // Cores see their own GICV at the same address.
            let banked = grant.kind == Kind::Device
                && grant.ipa == layout::GICC_BASE
                && other.ipa == layout::GICC_BASE
                && range == other.range;
            if range.overlaps(other.range) && !ends && !banked {
                return Err(Finding::Shared(
                    owner,
                    other.owner,
                    other.range.base().get(),
                ));
            }
        }
    }
    Ok(())
}

/// Shows that no interrupt of `owned`, a device's with its owner, is there twice.
///
/// # Errors
/// The first [`Finding`].
pub fn interrupts(
    mut owned: impl Iterator<Item = (PartitionId, u32)> + Clone,
) -> Result<(), Finding> {
    while let Some((owner, intid)) = owned.next() {
        let mut later = owned.clone();
        if let Some((other, _)) = later.find(|(_, other)| *other == intid) {
            return Err(Finding::Interrupt(owner, other, intid));
        }
    }
    Ok(())
}

/// Shows that the shared interrupt `intid`, which is enabled and goes to the cores `to`, comes to nobody but its owner: the
/// partition and its cores, if it has one.
///
/// # Errors
/// [`Finding::Enabled`] or [`Finding::Routed`].
pub fn signalled(
    intid: u32,
    mut to: impl Iterator<Item = CpuId>,
    owner: Option<(PartitionId, &[CpuId])>,
) -> Result<(), Finding> {
    let (owner, own) = owner.ok_or(Finding::Enabled(intid))?;
    match to.find(|cpu| !own.contains(cpu)) {
        Some(cpu) => Err(Finding::Routed(owner, intid, cpu)),
        None => Ok(()),
    }
}

/// Shows that the calling core translates by the tables at `root`, and gives the tree it walks: `ttbr` is its TTBR0_EL2, `tcr`
/// its TCR_EL2, `sctlr` its SCTLR_EL2, where the MMU must be on and writable memory never executable.
///
/// # Errors
/// [`Finding::Regime`].
pub fn regime(ttbr: u64, tcr: u64, sctlr: u64, root: Pa) -> Result<Tree, Finding> {
    /// SCTLR_EL2.M and WXN (D24.2.177).
    const NEEDED: u64 = 1 | 1 << 19;
    let tree = Tree::of_el2(ttbr, tcr);
    let tree = tree.filter(|tree| tree.root() == root && sctlr & NEEDED == NEEDED);
    tree.ok_or(Finding::Regime(ttbr, tcr, sctlr))
}

/// Shows that nothing in EL2's own tables is both writable and executable, and nothing executable but its code, `text`;
/// returns the bytes they map.
///
/// # Errors
/// The first [`Finding`].
pub fn own(tree: &Tree, memory: &impl TableMemory, text: Range) -> Result<u64, Finding> {
    /// EL2 stage 1 AP\[2\]: read-only (D8.4.1).
    const READ_ONLY: u64 = 1 << 7;
    /// EL2 stage 1 XN.
    const EXECUTE_NEVER: u64 = 1 << 54;
    let mut mapped = 0;
    let look = |leaf: Leaf| {
        mapped += leaf.size;
        if leaf.attributes & (READ_ONLY | EXECUTE_NEVER) == 0 {
            return Err(Finding::WriteExecute(leaf.output.get()));
        }
        let shown = if leaf.repeated { leaf.entry } else { leaf.size };
        let end = leaf.output.get().saturating_add(shown);
        let (from, to) = (text.base().get(), text.end().get());
        if leaf.attributes & EXECUTE_NEVER != 0 || from <= leaf.output.get() && end <= to {
            return Ok(());
        }
        // The first that is not.
        let starts_in_code = (from..to).contains(&leaf.output.get());
        let at = if starts_in_code {
            to
        } else {
            leaf.output.get()
        };
        Err(Finding::Execute(at))
    };
    match tree.leaves(memory, &|_| true, look) {
        Ok(()) => Ok(mapped),
        Err(WalkEnd::Found(finding)) => Err(finding),
        Err(WalkEnd::NotATable(table)) => Err(Finding::WriteExecute(table.get())),
        Err(WalkEnd::Endless) => Err(Finding::WriteExecute(tree.root().get())),
    }
}

#[cfg(test)]
#[path = "tests/audit.rs"]
mod tests;
