//! `trace`: takes the flight recorders from a run, through the monitor, and shows them: a trace for Perfetto or Chrome, and
//! a summary by cause.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bulkhead::model::recorder::Deed;
use regex::Regex;

use crate::board::Choice;
use crate::console::{Event, Lines, Session, interrupted};
use crate::qemu::{self, Launch, Serial};
use crate::{build, check, run, workspace};

/// What is typed: the monitor's command.
const COMMAND: &[u8] = b"\x1dtrace\n";
/// What the monitor says begins so.
const PREFIX: &str = "[monitor] trace ";
/// Nanoseconds in a second.
const NANOSECONDS: u64 = 1_000_000_000;

/// What an event of the short path is, behind those that have numbers of their own.
const SHORT: u64 = 4;

/// The INTID in what is known of an interrupt.
const INTID: u64 = 0x3ff;

/// What to trace.
pub struct Options {
    /// The manifest.
    pub manifest: Option<PathBuf>,
    /// The GIC and the CPU.
    pub choice: Choice,
    /// The line after which the recorders are taken.
    pub after: Regex,
    /// How long the run may take.
    pub timeout: Duration,
    /// Where the trace goes.
    pub output: PathBuf,
}

/// Runs the system, takes the recorders, writes the trace and prints the summary.
///
/// # Errors
/// The system is refused, the line does not come, or the recorders do not come whole.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let manifest = run::manifest(options.manifest.as_deref(), None)?;
    let checked = check::file(&manifest, None, &options.choice)?;
    let arguments = qemu::arguments(&Launch {
        machine: &checked.machine,
        image: &build::hypervisor()?,
        bundle: Some(&run::keep(&manifest, &checked)?),
        serial: Serial::Stream,
        icount: false,
        gdb: false,
        extra: &[],
    })?;
    let trace = Trace::parse(&take(options, &arguments)?)?;
    workspace::write(&options.output, trace.chrome().as_bytes())?;
    print!("{}", trace.summary());
    println!(
        "{}: {} events; open it in https://ui.perfetto.dev",
        options.output.display(),
        trace.events.len()
    );
    Ok(())
}

/// Runs QEMU until the monitor has said everything.
fn take(options: &Options, arguments: &[String]) -> anyhow::Result<Vec<String>> {
    let deadline = Instant::now() + options.timeout;
    let mut session = Session::start(qemu::command(arguments))?;
    let (mut lines, mut taken, mut asked) = (Lines::default(), Vec::new(), false);
    loop {
        if interrupted() || Instant::now() >= deadline {
            bail!("the trace did not come in time");
        }
        // Where the console rests, perhaps within a line of the trace, it may be at a prompt that is waited for.
        let (candidates, whole) = match session.next(deadline) {
            Event::Bytes(bytes) => (lines.push(&bytes), true),
            Event::Rest => (vec![lines.partial()], false),
            Event::Ended => bail!("QEMU ended ({})", session.ending()),
        };
        for line in candidates {
            if let Some(text) = line.strip_prefix(PREFIX).filter(|_| whole) {
                taken.push(text.to_string());
                if text == "end" {
                    return Ok(taken);
                }
            }
            if !asked && options.after.is_match(&line) {
                asked = true;
                session.keyboard().send(COMMAND);
            }
        }
    }
}

/// An event, as the monitor shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    core: u64,
    at: u64,
    took: u64,
    what: u64,
    partition: u64,
    vcpu: u64,
    pc: u64,
    detail: u64,
}

/// Everything the monitor said.
#[derive(Debug, Default)]
struct Trace {
    /// Ticks of the counter in a second.
    frequency: u64,
    partitions: BTreeMap<u64, String>,
    events: Vec<Record>,
}

impl Trace {
    fn parse(lines: &[String]) -> anyhow::Result<Self> {
        let mut trace = Self::default();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["end"] => {}
                ["frequency", hertz] => trace.frequency = hertz.parse()?,
                ["partition", id, name] => {
                    trace.partitions.insert(id.parse()?, name.to_string());
                }
                ["short", core, at, partition, vcpu, deed, detail] => trace.events.push(Record {
                    core: core.parse()?,
                    at: at.parse()?,
                    took: 0,
                    what: SHORT + deed.parse::<u64>()?,
                    partition: partition.parse()?,
                    vcpu: vcpu.parse()?,
                    pc: 0,
                    detail: u64::from_str_radix(detail, 16)?,
                }),
                _ => trace
                    .events
                    .push(record(&words).with_context(|| format!("the monitor said {line:?}"))?),
            }
        }
        if trace.frequency == 0 {
            bail!("the monitor did not say how fast its counter is");
        }
        trace.events.sort_by_key(|event| event.at);
        Ok(trace)
    }

    /// Nanoseconds of so many ticks.
    fn nanoseconds(&self, ticks: u64) -> u64 {
        let long = u128::from(ticks) * u128::from(NANOSECONDS) / u128::from(self.frequency);
        u64::try_from(long).unwrap_or(u64::MAX)
    }

    fn partition(&self, id: u64) -> &str {
        self.partitions.get(&id).map_or("?", String::as_str)
    }

    /// The trace in Chrome's format (Trace Event Format, JSON object): partitions are processes, vCPUs threads.
    fn chrome(&self) -> String {
        let mut text = String::from("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n");
        for (id, name) in &self.partitions {
            let _ = writeln!(
                text,
                "{{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":{id},\"args\":{{\"name\":\"{name}\"}}}},"
            );
        }
        let begin = self.events.first().map_or(0, |event| event.at);
        for event in &self.events {
            let _ = writeln!(
                text,
                "{{\"name\":\"{}\",\"ph\":\"X\",\"ts\":{},\"dur\":{},\"pid\":{},\"tid\":{},\"args\":{{\"core\":{},\"pc\":\"{:#x}\",\"detail\":\"{:#x}\"}}}},",
                cause(event),
                microseconds(self.nanoseconds(event.at - begin)),
                microseconds(self.nanoseconds(event.took)),
                event.partition,
                event.vcpu,
                event.core,
                event.pc,
                event.detail
            );
        }
        // JSON wants no comma after the last.
        text.truncate(text.trim_end().trim_end_matches(',').len());
        text.push_str("\n]}\n");
        text
    }

    /// A line for each partition and cause: how often, and how long EL2 took, in nanoseconds.
    fn summary(&self) -> String {
        let mut causes: BTreeMap<(u64, String), Vec<u64>> = BTreeMap::new();
        for event in &self.events {
            let took = self.nanoseconds(event.took);
            causes
                .entry((event.partition, cause(event)))
                .or_default()
                .push(took);
        }
        let mut text = String::from(
            "partition  cause                       count  min/median/max ns at EL2\n",
        );
        for ((partition, cause), mut took) in causes {
            took.sort_unstable();
            let (least, most) = (took.first().unwrap_or(&0), took.last().unwrap_or(&0));
            let middle = took[took.len() / 2];
            let _ = writeln!(
                text,
                "{:<10} {cause:<26} {:>6}  {least}/{middle}/{most}",
                self.partition(partition),
                took.len()
            );
        }
        text
    }
}

