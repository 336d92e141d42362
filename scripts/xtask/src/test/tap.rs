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
    /// How many lines may be cut off before their number: the hypervisor's report of its own failure waits for nobody.
    pub cuts: usize,
}

impl Report {
    /// Takes a line of the guest's.
    pub fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("not ok ") {
            self.number(rest);
            self.failures.push(line.to_string());
        } else if line == "ok " && self.cuts > 0 {
            self.cuts -= 1;
            self.passed += 1;
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
    fn a_line_cut_off_counts_only_where_that_may_be() {
        let lines = [
            "ok 1 - a",
            "ok ",
            "ok 3 - c",
            "# bulkhead-test: 3 passed, 0 failed",
        ];
        let failures = |cuts| {
            let mut report = Report {
                cuts,
                ..Report::default()
            };
            lines.iter().for_each(|line| report.line(line));
            report.failures.len()
        };
        assert_eq!(failures(1), 0);
        assert!(failures(0) > 0);
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
