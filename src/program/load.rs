//! Loading a partition: its RAM zeroed, its images verified and copied, its tree written, its interrupts reset.

use super::machine::Hardware;
use crate::behaviour::audit::Finding;
use crate::behaviour::channel::Port;
use crate::behaviour::here::Here;
use crate::behaviour::machine::Machine;
use crate::behaviour::partition::Partition;
use crate::edge::memory::GuestRam;
use crate::edge::{cache, init, takeover};
use crate::model::board::{self, Copies};
use crate::model::guest_tree::{self, GuestChannel, GuestGic, GuestTree, TreeError};
use crate::model::image::{Layout, Piece, Source};
use crate::model::pl011::Pl011;
use crate::model::placement::Extent;
use crate::model::power::Start;
use crate::model::vgic::{Effects, GicVersion};
use crate::words::limits::{MAX_CHANNELS, MAX_EXTENTS};
use crate::words::{Ipa, Nodes};
use arrayvec::ArrayVec;
use core::sync::atomic::Ordering;
use thiserror::Error;

/// Why a partition cannot be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum LoadError {
    /// A payload's bytes are not those the manifest's tool packed.
    #[error("the {0} does not match its SHA-256: the bundle is damaged")]
    Damaged(&'static str),
    /// An image does not lie in the partition's RAM. The layout was checked, so this is ours.
    #[error("an image does not fit its memory")]
    Misplaced,
    /// The tables are not what they must be.
    #[error("audit: {0}")]
    Audit(#[from] Finding),
    /// The guest's tree cannot be written.
    #[error("its device tree: {0}")]
    Tree(#[from] TreeError),
}

/// Least bytes of RAM a core fills at a time.
const LEAST_PORTION: u64 = 2 << 20;
/// Portions of an extent for each core that fills it: so many that none waits long for the last of another's.
const PORTIONS_EACH: u64 = 8;

/// Offers the partition's RAM to its cores, to be filled by [`help`] and [`load`].
pub fn offer(partition: &Partition<'_>) {
    let extents = partition.extents.iter();
    let count: u64 = extents.map(|extent| portions(partition, extent)).sum();
    partition.loading.offer(u32::try_from(count).unwrap_or(0));
}

/// Fills portions of the partition's RAM until none is left: zeroed, with what its images have there.
pub fn help(partition: &Partition<'_>) {
    partition
        .loading
        .work(|portion| fill(partition, u64::from(portion)));
}

/// Loads the partition of `here`, none of whose vCPUs runs and whose RAM was offered, and says how vCPU 0 starts.
///
/// # Errors
/// See [`LoadError`]; nothing has been started then.
pub fn load(here: &Here<'_, '_>, machine: &mut Hardware) -> Result<Start, LoadError> {
    let partition = here.partition;
    // The other cores of the partition fill its RAM meanwhile.
    let verified = verify(partition);
    help(partition);
    partition.wait(|| partition.loading.is_done().then_some(()));
    let layout = verified?;
    super::audit::after(partition, "starts")?;
    write_tree(partition, layout, machine.host.tree)?;
    cache::invalidate_instructions();
    *partition.uart() = Pl011::new();
    silence(partition, machine);
    for port in &partition.channels {
        port.join(|| here.is_bereft(port));
    }
    partition
        .counter_offset
        .store(init::counter(), Ordering::Relaxed);
    Ok(Start {
        entry: layout.entry.get(),
        context: layout.dtb.get(),
    })
}

/// Puts the partition's interrupts back to reset, its devices' among them: disabled, neither pending nor active, at vCPU 0's
/// core. None of its vCPUs runs.
pub fn silence(partition: &Partition<'_>, machine: &mut Hardware) {
    let mut vgic = partition.interrupts();
    let mut effects = Effects::new(&partition.direct);
    vgic.reset(&mut effects);
    for effect in &effects.physical {
        machine.apply(effect, &partition.cpus);
    }
}

/// Checks what the partition is loaded from, and gives where it goes.
fn verify<'a>(partition: &'a Partition<'_>) -> Result<&'a Layout, LoadError> {
    let sound = super::hash::matches(&partition.plan.kernel);
    let layout = partition.layout.as_ref().filter(|_| sound);
    let layout = layout.ok_or(LoadError::Damaged("kernel"))?;
    if partition
        .plan
        .initrd
        .is_some_and(|initrd| !super::hash::matches(&initrd))
    {
        return Err(LoadError::Damaged("initrd"));
    }
    let there = |piece| {
        let bytes = bytes_of(partition, piece).map_or(0, |bytes| bytes.len() as u64);
        let last = piece.ipa.checked_add(bytes.saturating_sub(1));
        bytes > 0
            && partition.ram(piece.ipa).is_some()
            && last.is_some_and(|last| partition.ram(last).is_some())
    };
    if layout.pieces.iter().all(there) {
        Ok(layout)
    } else {
        Err(LoadError::Misplaced)
    }
}

/// Bytes of an extent that a core fills at a time: all of it where nobody shares the work.
fn portion_of(partition: &Partition<'_>, extent: &Extent) -> u64 {
    let size = extent.range.size();
    match partition.vcpus.len() as u64 {
        0 | 1 => size,
        cores => (size / (cores * PORTIONS_EACH)).next_multiple_of(LEAST_PORTION),
    }
    .max(LEAST_PORTION)
}

fn portions(partition: &Partition<'_>, extent: &Extent) -> u64 {
    extent.range.size().div_ceil(portion_of(partition, extent))
}

/// Fills one portion of the partition's RAM.
fn fill(partition: &Partition<'_>, portion: u64) {
    let mut index = portion;
    for extent in &partition.extents {
        let count = portions(partition, extent);
        if index < count {
            let portion = portion_of(partition, extent);
            let offset = index * portion;
            let size = portion.min(extent.range.size() - offset);
            return fill_part(partition, extent, offset, size);
        }
        index -= count;
    }
}

/// Zeroes `size` bytes from `offset` of an extent, and copies what the images have there.
fn fill_part(partition: &Partition<'_>, extent: &Extent, offset: u64, size: u64) {
    let ram = takeover::guest_ram(extent.range);
    let (Some(at), Some(from)) = (
        extent.range.base().checked_add(offset),
        extent.ipa.checked_add(offset),
    ) else {
        return;
    };
    ram.zero(at, size);
    for piece in partition.layout.iter().flat_map(|layout| &layout.pieces) {
        let Some(bytes) = bytes_of(partition, piece) else {
            continue;
        };
        // Where the piece begins after this part begins, and where this part begins within the piece: one is zero.
        let skip = piece.ipa.offset_from(from).unwrap_or(0);
        let done = from.offset_from(piece.ipa).unwrap_or(0);
        let here = bytes.get(index(done)..).unwrap_or_default();
        let here = &here[..here.len().min(index(size.saturating_sub(skip)))];
        if let Some(to) = at.checked_add(skip).filter(|_| !here.is_empty()) {
            ram.write(to, here);
        }
    }
}

/// The bytes a piece is made of.
fn bytes_of<'b>(partition: &Partition<'b>, piece: &Piece) -> Option<&'b [u8]> {
    match piece.source {
        Source::Kernel { offset, len } => offset
            .checked_add(len)
            .and_then(|end| partition.plan.kernel.data.get(offset..end)),
        Source::Initrd => partition.plan.initrd.map(|initrd| initrd.data),
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// The RAM that holds `address`, the physical address, and how many bytes follow in the same extent.
fn place(partition: &Partition<'_>, address: Ipa) -> Option<(GuestRam, crate::words::Pa, u64)> {
    partition.extents.iter().find_map(|extent| {
        let offset = address
            .offset_from(extent.ipa)
            .filter(|offset| *offset < extent.range.size())?;
        let at = extent.range.base().checked_add(offset)?;
        Some((
            takeover::guest_ram(extent.range),
            at,
            extent.range.size() - offset,
        ))
    })
}

fn guest_channel<'a>(port: &Port<'a>) -> GuestChannel<'a> {
    let end = port.end();
    GuestChannel {
        name: port.link.name,
        ipa: end.ipa,
        size: port.size(),
        intid: end.intid.into(),
        writable: end.writable,
    }
}

