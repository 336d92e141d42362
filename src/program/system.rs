//! The board as a whole: its console, its log, and its end when nothing runs any more.

use super::common::Common;
use super::state::{self, CONSOLE, UART, partitions};
use super::{crash, fault, log, monitor, power, watch};
use crate::behaviour::lifecycle::{Next, Reason, State};
use crate::behaviour::machine::BoardEnd;
use crate::behaviour::partition::Partition;
use crate::edge::uart::{BoardUart, Kind};
use crate::edge::{core as cores, takeover, timer};
use crate::model::console::{HELP, Intake, Milliseconds, Served, Speaker, Speakers, Then, Typed};
use crate::words::limits::LINE;
use crate::words::{CpuId, Pa, PartitionId, Range};
use arrayvec::ArrayString;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use spin::mutex::SpinMutex;

/// What it takes to reach the console whatever else has happened.
///
/// It is set before the MMU is on, when exclusive loads and stores need not work (Arm ARM B2.12: they are for memory that
/// is cacheable; the Raspberry Pi 4's bus knows no others): so no lock and no `Once`.
#[derive(Debug)]
pub struct EmergencyConsole {
    base: AtomicU64,
    /// Not 0 once the others are set.
    size: AtomicU64,
    is_mini: AtomicBool,
}

impl EmergencyConsole {
    /// Names the UART, as the tree describes it.
    pub fn set(&self, kind: Kind, registers: Range) {
        self.base.store(registers.base().get(), Ordering::Relaxed);
        self.is_mini.store(kind == Kind::Mini, Ordering::Relaxed);
        self.size.store(registers.size(), Ordering::Release);
    }

    fn get(&self) -> Option<(Kind, Range)> {
        let size = Some(self.size.load(Ordering::Acquire)).filter(|size| *size > 0)?;
        let kind = match self.is_mini.load(Ordering::Relaxed) {
            true => Kind::Mini,
            false => Kind::Pl011,
        };
        let base = Pa::new(self.base.load(Ordering::Relaxed));
        Some((kind, Range::new(base, size)?))
    }
}

/// Where last words go.
pub static EMERGENCY: EmergencyConsole = EmergencyConsole {
    base: AtomicU64::new(0),
    size: AtomicU64::new(0),
    is_mini: AtomicBool::new(false),
};
/// The core that has the console.
static CONSOLE_CORE: AtomicU8 = AtomicU8::new(0);
/// The state of what is typed.
static INTAKE: SpinMutex<Intake> = SpinMutex::new(Intake::new());
/// The hypervisor's own ring has many producers.
static LOG: Common<()> = Common::new(());

/// The UART for last words, shared with whoever holds it.
#[must_use]
pub fn emergency_uart() -> Option<BoardUart> {
    let (kind, registers) = EMERGENCY.get()?;
    takeover::uart(kind, registers)
}

/// The hypervisor's log: lines on the console, tagged as its own.
struct ConsoleLog;

impl ::log::Log for ConsoleLog {
    fn enabled(&self, _: &::log::Metadata<'_>) -> bool {
        true
    }

    /// Writes a line, which other cores' lines do not mix with. Never waits for the UART; what finds no room is dropped.
    fn log(&self, record: &::log::Record<'_>) {
        let mut line: ArrayString<LINE> = ArrayString::new();
        let _ = match record.level() {
            ::log::Level::Error => write!(line, "error: {}", record.args()),
            ::log::Level::Warn => write!(line, "warning: {}", record.args()),
            _ => line.write_fmt(*record.args()),
        };
        {
            // Without it, lines may mix: better than none.
            let _producer = LOG.lock();
            let ring = CONSOLE.ring(Speaker::HYPERVISOR);
            let whole = ring.push_all(line.as_bytes()) == line.len();
            let _ = whole && ring.push(b'\n');
        }
        serve(Speaker::HYPERVISOR);
    }

    fn flush(&self) {}
}

