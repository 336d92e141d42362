//! Self-hosted debug and the PMU: in a partition that owns its core, as on the bare machine.

use core::arch::asm;

use bulkhead_rt::abi::layout::PMU_INTID;
use bulkhead_rt::{mmu, read_sysreg, write_sysreg};

use crate::access;
use crate::environment::Environment;
use crate::poll;
use crate::tap::Tap;
use crate::trap::{self, class};

/// MDSCR_EL1.MDE: breakpoints and watchpoints on.
const MDE: u64 = 1 << 15;
/// MDSCR_EL1.KDE: at EL1 too.
const KDE: u64 = 1 << 13;
/// DBGBCR/DBGWCR.E.
const ENABLE: u64 = 1 << 0;
/// PMC or PAC: EL1.
const AT_EL1: u64 = 0b01 << 1;
/// PMC or PAC: EL0.
const AT_EL0: u64 = 0b10 << 1;
/// DBGBCR.BAS: the whole A64 instruction.
const WHOLE_INSTRUCTION: u64 = 0b1111 << 5;
/// DBGWCR.LSC: loads and stores.
const LOADS_AND_STORES: u64 = 0b11 << 3;
/// DBGWCR.BAS: eight bytes.
const EIGHT_BYTES: u64 = 0xff << 5;
/// The event INST_RETIRED.
const INST_RETIRED: u64 = 0x08;

/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    access::install();
    locks(tap);
    breakpoint_instruction(tap);
    // SAFETY: debug exceptions go to the handler that checks them.
    unsafe { asm!("msr daifclr, #8") };
    write_sysreg!("mdscr_el1", MDE | KDE);
    breakpoints(tap);
    watchpoints(tap);
    steps(tap);
    write_sysreg!("mdscr_el1", 0);
    // SAFETY: masking changes no memory.
    unsafe { asm!("msr daifset, #8") };
    cycles(tap);
    overflow(tap, environment);
    events(tap);
}

fn locks(tap: &mut Tap) {
    let (_, fault) = trap::catch(|| {
        write_sysreg!("oslar_el1", 1);
        let locked = read_sysreg!("oslsr_el1") >> 1 & 1;
        write_sysreg!("oslar_el1", 0);
        let unlocked = read_sysreg!("oslsr_el1") >> 1 & 1;
        write_sysreg!("osdlr_el1", 0);
        let double = read_sysreg!("osdlr_el1") & 1;
        assert!(double == 0);
        tap.equal("OSLAR locks and unlocks", (locked, unlocked), (1, 0));
    });
    tap.equal("OSLAR, OSLSR and OSDLR are accessible", fault, None);
}

fn breakpoint_instruction(tap: &mut Tap) {
    // SAFETY: the handler skips it.
    let (_, fault) = trap::catch(|| unsafe { asm!("brk #0x123") });
    let got = fault.map(|fault| (fault.class(), fault.esr & 0xffff));
    tap.equal(
        "BRK goes to EL1 with its immediate",
        got,
        Some((class::BRK, 0x123)),
    );
    let fault = access::run_at_el0(access::access_brk_at_el0, 0, [0, 0]).fault;
    let got = (fault.class(), fault.esr & 0xffff);
    tap.equal("BRK at EL0 goes to EL1", got, (class::BRK, 0x7e));
    // SAFETY: SVC is recorded, nothing else.
    let (_, fault) = trap::catch(|| unsafe { asm!("svc #0x12") });
    let got = fault.map(|fault| (fault.class(), fault.esr & 0xffff));
    tap.equal(
        "SVC goes to EL1 with its immediate",
        got,
        Some((class::SVC, 0x12)),
    );
    // SAFETY: UDF is recorded and skipped.
    let (_, fault) = trap::catch(|| unsafe { asm!("udf #0") });
    tap.equal(
        "UDF is UNDEFINED at EL1",
        fault.map(|fault| fault.class()),
        Some(class::UNDEFINED),
    );
}

