//! The physical interrupt controller: bring-up, acknowledging, routing, and the list registers.
//!
//! EL2 splits priority drop from deactivation (EOImode 1): an interrupt it acknowledged stays active until the guest's
//! EOI deactivates it through a list register, or EL2 does.

mod v2;
mod v3;

pub use v2::{GICH_EISR0, GICH_LR, V2};
pub use v3::{SystemRegisters, V3};

use crate::arm::list_register::GicVersion;
use crate::words::limits::MAX_CPUS;
use crate::words::{CpuId, Mpidr, Pa};
use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::mutex::SpinMutex;

/// The SGI one core interrupts another with. Guests' SGIs are virtual and never reach the physical controller.
pub const KICK: u32 = 1;
/// The SGI that says no more than that SGIs were posted to a core's vCPU.
pub const POSTED: u32 = 2;
/// The SGI that says no more than that doorbells of a core's partition were rung.
pub const RUNG: u32 = 3;
/// The SGI that says no more than that a core's vCPU was switched on.
pub const START: u32 = 4;
/// The first INTID that is no SGI.
pub const FIRST_PPI: u32 = 16;
/// INTIDs from here on are special: 1023 says that nothing is pending.
pub const SPECIAL: u32 = 1020;
/// Most list registers the architecture has.
pub const MAX_LIST_REGISTERS: usize = 16;
/// The priority of everything EL2 takes: above the lowest, so that the lowest as mask admits it with any
/// number of implemented bits.
const PRIORITY: u8 = 0x80;
/// The priority mask that admits everything.
const PRIORITY_MASK_ALL: u8 = 0xff;

/// How to name each core to the interrupt controller: target mask (GICv2) or affinity (GICv3).
static NAMES: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Set in a name that is known.
const KNOWN: u64 = 1 << 63;

/// Notes how the controller names `cpu`.
fn set_name(cpu: CpuId, name: u64) {
    if let Some(slot) = NAMES.get(cpu.index()) {
        slot.store(name | KNOWN, Ordering::Release);
    }
}

/// How the controller names `cpu`, once that core is up.
fn known_name(cpu: CpuId) -> Option<u64> {
    let name = NAMES.get(cpu.index())?.load(Ordering::Acquire);
    (name & KNOWN != 0).then_some(name & !KNOWN)
}

/// How the controller names `cpu`.
fn name(cpu: CpuId) -> u64 {
    known_name(cpu).unwrap_or(0)
}

/// Registers that are alike in both distributors.
const GICD_TYPER: usize = 0x004;
const GICD_ISENABLER: usize = 0x100;

/// Words of 32 interrupts that the distributor has, the private ones' included (ITLinesNumber, IHI 0069H 12.9.38).
fn words_of<const SIZE: usize>(gicd: Frame<SIZE>) -> u32 {
    (gicd.read(GICD_TYPER) & 0x1f) + 1
}

/// Held while a word of ICFGR is changed: it has sixteen interrupts, of which several partitions may have some.
static TRIGGERS: SpinMutex<()> = SpinMutex::new(());

/// Makes `intid` edge-triggered or level-sensitive in the ICFGR word at `register` of `frame`.
fn set_trigger<const SIZE: usize>(frame: Frame<SIZE>, register: usize, intid: u32, edge: bool) {
    // The upper of an interrupt's two bits (IHI 0069H 12.9.9).
    let bit = 2 << (2 * (intid % 16));
    let _changing = TRIGGERS.lock();
    let others = frame.read(register) & !bit;
    frame.write(register, others | if edge { bit } else { 0 });
}

/// The board's interrupt controller.
#[derive(Clone, Copy, Debug)]
pub enum HostGic {
    /// GICv2.
    V2(V2),
    /// GICv3 or later.
    V3(V3),
}

macro_rules! either {
    ($self:ident, $gic:ident => $call:expr) => {
        match $self {
            HostGic::V2($gic) => $call,
            HostGic::V3($gic) => $call,
        }
    };
}

impl HostGic {
    /// Brings the distributor up: everything disabled, at EL2's priority, forwarding on. On one core, once.
    pub fn start_distributor(&self) {
        either!(self, gic => gic.start_distributor());
    }

    /// Brings the calling core's part up: its private interrupts disabled, its CPU interface on with EOImode 1, its
    /// list registers empty, kicks enabled.
    pub fn start_core(&self, cpu: CpuId, mpidr: Mpidr) {
        either!(self, gic => gic.start_core(cpu, mpidr));
        self.enable(0, 1 << KICK | 1 << POSTED | 1 << RUNG | 1 << START, cpu);
        self.reset_virtual();
    }

    /// Has the calling core signalled no interrupt any more, physical or virtual: WFI waits.
    pub fn stop_core(&self) {
        self.reset_virtual();
        either!(self, gic => gic.stop_core());
    }

    /// Resets the virtual CPU interface of the calling core, as after a hardware reset, with virtual interrupts on.
    pub fn reset_virtual(&self) {
        either!(self, gic => gic.reset_virtual());
    }

