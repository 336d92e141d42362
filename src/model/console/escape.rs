//! What the person at the board's terminal types: bytes for the partition in focus, and commands after Ctrl-].

use crate::words::PartitionId;

/// Ctrl-]: the next byte is a command.
pub const ESCAPE: u8 = 0x1d;

/// The line [`Typed::Help`] asks for.
pub const HELP: &str =
    "Ctrl-] then 0-7: focus on that partition, n: on the next, Ctrl-]: send Ctrl-], ?: this help";

/// What a typed byte means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Typed {
    /// The escape has begun, or a command nobody knows has ended it.
    Nothing,
    /// A byte for the partition in focus.
    Byte(u8),
    /// Put this partition in focus, if there is one of this number.
    Focus(PartitionId),
    /// Put the next partition in focus.
    Next,
    /// Print [`HELP`].
    Help,
}

/// The state between two typed bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Escape {
    begun: bool,
}

impl Escape {
    /// The state before anything was typed.
    #[must_use]
    pub const fn new() -> Self {
        Self { begun: false }
    }

    /// Takes the next typed byte and says what it means.
    pub fn typed(&mut self, byte: u8) -> Typed {
        if !self.begun {
            self.begun = byte == ESCAPE;
            return if self.begun {
                Typed::Nothing
            } else {
                Typed::Byte(byte)
            };
        }
        self.begun = false;
        match byte {
            ESCAPE => Typed::Byte(ESCAPE),
            b'0'..=b'7' => Typed::Focus(PartitionId::new(byte - b'0')),
            b'n' => Typed::Next,
            b'?' => Typed::Help,
            _ => Typed::Nothing,
        }
    }
}
