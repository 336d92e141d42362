//! EL1's own translation: an identity map in blocks of 1 GiB, RAM cached, everything else device
//! memory, and cache maintenance by address.
//!
//! Invariant: the root table maps VA = PA for the first 512 GiB; a guest that wants more
//! (other attributes, pages, aliases) writes root entries itself by [`set_root_entry`].

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Entries of a translation table with the 4 KiB granule.
pub const ENTRIES: usize = 512;
/// Bytes an entry of the root (level 1) table maps.
pub const ROOT_BLOCK: u64 = 1 << 30;

/// Descriptor bits (Arm ARM D8.3).
pub mod descriptor {
    /// Block at levels 1 and 2.
    pub const BLOCK: u64 = 0b01;
    /// Table at levels 1 and 2, page at level 3.
    pub const TABLE_OR_PAGE: u64 = 0b11;
    /// AttrIndx 0 of MAIR: Device-nGnRnE.
    pub const DEVICE: u64 = 0 << 2;
    /// AttrIndx 1 of MAIR: Normal, write-back.
    pub const NORMAL: u64 = 1 << 2;
    /// AttrIndx 2 of MAIR: Normal, non-cacheable.
    pub const UNCACHED: u64 = 2 << 2;
    /// AP\[1\]: EL0 may access.
    pub const EL0: u64 = 1 << 6;
    /// AP\[2\]: read only.
    pub const READ_ONLY: u64 = 1 << 7;
    /// Inner shareable.
    pub const INNER_SHAREABLE: u64 = 0b11 << 8;
    /// Access flag.
    pub const ACCESSED: u64 = 1 << 10;
    /// EL1 may not execute.
    pub const PXN: u64 = 1 << 53;
    /// EL0 may not execute.
    pub const UXN: u64 = 1 << 54;
    /// RAM as this runtime maps it for itself.
    pub const RAM_BLOCK: u64 = BLOCK | NORMAL | INNER_SHAREABLE | ACCESSED | UXN;
    /// Device memory as this runtime maps it for itself.
    pub const DEVICE_BLOCK: u64 = BLOCK | DEVICE | ACCESSED | PXN | UXN;
}

/// MAIR_EL1: the three memory types above (Arm ARM D24.2.110).
const MAIR: u64 = 0x44_ff_00;
/// TCR_EL1 (Arm ARM D24.2.180): 39 bits of VA by TTBR0, walks cached and inner shareable, 4 KiB;
/// TTBR1 walks disabled, its granule 4 KiB too. IPS comes from the CPU.
const TCR: u64 = 25 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | 1 << 23 | 25 << 16 | 0b10 << 30;
/// TCR_EL1.IPS.
const TCR_IPS_SHIFT: u32 = 32;
/// Largest IPS without FEAT_LPA: 48 bits.
const IPS_48_BITS: u64 = 5;
/// SCTLR_EL1 (Arm ARM D24.2.152): bits that are RES1 where their feature is missing.
const SCTLR_RES1: u64 = 1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 20 | 1 << 11;
/// SCTLR_EL1.M: the MMU.
const SCTLR_M: u64 = 1 << 0;
/// SCTLR_EL1.C: data caches.
const SCTLR_C: u64 = 1 << 2;
/// SCTLR_EL1.I: instruction caches.
const SCTLR_I: u64 = 1 << 12;

/// Register values that switch translation on.
#[repr(C)]
pub(crate) struct Translation {
    pub(crate) ttbr0: u64,
    pub(crate) mair: u64,
    pub(crate) tcr: u64,
    pub(crate) sctlr: u64,
}

/// A table of the 4 KiB granule, writable while walked.
#[repr(C, align(4096))]
pub struct Table([AtomicU64; ENTRIES]);

