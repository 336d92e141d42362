//! What is typed, on its way from the UART to the partition in focus.
//!
//! A guest reads slower than a paste comes. While the queue of the focus is full, bytes stay in the UART, whose other end
//! then waits: a paste of any length arrives. But a guest that does not read at all must not keep the person at the
//! terminal from the console's own commands: after [`HOLD`] bytes are taken all the same, and those that do not fit
//! are dropped until it reads again.
//!
//! | state      | a byte is taken                   | to                                                         |
//! |------------|-----------------------------------|------------------------------------------------------------|
//! | `Open`     | if the queue has room             | `Held` when it has none                                    |
//! | `Held`     | when [`RESUME`] bytes have room   | `Open` then; `Dropping` when it took the guest [`HOLD`]    |
//! | `Dropping` | always                            | `Open` when [`RESUME`] bytes have room                     |

use super::{Console, Escape, InputQueue, Milliseconds, Typed};

/// Room in the queue at which bytes are taken out of the UART again.
pub const RESUME: u32 = 256;
/// How long a guest may keep [`RESUME`] typed bytes waiting.
pub const HOLD: Milliseconds = 1000;
/// Most bytes one call takes: what a UART's FIFO holds. It interrupts again if it has more.
const AT_ONCE: usize = 32;

/// See the module's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flow {
    Open,
    Held { until: Milliseconds },
    Dropping,
}

/// The receiving end of the console; one lock around it.
#[derive(Debug)]
pub struct Intake {
    escape: Escape,
    flow: Flow,
}

/// What follows a typed command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// Typed bytes go on being taken.
    GoOn,
    /// The monitor closes: they are the guest's again.
    Close,
    /// None is taken until the command has been carried out.
    Stop,
}

/// What [`Intake::take`] leaves to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Taken {
    /// Bytes were queued: kick the partition in focus.
    pub queued: bool,
    /// Bytes were taken; there may be more.
    pub any: bool,
    /// Mask the UART's receive interrupt, and call [`Intake::take`] again at this time, or when
    /// [`Console::wants_input`] says so. Unmask it if there is none.
    pub held_until: Option<Milliseconds>,
}

impl Default for Intake {
    fn default() -> Self {
        Self::new()
    }
}

