//! Every way into EL2 and back, with a pattern in all registers: what comes back is what went in, but for the results that are
//! documented. A CPU that is started again has none of what it left.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::layout::{self, TIMER_VIRTUAL_INTID};
use bulkhead_rt::abi::{bulkhead, psci, smccc, trng};
use bulkhead_rt::gic::Gic;
use bulkhead_rt::mmu::{self, descriptor};
use bulkhead_rt::test::{around, fp};
use bulkhead_rt::{read_sysreg, timer, write_sysreg};

use crate::cold;
use crate::environment::Environment;
use crate::poll;
use crate::smp;
use crate::tap::Tap;
use crate::trap::{self, class};

/// `HVC #0`, `SMC #0`; the immediate is in bits 20:5.
const HVC: u32 = 0xd400_0002;
const SMC: u32 = 0xd400_0003;
/// `WFI`, `WFE`.
const WAITS: [u32; 2] = [0xd503_207f, 0xd503_205f];
/// `BLR X9`.
const CALL: u32 = 0xd63f_0120;
/// The register with an address, and those with data.
const BASE: usize = 9;
const DATA: u32 = 1 << 10;
/// ESR_EL1.EC of an MRS or MSR that is trapped.
const TRAPPED_MRS: u64 = 0x18;
const PAIR: u32 = 0b11 << 10;
/// Results of a call: x0-x3 (DEN0028 2.6).
const RESULTS: u32 = 0b1111;

macro_rules! registers {
    ($($name:literal = $mark:expr,)*) => {
        const NAMES: &[&str] = &[$($name),*];

        fn mark() {
            $(if let Some(value) = $mark {
                write_sysreg!($name, value);
            })*
        }

        fn system() -> [u64; NAMES.len()] {
            [$(read_sysreg!($name)),*]
        }
    };
}

// ELR, SPSR, ESR and FAR come last: an exception to EL1 writes them.
registers! {
    "sctlr_el1" = None::<u64>,
    "ttbr0_el1" = None::<u64>,
    "tcr_el1" = None::<u64>,
    "mair_el1" = None::<u64>,
    "vbar_el1" = None::<u64>,
    "cpacr_el1" = None::<u64>,
    "tpidr_el1" = None::<u64>,
    "cntv_ctl_el0" = None::<u64>,
    "cntp_ctl_el0" = None::<u64>,
    "ttbr1_el1" = Some(0x1_2345_6000),
    "amair_el1" = Some(0),
    "contextidr_el1" = Some(0x1234_5678),
    "tpidr_el0" = Some(0x1111_2222_3333_4444_u64),
    "tpidrro_el0" = Some(0x5555_6666_7777_8888_u64),
    "sp_el0" = Some(0x4444_5555_6666_7777_u64),
    "csselr_el1" = Some(2),
    "par_el1" = Some(0x0000_1234_5678_9000),
    "cntkctl_el1" = Some(0b11),
    "mdscr_el1" = Some(1 << 12),
    "dbgbvr0_el1" = Some(0x0000_4321_8765_4320),
    "dbgwvr0_el1" = Some(0x0000_1234_5678_9ab8),
    "cntv_cval_el0" = Some(0x7654_3210_0123_4567_u64),
    "cntp_cval_el0" = Some(0x7654_3210_89ab_cdef_u64),
    "elr_el1" = Some(0x0123_4567_89ab_cdec_u64),
    "spsr_el1" = Some(0x6000_03c5),
    "esr_el1" = Some(0x5600_1234),
    "far_el1" = Some(0xfedc_ba98_7654_3210_u64),
}

/// How many of them an exception writes.
const BY_EXCEPTIONS: usize = 4;

/// An instruction, registers that it is given, and those that it may change.
struct Cause {
    word: u32,
    given: [(usize, u64); 2],
    changes: u32,
}

/// What was not as it had been, in the first cause where anything was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leak {
    /// The instruction.
    word: u32,
    /// The value of its first given register.
    given: u64,
    /// Bit n: xn; bit 31: NZCV.
    general: u64,
    /// Bit n: system register n.
    system: u64,
    /// FP and SIMD registers.
    vectors: bool,
    /// An exception of another class than allowed.
    class: Option<u64>,
}

