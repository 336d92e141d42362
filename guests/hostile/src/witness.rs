//! The partition beside: it works, and looks all the while whether anything of its own has changed.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::bulkhead::{action, state};
use bulkhead_rt::abi::layout::TIMER_VIRTUAL_INTID;
use bulkhead_rt::channel::{Memory, Port, Sample};
use bulkhead_rt::cpu::MAX_CPUS;
use bulkhead_rt::test::{around, fp};
use bulkhead_rt::{Machine, hypervisor, println, read_sysreg, timer, write_sysreg};

/// Words of memory that are watched: 1 MiB.
const WORDS: usize = 1 << 17;
/// Words looked at in a tick.
const SLICE: usize = 512;
/// Slices there are.
const SLICES: usize = WORDS / SLICE;
/// The attacker's partition: the manifest's first.
const ATTACKER: u64 = 0;
/// Ticks between two looks at whether it runs.
const WAKE: u64 = 20;
/// Counter of a vCPU's exits in all (STATISTIC).
const EXITS: u64 = 0;
/// Seconds the attacker's vCPUs have to go on in by themselves, then after each restart.
const GRACE: u64 = 8;
/// Restarts they get for it. What a start leaves hanging may be the attacker's own doing: code it has damaged, interrupts it
/// has masked, a heartbeat it has put off for hours. What it stays in after each of them is not.
const RESTARTS: u64 = 8;
/// Exits of the attacker without which it has not attacked.
const EXITS_LEAST: u64 = 1000;
/// Ticks a second.
const RATE: u64 = 200;

static MEMORY: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// What was found.
#[derive(Default)]
struct Findings {
    ticks: u64,
    looks: u64,
    samples: u64,
    wrong: u64,
}

impl Findings {
    fn check(&mut self, what: &str, holds: bool) {
        if !holds {
            self.wrong += 1;
            println!("witness: NOTICED after {} ticks: {what}", self.ticks);
        }
    }
}