/// Opens the log. Nothing below information level is compiled in (Cargo.toml).
pub fn open_log() {
    // The only error is that it is open already.
    let _ = ::log::set_logger(&ConsoleLog);
    ::log::set_max_level(::log::LevelFilter::Info);
}

/// The core that takes the console's interrupts and speaks for the hypervisor.
#[must_use]
pub fn console_core() -> CpuId {
    CpuId::new(CONSOLE_CORE.load(Ordering::Acquire))
}

/// Gives the console to `cpu`, which has not come to its loop yet.
pub fn set_console_core(cpu: CpuId) {
    CONSOLE_CORE.store(cpu.get(), Ordering::Release);
}

/// Gives the console to another core: `cpu`, which has it, has failed.
pub fn leave_console(cpu: CpuId) {
    let count = state::HOST.get().map_or(0, |host| host.cpus.len());
    if console_core() != cpu {
        return;
    }
    let heir = (0..count)
        .filter_map(|index| u8::try_from(index).ok())
        .map(CpuId::new)
        .filter(|other| *other != cpu && !fault::is_dead(*other))
        .min_by_key(|other| state::assignment(*other).is_some());
    if let (Some(heir), Some(host)) = (heir, state::HOST.get()) {
        set_console_core(heir);
        host.take_uart(heir);
        host.gic.kick(heir);
    }
}

/// Chooses a core without a vCPU, so that no partition is interrupted for what is typed; or else the first of a partition
/// that has no heartbeat to keep, or of any. Called when the partitions are made, before other cores start.
pub fn choose_console_core() {
    let count = state::HOST.get().map_or(0, |host| host.cpus.len());
    let first = |partition: &Partition<'_>| partition.cpus.first().copied();
    let chosen = (0..count)
        .filter_map(|index| u8::try_from(index).ok())
        .map(CpuId::new)
        .find(|cpu| state::assignment(*cpu).is_none())
        .or_else(|| {
            partitions()
                .find(|partition| partition.plan.heartbeat_ms.is_none())
                .and_then(first)
        })
        .or_else(|| partitions().next().and_then(first));
    set_console_core(chosen.unwrap_or_default());
}

/// A core that can speak for `speaker`.
fn core_of(speaker: Speaker) -> Option<CpuId> {
    match speaker.as_partition() {
        Some(id) => state::partition(id)?.cpus.first().copied(),
        None => Some(console_core()),
    }
}

/// Moves a partition's output to the UART.
pub fn serve_partition(id: PartitionId) {
    serve(Speaker::partition(id));
}

/// How many cores say their last words: nobody else's go between.
static LAST_WORDS: AtomicU8 = AtomicU8::new(0);
/// Whether the UART has had the beginning of a line that is to go on. Set with the UART's lock.
static MID_LINE: AtomicBool = AtomicBool::new(false);
/// How long last words wait for another core's to end, which take 200 ms at 115,200 baud; then they mix.
const WORDS_END: Milliseconds = 500;
/// How long last words wait for a line to end: ten times what a long one takes at that rate, as its speaker's core may be busy.
const LINE_ENDS: Milliseconds = 100;

/// Most looks while waiting: it ends where the counter stands still, too.
const LOOKS: u32 = 10_000_000;

/// Waits until `done`, but no longer than `most`. Gives whether it is.
fn within(most: Milliseconds, mut done: impl FnMut() -> bool) -> bool {
    let late = timer::now().saturating_add(most);
    let mut looks = (0..LOOKS).take_while(|_| timer::now() < late);
    done() || looks.any(|_| done())
}