/// What was found in a group of causes.
#[derive(Default)]
struct Findings {
    first: Option<Leak>,
    causes: u32,
    faults: u32,
}

impl Findings {
    /// Runs `cause`; an exception of one of the classes `allowed` may come instead of an effect, and then changes no general register.
    fn look(&mut self, cause: &Cause, allowed: &[u64]) {
        self.causes += 1;
        let seed = u64::from(cause.word) << 20 ^ u64::from(self.causes);
        let mut before = around::pattern(seed);
        for (register, value) in cause.given {
            before[register] = value;
        }
        let vectors = fp::pattern(seed);
        fp::load(&vectors);
        mark();
        let marked = system();
        let (after, fault) = trap::catch(|| around::run(cause.word, &before));
        let (now, vectors_now) = (system(), fp::store());
        let class = fault
            .map(|fault| fault.class())
            .filter(|class| !allowed.contains(class));
        let changes = if fault.is_some() {
            0
        } else {
            u64::from(cause.changes)
        };
        let watched = if fault.is_some() {
            NAMES.len() - BY_EXCEPTIONS
        } else {
            NAMES.len()
        };
        let leak = Leak {
            word: cause.word,
            given: cause.given[0].1,
            general: differences(&before, &after) & !changes,
            system: differences(&marked[..watched], &now[..watched]),
            vectors: vectors != vectors_now,
            class,
        };
        self.faults += u32::from(fault.is_some());
        if leak.general != 0 || leak.system != 0 || leak.vectors || leak.class.is_some() {
            self.first = self.first.or(Some(leak));
        }
    }

    fn report(&self, tap: &mut Tap, name: &str) {
        bulkhead_rt::println!("# {} causes, {} exceptions", self.causes, self.faults);
        tap.equal(name, self.first, None);
    }
}

/// Bit n: the n-th differs.
fn differences(before: &[u64], after: &[u64]) -> u64 {
    let pairs = before.iter().zip(after).enumerate();
    pairs.fold(0, |bits, (number, (before, after))| {
        bits | u64::from(before != after) << number
    })
}

/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    fp::enable();
    let debug = read_sysreg!("mdscr_el1");
    poll::reset(&environment.machine.gic);
    calls(tap, environment);
    accesses(tap, environment);
    system_registers(tap, environment);
    interrupts(tap, environment);
    nowhere(tap);
    write_sysreg!("mdscr_el1", debug);
    for name in [
        "sp_el0",
        "tpidr_el0",
        "tpidrro_el0",
        "contextidr_el1",
        "ttbr1_el1",
        "csselr_el1",
    ] {
        reset(name);
    }
    write_sysreg!("dbgbvr0_el1", 0);
    write_sysreg!("dbgwvr0_el1", 0);
    poll::reset(&environment.machine.gic);
    started_again(tap, environment);
}

fn reset(name: &str) {
    match name {
        "sp_el0" => write_sysreg!("sp_el0", 0),
        "tpidr_el0" => write_sysreg!("tpidr_el0", 0),
        "tpidrro_el0" => write_sysreg!("tpidrro_el0", 0),
        "contextidr_el1" => write_sysreg!("contextidr_el1", 0),
        "ttbr1_el1" => write_sysreg!("ttbr1_el1", 0),
        _ => write_sysreg!("csselr_el1", 0),
    }
}

