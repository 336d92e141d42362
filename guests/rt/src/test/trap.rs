//! Exceptions that a check provokes: caught, recorded and skipped; and code run at EL0.
//!
//! Invariant: an exception nobody armed for panics, so that none goes unnoticed.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::Relaxed};

use crate::cpu::{self, MAX_CPUS};
use crate::vectors::{self, Frame};
use crate::{read_sysreg, write_sysreg};

/// Exception classes (Arm ARM D24.2.40, ESR_EL1.EC).
pub mod class {
    /// Unknown reason: an UNDEFINED instruction.
    pub const UNDEFINED: u64 = 0x00;
    /// SVC from AArch64.
    pub const SVC: u64 = 0x15;
    /// Instruction abort from EL0.
    pub const FETCH_EL0: u64 = 0x20;
    /// Instruction abort from EL1.
    pub const FETCH: u64 = 0x21;
    /// Data abort from EL0.
    pub const DATA_EL0: u64 = 0x24;
    /// Data abort from EL1.
    pub const DATA: u64 = 0x25;
    /// Breakpoint from EL0.
    pub const BREAKPOINT_EL0: u64 = 0x30;
    /// Breakpoint from EL1.
    pub const BREAKPOINT: u64 = 0x31;
    /// Software step from EL0.
    pub const STEP_EL0: u64 = 0x32;
    /// Software step from EL1.
    pub const STEP: u64 = 0x33;
    /// Watchpoint from EL0.
    pub const WATCHPOINT_EL0: u64 = 0x34;
    /// Watchpoint from EL1.
    pub const WATCHPOINT: u64 = 0x35;
    /// BRK.
    pub const BRK: u64 = 0x3c;
}

/// SVC immediate that asks the handler to go to EL0.
const GO_TO_EL0: u64 = 0xe0;
/// SVC immediate that asks the handler to step the instructions that follow.
const STEP_FROM_HERE: u64 = 0x55;
/// SPSR: software step active-not-pending.
const SPSR_SS: u64 = 1 << 21;
/// SPSR: debug exceptions masked.
const SPSR_D: u64 = 1 << 9;
/// SPSR: EL0t, all masked but debug exceptions.
const SPSR_EL0: u64 = 0x1c0;
/// MDSCR_EL1.SS.
const MDSCR_SS: u64 = 1 << 0;

/// A caught exception.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
    /// ELR_EL1.
    pub elr: u64,
    /// How many exceptions there were in all; the rest is of the first.
    pub count: u64,
}

impl Fault {
    /// Returns ESR_EL1.EC.
    pub fn class(&self) -> u64 {
        self.esr >> 26 & 0x3f
    }

    /// Returns the fault status code, ESR_EL1\[5:0\] of aborts.
    pub fn status(&self) -> u64 {
        self.esr & 0x3f
    }
}

/// How code at EL0 ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct El0Exit {
    /// The exception that ended it.
    pub fault: Fault,
    /// x0-x3 at that time.
    pub x: [u64; 4],
}

struct Session {
    saved: Frame,
    entry: u64,
    spsr: u64,
    arguments: [u64; 4],
    exit: El0Exit,
}

struct State {
    armed: AtomicBool,
    count: AtomicU64,
    esr: AtomicU64,
    far: AtomicU64,
    elr: AtomicU64,
    steps: AtomicU64,
    session: AtomicPtr<Session>,
}

static STATES: [State; MAX_CPUS] = [const {
    State {
        armed: AtomicBool::new(false),
        count: AtomicU64::new(0),
        esr: AtomicU64::new(0),
        far: AtomicU64::new(0),
        elr: AtomicU64::new(0),
        steps: AtomicU64::new(0),
        session: AtomicPtr::new(core::ptr::null_mut()),
    }
}; MAX_CPUS];

fn state() -> &'static State {
    &STATES[cpu::index()]
}

/// Registers the handler, for all CPUs.
pub fn install() {
    vectors::on_synchronous(handle);
}

/// Runs `function`; an exception in it is recorded and its instruction skipped, a fetch that
/// aborted returns to its caller.
pub fn catch<R>(function: impl FnOnce() -> R) -> (R, Option<Fault>) {
    let state = state();
    state.count.store(0, Relaxed);
    state.armed.store(true, Relaxed);
    let result = function();
    state.armed.store(false, Relaxed);
    let count = state.count.load(Relaxed);
    let fault = Fault {
        esr: state.esr.load(Relaxed),
        far: state.far.load(Relaxed),
        elr: state.elr.load(Relaxed),
        count,
    };
    (result, (count > 0).then_some(fault))
}

