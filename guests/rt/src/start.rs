//! From the first instruction to the guest's main function, on the boot CPU and on the others.
//!
//! Invariant: the assembly knows no numbers; offsets, bits and symbols come from here.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::cpu::{self, MAX_CPUS};
use crate::mmu::{self, Translation};
use crate::{machine, psci, vectors};

/// Bytes of each CPU's stack.
pub const STACK_SIZE: usize = 16 * 1024;

/// What a CPU found when it was entered, before the runtime changed anything.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct EntryState {
    /// x0-x3.
    pub x: [u64; 4],
    /// CurrentEL: the exception level in bits 3:2.
    pub current_el: u64,
    /// DAIF: the masks in bits 9:6.
    pub daif: u64,
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// SPSel: 1 for the level's own stack pointer.
    pub spsel: u64,
    /// MPIDR_EL1.
    pub mpidr: u64,
    /// CNTVCT_EL0, in ticks.
    pub cntvct: u64,
    /// All bits set in any of x4-x30.
    pub rest: u64,
}

impl EntryState {
    const ZERO: Self = Self {
        x: [0; 4],
        current_el: 0,
        daif: 0,
        sctlr: 0,
        spsel: 0,
        mpidr: 0,
        cntvct: 0,
        rest: 0,
    };
}

/// What a secondary CPU needs at its entry; CPU_ON's context is its address.
#[repr(C)]
pub(crate) struct SecondaryStart {
    stack_top: u64,
    translation: *const Translation,
    index: usize,
    function: fn(u64),
    argument: u64,
    entry: EntryState,
}

#[repr(C, align(64))]
struct Slot(UnsafeCell<SecondaryStart>);

impl Slot {
    const fn new() -> Self {
        Self(UnsafeCell::new(SecondaryStart {
            stack_top: 0,
            translation: core::ptr::null(),
            index: 0,
            function: |_| {},
            argument: 0,
            entry: EntryState::ZERO,
        }))
    }
}

// SAFETY: a slot is written by the CPU that starts another and read by the started one afterwards;
// CPU_ON orders the two.
unsafe impl Sync for Slot {}

static SLOTS: [Slot; MAX_CPUS] = [const { Slot::new() }; MAX_CPUS];

/// How often each CPU was started.
static STARTS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

#[repr(C, align(16))]
struct Stacks(UnsafeCell<[[u8; STACK_SIZE]; MAX_CPUS]>);

// SAFETY: each CPU uses only the stack of its own index.
unsafe impl Sync for Stacks {}

static STACKS: Stacks = Stacks(UnsafeCell::new([[0; STACK_SIZE]; MAX_CPUS]));

#[repr(C)]
struct BootEntry(UnsafeCell<EntryState>);

// SAFETY: written once by the boot CPU before Rust code runs, read afterwards.
unsafe impl Sync for BootEntry {}

static BOOT_ENTRY: BootEntry = BootEntry(UnsafeCell::new(EntryState::ZERO));

global_asm!(
    include_str!("start.S"),
    // The arm64 Image header (Linux Documentation/arch/arm64/booting.rst): no text offset, little
    // endian, 4 KiB pages, anywhere in memory; the size's own offset in the header; "ARM\x64".
    TEXT_OFFSET = const 0,
    IMAGE_FLAGS = const 0b1010,
    SIZE_FIELD = const 16,
    IMAGE_MAGIC = const 0x644d_5241,
    // DAIFSet takes D, A, I, F as bits 3:0 (Arm ARM C5.2).
    DAIF_ALL = const 0b1111,
    // CTR_EL0.DminLine: log2 of words, bits 19:16 (Arm ARM D24.2.34).
    DMINLINE_SHIFT = const 16,
    DMINLINE_BITS = const 4,
    // R_AARCH64_RELATIVE (ELF for the Arm 64-bit Architecture, 5.7.14).
    RELATIVE = const 1027,
    STACKS = sym STACKS,
    STACK_SIZE = const STACK_SIZE,
    ENTRY_X0 = const offset_of!(EntryState, x),
    ENTRY_EL = const offset_of!(EntryState, current_el),
    ENTRY_SCTLR = const offset_of!(EntryState, sctlr),
    ENTRY_MPIDR = const offset_of!(EntryState, mpidr),
    ENTRY_REST = const offset_of!(EntryState, rest),
    START_STACK = const offset_of!(SecondaryStart, stack_top),
    START_TRANSLATION = const offset_of!(SecondaryStart, translation),
    START_ENTRY = const offset_of!(SecondaryStart, entry),
    TRANSLATION_TTBR0 = const offset_of!(Translation, ttbr0),
    TRANSLATION_TCR = const offset_of!(Translation, tcr),
    SUSPEND_TRANSLATION = const offset_of!(Suspend, translation),
    SUSPEND_SP = const offset_of!(Suspend, stack_pointer),
    SUSPEND_SCTLR = const offset_of!(Suspend, sctlr),
    TRANSLATION = sym mmu::build,
    ENTRY = sym boot_entry_pointer,
    PRIMARY = sym primary,
    SECONDARY = sym secondary,
);

