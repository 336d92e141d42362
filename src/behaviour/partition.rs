//! A partition: what its cores share.
//!
//! A lock of a core that has failed stays locked ([`Life::lose`]). The partition is down for good then: its other cores give
//! themselves up if they need it, other partitions' go on without.
//!
//! Lock order, written once: a channel's own lock stands alone; `uart`, then `interrupts`, of one partition at a time; the console's own lock is taken last, by `try_lock` alone, and
//! the board UART's within it. No lock is held while a guest runs, or while a core waits for another's list registers.

use super::channel::Port;
use super::console::Uart;
use super::crash::Crashes;
use super::heartbeat::Heartbeat;
use super::lifecycle::Life;
use crate::model::bundle::Plan;
use crate::model::image::Layout;
use crate::model::monitor::Order;
use crate::model::placement::Extent;
use crate::model::portions::Portions;
use crate::model::power::Power;
use crate::model::quiesce::Quiesce;
use crate::model::recorder::{Deed, Trails};
use crate::model::share::Share;
use crate::model::translation::Tree;
use crate::model::vgic::{DirectTable, GicVersion, Vgic};
use crate::model::watch::Repeats;
use crate::words::limits::{MAX_CHANNELS, MAX_EXTENTS, MAX_VCPUS};
use crate::words::patience;
use crate::words::{CpuId, Ipa, Pa, Range, VcpuId};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::mutex::{SpinMutex, SpinMutexGuard};

/// Counts of a vCPU's exits, for `STATISTIC` and the monitor.
#[derive(Debug)]
pub struct Statistics {
    counters: [AtomicU64; COUNTERS],
    /// What the short path does on the vCPU's core, which counts it alone.
    pub trails: &'static Trails,
}

/// How many counters there are.
pub const COUNTERS: usize = 11;

/// A counter, in the order of `STATISTIC` (hypercalls.md, section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Counter {
    /// Exits in all.
    Exits = 0,
    /// HVC.
    Hvc = 1,
    /// SMC.
    Smc = 2,
    /// WFI and WFE.
    Wfx = 3,
    /// Trapped system registers.
    SystemRegister = 4,
    /// Emulated registers.
    Mmio = 5,
    /// Stage-2 faults nothing answers.
    Stage2Fault = 6,
    /// Physical interrupts.
    Interrupt = 7,
    /// GIC maintenance.
    Maintenance = 8,
    /// Interrupts injected.
    Injected = 9,
    /// Times that interrupts outnumbered list registers.
    Overflow = 10,
}

impl Counter {
    /// What the short path does and this counter counts too. (A call answered in the vectors counts as an HVC.)
    const fn deeds(self) -> &'static [Deed] {
        match self {
            Self::Exits => &Deed::ALL,
            Self::Hvc => &[Deed::Called],
            Self::SystemRegister => &[Deed::Sent],
            Self::Mmio => &[Deed::Accessed],
            Self::Interrupt | Self::Injected => &[Deed::Injected],
            Self::Maintenance => &[Deed::Ended],
            Self::Smc | Self::Wfx | Self::Stage2Fault | Self::Overflow => &[],
        }
    }

    const ALL: [Self; COUNTERS] = [
        Self::Exits,
        Self::Hvc,
        Self::Smc,
        Self::Wfx,
        Self::SystemRegister,
        Self::Mmio,
        Self::Stage2Fault,
        Self::Interrupt,
        Self::Maintenance,
        Self::Injected,
        Self::Overflow,
    ];
}

impl Statistics {
    /// Nothing but what `trails` count, those of the vCPU's core.
    #[must_use]
    pub fn new(trails: &'static Trails) -> Self {
        Self {
            counters: Default::default(),
            trails,
        }
    }

    /// Adds one. Only the vCPU's own core counts, so no read-modify-write is needed.
    #[inline(always)]
    pub fn count(&self, counter: Counter) {
        let slot = &self.counters[counter as usize];
        let value = slot.load(Ordering::Relaxed);
        slot.store(value.wrapping_add(1), Ordering::Relaxed);
    }

    /// The value of counter `index`, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<u64> {
        let own = self.counters.get(index)?.load(Ordering::Relaxed);
        let short = Counter::ALL.get(index)?.deeds().iter();
        Some(short.fold(own, |sum, deed| {
            sum.wrapping_add(self.trails.of(*deed).count())
        }))
    }
}

/// What the cores of a partition share about one vCPU.
#[derive(Debug)]
pub struct Vcpu {
    /// The physical CPU it owns.
    pub cpu: CpuId,
    /// PSCI power state.
    pub power: Power,
    /// Exit counts.
    pub statistics: Statistics,
    /// Exceptions its vector raises again and again.
    pub repeats: Repeats,
}

