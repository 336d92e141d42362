//! Hypercalls: the SMC Calling Convention 1.2 (Arm DEN0028), by HVC and by SMC, one file a service.
//!
//! A call reads registers, answers in X0 to X3, and keeps everything else. An unknown function answers NOT_SUPPORTED.

mod arch;
mod bulkhead;
mod channels;
mod crashes;
mod managing;
mod psci;
mod trng;
mod vendor;

use super::exit::Next;
use super::here::Here;
use super::machine::Machine;
use crate::arm::registers::Registers;
use crate::model::console::Console;
use bulkhead_abi::{psci as abi, smccc};

pub use bulkhead::FUNCTION_BITS as OWN_FUNCTIONS;
pub use psci::FUNCTION_BITS as PSCI_FUNCTIONS;

/// A function's service, of either convention, and its number there (DEN0028, table 2-1).
const SERVICE: u32 = 0xbf00_0000;
const NUMBER: u32 = 0x00ff_ffff;
/// The service that this hypervisor's own calls are in.
const OWN_SERVICE: u32 = bulkhead_abi::bulkhead::FEATURES & SERVICE;
/// From here on the numbers of that service say who the hypervisor is.
const VENDOR_NUMBERS: u32 = 0xff00;
/// Registers a call answers in.
const RESULTS: usize = 4;

/// A call as the guest made it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The function identifier.
    pub function: u32,
    arguments: [u64; 7],
}

impl Call {
    /// Reads the call out of the guest's registers: W0, and X1 to X7, of which a 32-bit call has the lower halves.
    #[must_use]
    pub fn new(registers: &Registers) -> Self {
        let function = lower(registers.get(0));
        let mask = if function & smccc::SMC64 == 0 {
            u64::from(u32::MAX)
        } else {
            u64::MAX
        };
        let mut arguments = [0; 7];
        for (argument, value) in arguments.iter_mut().zip(registers.x.iter().skip(1)) {
            *argument = value & mask;
        }
        Self {
            function,
            arguments,
        }
    }

    /// Argument `index`, from 1 to 7: what the call has in X`index`.
    #[must_use]
    pub fn argument(&self, index: usize) -> u64 {
        index
            .checked_sub(1)
            .and_then(|index| self.arguments.get(index))
            .copied()
            .unwrap_or(0)
    }
}

/// The lower half of a register.
fn lower(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)
}

/// A call's answer: X0 to X3, and what the vCPU does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// X0 to X3.
    pub results: [u64; RESULTS],
    /// What the vCPU does next.
    pub next: Next,
}

impl Answer {
    /// A code, sign-extended into X0; X1 to X3 zero.
    #[must_use]
    pub const fn code(code: i64) -> Self {
        Self::values([code.cast_unsigned(), 0, 0, 0])
    }

    /// Four values.
    #[must_use]
    pub const fn values(results: [u64; RESULTS]) -> Self {
        Self {
            results,
            next: Next::Resume,
        }
    }

    /// The same answer, after which the vCPU does `next`.
    #[must_use]
    pub const fn then(self, next: Next) -> Self {
        Self { next, ..self }
    }
}

/// Answers the call in `registers`; they change in X0 to X3 and nowhere else.
pub fn answer(
    here: &Here<'_, '_>,
    console: &Console,
    machine: &mut impl Machine,
    registers: &mut Registers,
) -> Next {
    let call = Call::new(registers);
    let Some(answer) = dispatch(here, console, machine, &call) else {
        return unknown(registers);
    };
    for (register, value) in registers.x.iter_mut().zip(answer.results) {
        *register = value;
    }
    answer.next
}

/// Answers a function nobody knows: NOT_SUPPORTED in X0, and nothing else changes.
pub fn unknown(registers: &mut Registers) -> Next {
    registers.set(0, smccc::NOT_SUPPORTED.cast_unsigned());
    Next::Resume
}

/// Whether nobody knows `function`, whatever CPU and firmware have: by the bits of the two services that a guest may ask for
/// anything. It may be so although this says no.
const fn is_unknown(function: u32) -> bool {
    let (service, number) = (function & SERVICE, function & NUMBER);
    match service {
        abi::VERSION if number < 32 => {
            let wide = (function & smccc::SMC64 != 0) as u32;
            PSCI_FUNCTIONS >> (number + 32 * wide) & 1 == 0
        }
        // This hypervisor's own calls have no other convention; DEN0028 puts who it is at the end of the same service.
        OWN_SERVICE if number < VENDOR_NUMBERS => {
            number >= 128
                || function & smccc::SMC64 != bulkhead_abi::bulkhead::FEATURES & smccc::SMC64
                || OWN_FUNCTIONS[(number / 64) as usize] >> (number % 64) & 1 == 0
        }
        _ => false,
    }
}

/// Answers the call in `registers` if that takes no more than its arguments, the core's own timer, and a word of another
/// core's: versions, features, the heartbeat, CPU_ON, CHANNEL_NOTIFY, and what nobody knows. Else nothing has changed.
#[inline(always)]
pub fn at_once(here: &Here<'_, '_>, machine: &mut impl Machine, registers: &mut Registers) -> bool {
    let [x0, x1, x2, x3, ..] = registers.x;
    let function = lower(x0);
    if is_unknown(function) {
        unknown(registers);
        return true;
    }
    let code = match function {
        smccc::VERSION => Some(i64::from(smccc::VERSION_1_2)),
        _ => psci::at_once(here, machine, function, [x1, x2, x3])
            .map(i64::from)
            .or_else(|| bulkhead::at_once(here, machine, function, [x1, x2])),
    };
    code.inspect(|code| put_code(registers, *code)).is_some()
}

fn put_code(registers: &mut Registers, code: i64) {
    let [x0, x1, x2, x3, ..] = &mut registers.x;
    (*x0, *x1, *x2, *x3) = (code.cast_unsigned(), 0, 0, 0);
}

/// Asks the services in turn; `None` if nobody knows the function.
fn dispatch(
    here: &Here<'_, '_>,
    console: &Console,
    machine: &mut impl Machine,
    call: &Call,
) -> Option<Answer> {
    arch::answer(machine, call)
        .or_else(|| psci::answer(here, machine, call))
        .or_else(|| vendor::answer(call))
        .or_else(|| bulkhead::answer(here, console, machine, call))
        .or_else(|| trng::answer(machine, call))
}