/// Holds the speakers' output back for a core's last words, from the end of the line they are at or, if that does not come
/// in time, from here. Waits for another core's last words.
pub fn hold_output() {
    let first = || {
        let said = LAST_WORDS.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire);
        said.is_ok()
    };
    if !within(WORDS_END, first) {
        LAST_WORDS.fetch_add(1, Ordering::AcqRel);
    }
    within(LINE_ENDS, || {
        // This core may be the one that would tell them that there is room.
        kick(CONSOLE.unblock());
        // Who has the lock may have looked at the count before; or it is this core, stopped in the middle.
        let uart = UART.try_lock();
        uart.is_some_and(|_uart| !MID_LINE.load(Ordering::Relaxed))
    });
    MID_LINE.store(false, Ordering::Relaxed);
}

/// Lets the speakers' output go on after a core's last words. Whoever stops may not have said any.
pub fn let_output_go_on() {
    let one_less = |count: u8| count.checked_sub(1);
    let _ = LAST_WORDS.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
}

/// Moves a speaker's output to the UART as far as that is possible now.
pub fn serve(speaker: Speaker) {
    finish(CONSOLE.serve(speaker, timer::now(), transmit));
}

/// Gives `bytes` to the UART until it is full, or last words are to be said; gives how many it took.
#[inline(never)]
fn transmit(bytes: &[u8]) -> usize {
    // The console's lock is held: nobody else writes, and a receiver holds this lock for a few reads only. It waits for no
    // more bytes than the FIFO has room for, and no more than are staged at once.
    let Some(mut uart) = UART.lock() else {
        return bytes.len();
    };
    let took = |byte: &&u8| {
        let goes = LAST_WORDS.load(Ordering::Relaxed) == 0 || MID_LINE.load(Ordering::Relaxed);
        let took = goes && uart.as_mut().is_none_or(|uart| uart.try_write(**byte));
        if took {
            MID_LINE.store(**byte != b'\n', Ordering::Relaxed);
        }
        took
    };
    bytes.iter().take_while(took).count()
}

fn finish(served: Served) {
    if served.blocked {
        set_uart_interrupts(true);
    }
    if let Some(at) = served.again {
        timer::set(at);
    }
    kick(served.kick);
}

/// Lets the UART interrupt for room if `transmit`, and for what is typed unless that has to wait there.
fn set_uart_interrupts(transmit: bool) {
    if let Some(mut uart) = UART.lock()
        && let Some(uart) = uart.as_mut()
    {
        // Looked at under the lock: whoever changes it comes here afterwards.
        uart.set_interrupts(!CONSOLE.is_input_held(), transmit);
    }
}

/// The time for which something was put off on this core has come: its own partition's output, the log, or input.
pub fn timer_interrupt(cpu: CpuId, own: Option<PartitionId>) {
    timer::stop();
    watch::timer_interrupt(cpu);
    if let Some(id) = own {
        serve_partition(id);
    }
    serve_console();
    if CONSOLE.is_input_held() {
        uart_interrupt();
    }
}

/// Interrupts a core of each of `speakers`.
fn kick(speakers: Speakers) {
    let Some(host) = state::HOST.get() else {
        return;
    };
    for speaker in speakers.iter() {
        if let Some(cpu) = core_of(speaker) {
            host.gic.kick(cpu);
        }
    }
}

/// Rounds of one UART interrupt: each takes a FIFO full of bytes, or carries out a command.
const ROUNDS: usize = 16;

/// The console UART's interrupt: takes what was typed, and tells those who waited for room. Also when the focus has room
/// again for what is held back.
pub fn uart_interrupt() {
    for _ in 0..ROUNDS {
        let mut command = false;
        let taken = INTAKE.lock().take(
            &CONSOLE,
            timer::now(),
            || UART.lock()?.as_mut().and_then(BoardUart::try_read),
            |typed| {
                let then = obey(typed);
                command |= then == Then::Stop;
                then
            },
        );
        if let Some(at) = taken.held_until {
            timer::set(at);
        }
        if taken.queued {
            kick(Speakers::only(Speaker::partition(CONSOLE.focus())));
        }
        // Carried out without the lock: it takes its time.
        if command && !monitor::run() {
            INTAKE.lock().close(&CONSOLE);
        }
        if !taken.any {
            break;
        }
    }
    set_uart_interrupts(false);
    kick(CONSOLE.unblock());
    serve(Speaker::MONITOR);
}

