//! `cargo xtask conformance`: the suite on every machine, and a readable table of its rules and their results.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use super::{Totals, Variant, runner, table, tap, variants};
use crate::console::interrupted;
use crate::{build, workspace};

/// The subject of the suite's tests in the table.
const SUBJECT: &str = "conformance";
/// The suite's partitions; the bare machine has no names.
const SPEAKERS: [&str; 2] = ["suite", ""];

/// Where the table goes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Write the table, in Markdown, to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// How a rule fared on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Holds,
    Broken(String),
    LeftOut(String),
}

/// A rule: its service, where it is written, its text.
type Rule = (String, String, String);

/// Rules in the order of the suite, and how each fared on each machine.
#[derive(Default)]
struct Results {
    machines: Vec<String>,
    rules: Vec<Rule>,
    verdicts: BTreeMap<(Rule, usize), Verdict>,
}

/// Runs the suite and writes the table.
///
/// # Errors
/// The images cannot be built, or the report not written.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    build::hypervisor()?;
    build::all_guests()?;
    let mut totals = Totals::default();
    let mut results = Results::default();
    let cases = table::cases()
        .into_iter()
        .filter(|case| case.subject == SUBJECT);
    for variant in cases.flat_map(variants) {
        if interrupted() {
            totals.skipped += 1;
            continue;
        }
        let started = Instant::now();
        let outcome = runner::run(&variant);
        totals.add(&variant.name(), &outcome, started.elapsed());
        results.take(&variant, &runner::log(&variant));
    }
    if let Some(path) = &arguments.report {
        write(path, &results)?;
    }
    Ok(totals.conclude())
}

fn write(path: &Path, results: &Results) -> anyhow::Result<()> {
    workspace::write(path, results.markdown().as_bytes())?;
    println!("{}: {} rules", path.display(), results.rules.len());
    Ok(())
}

impl Results {
    /// Takes what the suite said in `log`, the console of `variant`.
    fn take(&mut self, variant: &Variant, log: &str) {
        let machine = self.machines.len();
        let name = format!("{}, {}", variant.case.name, variant.machine());
        self.machines.push(name);
        for line in log.lines() {
            let line = line.trim_end();
            let speaker = SPEAKERS.iter().find_map(|name| tap::own_line(line, name));
            if let Some((rule, verdict)) = speaker.and_then(read) {
                if !self.rules.contains(&rule) {
                    self.rules.push(rule.clone());
                }
                self.verdicts.insert((rule, machine), verdict);
            }
        }
    }

    fn markdown(&self) -> String {
        let mut text =
            String::from("# Conformance\n\nMade by `cargo xtask conformance --report FILE`.\n\n");
        self.summary(&mut text);
        let mut notes = Vec::new();
        for service in self.services() {
            self.section(&mut text, service, &mut notes);
        }
        let _ = writeln!(text, "\n## Notes\n");
        for (number, note) in notes.iter().enumerate() {
            let _ = writeln!(text, "{}. {note}", number + 1);
        }
        text
    }

    fn services(&self) -> Vec<&str> {
        let mut services: Vec<&str> = Vec::new();
        for (service, _, _) in &self.rules {
            if !services.contains(&service.as_str()) {
                services.push(service);
            }
        }
        services
    }

