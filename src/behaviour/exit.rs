//! What a guest's synchronous exit leads to: one `match`, one line an arm.
//!
//! Whatever nobody knows ends in the guest: UNDEFINED or an external abort at its EL1.

use super::here::Here;
use super::hypercall;
use super::lifecycle::Reason;
use super::machine::{Exception, Machine};
use super::partition::Counter;
use super::{mmio, sysreg};
use crate::arm::registers::Registers;
use crate::arm::syndrome::{Class, DataAbort, Fault, Syndrome, fault_ipa, injected};
use crate::model::console::Console;
use crate::model::power::Start;
use crate::words::Ipa;

/// What the vCPU does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It goes on.
    Resume,
    /// It waits for an interrupt, then goes on.
    Standby,
    /// It is switched off.
    Off,
    /// It powers down and goes on here when an interrupt comes.
    Suspend(Start),
    /// Its partition stops.
    Stop(Reason),
}

/// What the core says of a synchronous exit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exit {
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2.
    pub far: u64,
    /// HPFAR_EL2.
    pub hpfar: u64,
}

impl Exit {
    /// The faulting IPA.
    #[must_use]
    pub const fn ipa(&self) -> Ipa {
        Ipa::new(fault_ipa(self.hpfar, self.far))
    }

    /// ESR_EL2, to be read.
    #[must_use]
    pub const fn syndrome(&self) -> Syndrome {
        Syndrome::new(self.esr)
    }

    /// Whether the instruction has 32 bits.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        self.syndrome().instruction_length() == 4
    }
}

/// Handles a synchronous exit of `here`.
pub fn synchronous(
    here: &Here<'_, '_>,
    console: &Console,
    machine: &mut impl Machine,
    registers: &mut Registers,
    exit: &Exit,
) -> Next {
    let syndrome = exit.syndrome();
    match syndrome.class() {
        Class::Hvc64 if syndrome.immediate() == 0 => hvc(here, console, machine, registers),
        Class::Hvc64 => unknown_hvc(here, registers),
        Class::Smc64 if syndrome.immediate() == 0 => smc(here, console, machine, registers),
        Class::SystemRegister => {
            sysreg::trapped(here, machine, registers, syndrome.system_register())
        }
        Class::DataAbortLower => data_abort(
            here,
            console,
            machine,
            registers,
            exit,
            syndrome.data_abort(),
        ),
        Class::InstructionAbortLower => {
            fetch_abort(here, machine, registers, exit, syndrome.instruction_abort())
        }
        Class::Wait => wait(here, registers, exit),
        _ => undefined(here, machine, registers),
    }
}

/// HVC #0: the saved PC is past the instruction already.
fn hvc(
    here: &Here<'_, '_>,
    console: &Console,
    machine: &mut impl Machine,
    registers: &mut Registers,
) -> Next {
    here.count(Counter::Hvc);
    hypercall::answer(here, console, machine, registers)
}

fn unknown_hvc(here: &Here<'_, '_>, registers: &mut Registers) -> Next {
    here.count(Counter::Hvc);
    hypercall::unknown(registers)
}

/// SMC #0: trapped, so the saved PC is the instruction's own.
fn smc(
    here: &Here<'_, '_>,
    console: &Console,
    machine: &mut impl Machine,
    registers: &mut Registers,
) -> Next {
    here.count(Counter::Smc);
    registers.skip_instruction(true);
    hypercall::answer(here, console, machine, registers)
}

/// WFI and WFE are not trapped; where one traps all the same, it is done.
fn wait(here: &Here<'_, '_>, registers: &mut Registers, exit: &Exit) -> Next {
    here.count(Counter::Wfx);
    registers.skip_instruction(exit.is_long());
    Next::Standby
}

fn data_abort(
    here: &Here<'_, '_>,
    console: &Console,
    machine: &mut impl Machine,
    registers: &mut Registers,
    exit: &Exit,
    abort: DataAbort,
) -> Next {
    match mmio::emulate(here, console, machine, registers, exit, &abort) {
        mmio::Outcome::Done => Next::Resume,
        mmio::Outcome::Abort => {
            let esr =
                injected::data_abort(registers.pstate, abort.write && !abort.fault.table_walk);
            external_abort(here, machine, registers, exit, esr, abort.fault)
        }
    }
}

fn fetch_abort(
    here: &Here<'_, '_>,
    machine: &mut impl Machine,
    registers: &mut Registers,
    exit: &Exit,
    fault: Fault,
) -> Next {
    let esr = injected::instruction_abort(registers.pstate);
    external_abort(here, machine, registers, exit, esr, fault)
}

/// Gives the guest a synchronous external abort for the access that exited.
fn external_abort(
    here: &Here<'_, '_>,
    machine: &mut impl Machine,
    registers: &mut Registers,
    exit: &Exit,
    esr: u64,
    fault: Fault,
) -> Next {
    here.count(Counter::Stage2Fault);
    // A walk that goes astray: the level of the guest's own walk is not reported, and the last is the likeliest.
    const LAST_LEVEL: u8 = 3;
    let esr = if fault.table_walk {
        injected::on_table_walk(esr, LAST_LEVEL)
    } else if fault.far_valid {
        esr
    } else {
        injected::without_address(esr)
    };
    inject(
        here,
        machine,
        registers,
        Exception {
            esr,
            far: Some(exit.far),
        },
    )
}

/// Gives the guest an UNDEFINED exception.
pub fn undefined(
    here: &Here<'_, '_>,
    machine: &mut impl Machine,
    registers: &mut Registers,
) -> Next {
    inject(
        here,
        machine,
        registers,
        Exception {
            esr: injected::undefined(),
            far: None,
        },
    )
}

/// Makes the guest take an exception. A vector that raises it again and again would do so for ever: then the partition
/// stops.
fn inject(
    here: &Here<'_, '_>,
    machine: &mut impl Machine,
    registers: &mut Registers,
    exception: Exception,
) -> Next {
    let (raised_at, link) = (registers.pc, machine.exception_link());
    machine.inject(registers, exception);
    let repeats = here.shared().map(|vcpu| &vcpu.repeats);
    if repeats.is_some_and(|repeats| repeats.again(raised_at, registers.pc, link)) {
        Next::Stop(Reason::Crash)
    } else {
        Next::Resume
    }
}
