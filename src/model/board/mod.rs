//! The board, discovered from the firmware's device tree.
//!
//! Nothing about a board is compiled in: RAM, CPUs and how they start, the GIC's frames, the timer, the
//! console and the PSCI conduit all come from the tree (Devicetree Specification 0.4; the bindings are named
//! where they are read). The tree is somebody else's: any bytes give a board or an error, in bounded time.

use arrayvec::ArrayVec;
use thiserror::Error;

use crate::words::limits::{MAX_CPUS, MAX_RAM_RANGES, MAX_RESERVED};
use crate::words::{Mpidr, PAGE_SIZE, Pa, Range, Text};

mod chosen;
mod copy;
mod cpus;
mod device;
mod dma;
mod gic;
mod interrupts;
mod memory;
mod power;
mod survey;
mod tree;

use survey::Survey;

pub use copy::{Copies, copy, is_at_or_below};

pub use device::{
    DeviceInfo, DevicePath, Devices, Dma, DmaReason, Interrupt, Trigger, device, devices,
};

/// Redistributor regions a GICv3 may have.
pub const MAX_REDISTRIBUTOR_REGIONS: usize = 4;

/// What the firmware's tree says about the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board<'t> {
    /// The root's `model`, empty if it has none.
    pub model: &'t str,
    /// The first string of the root's `compatible`, empty if it has none.
    pub compatible: &'t str,
    /// RAM, ascending; ranges that touch are one.
    pub ram: ArrayVec<Range, MAX_RAM_RANGES>,
    /// Memory the firmware keeps.
    pub reserved: ArrayVec<Reserved<'t>, MAX_RESERVED>,
    /// The CPUs that may be used, in the tree's order: `CpuId` is the index here.
    pub cpus: ArrayVec<Cpu, MAX_CPUS>,
    /// How PSCI is called, if the firmware has it.
    pub psci: Option<Conduit>,
    /// How the board is switched off and reset, if this image knows a way.
    pub power: Option<BoardPower>,
    /// The interrupt controller.
    pub gic: Gic,
    /// The generic timer's interrupts.
    pub timer: Timer,
    /// INTID of the performance monitors' overflow interrupt, where it is a PPI, the same on every core.
    pub pmu: Option<u32>,
    /// The console `/chosen` names, if this image has a driver for it.
    pub console: Option<Console>,
    /// The initial ramdisk `/chosen` names.
    pub initrd: Option<Range>,
    /// The command line, empty if there is none.
    pub bootargs: &'t str,
}

/// Memory that is not to be given away, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved<'t> {
    /// Where it lies.
    pub range: Range,
    /// The node's name, or `/memreserve/`.
    pub what: &'t str,
}

/// A CPU of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its affinity.
    pub mpidr: Mpidr,
    /// How it is started.
    pub start: CpuStart,
}

/// How a CPU is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuStart {
    /// By PSCI `CPU_ON`.
    Psci,
    /// By writing the entry address to `release`, a 64-bit word, and SEV.
    SpinTable {
        /// The word the CPU polls.
        release: Pa,
    },
    /// In a way this image does not know.
    Unknown,
}

/// The instruction that reaches PSCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// HVC #0.
    Hvc,
    /// SMC #0.
    Smc,
}

/// How the board as a whole is switched off and reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoardPower {
    /// By PSCI `SYSTEM_OFF` and `SYSTEM_RESET`.
    Psci(Conduit),
    /// By the BCM2835's watchdog.
    Bcm2835Pm {
        /// The power manager's registers.
        registers: Range,
    },
}

