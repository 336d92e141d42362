//! What is large and stays, in memory that start-up does not zero, since it is written before anybody reads it: values made at
//! boot, the console's rings, and the flight recorders.

use crate::model::console::Rings;
use crate::model::recorder::Recorder;
use crate::words::limits::MAX_CPUS;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes there is room for.
pub const ROOM: usize = 256 * 1024;
/// What each value is aligned to: no cache line is shared with another's.
const ALIGNMENT: usize = 128;

#[repr(C, align(128))]
struct Room(UnsafeCell<MaybeUninit<[u8; ROOM]>>);

// SAFETY: `USED` gives each byte to one value only.
unsafe impl Sync for Room {}

// SAFETY: the section is for what boot.S does not zero, and a value is written before it is given away.
#[unsafe(link_section = ".bss.stale")]
static KEPT: Room = Room(UnsafeCell::new(MaybeUninit::uninit()));

/// A value made of atomics alone, with anything in it.
struct Stale<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: whoever has it has it shared, as its atomics may be.
unsafe impl<T: Sync> Sync for Stale<T> {}

impl<T> Stale<T> {
    const fn new() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// The value, as it is found.
    ///
    /// # Safety
    /// It is made of integer atomics alone.
    const unsafe fn get(&self) -> &T {
        let value: *const T = self.0.get().cast();
        // SAFETY: atomics are only ever shared, and any bytes are values of theirs.
        unsafe { &*value }
    }
}

// SAFETY: as `KEPT`: of a ring only its ends are read before they were written, which `Console::open` has set, and no byte.
#[unsafe(link_section = ".bss.stale")]
static RINGS: Stale<Rings> = Stale::new();

// SAFETY: as `KEPT`: no event is read before it was written, nor how many were before `Recorder::open` has set that.
#[unsafe(link_section = ".bss.stale")]
static RECORDERS: Stale<[Recorder; MAX_CPUS]> = Stale::new();

/// The console's rings, as they are found: `Console::open` is called before they are used.
#[must_use]
pub const fn rings() -> &'static Rings {
    // SAFETY: bytes and their ends, all atomic.
    unsafe { RINGS.get() }
}

/// Each core's flight recorder, as it is found: `Recorder::open` is called before it is used.
#[must_use]
pub const fn recorders() -> &'static [Recorder; MAX_CPUS] {
    // SAFETY: slots of atomics and their number.
    unsafe { RECORDERS.get() }
}

/// How many bytes of the room are some value's.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Bytes of the room that a value takes.
#[must_use]
pub const fn bytes_of<T>() -> usize {
    assert!(align_of::<T>() <= ALIGNMENT);
    size_of::<T>().next_multiple_of(ALIGNMENT)
}

/// Makes a value where it stays, for its taker alone. `None`, and nothing is made, where there is no room.
#[inline(always)]
pub fn keep<T>(make: impl FnOnce() -> T) -> Option<&'static mut T> {
    let place: *mut MaybeUninit<T> = take(const { bytes_of::<T>() })?.cast();
    // SAFETY: the bytes are aligned, this value's alone for good, and need no value yet.
    let place = unsafe { &mut *place };
    Some(place.write(make()))
}

/// So many bytes of the room, for their taker alone.
fn take(size: usize) -> Option<*mut u8> {
    let used = USED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
        used.checked_add(size).filter(|end| *end <= ROOM)
    });
    Some(KEPT.0.get().cast::<u8>().wrapping_add(used.ok()?))
}