    /// The machines by number, and how many rules fared how on each.
    fn summary(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "| | machine | hold | left out | broken |\n|---|---|---|---|---|"
        );
        for (machine, name) in self.machines.iter().enumerate() {
            let verdicts = self.verdicts.iter();
            let of = verdicts.filter(|((_, index), _)| *index == machine);
            let mut counts = [0; 3];
            for (_, verdict) in of {
                counts[match verdict {
                    Verdict::Holds => 0,
                    Verdict::LeftOut(_) => 1,
                    Verdict::Broken(_) => 2,
                }] += 1;
            }
            let [hold, out, broken] = counts;
            let _ = writeln!(
                text,
                "| {} | {name} | {hold} | {out} | {broken} |",
                machine + 1
            );
        }
    }

    fn section(&self, text: &mut String, service: &str, notes: &mut Vec<String>) {
        let _ = write!(text, "\n## {service}\n\n| rule | written in |");
        for machine in 1..=self.machines.len() {
            let _ = write!(text, " {machine} |");
        }
        let columns = "---|".repeat(self.machines.len());
        let _ = writeln!(text, "\n|---|---|{columns}");
        for rule in self.rules.iter().filter(|rule| rule.0 == service) {
            self.row(text, rule, notes);
        }
    }

    fn row(&self, text: &mut String, rule: &Rule, notes: &mut Vec<String>) {
        let _ = write!(text, "| {} | {} |", rule.2, rule.1);
        for machine in 0..self.machines.len() {
            let cell = match self.verdicts.get(&(rule.clone(), machine)) {
                None => String::new(),
                Some(Verdict::Holds) => "holds".into(),
                Some(Verdict::Broken(why)) => format!("**broken** {}", note(notes, why)),
                Some(Verdict::LeftOut(why)) => format!("- {}", note(notes, why)),
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
}

/// The number of the note that says `why`.
fn note(notes: &mut Vec<String>, why: &str) -> String {
    let index = notes.iter().position(|note| note == why);
    let index = index.unwrap_or_else(|| {
        notes.push(why.to_string());
        notes.len() - 1
    });
    format!("({})", index + 1)
}

/// Reads a line of the suite's: `ok 5 - psci [DEN0022 CPU_ON]: what must hold # SKIP why not here`.
fn read(line: &str) -> Option<(Rule, Verdict)> {
    let (broken, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix("ok ")?),
    };
    let (service, rest) = rest.split_once(" - ")?.1.split_once(" [")?;
    let (section, rest) = rest.split_once("]: ")?;
    let (text, remark) = rest.split_once(" # ").unwrap_or((rest, ""));
    let verdict = match (broken, remark.strip_prefix("SKIP ")) {
        (true, _) => Verdict::Broken(remark.to_string()),
        (false, Some(why)) => Verdict::LeftOut(why.to_string()),
        (false, None) => Verdict::Holds,
    };
    let [service, section, text] = [service, section, text].map(str::to_string);
    Some(((service, section, text), verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        let [a, b, c] = ["psci", "DEN0022 CPU_ON", "a rule, with: a colon"].map(str::to_string);
        (a, b, c)
    }

    #[test]
    fn a_line_of_the_suite_is_a_rule_and_a_verdict() {
        let line = |start: &str, end: &str| {
            read(&format!(
                "{start} 5 - psci [DEN0022 CPU_ON]: a rule, with: a colon{end}"
            ))
        };
        assert_eq!(line("ok", ""), Some((rule(), Verdict::Holds)));
        assert_eq!(
            line("ok", " # SKIP too few CPUs"),
            Some((rule(), Verdict::LeftOut("too few CPUs".into())))
        );
        assert_eq!(
            line("not ok", " # got 0x1 with 0x2"),
            Some((rule(), Verdict::Broken("got 0x1 with 0x2".into())))
        );
    }

    #[test]
    fn other_lines_are_no_rules() {
        for line in [
            "1..7",
            "# bulkhead-test: 7 passed, 0 failed",
            "ok then",
            "ok 1 - boot: no section",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn the_table_has_a_row_a_rule_and_a_note_a_reason() {
        let mut results = Results {
            machines: vec!["a".into(), "b".into()],
            rules: vec![rule()],
            verdicts: BTreeMap::new(),
        };
        results.verdicts.insert((rule(), 0), Verdict::Holds);
        let left_out = Verdict::LeftOut("why".into());
        results.verdicts.insert((rule(), 1), left_out);
        let text = results.markdown();
        let row = "| a rule, with: a colon | DEN0022 CPU_ON | holds | - (1) |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| 2 | b | 0 | 1 | 0 |"), "{text}");
        assert!(text.contains("1. why"), "{text}");
    }
}