/// The physical interrupt controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gic {
    /// GICv2 with the virtualization extensions (IHI 0048).
    V2 {
        /// GICD.
        distributor: Range,
        /// GICC.
        cpu_interface: Range,
        /// GICH.
        hypervisor: Range,
        /// GICV.
        virtual_cpu: Range,
        /// INTID of the maintenance interrupt.
        maintenance: u32,
    },
    /// GICv3 (IHI 0069).
    V3 {
        /// GICD.
        distributor: Range,
        /// GICR regions.
        redistributors: ArrayVec<Range, MAX_REDISTRIBUTOR_REGIONS>,
        /// Bytes from one redistributor to the next.
        stride: u64,
        /// INTID of the maintenance interrupt.
        maintenance: u32,
    },
}

/// INTIDs of the generic timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// EL1 virtual timer.
    pub virt: u32,
    /// EL1 physical timer.
    pub phys: u32,
    /// EL2 physical timer.
    pub hyp: u32,
}

/// The board's console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Console {
    /// Which driver it needs.
    pub kind: UartKind,
    /// Its registers.
    pub registers: Range,
    /// Its interrupt, if the tree names one that arrives at the GIC.
    pub intid: Option<u32>,
}

/// UARTs this image has a driver for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UartKind {
    /// Arm PL011 (DDI 0183).
    Pl011,
    /// The BCM2835's auxiliary ("mini") UART, 16550-like with registers 4 bytes apart.
    MiniUart,
}

/// A node's path, cut off where it is longer than an error message needs.
pub type NodePath = Text<80>;

/// Why a tree makes no board: which node, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("device tree, {node}: {problem}")]
pub struct BoardError {
    /// The node.
    pub node: NodePath,
    /// What is wrong with it.
    pub problem: BoardProblem,
}

