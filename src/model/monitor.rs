//! The monitor: the person at the board's terminal commands the hypervisor, line by line.
//!
//! Keys in, echo and commands out; what a command does is the program's (`program::monitor`). Nothing here is reachable
//! from a guest: what a guest prints goes to the terminal and is never read back, and only the board's UART types.

mod command;
mod editor;

pub use command::{Command, HELP, Name, Order, Unknown, parse};
pub use editor::{Editor, HISTORY, Key, LINE, PROMPT};
