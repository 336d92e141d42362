//! What the checker has to say: what is wrong, where in the file, and what would be right.

use std::io::Write as _;
use std::ops::Range;

use codespan_reporting::diagnostic::{Diagnostic, Label, Severity};
use codespan_reporting::files::SimpleFile;
use codespan_reporting::term::termcolor::{ColorChoice, StandardStream};
use codespan_reporting::term::{self, Chars, Config};

/// A place in a file, in bytes.
pub type Span = Range<usize>;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Located<T> {
    /// `value` at `span`.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the system is refused.
    fatal: bool,
    /// What is wrong.
    message: String,
    /// Where, and a word on it.
    place: (Span, String),
    /// Where else, and a word on it.
    also: Vec<(Span, String)>,
    /// What would be right.
    remedy: Option<String>,
}

impl Problem {
    /// A mistake at `span`; nothing is packed or started with it.
    pub fn error(span: &Span, message: impl Into<String>) -> Self {
        Self {
            fatal: true,
            message: message.into(),
            place: (span.clone(), String::new()),
            also: Vec::new(),
            remedy: None,
        }
    }

    /// Something to know about `span`; it stops nothing.
    pub fn warning(span: &Span, message: impl Into<String>) -> Self {
        Self {
            fatal: false,
            ..Self::error(span, message)
        }
    }

    /// Adds a few words at the place itself.
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.place.1 = text.into();
        self
    }

    /// Adds another place.
    pub fn also(mut self, span: &Span, text: impl Into<String>) -> Self {
        self.also.push((span.clone(), text.into()));
        self
    }

    /// Adds what would be right.
    pub fn remedy(mut self, text: impl Into<String>) -> Self {
        self.remedy = Some(text.into());
        self
    }

    /// Whether the system is refused.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }

    fn diagnostic(&self) -> Diagnostic<()> {
        let severity = if self.fatal {
            Severity::Error
        } else {
            Severity::Warning
        };
        let mut labels = vec![Label::primary((), self.place.0.clone()).with_message(&self.place.1)];
        for (span, text) in &self.also {
            labels.push(Label::secondary((), span.clone()).with_message(text));
        }
        let notes = self.remedy.iter().map(|text| format!("help: {text}"));
        Diagnostic::new(severity)
            .with_message(&self.message)
            .with_labels(labels)
            .with_notes(notes.collect())
    }
}

/// Writes the findings about the file called `name` to standard error, in colour where that is a terminal.
pub fn print(name: &str, source: &str, problems: &[Problem]) {
    use std::io::IsTerminal as _;
    let choice = if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        ColorChoice::Auto
    } else {
        ColorChoice::Never
    };
    let stream = StandardStream::stderr(choice);
    let mut lock = stream.lock();
    for problem in problems {
        // A message that cannot be written to standard error has no other place to go.
        let _ = emit(&mut lock, name, source, problem);
        let _ = writeln!(lock);
    }
}

/// The findings as plain text.
#[cfg(any(test, fuzzing))]
pub fn plain(name: &str, source: &str, problems: &[Problem]) -> String {
    let mut buffer = term::termcolor::NoColor::new(Vec::new());
    for problem in problems {
        emit(&mut buffer, name, source, problem).expect("memory takes every write");
    }
    String::from_utf8(buffer.into_inner()).expect("the messages are UTF-8")
}

fn emit(
    writer: &mut dyn term::termcolor::WriteColor,
    name: &str,
    source: &str,
    problem: &Problem,
) -> Result<(), codespan_reporting::files::Error> {
    let config = Config {
        chars: Chars::ascii(),
        ..Config::default()
    };
    let file = SimpleFile::new(name, source);
    term::emit(writer, &config, &file, &problem.diagnostic())
}

/// The one of `known` nearest to `written`, if any is near enough to be what was meant.
pub fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    known
        .into_iter()
        .map(|key| (strsim::damerau_levenshtein(written, key), key))
        .min()
        .filter(|(distance, key)| *distance <= key.len().max(written.len()) / 2)
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_one_somebody_may_have_meant() {
        let known = ["memory", "kernel", "cpus"];
        assert_eq!(nearest("memroy", known), Some("memory"));
        assert_eq!(nearest("cpu", known), Some("cpus"));
        assert_eq!(nearest("schedule", known), None);
    }

    #[test]
    fn a_finding_names_file_line_and_column() {
        let source = "a = 1\nb = 22\n";
        let problem = Problem::error(&(10..12), "too many")
            .label("here")
            .also(&(4..5), "first here")
            .remedy("write 2");
        let text = plain("x.toml", source, &[problem]);
        assert!(text.starts_with("error: too many\n"), "{text}");
        assert!(text.contains("x.toml:2:5"), "{text}");
        assert!(text.contains("help: write 2"), "{text}");
    }
}
