//! Making the partitions of a system: memory, stage 2, interrupts; nothing runs yet.

use super::state::{self, Host, LINKS, Partitions};
use crate::behaviour::audit::Finding;
use crate::behaviour::channel::{Link, Port};
use crate::behaviour::crash::Crashes;
use crate::behaviour::heartbeat::Heartbeat;
use crate::behaviour::lifecycle::Life;
use crate::behaviour::partition::{Partition, Statistics, Vcpu};
use crate::edge::keep::keep;
use crate::edge::{init, takeover};
use crate::model::board::{Board, Gic, Trigger};
use crate::model::bundle::{Plan, System};
use crate::model::console::Speaker;
use crate::model::image::{self, ImageError, Layout};
use crate::model::pl011::Pl011;
use crate::model::placement::{Extent, FreeMemory, Placement, PlacementError, place_in};
use crate::model::portions::Portions;
use crate::model::power::Power;
use crate::model::quiesce::Quiesce;
use crate::model::share::{Share, ShareError, Shares, Window, shares_in};
use crate::model::translation::{Access, MapError, Memory, Tree, stage2_leaf};
use crate::model::vgic::{Config, Deactivation, DirectTable, GicVersion, Source, Vgic};
use crate::model::watch::Repeats;
use crate::words::limits::MAX_EXTENTS;
use crate::words::{CpuId, PAGE_SIZE, Range};
use arrayvec::{ArrayString, ArrayVec};
use bulkhead_abi::layout;
use core::sync::atomic::AtomicU64;
use spin::Once;
use spin::mutex::SpinMutex;
use thiserror::Error;

