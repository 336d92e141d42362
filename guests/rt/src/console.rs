//! The console: a PL011 (Arm DDI 0183) written by polling, whole lines at a time.
//!
//! Invariant: output of two CPUs never mixes within one `print!`; a handler that prints while its
//! own CPU does gets its text in between instead of a deadlock.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::abi::layout::UART_BASE;
use crate::{cpu, machine, mmio, psci};

/// Data register (DDI 0183 3.3.1).
const DR: u64 = 0x00;
/// Flag register (3.3.3).
const FR: u64 = 0x18;
/// Line control register (3.3.7).
const LCR_H: u64 = 0x2c;
/// Control register (3.3.8).
const CR: u64 = 0x30;
/// FR.RXFE: nothing received.
const FR_RXFE: u32 = 1 << 4;
/// FR.TXFF: no room to transmit.
const FR_TXFF: u32 = 1 << 5;
/// FR.TXFE: the transmit FIFO is empty.
const FR_TXFE: u32 = 1 << 7;
/// LCR_H: 8 bits, FIFOs on.
const LCR_H_8_BITS_FIFO: u32 = 0b11 << 5 | 1 << 4;
/// CR: enabled, transmit and receive.
const CR_ENABLED: u32 = 1 << 0 | 1 << 8 | 1 << 9;
/// Bytes an empty FIFO surely takes.
const FIFO_DEPTH: u32 = 16;

/// Where output goes before the tree is read: where every Bulkhead guest has its UART.
static BASE: AtomicU64 = AtomicU64::new(UART_BASE);
/// The CPU that prints, plus one; 0 is nobody.
static OWNER: AtomicUsize = AtomicUsize::new(0);

struct Uart {
    base: u64,
    room: u32,
}

impl Uart {
    fn new() -> Self {
        Self {
            base: BASE.load(Ordering::Relaxed),
            room: 0,
        }
    }

    fn put(&mut self, byte: u8) {
        while self.room == 0 {
            let flags = mmio::read32(self.base + FR);
            if flags & FR_TXFE != 0 {
                self.room = FIFO_DEPTH;
            } else if flags & FR_TXFF == 0 {
                self.room = 1;
            }
        }
        mmio::write32(self.base + DR, u32::from(byte));
        self.room -= 1;
    }
}

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}

/// Uses the PL011 at `base` from now on.
pub(crate) fn init(base: u64) {
    BASE.store(base, Ordering::Relaxed);
    mmio::write32(base + CR, 0);
    mmio::write32(base + LCR_H, LCR_H_8_BITS_FIFO);
    mmio::write32(base + CR, CR_ENABLED);
}

/// Prints formatted text as one piece.
pub fn print(arguments: fmt::Arguments<'_>) {
    let me = cpu::index() + 1;
    let nested = OWNER.load(Ordering::Relaxed) == me;
    if !nested {
        while OWNER
            .compare_exchange_weak(0, me, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            core::hint::spin_loop();
        }
    }
    let _ = Uart::new().write_fmt(arguments);
    if !nested {
        OWNER.store(0, Ordering::Release);
    }
}

/// Writes bytes as they are, as one piece, waiting only for room.
pub fn write(bytes: &[u8]) {
    let mut uart = Uart::new();
    bytes.iter().for_each(|byte| uart.put(*byte));
}

/// Returns the next received byte, if there is one.
pub fn read() -> Option<u8> {
    let base = BASE.load(Ordering::Relaxed);
    if mmio::read32(base + FR) & FR_RXFE != 0 {
        return None;
    }
    let [byte, ..] = mmio::read32(base + DR).to_le_bytes();
    Some(byte)
}

/// Prints to the console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::console::print(format_args!($($argument)*)) };
}

/// Prints a line to the console.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => {
        $crate::console::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}

/// Whether a panic resets the guest rather than switch it off: for one that does itself harm and goes on.
pub static RESETS_ON_PANIC: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // A CPU that panics while another prints must still be heard.
    let _ = match info.location() {
        Some(place) => writeln!(
            Uart::new(),
            "\nPANIC {}:{}: {}",
            place.file(),
            place.line(),
            info.message()
        ),
        None => writeln!(Uart::new(), "\nPANIC ?:0: {}", info.message()),
    };
    let _ = machine::try_machine();
    if RESETS_ON_PANIC.load(Ordering::Relaxed) {
        psci::system_reset();
    }
    psci::system_off()
}
