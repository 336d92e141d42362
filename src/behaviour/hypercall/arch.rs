//! The Arm Architecture service (DEN0028, section 7).

use super::{Answer, Call, lower};
use crate::arm::id::IdRegister;
use crate::behaviour::machine::Machine;
use bulkhead_abi::smccc;

/// ID_AA64PFR0_EL1.CSV2.
const PFR0_CSV2: u32 = 56;
/// ID_AA64PFR1_EL1.SSBS.
const PFR1_SSBS: u32 = 4;
/// The workaround exists, and this CPU needs no call to it.
const NOT_NEEDED_HERE: i64 = 1;

/// Answers a call of this service; `None` if it is none.
pub(super) fn answer(machine: &impl Machine, call: &Call) -> Option<Answer> {
    let code = match call.function {
        smccc::VERSION => i64::from(smccc::VERSION_1_2),
        smccc::ARCH_FEATURES => features(machine, lower(call.argument(1))),
        // Callable where ARCH_FEATURES says so; without a flaw there is nothing to do.
        smccc::ARCH_WORKAROUND_1 if features(machine, call.function) >= 0 => smccc::SUCCESS,
        _ => return None,
    };
    Some(Answer::code(code))
}

/// `SMCCC_ARCH_FEATURES(function)`: whether a function of this service is there, and how.
fn features(machine: &impl Machine, function: u32) -> i64 {
    let field = |register: IdRegister, shift: u32| machine.id_register(register) >> shift & 0xf;
    match function {
        smccc::VERSION | smccc::ARCH_FEATURES => smccc::SUCCESS,
        // CSV2 says that branch targets cannot be steered from another context. It says nothing of the branch history
        // below version 3, which no partition is shown: WORKAROUND_3 is never called needless.
        smccc::ARCH_WORKAROUND_1 if field(IdRegister::AA64PFR0, PFR0_CSV2) >= 1 => NOT_NEEDED_HERE,
        // SSBS gives the guest the mitigation itself.
        smccc::ARCH_WORKAROUND_2 if field(IdRegister::AA64PFR1, PFR1_SSBS) >= 1 => {
            smccc::NOT_REQUIRED
        }
        _ => smccc::NOT_SUPPORTED,
    }
}