/// Functions with arguments of their own; all else gets the pattern.
const CALLS: &[(u32, u64)] = &[
    (psci::VERSION, 0),
    (psci::FEATURES, 0x8400_0001),
    (psci::CPU_ON_64, 0x77),
    (psci::CPU_ON_32, 0x77),
    (psci::AFFINITY_INFO_64, 0),
    (psci::AFFINITY_INFO_32, 0),
    (psci::MIGRATE_INFO_TYPE, 0),
    (psci::MIGRATE_32, 0),
    (smccc::VERSION, 0),
    (smccc::ARCH_FEATURES, 0x8000_8000),
    (smccc::ARCH_WORKAROUND_1, 0),
    (smccc::ARCH_WORKAROUND_2, 1),
    (smccc::ARCH_WORKAROUND_3, 0),
    (trng::VERSION, 0),
    (trng::FEATURES, 0x8400_0053),
    (trng::GET_UUID, 0),
    (trng::RND_32, 96),
    (trng::RND_64, 192),
    (bulkhead::CALL_UID, 0),
    (bulkhead::REVISION, 0),
    (bulkhead::FEATURES, 0xc600_0001),
    (bulkhead::PARTITION_INFO, 0),
    (bulkhead::CONSOLE_WRITE, 0),
    (bulkhead::CONSOLE_READ, 1),
    (bulkhead::CHANNEL_INFO, 0),
    (bulkhead::CHANNEL_NOTIFY, 0),
    (bulkhead::HEARTBEAT, 0),
    (bulkhead::PARTITION_STATUS, 0),
    (bulkhead::PARTITION_CONTROL, 7),
    (bulkhead::STATISTIC, 0),
    (bulkhead::CRASH_RECORD, 0),
];

/// Calls of every function there is and of every owner, by HVC and SMC, with other immediates too.
fn calls(tap: &mut Tap, environment: &Environment) {
    let mut findings = Findings::default();
    for conduit in environment.conduits() {
        let word = match conduit {
            bulkhead_rt::call::Conduit::Hvc => HVC,
            bulkhead_rt::call::Conduit::Smc => SMC,
        };
        let mut call = |function: u32, argument: u64, word: u32| {
            let given = [(0, u64::from(function)), (1, argument)];
            findings.look(
                &Cause {
                    word,
                    given,
                    changes: RESULTS,
                },
                &[class::UNDEFINED],
            );
        };
        CALLS
            .iter()
            .for_each(|(function, argument)| call(*function, *argument, word));
        for owner in 0..64_u32 {
            for number in [0x40, 0x77, 0xff00] {
                call(smccc::FAST | owner << 24 | number, 0, word);
                call(smccc::FAST | smccc::SMC64 | owner << 24 | number, 0, word);
                call(owner << 24 | number, 0, word);
            }
        }
        for immediate in [1, 0xffff] {
            call(psci::VERSION, 0, word | immediate << 5);
        }
    }
    findings.report(tap, "calls leave everything but x0-x3");
}

/// Loads and stores of all forms with x9 as base and x10 (x11) as data, and what each changes.
const FORMS: [(u32, u32); 24] = [
    (0x3940_012a, DATA),          // LDRB
    (0x7940_012a, DATA),          // LDRH
    (0xb940_012a, DATA),          // LDR W
    (0xf940_012a, DATA),          // LDR X
    (0x3980_012a, DATA),          // LDRSB
    (0x79c0_012a, DATA),          // LDRSH
    (0xb980_012a, DATA),          // LDRSW
    (0x3900_012a, 0),             // STRB
    (0x7900_012a, 0),             // STRH
    (0xb900_012a, 0),             // STR W
    (0xf900_012a, 0),             // STR X
    (0x2940_2d2a, PAIR),          // LDP W
    (0x2900_2d2a, 0),             // STP W
    (0xa940_2d2a, PAIR),          // LDP X
    (0xb840_452a, DATA | 1 << 9), // LDR W, [X9], #4
    (0xb840_4d2a, DATA | 1 << 9), // LDR W, [X9, #4]!
    (0xb800_452a, 1 << 9),        // STR W, [X9], #4
    (0x28c0_ad2a, PAIR | 1 << 9), // LDP W, [X9], #4
    (0x88df_fd2a, DATA),          // LDAR W
    (0x889f_fd2a, 0),             // STLR W
    (0x885f_7d2a, DATA),          // LDXR W
    (0x3dc0_012a, 0),             // LDR Q: refused, or it would change V10
    (0x3d80_012a, 0),             // STR Q
    (0xf980_0120, 0),             // PRFM
];