const _: () = assert!(offset_of!(Translation, mair) == offset_of!(Translation, ttbr0) + 8);
const _: () = assert!(offset_of!(Translation, sctlr) == offset_of!(Translation, tcr) + 8);
const _: () = assert!(offset_of!(EntryState, daif) == offset_of!(EntryState, current_el) + 8);
const _: () = assert!(offset_of!(EntryState, spsel) == offset_of!(EntryState, sctlr) + 8);
const _: () = assert!(offset_of!(EntryState, cntvct) == offset_of!(EntryState, mpidr) + 8);

const _: () = assert!(offset_of!(Suspend, current_el) == offset_of!(Suspend, sctlr) + 8);

unsafe extern "C" {
    fn rt_secondary();
    fn rt_resume();
    fn rt_suspend(suspend: *mut Suspend) -> u64;
    static __image_start: u8;
    static __image_end: u8;
}

unsafe extern "Rust" {
    fn bulkhead_guest_main(machine: &'static machine::Machine);
}

extern "C" fn boot_entry_pointer() -> *mut EntryState {
    BOOT_ENTRY.0.get()
}

/// What a suspended CPU needs to come back.
#[repr(C, align(64))]
struct Suspend {
    call: [u64; 4],
    translation: *const Translation,
    stack_pointer: u64,
    sctlr: u64,
    current_el: u64,
}

/// How a suspend call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The call returned SUCCESS: standby, or power-down refused because an interrupt was pending.
    Returned,
    /// The CPU was powered down and entered again in this state.
    Restarted {
        /// SCTLR_EL1 at the entry.
        sctlr: u64,
        /// CurrentEL at the entry.
        current_el: u64,
    },
}

/// Calls a suspend function, its entry point and context put after `arguments`.
pub(crate) fn suspend(function: u32, arguments: &[u64]) -> Result<Woken, i32> {
    let mut suspend = Suspend {
        call: [0; 4],
        translation: mmu::translation(),
        stack_pointer: 0,
        sctlr: 0,
        current_el: 0,
    };
    let here = mmu::address(&raw const suspend);
    let tail = [mmu::address(rt_resume as *const ()), here];
    let call = [u64::from(function)].into_iter();
    let call = call.chain(arguments.iter().copied()).chain(tail);
    for (place, value) in suspend.call.iter_mut().zip(call) {
        *place = value;
    }
    // SAFETY: the record stays on this stack until the call is back.
    match unsafe { rt_suspend(&raw mut suspend) } {
        0 => Ok(Woken::Returned),
        1 => Ok(Woken::Restarted {
            sctlr: suspend.sctlr,
            current_el: suspend.current_el,
        }),
        code => Err(crate::call::code32(code)),
    }
}

/// Returns the memory of the guest's own image, its zeroed part included.
pub fn image() -> machine::Range {
    let base = mmu::address(&raw const __image_start);
    let end = mmu::address(&raw const __image_end);
    machine::Range {
        base,
        size: end - base,
    }
}

/// Returns the state in which the boot CPU was entered.
pub(crate) fn boot_entry() -> EntryState {
    // SAFETY: written before any Rust code that can call this ran; nobody writes it again.
    unsafe { *BOOT_ENTRY.0.get() }
}

/// Returns the state in which secondary CPU `index` was entered last; zeros if never.
pub(crate) fn secondary_entry_state(index: usize) -> EntryState {
    // SAFETY: the caller has learned from that CPU that it runs, or it never ran.
    unsafe { (*SLOTS[index].0.get()).entry }
}

/// Returns how often CPU `index` has been started.
pub(crate) fn starts(index: usize) -> u64 {
    STARTS[index].load(Ordering::Acquire)
}

/// Returns the address at which CPU_ON enters a secondary CPU.
pub(crate) fn secondary_address() -> u64 {
    mmu::address(rt_secondary as *const ())
}

/// Fills CPU `index`'s slot and returns the context for its CPU_ON.
pub(crate) fn prepare(index: usize, function: fn(u64), argument: u64) -> u64 {
    let slot = SLOTS[index].0.get();
    let stacks = mmu::address(STACKS.0.get());
    let top = stacks + ((index + 1) * STACK_SIZE) as u64;
    let start = SecondaryStart {
        stack_top: top,
        translation: mmu::translation(),
        index,
        function,
        argument,
        entry: EntryState::default(),
    };
    // SAFETY: CPU `index` is off, so nobody reads its slot now.
    unsafe { slot.write(start) };
    mmu::clean_invalidate(slot.cast(), size_of::<SecondaryStart>());
    mmu::address(slot)
}

extern "C" fn primary(tree: *const u8) -> ! {
    cpu::set_index(0);
    vectors::install();
    machine::discover(tree);
    // SAFETY: `entry!` defines the function with this very type.
    unsafe { bulkhead_guest_main(machine::machine()) };
    psci::system_off()
}

extern "C" fn secondary(start: *const SecondaryStart) -> ! {
    // SAFETY: CPU_ON's context is a slot that `prepare` filled, and it stays until this CPU is off.
    let start = unsafe { &*start };
    cpu::set_index(start.index);
    vectors::install();
    STARTS[start.index].fetch_add(1, Ordering::Release);
    (start.function)(start.argument);
    psci::cpu_off()
}