/// What word `index` holds in generation `generation`.
fn pattern(index: usize, generation: u64) -> u64 {
    (index as u64 ^ generation << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Watches for `seconds` of its own counter, then until each of the attacker's `victims` vCPUs has gone on once more, and says
/// what it saw.
pub fn run(machine: &Machine, seconds: u64, victims: u64) {
    let port = Port::open(0, Memory::Cached).ok();
    let gic = &machine.gic;
    gic.init();
    gic.enable(TIMER_VIRTUAL_INTID);
    (0..WORDS).for_each(|index| MEMORY[index].store(pattern(index, 0), Relaxed));
    let marks = mark_registers();
    let mut findings = Findings::default();
    let period = timer::frequency() / RATE;
    let end = timer::now() + seconds * timer::frequency();
    let mut last = 0;
    let mut generations = [0; SLICES];
    let mut said = 0;
    println!("witness: watching for {seconds} s");
    let mut progress = Progress::default();
    let mut grace = end + GRACE * timer::frequency();
    let mut restarts = 0;
    loop {
        if timer::now() < end {
            progress.moved = 0;
        } else if progress.missing(victims) == 0 {
            break;
        }
        timer::set_virtual_deadline(timer::now() + period);
        timer::set_virtual_control(timer::ENABLE);
        findings.check("a register is another", registers_stay(&marks));
        let interrupt = gic.acknowledge();
        timer::set_virtual_control(0);
        if let Some(interrupt) = interrupt {
            findings.check(
                "an interrupt that is not its own",
                interrupt.intid() == TIMER_VIRTUAL_INTID,
            );
            gic.end(interrupt);
            findings.ticks += 1;
        }
        if findings.looks.is_multiple_of(WAKE) {
            wake_attacker();
            progress.look(victims);
        }
        if timer::now() >= grace {
            let missing = progress.missing(victims);
            println!("witness: vCPUs {missing:#b} of the attacker stand still: it is restarted");
            findings.check("a vCPU does not go on after a restart", restarts < RESTARTS);
            if restarts == RESTARTS {
                break;
            }
            let answer = hypervisor::control(ATTACKER, action::RESTART);
            findings.check("the attacker is not restarted", answer.is_ok());
            restarts += 1;
            grace = timer::now() + GRACE * timer::frequency();
        }
        memory(&mut findings, &mut generations);
        if let Some(port) = &port {
            channel(&mut findings, port, &mut last);
        }
        if findings.ticks / (RATE * 5) > said {
            said = findings.ticks / (RATE * 5);
            println!(
                "witness: {} ticks, {} samples, {} things noticed",
                findings.ticks, findings.samples, findings.wrong
            );
        }
    }
    findings.check("no attack", victims == 0 || progress.exits > EXITS_LEAST);
    println!("witness: the attacker came to EL2 {} times", progress.exits);
    let Findings {
        ticks,
        samples,
        wrong,
        ..
    } = findings;
    println!("witness: {ticks} ticks, {samples} samples");
    if wrong == 0 && ticks > 0 && (port.is_none() || samples > 0) {
        println!("witness: done, noticed nothing");
    } else {
        println!("witness: done, NOTICED {wrong} things");
    }
}

/// Starts the attacker again if it is down for good: it has lost its mind, not its right to attack.
fn wake_attacker() {
    let down = hypervisor::status(ATTACKER)
        .is_ok_and(|[now, ..]| now == state::OFF || now == state::CRASHED);
    if down {
        let _ = hypervisor::control(ATTACKER, action::START);
    }
}

/// Whether the attacker's vCPUs still come to EL2 and go on: no answer of EL2's has left one hanging.
#[derive(Default)]
struct Progress {
    last: [u64; MAX_CPUS],
    moved: u64,
    exits: u64,
}

impl Progress {
    /// Looks at each vCPU's exits. A vCPU whose count has changed since the last look has gone on.
    fn look(&mut self, vcpus: u64) {
        for (vcpu, last) in (0..vcpus).zip(&mut self.last) {
            let Ok(exits) = hypervisor::statistic(ATTACKER, vcpu, EXITS) else {
                continue;
            };
            self.moved |= u64::from(exits != *last) << vcpu;
            self.exits += exits.saturating_sub(*last);
            *last = exits;
        }
    }

    /// Those of `vcpus` that were not seen to go on, a bit each.
    const fn missing(&self, vcpus: u64) -> u64 {
        !self.moved & ((1 << vcpus) - 1)
    }
}

/// Looks at the next slice of memory and writes it anew.
fn memory(findings: &mut Findings, generations: &mut [u64; SLICES]) {
    let slice = usize::try_from(findings.looks).unwrap_or(0) % SLICES;
    findings.looks += 1;
    let generation = generations[slice];
    generations[slice] += 1;
    let words = MEMORY.iter().enumerate();
    for (index, word) in words.skip(slice * SLICE).take(SLICE) {
        let value = word.load(Relaxed);
        findings.check("memory is another", value == pattern(index, generation));
        word.store(pattern(index, generation + 1), Relaxed);
    }
}

/// Looks at the newest sample: numbers only grow, and its value is the triangle the sensor makes.
fn channel(findings: &mut Findings, port: &Port, last: &mut u32) {
    const TOP: u32 = 1000;
    let Some((number, sample)) = Sample::read(port) else {
        return;
    };
    let phase = number % (2 * TOP);
    findings.check("the channel ran backwards", number >= *last);
    findings.check(
        "a sample is another",
        sample.value == u64::from(phase.min(2 * TOP - phase)),
    );
    findings.samples += u64::from(number > *last);
    *last = number;
}

/// `WFI`.
const WFI: u32 = 0xd503_207f;

/// What the witness put into its registers and must find there.
struct Marks {
    system: [u64; NAMES.len()],
    general: around::General,
    vectors: fp::Registers,
}

macro_rules! watched {
    ($($name:literal = $mark:expr,)*) => {
        /// The system registers that are watched: those nobody but this partition writes.
        const NAMES: &[&str] = &[$($name),*];

        /// Marks those of them that do nothing.
        fn mark_system() {
            $(if let Some(value) = $mark {
                write_sysreg!($name, value);
            })*
        }

        /// Reads them.
        fn read_system() -> [u64; NAMES.len()] {
            [$(read_sysreg!($name)),*]
        }
    };
}

watched! {
    "sctlr_el1" = None::<u64>,
    "ttbr0_el1" = None::<u64>,
    "tcr_el1" = None::<u64>,
    "mair_el1" = None::<u64>,
    "vbar_el1" = None::<u64>,
    "cpacr_el1" = None::<u64>,
    "tpidr_el1" = None::<u64>,
    "mpidr_el1" = None::<u64>,
    "midr_el1" = None::<u64>,
    "cntfrq_el0" = None::<u64>,
    "actlr_el1" = None::<u64>,
    "ttbr1_el1" = Some(0x1_2345_6000),
    "tpidr_el0" = Some(0x1111_2222_3333_4444_u64),
    "tpidrro_el0" = Some(0x5555_6666_7777_8888_u64),
    "contextidr_el1" = Some(0x1234_5678),
    "sp_el0" = Some(0x4444_5555_6666_7777_u64),
    "elr_el1" = Some(0x0123_4567_89ab_cdec_u64),
    "spsr_el1" = Some(0x6000_03c5),
    "esr_el1" = Some(0x5600_1234),
    "far_el1" = Some(0xfedc_ba98_7654_3210_u64),
    "par_el1" = Some(0x0000_1234_5678_9000),
    "afsr0_el1" = Some(0),
    "afsr1_el1" = Some(0),
    "amair_el1" = Some(0),
    "csselr_el1" = Some(2),
    "cntkctl_el1" = Some(0b11),
    "cntp_cval_el0" = Some(0x7654_3210_0123_4567_u64),
    "mdscr_el1" = Some(1 << 12),
    "dbgbvr0_el1" = Some(0x0000_4321_8765_4320),
    "dbgwvr0_el1" = Some(0x0000_1234_5678_9ab8),
}

fn mark_registers() -> Marks {
    fp::enable();
    mark_system();
    let vectors = fp::pattern(WORDS as u64);
    fp::load(&vectors);
    around::put(WFI);
    Marks {
        system: read_system(),
        general: around::pattern(SLICE as u64),
        vectors,
    }
}

/// Waits for an interrupt with a mark in every register, and looks at them.
fn registers_stay(marks: &Marks) -> bool {
    around::again(&marks.general) == marks.general
        && read_system() == marks.system
        && fp::store() == marks.vectors
}
