//! A short text with room of its own: names in errors outlive the tree or bundle they came from.

use core::fmt;

/// At most `N` bytes of text; what does not fit is cut off at the end, never refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    /// The empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }

    /// Adds `text`, as much of it as fits in whole characters.
    #[inline(never)]
    pub fn push(&mut self, text: &str) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        self.length += copy(room, text);
    }

    /// The text.
    #[must_use]
    #[inline(never)]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// Copies what fits of `text` in whole characters; gives the bytes of it.
#[inline(never)]
fn copy(room: &mut [u8], text: &str) -> usize {
    let fitting = text.floor_char_boundary(room.len());
    for (to, from) in room.iter_mut().zip(text.bytes().take(fitting)) {
        *to = from;
    }
    fitting
}

impl<const N: usize> From<&str> for Text<N> {
    fn from(text: &str) -> Self {
        let mut result = Self::new();
        result.push(text);
        result
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_what_fits_in_whole_characters() {
        let text = Text::<4>::from("abé€");
        assert_eq!(text.as_str(), "abé");
        assert_eq!(Text::<4>::from("abcdef").to_string(), "abcd");
        assert_eq!(Text::<0>::from("a").as_str(), "");
    }
}