impl Table {
    /// Returns a table that maps nothing.
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; ENTRIES])
    }

    /// Writes one entry; [`synchronize`] makes it seen by walks.
    pub fn set(&self, index: usize, descriptor: u64) {
        self.0[index].store(descriptor, Ordering::Relaxed);
    }

    /// Returns one entry.
    pub fn get(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Relaxed)
    }

    /// Returns the table's address.
    pub fn address(&self) -> u64 {
        address(self)
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

struct Registers(UnsafeCell<Translation>);

// SAFETY: written once by the boot CPU with the MMU off, read afterwards.
unsafe impl Sync for Registers {}

static ROOT: Table = Table::new();
static REGISTERS: Registers = Registers(UnsafeCell::new(Translation {
    ttbr0: 0,
    mair: 0,
    tcr: 0,
    sctlr: 0,
}));

unsafe extern "C" {
    fn rt_call_with_mmu_off(function: extern "C" fn(u64), argument: u64, sctlr: u64);
}

/// Returns a pointer's address as a number.
pub fn address<T: ?Sized>(pointer: *const T) -> u64 {
    pointer.cast::<u8>().addr() as u64
}

/// Fills the root table and the register values; runs with the MMU off, once.
pub(crate) extern "C" fn build(image: u64) -> *const Translation {
    for index in 0..ENTRIES {
        ROOT.set(
            index,
            (index as u64 * ROOT_BLOCK) | descriptor::DEVICE_BLOCK,
        );
    }
    map_ram_block(image / ROOT_BLOCK);
    let ranges = crate::read_sysreg!("id_aa64mmfr0_el1") & 0xf;
    let registers = Translation {
        ttbr0: ROOT.address(),
        mair: MAIR,
        tcr: TCR | ranges.min(IPS_48_BITS) << TCR_IPS_SHIFT,
        sctlr: SCTLR_RES1 | SCTLR_M | SCTLR_C | SCTLR_I,
    };
    // SAFETY: the only CPU that runs, and nobody has read it yet.
    unsafe { REGISTERS.0.get().write(registers) };
    REGISTERS.0.get()
}

fn map_ram_block(block: u64) {
    if let Ok(index) = usize::try_from(block)
        && index < ENTRIES
    {
        ROOT.set(index, (block * ROOT_BLOCK) | descriptor::RAM_BLOCK);
    }
}

/// Maps the whole root blocks within a range of RAM as RAM.
pub(crate) fn add_ram(base: u64, size: u64) {
    let first = base.div_ceil(ROOT_BLOCK);
    let last = base.saturating_add(size) / ROOT_BLOCK;
    for block in first..last.min(ENTRIES as u64) {
        map_ram_block(block);
    }
    synchronize();
}

pub(crate) fn translation() -> *const Translation {
    REGISTERS.0.get()
}

/// Returns the root table (level 1, entry n maps the n-th GiB).
pub fn root() -> &'static Table {
    &ROOT
}

/// Replaces a root entry and returns the old one.
///
/// # Safety
/// The runtime's own code, stacks and data must stay mapped as they are.
pub unsafe fn set_root_entry(index: usize, descriptor: u64) -> u64 {
    let old = ROOT.get(index);
    ROOT.set(index, 0);
    synchronize();
    ROOT.set(index, descriptor);
    synchronize();
    old
}

/// Tables for pieces of the device space that are mapped otherwise: one for a GiB, one for each 2 MiB touched.
static PIECES: [Table; 16] = [const { Table::new() }; 16];
static PIECES_TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Bits of an entry that are the address of a table or block.
const OUTPUT: u64 = 0x0000_ffff_ffff_f000;
/// Bytes of a page.
const PAGE: u64 = 4096;
/// Bytes an entry of a level 2 table maps.
const MIDDLE_BLOCK: u64 = 2 << 20;

/// Maps `size` bytes at `base`, whole pages among the devices' addresses, with other attributes ([`descriptor`], without
/// the type bits); for one CPU at a time. `false` if they are no such addresses, or there is no room for tables.
pub fn map_shared(base: u64, size: u64, attributes: u64) -> bool {
    let pages = (base..base.saturating_add(size)).step_by(4096);
    let done = pages.into_iter().all(|page| map_page(page, attributes));
    synchronize();
    done
}

