//! Results in the Test Anything Protocol, a line a check.

use core::fmt::{self, Debug};

use crate::println;

/// Counts and prints checks.
pub struct Tap {
    subject: &'static str,
    section: &'static str,
    number: u32,
    failed: u32,
}

impl Tap {
    /// Begins with nothing counted.
    pub const fn new() -> Self {
        Self {
            subject: "",
            section: "",
            number: 0,
            failed: 0,
        }
    }

    /// Puts the checks that follow under `subject`.
    pub fn begin(&mut self, subject: &'static str) {
        self.subject = subject;
        self.section = "";
    }

    /// Names the specification's section that the checks that follow are rules of.
    pub fn cite(&mut self, section: &'static str) {
        self.section = section;
    }

    /// Numbers the next check, and gives what is printed before its name.
    fn next(&mut self) -> Heading {
        self.number += 1;
        Heading {
            number: self.number,
            subject: self.subject,
            section: self.section,
        }
    }

    /// Reports whether a property holds.
    pub fn check(&mut self, name: &str, holds: bool) {
        self.equal(name, holds, true);
    }

    /// Reports whether a value is what it must be.
    pub fn equal<T: PartialEq + Debug>(&mut self, name: &str, got: T, expected: T) {
        let heading = self.next();
        if got == expected {
            println!("ok {heading}: {name}");
        } else {
            self.failed += 1;
            println!("not ok {heading}: {name} # expected {expected:#x?} got {got:#x?}");
        }
    }

    /// Reports a finding: nothing, or what is wrong.
    pub fn found<E: Debug>(&mut self, name: &str, finding: Result<(), E>) {
        let heading = self.next();
        match finding {
            Ok(()) => println!("ok {heading}: {name}"),
            Err(wrong) => {
                self.failed += 1;
                println!("not ok {heading}: {name} # got {wrong:?}");
            }
        }
    }

    /// Reports a code or value that may be any of several.
    pub fn one_of<T: PartialEq + Debug>(&mut self, name: &str, got: T, allowed: &[T]) {
        if allowed.contains(&got) {
            self.check(name, true);
            return;
        }
        let heading = self.next();
        self.failed += 1;
        println!("not ok {heading}: {name} # expected one of {allowed:x?} got {got:x?}");
    }

    /// Reports a check that does not apply here.
    pub fn skip(&mut self, name: &str, reason: &str) {
        let heading = self.next();
        println!("ok {heading}: {name} # SKIP {reason}");
    }

    /// Prints the plan and the summary.
    pub fn finish(&self) {
        println!("1..{}", self.number);
        let passed = self.number - self.failed;
        println!("# bulkhead-test: {passed} passed, {} failed", self.failed);
    }
}

impl Default for Tap {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Notes {
    fn default() -> Self {
        Self::new()
    }
}

/// `N - subject`, and `[section]` where one is cited.
struct Heading {
    number: u32,
    subject: &'static str,
    section: &'static str,
}

impl fmt::Display for Heading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.number, self.subject)?;
        if self.section.is_empty() {
            return Ok(());
        }
        write!(f, " [{}]", self.section)
    }
}

/// Results kept until printing disturbs nothing any more.
pub struct Notes {
    notes: [(&'static str, bool); 16],
    count: usize,
}

impl Notes {
    /// Begins empty.
    pub const fn new() -> Self {
        Self {
            notes: [("", true); 16],
            count: 0,
        }
    }

    /// Keeps whether a property holds.
    pub fn check(&mut self, name: &'static str, holds: bool) {
        self.notes[self.count] = (name, holds);
        self.count += 1;
    }

    /// Reports all that was kept.
    pub fn report(self, tap: &mut Tap) {
        for (name, holds) in &self.notes[..self.count] {
            tap.check(name, *holds);
        }
    }
}
