//! Taking over what the firmware's tree describes.
//!
//! This module is where trust in that tree enters: each function is called by the boot core, once for each range, with
//! what the tree (or the placement made from it) says; a tree that lies about its own machine cannot be survived.

use super::context::Context;
use super::gic::{HostGic, V2, V3};
use super::memory::{GuestRam, TablePages};
use super::uart::{BoardUart, Kind};
use super::watchdog::Watchdog;
use crate::words::{CpuId, Mpidr, PAGE_BYTES, PAGE_SIZE, Pa, Range};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Magic of a flattened device tree (Devicetree Specification 5.2).
const FDT_MAGIC: u32 = 0xd00d_feed;
/// Most bytes a tree may have.
const FDT_MAX: u32 = 2 << 20;
/// Pages for EL2's own tables.
const TABLE_PAGES: usize = 64;

/// Room for EL2's own tables.
#[repr(C, align(4096))]
struct Pages(UnsafeCell<MaybeUninit<[u8; TABLE_PAGES * PAGE_BYTES]>>);

// SAFETY: reached through `own_tables` alone, which gives it out once.
unsafe impl Sync for Pages {}

// SAFETY: the section is for what boot.S does not zero; a table is zeroed when it is allocated.
#[unsafe(link_section = ".bss.stale")]
static PAGES: Pages = Pages(UnsafeCell::new(MaybeUninit::uninit()));
static PAGES_TAKEN: AtomicBool = AtomicBool::new(false);
/// Bit n: core n has its context.
static CLAIMED: AtomicU8 = AtomicU8::new(0);

/// Pages for EL2's own tables: once.
pub fn own_tables() -> Option<TablePages> {
    // A plain load and store: exclusives need not work before the MMU is on, and only the boot core runs.
    if PAGES_TAKEN.load(Ordering::Relaxed) {
        return None;
    }
    PAGES_TAKEN.store(true, Ordering::Relaxed);
    let range = Range::new(
        Pa::new(PAGES.0.get().addr() as u64),
        TABLE_PAGES as u64 * PAGE_SIZE,
    )?;
    // SAFETY: a static of the image that is given out once.
    Some(unsafe { TablePages::new(range) })
}

/// The flattened device tree firmware left at `address`, or `None` if none is there.
#[must_use]
pub fn device_tree(address: Pa) -> Option<&'static [u8]> {
    if address.get() == 0 || !address.is_aligned(8) {
        return None;
    }
    let word = |index: u64| {
        let at = (address.get() + 4 * index) as *const u32;
        // SAFETY: the boot protocol puts the tree's address in x0, so its header is readable memory; aligned above.
        u32::from_be(unsafe { at.read_volatile() })
    };
    let size = word(1);
    if word(0) != FDT_MAGIC || size > FDT_MAX {
        return None;
    }
    let range = Range::new(address, u64::from(size))?;
    // SAFETY: the boot protocol hands this memory over, and nothing here writes it.
    Some(unsafe { super::memory::bytes(range) })
}

/// What the boot loader left as initial ramdisk.
#[must_use]
pub fn ramdisk(range: Range) -> &'static [u8] {
    // SAFETY: the tree's /chosen names it, the tables map it, the placement keeps it from partitions.
    unsafe { super::memory::bytes(range) }
}

/// The console's UART.
#[must_use]
pub fn uart(kind: Kind, registers: Range) -> Option<BoardUart> {
    // SAFETY: the tree's stdout-path names it, the tables map it, and the caller's lock keeps it to one user.
    unsafe { BoardUart::new(kind, registers) }
}

/// The board's power manager.
#[must_use]
pub fn watchdog(registers: Range) -> Option<Watchdog> {
    // SAFETY: the tree's power manager node names them, the tables map them, and no partition gets them.
    unsafe { Watchdog::new(registers) }
}

/// The GICv2 with these frames.
#[must_use]
pub fn gic_v2(
    distributor: Range,
    cpu_interface: Range,
    hypervisor: Range,
    virtual_cpu: Range,
) -> Option<HostGic> {
    // SAFETY: the tree's GIC node names them, and the tables map them as device memory.
    unsafe { V2::new(distributor, cpu_interface, hypervisor, virtual_cpu) }.map(HostGic::V2)
}

/// The GICv3 with these frames; `None` if a CPU has no redistributor.
#[must_use]
pub fn gic_v3(
    distributor: Range,
    redistributors: &[Range],
    stride: u64,
    cpus: impl Iterator<Item = Mpidr>,
) -> Option<HostGic> {
    // SAFETY: as for the GICv2.
    unsafe { V3::new(distributor, redistributors, stride, cpus) }.map(HostGic::V3)
}

/// Free pages of RAM, for a partition's stage-2 tables.
#[must_use]
pub fn stage2_tables(range: Range) -> TablePages {
    // SAFETY: the placement took the range out of free RAM for this alone.
    unsafe { TablePages::new(range) }
}

/// A partition's RAM.
#[must_use]
pub fn guest_ram(range: Range) -> GuestRam {
    // SAFETY: the placement took the range out of free RAM for this partition.
    unsafe { GuestRam::new(range) }
}

/// The calling core's context: once for each core.
pub fn claim_core(cpu: CpuId) -> Option<&'static mut Context> {
    let bit = 1 << (cpu.index() & 7);
    if CLAIMED.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
        return None;
    }
    // SAFETY: the bit shows that this is the first call for this core.
    Some(unsafe { super::core::claim(cpu) })
}

/// Turns EL2's stage 1 on.
pub fn turn_mmu_on(regime: super::boot::Regime) {
    // What was written with the caches off must not be hidden by stale lines.
    let image = super::boot::image();
    super::cache::invalidate(image.base().get(), image.size());
    // SAFETY: the tables were built by `program::tables`, which maps the image where it runs.
    unsafe { super::boot::turn_mmu_on(regime) };
}

/// Fills the table secondary cores start from.
pub fn prepare_secondaries(regime: super::boot::Regime, cpus: impl Iterator<Item = Mpidr>) {
    // SAFETY: the boot core calls it before it starts any other.
    unsafe { super::boot::prepare_secondaries(regime, cpus) };
}

/// Releases a core from the spin table.
pub fn release_from_spin_table(release: Pa, entry: Pa) {
    // SAFETY: the address is the core's cpu-release-addr in the tree.
    unsafe { super::firmware::release(release, entry) };
}