fn microseconds(nanoseconds: u64) -> String {
    format!("{}.{:03}", nanoseconds / 1000, nanoseconds % 1000)
}

fn record(words: &[&str]) -> anyhow::Result<Record> {
    let [core, at, took, what, partition, vcpu, pc, detail] = words else {
        bail!("not eight numbers");
    };
    Ok(Record {
        core: core.parse()?,
        at: at.parse()?,
        took: took.parse()?,
        what: what.parse()?,
        partition: partition.parse()?,
        vcpu: vcpu.parse()?,
        pc: u64::from_str_radix(pc, 16)?,
        detail: u64::from_str_radix(detail, 16)?,
    })
}

/// What an event is called.
fn cause(event: &Record) -> String {
    use bulkhead::arm::syndrome::Syndrome;
    use bulkhead::behaviour::crash::name_of;
    match event.what {
        0 => name_of(Syndrome::new(event.detail).class()).to_string(),
        1 => format!("interrupt {}", event.detail),
        2 => "SError".to_string(),
        SHORT.. => usize::try_from(event.what - SHORT)
            .ok()
            .and_then(|index| Deed::ALL.get(index))
            .map_or_else(
                || "short path".to_string(),
                |deed| short(*deed, event.detail),
            ),
        _ => ["loading", "running", "stopping", "down", "paused"]
            .get(usize::try_from(event.detail).unwrap_or(usize::MAX))
            .map_or_else(|| "life".to_string(), |stage| format!("life: {stage}")),
    }
}

/// What an event of the short path is called: with the INTID, the call or the register, which it has few of.
fn short(deed: Deed, detail: u64) -> String {
    match deed {
        Deed::Injected | Deed::Ended => {
            format!("short path: {} {}", deed.name(), detail & INTID)
        }
        Deed::Called | Deed::Accessed => format!("short path: {} {detail:#x}", deed.name()),
        Deed::Sent => format!("short path: {}", deed.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace {
        let lines = [
            "frequency 62500000",
            "partition 0 linux",
            "partition 1 control",
            "0 2000 125 0 0 1 40201234 5a000000",
            "2 1000 50 1 1 0 40200000 1a",
            "2 1500 25 1 1 0 40200000 1a",
            "2 1750 250 1 1 0 40200000 1a",
            "0 500 0 3 0 0 0 1",
            "short 2 1250 1 0 0 1b",
            "end",
        ];
        Trace::parse(&lines.map(str::to_string)).unwrap()
    }

    #[test]
    fn a_summary_has_least_median_and_most_of_each_cause() {
        let summary = trace().summary();
        assert!(
            summary.contains("control    interrupt 26                    3  400/800/4000"),
            "{summary}"
        );
        assert!(
            summary.contains("control    short path: injected 27         1  0/0/0"),
            "{summary}"
        );
        assert!(
            summary.contains("linux      HVC                             1  2000/2000/2000"),
            "{summary}"
        );
        assert!(
            summary.contains("linux      life: running                   1  0/0/0"),
            "{summary}"
        );
    }

    #[test]
    fn a_trace_is_json_with_partitions_as_processes_in_the_order_of_time() {
        let text = trace().chrome();
        assert!(text.contains(
            "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":{\"name\":\"control\"}}"
        ));
        assert!(text.contains(
            "\"name\":\"HVC\",\"ph\":\"X\",\"ts\":24.000,\"dur\":2.000,\"pid\":0,\"tid\":1"
        ));
        assert!(text.ends_with("}\n]}\n") && !text.contains(",\n]"));
        let first = text.find("life: running").unwrap();
        assert!(first < text.find("interrupt 26").unwrap());
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for bad in ["1 2 3", "0 0 0 0 0 0 xyz 0", "0 0 0 0 0 0 0 0"] {
            assert!(Trace::parse(&[bad.to_string()]).is_err(), "{bad}");
        }
    }
}
