//! A running emulator whose console this program reads and types on.
//!
//! However a session ends, by its owner, a signal or a panic, QEMU's whole process group ends with it.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How long an unfinished line must rest before it is taken for a prompt.
const REST: Duration = Duration::from_millis(150);
/// How often a wait looks whether a signal came.
const WATCH: Duration = Duration::from_millis(50);

/// How long QEMU may take to end in good order.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What a wait for the console ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes came.
    Bytes(Vec<u8>),
    /// Nothing came for a moment.
    Rest,
    /// QEMU ended.
    Ended,
}

/// The console's keyboard.
#[derive(Clone)]
pub struct Keyboard(Arc<Mutex<ChildStdin>>);

impl Keyboard {
    /// Types `bytes`. An emulator that is gone takes none, which is no error of the typist.
    pub fn send(&self, bytes: &[u8]) {
        if let Ok(mut stdin) = self.0.lock() {
            let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
        }
    }
}

/// A running emulator.
pub struct Session {
    child: Child,
    output: Receiver<Vec<u8>>,
    keyboard: Keyboard,
}

impl Session {
    /// Starts `command` in a process group of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        interrupted();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()
            .context("starting QEMU")?;
        let stdin = child.stdin.take().context("QEMU has no input")?;
        let mut stdout = child.stdout.take().context("QEMU has no output")?;
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            output,
            keyboard: Keyboard(Arc::new(Mutex::new(stdin))),
        })
    }

    /// The keyboard.
    pub fn keyboard(&self) -> Keyboard {
        self.keyboard.clone()
    }

    /// Waits for the console to say something or to rest, but not past `deadline`.
    pub fn next(&mut self, deadline: Instant) -> Event {
        let until = deadline.min(Instant::now() + REST);
        loop {
            let now = Instant::now();
            if now >= until || interrupted() {
                return Event::Rest;
            }
            match self.output.recv_timeout(WATCH.min(until - now)) {
                Ok(bytes) => return Event::Bytes(bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Event::Ended,
            }
        }
    }

    /// Ends QEMU in good order, so that its plugins have their last word; after a moment, by force.
    pub fn stop(mut self) {
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
        }
        let deadline = Instant::now() + LAST_WORDS;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(WATCH);
        }
    }

    /// How QEMU ended, once it has closed its console.
    pub fn ending(&mut self) -> String {
        match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A process that is already gone is what is wanted.
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// Whether somebody asked this program to stop. The first call begins to listen for that.
pub fn interrupted() -> bool {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    let flag = FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // Without a handler the signal ends the program at once; QEMU then dies with its parent.
            let _ = signal_hook::flag::register(signal, flag.clone());
        }
        flag
    });
    flag.load(Ordering::Relaxed)
}

/// Splits what comes from a console into lines without their ends and without terminal control sequences.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes `bytes` and gives the lines they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.pending.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            lines.push(clean(&line));
        }
        lines
    }

    /// The line that is not yet complete.
    pub fn partial(&self) -> String {
        clean(&self.pending)
    }
}

/// The text of `line`: no carriage returns, no control sequences (ECMA-48, 5.4), nothing that is not UTF-8.
fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => {
                if characters.next() == Some('[') {
                    // The sequence ends with its first character from @ on.
                    let _ = characters.find(|c| ('\x40'..='\x7e').contains(c));
                }
            }
            '\t' => clean.push('\t'),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_come() {
        let mut lines = Lines::default();
        assert!(lines.push(b"[a] on").is_empty());
        assert_eq!(lines.partial(), "[a] on");
        assert_eq!(lines.push(b"e\r\n[b] two\n# "), ["[a] one", "[b] two"]);
        assert_eq!(lines.partial(), "# ");
        assert_eq!(lines.push(b"\n"), ["# "]);
    }

    #[test]
    fn control_sequences_are_no_text() {
        assert_eq!(clean(b"\x1b[1;32mok\x1b[0m\x07 \x1b[6n# "), "ok # ");
        assert_eq!(clean(b"\x1b["), "");
        assert_eq!(clean(b"\xff"), "\u{fffd}");
    }

    fn shell(script: &str) -> Session {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Session::start(command).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn what_is_typed_arrives_and_the_end_is_seen() {
        let mut session = shell("read word; echo got $word");
        session.keyboard().send(b"this\n");
        let mut text = Vec::new();
        loop {
            match session.next(soon()) {
                Event::Bytes(bytes) => text.extend(bytes),
                Event::Rest => {}
                Event::Ended => break,
            }
        }
        assert_eq!(text, b"got this\n");
        assert_eq!(session.ending(), "exit status: 0");
    }

    #[test]
    fn nothing_is_left_running_when_a_session_is_dropped() {
        let mut session = shell("sleep 1000 & echo $!; wait");
        let pid = loop {
            if let Event::Bytes(bytes) = session.next(soon()) {
                break String::from_utf8(bytes).unwrap();
            }
        };
        drop(session);
        let process = format!("/proc/{}/stat", pid.trim());
        let gone = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            let state = std::fs::read_to_string(&process).unwrap_or_default();
            state.is_empty() || state.contains(") Z")
        });
        assert!(gone, "{process}");
    }
}
