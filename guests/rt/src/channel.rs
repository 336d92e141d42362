//! Channels: memory shared with another partition, and the doorbells of both ends.
//!
//! The peer is not trusted and may write at any time: memory is only ever copied, word by word, and what is read twice may
//! differ. Both ends of this runtime map it cached; a peer that maps it as device memory (Linux' UIO) wants
//! [`Memory::Uncached`] here on a machine with real caches.

use crate::hypervisor::{self, Channel};
use crate::mmu::{self, descriptor};
use crate::{mmio, println};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How the shared memory is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Cached: fast, for peers that do the same.
    Cached,
    /// Not cached: for peers that map it as device memory.
    Uncached,
}

/// One end of a channel, its memory mapped.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    index: u64,
    channel: Channel,
}

impl Port {
    /// Opens this partition's end `index`.
    ///
    /// # Errors
    /// The code of CHANNEL_INFO: DENIED past the last; INVALID_PARAMETER if it cannot be mapped.
    pub fn open(index: u64, memory: Memory) -> Result<Self, i64> {
        let channel = hypervisor::channel(index)?;
        let kind = match memory {
            Memory::Cached => descriptor::NORMAL,
            Memory::Uncached => descriptor::UNCACHED,
        };
        let common = descriptor::INNER_SHAREABLE | descriptor::ACCESSED;
        let access = if channel.writable {
            0
        } else {
            descriptor::READ_ONLY
        };
        let never = descriptor::PXN | descriptor::UXN;
        if mmu::map_shared(channel.base, channel.size, kind | common | access | never) {
            Ok(Self { index, channel })
        } else {
            println!("channel {index}: no room to map {:#x} bytes", channel.size);
            Err(crate::abi::bulkhead::INVALID_PARAMETER)
        }
    }

    /// Returns what CHANNEL_INFO says of it.
    pub const fn info(&self) -> &Channel {
        &self.channel
    }

    /// Returns the address of the doorbell's register.
    pub const fn doorbell(&self) -> u64 {
        self.channel.base + self.channel.size
    }

    /// Rings the peer's doorbell by a call; what was written before is seen by then.
    ///
    /// # Errors
    /// The code of CHANNEL_NOTIFY.
    pub fn notify(&self) -> Result<(), i64> {
        crate::cpu::data_barrier();
        hypervisor::notify(self.index)
    }

    /// Rings the peer's doorbell by its page.
    pub fn ring(&self) {
        crate::cpu::data_barrier();
        mmio::write32(self.doorbell(), 1);
    }

    /// The 64-bit word `index` of the memory.
    fn word(&self, index: u64) -> Option<&AtomicU64> {
        let offset = index
            .checked_mul(8)
            .filter(|offset| offset + 8 <= self.channel.size)?;
        let pointer = core::ptr::with_exposed_provenance::<AtomicU64>(
            usize::try_from(self.channel.base + offset).ok()?,
        );
        // SAFETY: aligned and within the channel, which `open` has mapped for good; the peer's accesses are atomic too,
        // as far as the machine goes, and nothing else of Rust's lies there.
        Some(unsafe { &*pointer })
    }

    /// Reads the 64-bit word `index`; 0 beyond the end.
    pub fn read(&self, index: u64) -> u64 {
        self.word(index)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Writes the 64-bit word `index`, if there is one. On a read-only end that is a fault of this guest's.
    pub fn write(&self, index: u64, value: u64) {
        if let Some(word) = self.word(index) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

/// A place for a port that interrupt handlers use too.
pub struct Slot {
    port: UnsafeCell<Option<Port>>,
    state: AtomicU32,
}

// SAFETY: `fill` writes once, by whoever takes the slot first; readers look only after that.
unsafe impl Sync for Slot {}

/// Nobody has filled the slot.
const EMPTY: u32 = 0;
/// Somebody is filling it.
const TAKEN: u32 = 1;
/// It is filled, and stays so.
const FILLED: u32 = 2;

impl Slot {
    /// An empty slot.
    pub const fn new() -> Self {
        Self {
            port: UnsafeCell::new(None),
            state: AtomicU32::new(EMPTY),
        }
    }

    /// Fills the slot; what comes later is ignored.
    pub fn fill(&self, port: Port) {
        let (relaxed, taken) = (Ordering::Relaxed, TAKEN);
        if self
            .state
            .compare_exchange(EMPTY, taken, relaxed, relaxed)
            .is_ok()
        {
            // SAFETY: the exchange has only one winner, and nobody reads before FILLED.
            unsafe { *self.port.get() = Some(port) };
            self.state.store(FILLED, Ordering::Release);
        }
    }

    /// The port, if there is one.
    pub fn get(&self) -> Option<&Port> {
        if self.state.load(Ordering::Acquire) != FILLED {
            return None;
        }
        // SAFETY: filled, and never written again.
        unsafe { (*self.port.get()).as_ref() }
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

/// Words of a [`Sample`]: its number, then these.
const SAMPLE_WORDS: u64 = 2;

/// The newest measurement in a channel: one end writes it, the other reads it, and neither ever waits.
///
/// Word 0 is a number that is odd while the writer writes (a sequence lock); the sample follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When it was taken: the physical counter, which all partitions share.
    pub time: u64,
    /// What was measured.
    pub value: u64,
}

impl Sample {
    /// Publishes the sample as number `number` (from 1 up), by the writing end.
    pub fn publish(&self, port: &Port, number: u32) {
        let number = u64::from(number) * 2;
        port.write(0, number - 1);
        core::sync::atomic::fence(Ordering::Release);
        port.write(1, self.time);
        port.write(2, self.value);
        core::sync::atomic::fence(Ordering::Release);
        port.write(0, number);
    }

    /// Reads the newest sample and its number, if there is one and it was not just being written.
    pub fn read(port: &Port) -> Option<(u32, Self)> {
        let before = port.read(0);
        core::sync::atomic::fence(Ordering::Acquire);
        let sample = Self {
            time: port.read(1),
            value: port.read(SAMPLE_WORDS),
        };
        core::sync::atomic::fence(Ordering::Acquire);
        let whole = before != 0 && before.is_multiple_of(2) && port.read(0) == before;
        let number = u32::try_from((before / 2) & u64::from(u32::MAX)).unwrap_or(0);
        whole.then_some((number, sample))
    }
}

/// Doorbells of the ends a guest has opened, counted by its interrupt handler.
#[derive(Debug, Default)]
pub struct Rings(AtomicU32);

impl Rings {
    /// None yet.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Counts one.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}
