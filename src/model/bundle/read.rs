//! Reads a bundle into a [`System`].

use arrayvec::ArrayVec;

use super::digest::digest_of;
use super::tree::{Place, tree};
use super::{
    BundleError, BundleProblem, COMPATIBLE, ChannelPlan, Format, OnCrash, Payload, Plan, System,
};
use crate::words::limits::{MAX_CHANNELS, MAX_DEVICES, MAX_PARTITIONS, MAX_VCPUS};
use crate::words::{CpuId, Ipa, PAGE_SIZE, PartitionId};

/// What a partition's memory is a multiple of: a level 2 block of the 4 KiB granule.
const MEMORY_UNIT: u64 = 2 << 20;
/// Guest addresses are below this: the least IPA size of the boards served, 40 bits.
const IPA_LIMIT: u64 = 1 << 40;

/// Longest command line: Linux's COMMAND_LINE_SIZE on arm64. The guest's tree has room for it.
const MAX_BOOTARGS: usize = 2048;

impl<'b> System<'b> {
    /// Reads a bundle; bytes past its `totalsize` are ignored. Verifies the plan's digest, not the payloads'.
    ///
    /// # Errors
    /// Names the node and the reason.
    pub fn read(bundle: &'b [u8]) -> Result<Self, BundleError> {
        let mut system = Self::default();
        system.fill(bundle)?;
        Ok(system)
    }

    /// Makes it what [`Self::read`] gives: it is large, and need not be moved. It was empty.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn fill(&mut self, bundle: &'b [u8]) -> Result<(), BundleError> {
        let tree = tree(bundle)?;
        let root = Place::root(tree);
        if !root.strings("compatible")?.any(|kind| kind == COMPATIBLE) {
            return Err(root.error(BundleProblem::NotABundle));
        }
        if root.array("digest")? != digest_of(tree)? {
            return Err(root.error(BundleProblem::Digest));
        }
        self.selftest = root.has("bulkhead.selftest");
        self.audit = root.has("bulkhead.audit");
        partitions(&root, &mut self.partitions)?;
        channels(&root, self.partitions.len(), &mut self.channels)?;
        self.board = root.string("board")?;
        Ok(())
    }
}

fn partitions<'b>(
    root: &Place<'_, 'b>,
    plans: &mut ArrayVec<Plan<'b>, MAX_PARTITIONS>,
) -> Result<(), BundleError> {
    const PARENT: &str = "partitions";
    let parent = root.child(PARENT);
    let parent = parent.ok_or_else(|| root.error(BundleProblem::NoNode(PARENT)))?;
    let count = parent.node.children().count();
    if count == 0 {
        return Err(parent.error(BundleProblem::Empty));
    }
    for (index, place) in parent.children().enumerate() {
        let id = numbered(&place, "partition", index)?;
        let plan = plan(&place, PartitionId::new(id), count)?;
        if plans.iter().any(|other| other.name == plan.name) {
            return Err(place.error(BundleProblem::Label));
        }
        push(plans, plan, &parent, PARENT)?;
    }
    Ok(())
}

/// Checks that `place` is called `kind@index`.
fn numbered(place: &Place<'_, '_>, kind: &str, index: usize) -> Result<u8, BundleError> {
    let unit = place
        .node
        .name()
        .strip_prefix(kind)
        .and_then(|rest| rest.strip_prefix('@'))
        .and_then(|unit| u8::from_str_radix(unit, 16).ok());
    unit.filter(|unit| usize::from(*unit) == index)
        .ok_or_else(|| place.error(BundleProblem::OutOfOrder(index)))
}

fn push<T, const N: usize>(
    list: &mut ArrayVec<T, N>,
    item: T,
    place: &Place<'_, '_>,
    what: &'static str,
) -> Result<(), BundleError> {
    list.try_push(item)
        .map_err(|_| place.error(BundleProblem::TooMany { what, room: N }))
}

fn plan<'b>(place: &Place<'_, 'b>, id: PartitionId, count: usize) -> Result<Plan<'b>, BundleError> {
    let kernel = place.child("kernel");
    let kernel = kernel.ok_or_else(|| place.error(BundleProblem::NoNode("kernel")))?;
    Ok(Plan {
        id,
        name: place.label()?,
        cpus: cpus(place)?,
        memory: memory(place)?,
        kernel: payload(&kernel)?,
        format: format(&kernel)?,
        initrd: place.child("initrd").map(|p| payload(&p)).transpose()?,
        bootargs: bootargs(place)?,
        load: address(place, "load")?,
        dtb: address(place, "dtb-address")?,
        on_crash: on_crash(place)?,
        heartbeat_ms: heartbeat(place)?,
        manage: manage(place, count)?,
        observe: place.has("observe"),
        devices: devices(place)?,
        dma_unconfined: place.has("dma-unconfined"),
    })
}

fn cpus(place: &Place<'_, '_>) -> Result<ArrayVec<CpuId, MAX_VCPUS>, BundleError> {
    const NAME: &str = "cpus";
    let mut cpus = ArrayVec::new();
    for word in place.words(NAME)? {
        let index = u8::try_from(word).map_err(|_| malformed(place, NAME))?;
        let cpu = CpuId::new(index);
        if cpus.contains(&cpu) {
            return Err(place.error(BundleProblem::CpuTwice(cpu)));
        }
        push(&mut cpus, cpu, place, NAME)?;
    }
    if cpus.is_empty() {
        return Err(place.error(BundleProblem::Missing(NAME)));
    }
    Ok(cpus)
}

fn malformed(place: &Place<'_, '_>, name: &'static str) -> BundleError {
    place.error(BundleProblem::Malformed(name))
}