    /// Acknowledges the highest pending interrupt: the value of IAR.
    #[must_use]
    #[inline(always)]
    pub fn acknowledge(&self) -> u32 {
        either!(self, gic => gic.interface().acknowledge())
    }

    /// Drops the running priority of what `iar` acknowledged.
    #[inline(always)]
    pub fn drop_priority(&self, iar: u32) {
        either!(self, gic => gic.interface().drop_priority(iar));
    }

    /// Deactivates what `iar` acknowledged.
    #[inline(always)]
    pub fn deactivate(&self, iar: u32) {
        either!(self, gic => gic.interface().deactivate(iar));
    }

    /// Enables the interrupts `mask` of the 32 from `32 * word`; private ones (word 0) for `cpu`, which on a GICv2
    /// must be the caller.
    pub fn enable(&self, word: u32, mask: u32, cpu: CpuId) {
        either!(self, gic => gic.enable(word, mask, cpu));
    }

    /// Disables, as [`Self::enable`] enables, and waits until it has taken effect.
    pub fn disable(&self, word: u32, mask: u32, cpu: CpuId) {
        either!(self, gic => gic.disable(word, mask, cpu));
    }

    /// Clears the pending state of the interrupts `mask` of the 32 from `32 * word`.
    pub fn clear_pending(&self, word: u32, mask: u32, cpu: CpuId) {
        either!(self, gic => gic.clear_pending(word, mask, cpu));
    }

    /// Clears the active state of the interrupts `mask` of the 32 from `32 * word`.
    pub fn clear_active(&self, word: u32, mask: u32, cpu: CpuId) {
        either!(self, gic => gic.clear_active(word, mask, cpu));
    }

    /// Puts the private interrupts `mask` of the calling core `cpu` back to reset: disabled, neither pending nor active.
    /// (Only a core itself reaches its own on a GICv2.)
    pub fn reset_private(&self, mask: u32, cpu: CpuId) {
        self.disable(0, mask, cpu);
        self.clear_pending(0, mask, cpu);
        self.clear_active(0, mask, cpu);
    }

    /// The pending bits of the 32 interrupts from `32 * word`.
    #[must_use]
    pub fn pending(&self, word: u32, cpu: CpuId) -> u32 {
        either!(self, gic => gic.pending(word, cpu))
    }

    /// How many words of 32 interrupts there are, of which the first are not shared.
    #[must_use]
    pub fn words(&self) -> u32 {
        either!(self, gic => gic.words())
    }

    /// The enabled ones of the 32 shared interrupts from `32 * word`, a word there is.
    #[must_use]
    pub fn enabled_shared(&self, word: u32) -> u32 {
        either!(self, gic => gic.enabled_shared(word))
    }

    /// Whether the SPI `intid` goes to `cpu`.
    #[must_use]
    pub fn goes_to(&self, intid: u32, cpu: CpuId) -> bool {
        either!(self, gic => gic.goes_to(intid, cpu))
    }

    /// Whether the guest of the calling core has set its CPU interface to EOImode 1 (VMCR.VEOIM, bit 9 in both).
    #[must_use]
    pub fn guest_splits_eoi(&self) -> bool {
        either!(self, gic => gic.read_virtual_control()) & 1 << 9 != 0
    }

    /// Sends the SPI `intid` to `cpu`.
    pub fn route(&self, intid: u32, cpu: CpuId) {
        either!(self, gic => gic.route(intid, cpu));
    }

    /// Makes `intid` edge-triggered or level-sensitive.
    pub fn trigger(&self, intid: u32, edge: bool, cpu: CpuId) {
        either!(self, gic => gic.trigger(intid, edge, cpu));
    }

    /// Interrupts `cpu`, which then looks at all it may be wanted for.
    pub fn kick(&self, cpu: CpuId) {
        self.send(cpu, KICK);
    }

    /// Interrupts `cpu` with the SGI `intid`, below 16, one of EL2's.
    #[inline(always)]
    pub fn send(&self, cpu: CpuId, intid: u32) {
        if let Some(order) = self.order(cpu, intid) {
            either!(self, gic => gic.interface().send(order));
        }
    }

    /// How the SGI `intid`, one of EL2's, is sent to `cpu`: what [`Interface::send`] takes. `None` until that core is up.
    #[must_use]
    #[inline(always)]
    pub fn order(&self, cpu: CpuId, intid: u32) -> Option<u64> {
        known_name(cpu).map(|name| either!(self, gic => gic.order(name, intid)))
    }

    /// Which controller it is.
    #[must_use]
    pub const fn version(&self) -> GicVersion {
        match self {
            Self::V2(_) => GicVersion::V2,
            Self::V3(_) => GicVersion::V3,
        }
    }

    /// Uses `most` list registers at most, one at least. Before anything is listed.
    pub fn limit_list_registers(&mut self, most: usize) {
        either!(self, gic => gic.limit_list_registers(most))
    }

