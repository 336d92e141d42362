//! Per-core memory: stacks with guard pages, the guest's context, and the block TPIDR_EL2 points to.

use super::context::Context;
use crate::arm::list_register::GicVersion;
use crate::words::limits::MAX_CPUS;
use crate::words::{CpuId, PAGE_BYTES, PAGE_SIZE, Pa, Range};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

const PAGE: usize = PAGE_BYTES;
/// Writing a guest's tree goes deepest: 27 KiB by the frames' sizes, with nodes copied out of the board's.
const MAIN_STACK: usize = 12 * PAGE;
const FAST_STACK: usize = 4 * PAGE;
const FAULT_STACK: usize = 4 * PAGE;

/// The stacks of one core. Each grows down towards a page that is not mapped.
#[repr(C, align(4096))]
struct Stacks {
    guard_main: [u8; PAGE],
    main: [u8; MAIN_STACK],
    guard_fast: [u8; PAGE],
    fast: [u8; FAST_STACK - size_of::<Context>()],
    context: Context,
    guard_fault: [u8; PAGE],
    fault: [u8; FAULT_STACK],
}

const _: () = assert!(size_of::<Stacks>().is_multiple_of(PAGE));
const _: () = assert!(core::mem::offset_of!(Stacks, guard_fault) % PAGE == 0);

/// What TPIDR_EL2 points to.
#[repr(C)]
#[derive(Debug)]
pub struct Block {
    /// Top of the stack for exceptions of EL2 itself.
    pub fault_stack: u64,
    /// The core.
    pub cpu: CpuId,
}

/// Memory only its core writes, after the boot core has prepared it.
struct PerCore<T>(UnsafeCell<T>);

// SAFETY: each element is reached by one core only (`Core::claim` hands it out once per core), or by the boot core
// before the others start.
unsafe impl<T> Sync for PerCore<T> {}

// SAFETY: the section is for what boot.S does not zero; the contexts are written when a core gets its own, and nobody relies on
// what a stack holds that was not written there.
#[unsafe(link_section = ".bss.stale")]
static STACKS: [PerCore<MaybeUninit<Stacks>>; MAX_CPUS] =
    [const { PerCore(UnsafeCell::new(MaybeUninit::uninit())) }; MAX_CPUS];

static BLOCKS: [PerCore<Block>; MAX_CPUS] = [const {
    PerCore(UnsafeCell::new(Block {
        fault_stack: 0,
        cpu: CpuId::new(0),
    }))
}; MAX_CPUS];

/// Stacks of a core.
pub const GUARDS: usize = 3;

/// The pages that must stay unmapped: one below each stack of each core, core after core.
pub fn guard_pages() -> impl Iterator<Item = Range> {
    STACKS.iter().flat_map(|stacks| {
        let stacks = stacks.0.get();
        let base = stacks.addr() as u64;
        let guards: [usize; GUARDS] = [
            core::mem::offset_of!(Stacks, guard_main),
            core::mem::offset_of!(Stacks, guard_fast),
            core::mem::offset_of!(Stacks, guard_fault),
        ];
        guards
            .into_iter()
            .filter_map(move |offset| Range::new(Pa::new(base + offset as u64), PAGE_SIZE))
    })
}

/// The words of the calling core's stack that `sp` lies in, from there to its top; none if it lies in no stack of a core.
pub fn stack_above(sp: u64) -> impl Iterator<Item = u64> {
    let stacks = STACKS[current().index()].0.get().addr() as u64;
    let part = |from: usize, to: usize| stacks + from as u64..stacks + to as u64;
    let guard = |offset: usize| offset + PAGE;
    let (main, fast, fault) = (
        core::mem::offset_of!(Stacks, guard_main),
        core::mem::offset_of!(Stacks, guard_fast),
        core::mem::offset_of!(Stacks, guard_fault),
    );
    let stack = [
        part(guard(main), fast),
        part(guard(fast), core::mem::offset_of!(Stacks, context)),
        part(guard(fault), size_of::<Stacks>()),
    ]
    .into_iter()
    // One that has overflown ends where its guard page begins.
    .find(|stack| (stack.start - PAGE_SIZE..stack.end).contains(&sp));
    let words = stack.map_or(0..0, |stack| sp.max(stack.start) & !7..stack.end);
    words.step_by(8).map(|at| {
        // SAFETY: an aligned word of the core's own stack, which is mapped; whoever owns it is stopped, or calls this.
        unsafe { (at as *const u64).read_volatile() }
    })
}

/// The calling core's stack pointer.
#[must_use]
#[inline(always)]
pub fn stack_pointer() -> u64 {
    let sp: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, sp", out(reg) sp, options(nomem, nostack)) };
    sp
}

/// Uses the calling core's stack until it is full: for the self-test.
#[inline(never)]
pub fn overflow_stack(depth: u64) -> u64 {
    if depth == u64::MAX {
        return depth;
    }
    let mut room = [depth; 64];
    core::hint::black_box(&mut room);
    overflow_stack(depth + 1) + room[0]
}

/// Reads where nothing is mapped: for the self-test.
pub fn read_nothing() {
    let guard = STACKS[0].0.get().addr();
    // SAFETY: the guard page is never mapped: the read does nothing but fault, which is what it is for.
    unsafe { (guard as *const u64).read_volatile() };
}

/// Top of the main stack of `cpu`.
#[must_use]
pub fn main_stack_top(cpu: CpuId) -> u64 {
    let base = STACKS[cpu.index()].0.get().addr();
    (base + core::mem::offset_of!(Stacks, guard_fast)) as u64
}

/// Makes the calling core `cpu`: its block behind TPIDR_EL2, its context given out.
///
/// # Safety
/// Called once on each core, with the core's own number.
pub unsafe fn claim(cpu: CpuId) -> &'static mut Context {
    let stacks = STACKS[cpu.index()].0.get().cast::<Stacks>();
    let block = BLOCKS[cpu.index()].0.get();
    let top = (stacks.addr() + size_of::<Stacks>()) as u64;
    // SAFETY: the block is a static of this core, which nobody else reaches.
    unsafe {
        block.write(Block {
            fault_stack: top,
            cpu,
        })
    };
    crate::write_register!("tpidr_el2", block.addr() as u64);
    // SAFETY: the pointer is into a static of this core.
    let context = unsafe { &raw mut (*stacks).context };
    // SAFETY: as above; nothing has been there before.
    unsafe { context.write(Context::new()) };
    // SAFETY: it was just written, and nothing else makes a reference to it.
    unsafe { &mut *context }
}

/// Gives the boot core, before it knows its number, the first core's fault stack.
pub fn claim_for_boot() {
    let top = (STACKS[0].0.get().addr() + size_of::<Stacks>()) as u64;
    let block = BLOCKS[0].0.get();
    // SAFETY: no other core runs yet, so nobody else reaches the block; `claim` writes it anew.
    unsafe {
        block.write(Block {
            fault_stack: top,
            cpu: CpuId::new(0),
        })
    };
    crate::write_register!("tpidr_el2", block.addr() as u64);
    // Either table takes exceptions of EL2 itself; `init::el2` chooses for guests.
    crate::write_register!("vbar_el2", super::context::vector_base(GicVersion::V3));
}

/// The calling core's number.
#[must_use]
pub fn current() -> CpuId {
    let block = crate::read_register!("tpidr_el2") as *const Block;
    // SAFETY: TPIDR_EL2 is what `claim_for_boot` or `claim` wrote: a static that only this core writes.
    unsafe { (*block).cpu }
}
