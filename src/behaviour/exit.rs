//! What a guest's synchronous exit leads to: one `match`, one line an arm.
//!
//! Whatever nobody knows ends in the guest: UNDEFINED or an external abort at its EL1.

use super::here::Here;
use super::hypercall;
use super::lifecycle::Reason;
use super::machine::{Exception, Machine};
use super::partition::Counter;
use super::{mmio, sysreg};
use crate::arm::exception::{Abort, Syndrome, external_abort_esr, undefined_esr};
use crate::arm::registers::Registers;
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
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2.
    pub far: u64,
    /// HPFAR_EL2.
    pub hpfar: u64,
}

impl Exit {
    /// The faulting IPA: its page from HPFAR_EL2.FIPA (bits 47:4 are IPA 55:12), its offset from FAR_EL2.
    #[must_use]
    pub const fn ipa(&self) -> Ipa {
        Ipa::new((self.hpfar >> 4 & 0xfff_ffff_ffff) << 12 | self.far & 0xfff)
    }

    /// Whether the instruction has 32 bits (ESR_EL2.IL).
    #[must_use]
    pub const fn is_long(&self) -> bool {
        self.esr & 1 << 25 != 0
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
    match Syndrome::decode(exit.esr) {
        Syndrome::Hvc(0) => hvc(here, console, machine, registers),
        Syndrome::Hvc(_) => unknown_hvc(here, registers),
        Syndrome::Smc(0) => smc(here, console, machine, registers),
        Syndrome::SystemRegister(iss) => sysreg::trapped(here, machine, registers, iss),
        Syndrome::DataAbort(abort) => data_abort(here, console, machine, registers, exit, &abort),
        Syndrome::InstructionAbort(_) => external_abort(here, machine, registers, exit),
        Syndrome::WaitFor => wait(here, registers, exit),
        Syndrome::Smc(_) | Syndrome::SmcAarch32 | Syndrome::Other(_) => undefined(machine, registers, exit.is_long()),
    }
}

/// HVC #0: the saved PC is past the instruction already.
fn hvc(here: &Here<'_, '_>, console: &Console, machine: &mut impl Machine, registers: &mut Registers) -> Next {
    here.count(Counter::Hvc);
    hypercall::answer(here, console, machine, registers)
}

fn unknown_hvc(here: &Here<'_, '_>, registers: &mut Registers) -> Next {
    here.count(Counter::Hvc);
    registers.set(0, bulkhead_abi::smccc::NOT_SUPPORTED.cast_unsigned());
    Next::Resume
}

/// SMC #0: trapped, so the saved PC is the instruction's own.
fn smc(here: &Here<'_, '_>, console: &Console, machine: &mut impl Machine, registers: &mut Registers) -> Next {
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
    abort: &Abort,
) -> Next {
    match mmio::emulate(here, console, machine, registers, exit, abort) {
        mmio::Outcome::Done => Next::Resume,
        mmio::Outcome::Abort => external_abort(here, machine, registers, exit),
    }
}

/// Gives the guest a synchronous external abort for the access that exited.
fn external_abort(here: &Here<'_, '_>, machine: &mut impl Machine, registers: &mut Registers, exit: &Exit) -> Next {
    here.count(Counter::Stage2Fault);
    let esr = external_abort_esr(exit.esr, registers.is_el0());
    machine.inject(registers, Exception { esr, far: Some(exit.far) });
    Next::Resume
}

/// Gives the guest an UNDEFINED exception.
pub fn undefined(machine: &mut impl Machine, registers: &mut Registers, long: bool) -> Next {
    machine.inject(registers, Exception { esr: undefined_esr(long), far: None });
    Next::Resume
}