    /// How many list registers a core has.
    #[must_use]
    pub fn list_registers(&self) -> usize {
        either!(self, gic => gic.list_registers())
    }

    /// How many priority bits a guest sees.
    #[must_use]
    pub fn priority_bits(&self) -> u8 {
        either!(self, gic => gic.priority_bits())
    }

    /// Bit n set: list register n of the calling core holds neither a pending nor an active interrupt.
    #[must_use]
    #[inline(always)]
    pub fn empty_list_registers(&self) -> u32 {
        either!(self, gic => gic.interface().empty_list_registers())
    }

    /// Bit n set: list register n ended with an EOI that asked for maintenance.
    #[must_use]
    pub fn ended_list_registers(&self) -> u32 {
        either!(self, gic => gic.interface().ended_list_registers())
    }

    /// Reads list register `index` of the calling core, in its controller's format.
    #[must_use]
    pub fn read_list_register(&self, index: usize) -> u64 {
        either!(self, gic => gic.read_list_register(index))
    }

    /// Writes list register `index` of the calling core, in its controller's format.
    #[inline(always)]
    pub fn write_list_register(&self, index: usize, value: u64) {
        either!(self, gic => gic.interface().write_list_register(index, value));
    }

    /// Reads the hypervisor control register (GICH_HCR or ICH_HCR_EL2: the same bits).
    #[must_use]
    pub fn read_control(&self) -> u32 {
        either!(self, gic => gic.read_control())
    }

    /// Writes the hypervisor control register.
    pub fn write_control(&self, value: u32) {
        either!(self, gic => gic.write_control(value));
    }
}

/// A core's interface to the controller, physical and virtual: what the short path needs of it, without a choice at run time.
pub trait Interface: Copy {
    /// The INTID in what [`Interface::acknowledge`] gives.
    const INTID: u32;
    /// Which controller it is.
    const VERSION: GicVersion;

    /// Acknowledges the highest pending interrupt: the value of IAR.
    fn acknowledge(self) -> u32;
    /// Drops the running priority of what `iar` acknowledged.
    fn drop_priority(self, iar: u32);
    /// Deactivates what `iar` acknowledged.
    fn deactivate(self, iar: u32);
    /// Sends the interrupt of EL2's that `order` names, once all that was stored before is visible: [`HostGic::order`].
    fn send(self, order: u64);
    /// Bit n set: list register n holds neither a pending nor an active interrupt.
    fn empty_list_registers(self) -> u32;
    /// Bit n set: list register n ended with an EOI that asked for maintenance.
    fn ended_list_registers(self) -> u32;
    /// Writes list register `index`, in the controller's format.
    fn write_list_register(self, index: usize, value: u64);
}

/// Memory-mapped registers of 32 bits, `SIZE` bytes of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<const SIZE: usize> {
    base: NonZeroUsize,
}

impl<const SIZE: usize> Frame<SIZE> {
    /// Takes the registers at the beginning of `range`; `None` if it is too small for them.
    ///
    /// # Safety
    /// The range is a device's registers, mapped as device memory at EL2, for which 32-bit accesses have no effect on
    /// Rust's memory.
    pub(super) unsafe fn new(range: crate::words::Range) -> Option<Self> {
        let size = usize::try_from(range.size()).ok()?;
        let base = NonZeroUsize::new(usize::try_from(range.base().get()).ok()?)?;
        (size >= SIZE).then_some(Self { base })
    }

    /// Its first address.
    fn base(self) -> Pa {
        Pa::new(self.base.get() as u64)
    }

    /// The register's address, or the first one's where the offset is beyond the frame.
    #[inline(always)]
    const fn address(self, offset: usize) -> usize {
        self.base.get() + if offset + 4 <= SIZE { offset & !3 } else { 0 }
    }

    #[inline(always)]
    pub(super) fn read(self, offset: usize) -> u32 {
        // SAFETY: an aligned register of this frame, by the contract of `new`.
        unsafe { (self.address(offset) as *const u32).read_volatile() }
    }

    #[inline(always)]
    pub(super) fn write(self, offset: usize, value: u32) {
        // SAFETY: as in `read`.
        unsafe { (self.address(offset) as *mut u32).write_volatile(value) };
    }

    /// Writes the byte at `offset`, of a register that is accessible by bytes.
    pub(super) fn write8(self, offset: usize, value: u8) {
        let address = self.address(offset) + (offset & 3);
        // SAFETY: a byte of an aligned register of this frame, by the contract of `new`.
        unsafe { (address as *mut u8).write_volatile(value) };
    }

    pub(super) fn read64(self, offset: usize) -> u64 {
        // SAFETY: as in `read`; callers name 64-bit registers, which are aligned to eight.
        unsafe { (self.address(offset) as *const u64).read_volatile() }
    }

    pub(super) fn write64(self, offset: usize, value: u64) {
        // SAFETY: as in `read`; callers name 64-bit registers, which are aligned to eight.
        unsafe { (self.address(offset) as *mut u64).write_volatile(value) };
    }
}