fn breakpoints(tap: &mut Tap) {
    let count = (read_sysreg!("id_aa64dfr0_el1") >> 12 & 0xf) + 1;
    tap.check("there are at least two breakpoints", count >= 2);
    let place = access::address_of(access::access_break_here);
    write_sysreg!("dbgbvr0_el1", place);
    write_sysreg!("dbgbcr0_el1", ENABLE | AT_EL1 | WHOLE_INSTRUCTION);
    let (_, fault) = trap::catch(|| access::call(place, 0, [0, 0]));
    let got = fault.map(|fault| (fault.class(), fault.elr));
    tap.equal(
        "a breakpoint at EL1 is hit before its instruction",
        got,
        Some((class::BREAKPOINT, place)),
    );
    let place = access::el0_ram(access::address_of(access::access_break_here_at_el0));
    write_sysreg!("dbgbvr0_el1", place);
    write_sysreg!("dbgbcr0_el1", ENABLE | AT_EL0 | WHOLE_INSTRUCTION);
    let fault = trap::run_at_el0(place, [0; 4]).fault;
    let got = (fault.class(), fault.elr);
    tap.equal(
        "a breakpoint at EL0 is hit",
        got,
        (class::BREAKPOINT_EL0, place),
    );
    write_sysreg!("dbgbcr0_el1", 0);
    let fault = trap::run_at_el0(place, [0; 4]).fault;
    tap.equal("a disabled one is not", fault.class(), class::SVC);
}

fn watchpoints(tap: &mut Tap) {
    #[repr(C, align(8))]
    struct Watched(u64);
    let mut watched = Watched(7);
    let place = mmu::address(&raw const watched.0);
    write_sysreg!("dbgwvr0_el1", place);
    let control = ENABLE | AT_EL1 | LOADS_AND_STORES | EIGHT_BYTES;
    write_sysreg!("dbgwcr0_el1", control);
    // SAFETY: a volatile read of a local.
    let (value, fault) = trap::catch(|| unsafe { (&raw const watched.0).read_volatile() });
    let got = fault.map(|fault| (fault.class(), fault.far, fault.esr >> 6 & 1));
    tap.equal(
        "a watchpoint catches a load",
        got,
        Some((class::WATCHPOINT, place, 0)),
    );
    tap.equal("which goes on after it", value, 7);
    write_sysreg!("dbgwcr0_el1", control);
    // SAFETY: a volatile write to a local.
    let (_, fault) = trap::catch(|| unsafe { (&raw mut watched.0).write_volatile(9) });
    let got = fault.map(|fault| (fault.class(), fault.far, fault.esr >> 6 & 1));
    tap.equal("and a store", got, Some((class::WATCHPOINT, place, 1)));
    let place = access::el0_ram(access::address_of(access::access_break_here_at_el0)) & !0b111;
    write_sysreg!("dbgwvr0_el1", place);
    write_sysreg!(
        "dbgwcr0_el1",
        ENABLE | AT_EL0 | LOADS_AND_STORES | EIGHT_BYTES
    );
    let fault = access::run_at_el0(access::access_ldr, place, [0, 0]).fault;
    tap.equal(
        "a watchpoint at EL0 is hit",
        (fault.class(), fault.far),
        (class::WATCHPOINT_EL0, place),
    );
    write_sysreg!("dbgwcr0_el1", 0);
}

fn steps(tap: &mut Tap) {
    let ((), fault) = trap::step(3, || {
        // SAFETY: three instructions that do nothing.
        unsafe { asm!("nop", "nop", "nop", "nop", "nop") };
    });
    let got = fault.map(|fault| (fault.class(), fault.count));
    tap.equal(
        "single step at EL1 takes each step",
        got,
        Some((class::STEP, 3)),
    );
    let status = fault.map(|fault| fault.esr & 0x3f);
    tap.equal("with the debug status code", status, Some(0x22));
    // Without KDE, for EL1 must not be stepped.
    write_sysreg!("mdscr_el1", MDE | 1);
    let place = access::el0_ram(access::address_of(access::access_break_here_at_el0));
    let fault = trap::step_at_el0(place);
    tap.equal(
        "single step at EL0 stops after one",
        (fault.class(), fault.elr),
        (class::STEP_EL0, place + 4),
    );
    write_sysreg!("mdscr_el1", MDE | KDE);
}

