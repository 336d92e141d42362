//! The few system calls this needs (Linux, include/uapi/asm-generic/unistd.h).

use core::arch::{asm, naked_asm};
use core::ffi::CStr;

const OPENAT: usize = 56;
const CLOSE: usize = 57;
const READ: usize = 63;
const WRITE: usize = 64;
const PPOLL: usize = 73;
const EXIT_GROUP: usize = 94;
const MMAP: usize = 222;
/// AT_FDCWD.
const HERE: isize = -100;
/// PROT_READ and PROT_WRITE.
const READABLE: usize = 1;
const WRITABLE: usize = 2;
/// MAP_SHARED.
const SHARED: usize = 1;
/// POLLIN.
const INPUT: u16 = 1;
/// Results from here up are errors.
const ERRORS: usize = usize::MAX - 4094;

/// How a file is opened: O_RDONLY, O_RDWR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To read it.
    Read,
    /// To read and write it.
    ReadWrite,
}

/// An open file.
#[derive(Clone, Copy, Debug)]
pub struct File(usize);

/// The system call `number`; nothing if it fails.
///
/// # Safety
/// The arguments are what the call wants: memory it is given is the caller's to have read or written.
unsafe fn call(number: usize, arguments: [usize; 6]) -> Option<usize> {
    let [a, b, c, d, e, f] = arguments;
    let result: usize;
    // SAFETY: the kernel keeps all registers but X0; what the call does to memory is the caller's promise.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
             in("x5") f, options(nostack));
    }
    (result < ERRORS).then_some(result)
}

impl File {
    /// The standard output.
    pub const STANDARD_OUTPUT: Self = Self(1);

    /// Opens `path`.
    pub fn open(path: &CStr, mode: Mode) -> Option<Self> {
        let flags = if mode == Mode::Read { 0 } else { 2 };
        let arguments = [HERE.cast_unsigned(), path.as_ptr().addr(), flags, 0, 0, 0];
        // SAFETY: the path ends in a zero.
        unsafe { call(OPENAT, arguments) }.map(Self)
    }

    /// Reads into `bytes`; how many that were. Waits until there is something.
    pub fn read(self, bytes: &mut [u8]) -> Option<usize> {
        let arguments = [
            self.0,
            bytes.as_mut_ptr().expose_provenance(),
            bytes.len(),
            0,
            0,
            0,
        ];
        // SAFETY: the bytes are the caller's, who lends them.
        unsafe { call(READ, arguments) }
    }

    /// Writes `bytes`; how many of them were.
    pub fn write(self, bytes: &[u8]) -> Option<usize> {
        let arguments = [
            self.0,
            bytes.as_ptr().expose_provenance(),
            bytes.len(),
            0,
            0,
            0,
        ];
        // SAFETY: the bytes are only read.
        unsafe { call(WRITE, arguments) }
    }

    /// Closes it.
    pub fn close(self) {
        // SAFETY: no memory is concerned.
        let _ = unsafe { call(CLOSE, [self.0, 0, 0, 0, 0, 0]) };
    }

    /// Whether there is something to read, within `milliseconds`.
    pub fn has_input(self, milliseconds: u64) -> bool {
        #[repr(C)]
        struct Wanted {
            file: u32,
            events: u16,
            found: u16,
        }
        let file = u32::try_from(self.0).unwrap_or(u32::MAX);
        let mut wanted = Wanted {
            file,
            events: INPUT,
            found: 0,
        };
        let time = [milliseconds / 1000, milliseconds % 1000 * 1_000_000];
        let first = (&raw mut wanted).expose_provenance();
        let arguments = [first, 1, time.as_ptr().expose_provenance(), 0, 0, 0];
        // SAFETY: one entry, and a time of two words, both alive during the call.
        unsafe { call(PPOLL, arguments) }.is_some_and(|found| found > 0)
    }

    /// Maps `size` bytes from `offset`, to be written too if `writable`; their address.
    pub fn map(self, offset: usize, size: usize, writable: bool) -> Option<usize> {
        let access = READABLE | if writable { WRITABLE } else { 0 };
        // SAFETY: the kernel chooses addresses that nothing has.
        unsafe { call(MMAP, [0, size, access, SHARED, self.0, offset]) }
    }
}

/// Ends the program.
pub fn exit(code: usize) -> ! {
    loop {
        // SAFETY: nothing of this program goes on.
        let _ = unsafe { call(EXIT_GROUP, [code, 0, 0, 0, 0, 0]) };
    }
}

/// The program's entry: the stack is the kernel's, X0 to X30 are nothing.
///
/// # Safety
/// Called by the kernel alone.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov x29, xzr", "mov x30, xzr", "b {main}", main = sym crate::main)
}
