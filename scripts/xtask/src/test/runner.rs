//! Runs one emulator test and says how it went.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use regex::Regex;

use super::case::{Bundle, Case, Entry, Origin, Step};
use super::damage::{Damage, Live};
use super::tap::{self, Report};
use super::{Outcome, Variant, card, entry, listing, pi, serror};
use crate::bench::plugin::{self, Counts};
use crate::board;
use crate::check;
use crate::console::{Event, Lines, Session, interrupted};
use crate::qemu::{self, Launch, Serial};
use crate::{build, elf, tree, workspace};

/// Lines of the console shown when a test fails.
const TAIL: usize = 30;

/// The listing of what was executed in a test's folder.
const LISTING: &str = "listing";

/// QEMU's debugger port in a test's folder, where the test needs one.
const DEBUGGER: &str = "debugger";

/// What a test's boot loader hands over, in its folder.
const BUNDLE: &str = "bundle";

/// The console's log in a test's folder.
const LOG: &str = "console.log";

/// Runs `variant`.
pub fn run(variant: &Variant) -> Outcome {
    match play(variant, &folder(variant)) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::failed(format!("{error:#}")),
    }
}

/// Where the files of a test are, its console's log among them.
fn folder(variant: &Variant) -> PathBuf {
    let name = variant.name().replace('/', "-");
    workspace::target().join("tests").join(name)
}

/// What the console said when `variant` was run last.
pub fn log(variant: &Variant) -> String {
    let log = std::fs::read(folder(variant).join(LOG)).unwrap_or_default();
    String::from_utf8_lossy(&log).into_owned()
}

/// Keeps what the console said when `variant` was run last, beside its folder.
///
/// # Errors
/// It could not be copied.
pub fn keep_log(variant: &Variant, seed: u64) -> anyhow::Result<()> {
    let folder = folder(variant);
    let kept = folder.with_extension(format!("seed-{seed}.log"));
    std::fs::copy(folder.join(LOG), &kept)?;
    println!("      kept: {}", workspace::show(&kept));
    Ok(())
}

fn play(variant: &Variant, folder: &Path) -> anyhow::Result<Outcome> {
    std::fs::create_dir_all(folder)?;
    let (command, debugger) = prepare(variant, folder)?;
    let log = folder.join(LOG);
    let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let mut script = Script::new(&variant.case, file, damaging(variant, folder)?)?;
    script.debugger = debugger;
    let mut session = Session::start(command)?;
    let problem = script.follow(&mut session, Instant::now() + variant.case.patience);
    let listed = variant.case.entry == Entry::Listed;
    if variant.case.claim.is_some() || listed {
        session.stop();
    }
    let mut outcome = script.outcome(problem, &log);
    if listed {
        outcome.join(listing::judge(&folder.join(LISTING))?);
    }
    if let Some(claim) = variant.case.claim
        && outcome.failures.is_empty()
    {
        let counts = Counts::read(&counts_file(folder))?;
        outcome.join(claim(&counts, variant.gic));
    }
    Ok(outcome)
}

/// Packs the test's system and gives QEMU's command line for it.
fn prepare(
    variant: &Variant,
    folder: &Path,
) -> anyhow::Result<(std::process::Command, Option<Debugger>)> {
    let case = &variant.case;
    let manifest = match &case.origin {
        Origin::Bare(kernel) => return Ok((bare(variant, kernel, folder)?, None)),
        Origin::File(name) => workspace::root().join(name),
        Origin::Text(text) => {
            let path = folder.join("manifest.toml");
            std::fs::write(&path, text)?;
            path
        }
    };
    let checked = check::file(&manifest, variant.board, &variant.choice())?;
    let mut bundle = checked.bundle;
    let path = folder.join(BUNDLE);
    if let Bundle::Changed(change) = case.bundle {
        change(&mut bundle);
    }
    workspace::write(&path, &bundle)?;
    let handed_over = !matches!(case.bundle, Bundle::Missing);
    let image = build::hypervisor()?;
    let image_at = checked.machine.board.image_at;
    let extra = match case.claim {
        Some(_) => plugin::arguments(&counts_file(folder), image_at, case.counts_guests)?,
        None => Vec::new(),
    };
    let launch = Launch {
        machine: &checked.machine,
        image: &image,
        bundle: handed_over.then_some(&path),
        serial: Serial::Stream,
        icount: case.icount,
        gdb: false,
        extra: &extra,
    };
    let mut arguments = qemu::arguments(&launch)?;
    let other_tree = |tree: &Path| ["-dtb".to_string(), tree.display().to_string()];
    match case.entry {
        Entry::Usual => {}
        Entry::Listed => arguments.extend(listing::arguments(&folder.join(LISTING))),
        Entry::Card => {
            let [image, bundle, tree] = card::card(&manifest, folder)?;
            arguments = qemu::arguments(&Launch {
                image: &image,
                bundle: Some(&bundle),
                ..launch
            })?;
            arguments.extend(other_tree(&tree));
        }
        Entry::TfA => arguments = pi::with_tf_a(&launch, folder)?,
        Entry::WithoutCpu3 => {
            arguments.extend(other_tree(&pi::tree_without_cpu_3(
                &checked.machine,
                folder,
            )?));
        }
        Entry::With(more) => arguments.extend(more.iter().map(ToString::to_string)),
        Entry::BelievingGicv2 => entry::believing_gicv2(&mut arguments, &image, folder)?,
        Entry::El3 => entry::at_el3(&mut arguments, &image, folder)?,
    }
    if let Some(change) = case.tree {
        let mut tree = qemu::tree(&checked.machine)?;
        tree::shrink(&mut tree)?;
        change(&mut tree)?;
        let path = folder.join("board.dtb");
        workspace::write(&path, &tree)?;
        arguments.extend(other_tree(&path));
    }
    if needs_debugger(case) {
        let socket = folder.join(DEBUGGER);
        // One of a former run would be in the way.
        let _ = std::fs::remove_file(&socket);
        let port = format!("unix:{},server=on,wait=off", socket.display());
        arguments.extend(["-gdb".to_string(), port]);
    }
    let debugs = |step: &Step| matches!(step, Step::SystemError(_));
    let debugger = case.steps.iter().any(debugs).then(|| {
        let (more, port) = serror::port();
        arguments.extend(more);
        let image = checked.machine.board.image_at;
        let gic = variant.gic;
        Debugger { port, image, gic }
    });
    std::fs::write(folder.join("command"), qemu::show(&arguments) + "\n")?;
    Ok((qemu::command(&arguments), debugger))
}