/// Device accesses by every form: emulated ones, refused ones, and those to nothing.
fn accesses(tap: &mut Tap, environment: &Environment) {
    let (own, other) = match environment.machine.gic {
        Gic::V2 { distributor, .. } => (distributor, layout::GICC_BASE + 0x1000),
        Gic::V3 { distributor, .. } => (distributor, layout::GICR_BASE + 8),
    };
    // Registers that are read-only or without effect: GICD_TYPER, GICD_IIDR, UARTFR, UARTIBRD; GICC_DIR or GICR_TYPER;
    // the blank flash; nothing.
    let places = [
        own + 4,
        own + 8,
        layout::UART_BASE + 0x18,
        layout::UART_BASE + 0x24,
        other,
        layout::FLASH_BASE,
        0x0b00_0000,
        0x0b00_0ffc,
    ];
    let mut findings = Findings::default();
    let only_ours = environment.bulkhead;
    for place in places.into_iter().filter(|_| only_ours) {
        for (word, changes) in FORMS {
            // The flash is memory: vectors can be loaded from it.
            if place == layout::FLASH_BASE && word == 0x3dc0_012a {
                continue;
            }
            let given = [(BASE, place), (10, 0x3ff)];
            findings.look(
                &Cause {
                    word,
                    given,
                    changes,
                },
                &[class::DATA],
            );
        }
    }
    findings.report(tap, "device accesses leave everything but what they load");
}

/// MRS, MSR and system instructions that EL2 traps.
fn system_registers(tap: &mut Tap, environment: &Environment) {
    /// `MRS X10` and `MSR ..., X10`, without op0's bit and the fields.
    const READ: u32 = 0xd530_000a;
    const WRITE: u32 = 0xd510_000a;
    /// Encodings, bits 19:5, that are answered or UNDEFINED: ACTLR, REVIDR, AIDR; MDRAR, OSLSR, OSDLR, DBGPRCR; TRFCR,
    /// ZCR, SMCR, GCR; ERRIDR; PMSIDR, TRBIDR; LORID, MPAM1; AMCR; SCXTNUM; CPUECTLR; BRBIDR0.
    const TRAPPED: [u32; 19] = [
        0x8_1020, 0x8_00c0, 0x9_00e0, 0x0_1000, 0x0_1180, 0x0_1380, 0x0_1480, 0x8_1220, 0x8_1200,
        0x8_12c0, 0x8_10c0, 0x8_5300, 0x8_99e0, 0x8_9be0, 0x8_a4e0, 0x8_a500, 0xb_d200, 0x8_d0e0,
        0x1_9200,
    ];
    // Nothing of EL1's own stands in the way: CPACR_EL1.ZEN, FPEN and SMEN.
    let control = read_sysreg!("cpacr_el1");
    write_sysreg!("cpacr_el1", control | 0b11 << 16 | 0b11 << 20 | 0b11 << 24);
    let mut findings = Findings::default();
    let given = [(10, 0), (11, 0)];
    // FEAT_IDST reports the block's holes as trapped MRS.
    for identification in 0..64 {
        // S3_0_C0_C0_0 to S3_0_C0_C7_7: what is not there is UNDEFINED or reads as zero.
        let (word, changes) = (READ | 0x8_0000 | identification << 5, DATA);
        let cause = Cause {
            word,
            given,
            changes,
        };
        findings.look(&cause, &[class::UNDEFINED, TRAPPED_MRS]);
    }
    let mut try_one = |word: u32, changes: u32| {
        findings.look(
            &Cause {
                word,
                given,
                changes,
            },
            &[class::UNDEFINED],
        );
    };
    for fields in TRAPPED {
        try_one(READ | fields, DATA);
        try_one(WRITE | fields, 0);
    }
    // DC ISW, CSW and CISW of way and set 0, with X10.
    for word in [0xd508_764a, 0xd508_7a4a, 0xd508_7e4a] {
        try_one(word, 0);
    }
    if let Gic::V3 { .. } = environment.machine.gic {
        // ICC_SGI1R, ICC_ASGI1R, ICC_SGI0R for nobody; ICC_SRE.
        for word in [0xd518_cbaa, 0xd518_cbca, 0xd518_cbea, 0xd518_ccaa] {
            try_one(word, 0);
        }
        try_one(0xd538_ccaa, DATA);
    }
    write_sysreg!("cpacr_el1", control);
    findings.report(tap, "trapped registers leave everything but what they read");
}

