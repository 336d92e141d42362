//! Translation tables made at random. The first two GiB stay as they are, so that the attacker itself goes on.

use core::cell::UnsafeCell;

use bulkhead_rt::abi::layout;
use bulkhead_rt::cpu::MAX_CPUS;
use bulkhead_rt::mmu;

use crate::address;
use crate::attack::Attacker;
use crate::random::Random;

/// Entries that are the program's own: devices, RAM.
const KEPT: usize = 2;

#[repr(C, align(4096))]
struct Pages([[u64; mmu::ENTRIES]; 2]);

struct Store([UnsafeCell<Pages>; MAX_CPUS]);

// SAFETY: each CPU uses its own; they are reached by address alone.
unsafe impl Sync for Store {}

static STORE: Store = Store([const { UnsafeCell::new(Pages([[0; mmu::ENTRIES]; 2])) }; MAX_CPUS]);

/// A descriptor of any kind, pointing anywhere.
fn descriptor(random: &mut Random, next: u64) -> u64 {
    let target = match random.below(4) {
        0 => next,
        1 => address::any(random),
        2 => layout::RAM_BASE + random.below(1 << 30),
        _ => random.next(),
    };
    let attributes = random.next() & 0xffe0_0000_0000_0ffc;
    target & 0x0000_ffff_ffff_f000 | attributes | random.below(4)
}

/// A page table's entry to mislead: where it stands, and what is to be written there.
pub struct Trap {
    /// Where the code at the start of the CPU's place is found by way of the entry.
    pub code: u64,
    /// The entry's address.
    pub entry: u64,
    /// Its new value: a page anywhere, or none.
    pub value: u64,
}

/// GiB of addresses, one for each CPU, that lead to its place by a page table of their own.
const TRAPS: usize = 8;

struct Middle([UnsafeCell<Pages>; MAX_CPUS]);

// SAFETY: each CPU uses its own; they are reached by address alone.
unsafe impl Sync for Middle {}

static MIDDLE: Middle =
    Middle([const { UnsafeCell::new(Pages([[0; mmu::ENTRIES]; 2])) }; MAX_CPUS]);

/// Maps the page at `place` once more, executable, by a table of `cpu`'s own.
pub fn trap(cpu: usize, place: u64, random: &mut Random) -> Trap {
    use mmu::descriptor::{RAM_BLOCK, TABLE_OR_PAGE};
    let cpu = cpu % MAX_CPUS;
    let middle = mmu::address(MIDDLE.0[cpu].get());
    let last = middle + size_of::<[u64; mmu::ENTRIES]>() as u64;
    bulkhead_rt::mmio::write64(last, place & !0xfff | RAM_BLOCK | TABLE_OR_PAGE);
    bulkhead_rt::mmio::write64(middle, last | TABLE_OR_PAGE);
    mmu::root().set(TRAPS + cpu, middle | TABLE_OR_PAGE);
    // The others have no use for it, and QEMU stops them all for a broadcast.
    mmu::synchronize_own();
    let target = match random.below(4) {
        0 => layout::RAM_BASE + random.below(1 << 30),
        1 => layout::RAM_BASE + random.below(1 << 23),
        _ => address::any(random),
    };
    let kind = if random.one_in(8) { random.below(4) } else { 3 };
    Trap {
        code: (TRAPS + cpu) as u64 * mmu::ROOT_BLOCK + place % 4096,
        entry: last,
        value: target & 0x0000_ffff_ffff_f000 | RAM_BLOCK & !3 | kind,
    }
}

/// Makes tables for the attacker's CPU; returns the root's address and an address to try.
pub fn make(attacker: &mut Attacker) -> (u64, u64) {
    let base = mmu::address(STORE.0[attacker.cpu % MAX_CPUS].get());
    let next = base + size_of::<[u64; mmu::ENTRIES]>() as u64;
    let random = &mut attacker.random;
    for index in 0..KEPT {
        bulkhead_rt::mmio::write64(base + index as u64 * 8, mmu::root().get(index));
    }
    for _ in 0..16 {
        let entry = random.below(mmu::ENTRIES as u64 - KEPT as u64) + KEPT as u64;
        let value = descriptor(random, next);
        bulkhead_rt::mmio::write64(base + entry * 8, value);
        let inner = random.below(mmu::ENTRIES as u64);
        let value = descriptor(random, next);
        bulkhead_rt::mmio::write64(next + inner * 8, value);
    }
    let entry = KEPT as u64 + random.below(mmu::ENTRIES as u64 - KEPT as u64);
    (
        base,
        entry * mmu::ROOT_BLOCK + random.below(mmu::ROOT_BLOCK),
    )
}
