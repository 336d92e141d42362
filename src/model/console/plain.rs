//! What of a line may be shown a second time: its text. Control sequences are for once: a terminal answers some, and
//! what it answers would be typed into the guest again.

/// Where in a control sequence the last byte left a terminal (ECMA-48 5.3, 5.4 and 5.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plain {
    /// In none.
    Text,
    /// After ESC, and bytes that say which of its sequences.
    Escape,
    /// In CSI: parameters until a final byte.
    Sequence,
    /// In DCS, SOS, OSC, PM or APC: anything until ST, or BEL as xterm has it.
    String,
}

const BEL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;
const TAB: u8 = 0x09;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const ESC: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// Whether a byte is a character or of one: text where text may stand, and text may stand behind it.
pub(super) const fn is_graphic(byte: u8) -> bool {
    byte >= b' ' && byte != DELETE
}

impl Plain {
    /// Takes the next byte; gives whether it is text, or moves within it.
    pub fn keeps(&mut self, byte: u8) -> bool {
        let keeps = *self == Self::Text && (matches!(byte, BACKSPACE | TAB) || is_graphic(byte));
        *self = self.after(byte);
        keeps
    }

    const fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (_, ESC) => Self::Escape,
            (_, CANCEL | SUBSTITUTE) | (Self::String, BEL) => Self::Text,
            (Self::Escape, b'[') => Self::Sequence,
            (Self::Escape, b'P' | b'X' | b']' | b'^' | b'_') => Self::String,
            // A final byte ends them; intermediate bytes and controls do not.
            (Self::Escape, 0x30..=0x7e) | (Self::Sequence, 0x40..=0x7e) => Self::Text,
            (state, _) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &str) -> String {
        let mut plain = Plain::Text;
        let kept = bytes.bytes().filter(|byte| plain.keeps(*byte));
        String::from_utf8(kept.collect()).unwrap()
    }

    #[test]
    fn control_sequences_are_left_out_and_text_stays() {
        for (shown, kept) in [
            ("/ # \x1b[6n", "/ # "),
            ("\x1b[1;32muser\x1b[0m$ ", "user$ "),
            ("\x1b[?2004h# ", "# "),
            ("\x1b]0;title\x07# ", "# "),
            ("\x1b]0;title\x1b\\# ", "# "),
            ("\x1bP$q\"p\x1b\\x", "x"),
            ("\x1b(B\x1b7\x1b=x\x1bc", "x"),
            ("\x1bZ\x05\x07\x0e\x7fx\0", "x"),
            ("l\x08 \x08s\t\u{e4}\u{20ac}", "l\x08 \x08s\t\u{e4}\u{20ac}"),
            ("\x1b[6\x1b[6nx", "x"),
            ("\x1b[6\x18x", "x"),
            ("x\x1b[", "x"),
        ] {
            assert_eq!(text(shown), kept, "{shown:?}");
        }
    }
}
