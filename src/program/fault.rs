//! The hypervisor's own failures: they name themselves on the console, and nothing of them is silent.

use super::{crash, log, state, system};
use crate::behaviour::lifecycle::Reason;
use crate::edge::context::FaultFrame;
use crate::edge::{boot, core};
use crate::words::limits::MAX_CPUS;
use crate::words::{CpuId, PAGE_SIZE};
use ::core::fmt::{self, Write};
use ::core::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use aarch64_cpu::asm::wfi;
use aarch64_cpu::registers::{ESR_EL2, FAR_EL2};
use tock_registers::interfaces::Readable;

/// Writes to the console's UART directly, whoever holds its lock: for last words.
struct LastWords;

impl Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The holder of the lock may be this core, stopped in the middle.
        if let Some(mut uart) = system::emergency_uart() {
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
    if let Some(uart) = system::emergency_uart() {
        (0..LOOKS).find(|_| uart.is_idle());
    }
}

/// Says `message` on the console and stops this core, and what cannot go on without it.
pub fn halt(message: fmt::Arguments<'_>) -> ! {
    if dies_again() {
        stop();
    }
    system::hold_output();
    let _ = writeln!(
        LastWords,
        "\n[bulkhead] core {}: {message}",
        core::current()
    );
    abandon();
    backtrace(core::stack_pointer());
    stop()
}

/// Bit n: core n has failed. It says so once.
static DEAD: AtomicU32 = AtomicU32::new(0);

/// Whether any core has failed.
#[must_use]
pub fn any() -> bool {
    DEAD.load(Ordering::Acquire) != 0
}

/// Whether `cpu` has failed.
#[must_use]
pub fn is_dead(cpu: CpuId) -> bool {
    DEAD.load(Ordering::Acquire) & 1 << (cpu.get() & 31) != 0
}

/// Gives up the calling core, which waits in vain for another of its partition that has failed.
pub fn give_up() -> ! {
    if !dies_again() {
        let cpu = core::current();
        log::warn!("core {cpu}: given up: it waits for another of its partition, which has failed");
        abandon();
    }
    stop()
}

/// Whether the calling core has failed before: while it said why.
fn dies_again() -> bool {
    let bit = 1 << (core::current().get() & 31);
    DEAD.fetch_or(bit, Ordering::AcqRel) & bit != 0
}

/// Lines of a backtrace.
const DEPTH: usize = 32;

/// Says which calls have left a return address on the stack above `sp`, newest first. Among them are the calls under way;
/// one that is over may show as well where its frame was not written over. `cargo xtask symbolize` names them.
fn backtrace(sp: u64) {
    let image = boot::image().base().get();
    let calls = core::stack_above(sp).filter_map(boot::call_before);
    let mut calls = calls.map(|call| call.wrapping_sub(image)).peekable();
    for _ in 0..DEPTH {
        let Some(call) = calls.next() else { return };
        let mut times = 1;
        while calls.next_if_eq(&call).is_some() {
            times += 1;
        }
        let _ = match times {
            1 => writeln!(LastWords, "[bulkhead] called at image+{call:#x}"),
            _ => writeln!(
                LastWords,
                "[bulkhead] called at image+{call:#x}, {times} times"
            ),
        };
    }
}

/// Gives up the calling core: its partition stops for good, the console goes to another core, and everybody else goes on.
fn abandon() {
    let cpu = core::current();
    if let Some((partition, vcpu)) = state::assignment(cpu) {
        partition.life.lose(vcpu);
        // Nobody need wait for what it has in its list registers.
        partition.quiesce.set_loaded(vcpu, false);
        state::CONSOLE.core_lost();
        if partition.life.stop(Reason::Crash) {
            crash::record_lost(partition, vcpu);
        }
        let mut vcpus = partition.vcpu_ids();
        if !vcpus.any(|vcpu| partition.life.is_there(vcpu)) {
            partition.life.fail();
        }
        system::kick_all(partition);
    }
    system::leave_console(cpu);
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
    system::let_output_go_on();
    if let Some(host) = state::HOST.get() {
        host.gic.stop_core();
    }
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
    if dies_again() {
        stop();
    }
    system::hold_output();
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
    // A stack that overflows faults just below what it uses; anything else that ends there is a stray access.
    let overflow = if guard && frame.sp.abs_diff(far) < 2 * PAGE_SIZE {
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
    abandon();
    for (index, pair) in frame.x.chunks(4).enumerate() {
        let _ = write!(LastWords, "[bulkhead] x{:<2}", index * 4);
        for value in pair {
            let _ = write!(LastWords, " {value:016x}");
        }
        let _ = writeln!(LastWords);
    }
    backtrace(frame.sp);
    stop()
}

/// Fails on purpose, for a system whose manifest asks for the self-test.
pub fn provoke(kind: Kind) {
    match kind {
        Kind::Panic => panic!("asked to"),
        Kind::Abort => core::read_nothing(),
        Kind::Stack => log::info!("{}", core::overflow_stack(0)),
        Kind::Locked => system::fail_with_locks(core::current()),
    }
}

/// How to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A panic.
    Panic = 1,
    /// A read of a page that is not mapped.
    Abort = 2,
    /// A stack that overflows.
    Stack = 3,
    /// A panic with locks that others want: its partition's, its channels' and the log's.
    Locked = 4,
}

/// How each core is to fail: a [`Kind`], or zero.
static ASKED: [AtomicU8; MAX_CPUS] = [const { AtomicU8::new(0) }; MAX_CPUS];

/// Asks `cpu` to fail when it is next kicked.
pub fn ask(cpu: CpuId, kind: Kind) {
    if let Some(asked) = ASKED.get(cpu.index()) {
        asked.store(kind as u8, Ordering::Release);
    }
}

/// Fails as the calling core, `cpu`, was asked to.
pub fn as_asked(cpu: CpuId) {
    match ASKED
        .get(cpu.index())
        .map_or(0, |asked| asked.load(Ordering::Acquire))
    {
        1 => provoke(Kind::Panic),
        2 => provoke(Kind::Abort),
        3 => provoke(Kind::Stack),
        4 => provoke(Kind::Locked),
        _ => {}
    }
}
