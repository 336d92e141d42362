//! A rule is checked once, on every conduit there is, and reported with where it is written.

use core::fmt;

use bulkhead_rt::test::environment::{Environment, NOT_BULKHEAD};
use bulkhead_rt::test::exchange::{Exchange, Instruction};
use bulkhead_rt::test::tap::Tap;

use crate::differences::{self, Difference};

/// What broke a rule: the argument or function with which it broke, and what came instead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Wrong {
    with: u64,
    got: u64,
}

impl fmt::Debug for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} with {:#x}", self.got, self.with)
    }
}

/// Whether a rule holds.
pub type Finding = Result<(), Wrong>;

/// A number a register can hold.
pub trait Raw: Copy + PartialEq {
    /// The register's bits.
    fn raw(self) -> u64;
}

impl Raw for u64 {
    fn raw(self) -> u64 {
        self
    }
}

impl Raw for i64 {
    fn raw(self) -> u64 {
        self.cast_unsigned()
    }
}

impl Raw for i32 {
    fn raw(self) -> u64 {
        i64::from(self).cast_unsigned()
    }
}

impl Raw for bool {
    fn raw(self) -> u64 {
        u64::from(self)
    }
}

/// Finds out whether `got` is what it must be, with the argument `with`.
pub fn expect<T: Raw>(with: impl Into<u64>, got: T, expected: T) -> Finding {
    any_of(with, got, &[expected])
}

/// Finds out whether `got` is one of those allowed.
pub fn any_of<T: Raw>(with: impl Into<u64>, got: T, allowed: &[T]) -> Finding {
    if allowed.contains(&got) {
        return Ok(());
    }
    Err(Wrong {
        with: with.into(),
        got: got.raw(),
    })
}

/// Makes a call with every other register poisoned.
pub fn call(instruction: Instruction, function: u32, arguments: &[u64]) -> Exchange {
    Exchange::make(instruction, u64::from(function), arguments)
}

/// Makes a call of Bulkhead's own by HVC; x0 as a code, and x1-x3.
pub fn own(function: u32, arguments: &[u64]) -> (i64, [u64; 3]) {
    let result = call(Instruction::Hvc, function, arguments);
    let [_, x1, x2, x3] = result.results();
    (result.code(), [x1, x2, x3])
}

/// Counts and reports rules.
pub struct Suite {
    /// The machine and what is below it.
    pub environment: Environment,
    tap: Tap,
    subject: &'static str,
}

impl Suite {
    /// Begins with nothing counted.
    pub const fn new(environment: Environment) -> Self {
        Self {
            environment,
            tap: Tap::new(),
            subject: "",
        }
    }

    /// Puts the rules that follow under `subject`.
    pub fn subject(&mut self, subject: &'static str) {
        self.subject = subject;
        self.tap.begin(subject);
    }

    /// Checks a rule of Arm's standards.
    pub fn rule(
        &mut self,
        section: &'static str,
        rule: &str,
        check: impl FnOnce(&Environment) -> Finding,
    ) {
        self.tap.cite(section);
        let known = if self.environment.bulkhead {
            None
        } else {
            differences::find(self.subject, rule)
        };
        match known {
            None => self.tap.found(rule, check(&self.environment)),
            Some(Difference::Untried(why)) => self.tap.skip(rule, why),
            Some(Difference::Known(why)) => match check(&self.environment) {
                Err(_) => self.tap.skip(rule, why),
                Ok(()) => self
                    .tap
                    .found(rule, Err("no difference, though one is listed")),
            },
        }
    }

    /// Checks a rule of Arm's standards with each instruction that makes calls here.
    pub fn each(
        &mut self,
        section: &'static str,
        rule: &str,
        check: impl Fn(&Environment, Instruction) -> Finding,
    ) {
        self.rule(section, rule, |environment| {
            let mut conduits = environment.conduits().iter();
            conduits.try_for_each(|conduit| check(environment, Instruction::from(*conduit)))
        });
    }

    /// Checks a rule that only Bulkhead promises.
    pub fn own(
        &mut self,
        section: &'static str,
        rule: &str,
        check: impl FnOnce(&Environment) -> Finding,
    ) {
        if self.environment.bulkhead {
            self.rule(section, rule, check);
        } else {
            self.skip(section, rule, NOT_BULKHEAD);
        }
    }

    /// Reports a rule that cannot be checked here.
    pub fn skip(&mut self, section: &'static str, rule: &str, why: &str) {
        self.tap.cite(section);
        self.tap.skip(rule, why);
    }

    /// Prints the plan and the summary.
    pub fn finish(&self) {
        self.tap.finish();
    }
}