impl Intake {
    /// Before anything was typed.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            escape: Escape::new(),
            flow: Flow::Open,
        }
    }

    /// The monitor closes: what is typed next is for the partition in focus.
    pub fn close(&mut self, console: &Console) {
        self.escape.close();
        console.open_monitor(false);
    }

    /// Takes typed bytes from `read`, until it gives none, the focus has no room for more, or a command has to be carried
    /// out first; `act` gets what is no byte for the focus.
    pub fn take(
        &mut self,
        console: &Console,
        now: Milliseconds,
        mut read: impl FnMut() -> Option<u8>,
        mut act: impl FnMut(Typed) -> Then,
    ) -> Taken {
        let mut taken = Taken::default();
        for _ in 0..AT_ONCE {
            let Some(queue) = console.input(console.focus()) else {
                return taken;
            };
            // The monitor's keys need no room.
            if !self.escape.is_open() {
                taken.held_until = self.hold(console, queue, now);
                if taken.held_until.is_some() {
                    return taken;
                }
            }
            let Some(byte) = read() else { return taken };
            taken.any = true;
            let was_open = self.escape.is_open();
            let typed = self.escape.typed(byte);
            if self.escape.is_open() != was_open {
                console.open_monitor(!was_open);
            }
            match typed {
                Typed::Byte(byte) => taken.queued |= queue.push(byte),
                command => match act(command) {
                    Then::GoOn => {}
                    Then::Close => self.close(console),
                    Then::Stop => return taken,
                },
            }
        }
        taken
    }

    /// Brings the state up to date; gives until when nothing is to be taken.
    fn hold(
        &mut self,
        console: &Console,
        queue: &InputQueue,
        now: Milliseconds,
    ) -> Option<Milliseconds> {
        let room = |least: u32| queue.space() >= least;
        if self.flow == Flow::Open && room(1) {
            return None;
        }
        if self.flow == Flow::Open {
            let until = now.saturating_add(HOLD);
            self.flow = Flow::Held { until };
        }
        // Said before the last look at the queue: whoever makes room after that look sees it.
        let held = matches!(self.flow, Flow::Held { until } if now < until);
        console.hold_input(held);
        match self.flow {
            _ if room(RESUME) => self.flow = Flow::Open,
            Flow::Held { until } if held => return Some(until),
            _ => self.flow = Flow::Dropping,
        }
        console.hold_input(false);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::Speaker;
    use super::*;
    use crate::words::PartitionId;
    use crate::words::effort::times;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const QUEUE: usize = crate::model::console::ROOM;

    /// A terminal that waits for a UART of 16 bytes, and a guest that reads.
    struct Board {
        console: Box<Console>,
        intake: Intake,
        terminal: VecDeque<u8>,
        fifo: VecDeque<u8>,
        now: Milliseconds,
        taken: Taken,
        commands: Vec<Typed>,
        read: Vec<u8>,
    }

    impl Board {
        fn new(typed: &[u8]) -> Self {
            Self {
                console: Box::new(Console::default()),
                intake: Intake::new(),
                terminal: typed.iter().copied().collect(),
                fifo: VecDeque::new(),
                now: 0,
                taken: Taken::default(),
                commands: Vec::new(),
                read: Vec::new(),
            }
        }

        fn take(&mut self) {
            let (fifo, commands) = (&mut self.fifo, &mut self.commands);
            self.taken = self.intake.take(
                &self.console,
                self.now,
                || fifo.pop_front(),
                |command| {
                    commands.push(command);
                    Then::GoOn
                },
            );
        }

        /// The terminal sends what the UART has room for, which interrupts unless that is masked.
        fn send(&mut self) {
            while self.fifo.len() < 16 {
                let Some(byte) = self.terminal.pop_front() else {
                    break;
                };
                self.fifo.push_back(byte);
            }
            if !self.fifo.is_empty() && self.taken.held_until.is_none() {
                self.take();
            }
        }

        fn expire(&mut self) {
            if let Some(until) = self.taken.held_until
                && self.now >= until
            {
                self.take();
            }
        }

        /// The guest reads `count` bytes.
        fn drain(&mut self, count: usize) {
            let queue = self.console.input(PartitionId::new(0)).unwrap();
            for _ in 0..count {
                self.read.extend(queue.pop());
            }
            if self.console.wants_input(PartitionId::new(0)) {
                self.take();
            }
        }

        fn is_done(&self) -> bool {
            let queue = self.console.input(PartitionId::new(0)).unwrap();
            self.terminal.is_empty() && self.fifo.is_empty() && queue.is_empty()
        }
    }

    fn text(length: usize) -> Vec<u8> {
        (b'a'..=b'z').cycle().take(length).collect()
    }

    #[test]
    fn a_paste_longer_than_the_queue_arrives_whole_at_a_slow_guest() {
        let paste = text(times(3 * QUEUE, QUEUE + 300));
        let mut board = Board::new(&paste);
        for _ in 0..paste.len() + times(QUEUE, 16) {
            board.send();
            board.drain(1);
            // 256 bytes in just under a second.
            board.now += 3;
            board.expire();
        }
        assert!(board.is_done());
        assert!(board.read == paste);
    }

    #[test]
    fn a_full_queue_leaves_bytes_where_the_terminal_waits() {
        let mut board = Board::new(&text(QUEUE + 5000));
        for _ in 0..QUEUE {
            board.send();
        }
        assert_eq!(board.taken.held_until, Some(1000));
        assert_eq!(board.fifo.len(), 16);
        assert_eq!(board.terminal.len(), 5000 - 16);
        board.drain(255);
        assert_eq!(board.fifo.len(), 16, "not for every byte");
        board.drain(1);
        assert_eq!((board.fifo.len(), board.taken.held_until), (0, None));
    }

    #[test]
    fn a_guest_that_does_not_read_loses_bytes_and_not_the_console() {
        let mut board = Board::new(&text(QUEUE + 100));
        board.terminal.extend(*b"\x1dn");
        for _ in 0..QUEUE {
            board.send();
        }
        assert!(board.commands.is_empty());
        board.now = 999;
        board.expire();
        assert!(board.taken.held_until.is_some());
        board.now = 1000;
        board.expire();
        for _ in 0..100 {
            board.send();
        }
        assert_eq!(board.commands, [Typed::Open, Typed::Next]);
        assert!(board.fifo.is_empty() && board.terminal.is_empty());
        board.drain(QUEUE);
        assert!(board.read == text(QUEUE), "what fitted is there, in order");
        board.terminal.extend(text(2 * QUEUE));
        for _ in 0..QUEUE {
            board.send();
        }
        assert!(
            board.taken.held_until.is_some(),
            "a guest that reads is waited for again"
        );
    }

    #[test]
    fn commands_are_carried_out_and_not_queued() {
        let mut board = Board::new(b"a\x1d?b\x1d\x1d");
        board.send();
        board.drain(10);
        assert_eq!(board.read, b"ab\x1d");
        assert!(board.commands.contains(&Typed::Help));
    }

    #[test]
    fn while_the_monitor_is_open_no_key_reaches_a_guest_and_its_prompt_comes_first() {
        let mut board = Board::new(b"a\x1dlist 0\rb");
        board.send();
        assert_eq!(board.console.front(), Speaker::MONITOR);
        board.intake.close(&board.console);
        board.terminal.extend(*b"c\x1d3d");
        board.send();
        assert_eq!(
            board.console.front(),
            Speaker::partition(PartitionId::new(0))
        );
        board.drain(10);
        assert_eq!(board.read, b"acd");
        let keys = board.commands.iter().filter_map(|typed| match typed {
            Typed::Monitor(key) => Some(*key),
            _ => None,
        });
        assert_eq!(keys.collect::<Vec<_>>(), b"list 0\rb");
    }

    #[test]
    fn a_command_is_carried_out_before_the_next_key_is_taken() {
        let console = Console::default();
        let mut intake = Intake::new();
        let mut keys = b"\x1dl\r1".iter().copied();
        let taken = intake.take(
            &console,
            0,
            || keys.next(),
            |typed| match typed {
                Typed::Monitor(b'\r') => Then::Stop,
                _ => Then::GoOn,
            },
        );
        assert!(taken.any && keys.eq(*b"1"));
    }

    #[test]
    fn nobody_is_kicked_for_nothing() {
        let mut board = Board::new(b"\x1dn");
        board.send();
        assert!(!board.taken.queued);
        board.take();
        assert_eq!(board.taken, Taken::default());
    }

    /// The guest makes room on one core while the queue is found full on another: one of them sees the other.
    #[test]
    fn room_made_while_input_is_being_held_is_not_missed() {
        for _ in 0..times(200, 2) {
            let console = Box::new(Console::default());
            let queue = console.input(PartitionId::new(0)).unwrap();
            while queue.push(1) {}
            let (held, wanted) = std::thread::scope(|scope| {
                let guest = scope.spawn(|| {
                    while queue.pop().is_some() {}
                    console.wants_input(PartitionId::new(0))
                });
                let taken = Intake::new().take(&console, 0, || None, |_| Then::GoOn);
                (taken.held_until.is_some(), guest.join().unwrap())
            });
            assert!(!held || wanted);
        }
    }

    proptest! {
        #![proptest_config(crate::words::effort::cases(256))]

        /// However the guest reads, what it reads is in order and nothing is lost while it keeps up its rate.
        #[test]
        fn typed_bytes_arrive_once_in_order(length in QUEUE - 100..QUEUE + times(6000, 300), reads in prop::collection::vec((0_usize..600, 0_u64..700), 0..times(60, 8))) {
            let paste = text(length);
            let mut board = Board::new(&paste);
            for (count, wait) in reads {
                (0..1200).for_each(|_| board.send());
                board.drain(count.max(RESUME as usize));
                board.now += wait;
                board.expire();
            }
            prop_assert_eq!(&board.read[..], &paste[..board.read.len()]);
            while !board.is_done() {
                board.send();
                board.drain(1);
            }
            prop_assert!(board.read == paste);
        }
    }
}