/// A partition.
#[derive(Debug)]
pub struct Partition<'b> {
    /// What the manifest says of it.
    pub plan: Plan<'b>,
    /// Where its images go; `None` if its kernel is damaged where it says what it is.
    pub layout: Option<Layout>,
    /// Where its RAM lies.
    pub extents: ArrayVec<Extent, MAX_EXTENTS>,
    /// What it has of the board's devices.
    pub share: Share,
    /// Its stage-2 tables.
    pub stage2: Tree,
    /// Where they lie: the root, the rest.
    pub tables: [Range; 2],
    /// The page of zeros its blank flash is made of.
    pub blank: Range,
    /// Its vCPUs.
    pub vcpus: ArrayVec<Vcpu, MAX_VCPUS>,
    /// Physical CPUs by vCPU.
    pub cpus: ArrayVec<CpuId, MAX_VCPUS>,
    /// Which GIC it sees: the board's.
    pub gic_version: GicVersion,
    /// Its virtual GIC: see [`Partition::interrupts`].
    pub interrupts: SpinMutex<Vgic>,
    /// What the short path may inject.
    pub direct: DirectTable,
    /// Calls of its cores to each other.
    pub quiesce: Quiesce,
    /// Its virtual UART: see [`Partition::uart`].
    pub uart: SpinMutex<Uart>,
    /// Its ends of channels, in the manifest's order.
    pub channels: ArrayVec<Port<'b>, MAX_CHANNELS>,
    /// When its next heartbeat is due.
    pub heartbeat: Heartbeat,
    /// The loading of its RAM, which all its cores share.
    pub loading: Portions,
    /// Where it is in its life.
    pub life: Life,
    /// Its last crashes, kept over its restarts: see [`Partition::crashes`]. A lock that stands alone.
    pub crashes: SpinMutex<Crashes>,
    /// INTID of the PMU's overflow interrupt, where it is a PPI of the board.
    pub pmu: Option<u32>,
    /// CNTVOFF_EL2, set at each start.
    pub counter_offset: AtomicU64,
    /// Gives the calling core up for good, which is the partition's and waits in vain for another that is lost.
    pub give_up: fn() -> !,
}

impl Partition<'_> {
    /// Its virtual GIC, for a core of its own.
    #[inline(always)]
    pub fn interrupts(&self) -> SpinMutexGuard<'_, Vgic> {
        self.wait(|| self.interrupts.try_lock())
    }

    /// Its virtual UART, for a core of its own.
    #[inline(always)]
    pub fn uart(&self) -> SpinMutexGuard<'_, Uart> {
        self.wait(|| self.uart.try_lock())
    }

    /// Its crashes, for anybody; `None` if a core is lost with them, and perhaps if one is lost that has not.
    pub fn crashes(&self) -> Option<SpinMutexGuard<'_, Crashes>> {
        self.wait_unless_lost(|| self.crashes.try_lock())
    }

    /// Waits until `attempt` gives something. What is not there at once when a core of the partition is lost is not waited
    /// for: whoever asks again and again would wait each time.
    fn wait_unless_lost<R>(&self, mut attempt: impl FnMut() -> Option<R>) -> Option<R> {
        if self.life.has_lost() {
            return attempt();
        }
        patience::wait(attempt, || self.life.has_lost())
    }

    /// Waits on a core of its own until `attempt` gives something; if that is lost with another core, so is this one.
    #[inline(always)]
    pub fn wait<R>(&self, attempt: impl FnMut() -> Option<R>) -> R {
        match patience::wait(attempt, || self.life.has_lost()) {
            Some(found) => found,
            None => self.end_core(),
        }
    }

    /// Apart, so that the image's short path can be followed: it ends here.
    #[cold]
    #[inline(never)]
    fn end_core(&self) -> ! {
        (self.give_up)()
    }

    /// The vCPU `id`, if the partition has it.
    #[must_use]
    pub fn vcpu(&self, id: VcpuId) -> Option<&Vcpu> {
        self.vcpus.get(id.index())
    }

    /// All vCPUs' numbers.
    pub fn vcpu_ids(&self) -> impl Iterator<Item = VcpuId> + use<> {
        let count = u8::try_from(self.vcpus.len()).unwrap_or(0);
        (0..count).map(VcpuId::new)
    }

    /// Does what a manager or the monitor orders, at `now` of the counter, which has `frequency` ticks a second. `true`: all its cores must be told; they look at
    /// its state, and the leader alone acts on a start. `false`: its state does not allow it.
    pub fn obey(&self, order: Order, now: u64, frequency: u64) -> bool {
        match order {
            Order::Start => self.life.start(),
            Order::Stop => self.life.stop_by_manager(false),
            Order::Restart => self.life.stop_by_manager(true),
            Order::Pause => self.life.pause(),
            Order::Resume => {
                self.heartbeat.extend(now, frequency);
                self.life.resume()
            }
        }
    }

    /// Whether `address` lies in the partition's RAM.
    #[must_use]
    pub fn has_ram_at(&self, address: u64) -> bool {
        self.ram(Ipa::new(address)).is_some()
    }

    /// Where the byte at `address` of the partition's RAM lies.
    #[must_use]
    pub fn ram(&self, address: Ipa) -> Option<Pa> {
        self.extents.iter().find_map(|extent| {
            let offset = address.offset_from(extent.ipa)?;
            if offset < extent.range.size() {
                extent.range.base().checked_add(offset)
            } else {
                None
            }
        })
    }
}