/// Interrupts that come to EL2 while the CPU waits, and are there afterwards: from its timer, and from itself.
fn interrupts(tap: &mut Tap, environment: &Environment) {
    const ROUNDS: u64 = 50;
    let gic = &environment.machine.gic;
    gic.enable(TIMER_VIRTUAL_INTID);
    let (mut wrong, mut taken) = (0, 0);
    for round in 0..ROUNDS {
        let before = around::pattern(round);
        let vectors = fp::pattern(round);
        mark();
        around::put(WAITS[usize::from(round % 8 == 0)]);
        fp::load(&vectors);
        timer::set_virtual_deadline(timer::now() + timer::ticks(round * 7));
        timer::set_virtual_control(timer::ENABLE);
        // CNTV_CTL.ISTATUS alone changes.
        let status = 1
            << NAMES
                .iter()
                .position(|name| *name == "cntv_ctl_el0")
                .unwrap_or(0);
        let marked = system();
        let end = timer::now() + timer::ticks(poll::SOON);
        while !poll::signalled() && timer::now() < end {
            wrong += u32::from(around::again(&before) != before);
        }
        wrong += u32::from(around::again(&before) != before);
        wrong += u32::from(differences(&marked, &system()) & !status != 0);
        wrong += u32::from(fp::store() != vectors);
        timer::set_virtual_control(0);
        taken += u32::from(poll::serve(gic) == Some(TIMER_VIRTUAL_INTID));
    }
    tap.equal(
        "interrupts that arrive leave everything",
        (wrong, u64::from(taken)),
        (0, ROUNDS),
    );
}

/// A fetch from what is no memory.
fn nowhere(tap: &mut Tap) {
    const NOTHING: u64 = 0x0fa0_0000;
    if !mmu::map_shared(NOTHING, 4096, descriptor::NORMAL | descriptor::ACCESSED) {
        return tap.skip(
            "a fetch from nowhere leaves everything",
            "no room for a table",
        );
    }
    // The way back is by x30, which the instruction writes itself: `proceed` returns there.
    let before = around::pattern(7);
    let vectors = fp::pattern(7);
    fp::load(&vectors);
    mark();
    let marked = system();
    let mut given = before;
    given[BASE] = NOTHING;
    let (after, fault) = trap::catch(|| around::run(CALL, &given));
    let watched = NAMES.len() - BY_EXCEPTIONS;
    let leak = Leak {
        word: CALL,
        given: NOTHING,
        general: differences(&given, &after) & !(1 << 30),
        system: differences(&marked[..watched], &system()[..watched]),
        vectors: fp::store() != vectors,
        class: fault.map(|fault| fault.class()),
    };
    let none = Leak {
        general: 0,
        system: 0,
        vectors: false,
        class: Some(class::FETCH),
        ..leak
    };
    tap.equal("a fetch from nowhere leaves everything", leak, none);
}

static LEFT: AtomicU64 = AtomicU64::new(0);

/// A CPU that fills its registers, goes off and is started again finds none of that.
fn started_again(tap: &mut Tap, environment: &Environment) {
    const NAME: &str = "a CPU that is started again has nothing of what it left";
    if !environment.bulkhead {
        return tap.skip(NAME, "not under Bulkhead");
    }
    if !environment.has_cpus(tap, 2, NAME) {
        return;
    }
    LEFT.store(0, Relaxed);
    smp::run(1, |_| cold::poison_cpu(), 0);
    let look = |_| {
        LEFT.fetch_or(cold::left_in_registers(), Relaxed);
        fp::enable();
        let vectors = fp::store().iter().any(|word| *word != 0);
        LEFT.fetch_or(u64::from(vectors) << 63, Relaxed);
    };
    let came = smp::run(1, look, 0);
    tap.equal(NAME, (came, LEFT.load(Relaxed)), (true, 0));
}
