//! The partition beside: it works, and looks all the while whether anything of its own has changed.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::bulkhead::{action, state};
use bulkhead_rt::abi::layout::TIMER_VIRTUAL_INTID;
use bulkhead_rt::channel::{Memory, Port, Sample};
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

/// Watches for `seconds` of its own counter, then says what it saw.
pub fn run(machine: &Machine, seconds: u64) {
    let port = Port::open(0, Memory::Cached).ok();
    let gic = &machine.gic;
    gic.init();
    gic.enable(TIMER_VIRTUAL_INTID);
    (0..WORDS).for_each(|index| MEMORY[index].store(pattern(index, 0), Relaxed));
    mark_registers();
    let mut findings = Findings::default();
    let period = timer::frequency() / RATE;
    let end = timer::now() + seconds * timer::frequency();
    let mut last = 0;
    let mut generations = [0; SLICES];
    let mut said = 0;
    println!("witness: watching for {seconds} s");
    while timer::now() < end {
        timer::set_virtual_deadline(timer::now() + period);
        timer::set_virtual_control(timer::ENABLE);
        findings.check("a register is another", registers_stay());
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

/// System registers that only this partition writes.
macro_rules! marked {
    ($each:ident) => {
        $each!("tpidr_el0", 0x1111_2222_3333_4444);
        $each!("tpidrro_el0", 0x5555_6666_7777_8888);
        $each!("contextidr_el1", 0x1234_5678);
        $each!("par_el1", 0x8_0000);
        $each!("afsr0_el1", 0);
        $each!("amair_el1", 0);
        $each!("cntkctl_el1", 0b11);
    };
}

fn mark_registers() {
    macro_rules! mark {
        ($name:literal, $value:expr) => {
            write_sysreg!($name, $value);
        };
    }
    marked!(mark);
}

/// Waits for an interrupt with a mark in every register that a wait must leave alone, and looks at them.
fn registers_stay() -> bool {
    let mut same = true;
    macro_rules! look {
        ($name:literal, $value:expr) => {
            same &= read_sysreg!($name) == $value;
        };
    }
    let difference: u64;
    // SAFETY: waits; the registers it marks are declared.
    unsafe {
        asm!(
            "mov x9, #0x5a5a",
            "mov x20, x9", "add x21, x9, #1", "add x22, x9, #2", "add x23, x9, #3",
            "add x24, x9, #4", "add x25, x9, #5", "add x26, x9, #6", "add x27, x9, #7",
            "dsb sy",
            "wfi",
            "eor x10, x20, x9",
            "sub x21, x21, #1", "eor x21, x21, x9", "orr x10, x10, x21",
            "sub x22, x22, #2", "eor x22, x22, x9", "orr x10, x10, x22",
            "sub x23, x23, #3", "eor x23, x23, x9", "orr x10, x10, x23",
            "sub x24, x24, #4", "eor x24, x24, x9", "orr x10, x10, x24",
            "sub x25, x25, #5", "eor x25, x25, x9", "orr x10, x10, x25",
            "sub x26, x26, #6", "eor x26, x26, x9", "orr x10, x10, x26",
            "sub x27, x27, #7", "eor x27, x27, x9", "orr x10, x10, x27",
            "mov x11, #0x5a5a", "eor x11, x11, x9", "orr x10, x10, x11",
            out("x9") _, out("x10") difference, out("x11") _,
            out("x20") _, out("x21") _, out("x22") _, out("x23") _,
            out("x24") _, out("x25") _, out("x26") _, out("x27") _,
        );
    }
    marked!(look);
    same && difference == 0
}
