//! Loading a partition: its RAM zeroed, its images verified and copied, its tree written, its interrupts reset.

use super::machine::Hardware;
use crate::behaviour::channel::Port;
use crate::behaviour::here::Here;
use crate::behaviour::machine::Machine;
use crate::behaviour::partition::Partition;
use crate::edge::memory::GuestRam;
use crate::edge::{cache, init, takeover};
use crate::model::guest_tree::{self, GuestChannel, GuestGic, GuestTree, TreeError};
use crate::model::image::{Piece, Source};
use crate::model::pl011::Pl011;
use crate::model::power::Start;
use crate::model::vgic::{Effects, GicVersion};
use crate::words::Ipa;
use crate::words::limits::MAX_CHANNELS;
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
    /// The guest's tree cannot be written.
    #[error("its device tree: {0}")]
    Tree(#[from] TreeError),
}

/// Loads the partition of `here`, none of whose vCPUs runs, and says how vCPU 0 starts.
///
/// # Errors
/// See [`LoadError`]; nothing has been started then.
pub fn load(here: &Here<'_, '_>, machine: &mut Hardware) -> Result<Start, LoadError> {
    let partition = here.partition;
    verify(partition)?;
    for extent in &partition.extents {
        takeover::guest_ram(extent.range).zero();
    }
    for piece in &partition.layout.pieces {
        copy(partition, piece)?;
    }
    write_tree(partition)?;
    cache::invalidate_instructions();
    *partition.uart.lock() = Pl011::new();
    {
        let mut vgic = partition.interrupts.lock();
        let mut effects = Effects::new(&partition.direct);
        vgic.reset(&mut effects);
        for effect in &effects.physical {
            machine.apply(effect, &partition.cpus);
        }
    }
    partition.channels.iter().for_each(Port::join);
    partition
        .counter_offset
        .store(init::counter(), Ordering::Relaxed);
    Ok(Start {
        entry: partition.layout.entry.get(),
        context: partition.layout.dtb.get(),
    })
}

fn verify(partition: &Partition<'_>) -> Result<(), LoadError> {
    if !super::hash::matches(&partition.plan.kernel) {
        return Err(LoadError::Damaged("kernel"));
    }
    if partition
        .plan
        .initrd
        .is_some_and(|initrd| !super::hash::matches(&initrd))
    {
        return Err(LoadError::Damaged("initrd"));
    }
    Ok(())
}

/// Copies one piece of an image to where the layout puts it. RAM is zero already.
fn copy(partition: &Partition<'_>, piece: &Piece) -> Result<(), LoadError> {
    let bytes = match piece.source {
        Source::Kernel { offset, len } => offset
            .checked_add(len)
            .and_then(|end| partition.plan.kernel.data.get(offset..end)),
        Source::Initrd => partition.plan.initrd.map(|initrd| initrd.data),
    };
    write(partition, piece.ipa, bytes.ok_or(LoadError::Misplaced)?)
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Writes `bytes` at `address` of the partition, over as many extents as it takes.
fn write(partition: &Partition<'_>, address: Ipa, bytes: &[u8]) -> Result<(), LoadError> {
    let mut address = address;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (ram, at, room) = place(partition, address).ok_or(LoadError::Misplaced)?;
        let (now, later) = rest.split_at(rest.len().min(index(room)));
        if !ram.write(at, now) {
            return Err(LoadError::Misplaced);
        }
        address = address
            .checked_add(now.len() as u64)
            .ok_or(LoadError::Misplaced)?;
        rest = later;
    }
    Ok(())
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

/// Writes the guest's device tree into its RAM.
fn write_tree(partition: &Partition<'_>) -> Result<(), LoadError> {
    let plan = &partition.plan;
    let channels: ArrayVec<GuestChannel<'_>, MAX_CHANNELS> =
        partition.channels.iter().map(guest_channel).collect();
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
        initrd: partition.layout.initrd,
        channels: &channels,
        pmu: partition.pmu,
    };
    let (ram, at, room) = place(partition, partition.layout.dtb).ok_or(LoadError::Misplaced)?;
    let room = index(room.min(partition.layout.dtb_room));
    let written = ram.fill(at, room, |bytes| {
        let size = guest_tree::write(&tree, bytes)?;
        // The writer works at the far end of its room; nothing of that is the guest's to see.
        bytes.iter_mut().skip(size).for_each(|byte| *byte = 0);
        Ok(())
    });
    written.ok_or(LoadError::Misplaced)?
}