/// Why a system cannot be set up.
#[derive(Debug, Error)]
pub enum SetUpError {
    /// RAM does not suffice.
    #[error("{0}")]
    Placement(#[from] PlacementError),
    /// An image does not fit.
    #[error("partition {0}: {1}")]
    Image(ArrayString<32>, ImageError),
    /// A device cannot be handed over.
    #[error("{0}")]
    Share(#[from] ShareError),
    /// What was made is not isolated: this image's own mistake, found before anything starts.
    #[error("audit: {0}")]
    Audit(#[from] Finding),
    /// No room for translation tables.
    #[error("partition {0}: its stage-2 tables: {1}")]
    Stage2(ArrayString<32>, MapError),
    /// More than this image has room for.
    #[error("partition {0}: no room left to keep it")]
    NoRoom(ArrayString<32>),
}

/// Makes every partition of `system`. `kept` is what no partition may have, beyond what the tree reserves; `own_tables`
/// the root of EL2's own.
///
/// # Errors
/// See [`SetUpError`]; nothing was started.
pub fn make(
    system: &System<'static>,
    board: &Board<'_>,
    host: &'static Host,
    kept: &[Range],
    own_tables: u64,
) -> Result<(), SetUpError> {
    let reserved = board
        .reserved
        .iter()
        .map(|reserved| reserved.range)
        .chain(kept.iter().copied())
        .chain(board.spin_pages());
    let mut free = FreeMemory::default();
    free.fill(&board.ram, reserved)?;
    let mut placement = Placement::default();
    place_in(&mut placement, &mut free, system)?;
    let mut shares = Shares::new();
    shares_in(&mut shares, system, board, host.tree)?;
    make_links(system, &placement);
    let mut made = Partitions::default();
    let memory = placement.extents.iter().zip(&shares);
    for (plan, memory) in system.partitions.iter().zip(memory) {
        let partition = one(plan, memory, board, host, &mut free)?;
        own_interrupts(partition, host);
        state::CONSOLE.name(Speaker::partition(plan.id), plan.name);
        if let Some(slot) = made.get_mut(plan.id.index()) {
            *slot = Some(partition);
        }
    }
    state::set_partitions(made);
    let virtual_cpu = match &board.gic {
        Gic::V2 { virtual_cpu, .. } => interface(*virtual_cpu),
        Gic::V3 { .. } => None,
    };
    super::audit::prepare(kept.iter().copied(), virtual_cpu, own_tables);
    super::audit::run()?;
    for partition in state::partitions() {
        partition.life.start();
    }
    Ok(())
}

/// The page of GICV that guests use directly.
fn interface(virtual_cpu: Range) -> Option<Range> {
    Range::new(virtual_cpu.base(), virtual_cpu.size().min(PAGE_SIZE))
}

/// Makes the channels of `system`, their memory zero.
fn make_links(system: &System<'static>, placement: &Placement) {
    let places = placement.channels.iter().zip(&placement.ends);
    for ((channel, (range, ends)), slot) in system.channels.iter().zip(places).zip(&LINKS) {
        takeover::guest_ram(*range).zero(range.base(), range.size());
        slot.call_once(|| Link::new(channel.name, *range, *ends));
    }
}

/// The partition's ends of channels.
fn ports_of(plan: &Plan<'_>) -> impl Iterator<Item = Port<'static>> {
    let links = LINKS.iter().map_while(Once::get);
    links.filter_map(|link| link.port(plan.id))
}

fn name_of(plan: &Plan<'_>) -> ArrayString<32> {
    ArrayString::from(plan.name).unwrap_or_default()
}

/// Makes a partition where it stays: it is large.
fn one(
    plan: &Plan<'static>,
    (extents, share): (&ArrayVec<Extent, MAX_EXTENTS>, &Share),
    board: &Board<'_>,
    host: &'static Host,
    free: &mut FreeMemory,
) -> Result<&'static Partition<'static>, SetUpError> {
    let layout = layout_of(plan)?;
    let (stage2, tables, blank) = stage2(plan, extents, share, board, free)
        .map_err(|error| SetUpError::Stage2(name_of(plan), error))?;
    let gic_version = match board.gic {
        Gic::V2 { .. } => GicVersion::V2,
        Gic::V3 { .. } => GicVersion::V3,
    };
    let own = [host.maintenance, host.timer];
    let pmu = board.pmu.filter(|intid| !own.contains(intid));
    let vcpus = plan.cpus.iter().map(|cpu| Vcpu {
        cpu: *cpu,
        power: Power::new(),
        statistics: Statistics::new(state::trails(*cpu)),
        repeats: Repeats::new(),
    });
    let make = || Partition {
        layout,
        extents: extents.clone(),
        stage2,
        tables,
        blank,
        vcpus: vcpus.collect(),
        cpus: plan.cpus.clone(),
        gic_version,
        interrupts: const { SpinMutex::new(Vgic::EMPTY) },
        share: Share::default(),
        direct: DirectTable::new(),
        quiesce: Quiesce::new(),
        uart: SpinMutex::new(Pl011::new()),
        channels: ArrayVec::new(),
        heartbeat: Heartbeat::new(),
        loading: Portions::new(),
        life: Life::new(),
        crashes: SpinMutex::new(Crashes::new()),
        pmu,
        counter_offset: AtomicU64::new(0),
        give_up: super::fault::give_up,
        plan: plan.clone(),
    };
    let partition = keep(make).ok_or_else(|| SetUpError::NoRoom(name_of(plan)))?;
    // They are long: made where they stay.
    partition.channels.extend(ports_of(plan));
    partition.share.windows.clone_from(&share.windows);
    partition.share.interrupts.clone_from(&share.interrupts);
    Ok(partition)
}

/// Where the partition's images go. A damaged kernel is that partition's own trouble, at each start; one that was packed
/// so is a bad bundle.
fn layout_of(plan: &Plan<'_>) -> Result<Option<Layout>, SetUpError> {
    match image::layout(plan) {
        Ok(layout) => Ok(Some(layout)),
        Err(error) if super::hash::matches(&plan.kernel) => {
            Err(SetUpError::Image(name_of(plan), error))
        }
        Err(_) => Ok(None),
    }
}

/// What the partition's virtual GIC is like.
fn config_of(partition: &Partition<'_>, host: &Host) -> Config {
    let small = |count: usize| u8::try_from(count).unwrap_or(1);
    Config {
        version: partition.gic_version,
        vcpus: small(partition.cpus.len()),
        list_registers: small(host.gic.list_registers()),
        priority_bits: host.gic.priority_bits(),
        deactivation: if host.hardware_deactivation {
            Deactivation::Hardware
        } else {
            Deactivation::Software
        },
    }
}

/// Gives the partition's virtual GIC what it has: its timers' and its PMU's PPIs, its UART, its doorbells, its devices'
/// interrupts.
fn own_interrupts(partition: &Partition<'_>, host: &Host) {
    let mut vgic = partition.interrupts();
    vgic.configure(&config_of(partition, host));
    let timers = [layout::TIMER_VIRTUAL_INTID, layout::TIMER_PHYSICAL_INTID];
    for private in timers.into_iter().chain(partition.pmu) {
        vgic.own(
            u16::try_from(private).unwrap_or(0),
            Source::Physical { edge: false },
        );
    }
    vgic.own(
        u16::try_from(layout::UART_INTID).unwrap_or(0),
        Source::Level,
    );
    for port in &partition.channels {
        vgic.own(port.end().intid, Source::Edge);
    }
    for interrupt in &partition.share.interrupts {
        let edge = interrupt.trigger == Trigger::Edge;
        vgic.own(
            u16::try_from(interrupt.intid).unwrap_or(0),
            Source::Physical { edge },
        );
        // The model takes the physical controller for set as the board's tree says, and changes only what the guest does.
        host.gic.trigger(interrupt.intid, edge, CpuId::default());
    }
}

/// The partition's stage-2 tables: a page of zeros all over the blank flash, its RAM, its channels' memory, its devices' registers, and on a GICv2 the virtual CPU
/// interface.
fn stage2(
    plan: &Plan<'_>,
    extents: &[Extent],
    share: &Share,
    board: &Board<'_>,
    free: &mut FreeMemory,
) -> Result<(Tree, [Range; 2], Range), MapError> {
    let ends = share.windows.iter().map(Window::end);
    let top = ends.fold(layout::RAM_BASE.saturating_add(plan.memory), u64::max);
    let bits = init::pa_bits().min(Tree::stage2_bits(top));
    let root_size = Tree::stage2_root_tables(bits) * PAGE_SIZE;
    let count = Tree::stage2_pages(plan.memory, extents.len() as u64)
        + share
            .windows
            .iter()
            .map(|window| window.tables())
            .sum::<u64>()
        + ports_of(plan).map(|port| port.tables()).sum::<u64>();
    let root = free.take(root_size, root_size).ok_or(MapError::NoMemory)?;
    let pages = free
        .take(count * PAGE_SIZE, PAGE_SIZE)
        .ok_or(MapError::NoMemory)?;
    let tables = [root, pages];
    takeover::guest_ram(root).zero(root.base(), root.size());
    let mut pages = takeover::stage2_tables(pages);
    let tree = Tree::new_stage2(root.base(), bits);
    for extent in extents {
        let leaf = stage2_leaf(Memory::Normal, Access::All);
        tree.map(
            &mut pages,
            extent.ipa.get(),
            extent.range.base(),
            extent.range.size(),
            leaf,
        )?;
    }
    for port in ports_of(plan) {
        let (input, range) = (port.end().ipa.get(), port.link.range);
        tree.map(&mut pages, input, range.base(), range.size(), port.leaf())?;
    }
    for window in &share.windows {
        let (input, range) = (window.ipa.get(), window.range);
        let leaf = stage2_leaf(Memory::Device, Access::ReadWrite);
        tree.map(&mut pages, input, range.base(), range.size(), leaf)?;
    }
    let blank = free.take(PAGE_SIZE, PAGE_SIZE).ok_or(MapError::NoMemory)?;
    takeover::guest_ram(blank).zero(blank.base(), blank.size());
    let leaf = stage2_leaf(Memory::Normal, Access::ReadOnly);
    let (input, size) = (layout::FLASH_BASE, layout::FLASH_SIZE);
    tree.map_repeated(&mut pages, input, blank.base(), size, leaf)?;
    if let Gic::V2 { virtual_cpu, .. } = &board.gic {
        // The second page holds GICV_DIR, which is emulated: `model::vgic`, "What is guaranteed".
        let page = interface(*virtual_cpu).ok_or(MapError::TooHigh)?;
        let leaf = stage2_leaf(Memory::Device, Access::ReadWrite);
        let (base, size) = (page.base(), page.size());
        tree.map(&mut pages, layout::GICC_BASE, base, size, leaf)?;
    }
    Ok((tree, tables, blank))
}