/// What was counted when `variant` was run last.
///
/// # Errors
/// The plugin wrote nothing.
pub fn counts(variant: &Variant) -> anyhow::Result<Counts> {
    Counts::read(&counts_file(&folder(variant)))
}

/// What does damage to the machine of `variant`.
fn damaging(
    variant: &Variant,
    folder: &Path,
) -> anyhow::Result<Box<dyn Fn(Damage) -> anyhow::Result<()>>> {
    let board = variant.board.unwrap_or("qemu-virt");
    let board = board::find(workspace::root(), board).context("no such board")?;
    let bundle_at = board::load(&board)?.bundle_at;
    let folder = folder.to_path_buf();
    Ok(Box::new(move |damage| {
        let log = std::fs::read(folder.join(LOG))?;
        let heard = Lines::default().push(&log);
        let bundle = std::fs::read(folder.join(BUNDLE))?;
        let socket = folder.join(DEBUGGER);
        damage(&mut Live::stop(&socket, &heard, &bundle, bundle_at)?)
    }))
}

fn needs_debugger(case: &Case) -> bool {
    case.steps
        .iter()
        .any(|step| matches!(step, Step::Damage(_)))
}

/// Where the counting plugin writes.
fn counts_file(folder: &Path) -> PathBuf {
    folder.join("counts")
}

/// Gives QEMU's command line for a guest on the bare machine.
fn bare(variant: &Variant, kernel: &str, folder: &Path) -> anyhow::Result<std::process::Command> {
    let guest = build::guests()?
        .into_iter()
        .find(|guest| guest.name == kernel);
    let guest = guest.with_context(|| format!("there is no guest called {kernel}"))?;
    let image = folder.join("guest.img");
    std::fs::write(
        &image,
        elf::flatten(&std::fs::read(build::guest(&guest)?)?)?,
    )?;
    let machine = format!("virt,gic-version={}", variant.gic);
    let image = image.display().to_string();
    let arguments = [
        "-machine",
        &machine,
        "-cpu",
        variant.cpu,
        "-smp",
        "4",
        "-m",
        "128",
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "stdio",
        "-nic",
        "none",
        "-no-reboot",
        "-kernel",
        &image,
    ];
    Ok(qemu::command(&arguments.map(str::to_string)))
}

/// QEMU's debugger's port, where EL2's image lies, and the GIC's version.
struct Debugger {
    port: PathBuf,
    image: u64,
    gic: u8,
}

