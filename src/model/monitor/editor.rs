//! A line and its keys: insertion, deletion, a cursor, history. Bounded, no heap.

use arrayvec::ArrayVec;

/// Bytes of a line.
pub const LINE: usize = 80;
/// Lines that are remembered.
pub const HISTORY: usize = 8;
/// What the monitor says when it waits for a line.
pub const PROMPT: &[u8] = b"> ";

/// Keys, as a terminal sends them.
const HOME: u8 = 0x01; // Ctrl-A
const LEFT: u8 = 0x02; // Ctrl-B
const INTERRUPT: u8 = 0x03; // Ctrl-C
const END_OF_INPUT: u8 = 0x04; // Ctrl-D
const END: u8 = 0x05; // Ctrl-E
const RIGHT: u8 = 0x06; // Ctrl-F
const BACKSPACE: u8 = 0x08;
const LINE_FEED: u8 = 0x0a;
const RETURN: u8 = 0x0d;
const NEXT: u8 = 0x0e; // Ctrl-N
const PREVIOUS: u8 = 0x10; // Ctrl-P
const KILL: u8 = 0x15; // Ctrl-U
const ESC: u8 = 0x1b;
const CONTROL_BRACKET: u8 = 0x1d; // Ctrl-]
const DELETE: u8 = 0x7f;

type Text = ArrayVec<u8, LINE>;

/// What a key has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// The line goes on.
    Edited,
    /// The line is complete: [`Editor::take`] it.
    Line,
    /// The person wants to leave.
    Leave,
}

/// Where in a cursor key's sequence the last byte was (ECMA-48 5.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sequence {
    None,
    Escape,
    Control,
}

/// The editor.
#[derive(Clone, Debug)]
pub struct Editor {
    line: Text,
    cursor: usize,
    history: ArrayVec<Text, HISTORY>,
    /// How many lines back is shown; 0: the line itself.
    back: usize,
    sequence: Sequence,
    returned: bool,
}

impl Default for Editor {
    fn default() -> Self {
        Self::new()
    }
}

