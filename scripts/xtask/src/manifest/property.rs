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
            assert!(problems.iter().any(Problem::is_fatal), "refused for nothing");
            shown(&source, &problems);
        }
        Ok(manifest) => shown(&source, &rules::check(&manifest)),
    }
}

/// Every finding is shown in words.
fn shown(source: &str, problems: &[Problem]) {
    for problem in problems {
        assert!(!plain(source, std::slice::from_ref(problem)).is_empty());
    }
}
