//! Devices as the manifest names them: registers, interrupts, and whether they can reach RAM by themselves.

use core::fmt;

use arrayvec::ArrayVec;

use super::dma::dma;
use super::interrupts::{self, Interrupts, Line};
use super::survey::Survey;
use super::tree::{Place, Tree, Walk};
use super::{BoardError, BoardProblem, NodePath};
use crate::words::{Range, Text};

/// Register ranges one device may have.
pub const MAX_DEVICE_RANGES: usize = 16;
/// Interrupts one device may have.
pub const MAX_DEVICE_INTERRUPTS: usize = 32;

/// A device's path, long enough to tell devices apart.
pub type DevicePath = Text<160>;

/// A node that has registers or interrupts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo<'t> {
    /// Its path.
    pub path: DevicePath,
    /// The first string of its `compatible`, empty if it has none.
    pub compatible: &'t str,
    /// Whether its `status` and those of the buses above it let it be used.
    pub enabled: bool,
    /// Its registers in the CPUs' address space.
    pub registers: ArrayVec<Range, MAX_DEVICE_RANGES>,
    /// Whether some `reg` entry is no CPU address (a device behind a bus without `ranges`, such as I2C).
    pub unmapped: bool,
    /// Its interrupts at the GIC, a PCI bridge's legacy interrupts among them, each once.
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

impl fmt::Display for DmaReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iommus => "it sits behind an SMMU (`iommus`)",
            Self::DmaCoherent => "its DMA snoops the caches (`dma-coherent`)",
            Self::DmaRanges => "it passes on the DMA of what lies behind it (`dma-ranges`)",
            Self::Known(what) => return write!(f, "it is {what}"),
        })
    }
}

/// Top-level nodes whose `reg` is no device's.
const NO_DEVICES: &[&str] = &["cpus", "memory", "reserved-memory"];

/// All nodes with registers or interrupts, in the tree's order.
pub struct Devices<'t> {
    tree: Tree<'t>,
    walk: Walk<'t>,
}

impl<'t> Iterator for Devices<'t> {
    type Item = Result<DeviceInfo<'t>, BoardError>;

    fn next(&mut self) -> Option<Self::Item> {
        let place = self.walk.find(is_device)?;
        Some(read(&mut self.tree, &place))
    }
}

/// Reads the device at `path` (as in `/pl061@9030000`).
///
/// # Errors
/// No such node, or one whose properties make no sense.
pub fn device<'t>(tree: &'t [u8], path: &str) -> Result<DeviceInfo<'t>, BoardError> {
    let mut tree = Tree::new(tree)?;
    let missing = || BoardError {
        node: NodePath::from(path),
        problem: BoardProblem::NoSuchNode,
    };
    let place = tree.find(path).ok_or_else(missing)?;
    read(&mut tree, &place)
}

/// Iterates over all nodes with registers or interrupts, CPUs and memory excepted.
///
/// # Errors
/// `Damaged` and its like if `tree` is no device tree; items fail one by one.
pub fn devices(tree: &[u8]) -> Result<Devices<'_>, BoardError> {
    let tree = Survey::new().read(tree)?;
    let walk = tree.walk();
    Ok(Devices { tree, walk })
}

fn is_device(place: &Place<'_>) -> bool {
    const MARKS: [&str; 4] = ["reg", "interrupts", "interrupts-extended", "interrupt-map"];
    let marked = MARKS.iter().any(|name| place.value(name).is_some());
    marked && !NO_DEVICES.contains(&place.top_base_name())
}

fn read<'t>(tree: &mut Tree<'t>, place: &Place<'t>) -> Result<DeviceInfo<'t>, BoardError> {
    let mut info = DeviceInfo {
        path: place.path(),
        compatible: place.string("compatible"),
        enabled: place.enabled(),
        registers: ArrayVec::new(),
        unmapped: false,
        interrupts: ArrayVec::new(),
        indirect_interrupts: false,
        dma: dma(place),
    };
    for entry in tree.registers(place)? {
        info.add_registers(place, entry?)?;
    }
    for line in Interrupts::of(tree, place)? {
        info.add_interrupt(place, line?)?;
    }
    for line in interrupts::mapped(tree, place)? {
        info.add_interrupt(place, line?)?;
    }
    Ok(info)
}

impl DeviceInfo<'_> {
    fn add_registers(&mut self, place: &Place<'_>, range: Option<Range>) -> Result<(), BoardError> {
        let Some(range) = range else {
            self.unmapped = true;
            return Ok(());
        };
        self.registers.try_push(range).map_err(|_| {
            place.error(BoardProblem::TooMany {
                what: "register ranges",
                room: MAX_DEVICE_RANGES,
            })
        })
    }

    fn add_interrupt(&mut self, place: &Place<'_>, line: Line) -> Result<(), BoardError> {
        let Some(interrupt) = line else {
            self.indirect_interrupts = true;
            return Ok(());
        };
        let known = |other: &Interrupt| other.intid == interrupt.intid;
        if self.interrupts.iter().any(known) {
            return Ok(());
        }
        self.interrupts.try_push(interrupt).map_err(|_| {
            place.error(BoardProblem::TooMany {
                what: "interrupts",
                room: MAX_DEVICE_INTERRUPTS,
            })
        })
    }
}
