//! What a test guest says about itself: `ok N - text`, `not ok N - text`, and at the end
//! `# bulkhead-test: P passed, F failed`.

/// First words of the closing line.
const CLOSING: &str = "# bulkhead-test: ";

/// What marks a check that was left out.
const SKIP: &str = " # SKIP";

/// What the partition called `name` says in `line`, if it is one of its lines; without a name, the line itself.
pub fn own_line<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    if name.is_empty() {
        return Some(line);
    }
    line.strip_prefix('[')?
        .strip_prefix(name)?
        .strip_prefix("] ")
}

/// One guest's report, as it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Checks that held.
    pub passed: usize,
    /// Checks the guest left out, with a reason.
    pub skipped: usize,
    /// What did not hold, or was not right about the report itself.
    pub failures: Vec<String>,
    /// Whether the closing line came.
    pub closed: bool,
    /// The beginning of a line whose rest is to come: who has more to say breaks into a line whose speaker rests, and the
    /// speaker goes on under its name again.
    begun: String,
}

impl Report {
    /// Takes a line of the guest's.
    pub fn line(&mut self, line: &str) {
        let line = std::mem::take(&mut self.begun) + line;
        let line = line.as_str();
        if is_begun(line) {
            self.begun = line.to_string();
        } else if let Some(rest) = line.strip_prefix("not ok ") {
            self.number(rest);
            self.failures.push(line.to_string());
        } else if let Some(rest) = line.strip_prefix("ok ") {
            self.number(rest);
            match rest.contains(SKIP) {
                true => self.skipped += 1,
                false => self.passed += 1,
            }
        } else if let Some(rest) = line.strip_prefix(CLOSING) {
            self.close(rest);
        }
    }

    /// Checks there were so far.
    fn seen(&self) -> usize {
        self.passed + self.skipped + self.failures.len()
    }

    /// Notes a check whose number is not the next one: one before it was lost.
    fn number(&mut self, rest: &str) {
        let expected = self.seen() + 1;
        let number = rest.split_whitespace().next();
        if number.and_then(|number| number.parse().ok()) != Some(expected) {
            let message = format!("check {expected} is missing: next came \"{rest}\"");
            self.failures.push(message);
        }
    }

    fn close(&mut self, rest: &str) {
        self.closed = true;
        let held = self.passed + self.skipped;
        let counted = format!("{held} passed, {} failed", self.failures.len());
        if rest != counted {
            let message = format!("the guest counts \"{rest}\", its lines say \"{counted}\"");
            self.failures.push(message);
        } else if self.seen() == 0 {
            self.failures.push("the guest checked nothing".into());
        }
    }
}

/// Whether `line` was broken off before what makes it a check or the closing line.
fn is_begun(line: &str) -> bool {
    let is_head = |start: &str| {
        start.starts_with(line) && !line.is_empty()
            || line.strip_prefix(start).is_some_and(|rest| {
                rest.trim_start_matches(|digit: char| digit.is_ascii_digit())
                    .is_empty()
            })
    };
    let is_closing = CLOSING.starts_with(line) || line.starts_with(CLOSING);
    is_head("ok ")
        || is_head("not ok ")
        || is_closing && !line.is_empty() && !line.ends_with(" failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.line(line);
        }
        report
    }

    #[test]
    fn a_line_that_was_broken_off_is_joined_with_its_rest() {
        let whole = [
            "ok 1 - a",
            "not ok 2 - b",
            "# bulkhead-test: 1 passed, 1 failed",
        ];
        for (index, broken) in whole.iter().enumerate() {
            for at in 1..broken.len() {
                let (begin, rest) = broken.split_at(at);
                let mut lines = whole.to_vec();
                lines.splice(index..=index, [begin, rest]);
                assert_eq!(report(&lines).passed, 1, "{lines:?}");
                assert_eq!(report(&lines).failures.len(), 1, "{lines:?}");
                assert!(report(&lines).closed);
            }
        }
    }

    #[test]
    fn checks_are_counted() {
        let report = report(&[
            "hello",
            "ok 1 - a",
            "ok 2 - b",
            "# bulkhead-test: 2 passed, 0 failed",
        ]);
        assert_eq!((report.passed, report.closed), (2, true));
        assert!(report.failures.is_empty());
    }

    #[test]
    fn a_check_left_out_has_not_passed() {
        let report = report(&[
            "ok 1 - a",
            "ok 2 - b # SKIP too few CPUs",
            "# bulkhead-test: 2 passed, 0 failed",
        ]);
        assert_eq!((report.passed, report.skipped), (1, 1));
        assert!(report.failures.is_empty());
    }

    #[test]
    fn a_check_that_fails_is_named() {
        let report = report(&[
            "ok 1 - a",
            "not ok 2 - b",
            "# bulkhead-test: 1 passed, 1 failed",
        ]);
        assert_eq!(report.failures, ["not ok 2 - b"]);
    }

    #[test]
    fn a_lost_line_is_noticed() {
        assert_eq!(report(&["ok 1 - a", "ok 3 - c"]).failures.len(), 1);
        let short = report(&["ok 1 - a", "# bulkhead-test: 2 passed, 0 failed"]);
        assert_eq!(short.failures.len(), 1);
    }

    #[test]
    fn a_guest_that_checks_nothing_has_not_passed() {
        assert_eq!(
            report(&["# bulkhead-test: 0 passed, 0 failed"])
                .failures
                .len(),
            1
        );
        assert!(!report(&["ok 1 - a"]).closed);
    }
}
