//! `cargo xtask test`: everything, or what is selected, and one line for each.
//!
//! # To add an emulator test
//! Add it to the table in `table.rs`; a guest that tests itself takes this:
//!
//! ```text
//! case("timer", "guest")                          // its name, unique, and its subject
//!     .guest("t", "guest-tests", &[0, 1], "8M")   // partition, guest or file, CPUs, memory
//!     .with("bootargs = \"tests=timer\"")         // more lines of the manifest
//!     .tap("t")                                   // wait for its `# bulkhead-test:` line
//!     .quick(),                                   // in the everyday subset
//! ```
//!
//! It runs on GICv3 and GICv2 unless `.gics(&[3])` says otherwise, on a Cortex-A72 unless
//! `.on(&["cortex-a53", "max"])` does, and on the Raspberry Pi 4 too with `.pi()`. `.linux(..)` adds a Linux, `.with("heartbeat = \"1s\"")` a line to the
//! manifest, `.wait("regex")` and `.send("text\n")` hold a conversation, `.forbid("regex")` rules a line
//! out. A guest is a program in a package under `guests/` that says `[package.metadata.bulkhead] guest = true`.

mod card;
mod case;
pub mod conformance;
mod counted;
pub mod counts;
mod crashes;
mod damage;
mod deep;
mod entry;
mod growth;
mod host;
pub mod hostile;
mod image;
mod listing;
mod lives;
mod pi;
mod runner;
mod serror;
pub mod storms;
mod table;
mod tap;
mod trees;
mod wall;

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use self::case::Case;
use crate::bench::plugin::Counts;
use crate::board::Choice;
use crate::console::interrupted;
use crate::{build, debian, initramfs, workspace};

/// Whether this is the everyday subset.
static QUICK: AtomicBool = AtomicBool::new(false);

/// Whether only the everyday subset runs.
fn is_quick() -> bool {
    QUICK.load(Ordering::Relaxed)
}

/// Emulators with up to so many vCPUs run two at a time on the smallest host.
const FEW_VCPUS: usize = 2;
/// Lines of a failed host test that are shown.
const HOST_TAIL: usize = 60;

/// What to test.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only tests whose name contains one of these
    names: Vec<String>,
    /// The everyday subset
    #[arg(long)]
    quick: bool,
    /// Print the names and run nothing
    #[arg(long)]
    list: bool,
}

impl Arguments {
    fn selects(&self, name: &str) -> bool {
        // Two of the benchmark have names from before there was a group of their own.
        let also = name
            .replace("counted/budgets", "bench/paths")
            .replace("counted/control-beside-storms", "bench/real-time");
        let has = |part: &String| name.contains(part.as_str()) || also.contains(part.as_str());
        self.names.is_empty() || self.names.iter().any(has)
    }

    /// Whether `name` is asked for, not merely its subject.
    fn names_it(&self, name: &str) -> bool {
        self.names.iter().any(|part| part.contains(name))
    }
}

/// An emulator test on one machine.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The test.
    pub case: Case,
    /// The GIC's version.
    pub gic: u8,
    /// The CPU model.
    pub cpu: &'static str,
    /// Another board than the manifest's, which leaves no GIC and no CPU to choose.
    pub board: Option<&'static str>,
}

impl Variant {
    /// Its name.
    pub fn name(&self) -> String {
        let Case { subject, name, .. } = &self.case;
        match self.board {
            Some(board) => format!("{subject}/{name}/{board}"),
            None => format!("{subject}/{name}/gicv{}/{}", self.gic, self.cpu),
        }
    }

    /// Its machine, for people.
    pub fn machine(&self) -> String {
        match self.board {
            Some(board) => board.to_string(),
            None => format!("GICv{}, {}", self.gic, self.cpu),
        }
    }

    /// What of the machine is chosen.
    fn choice(&self) -> Choice {
        match self.board {
            Some(_) => Choice::default(),
            None => Choice {
                gic: Some(self.gic),
                cpu: Some(self.cpu.to_string()),
                cpus: self.case.cores,
            },
        }
    }
}

/// How a test went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Checks that held.
    pub passed: usize,
    /// Checks that are not for this machine.
    pub skipped: usize,
    /// Why it was not run, if it was not: what it needs is not to be had here.
    pub missing: Option<String>,
    /// What did not hold.
    pub failures: Vec<String>,
    /// What holds, and is not yet what it should be.
    pub notes: Vec<String>,
    /// The last lines it said.
    pub tail: Vec<String>,
    /// Where all of them are.
    pub log: Option<PathBuf>,
}

