//! Results in the Test Anything Protocol, a line a check.

use core::fmt::Debug;

use bulkhead_rt::println;

/// Counts and prints checks.
pub struct Tap {
    subject: &'static str,
    number: u32,
    failed: u32,
}

impl Tap {
    /// Begins with nothing counted.
    pub const fn new() -> Self {
        Self {
            subject: "",
            number: 0,
            failed: 0,
        }
    }

    /// Puts the checks that follow under `subject`.
    pub fn begin(&mut self, subject: &'static str) {
        self.subject = subject;
    }

    /// Reports whether a property holds.
    pub fn check(&mut self, name: &str, holds: bool) {
        self.equal(name, holds, true);
    }

    /// Reports whether a value is what it must be.
    pub fn equal<T: PartialEq + Debug>(&mut self, name: &str, got: T, expected: T) {
        self.number += 1;
        let (number, subject) = (self.number, self.subject);
        if got == expected {
            println!("ok {number} - {subject}: {name}");
        } else {
            self.failed += 1;
            println!("not ok {number} - {subject}: {name} # expected {expected:#x?} got {got:#x?}");
        }
    }

    /// Reports a code or value that may be any of several.
    pub fn one_of<T: PartialEq + Debug>(&mut self, name: &str, got: T, allowed: &[T]) {
        if allowed.contains(&got) {
            self.check(name, true);
            return;
        }
        self.number += 1;
        self.failed += 1;
        println!(
            "not ok {} - {}: {name} # expected one of {allowed:x?} got {got:x?}",
            self.number, self.subject
        );
    }

    /// Reports a check that does not apply here.
    pub fn skip(&mut self, name: &str, reason: &str) {
        self.number += 1;
        println!(
            "ok {} - {}: {name} # SKIP {reason}",
            self.number, self.subject
        );
    }

    /// Prints the plan and the summary.
    pub fn finish(&self) {
        println!("1..{}", self.number);
        let passed = self.number - self.failed;
        println!("# bulkhead-test: {passed} passed, {} failed", self.failed);
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
