//! Talks through a channel from Linux user space, by UIO: the memory mapped, the doorbell's page written to ring, the device
//! file read to wait.
//!
//! The other end is `guests/conformance` with `role=peer`. Like any user of UIO this finds its channels by name in sysfs
//! (`linux,uio-name` in the tree), maps region 0 (the memory) and region 1 (the doorbell), and after each interrupt writes 1
//! to the device file, since `uio_pdrv_genirq` disables an interrupt that it passes on.
//!
//! Invariant: the program has no relocations to be made (nobody makes them), so it formats nothing.
#![no_std]
#![no_main]

mod linux;

use core::ffi::CStr;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use linux::{File, Mode, exit};

/// Bytes of a page: region n of a UIO device is mapped at n pages.
const PAGE: usize = 4096;
/// Bytes of the two-way channel, and of the one the peer writes.
const TALK_SIZE: usize = 0x2000;
const HEAR_SIZE: usize = 0x1000;
/// Words of the two-way channel (guests/conformance/src/peer.rs): number of the request, what, argument; number of the reply.
const NUMBER: usize = 0;
const WHAT: usize = 1;
const ARGUMENT: usize = 2;
const REPLY: usize = 8;
/// Requests: ring so many times; write to the other channel.
const NOTIFY: u64 = 1;
const SAY: u64 = 3;
/// What the peer is to write.
const SAID: u64 = 0x1234_abcd;
/// Rings asked for, one after the other.
const RINGS: u64 = 1000;
/// Milliseconds within which what must happen has happened, on a host however busy.
const PATIENCE: u64 = 20_000;
/// Milliseconds without an interrupt: none is on its way.
const QUIET: u64 = 50;

/// The names of the first UIO devices, and their files.
const DEVICES: [(&CStr, &CStr); 2] = [
    (c"/sys/class/uio/uio0/name", c"/dev/uio0"),
    (c"/sys/class/uio/uio1/name", c"/dev/uio1"),
];

fn say(text: &[u8]) {
    let _ = File::STANDARD_OUTPUT.write(text);
}

fn fail(why: &[u8]) -> ! {
    say(b"uio: ");
    say(why);
    say(b"\n");
    exit(1)
}

/// The UIO device called `name`.
fn open(name: &[u8], mode: Mode) -> File {
    for (place, device) in DEVICES {
        let mut found = [0; 16];
        let length = File::open(place, Mode::Read).and_then(|file| {
            let length = file.read(&mut found);
            file.close();
            length
        });
        let found = found.get(..length.unwrap_or(0)).unwrap_or_default();
        if found.strip_suffix(b"\n") == Some(name) {
            return File::open(device, mode).unwrap_or_else(|| fail(b"a device cannot be opened"));
        }
    }
    fail(b"a channel is not there")
}

/// One region of a device.
struct Region(usize, usize);

impl Region {
    fn of(file: File, index: usize, size: usize, writable: bool) -> Self {
        let at = file.map(index * PAGE, size, writable);
        Self(
            at.unwrap_or_else(|| fail(b"a region cannot be mapped")),
            size,
        )
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        if index * 8 + 8 > self.1 {
            fail(b"a word past the end");
        }
        let pointer = core::ptr::with_exposed_provenance::<AtomicU64>(self.0 + index * 8);
        // SAFETY: aligned, within the mapping, which stays for good; the peer's accesses are atomic as well.
        unsafe { &*pointer }
    }

    /// The doorbell's register.
    fn register(&self) -> &AtomicU32 {
        let pointer = core::ptr::with_exposed_provenance::<AtomicU32>(self.0);
        // SAFETY: as for a word; every region has at least a page.
        unsafe { &*pointer }
    }
}

/// The two-way channel.
struct Talk {
    file: File,
    memory: Region,
    doorbell: Region,
    requests: u64,
}

impl Talk {
    /// Asks the peer for something, and rings.
    fn ask(&mut self, what: u64, argument: u64) {
        self.requests += 1;
        self.memory.word(WHAT).store(what, Ordering::Relaxed);
        self.memory
            .word(ARGUMENT)
            .store(argument, Ordering::Relaxed);
        self.memory
            .word(NUMBER)
            .store(self.requests, Ordering::Release);
        // SAFETY: a barrier: what was written is there before the doorbell rings.
        unsafe { core::arch::asm!("dsb sy") };
        self.doorbell.register().store(1, Ordering::Relaxed);
    }

    /// Waits until the peer has done what it was asked for.
    fn wait_done(&self) {
        let done = || self.memory.word(REPLY).load(Ordering::Acquire) == self.requests;
        let mut looks = PATIENCE;
        while !done() {
            if looks == 0 {
                fail(b"the peer does not answer");
            }
            looks -= 1;
            // A look each millisecond, unless an interrupt comes.
            self.file.has_input(1);
        }
    }

    /// Lets the next interrupt come.
    fn listen(&self) {
        if self.file.write(&1u32.to_ne_bytes()).is_none() {
            fail(b"the interrupt cannot be enabled");
        }
    }

    /// Waits for an interrupt; how many there have been in all.
    fn hear(&self) -> u32 {
        if !self.file.has_input(PATIENCE) {
            fail(b"an interrupt is lost");
        }
        let mut count = [0; 4];
        if self.file.read(&mut count) != Some(count.len()) {
            fail(b"the device cannot be read");
        }
        u32::from_ne_bytes(count)
    }
}

extern "C" fn main() -> ! {
    let file = open(b"talk", Mode::ReadWrite);
    let mut talk = Talk {
        file,
        memory: Region::of(file, 0, TALK_SIZE, true),
        doorbell: Region::of(file, 1, PAGE, true),
        requests: 0,
    };
    talk.requests = talk.memory.word(NUMBER).load(Ordering::Relaxed);
    let mut count = 0;
    // The peer's start has rung; what is pending is taken before anything is counted.
    talk.listen();
    while talk.file.has_input(QUIET) {
        count = talk.hear();
        talk.listen();
    }
    for _ in 0..RINGS {
        talk.ask(NOTIFY, 1);
        let now = talk.hear();
        if now != count.wrapping_add(1) {
            fail(b"an interrupt too many");
        }
        count = now;
        talk.wait_done();
        talk.listen();
    }
    if talk.file.has_input(QUIET) {
        fail(b"an interrupt nobody asked for");
    }
    say(b"uio: 1000 rings, 1000 interrupts\n");
    let hear = open(b"hear", Mode::ReadWrite);
    let heard = Region::of(hear, 0, HEAR_SIZE, false);
    talk.ask(SAY, SAID);
    talk.wait_done();
    if heard.word(0).load(Ordering::Acquire) != SAID {
        fail(b"the peer's word is not there");
    }
    say(b"uio: the peer's word is there\n");
    exit(0)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    fail(b"panic")
}