/// Moves on what the core that has the console speaks for.
pub fn serve_console() {
    for speaker in [Speaker::HYPERVISOR, Speaker::MONITOR, Speaker::REPLAY] {
        serve(speaker);
    }
    monitor::go_on();
}

/// Carries out what was typed, as far as that takes no time.
fn obey(typed: Typed) -> Then {
    match typed {
        Typed::Byte(_) => {}
        Typed::Open => monitor::prompt(),
        Typed::Monitor(key) => return monitor::key(key),
        Typed::Focus(id) => set_focus(id),
        Typed::Next => {
            let count = u8::try_from(partitions().count()).unwrap_or(1).max(1);
            set_focus(PartitionId::new((CONSOLE.focus().get() + 1) % count));
        }
        Typed::Help => log::info!("{HELP}"),
    }
    Then::GoOn
}

/// Gives a partition the keyboard, and shows what it said last.
pub fn set_focus(id: PartitionId) {
    match state::partition(id) {
        Some(partition) => {
            CONSOLE.set_focus(id);
            log::info!("focus: {}", partition.plan.name);
            CONSOLE.replay(Speaker::partition(id), partition.plan.name);
            serve(Speaker::REPLAY);
            kick(Speakers::only(Speaker::partition(id)));
        }
        None => log::info!("there is no partition {id}"),
    }
}

/// Has the core that has the console fail, once it has done what it is at.
pub fn fail_console_core(kind: fault::Kind) {
    fault::ask(console_core(), kind);
    if let Some(host) = state::HOST.get() {
        host.gic.kick(console_core());
    }
}

/// Panics with every lock of `cpu`'s partition, and the log's.
pub fn fail_with_locks(cpu: CpuId) -> ! {
    let own = state::assignment(cpu).map(|(partition, _)| partition);
    let _locks = own.map(|own| (own.uart(), own.interrupts(), own.crashes()));
    let _log = LOG.lock();
    panic!("asked to, with locks");
}

/// Interrupts every core of `partition`: its state has changed.
pub fn kick_all(partition: &Partition<'_>) {
    if let Some(host) = state::HOST.get() {
        partition.cpus.iter().for_each(|cpu| host.gic.kick(*cpu));
    }
}

/// Says that a partition has stopped, and what follows.
pub fn stopped(partition: &Partition<'_>, next: Next) {
    let speaker = Speaker::partition(partition.plan.id);
    CONSOLE.release(speaker);
    serve(speaker);
    let (_, reason) = partition.life.now();
    let why = match reason {
        Reason::Never => "stopped",
        Reason::Off => "switched itself off",
        Reason::Reset => "asked for a reset",
        Reason::Manager => "was stopped by its manager",
        Reason::Crash => "crashed",
        Reason::Heartbeat => "missed its heartbeat",
    };
    let then = match next {
        Next::Start => "starts again",
        Next::StartAt(_) => "starts again in a while",
        Next::Stay(_) => "stays down",
    };
    log::info!("partition {}: {why}; {then}", partition.plan.name);
    if matches!(reason, Reason::Crash | Reason::Heartbeat) {
        crash::report(partition);
    }
    if let Next::Stay(_) = next {
        board_off_if_idle();
    }
}

/// Switches the board off when no partition runs any more, and none was stopped by somebody who may want to start it.
pub fn board_off_if_idle() {
    let down = |partition: &Partition<'_>| match partition.life.now() {
        (State::Off, reason) => reason != Reason::Manager,
        (state, _) => state == State::Crashed,
    };
    if !partitions().all(down) {
        return;
    }
    log::info!("no partition runs: board off (core {})", cores::current());
    power::end(BoardEnd::Off);
}
