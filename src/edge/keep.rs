//! Values made at boot that stay: in memory that start-up does not zero, since each is written before anybody reads it.

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

/// How many bytes of the room are some value's.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Bytes of the room that a value takes.
#[must_use]
pub const fn bytes_of<T>() -> usize {
    assert!(align_of::<T>() <= ALIGNMENT);
    size_of::<T>().next_multiple_of(ALIGNMENT)
}

/// Makes a value where it stays. `None`, and nothing is made, where there is no room.
#[inline(always)]
pub fn keep<T>(make: impl FnOnce() -> T) -> Option<&'static T> {
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