impl Outcome {
    /// Adds what else was found of the same run.
    pub fn join(&mut self, other: Self) {
        self.passed += other.passed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
        self.notes.extend(other.notes);
        self.tail.extend(other.tail);
    }

    /// A test that is not run here, and why.
    pub fn missing(reason: String) -> Self {
        Self {
            missing: Some(reason),
            ..Self::default()
        }
    }

    /// A test that could not be run.
    pub fn failed(reason: String) -> Self {
        Self {
            failures: vec![reason],
            ..Self::default()
        }
    }
}

/// What has been counted so far.
#[derive(Default)]
struct Totals {
    passed: usize,
    failed: usize,
    /// Tests that were not begun, because somebody interrupted.
    skipped: usize,
}

/// Runs the tests that are selected.
///
/// # Errors
/// The images cannot be built or the guests' payloads cannot be had.
pub fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    QUICK.store(arguments.quick, Ordering::Relaxed);
    // Those that build in a directory of their own first: no other's build waits for theirs.
    let steps: Vec<&host::Step> = host::APART
        .iter()
        .chain(image::STEPS)
        .chain(host::STEPS)
        .chain(growth::STEPS)
        // A clock lies under emulation, and some take long: only who asks for these by name gets them.
        .chain(
            [&wall::STEP]
                .into_iter()
                .chain(host::DEEP)
                .filter(|_| !arguments.names.is_empty()),
        )
        .filter(|step| !arguments.quick || step.quick)
        .filter(|step| arguments.selects(step.name))
        .collect();
    let variants: Vec<Variant> = table::cases()
        .into_iter()
        .flat_map(variants)
        .filter(|variant| !arguments.quick || variant.case.quick)
        .filter(|variant| arguments.selects(&variant.name()))
        .filter(|variant| !variant.case.when_named || arguments.names_it(variant.case.name))
        .collect();
    if arguments.list {
        let names = steps.iter().map(|step| step.name.to_string());
        for name in names.chain(variants.iter().map(Variant::name)) {
            println!("{name}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut totals = Totals::default();
    let preparation = (!variants.is_empty()).then_some(Job::Prepare);
    let emulators = variants.into_iter().map(Box::new).map(Job::Emulator);
    let steps = steps.into_iter().map(Job::Step);
    let jobs = steps.chain(preparation).chain(emulators).collect();
    side_by_side(jobs, &mut totals);
    Ok(totals.conclude())
}

/// The benchmark on each of its machines.
pub fn benchmarks() -> Vec<Variant> {
    counted("budgets")
}

fn counted(name: &str) -> Vec<Variant> {
    let cases = table::cases().into_iter();
    cases
        .filter(|case| case.claim.is_some() && case.name == name)
        .flat_map(variants)
        .collect()
}

/// The benchmark as on a GICv2 that deactivates by hardware.
pub fn benchmarks_by_hardware() -> Vec<Variant> {
    counted("budgets-by-hardware")
}

/// The boot of one partition, on the machine of `variant`.
pub fn boot_on(variant: &Variant) -> Option<Variant> {
    let mut boots = counted("boot").into_iter();
    boots.find(|boot| boot.machine() == variant.machine())
}

/// The control loop beside storms, on each of its machines.
pub fn beside_storms() -> Vec<Variant> {
    counted("control-beside-storms")
}

/// Linux to its shell, on each of its machines.
pub fn linux_boots() -> Vec<Variant> {
    counted("linux-exits-seldom")
}

/// Runs `variant` and gives what was counted, whether or not it is within its budgets.
///
/// # Errors
/// It cannot be built or run, or did not come to its end.
pub fn measure(variant: &Variant) -> anyhow::Result<Counts> {
    let mut variant = variant.clone();
    variant.case.claim = Some(|_, _| Outcome::default());
    let outcome = runner::run(&variant);
    if let Some(failure) = outcome.failures.first() {
        anyhow::bail!("{}: {failure}", variant.name());
    }
    runner::counts(&variant)
}

/// The machines a test runs on.
fn variants(case: Case) -> Vec<Variant> {
    let mut all = Vec::new();
    for gic in case.gics {
        for cpu in case.cpus {
            all.push(Variant {
                case: case.clone(),
                gic: *gic,
                cpu,
                board: None,
            });
        }
    }
    if case.on_pi {
        all.push(Variant {
            case,
            gic: 2,
            cpu: "cortex-a72",
            board: Some("rpi4"),
        });
    }
    all
}

/// Whether what the emulator tests share is there.
static PREPARED: OnceLock<()> = OnceLock::new();

/// Builds and downloads what the emulator tests share, so that none of them waits for it.
fn prepare() -> Outcome {
    let ready = build::hypervisor()
        .and_then(|_| build::all_guests())
        .and_then(|()| debian::kernel("linux-image-cloud-arm64"))
        .and_then(|_| debian::packaged("u-boot-qemu", table::UBOOT))
        .and_then(|_| initramfs::ready());
    // What is missing fails the tests that need it; here it is said once, with the reason.
    match ready {
        Ok(_) => Outcome::default(),
        Err(error) => Outcome::failed(format!("{error:#}")),
    }
}

/// What is run beside others.
enum Job {
    /// A test without an emulator, or one that runs its emulators itself.
    Step(&'static host::Step),
    /// What all emulators need.
    Prepare,
    /// An emulator.
    Emulator(Box<Variant>),
}

impl Job {
    fn name(&self) -> String {
        match self {
            Self::Step(step) => step.name.to_string(),
            Self::Prepare => "bare/build".to_string(),
            Self::Emulator(variant) => variant.name(),
        }
    }

    /// How many of the host's `slots` it takes.
    fn cost(&self, slots: usize) -> usize {
        match self {
            Self::Step(_) | Self::Prepare => 1,
            Self::Emulator(variant) => cost(variant.case.vcpus, slots),
        }
    }

    fn run(&self) -> Outcome {
        match self {
            Self::Step(step) => step.run(),
            Self::Prepare => {
                let mut outcome = Outcome::default();
                PREPARED.get_or_init(|| outcome = prepare());
                outcome
            }
            Self::Emulator(variant) => {
                PREPARED.wait();
                runner::run(variant)
            }
        }
    }
}

/// The order they begin in: those that take most of the host last. Before, one that waits for all of it would keep a slot
/// empty, while what runs long in another slot (Miri) goes on.
fn in_order(mut jobs: Vec<Job>, slots: usize) -> VecDeque<Job> {
    jobs.sort_by_key(|job| job.cost(slots));
    VecDeque::from(jobs)
}

/// Runs `jobs`, as many at a time as the host has CPUs for.
fn side_by_side(jobs: Vec<Job>, totals: &mut Totals) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let slots = cpus.max(2);
    let run = |job: Job| {
        let started = Instant::now();
        let outcome = (!interrupted()).then(|| job.run());
        (job.name(), outcome, started.elapsed())
    };
    let each = |(name, outcome, took): (String, Option<Outcome>, Duration)| match outcome {
        // What went well without a check is the preparation.
        Some(outcome) if outcome == Outcome::default() => {}
        Some(outcome) => totals.add(&name, &outcome, took),
        None => totals.skipped += 1,
    };
    let jobs = in_order(jobs, slots);
    share_out(jobs, slots, |job| job.cost(slots), run, each);
}

/// Hands `jobs` to as many threads as there are `slots`, each begun when its `cost` is free, and `each` what has been `run`.
fn share_out<J: Send, R: Send>(
    jobs: VecDeque<J>,
    slots: usize,
    cost: impl Fn(&J) -> usize + Sync,
    run: impl Fn(J) -> R + Sync,
    each: impl FnMut(R),
) {
    let (free, freed, queue) = (Mutex::new(slots), Condvar::new(), Mutex::new(jobs));
    let (sender, results) = channel();
    std::thread::scope(|scope| {
        for _ in 0..slots {
            let sender = sender.clone();
            let (free, freed, queue, cost, run) = (&free, &freed, &queue, &cost, &run);
            scope.spawn(move || {
                // In the loop's condition the lock would be held while the job runs.
                let next = || lock(queue).pop_front();
                while let Some(job) = next() {
                    let cost = cost(&job);
                    let guard = freed.wait_while(lock(free), |free| *free < cost);
                    *guard.unwrap_or_else(PoisonError::into_inner) -= cost;
                    let result = run(job);
                    *lock(free) += cost;
                    freed.notify_all();
                    let _ = sender.send(result);
                }
            });
        }
        drop(sender);
        results.into_iter().for_each(each);
    });
}

/// How many of the host's `slots` an emulator with so many vCPUs takes.
fn cost(vcpus: usize, slots: usize) -> usize {
    if vcpus <= FEW_VCPUS {
        1
    } else {
        vcpus.min(slots)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Totals {
    /// Counts `outcome` and prints its line.
    fn add(&mut self, name: &str, outcome: &Outcome, took: Duration) {
        self.passed += outcome.passed;
        self.failed += outcome.failures.len();
        let seconds = took.as_secs_f32();
        let checks = match (outcome.passed, outcome.skipped) {
            (0 | 1, 0) => String::new(),
            (passed, 0) => format!(" ({passed} checks)"),
            (passed, skipped) => format!(" ({passed} checks, {skipped} not for it)"),
        };
        let label = format!("{name}{checks}");
        if let Some(missing) = &outcome.missing {
            println!("{}  {label:<56} {seconds:>6.1} s", paint("skip", "33"));
            println!("      {missing}");
            return;
        }
        if outcome.failures.is_empty() {
            println!("{}  {label:<56} {seconds:>6.1} s", paint("ok  ", "32"));
            for note in &outcome.notes {
                println!("      {note}");
            }
            return;
        }
        println!("{}  {label:<56} {seconds:>6.1} s", paint("FAIL", "1;31"));
        for failure in &outcome.failures {
            println!("      {failure}");
        }
        let shown = outcome.tail.len().saturating_sub(HOST_TAIL);
        for line in outcome.tail.get(shown..).unwrap_or_default() {
            println!("      | {line}");
        }
        if let Some(log) = &outcome.log {
            println!("      log: {}", workspace::show(log));
        }
    }

    fn conclude(&self) -> ExitCode {
        let skipped = match self.skipped {
            0 => String::new(),
            count => format!(", {count} skipped"),
        };
        println!("{} passed, {} failed{skipped}", self.passed, self.failed);
        if self.failed == 0 && self.skipped == 0 && self.passed > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// `text` in colour `code` where a person watches.
fn paint(text: &str, code: &str) -> String {
    if std::io::stdout().is_terminal() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_test_has_a_name_of_its_own() {
        let names: Vec<String> = table::cases()
            .into_iter()
            .flat_map(variants)
            .map(|variant| variant.name())
            .collect();
        let unique: BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn every_manifest_of_the_table_is_well_formed() {
        for case in table::cases() {
            if let case::Origin::Text(text) = &case.origin {
                let manifest = crate::manifest::parse::parse(text);
                let manifest = manifest.unwrap_or_else(|_| panic!("{}: {text}", case.name));
                assert!(
                    crate::manifest::rules::check(&manifest).is_empty(),
                    "{}",
                    case.name
                );
            }
        }
    }

    #[test]
    fn what_takes_the_whole_host_begins_after_what_does_not() {
        for slots in [2, 8] {
            let all = table::cases().into_iter().flat_map(variants);
            let jobs: Vec<Job> = all.map(Box::new).map(Job::Emulator).collect();
            let count = jobs.len();
            let costs: Vec<usize> = in_order(jobs, slots)
                .iter()
                .map(|job| job.cost(slots))
                .collect();
            assert_eq!(costs.len(), count);
            assert!(costs.is_sorted());
            assert!(costs[0] == 1 && costs[count - 1] > 1);
        }
    }

    #[test]
    fn two_that_cost_one_run_at_the_same_time_and_one_that_costs_two_alone() {
        let running = Mutex::new([0, 0]);
        let met = Condvar::new();
        let run = |cost: usize| {
            let mut now = lock(&running);
            now[cost - 1] += 1;
            met.notify_all();
            if cost == 2 {
                return (cost, *now == [0, 1]);
            }
            // One waits for the other, however long it takes to begin; a queue that runs one at a time never lets it.
            let patience = Duration::from_secs(60);
            let (now, waited) = met
                .wait_timeout_while(now, patience, |now| now[0] < 2)
                .unwrap();
            (cost, now[0] == 2 && !waited.timed_out())
        };
        let mut results = Vec::new();
        let jobs = VecDeque::from([2, 1, 1]);
        let each = |result| results.push(result);
        share_out(jobs, 2, |cost| *cost, run, each);
        results.sort_unstable();
        assert_eq!(results, [(1, true), (1, true), (2, true)]);
    }

    #[test]
    fn small_emulators_run_side_by_side_and_large_ones_alone() {
        assert_eq!(cost(1, 2), 1);
        assert_eq!(cost(3, 2), 2);
        assert_eq!(cost(4, 16), 4);
    }
}
