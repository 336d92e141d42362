//! Any bytes as a manifest: read without a panic, and every mistake is at a place in the text and can be shown.
//!
//! The fuzz target `manifest` and the tests below say the same.

use super::{parse, rules};
use crate::report::{Problem, plain};

/// Holds the property against `bytes`, which are a manifest as far as they are text.
///
/// # Panics
/// It does not hold.
pub fn holds(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    match parse::parse(&source) {
        Err(problems) => {
            assert!(
                problems.iter().any(Problem::is_fatal),
                "refused for nothing"
            );
            shown(&source, &problems);
        }
        Ok(manifest) => shown(&source, &rules::check(&manifest)),
    }
}

/// Every finding is shown in words.
fn shown(source: &str, problems: &[Problem]) {
    for problem in problems {
        assert!(!plain("x", source, std::slice::from_ref(problem)).is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    /// What stands in manifests, and what tears them apart.
    const WORDS: [&str; 16] = [
        "[[partition]]\n",
        "[[channel]]\n",
        "name = ",
        "cpus = [0, 1]\n",
        "memory = \"8M\"\n",
        "kernel = ",
        "\"manage:a\"",
        "between = [\"a\", \"b\"]\n",
        "= {",
        "}",
        "\"",
        "\n",
        "\u{e4}",
        "-1",
        "[",
        "0x4000_0000",
    ];

    /// A generator of numbers that is the same every time (xorshift64).
    fn next(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 33).unwrap()
    }

    #[test]
    fn holds_for_the_corpus_and_changes_of_it() {
        let folder = workspace::root().join("scripts/fuzz/corpus/manifest");
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            holds(&bytes);
            for _ in 0..500 {
                let mut changed = bytes.clone();
                for _ in 0..1 + next(&mut state) % 4 {
                    let at = next(&mut state) % (changed.len() + 1);
                    let end = (at + next(&mut state) % 12).min(changed.len());
                    let word = WORDS[next(&mut state) % WORDS.len()];
                    changed.splice(at..end, word.bytes());
                }
                holds(&changed);
            }
        }
    }
}
