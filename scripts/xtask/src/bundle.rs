//! Writes the bundle: the checked plan and the payloads as one flattened device tree, which the hypervisor
//! gets as its initial ramdisk. `src/model/bundle` reads it and describes the format.

use anyhow::Context as _;
use bulkhead::model::bundle::{COMPATIBLE, DIGEST_SIZE, Format, digest};
use sha2::{Digest as _, Sha256};
use vm_fdt::FdtWriter;

use crate::manifest::{Capability, Manifest, OnCrash, Partition};
use crate::payload::Image;

/// What a partition is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payloads {
    /// The kernel.
    pub kernel: Image,
    /// The initial ramdisk.
    pub initrd: Option<Vec<u8>>,
}

/// Packs `manifest` for the board called `board`; `payloads` are the partitions', in order.
///
/// The manifest must have passed its rules.
///
/// # Errors
/// It is too large for a device tree.
pub fn write(manifest: &Manifest, board: &str, payloads: &[Payloads]) -> anyhow::Result<Vec<u8>> {
    let mut bundle = tree(manifest, board, payloads).context("writing the bundle")?;
    let sum = digest(&bundle)?;
    let place = find(&bundle, &PLACEHOLDER).context("the bundle has no place for its digest")?;
    bundle[place..place + DIGEST_SIZE].copy_from_slice(&sum);
    Ok(bundle)
}

/// Stands where the digest goes; the digest does not cover its own value.
const PLACEHOLDER: [u8; DIGEST_SIZE] = *b"the digest of the plan goes here";

/// The offset of the first `wanted` in `bytes`.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn tree(manifest: &Manifest, board: &str, payloads: &[Payloads]) -> Result<Vec<u8>, vm_fdt::Error> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("compatible", COMPATIBLE)?;
    fdt.property_string("board", board)?;
    fdt.property("digest", &PLACEHOLDER)?;
    if manifest.audit {
        fdt.property_null("bulkhead.audit")?;
    }
    if manifest.selftest {
        fdt.property_null("bulkhead.selftest")?;
    }
    let partitions = fdt.begin_node("partitions")?;
    for (index, (plan, payload)) in manifest.partitions.iter().zip(payloads).enumerate() {
        let node = fdt.begin_node(&format!("partition@{index:x}"))?;
        partition(&mut fdt, manifest, plan, payload)?;
        fdt.end_node(node)?;
    }
    fdt.end_node(partitions)?;
    channels(&mut fdt, manifest)?;
    fdt.end_node(root)?;
    fdt.finish()
}

fn partition(
    fdt: &mut FdtWriter,
    manifest: &Manifest,
    plan: &Partition,
    payloads: &Payloads,
) -> Result<(), vm_fdt::Error> {
    fdt.property_string("label", &plan.name.value)?;
    let cpus: Vec<u32> = plan.cpus.iter().map(|cpu| u32::from(cpu.value)).collect();
    fdt.property_array_u32("cpus", &cpus)?;
    fdt.property_u64("memory-size", plan.memory.value)?;
    if let Some(load) = &plan.load {
        fdt.property_u64("load", load.value)?;
    }
    if let Some(dtb) = &plan.dtb {
        fdt.property_u64("dtb-address", dtb.value)?;
    }
    fdt.property_string("bootargs", &plan.bootargs)?;
    let (policy, limit) = match plan.on_crash {
        OnCrash::Stop => ("stop", None),
        OnCrash::Restart { limit, .. } => ("restart", Some(limit)),
        OnCrash::Notify => ("notify", None),
    };
    fdt.property_string("on-crash", policy)?;
    if let Some(limit) = limit {
        fdt.property_u32("restart-limit", limit)?;
    }
    if let OnCrash::Restart {
        window_ms: Some(window),
        ..
    } = plan.on_crash
    {
        fdt.property_u32("restart-window-ms", window)?;
    }
    if let Some(milliseconds) = plan.heartbeat_ms {
        fdt.property_u32("heartbeat-ms", milliseconds)?;
    }
    capabilities(fdt, manifest, plan)?;
    if !plan.devices.is_empty() {
        let devices = plan.devices.iter().map(|device| device.value.clone());
        fdt.property_string_list("devices", devices.collect())?;
    }
    if plan.dma_unconfined.is_some() {
        fdt.property_null("dma-unconfined")?;
    }
    let format = match payloads.kernel.format {
        Format::Image => "image",
        Format::Elf => "elf",
        Format::Raw => "raw",
    };
    payload(fdt, "kernel", Some(format), &payloads.kernel.bytes)?;
    match &payloads.initrd {
        Some(initrd) => payload(fdt, "initrd", None, initrd),
        None => Ok(()),
    }
}

fn capabilities(
    fdt: &mut FdtWriter,
    manifest: &Manifest,
    plan: &Partition,
) -> Result<(), vm_fdt::Error> {
    let mut manages = Vec::new();
    let mut observes = false;
    for capability in &plan.capabilities {
        match &capability.value {
            Capability::Observe => observes = true,
            Capability::Manage(name) => manages.extend(identifier(manifest, name)),
        }
    }
    if !manages.is_empty() {
        fdt.property_array_u32("manage", &manages)?;
    }
    if observes {
        fdt.property_null("observe")?;
    }
    Ok(())
}

fn channels(fdt: &mut FdtWriter, manifest: &Manifest) -> Result<(), vm_fdt::Error> {
    let channels = fdt.begin_node("channels")?;
    for (index, channel) in manifest.channels.iter().enumerate() {
        let node = fdt.begin_node(&format!("channel@{index:x}"))?;
        fdt.property_string("label", &channel.name.value)?;
        for (key, end) in ["from", "to"].into_iter().zip(&channel.between) {
            if let Some(id) = identifier(manifest, &end.value) {
                fdt.property_u32(key, id)?;
            }
        }
        if channel.both {
            fdt.property_null("both")?;
        }
        fdt.property_u64("size", channel.size.value)?;
        fdt.end_node(node)?;
    }
    fdt.end_node(channels)
}

fn payload(
    fdt: &mut FdtWriter,
    name: &str,
    format: Option<&str>,
    data: &[u8],
) -> Result<(), vm_fdt::Error> {
    let node = fdt.begin_node(name)?;
    if let Some(format) = format {
        fdt.property_string("format", format)?;
    }
    fdt.property("sha256", &Sha256::digest(data))?;
    fdt.property("data", data)?;
    fdt.end_node(node)
}

/// The identifier of the partition called `name`.
fn identifier(manifest: &Manifest, name: &str) -> Option<u32> {
    let index = manifest
        .partitions
        .iter()
        .position(|partition| partition.name.value == name)?;
    u32::try_from(index).ok()
}