/// A step with its pattern ready.
enum Ready {
    Wait(Regex),
    /// Those that have not been met.
    Meet(Vec<Regex>),
    Send(&'static str),
    Tap(&'static str),
    Damage(Damage),
    SystemError(u8),
    End,
}

/// Lines that are counted: their pattern, how many there must be, how many there were.
struct Tally {
    pattern: Regex,
    expected: usize,
    seen: usize,
}

/// A test under way.
struct Script {
    steps: Vec<Ready>,
    next: usize,
    reports: BTreeMap<&'static str, Report>,
    forbidden: Vec<Regex>,
    tallies: Vec<Tally>,
    lines: Lines,
    tail: Vec<String>,
    log: File,
    passed: usize,
    /// Does to the machine's memory what a step says.
    damage: Box<dyn Fn(Damage) -> anyhow::Result<()>>,
    debugger: Option<Debugger>,
}

impl Script {
    fn new(
        case: &Case,
        log: File,
        damage: Box<dyn Fn(Damage) -> anyhow::Result<()>>,
    ) -> anyhow::Result<Self> {
        let mut steps = Vec::new();
        let mut reports = BTreeMap::new();
        for step in &case.steps {
            steps.push(match step {
                Step::Wait(pattern) => Ready::Wait(Regex::new(pattern)?),
                Step::Meet(patterns) => {
                    let patterns = patterns.iter().map(|pattern| Regex::new(pattern));
                    Ready::Meet(patterns.collect::<Result<_, _>>()?)
                }
                Step::Send(text) => Ready::Send(text),
                Step::End => Ready::End,
                Step::Damage(damage) => Ready::Damage(*damage),
                Step::SystemError(cpu) => Ready::SystemError(*cpu),
                Step::Tap(name) => {
                    reports.insert(*name, Report::default());
                    Ready::Tap(name)
                }
            });
        }
        let tallies = case.tallies.iter().map(|(pattern, expected)| {
            Regex::new(pattern).map(|pattern| Tally {
                pattern,
                expected: *expected,
                seen: 0,
            })
        });
        let forbidden = case.forbidden.iter().map(|pattern| Regex::new(pattern));
        Ok(Self {
            steps,
            next: 0,
            reports,
            forbidden: forbidden.collect::<Result<_, _>>()?,
            tallies: tallies.collect::<Result<_, _>>()?,
            lines: Lines::default(),
            tail: Vec::new(),
            log,
            passed: 0,
            damage,
            debugger: None,
        })
    }

    /// Follows the console to the last step, or says what went wrong.
    fn follow(&mut self, session: &mut Session, deadline: Instant) -> Option<String> {
        let keyboard = session.keyboard();
        loop {
            while let Some(Ready::Send(text)) = self.steps.get(self.next) {
                keyboard.send(text.as_bytes());
                self.next += 1;
            }
            if let Some(Ready::Damage(damage)) = self.steps.get(self.next) {
                if let Err(error) = (self.damage)(*damage) {
                    return Some(format!("doing damage: {error:#}"));
                }
                self.next += 1;
                continue;
            }
            if self.next >= self.steps.len() {
                return None;
            }
            if let (Some(Ready::SystemError(cpu)), Some(debugger)) =
                (self.steps.get(self.next), &self.debugger)
            {
                if let Err(error) =
                    serror::raise(&debugger.port, *cpu, debugger.image, debugger.gic)
                {
                    return Some(format!("no SError: {error:#}"));
                }
                self.next += 1;
            }
            if interrupted() || Instant::now() >= deadline {
                let why = if interrupted() {
                    "interrupted"
                } else {
                    "timeout"
                };
                return Some(format!("{why} {}", self.pending()));
            }
            let problem = match session.next(deadline) {
                Event::Bytes(bytes) => self.bytes(&bytes),
                Event::Rest => {
                    let partial = self.lines.partial();
                    self.advance(&partial);
                    None
                }
                Event::Ended => return self.ended(session),
            };
            if problem.is_some() {
                return problem;
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Option<String> {
        // A log that cannot be written must not fail the test it would explain.
        let _ = self.log.write_all(bytes);
        for line in self.lines.push(bytes) {
            self.keep(&line);
            if let Some(pattern) = self.forbidden.iter().find(|p| p.is_match(&line)) {
                return Some(format!("a line matches {:?}: {line}", pattern.as_str()));
            }
            for tally in &mut self.tallies {
                tally.seen += usize::from(tally.pattern.is_match(&line));
            }
            for (name, report) in &mut self.reports {
                if let Some(text) = tap::own_line(&line, name) {
                    report.line(text);
                }
            }
            self.advance(&line);
        }
        None
    }

    /// Goes as many steps on as `line` allows: one pattern, and reports that are complete.
    fn advance(&mut self, line: &str) {
        if let Some(Ready::Wait(pattern)) = self.steps.get(self.next)
            && pattern.is_match(line)
        {
            self.passed += 1;
            self.next += 1;
        }
        if let Some(Ready::Meet(patterns)) = self.steps.get_mut(self.next) {
            let before = patterns.len();
            patterns.retain(|pattern| !pattern.is_match(line));
            self.passed += before - patterns.len();
            self.next += usize::from(patterns.is_empty());
        }
        while let Some(Ready::Tap(name)) = self.steps.get(self.next) {
            if !self.reports.get(name).is_some_and(|report| report.closed) {
                return;
            }
            self.next += 1;
        }
    }

    fn ended(&mut self, session: &mut Session) -> Option<String> {
        if matches!(self.steps.get(self.next), Some(Ready::End)) {
            self.passed += 1;
            return None;
        }
        Some(format!(
            "QEMU ended ({}) {}",
            session.ending(),
            self.pending()
        ))
    }

    fn pending(&self) -> String {
        match self.steps.get(self.next) {
            Some(Ready::Wait(pattern)) => format!("waiting for {:?}", pattern.as_str()),
            Some(Ready::Meet(patterns)) => {
                let left: Vec<&str> = patterns.iter().map(Regex::as_str).collect();
                format!("waiting for {left:?}")
            }
            Some(Ready::Tap(name)) => format!("waiting for the report of `{name}`"),
            Some(Ready::End) => "waiting for QEMU to end".into(),
            _ => String::new(),
        }
    }

    fn keep(&mut self, line: &str) {
        if self.tail.len() == TAIL {
            self.tail.remove(0);
        }
        self.tail.push(line.to_string());
    }

    fn outcome(mut self, problem: Option<String>, log: &Path) -> Outcome {
        // Where the test came to its end, what did not hold says more than the console's last lines.
        if problem.is_none() {
            self.tail.clear();
        }
        let mut failures: Vec<String> = problem.into_iter().collect();
        let (mut passed, mut skipped) = (self.passed, 0);
        for (name, report) in &self.reports {
            passed += report.passed;
            skipped += report.skipped;
            failures.extend(
                report
                    .failures
                    .iter()
                    .map(|text| format!("[{name}] {text}")),
            );
        }
        for tally in &self.tallies {
            let Tally {
                pattern,
                expected,
                seen,
            } = tally;
            match seen == expected {
                true => passed += 1,
                false => failures.push(format!(
                    "{seen} lines match {:?}, not {expected}",
                    pattern.as_str()
                )),
            }
        }
        let partial = self.lines.partial();
        if !partial.is_empty() && !self.tail.is_empty() {
            self.keep(&partial);
        }
        Outcome {
            passed,
            skipped,
            missing: None,
            failures,
            notes: Vec::new(),
            tail: self.tail,
            log: Some(log.to_path_buf()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::case::case;
    use std::process::Command;
    use std::time::Duration;

    /// Plays `script`, a shell's, as the console of a test with the steps of `case`.
    fn played(case: Case, script: &str) -> Outcome {
        let path = std::env::temp_dir().join(format!(
            "bulkhead-runner-{}-{}.log",
            std::process::id(),
            case.name
        ));
        let mut follower =
            Script::new(&case, File::create(&path).unwrap(), Box::new(|_| Ok(()))).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut session = Session::start(command).unwrap();
        let problem = follower.follow(&mut session, Instant::now() + Duration::from_secs(5));
        let outcome = follower.outcome(problem, &path);
        std::fs::remove_file(path).unwrap();
        outcome
    }

    #[test]
    fn a_conversation_is_followed_step_by_step() {
        let steps = case("talk", "")
            .wait("name\\? $")
            .send("x\n")
            .wait("hello x$")
            .end();
        let outcome = played(steps, "printf 'name? '; read n; echo hello $n");
        assert_eq!(outcome.failures, Vec::<String>::new());
        assert_eq!(outcome.passed, 3);
    }

    #[test]
    fn reports_of_several_partitions_may_mix() {
        let steps = case("mixed", "").tap("a").tap("b");
        let script = "echo '[a] ok 1 - x'; echo '[b] ok 1 - y'; \
            echo '[b] # bulkhead-test: 1 passed, 0 failed'; echo '[a] ok 2 - z'; \
            echo '[a] # bulkhead-test: 2 passed, 0 failed'; sleep 5";
        let outcome = played(steps, script);
        assert_eq!(outcome.failures, Vec::<String>::new());
        assert_eq!(outcome.passed, 3);
    }

    #[test]
    fn what_is_missing_is_named() {
        let outcome = played(case("early", "").tap("a"), "echo '[a] ok 1 - x'");
        assert_eq!(
            outcome.failures,
            ["QEMU ended (exit status: 0) waiting for the report of `a`"]
        );
        assert_eq!(outcome.tail, ["[a] ok 1 - x"]);
    }

    #[test]
    fn lost_lines_are_counted() {
        let outcome = played(case("count", "").lines("^N", 3).end(), "echo N1; echo N2");
        assert_eq!(outcome.failures, ["2 lines match \"^N\", not 3"]);
    }

    #[test]
    fn a_panic_fails_a_test_at_once() {
        let outcome = played(
            case("panic", "").wait("never"),
            "echo 'PANIC src/x.rs:1: why'; sleep 5",
        );
        assert_eq!(outcome.failures.len(), 1);
        assert!(outcome.failures[0].contains("PANIC src/x.rs:1"));
    }
}