fn spin(rounds: u64) {
    // SAFETY: counts down.
    unsafe { asm!("2: subs {0}, {0}, #1", "b.ne 2b", inout(reg) rounds => _) };
}

fn has_pmu() -> bool {
    let version = read_sysreg!("id_aa64dfr0_el1") >> 8 & 0xf;
    version != 0 && version != 0xf
}

fn cycles(tap: &mut Tap) {
    const NAME: &str = "the PMU's cycle counter counts";
    if !has_pmu() {
        return tap.skip(NAME, "no PMU");
    }
    write_sysreg!("pmcr_el0", 1 << 6 | 1 << 2 | 1 << 1 | 1);
    write_sysreg!("pmccfiltr_el0", 0);
    write_sysreg!("pmcntenset_el0", 1 << 31);
    let before = read_sysreg!("pmccntr_el0");
    spin(100_000);
    let after = read_sysreg!("pmccntr_el0");
    tap.check(NAME, after > before);
    write_sysreg!("pmcntenclr_el0", 1 << 31);
    let stopped = read_sysreg!("pmccntr_el0");
    spin(10_000);
    tap.equal(
        "and stands still when disabled",
        read_sysreg!("pmccntr_el0"),
        stopped,
    );
    write_sysreg!("pmccntr_el0", 0x1234);
    tap.equal(
        "and keeps what is written",
        read_sysreg!("pmccntr_el0"),
        0x1234,
    );
}

/// The overflow interrupt is a level that stands until the flag is cleared (Arm ARM D13.3.2).
fn overflow(tap: &mut Tap, environment: &Environment) {
    const NAME: &str = "a cycle counter that overflows interrupts";
    const CYCLES: u64 = 1 << 31;
    let gic = &environment.machine.gic;
    if !has_pmu() || environment.machine.find("arm,armv8-pmuv3").is_none() {
        return tap.skip(NAME, "no PMU with a private interrupt");
    }
    poll::reset(gic);
    gic.enable(PMU_INTID);
    write_sysreg!("pmcr_el0", 1 << 6 | 1);
    write_sysreg!("pmccntr_el0", u64::MAX - 100_000);
    write_sysreg!("pmovsclr_el0", CYCLES);
    write_sysreg!("pmintenset_el1", CYCLES);
    write_sysreg!("pmcntenset_el0", CYCLES);
    let interrupt = poll::take(gic);
    let intid = interrupt.map(|interrupt| interrupt.intid());
    tap.equal(NAME, intid, Some(PMU_INTID));
    tap.equal(
        "and says which counter it was",
        read_sysreg!("pmovsclr_el0"),
        CYCLES,
    );
    write_sysreg!("pmcntenclr_el0", CYCLES);
    write_sysreg!("pmintenclr_el1", CYCLES);
    write_sysreg!("pmovsclr_el0", CYCLES);
    write_sysreg!("pmcr_el0", 0);
    interrupt.inspect(|interrupt| gic.end(*interrupt));
    gic.disable(PMU_INTID);
    poll::reset(gic);
}

fn events(tap: &mut Tap) {
    const NAME: &str = "an event counter counts INST_RETIRED";
    if !has_pmu() || read_sysreg!("pmceid0_el0") >> INST_RETIRED & 1 == 0 {
        // QEMU has the event under -icount only.
        return tap.skip(NAME, "the PMU has no INST_RETIRED");
    }
    let counters = read_sysreg!("pmcr_el0") >> 11 & 0x1f;
    if counters == 0 {
        return tap.skip(NAME, "the PMU has no event counters");
    }
    write_sysreg!("pmselr_el0", 0);
    write_sysreg!("pmxevtyper_el0", INST_RETIRED);
    write_sysreg!("pmevcntr0_el0", 0);
    write_sysreg!("pmcntenset_el0", 1);
    spin(10_000);
    let counted = read_sysreg!("pmevcntr0_el0");
    write_sysreg!("pmcntenclr_el0", 1);
    // Two instructions a round and a few around.
    tap.check(NAME, (20_000..20_200).contains(&counted));
    write_sysreg!("pmcr_el0", 0);
}
