//! One table of a TOML file: takes values out by key and type, and says what is wrong with them.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::report::{Located, Problem, Span, nearest};

/// A value as the TOML reader left it.
pub type Value<'t> = Spanned<DeValue<'t>>;

/// A table, and where to say what is wrong with it.
pub struct Section<'t, 'p> {
    table: &'t DeTable<'t>,
    span: Span,
    what: &'static str,
    problems: &'p mut Vec<Problem>,
}

impl<'t, 'p> Section<'t, 'p> {
    /// A view of `table`, whose heading stands at `span`; `what` names it in messages. Keys not in `known` are
    /// mistakes.
    pub fn new(
        table: &'t DeTable<'t>,
        span: Span,
        what: &'static str,
        known: &[&str],
        problems: &'p mut Vec<Problem>,
    ) -> Self {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let problem =
                Problem::error(&key.span(), format!("{what} has no key `{name}`")).label("unknown key");
            problems.push(match nearest(name, known.iter().copied()) {
                Some(near) => problem.remedy(format!("did you mean `{near}`?")),
                None => problem.remedy(format!("the keys are {}", known.join(", "))),
            });
        }
        Self {
            table,
            span,
            what,
            problems,
        }
    }

    /// Where the table's heading stands.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Notes a mistake.
    pub fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The value of `key`, if it is there.
    pub fn get(&self, key: &str) -> Option<&'t Value<'t>> {
        self.table
            .iter()
            .find(|(name, _)| name.get_ref() == key)
            .map(|(_, value)| value)
    }

    /// The value of `key`, whose absence is a mistake; `example` is a line that would be right.
    pub fn require(&mut self, key: &str, example: &str) -> Option<&'t Value<'t>> {
        let value = self.get(key);
        if value.is_none() {
            let message = format!("{} lacks `{key}`", self.what);
            let problem = Problem::error(&self.span, message).remedy(format!("add a line: {example}"));
            self.problems.push(problem);
        }
        value
    }

    /// `value` as a text.
    pub fn text(&mut self, value: &'t Value<'t>) -> Option<Located<String>> {
        match value.get_ref() {
            DeValue::String(text) => Some(Located::new(text.to_string(), value.span())),
            _ => self.mistyped(value, "a text in quotes"),
        }
    }

    /// `value` as a text that `convert` understands; `kind` names what it should be.
    pub fn converted<T>(
        &mut self,
        value: &'t Value<'t>,
        kind: &str,
        convert: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        let text = self.text(value)?;
        match convert(&text.value) {
            Ok(converted) => Some(Located::new(converted, text.span)),
            Err(remedy) => {
                let message = format!("`{}` is not {kind}", text.value);
                self.problems
                    .push(Problem::error(&text.span, message).remedy(remedy));
                None
            }
        }
    }

    /// `value` as a whole number of at most `most`.
    pub fn number(&mut self, value: &'t Value<'t>, most: u64) -> Option<Located<u64>> {
        let DeValue::Integer(integer) = value.get_ref() else {
            return self.mistyped(value, "a whole number");
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if number <= most => Some(Located::new(number, value.span())),
            _ => {
                let problem = Problem::error(&value.span(), "this number is out of range")
                    .remedy(format!("the range is 0 to {most}"));
                self.problems.push(problem);
                None
            }
        }
    }

    /// `value` as `true` or `false`.
    pub fn flag(&mut self, value: &'t Value<'t>) -> Option<bool> {
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.mistyped(value, "true or false"),
        }
    }

    /// `value`'s elements.
    pub fn list(&mut self, value: &'t Value<'t>) -> &'t [Value<'t>] {
        match value.get_ref() {
            DeValue::Array(items) => items,
            _ => self.mistyped(value, "a list in square brackets").unwrap_or(&[]),
        }
    }

    /// Notes that `value` is not `wanted`.
    pub fn mistyped<T>(&mut self, value: &'t Value<'t>, wanted: &str) -> Option<T> {
        let found = value.get_ref().type_str();
        let problem = Problem::error(&value.span(), format!("this should be {wanted}"))
            .label(format!("this is of type {found}"));
        self.problems.push(problem);
        None
    }
}
