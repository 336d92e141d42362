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