fn map_page(page: u64, attributes: u64) -> bool {
    let root = index(page, ROOT_BLOCK);
    if root >= ENTRIES || !page.is_multiple_of(PAGE) {
        return false;
    }
    let Some(middle) = split(&ROOT, root, page & !(ROOT_BLOCK - 1), MIDDLE_BLOCK) else {
        return false;
    };
    let Some(last) = split(
        middle,
        index(page, MIDDLE_BLOCK) % ENTRIES,
        page & !(MIDDLE_BLOCK - 1),
        PAGE,
    ) else {
        return false;
    };
    let slot = index(page, PAGE) % ENTRIES;
    last.set(slot, 0);
    synchronize();
    last.set(slot, page | attributes | descriptor::TABLE_OR_PAGE);
    true
}

fn index(address: u64, unit: u64) -> usize {
    usize::try_from(address / unit).unwrap_or(usize::MAX)
}

/// The table behind an entry that maps device memory from `base` on: the one that is there, or a new one with `unit` bytes
/// an entry.
fn split(table: &Table, entry: usize, base: u64, unit: u64) -> Option<&'static Table> {
    let old = table.get(entry);
    if old & descriptor::TABLE_OR_PAGE == descriptor::TABLE_OR_PAGE {
        return PIECES.iter().find(|piece| piece.address() == old & OUTPUT);
    }
    if old != base | descriptor::DEVICE_BLOCK {
        return None;
    }
    let new = PIECES.get(PIECES_TAKEN.fetch_add(1, Ordering::Relaxed))?;
    let kind = if unit == PAGE {
        descriptor::TABLE_OR_PAGE
    } else {
        descriptor::BLOCK
    };
    for (slot, address) in (base..).step_by(index(unit, 1)).take(ENTRIES).enumerate() {
        let block = descriptor::DEVICE_BLOCK & !descriptor::BLOCK;
        new.set(slot, address | block | kind);
    }
    // Break before make (Arm ARM D8.16.1): nothing may translate through both.
    table.set(entry, 0);
    synchronize();
    table.set(entry, new.address() | descriptor::TABLE_OR_PAGE);
    synchronize();
    Some(new)
}

/// Makes changed tables take effect on all CPUs.
pub fn synchronize() {
    // SAFETY: barriers and TLB invalidation only make the CPUs see the tables as they are.
    unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb") };
}

/// Makes changed tables take effect on the calling CPU alone.
pub fn synchronize_own() {
    // SAFETY: as in `synchronize`.
    unsafe { asm!("dsb nshst", "tlbi vmalle1", "dsb nsh", "isb") };
}

/// Makes freshly written instructions executable: cleans data to the point of unification and
/// drops instruction lines.
pub fn synchronize_instructions(start: *const u8, length: usize) {
    clean_invalidate(start, length);
    // SAFETY: dropping instruction lines loses nothing.
    unsafe { asm!("ic ialluis", "dsb ish", "isb") };
}

/// Cleans and invalidates the data lines of a range to the point of coherency.
pub fn clean_invalidate(start: *const u8, length: usize) {
    let words_log2 = (crate::read_sysreg!("ctr_el0") >> 16) & 0xf;
    let line = 4usize << words_log2;
    let end = start.addr() + length;
    let mut at = start.addr() & !(line - 1);
    while at < end {
        // SAFETY: cleaning a line changes no memory's content.
        unsafe { asm!("dc civac, {0}", in(reg) at) };
        at += line;
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy") };
}

/// Runs `function` with the MMU and the data cache off, then on again.
///
/// On hardware, what it touches must not be dirty in the caches: this cleans the caller's stack;
/// the rest is the caller's. Atomics other than loads and stores do not work meanwhile.
pub fn without_translation(function: extern "C" fn(u64), argument: u64) {
    let here = 0u8;
    let stack = core::ptr::from_ref(&here);
    let bottom = stack.wrapping_sub(4096);
    clean_invalidate(bottom, 8192);
    let sctlr = crate::read_sysreg!("sctlr_el1") & !(SCTLR_M | SCTLR_C);
    // SAFETY: the map is the identity, so the same addresses work without it.
    unsafe { rt_call_with_mmu_off(function, argument, sctlr) };
}
