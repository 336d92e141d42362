//! What the monitor's commands do. Its keys and lines are [`crate::model::monitor`]'s.
//!
//! It runs on the core that has the console, in the UART's interrupt, whatever the guests do. It waits for no guest: lives
//! are changed as a manager's call changes them, locks of a partition are only tried.

mod show;
mod trace;

pub use trace::go_on;

use super::state::{self, CONSOLE, partitions};
use super::{fault, system};
use crate::behaviour::lifecycle::{Reason, State};
use crate::behaviour::partition::Partition;
use crate::edge::init;
use crate::model::console::{Speaker, Then};
use crate::model::monitor::{Command, Editor, HELP, Key, Name, Order, PROMPT, Unknown, parse};
use crate::words::limits::LINE;
use arrayvec::ArrayString;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use spin::mutex::SpinMutex;

/// The line under way.
static EDITOR: SpinMutex<Editor> = SpinMutex::new(Editor::new());
/// The monitor's ring has one producer at a time.
static OUTPUT: SpinMutex<()> = SpinMutex::new(());
/// The monitor has the focus: it keeps the keyboard until a partition gets it.
static KEEPS: AtomicBool = AtomicBool::new(false);
/// What it is called among the partitions.
const OWN_NAME: &str = "monitor";

/// Says a line, which is cut off if it is too long or the monitor's ring is full.
fn say_line(arguments: fmt::Arguments<'_>) {
    let mut line: ArrayString<LINE> = ArrayString::new();
    let _ = line.write_fmt(arguments);
    print(&mut line.bytes().chain(*b"\n"));
    system::serve(Speaker::MONITOR);
}

/// Says a line.
macro_rules! say {
    ($($argument:tt)*) => { $crate::program::monitor::say_line(format_args!($($argument)*)) };
}
use say;

#[inline(never)]
fn print(bytes: &mut dyn Iterator<Item = u8>) {
    let _producer = OUTPUT.lock();
    let ring = CONSOLE.ring(Speaker::MONITOR);
    for byte in bytes {
        ring.push(byte);
    }
}

/// Shows the prompt.
pub fn prompt() {
    print(&mut PROMPT.iter().copied());
}

/// Takes a key of the line.
pub fn key(byte: u8) -> Then {
    let mut editor = EDITOR.lock();
    let mut echo = arrayvec::ArrayVec::<u8, 256>::new();
    let key = editor.key(byte, |byte| {
        let _ = echo.try_push(byte);
    });
    print(&mut echo.into_iter());
    match key {
        Key::Edited => Then::GoOn,
        Key::Leave if KEEPS.load(Ordering::Relaxed) => {
            prompt();
            Then::GoOn
        }
        Key::Leave => Then::Close,
        Key::Line => Then::Stop,
    }
}

/// Carries out the line that is complete. `true`: the monitor stays open.
pub fn run() -> bool {
    let line = EDITOR.lock().take();
    let command = parse(core::str::from_utf8(&line).unwrap_or_default());
    let stays = match command {
        Ok(Command::Focus(name)) => !focus(&name),
        Ok(Command::Trace) => {
            // The prompt comes when it is over.
            trace::begin();
            return true;
        }
        Ok(command) => {
            carry_out(command);
            true
        }
        Err(Unknown::Command(word)) => {
            say!("no command {word}; `help` lists them");
            true
        }
        Err(Unknown::NeedsName) => {
            say!("of which partition? `list` names them");
            true
        }
        Err(Unknown::TooMany) => {
            say!("too many words");
            true
        }
    };
    if stays {
        prompt();
    }
    stays
}

fn carry_out(command: Command) {
    match command {
        Command::List => show::list(),
        Command::Focus(_) | Command::Trace => {}
        Command::Life(order, name) => life(order, &name),
        Command::Crashes(name) => with(&name, &show::crashes),
        Command::Stats(None) => partitions().for_each(show::statistics),
        Command::Stats(Some(name)) => with(&name, &show::statistics),
        Command::Memory => show::memory(),
        Command::Audit => show::audit(),
        Command::Interrupts => partitions().for_each(show::interrupts),
        Command::Log => CONSOLE.replay(Speaker::HYPERVISOR, "log"),
        Command::Fault(what) => fail(&what),
        Command::Help => HELP.iter().for_each(|line| say!("{line}")),
    }
}

/// The partition of that name or number.
fn find(name: &Name) -> Option<&'static Partition<'static>> {
    let name = name.as_str();
    let number = name.parse().ok().map(crate::words::PartitionId::new);
    partitions()
        .find(|partition| partition.plan.name == name)
        .or_else(|| state::partition(number?))
}

fn with(name: &Name, show: &dyn Fn(&'static Partition<'static>)) {
    match find(name) {
        Some(partition) => show(partition),
        None => say!("no partition {name}; `list` names them"),
    }
}

fn focus(name: &Name) -> bool {
    let partition = find(name);
    match partition {
        Some(partition) => {
            KEEPS.store(false, Ordering::Relaxed);
            system::set_focus(partition.plan.id);
        }
        None if name.as_str() == OWN_NAME => {
            KEEPS.store(true, Ordering::Relaxed);
            say!("the monitor keeps the keyboard; `focus NAME` gives it to a partition");
        }
        None => say!("no partition {name}; `list` names them"),
    }
    partition.is_some()
}

fn life(order: Order, name: &Name) {
    with(name, &|partition| {
        if partition.obey(order, init::counter(), init::counter_frequency()) {
            system::kick_all(partition);
            let done = match order {
                Order::Start => "starts",
                Order::Stop => "stops",
                Order::Restart => "starts again",
                Order::Pause => "is held",
                Order::Resume => "goes on",
            };
            say!("{} {done}", partition.plan.name);
        } else {
            say!(
                "{} is {}: not possible now",
                partition.plan.name,
                state_name(partition)
            );
        }
    });
}

/// `fault KIND[@NAME]`: EL2 fails on the core that has the console, or on the first of a partition.
fn fail(what: &Name) {
    let (kind, name) = match what.as_str().split_once('@') {
        Some((kind, name)) => (kind, Some(Name::from(name))),
        None => (what.as_str(), None),
    };
    let kind = match kind {
        _ if !state::SELF_TEST.load(Ordering::Relaxed) => {
            say!("this system's manifest does not ask for the self-test");
            return;
        }
        "panic" => fault::Kind::Panic,
        "abort" => fault::Kind::Abort,
        "stack" => fault::Kind::Stack,
        "locked" => fault::Kind::Locked,
        _ => {
            say!("fault panic, abort, stack or locked");
            return;
        }
    };
    let Some(name) = name else {
        system::fail_console_core(kind);
        return;
    };
    with(&name, &|partition| {
        if let Some(cpu) = partition.cpus.first() {
            fault::ask(*cpu, kind);
            system::kick_all(partition);
        }
    });
}

/// What a partition does, in a word.
fn state_name(partition: &Partition<'_>) -> &'static str {
    match partition.life.state() {
        State::Off => "off",
        State::Starting => "starting",
        State::Running => "running",
        State::Paused => "paused",
        State::Stopping => "stopping",
        State::Crashed => "crashed",
        State::Waiting => "waiting",
    }
}

/// Why it last stopped.
fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Never => "never stopped",
        Reason::Off => "switched itself off",
        Reason::Reset => "asked for a reset",
        Reason::Manager => "stopped by its manager",
        Reason::Crash => "crashed",
        Reason::Heartbeat => "missed its heartbeat",
    }
}