/// Calls what lies at `address` as code; for [`catch`], where nothing executable is.
pub fn execute(address: u64) {
    // SAFETY: a fetch that aborts comes back; what is executed otherwise keeps to the procedure call standard.
    unsafe { asm!("blr {0}", in(reg) address, clobber_abi("C")) };
}

/// Runs code at EL0 with x0-x3 given, until its first exception.
pub fn run_at_el0(entry: u64, arguments: [u64; 4]) -> El0Exit {
    go(entry, arguments, SPSR_EL0)
}

/// Runs one instruction at EL0 in single step (MDSCR_EL1.SS set by the caller).
pub fn step_at_el0(entry: u64) -> Fault {
    go(entry, [0; 4], SPSR_EL0 | SPSR_SS).fault
}

fn go(entry: u64, arguments: [u64; 4], spsr: u64) -> El0Exit {
    let mut session = Session {
        saved: Frame {
            x: [0; 31],
            elr: 0,
            spsr: 0,
            esr: 0,
            far: 0,
            vector: 0,
        },
        entry,
        spsr,
        arguments,
        exit: El0Exit::default(),
    };
    state().session.store(&raw mut session, Relaxed);
    // SAFETY: the handler comes back here with every register as it is now.
    unsafe { asm!("svc #{0}", const GO_TO_EL0) };
    state().session.store(core::ptr::null_mut(), Relaxed);
    session.exit
}

/// Runs `function` in single step from an instruction before its call on, for `steps` steps.
pub fn step<R>(steps: u64, function: impl FnOnce() -> R) -> (R, Option<Fault>) {
    catch(|| {
        state().steps.store(steps, Relaxed);
        // SAFETY: the handler only switches stepping on.
        unsafe { asm!("svc #{0}", const STEP_FROM_HERE) };
        function()
    })
}

fn handle(frame: &mut Frame) -> bool {
    let state = state();
    let immediate = frame.esr & 0xffff;
    if frame.from_el0() {
        return leave_el0(state, frame);
    }
    match (frame.class(), immediate) {
        (class::SVC, GO_TO_EL0) => return go_to_el0(state, frame),
        (class::SVC, STEP_FROM_HERE) => {
            write_sysreg!("mdscr_el1", read_sysreg!("mdscr_el1") | MDSCR_SS);
            frame.spsr = (frame.spsr & !SPSR_D) | SPSR_SS;
            return true;
        }
        _ => {}
    }
    if !state.armed.load(Relaxed) {
        return false;
    }
    record(state, frame);
    proceed(state, frame);
    true
}

fn record(state: &State, frame: &Frame) {
    let count = state.count.load(Relaxed);
    if count == 0 {
        state.esr.store(frame.esr, Relaxed);
        state.far.store(frame.far, Relaxed);
        state.elr.store(frame.elr, Relaxed);
    }
    state.count.store(count + 1, Relaxed);
}

/// Lets the interrupted code go on after what it provoked.
fn proceed(state: &State, frame: &mut Frame) {
    match frame.class() {
        class::FETCH => frame.elr = frame.x[30],
        class::BREAKPOINT => write_sysreg!("dbgbcr0_el1", 0),
        class::WATCHPOINT => write_sysreg!("dbgwcr0_el1", 0),
        class::STEP => {
            let left = state.steps.load(Relaxed).saturating_sub(1);
            state.steps.store(left, Relaxed);
            if left == 0 {
                write_sysreg!("mdscr_el1", read_sysreg!("mdscr_el1") & !MDSCR_SS);
                frame.spsr &= !SPSR_SS;
            } else {
                frame.spsr |= SPSR_SS;
            }
        }
        // The saved PC of an SVC is already past it.
        class::SVC => {}
        _ => frame.skip(),
    }
}

fn go_to_el0(state: &State, frame: &mut Frame) -> bool {
    let pointer = state.session.load(Relaxed);
    // SAFETY: `run_at_el0` keeps the session on its stack until the way back.
    let Some(session) = (unsafe { pointer.as_mut() }) else {
        return false;
    };
    session.saved = frame.clone();
    frame.elr = session.entry;
    frame.spsr = session.spsr;
    frame.x[..4].copy_from_slice(&session.arguments);
    true
}

fn leave_el0(state: &State, frame: &mut Frame) -> bool {
    let pointer = state.session.load(Relaxed);
    // SAFETY: as in `go_to_el0`.
    let Some(session) = (unsafe { pointer.as_mut() }) else {
        return false;
    };
    session.exit.fault = Fault {
        esr: frame.esr,
        far: frame.far,
        elr: frame.elr,
        count: 1,
    };
    session.exit.x.copy_from_slice(&frame.x[..4]);
    *frame = session.saved.clone();
    true
}
