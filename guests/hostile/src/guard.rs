//! Runs code that may do anything to its own CPU, and comes back.
//!
//! Invariant: each CPU uses its own place alone; what an attack leaves of a CPU, `guard.S` puts right.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

use bulkhead_rt::abi::psci::CPU_OFF;
use bulkhead_rt::cpu::MAX_CPUS;
use bulkhead_rt::mmu;

/// Instructions of an attack, its return included.
pub const WORDS: usize = 32;
/// `RET`.
const RET: u32 = 0xd65f_03c0;

/// What a CPU needs to come back, and what it attacks with.
#[repr(C, align(4096))]
struct Place {
    code: [u32; WORDS],
    /// What Rust relies on; then ESR_EL1 of the exception.
    saved: [u64; 21],
    stack: [u64; 256],
}

#[repr(C)]
struct Places([UnsafeCell<Place>; MAX_CPUS]);

// SAFETY: each CPU uses the place of its own index; what attacks write there by chance is their business.
unsafe impl Sync for Places {}

static PLACES: Places = Places(
    [const {
        UnsafeCell::new(Place {
            code: [RET; WORDS],
            saved: [0; 21],
            stack: [0; 256],
        })
    }; MAX_CPUS],
);

global_asm!(
    include_str!("guard.S"),
    SAVED = const offset_of!(Place, saved),
    CONTEXTS = sym PLACES,
    CONTEXT_SIZE = const size_of::<Place>(),
    // DAIFSet takes D, A, I, F as bits 3:0 (Arm ARM C5.2).
    DAIF_ALL = const 0b1111,
    // SCTLR_EL1.EE (Arm ARM D24.2.175).
    SCTLR_EE = const 1 << 25,
    // MPIDR_EL1.Aff0 numbers a partition's CPUs.
    AFFINITY = const MAX_CPUS - 1,
    // ESR_EL1.EC, and the first class that is an abort: what comes before is an instruction's own fault (D24.2.40).
    EC_SHIFT = const 26,
    EC_FIRST_ABORT = const 0x20,
    CPU_OFF_LOW = const CPU_OFF & 0xffff,
    CPU_OFF_HIGH = const CPU_OFF >> 16,
);

unsafe extern "C" {
    fn hostile_run(code: u64, registers: &[u64; 29], place: *mut Place, stack: u64) -> u64;
    fn hostile_stray();
    fn hostile_skipping_vectors();
}

/// Vectors that skip an instruction that is UNDEFINED, for code that brings them into force itself. They use x16 and x17.
pub fn skipping_vectors() -> u64 {
    mmu::address(hostile_skipping_vectors as *const ())
}

/// Where a CPU may be started that is to switch itself off again.
pub fn stray() -> u64 {
    mmu::address(hostile_stray as *const ())
}

/// How an attack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its code returned.
    Returned,
    /// By an IRQ or FIQ.
    Interrupted,
    /// By another exception.
    Exception,
}

/// Writes `words` and a return to the start of `cpu`'s place, and gives their address.
pub fn put(cpu: usize, words: &[u32]) -> u64 {
    let base = code_of(cpu);
    for (index, word) in words.iter().chain([&RET]).take(WORDS).enumerate() {
        bulkhead_rt::mmio::write32(base + index as u64 * 4, *word);
    }
    base
}

/// The address of `cpu`'s code, which others may overwrite while it runs.
pub fn code_of(cpu: usize) -> u64 {
    mmu::address(PLACES.0[cpu % MAX_CPUS].get())
}

/// Runs `words` with x0-x28 as given on this CPU, number `cpu`.
pub fn run(cpu: usize, words: &[u32], registers: &[u64; 29]) -> End {
    let base = put(cpu, words);
    run_at(cpu, base, registers)
}

/// Runs the code at `address` as [`run`] does.
pub fn run_at(cpu: usize, address: u64, registers: &[u64; 29]) -> End {
    let place = PLACES.0[cpu % MAX_CPUS].get();
    mmu::synchronize_instructions(
        core::ptr::with_exposed_provenance(usize::try_from(address).unwrap_or(0)),
        WORDS * 4,
    );
    let stack = mmu::address(place) + size_of::<Place>() as u64;
    let stack = stack - stack % 16;
    // SAFETY: the place is this CPU's own; guard.S comes back with what Rust relies on as it was, unless the code
    // has written over this program's memory, which is the risk this guest is for.
    let vector = unsafe { hostile_run(address, registers, place, stack) };
    let Some(kind) = vector.checked_sub(1).map(|vector| vector % 4) else {
        return End::Returned;
    };
    if matches!(kind, 1 | 2) {
        return End::Interrupted;
    }
    let base = mmu::address(place) + offset_of!(Place, saved) as u64;
    let esr = bulkhead_rt::mmio::read64(base + 160);
    // No guest is sent an SError. Its vector with another syndrome was branched to.
    if kind == 3 && esr >> 26 & 0x3f != SERROR {
        return End::Returned;
    }
    if kind != 0 || !is_el1s(esr >> 26 & 0x3f) {
        bulkhead_rt::println!("hostile: NOT ARCHITECTURAL: vector {kind}, ESR {esr:#x}");
    }
    End::Exception
}

/// ESR_EL1.EC of an SError (D24.2.40).
const SERROR: u64 = 0x2f;

/// Whether EL1 can take an exception of this class (D24.2.40): those that only EL2 and EL3 take are not its own.
const fn is_el1s(class: u64) -> bool {
    matches!(
        class,
        0x00 | 0x01
            | 0x03..=0x07
            | 0x0c..=0x0e
            | 0x11
            | 0x15
            | 0x18
            | 0x19
            | 0x1c
            | 0x1d
            | 0x20..=0x22
            | 0x24..=0x28
            | 0x2c
            | 0x30..=0x35
            | 0x38
            | 0x3c
    )
}
