//! The first instructions (boot.S), the image's sections, and the table secondary cores start from.

use crate::arm::control;
use crate::words::limits::MAX_CPUS;
use crate::words::{CpuId, Mpidr, PAGE_BYTES, PAGE_SIZE, Pa, Range};
use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, offset_of};

/// Image header flags: little-endian, 4 KiB pages, anywhere in memory (booting.rst).
const IMAGE_FLAGS: u64 = 0b1010;
/// Bytes of the stack the boot core starts on.
const BOOT_STACK_SIZE: usize = 256 * 1024;

/// The boot core's first stack, behind a page that gets unmapped.
#[repr(C, align(4096))]
struct BootStack(UnsafeCell<MaybeUninit<[u8; PAGE_BYTES + BOOT_STACK_SIZE]>>);

// SAFETY: the boot core alone uses it, as its stack.
unsafe impl Sync for BootStack {}

// SAFETY: the section is for what boot.S does not zero, and nobody reads of the stack what was not written there.
#[unsafe(link_section = ".bss.stale")]
static BOOT_STACK: BootStack = BootStack(UnsafeCell::new(MaybeUninit::uninit()));

/// What a secondary core reads with its caches off.
#[repr(C)]
struct StartTable {
    count: u64,
    /// TTBR0_EL2, TCR_EL2, MAIR_EL2.
    regime: [u64; 3],
    entries: [StartEntry; MAX_CPUS],
}

/// A secondary core: who it is and its stack.
#[repr(C)]
#[derive(Clone, Copy)]
struct StartEntry {
    mpidr: u64,
    stack: u64,
}

/// The start table, in cache lines of its own.
#[repr(C, align(128))]
struct Shared(UnsafeCell<StartTable>);

// SAFETY: written by the boot core before any other core starts, only read after that.
unsafe impl Sync for Shared {}

static START: Shared = Shared(UnsafeCell::new(StartTable {
    count: 0,
    regime: [0; 3],
    entries: [StartEntry { mpidr: 0, stack: 0 }; MAX_CPUS],
}));

global_asm!(
    include_str!("boot.S"),
    image_flags = const IMAGE_FLAGS,
    cptr_boot = const control::CPTR_GUEST,
    hcr_boot = const control::HCR_BOOT.bits(),
    sctlr_off = const control::SCTLR_EL2_OFF,
    sctlr_on = const control::SCTLR_EL2_ON,
    mpidr_mask = const Mpidr::MASK,
    boot_stack = sym BOOT_STACK,
    boot_stack_size = const size_of::<BootStack>(),
    boot_main = sym crate::program::boot::primary,
    secondary_main = sym crate::program::boot::secondary,
    start_table = sym START,
    start_count = const offset_of!(StartTable, count),
    start_regime = const offset_of!(StartTable, regime),
    start_entries = const offset_of!(StartTable, entries),
);

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
    fn secondary_entry();
    fn enable_mmu(ttbr: u64, tcr: u64, mair: u64);
    fn switch_stack(top: u64, cpu: u64, main: extern "C" fn(u64) -> !) -> !;
}

/// The range between two symbols of the linker script.
fn between(from: *const u8, to: *const u8) -> Range {
    let (from, to) = (from.addr() as u64, to.addr() as u64);
    Range::new(Pa::new(from), to.saturating_sub(from)).unwrap_or_default()
}

/// The image's code.
#[must_use]
pub fn text() -> Range {
    between(&raw const __image_start, &raw const __text_end)
}

/// The image's constants.
#[must_use]
pub fn rodata() -> Range {
    between(&raw const __text_end, &raw const __rodata_end)
}

/// The image's variables.
#[must_use]
pub fn data() -> Range {
    between(&raw const __rodata_end, &raw const __image_end)
}

/// The whole image.
#[must_use]
pub fn image() -> Range {
    between(&raw const __image_start, &raw const __image_end)
}

/// The call instruction before `address`, if one is there: what `address` returns to then.
#[must_use]
pub fn call_before(address: u64) -> Option<u64> {
    /// Bytes of an instruction.
    const SIZE: u64 = 4;
    /// BL, and BLR (Arm ARM C6.2.36, C6.2.37): the bits that are fixed.
    const BL: (u32, u32) = (0xfc00_0000, 0x9400_0000);
    const BLR: (u32, u32) = (0xffff_fc1f, 0xd63f_0000);
    let at = address.checked_sub(SIZE)?;
    let instruction = Range::new(Pa::new(at), SIZE)?;
    if at & (SIZE - 1) != 0 || !text().contains(instruction) {
        return None;
    }
    // SAFETY: an aligned word of the image's code, which is mapped readable.
    let instruction = unsafe { (at as *const u32).read_volatile() };
    let is = |(mask, value): (u32, u32)| instruction & mask == value;
    (is(BL) || is(BLR)).then_some(at)
}

/// The page below the boot stack.
#[must_use]
pub fn boot_guard_page() -> Range {
    Range::new(Pa::new(BOOT_STACK.0.get().addr() as u64), PAGE_SIZE).unwrap_or_default()
}

/// Where firmware starts a secondary core.
#[must_use]
pub fn secondary_entry_point() -> Pa {
    Pa::new((secondary_entry as *const ()).addr() as u64)
}

/// EL2's translation regime: what `enable_mmu` loads.
#[derive(Clone, Copy, Debug)]
pub struct Regime {
    /// TTBR0_EL2.
    pub ttbr: u64,
    /// TCR_EL2.
    pub tcr: u64,
    /// MAIR_EL2.
    pub mair: u64,
}

/// Turns EL2's stage 1 and caches on.
///
/// # Safety
/// The tables map the image where it runs, with the code executable and the rest as Rust uses it.
pub unsafe fn turn_mmu_on(regime: Regime) {
    // SAFETY: by this function's contract execution goes on at the same addresses.
    unsafe { enable_mmu(regime.ttbr, regime.tcr, regime.mair) };
}

/// Tells secondary cores what they start with: the regime, and for each core its affinity. The table is cleaned to
/// the point of coherency, since they read it with their caches off.
///
/// # Safety
/// No secondary core has been started yet.
pub unsafe fn prepare_secondaries(regime: Regime, cpus: impl Iterator<Item = Mpidr>) {
    let table = START.0.get();
    for (index, mpidr) in cpus.take(MAX_CPUS).enumerate() {
        let cpu = CpuId::new(u8::try_from(index).unwrap_or(0));
        let entry = StartEntry {
            mpidr: mpidr.get(),
            stack: super::core::main_stack_top(cpu),
        };
        // SAFETY: no other core reads the table yet, by this function's contract; `index` is below MAX_CPUS.
        unsafe { (*table).entries[index] = entry };
        // SAFETY: as above.
        unsafe { (*table).count = index as u64 + 1 };
    }
    // SAFETY: as above.
    unsafe { (*table).regime = [regime.ttbr, regime.tcr, regime.mair] };
    super::cache::clean_to_coherency(table.addr() as u64, size_of::<StartTable>() as u64);
    let image = image();
    super::cache::clean_to_coherency(image.base().get(), image.size());
}

/// Leaves the boot stack for the core's own, and goes on in `main` with the core's number.
pub fn continue_on_own_stack(cpu: CpuId, main: extern "C" fn(u64) -> !) -> ! {
    // SAFETY: the stack belongs to this core and is mapped; the boot stack is not used again.
    unsafe { switch_stack(super::core::main_stack_top(cpu), u64::from(cpu.get()), main) }
}