fn memory(place: &Place<'_, '_>) -> Result<u64, BundleError> {
    const NAME: &str = "memory-size";
    let size = place.long(NAME)?;
    let size = size.ok_or_else(|| place.error(BundleProblem::Missing(NAME)))?;
    let room = IPA_LIMIT - bulkhead_abi::layout::RAM_BASE;
    if size == 0 || size > room || !size.is_multiple_of(MEMORY_UNIT) {
        return Err(malformed(place, NAME));
    }
    Ok(size)
}

fn payload<'b>(place: &Place<'_, 'b>) -> Result<Payload<'b>, BundleError> {
    let data = place.needed("data")?;
    if data.is_empty() {
        return Err(malformed(place, "data"));
    }
    Ok(Payload {
        data,
        sha256: place.array("sha256")?,
    })
}

fn format(kernel: &Place<'_, '_>) -> Result<Format, BundleError> {
    const NAME: &str = "format";
    match kernel.string(NAME)? {
        "image" => Ok(Format::Image),
        "elf" => Ok(Format::Elf),
        "raw" => Ok(Format::Raw),
        _ => Err(malformed(kernel, NAME)),
    }
}

fn bootargs<'b>(place: &Place<'_, 'b>) -> Result<&'b str, BundleError> {
    const NAME: &str = "bootargs";
    let bootargs = place.string(NAME)?;
    if bootargs.len() > MAX_BOOTARGS {
        return Err(malformed(place, NAME));
    }
    Ok(bootargs)
}

fn address(place: &Place<'_, '_>, name: &'static str) -> Result<Option<Ipa>, BundleError> {
    match place.long(name)? {
        Some(raw) if raw >= IPA_LIMIT => Err(malformed(place, name)),
        raw => Ok(raw.map(Ipa::new)),
    }
}

fn on_crash(place: &Place<'_, '_>) -> Result<OnCrash, BundleError> {
    const NAME: &str = "on-crash";
    const LIMIT: &str = "restart-limit";
    const WINDOW: &str = "restart-window-ms";
    match place.string(NAME)? {
        "stop" => Ok(OnCrash::Stop),
        "notify" => Ok(OnCrash::Notify),
        "restart" => {
            let limit = place.word(LIMIT)?;
            let limit = limit.ok_or_else(|| place.error(BundleProblem::Missing(LIMIT)))?;
            let window_ms = match place.word(WINDOW)? {
                Some(0) => return Err(malformed(place, WINDOW)),
                window => window,
            };
            Ok(OnCrash::Restart { limit, window_ms })
        }
        _ => Err(malformed(place, NAME)),
    }
}

fn heartbeat(place: &Place<'_, '_>) -> Result<Option<u32>, BundleError> {
    const NAME: &str = "heartbeat-ms";
    match place.word(NAME)? {
        Some(0) => Err(malformed(place, NAME)),
        limit => Ok(limit),
    }
}

fn manage(place: &Place<'_, '_>, count: usize) -> Result<u32, BundleError> {
    let mut bits = 0;
    for id in place.words("manage")? {
        let id = existing(place, "manage", id, count)?;
        bits |= 1_u32
            .checked_shl(u32::from(id.get()))
            .ok_or_else(|| malformed(place, "manage"))?;
    }
    Ok(bits)
}

/// The partition with identifier `id`, if there is one.
fn existing(
    place: &Place<'_, '_>,
    property: &'static str,
    id: u32,
    count: usize,
) -> Result<PartitionId, BundleError> {
    let byte = u8::try_from(id).ok().map(PartitionId::new);
    byte.filter(|id| id.index() < count)
        .ok_or_else(|| place.error(BundleProblem::NoSuchPartition { property, id }))
}

fn devices<'b>(place: &Place<'_, 'b>) -> Result<ArrayVec<&'b str, MAX_DEVICES>, BundleError> {
    const NAME: &str = "devices";
    let mut devices = ArrayVec::new();
    for path in place.strings(NAME)? {
        if !path.starts_with('/') {
            return Err(malformed(place, NAME));
        }
        push(&mut devices, path, place, NAME)?;
    }
    Ok(devices)
}

fn channels<'b>(
    root: &Place<'_, 'b>,
    count: usize,
    channels: &mut ArrayVec<ChannelPlan<'b>, MAX_CHANNELS>,
) -> Result<(), BundleError> {
    const PARENT: &str = "channels";
    let Some(parent) = root.child(PARENT) else {
        return Ok(());
    };
    for (index, place) in parent.children().enumerate() {
        numbered(&place, "channel", index)?;
        let channel = channel(&place, count)?;
        if channels.iter().any(|other| other.name == channel.name) {
            return Err(place.error(BundleProblem::Label));
        }
        push(channels, channel, &parent, PARENT)?;
    }
    Ok(())
}

fn channel<'b>(place: &Place<'_, 'b>, count: usize) -> Result<ChannelPlan<'b>, BundleError> {
    let from = end(place, "from", count)?;
    let to = end(place, "to", count)?;
    if from == to {
        return Err(place.error(BundleProblem::OneEnd));
    }
    let size = place.long("size")?;
    let size = size.ok_or_else(|| place.error(BundleProblem::Missing("size")))?;
    if size == 0 || size > IPA_LIMIT || !size.is_multiple_of(PAGE_SIZE) {
        return Err(malformed(place, "size"));
    }
    Ok(ChannelPlan {
        name: place.label()?,
        from,
        to,
        both: place.has("both"),
        size,
    })
}

/// One end of a channel.
fn end(
    place: &Place<'_, '_>,
    name: &'static str,
    count: usize,
) -> Result<PartitionId, BundleError> {
    let id = place.word(name)?;
    let id = id.ok_or_else(|| place.error(BundleProblem::Missing(name)))?;
    existing(place, name, id, count)
}
