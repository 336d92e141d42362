//! The hypervisor's own failures: they name themselves on the console, and nothing of them is silent.

use super::state;
use crate::edge::context::FaultFrame;
use crate::edge::{boot, core};
use ::core::fmt::{self, Write};
use aarch64_cpu::asm::wfi;
use aarch64_cpu::registers::{ESR_EL2, FAR_EL2};
use tock_registers::interfaces::Readable;

/// Writes to the console's UART directly, whoever holds its lock: for last words.
struct LastWords;

impl Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The holder of the lock may be this core, stopped in the middle.
        if let Some(mut uart) = super::system::emergency_uart() {
            for byte in text.bytes() {
                if byte == b'\n' {
                    uart.write_blocking(b'\r');
                }
                uart.write_blocking(byte);
            }
        }
        Ok(())
    }
}

/// Lets the UART send what was written: the board's end would cut it short.
fn wait_until_sent() {
    const LOOKS: u32 = 10_000_000;
    if let Some(uart) = super::system::emergency_uart() {
        (0..LOOKS).find(|_| uart.is_idle());
    }
}

/// Says `message` on the console and stops this core.
pub fn halt(message: fmt::Arguments<'_>) -> ! {
    let _ = writeln!(
        LastWords,
        "\n[bulkhead] core {}: {message}",
        core::current()
    );
    stop()
}

/// Says that the image was entered at exception level `level`, where nothing of EL2's can be read, and stops.
pub fn wrong_level(level: u64) -> ! {
    let _ = writeln!(
        LastWords,
        "[bulkhead] entered at EL{level}, but it needs EL2: start it there \
         (QEMU: -machine virt,virtualization=on; a boot loader must not drop to EL1)"
    );
    stop()
}

/// Says why the system is not started, and stops the board.
pub fn refuse(message: fmt::Arguments<'_>) -> ! {
    let _ = writeln!(LastWords, "[bulkhead] refused: {message}");
    let _ = writeln!(LastWords, "[bulkhead] nothing was started");
    wait_until_sent();
    super::power::end_now(crate::behaviour::machine::BoardEnd::Off);
    stop()
}

fn stop() -> ! {
    loop {
        wfi();
    }
}

/// The panic handler's work.
pub fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
    match info.location() {
        Some(at) => halt(format_args!(
            "PANIC {}:{}: {}",
            at.file(),
            at.line(),
            info.message()
        )),
        None => halt(format_args!("PANIC {}", info.message())),
    }
}

/// Reports an exception of EL2 itself, from vectors.S.
pub extern "C" fn el2_fault(frame: &FaultFrame, which: u64) -> ! {
    let esr = ESR_EL2.get();
    let far = FAR_EL2.get();
    let kind = match frame.x.first().map(|_| which) {
        Some(1) => "IRQ",
        Some(2) => "FIQ",
        Some(3) => "SError",
        _ => "synchronous exception",
    };
    let image = boot::image().base().get();
    let guard = core::guard_pages().any(|page| page.base().get() <= far && far < page.end().get());
    let overflow = if guard {
        " (a stack overflowed into its guard page)"
    } else {
        ""
    };
    let _ = writeln!(
        LastWords,
        "\n[bulkhead] core {}: FAULT at EL2: {kind}, ESR {esr:#x}, FAR {far:#x}{overflow}\n\
         [bulkhead] pc image+{:#x}, lr image+{:#x}, sp {:#x}, pstate {:#x}",
        core::current(),
        frame.pc.wrapping_sub(image),
        frame.x[30].wrapping_sub(image),
        frame.sp,
        frame.pstate,
    );
    for (index, pair) in frame.x.chunks(4).enumerate() {
        let _ = write!(LastWords, "[bulkhead] x{:<2}", index * 4);
        for value in pair {
            let _ = write!(LastWords, " {value:016x}");
        }
        let _ = writeln!(LastWords);
    }
    let _ = state::HOST.get();
    stop()
}
