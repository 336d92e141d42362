//! Physical memory, which EL2 maps one to one: tables, guest RAM, and bytes handed over by firmware.

use crate::model::selftest::{Round, pattern};
use crate::model::translation::{ENTRIES, TableMemory};
use crate::words::{PAGE_SIZE, Pa, Range};

/// Bytes the self-test looks at in each page: the line of the caches this runs on.
const SAMPLE: u64 = 64;

/// Bytes firmware left in memory.
///
/// # Safety
/// The range is mapped readable and nobody writes it for as long as the hypervisor runs.
#[must_use]
pub unsafe fn bytes(range: Range) -> &'static [u8] {
    let Ok(size) = usize::try_from(range.size()) else {
        return &[];
    };
    // SAFETY: by this function's contract.
    unsafe { core::slice::from_raw_parts(range.base().get() as *const u8, size) }
}

/// A run of free pages that become translation tables one after another.
#[derive(Debug)]
pub struct TablePages {
    next: Pa,
    left: u64,
}

impl TablePages {
    /// Takes `range`, whole pages of RAM, for tables.
    ///
    /// # Safety
    /// The range is RAM, mapped writable at EL2 (or the MMU is off), and nothing else uses it.
    #[must_use]
    pub const unsafe fn new(range: Range) -> Self {
        Self {
            next: range.base(),
            left: range.size() / PAGE_SIZE,
        }
    }
}

impl TableMemory for TablePages {
    fn allocate(&mut self) -> Option<Pa> {
        let page = self.next;
        self.left = self.left.checked_sub(1)?;
        self.next = page.checked_add(PAGE_SIZE)?;
        // SAFETY: the page is one of ours, and nobody else's by the contract of `new`.
        unsafe { super::bulk::zero_page(page) };
        Some(page)
    }

    fn entries(&self, table: Pa) -> &[u64] {
        // SAFETY: `table` came from `allocate` (the tree stores no other), so it is a page of ours.
        unsafe { &*(table.get() as *const [u64; ENTRIES]) }
    }

    fn entries_mut(&mut self, table: Pa) -> &mut [u64] {
        // SAFETY: as in `entries`; whoever has the pages has them alone.
        unsafe { &mut *(table.get() as *mut [u64; ENTRIES]) }
    }
}

/// Reads translation tables and never writes them.
#[derive(Debug)]
pub struct TableView;

impl TableMemory for TableView {
    fn allocate(&mut self) -> Option<Pa> {
        None
    }

    fn entries(&self, table: Pa) -> &[u64] {
        // SAFETY: the tree of a partition links only tables of its own, which stay for good, and nobody writes them any more.
        unsafe { &*(table.get() as *const [u64; ENTRIES]) }
    }

    fn entries_mut(&mut self, _: Pa) -> &mut [u64] {
        &mut []
    }
}

/// A piece of a partition's RAM. The guest may change it at any time, so it is only ever copied, never referenced.
#[derive(Clone, Copy, Debug)]
pub struct GuestRam(Range);

impl GuestRam {
    /// Takes `range` for a partition.
    ///
    /// # Safety
    /// The range is RAM given to one partition, mapped writable at EL2, and nothing of Rust's lies in it.
    #[must_use]
    pub const unsafe fn new(range: Range) -> Self {
        Self(range)
    }

    /// Where it lies.
    #[must_use]
    pub const fn range(&self) -> Range {
        self.0
    }

    /// Zeroes `size` bytes at `at`, both multiples of a page, and leaves nothing of them in the caches. What does not lie
    /// within this RAM is left alone. For the loader: no vCPU of the partition runs.
    pub fn zero(&self, at: Pa, size: u64) {
        if Range::new(at, size).is_some_and(|range| self.0.contains(range)) {
            // SAFETY: by the contract of `new`.
            unsafe { super::cache::zero(at.get(), size) };
        }
    }

    /// Copies `bytes` to `at`, cleaned to the point of coherency for a guest that starts with its caches off. What
    /// does not lie within this RAM whole is not written, and `false` comes back.
    pub fn write(&self, at: Pa, bytes: &[u8]) -> bool {
        let fits = Range::new(at, bytes.len() as u64).is_some_and(|target| self.0.contains(target));
        if fits {
            // SAFETY: the target lies in guest RAM, and `bytes` (EL2's memory or the bundle's) does not.
            unsafe { super::bulk::copy(at.get(), bytes) };
            super::cache::clean_and_invalidate(at.get(), bytes.len() as u64);
        }
        fits
    }

    /// Lets `writer` fill `size` bytes at `at`, then cleans them as [`Self::write`] does. `None` if they do not lie within
    /// this RAM. For the loader: no vCPU of the partition runs.
    pub fn fill<R>(&self, at: Pa, size: usize, writer: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        let target = Range::new(at, size as u64).filter(|target| self.0.contains(*target))?;
        // SAFETY: the bytes lie in RAM of a partition that does not run, so nobody else accesses them.
        let bytes = unsafe { core::slice::from_raw_parts_mut(at.get() as *mut u8, size) };
        let result = writer(bytes);
        super::cache::clean_and_invalidate(target.base().get(), target.size());
        Some(result)
    }

    /// Writes a line of every page with patterns, twice, and reads them back from memory itself.
    /// For the self-test: no vCPU of the partition runs, and what was there is lost.
    ///
    /// # Errors
    /// The first address that did not keep what was written.
    pub fn keeps_what_is_written(&self) -> Result<(), Pa> {
        for round in [Round::Plain, Round::Inverted] {
            for at in self.samples() {
                // SAFETY: an aligned word of this RAM, which nothing of Rust's lies in.
                unsafe { (at as *mut u64).write_volatile(pattern(at, round)) };
            }
            // From here on the lines are in memory and not in the caches.
            super::cache::clean_and_invalidate_lines(self.sample_lines());
            for at in self.samples() {
                // SAFETY: as above.
                let found = unsafe { (at as *const u64).read_volatile() };
                if found != pattern(at, round) {
                    return Err(Pa::new(at));
                }
            }
        }
        Ok(())
    }

    /// A line in each page, a different one from page to page.
    fn sample_lines(&self) -> impl Iterator<Item = u64> + use<> {
        let (base, pages) = (self.0.base().get(), self.0.size() / PAGE_SIZE);
        (0..pages).map(move |page| base + page * PAGE_SIZE + page * SAMPLE % PAGE_SIZE)
    }

    /// The words of those lines.
    fn samples(&self) -> impl Iterator<Item = u64> + use<> {
        const WORD: u64 = 8;
        self.sample_lines()
            .flat_map(|line| (0..SAMPLE / WORD).map(move |word| line + word * WORD))
    }

    /// Reads the aligned 32-bit word at `at`, if it lies in this RAM.
    #[must_use]
    pub fn read_u32(&self, at: Pa) -> Option<u32> {
        let inside =
            at.is_aligned(4) && Range::new(at, 4).is_some_and(|word| self.0.contains(word));
        // SAFETY: the word lies in guest RAM, is aligned, and any value is a u32.
        inside.then(|| unsafe { (at.get() as *const u32).read_volatile() })
    }
}