impl Editor {
    /// An empty line, nothing remembered.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            line: ArrayVec::new_const(),
            cursor: 0,
            history: ArrayVec::new_const(),
            back: 0,
            sequence: Sequence::None,
            returned: false,
        }
    }

    /// Takes a key; `echo` gets what the terminal is to show.
    pub fn key(&mut self, byte: u8, mut echo: impl FnMut(u8)) -> Key {
        let echo = &mut echo;
        let after_return = core::mem::take(&mut self.returned);
        match (self.sequence, byte) {
            (Sequence::Escape, b'[' | b'O') => self.sequence = Sequence::Control,
            (Sequence::Escape, _) => self.sequence = Sequence::None,
            (Sequence::Control, b'0'..=b'?') => {}
            (Sequence::Control, _) => {
                self.sequence = Sequence::None;
                self.cursor_key(byte, echo);
            }
            (Sequence::None, LINE_FEED) if after_return => {}
            (Sequence::None, RETURN | LINE_FEED) => {
                self.returned = byte == RETURN;
                return if self.line.is_empty() {
                    Key::Leave
                } else {
                    echo(b'\n');
                    Key::Line
                };
            }
            (Sequence::None, CONTROL_BRACKET) => return self.drop_line(),
            (Sequence::None, END_OF_INPUT) if self.line.is_empty() => return Key::Leave,
            (Sequence::None, _) => self.edit(byte, echo),
        }
        Key::Edited
    }

    /// Takes the completed line, and remembers it.
    pub fn take(&mut self) -> Text {
        let line = core::mem::take(&mut self.line);
        if self.history.last() != Some(&line) {
            if self.history.is_full() {
                self.history.remove(0);
            }
            self.history.push(line.clone());
        }
        (self.cursor, self.back) = (0, 0);
        line
    }

    /// Forgets the line under way.
    fn drop_line(&mut self) -> Key {
        self.line.clear();
        (self.cursor, self.back) = (0, 0);
        Key::Leave
    }

    fn cursor_key(&mut self, byte: u8, echo: &mut impl FnMut(u8)) {
        let key = match byte {
            b'A' => PREVIOUS,
            b'B' => NEXT,
            b'C' => RIGHT,
            b'D' => LEFT,
            b'H' => HOME,
            b'F' => END,
            _ => return,
        };
        self.edit(key, echo);
    }

    fn edit(&mut self, byte: u8, echo: &mut impl FnMut(u8)) {
        match byte {
            b' '..=b'~' => return self.insert(byte, echo),
            BACKSPACE | DELETE => return self.erase(echo),
            HOME => self.cursor = 0,
            LEFT => self.cursor = self.cursor.saturating_sub(1),
            RIGHT => self.cursor = (self.cursor + 1).min(self.line.len()),
            END => self.cursor = self.line.len(),
            KILL | INTERRUPT => {
                self.drop_line();
            }
            PREVIOUS => self.recall(self.back + 1),
            NEXT => self.recall(self.back.saturating_sub(1)),
            ESC => {
                self.sequence = Sequence::Escape;
                return;
            }
            _ => return,
        }
        self.redraw(echo);
    }

    fn insert(&mut self, byte: u8, echo: &mut impl FnMut(u8)) {
        if self.line.is_full() {
            return;
        }
        self.line.insert(self.cursor.min(self.line.len()), byte);
        self.cursor += 1;
        if self.cursor == self.line.len() {
            echo(byte);
        } else {
            self.redraw(echo);
        }
    }

    fn erase(&mut self, echo: &mut impl FnMut(u8)) {
        if self.cursor == 0 {
            return;
        }
        self.cursor -= 1;
        self.line.remove(self.cursor);
        if self.cursor == self.line.len() {
            b"\x08 \x08".iter().for_each(|byte| echo(*byte));
        } else {
            self.redraw(echo);
        }
    }

    /// Shows the line `back` lines ago, or the empty one.
    fn recall(&mut self, back: usize) {
        let back = back.min(self.history.len());
        let recalled = back
            .checked_sub(1)
            .and_then(|back| self.history.iter().rev().nth(back));
        self.line = recalled.cloned().unwrap_or_default();
        self.back = back;
        self.cursor = self.line.len();
    }

    /// Shows the whole line anew, with the cursor where it is.
    fn redraw(&self, echo: &mut impl FnMut(u8)) {
        let shown = b"\r".iter().chain(PROMPT).chain(&self.line);
        shown.chain(b"\x1b[K").for_each(|byte| echo(*byte));
        (self.cursor..self.line.len()).for_each(|_| echo(BACKSPACE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lines that `keys` complete, and the last key's meaning.
    fn typed(keys: &[u8]) -> (Vec<String>, Key) {
        let (mut editor, mut lines, mut last) = (Editor::new(), Vec::new(), Key::Edited);
        for key in keys {
            last = editor.key(*key, |_| ());
            if last == Key::Line {
                lines.push(String::from_utf8(editor.take().to_vec()).unwrap());
            }
        }
        (lines, last)
    }

    fn line(keys: &[u8]) -> String {
        typed(keys).0.pop().unwrap()
    }

    #[test]
    fn a_line_ends_with_return_line_feed_or_both() {
        for end in ["\r", "\n", "\r\n"] {
            let (lines, _) = typed(format!("list{end}log{end}").as_bytes());
            assert_eq!(lines, ["list", "log"]);
        }
    }

    #[test]
    fn a_line_is_edited_in_its_middle() {
        assert_eq!(line(b"lst\x02\x02i\r"), "list");
        assert_eq!(line(b"lst\x1b[D\x1b[Di\r"), "list");
        assert_eq!(line(b"xlisty\x7f\x01\x1b[C\x08\r"), "list");
        assert_eq!(line(b"nonsense\x15list\r"), "list");
    }

    #[test]
    fn former_lines_come_back_and_can_be_changed() {
        assert_eq!(line(b"stop a\rlist\r\x1b[A\x1b[A\r"), "stop a");
        assert_eq!(line(b"stop a\r\x10\x7fb\r"), "stop b");
        assert_eq!(line(b"one\rtwo\r\x10\x10\x0e\r"), "two");
    }

    #[test]
    fn an_empty_line_ctrl_d_or_ctrl_bracket_leaves() {
        for keys in [
            &b"\r"[..],
            b"\n",
            b"\x04",
            b"lis\x1d",
            b"list\r\r",
            b"x\x7f\r",
        ] {
            assert_eq!(typed(keys).1, Key::Leave, "{keys:?}");
        }
        assert_eq!(typed(b"lis\x04").1, Key::Edited);
        assert_eq!(typed(b"list\r\n").1, Key::Edited);
    }

    #[test]
    fn what_is_shown_at_the_end_of_a_line_is_the_key_alone() {
        let (mut editor, mut shown) = (Editor::new(), Vec::new());
        for key in b"ab\x7f" {
            editor.key(*key, |byte| shown.push(byte));
        }
        assert_eq!(shown, b"ab\x08 \x08");
    }

    proptest! {
        #![proptest_config(crate::words::effort::cases(256))]

        /// Whatever is typed, a line is text of at most its length, and the terminal gets a bounded answer.
        #[test]
        fn any_keys_make_a_bounded_line_of_text(keys in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut editor = Editor::new();
            for key in keys {
                let mut echoed = 0;
                if editor.key(key, |_| echoed += 1) == Key::Line {
                    let line = editor.take();
                    prop_assert!(!line.is_empty() && line.iter().all(|byte| (b' '..=b'~').contains(byte)));
                }
                prop_assert!(echoed <= 2 * LINE + 8);
            }
        }
    }
}
