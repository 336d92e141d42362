//! What the person at the board's terminal types: bytes for the partition in focus, and after Ctrl-] keys for the monitor.
//!
//! | state     | a byte                         | means                        | to        |
//! |-----------|--------------------------------|------------------------------|-----------|
//! | `Guest`   | Ctrl-]                         | [`Typed::Open`]              | `Begun`   |
//! | `Guest`   | any other                      | [`Typed::Byte`]              | `Guest`   |
//! | `Begun`   | 0 to 7, n, ?, Ctrl-]           | a command of one key         | `Guest`   |
//! | `Begun`   | any other                      | [`Typed::Monitor`]           | `Monitor` |
//! | `Monitor` | any                            | [`Typed::Monitor`]           | `Monitor`, until it is closed |

use crate::words::PartitionId;

/// Ctrl-]: what follows is for the monitor.
pub const ESCAPE: u8 = 0x1d;

/// The line [`Typed::Help`] asks for.
pub const HELP: &str = "Ctrl-] then 0-7: focus on that partition, n: on the next, Ctrl-]: send Ctrl-], ?: this help, \
     or a command such as list, stats, help";

/// What a typed byte means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Typed {
    /// The monitor opens: it shows its prompt.
    Open,
    /// A byte for the partition in focus.
    Byte(u8),
    /// Put this partition in focus, if there is one of this number.
    Focus(PartitionId),
    /// Put the next partition in focus.
    Next,
    /// Print [`HELP`].
    Help,
    /// A key for the monitor's line.
    Monitor(u8),
}

/// See the module's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Guest,
    Begun,
    Monitor,
}

/// The state between two typed bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Escape {
    state: State,
}

impl Escape {
    /// The state before anything was typed.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Guest,
        }
    }

    /// Whether what is typed next is not for a guest.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != State::Guest
    }

    /// The monitor closes: what is typed next is for the guest again.
    pub const fn close(&mut self) {
        self.state = State::Guest;
    }

    /// Takes the next typed byte and says what it means.
    pub fn typed(&mut self, byte: u8) -> Typed {
        match self.state {
            State::Guest if byte == ESCAPE => {
                self.state = State::Begun;
                return Typed::Open;
            }
            State::Guest => return Typed::Byte(byte),
            State::Begun => self.state = State::Guest,
            State::Monitor => return Typed::Monitor(byte),
        }
        match byte {
            ESCAPE => Typed::Byte(ESCAPE),
            b'0'..=b'7' => Typed::Focus(PartitionId::new(byte - b'0')),
            b'n' => Typed::Next,
            b'?' => Typed::Help,
            _ => {
                self.state = State::Monitor;
                Typed::Monitor(byte)
            }
        }
    }
}
