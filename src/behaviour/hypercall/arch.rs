//! The Arm Architecture service (DEN0028, section 7).
//!
//! A workaround is there as CPU and firmware need it: a CPU that says itself that it has not the flaw needs none; else what
//! the firmware below says of this core is passed on, and so is the call. No other call of a guest's reaches firmware.

use super::{Answer, Call, lower};
use crate::arm::id::IdRegister;
use crate::behaviour::machine::{Machine, Workaround};
use bulkhead_abi::smccc;

/// ID_AA64PFR0_EL1.CSV2.
const PFR0_CSV2: u32 = 56;
/// ID_AA64PFR1_EL1.SSBS.
const PFR1_SSBS: u32 = 4;
/// The workaround exists, and this CPU needs no call to it.
const NOT_NEEDED_HERE: i64 = 1;

/// Answers a call of this service; `None` if it is none.
pub(super) fn answer(machine: &mut impl Machine, call: &Call) -> Option<Answer> {
    let code = match call.function {
        smccc::VERSION => i64::from(smccc::VERSION_1_2),
        smccc::ARCH_FEATURES => features(machine, lower(call.argument(1))),
        function => {
            // Callable where ARCH_FEATURES says so; where it says 1 there is nothing to do.
            let workaround = workaround(function)?;
            let shown = needed(machine, workaround);
            if shown < 0 {
                return None;
            }
            if shown == smccc::SUCCESS {
                let on = workaround != Workaround::StoreBypass || lower(call.argument(1)) != 0;
                machine.work_around(workaround, on);
            }
            smccc::SUCCESS
        }
    };
    Some(Answer::code(code))
}

/// `SMCCC_ARCH_FEATURES(function)`: whether a function of this service is there, and how.
fn features(machine: &impl Machine, function: u32) -> i64 {
    match function {
        smccc::VERSION | smccc::ARCH_FEATURES => smccc::SUCCESS,
        _ => workaround(function).map_or(smccc::NOT_SUPPORTED, |it| needed(machine, it)),
    }
}

fn workaround(function: u32) -> Option<Workaround> {
    match function {
        smccc::ARCH_WORKAROUND_1 => Some(Workaround::BranchTargets),
        smccc::ARCH_WORKAROUND_2 => Some(Workaround::StoreBypass),
        smccc::ARCH_WORKAROUND_3 => Some(Workaround::BranchHistory),
        _ => None,
    }
}

/// What ARCH_FEATURES says of a workaround on this core.
fn needed(machine: &impl Machine, workaround: Workaround) -> i64 {
    let field = |register: IdRegister, shift: u32| machine.id_register(register) >> shift & 0xf;
    let said = machine.firmware_says(workaround);
    match workaround {
        // CSV2 says that branch targets cannot be steered from another context. It says nothing of the branch history
        // below version 3, which no partition is shown.
        Workaround::BranchTargets if field(IdRegister::AA64PFR0, PFR0_CSV2) >= 1 => NOT_NEEDED_HERE,
        // SSBS gives the guest the mitigation itself.
        Workaround::StoreBypass if field(IdRegister::AA64PFR1, PFR1_SSBS) >= 1 => {
            smccc::NOT_REQUIRED
        }
        Workaround::StoreBypass if said == smccc::NOT_REQUIRED => said,
        _ if said == smccc::SUCCESS || said == NOT_NEEDED_HERE => said,
        _ => smccc::NOT_SUPPORTED,
    }
}
