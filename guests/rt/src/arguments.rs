//! The boot arguments (`/chosen` `bootargs`): words separated by blanks, `key=value` or a bare key.

/// Boot arguments as the tree gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arguments<'a>(&'a str);

impl<'a> Arguments<'a> {
    /// Takes the text of `bootargs`.
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Returns the whole text.
    pub const fn text(self) -> &'a str {
        self.0
    }

    /// Returns the value of the last `key=value`, as for the kernel's command line.
    pub fn value(self, key: &str) -> Option<&'a str> {
        self.0
            .split_ascii_whitespace()
            .rev()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// Returns the number of the last `key=number`, decimal or `0x` hexadecimal.
    pub fn number(self, key: &str) -> Option<u64> {
        let text = self.value(key)?;
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }

    /// Tells whether the bare word `key` is there.
    pub fn flag(self, key: &str) -> bool {
        self.0.split_ascii_whitespace().any(|word| word == key)
    }

    /// Returns the comma-separated items of the last `key=a,b,c`; none if the key is missing.
    pub fn list(self, key: &str) -> impl Iterator<Item = &'a str> {
        self.value(key)
            .unwrap_or_default()
            .split(',')
            .filter(|item| !item.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    #[test]
    fn the_last_value_of_a_key_wins_and_prefixes_do_not_match() {
        let arguments = Arguments::new("ticks=1 xticks=7 report=0x10  ticks=2 ticksy=3");
        assert_eq!(arguments.number("ticks"), Some(2));
        assert_eq!(arguments.number("report"), Some(16));
        assert_eq!(arguments.number("tick"), None);
        assert_eq!(arguments.number("nothing"), None);
    }

    #[test]
    fn flags_are_whole_words_and_lists_skip_empty_items() {
        let arguments = Arguments::new("quiet tests=a,,b loud=1");
        assert!(arguments.flag("quiet"));
        assert!(!arguments.flag("loud"));
        assert!(arguments.list("tests").eq(["a", "b"]));
        assert_eq!(arguments.list("other").count(), 0);
    }

    #[test]
    fn a_value_that_is_no_number_is_none() {
        let arguments = Arguments::new("a= b=x c=0x d=18446744073709551616");
        for key in ["a", "b", "c", "d"] {
            assert_eq!(arguments.number(key), None);
        }
    }
}
