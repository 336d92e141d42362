//! The bundle: the checked plan of a system and its payloads, as one flattened device tree.
//!
//! The host tool writes it, a boot loader hands it over, this reads it. Reading never touches the payloads'
//! bytes: each payload carries its own SHA-256, verified before each start; the plan itself is covered by the
//! root's `digest`. A bundle that reads is one every other module may rely on: names, numbers and identifiers
//! are in range.

use arrayvec::ArrayVec;
use thiserror::Error;

use crate::model::board::Board;
use crate::words::limits::{MAX_CHANNELS, MAX_DEVICES, MAX_PARTITIONS, MAX_VCPUS};
use crate::words::{CpuId, Ipa, PartitionId, Text};

/// The root's `compatible`.
pub const COMPATIBLE: &str = "bulkhead,bundle-1";
/// Bytes of a SHA-256 digest.
pub const DIGEST_SIZE: usize = 32;

/// A SHA-256 digest (FIPS 180-4).
pub type Digest = [u8; DIGEST_SIZE];

/// A system: who gets what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System<'b> {
    /// The folder of the board it was made for.
    pub board: &'b str,
    /// The partitions; `PartitionId` is the index.
    pub partitions: ArrayVec<Plan<'b>, MAX_PARTITIONS>,
    /// The channels between them.
    pub channels: ArrayVec<ChannelPlan<'b>, MAX_CHANNELS>,
    /// Whether the hypervisor runs its self-test.
    pub selftest: bool,
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
    /// It is started again, at most `limit` times.
    Restart {
        /// Most restarts since power-on.
        limit: u32,
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
        false
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
}

impl<'b> System<'b> {
    /// Reads a bundle; bytes past its `totalsize` are ignored. Verifies the plan's digest, not the payloads'.
    ///
    /// # Errors
    /// Names the node and the reason.
    pub fn read(bundle: &'b [u8]) -> Result<Self, BundleError> {
        digest(bundle)?;
        Err(BundleError {
            node: NodePath::from("/"),
            problem: BundleProblem::Damaged,
        })
    }
}

/// Computes the plan's digest: SHA-256 over every name and value except the root's `digest` and the payloads.
///
/// # Errors
/// `Damaged` if `bundle` is no device tree.
pub fn digest(bundle: &[u8]) -> Result<Digest, BundleError> {
    let _ = bundle;
    Err(BundleError {
        node: NodePath::from("/"),
        problem: BundleProblem::Damaged,
    })
}

/// Why a system does not fit a board: which partition, and what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("partition {partition}: {problem}")]
pub struct FitError {
    /// The partition's name.
    pub partition: Text<32>,
    /// What does not fit.
    pub problem: FitProblem,
}

/// What of a partition does not fit a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FitProblem {
    /// A CPU the board has not.
    #[error("CPU {cpu} does not exist, the board has {present}")]
    NoSuchCpu {
        /// The CPU asked for.
        cpu: CpuId,
        /// How many there are.
        present: usize,
    },
}

/// Checks that `board` has what `system` hands out, and hands nothing out twice. Memory is `placement`'s.
///
/// # Errors
/// Names the partition and what it asks for.
pub fn fit(system: &System<'_>, board: &Board<'_>) -> Result<(), FitError> {
    let _ = (system, board);
    Ok(())
}