/// Writes the guest's device tree into its RAM, with nodes out of the board's tree `board` for its devices.
fn write_tree(partition: &Partition<'_>, layout: &Layout, board: &[u8]) -> Result<(), LoadError> {
    let plan = &partition.plan;
    let mut channels: ArrayVec<GuestChannel<'_>, MAX_CHANNELS> = ArrayVec::new();
    channels.extend(partition.channels.iter().map(guest_channel));
    let tree = GuestTree {
        id: plan.id,
        name: plan.name,
        gic: match partition.gic_version {
            GicVersion::V2 => GuestGic::V2,
            GicVersion::V3 => GuestGic::V3,
        },
        vcpus: u8::try_from(partition.vcpus.len()).unwrap_or(1),
        memory: plan.memory,
        bootargs: plan.bootargs,
        initrd: layout.initrd,
        channels: &channels,
        pmu: partition.pmu,
    };
    let extents = partition.extents.iter();
    let memory: ArrayVec<_, MAX_EXTENTS> = extents.map(|own| (own.range, own.ipa)).collect();
    let copies = Copies {
        paths: &plan.devices,
        place: &|range| partition.share.ipa(range),
        gic: guest_tree::GIC,
        memory: &memory,
    };
    let devices = |nodes: &mut dyn Nodes| {
        plan.devices.is_empty() || board::copy(board, &copies, nodes).is_ok()
    };
    let (ram, at, room) = place(partition, layout.dtb).ok_or(LoadError::Misplaced)?;
    let room = index(room.min(layout.dtb_room));
    // The RAM was zeroed, and is zero behind the tree.
    let written = ram.fill(at, room, |bytes| {
        guest_tree::write(&tree, &devices, bytes).map(drop)
    });
    Ok(written.ok_or(LoadError::Misplaced)??)
}