/// What can be wrong with a node of the board's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BoardProblem {
    /// Not a flattened device tree of version 17, or inconsistent in itself.
    #[error("not a sound flattened device tree (version 17)")]
    Damaged,
    /// More nodes than a walk is allowed.
    #[error("has more than {0} nodes")]
    TooManyNodes(usize),
    /// Nodes nested deeper than a walk is allowed.
    #[error("nests nodes more than {0} deep")]
    TooDeep(usize),
    /// No node of this path.
    #[error("no such node")]
    NoSuchNode,
    /// A property has the wrong length, or a value out of its range.
    #[error("property `{0}` is malformed")]
    Malformed(&'static str),
    /// What a property says is where something begins that begins at a multiple of so many bytes.
    #[error("property `{0}` is no multiple of {1}: the boot loader has to put it at one")]
    Unaligned(&'static str, u64),
    /// A property it needs is not there.
    #[error("property `{0}` is missing")]
    Missing(&'static str),
    /// More of something than this image has room for.
    #[error("more than {room} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there is room for.
        room: usize,
    },
    /// A node every board needs is not there.
    #[error("no {0}")]
    Lacks(&'static str),
    /// Two CPUs have one MPIDR.
    #[error("MPIDR {0:#x} is another CPU's too")]
    DuplicateCpu(u64),
    /// A register frame is not in the CPUs' address space.
    #[error("register frame {0} is not in the CPUs' address space")]
    Unmapped(&'static str),
    /// A register frame the GIC needs is not in its `reg`.
    #[error("`reg` has no entry for {0}: a GIC without it cannot serve guests")]
    NoFrame(&'static str),
    /// `interrupt-parent` or `interrupts-extended` leads nowhere.
    #[error("its interrupt controller does not exist")]
    NoController,
    /// An interrupt that must arrive at the GIC does not.
    #[error("its interrupts do not go to the GIC")]
    NotAtGic,
}

impl<'t> Board<'t> {
    /// Reads the board from `tree`, a flattened device tree; bytes past its `totalsize` are ignored.
    ///
    /// # Errors
    /// Names the node and what is wrong with it, or what the board lacks.
    pub fn read(tree: &'t [u8]) -> Result<Self, BoardError> {
        let mut survey = Survey::new();
        let mut tree = survey.read(tree)?;
        let root = tree.root();
        let [psci, manager, gic, timer, pmu] = &survey.nodes;
        let [chosen, _, cpus, reserved] = &survey.tops;
        let psci = psci.as_ref().map(cpus::psci).transpose()?;
        // The lists are filled where they stay: they are too large to be moved.
        let mut board = Self {
            model: root.string("model"),
            compatible: root.string("compatible"),
            ram: ArrayVec::new(),
            reserved: ArrayVec::new(),
            cpus: ArrayVec::new(),
            psci,
            power: power::power(&mut tree, manager.as_ref(), psci)?,
            gic: gic::gic(&mut tree, gic.as_ref())?,
            timer: cpus::timer(&mut tree, timer.as_ref())?,
            pmu: pmu
                .as_ref()
                .map_or(Ok(None), |place| cpus::pmu(&mut tree, place))?,
            console: chosen::console(&mut tree, &survey)?,
            initrd: chosen::initrd(chosen.as_ref())?,
            bootargs: chosen
                .as_ref()
                .map_or("", |chosen| chosen.string("bootargs")),
        };
        memory::ram(&mut tree, survey.memory, &mut board.ram)?;
        memory::reserved(&mut tree, reserved.as_ref(), &mut board.reserved)?;
        cpus::cpus(&root, cpus.as_ref(), psci, &mut board.cpus)?;
        Ok(board)
    }
}

impl Board<'_> {
    /// How many list registers to use at most, by the command line's `bulkhead.list-registers=`: a GIC with fewer than the
    /// one that is there, for tests. None if it does not say, or not a number from 1 on.
    #[must_use]
    pub fn list_registers(&self) -> Option<usize> {
        const KEY: &str = "bulkhead.list-registers=";
        let mut words = self.bootargs.split_whitespace();
        let number = words.find_map(|word| word.strip_prefix(KEY))?;
        number.parse().ok().filter(|number| *number > 0)
    }

    /// The pages that CPUs poll, each once. A CPU that was never released stays there for good.
    pub fn spin_pages(&self) -> impl Iterator<Item = Range> {
        let page = |cpu: &Cpu| match cpu.start {
            CpuStart::SpinTable { release } => Range::new(release.align_down(PAGE_SIZE), PAGE_SIZE),
            CpuStart::Psci | CpuStart::Unknown => None,
        };
        let mut pages: ArrayVec<Range, MAX_CPUS> = ArrayVec::new();
        for page in self.cpus.iter().filter_map(page) {
            if !pages.contains(&page) {
                let _ = pages.try_push(page);
            }
        }
        pages.into_iter()
    }
}

impl Board<'_> {
    /// The registers EL2 drives, which it maps and no partition may have: the GIC's, the console's, and those of a power
    /// manager, since whoever has it can end the board for all.
    pub fn own_registers(&self) -> impl Iterator<Item = Range> {
        let gic: ArrayVec<Range, { MAX_REDISTRIBUTOR_REGIONS + 1 }> = match &self.gic {
            Gic::V2 {
                distributor,
                cpu_interface,
                hypervisor,
                virtual_cpu,
                ..
            } => [*distributor, *cpu_interface, *hypervisor, *virtual_cpu]
                .into_iter()
                .collect(),
            Gic::V3 {
                distributor,
                redistributors,
                ..
            } => core::iter::once(*distributor)
                .chain(redistributors.iter().copied())
                .collect(),
        };
        let power = match self.power {
            Some(BoardPower::Bcm2835Pm { registers }) => Some(registers),
            Some(BoardPower::Psci(_)) | None => None,
        };
        gic.into_iter()
            .chain(self.console.map(|console| console.registers))
            .chain(power)
    }
}

/// The console alone, without its interrupt, out of a tree that may be refused otherwise: for saying so.
#[must_use]
pub fn console(tree: &[u8]) -> Option<Console> {
    let mut survey = Survey::new();
    let mut tree = survey.read(tree).ok()?;
    let (_, console) = chosen::without_interrupt(&mut tree, &survey).ok()??;
    Some(console)
}

#[cfg(test)]
mod tests;
