//! What the cores share: written once by the boot core, or behind locks and atomics of its own.

use super::common::Common;
use crate::behaviour::channel::Link;
use crate::behaviour::partition::Partition;
use crate::edge::firmware::Conduit;
use crate::edge::gic::HostGic;
use crate::edge::keep;
use crate::edge::uart::BoardUart;
use crate::model::console::Console;
use crate::model::recorder::{Recorder, Trails};
use crate::model::vgic::DirectTable;
use crate::words::limits::{MAX_CHANNELS, MAX_CPUS, MAX_PARTITIONS};
use crate::words::{CpuId, Mpidr, PartitionId, VcpuId};
use arrayvec::ArrayVec;
use core::sync::atomic::AtomicBool;
use spin::Once;

/// What every core needs to know of the board.
#[derive(Debug)]
pub struct Host {
    /// The interrupt controller.
    pub gic: HostGic,
    /// Whether the controller ends physical interrupts by itself when a guest does.
    pub hardware_deactivation: bool,
    /// Affinities of the CPUs.
    pub cpus: ArrayVec<Mpidr, MAX_CPUS>,
    /// How firmware is called, if there is any.
    pub firmware: Option<Conduit>,
    /// INTID of the GIC's maintenance interrupt.
    pub maintenance: u32,
    /// INTID of EL2's timer.
    pub timer: u32,
    /// INTID of the console's UART.
    pub uart: Option<u32>,
    /// The board's device tree, which no partition can write.
    pub tree: &'static [u8],
}

impl Host {
    /// Brings the console's interrupt to `cpu`, the calling core (before it is up, the interrupt controller has no name
    /// for it).
    pub fn take_uart(&self, cpu: CpuId) {
        if let Some(intid) = self.uart {
            self.gic.route(intid, cpu);
            self.gic.enable(intid / 32, 1 << (intid % 32), cpu);
        }
    }
}

/// The board, once the boot core knows it.
pub static HOST: Once<Host> = Once::new();

/// The partitions, in the manifest's order.
pub type Partitions = [Option<&'static Partition<'static>>; MAX_PARTITIONS];

/// Once all are made.
static PARTITIONS: Once<Partitions> = Once::new();

const _: () = assert!(MAX_PARTITIONS * keep::bytes_of::<Partition<'static>>() <= keep::ROOM);

/// Says which partitions there are, once.
pub fn set_partitions(made: Partitions) {
    PARTITIONS.call_once(|| made);
}

/// The partitions by their identifiers; none before all are made.
#[must_use]
pub fn all() -> &'static [Option<&'static Partition<'static>>] {
    PARTITIONS.get().map_or(&[], |all| all)
}

/// The channels, in the manifest's order.
pub static LINKS: [Once<Link<'static>>; MAX_CHANNELS] = [const { Once::new() }; MAX_CHANNELS];

/// What may be injected directly where nothing may.
pub static NOTHING: DirectTable = DirectTable::new();

/// The console.
pub static CONSOLE: Console = Console::new(keep::rings());

/// The console's UART. Taken under the console's lock, or with a try.
pub static UART: Common<Option<BoardUart>> = Common::new(None);

/// Whether the manifest asks for the self-test: the monitor may make EL2 fail.
pub static SELF_TEST: AtomicBool = AtomicBool::new(false);

/// What each core did last.
pub static RECORDERS: &[Recorder; MAX_CPUS] = keep::recorders();

/// What each core's short path did.
static TRAILS: [Trails; MAX_CPUS] = [const { Trails::new() }; MAX_CPUS];

/// The ring of `cpu`.
#[must_use]
pub fn recorder(cpu: CpuId) -> &'static Recorder {
    &RECORDERS[cpu.index() % MAX_CPUS]
}

/// The trails of `cpu`.
#[must_use]
pub fn trails(cpu: CpuId) -> &'static Trails {
    &TRAILS[cpu.index() % MAX_CPUS]
}

/// The partitions there are.
pub fn partitions() -> impl Iterator<Item = &'static Partition<'static>> + Clone {
    all().iter().copied().flatten()
}

/// The partition `id`.
#[must_use]
pub fn partition(id: PartitionId) -> Option<&'static Partition<'static>> {
    all().get(id.index()).copied().flatten()
}

/// Whose vCPU `cpu` runs.
#[must_use]
pub fn assignment(cpu: CpuId) -> Option<(&'static Partition<'static>, VcpuId)> {
    partitions().find_map(|partition| {
        let index = partition.cpus.iter().position(|owned| *owned == cpu)?;
        Some((partition, VcpuId::new(u8::try_from(index).ok()?)))
    })
}
