//! The bundle: the checked plan of a system and its payloads, as one flattened device tree.
//!
//! The host tool writes it, a boot loader hands it over, this reads it. Reading never touches the payloads'
//! bytes: each payload carries its own SHA-256, verified before each start; the plan itself is covered by the
//! root's `digest`. A bundle that reads is one every other module may rely on: names, numbers and identifiers
//! are in range.

use arrayvec::ArrayVec;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::words::limits::{MAX_CHANNELS, MAX_DEVICES, MAX_PARTITIONS, MAX_VCPUS};
use crate::words::{CpuId, Ipa, PartitionId, Text};

mod digest;
mod fit;
mod read;
mod tree;

pub use digest::digest;
pub use fit::{FitError, FitProblem, fit};

/// The root's `compatible`.
pub const COMPATIBLE: &str = "bulkhead,bundle-1";
/// Bytes of a SHA-256 digest.
pub const DIGEST_SIZE: usize = 32;

/// A SHA-256 digest (FIPS 180-4).
pub type Digest = [u8; DIGEST_SIZE];

/// A system: who gets what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System<'b> {
    /// The folder of the board it was made for.
    pub board: &'b str,
    /// The partitions; `PartitionId` is the index.
    pub partitions: ArrayVec<Plan<'b>, MAX_PARTITIONS>,
    /// The channels between them.
    pub channels: ArrayVec<ChannelPlan<'b>, MAX_CHANNELS>,
    /// Whether the hypervisor runs its self-test.
    pub selftest: bool,
    /// Whether it audits its tables whenever a partition starts or stops.
    pub audit: bool,
}

/// One partition's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<'b> {
    /// Its identifier: its index.
    pub id: PartitionId,
    /// Its name, unique.
    pub name: &'b str,
    /// Physical CPUs, in vCPU order.
    pub cpus: ArrayVec<CpuId, MAX_VCPUS>,
    /// Bytes of RAM, a multiple of 2 MiB.
    pub memory: u64,
    /// The kernel.
    pub kernel: Payload<'b>,
    /// What the kernel is.
    pub format: Format,
    /// The initial ramdisk.
    pub initrd: Option<Payload<'b>>,
    /// The guest's command line, possibly empty.
    pub bootargs: &'b str,
    /// Where the kernel goes, if not where it goes by default.
    pub load: Option<Ipa>,
    /// Where the guest's device tree goes, if not behind the rest.
    pub dtb: Option<Ipa>,
    /// What happens when it crashes.
    pub on_crash: OnCrash,
    /// The longest heartbeat it may ask for, in milliseconds; none: heartbeats are not its to use.
    pub heartbeat_ms: Option<u32>,
    /// The partitions it manages, one bit per identifier.
    pub manage: u32,
    /// Whether it may read others' statistics.
    pub observe: bool,
    /// Paths of the board's devices it owns.
    pub devices: ArrayVec<&'b str, MAX_DEVICES>,
    /// Whether it may own DMA masters nothing confines.
    pub dma_unconfined: bool,
}

/// What a kernel's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An arm64 Image (Linux, Documentation/arch/arm64/booting.rst).
    Image,
    /// ELF64.
    Elf,
    /// Bytes to be entered at the first.
    Raw,
}

/// What happens when a partition crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCrash {
    /// It stays down.
    Stop,
    /// It is started again, at most `limit` times within the window.
    Restart {
        /// Most restarts.
        limit: u32,
        /// How long the window is, in milliseconds; none: since power-on.
        window_ms: Option<u32>,
    },
    /// It stays down and its managers are told.
    Notify,
}

/// Bytes with the digest they should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'b> {
    /// The bytes, in the bundle.
    pub data: &'b [u8],
    /// The SHA-256 they should have.
    pub sha256: Digest,
}

impl Payload<'_> {
    /// Whether the bytes have their digest. Reads all of them.
    #[must_use]
    pub fn verify(&self) -> bool {
        self.has_digest(&Sha256::digest(self.data).into())
    }

    /// Whether `digest`, the SHA-256 of its bytes computed by somebody else, is what the bundle says.
    #[must_use]
    pub fn has_digest(&self, digest: &Digest) -> bool {
        digest[..] == self.sha256[..]
    }
}

/// A channel: shared memory with a doorbell at each end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelPlan<'b> {
    /// Its name, unique.
    pub name: &'b str,
    /// The end that writes.
    pub from: PartitionId,
    /// The end that reads.
    pub to: PartitionId,
    /// Whether `to` writes too.
    pub both: bool,
    /// Bytes of shared memory, a multiple of a page.
    pub size: u64,
}

/// A node's path.
pub type NodePath = Text<64>;

/// Why a bundle is refused: which node, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("bundle, {node}: {problem}")]
pub struct BundleError {
    /// The node.
    pub node: NodePath,
    /// What is wrong with it.
    pub problem: BundleProblem,
}

/// What can be wrong with a bundle's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BundleProblem {
    /// Not a flattened device tree of version 17, or inconsistent in itself.
    #[error("not a sound flattened device tree (version 17)")]
    Damaged,
    /// Not made by this version's tool.
    #[error("`compatible` is not \"bulkhead,bundle-1\"")]
    NotABundle,
    /// More nodes than a bundle can have.
    #[error("has more than {0} nodes")]
    TooManyNodes(usize),
    /// Nodes nested deeper than a bundle's.
    #[error("nests nodes more than {0} deep")]
    TooDeep(usize),
    /// The plan is not what its digest covers.
    #[error("the plan does not have its digest: the bundle is damaged")]
    Digest,
    /// A property it needs is not there.
    #[error("property `{0}` is missing")]
    Missing(&'static str),
    /// A child node it needs is not there.
    #[error("node `{0}` is missing")]
    NoNode(&'static str),
    /// A property has the wrong length, or a value out of its range.
    #[error("property `{0}` is malformed or out of range")]
    Malformed(&'static str),
    /// A node's unit address is not its index.
    #[error("is not numbered {0}, its place")]
    OutOfOrder(usize),
    /// More of something than this image has room for.
    #[error("more than {room} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there is room for.
        room: usize,
    },
    /// No partitions.
    #[error("has no partition")]
    Empty,
    /// A name that another partition or channel has, an empty one or one too long.
    #[error("`label` is empty, longer than 31 bytes, or not its own alone")]
    Label,
    /// One CPU twice.
    #[error("CPU {0} is given twice")]
    CpuTwice(CpuId),
    /// A partition that does not exist.
    #[error("`{property}` names partition {id}, which does not exist")]
    NoSuchPartition {
        /// The property.
        property: &'static str,
        /// The identifier in it.
        id: u32,
    },
    /// A channel from a partition to itself.
    #[error("`from` and `to` are one partition")]
    OneEnd,
}

#[cfg(test)]
mod tests;
