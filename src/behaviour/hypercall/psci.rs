//! PSCI 1.1 (Arm DEN0022), for the calling partition alone.
//!
//! What DEN0022 calls a `uint32` is the lower half of its register in the 64-bit calls too.

use super::{Answer, Call, lower};
use crate::behaviour::exit::Next;
use crate::behaviour::here::Here;
use crate::behaviour::lifecycle::Reason;
use crate::behaviour::machine::Machine;
use crate::model::power::{Refused, Start, State};
use crate::words::{Mpidr, VcpuId};
use bulkhead_abi::{psci, smccc};

/// CPU_SUSPEND power_state, original format (5.4.2): bits that must be zero, and the power-down type.
const POWER_STATE_RESERVED: u32 = !0x0301_ffff;
const POWER_STATE_POWER_DOWN: u32 = 1 << 16;
/// The highest affinity level.
const MAX_LEVEL: u32 = 3;
/// SYSTEM_RESET2: the architectural warm reset.
const SYSTEM_WARM_RESET: u32 = 0;
/// An entry point is an A64 instruction's address.
const ENTRY_ALIGNMENT: u64 = 4;

/// Answers a call of this service; `None` if it is none.
pub(super) fn answer(
    here: &Here<'_, '_>,
    machine: &mut impl Machine,
    call: &Call,
) -> Option<Answer> {
    Some(match call.function {
        psci::VERSION => Answer::code(i64::from(psci::VERSION_1_1)),
        psci::FEATURES => code(features(lower(call.argument(1)))),
        psci::CPU_ON_32 | psci::CPU_ON_64 => {
            let [target, entry, context] = [1, 2, 3].map(|index| call.argument(index));
            code(cpu_on(here, machine, target, Start { entry, context }))
        }
        psci::CPU_OFF => code(psci::INTERNAL_FAILURE).then(Next::Off),
        psci::CPU_SUSPEND_32 | psci::CPU_SUSPEND_64 => cpu_suspend(here, call),
        psci::AFFINITY_INFO_32 | psci::AFFINITY_INFO_64 => Answer::code(affinity_info(here, call)),
        psci::MIGRATE_INFO_TYPE => Answer::code(i64::from(psci::NO_TRUSTED_OS)),
        psci::SYSTEM_OFF => stop(Reason::Off),
        psci::SYSTEM_RESET => stop(Reason::Reset),
        psci::SYSTEM_RESET2_32 | psci::SYSTEM_RESET2_64 => match lower(call.argument(1)) {
            SYSTEM_WARM_RESET => stop(Reason::Reset),
            _ => code(psci::INVALID_PARAMETERS),
        },
        psci::SYSTEM_SUSPEND_32 | psci::SYSTEM_SUSPEND_64 => system_suspend(here, call),
        _ => return None,
    })
}

/// The answer to a call that concerns no vCPU, or switches one on.
#[inline(always)]
pub(super) fn at_once(
    here: &Here<'_, '_>,
    machine: &mut impl Machine,
    function: u32,
    [target, entry, context]: [u64; 3],
) -> Option<i32> {
    match function {
        psci::CPU_ON_64 => Some(cpu_on(here, machine, target, Start { entry, context })),
        psci::VERSION => i32::try_from(psci::VERSION_1_1).ok(),
        psci::FEATURES => Some(features(lower(target))),
        _ => None,
    }
}

fn code(code: i32) -> Answer {
    Answer::code(i64::from(code))
}

/// The calling vCPU never comes back from this call.
fn stop(reason: Reason) -> Answer {
    code(psci::INTERNAL_FAILURE).then(Next::Stop(reason))
}

/// The functions of this service that are there.
const FUNCTIONS: [u32; 16] = [
    psci::VERSION,
    psci::FEATURES,
    psci::CPU_ON_32,
    psci::CPU_ON_64,
    psci::CPU_OFF,
    psci::CPU_SUSPEND_32,
    psci::CPU_SUSPEND_64,
    psci::AFFINITY_INFO_32,
    psci::AFFINITY_INFO_64,
    psci::MIGRATE_INFO_TYPE,
    psci::SYSTEM_OFF,
    psci::SYSTEM_RESET,
    psci::SYSTEM_RESET2_32,
    psci::SYSTEM_RESET2_64,
    psci::SYSTEM_SUSPEND_32,
    psci::SYSTEM_SUSPEND_64,
];

/// The functions that are there as bits: bit n is the service's function n of the 32-bit convention, bit 32 + n that of the
/// 64-bit one.
pub const FUNCTION_BITS: u64 = {
    let mut bits = 0;
    let mut index = 0;
    while index < FUNCTIONS.len() {
        let function = FUNCTIONS[index];
        let wide = (function & smccc::SMC64 != 0) as u32;
        bits |= 1 << ((function & !smccc::SMC64) - psci::VERSION + 32 * wide);
        index += 1;
    }
    bits
};

/// `PSCI_FEATURES(function)`: the feature flags of a function that is there (5.15).
fn features(function: u32) -> i32 {
    // CPU_SUSPEND: original format of power_state, no OS-initiated mode. SYSTEM_RESET2 and the rest have no flags.
    if function == smccc::VERSION || FUNCTIONS.contains(&function) {
        psci::SUCCESS
    } else {
        psci::NOT_SUPPORTED
    }
}

/// The vCPU with this affinity: Aff0 is its number, the other fields are zero, and so is all else of the argument.
fn vcpu_at(here: &Here<'_, '_>, affinity: u64) -> Option<VcpuId> {
    let vcpu = VcpuId::new(u8::try_from(affinity).ok()?);
    here.partition.vcpu(vcpu).map(|_| vcpu)
}

/// Whether a vCPU can start at `entry`.
fn is_entry(here: &Here<'_, '_>, entry: u64) -> bool {
    entry.is_multiple_of(ENTRY_ALIGNMENT) && here.partition.has_ram_at(entry)
}

/// `CPU_ON(target, entry, context)` (5.6).
#[inline(always)]
fn cpu_on(here: &Here<'_, '_>, machine: &mut impl Machine, target: u64, start: Start) -> i32 {
    let Some(target) = vcpu_at(here, target).and_then(|vcpu| here.partition.vcpu(vcpu)) else {
        return psci::INVALID_PARAMETERS;
    };
    if !is_entry(here, start.entry) {
        return psci::INVALID_ADDRESS;
    }
    match target.power.switch_on(start) {
        Ok(()) => {
            machine.kick_on(target.cpu);
            psci::SUCCESS
        }
        Err(Refused::AlreadyOn) => psci::ALREADY_ON,
        Err(Refused::OnPending) => psci::ON_PENDING,
    }
}

/// `CPU_SUSPEND(power_state, entry, context)` (5.4): a standby state returns here, a power-down state at the entry point.
fn cpu_suspend(here: &Here<'_, '_>, call: &Call) -> Answer {
    let power_state = lower(call.argument(1));
    if power_state & POWER_STATE_RESERVED != 0 {
        return code(psci::INVALID_PARAMETERS);
    }
    if power_state & POWER_STATE_POWER_DOWN == 0 {
        return code(psci::SUCCESS).then(Next::Standby);
    }
    let start = Start {
        entry: call.argument(2),
        context: call.argument(3),
    };
    if !is_entry(here, start.entry) {
        return code(psci::INVALID_ADDRESS);
    }
    code(psci::SUCCESS).then(Next::Suspend(start))
}

/// `SYSTEM_SUSPEND(entry, context)` (5.20): only with every other vCPU off.
fn system_suspend(here: &Here<'_, '_>, call: &Call) -> Answer {
    let start = Start {
        entry: call.argument(1),
        context: call.argument(2),
    };
    let others_off = here
        .partition
        .vcpu_ids()
        .filter(|vcpu| *vcpu != here.vcpu)
        .all(|vcpu| {
            here.partition
                .vcpu(vcpu)
                .is_none_or(|vcpu| vcpu.power.state() == State::Off)
        });
    if !is_entry(here, start.entry) {
        code(psci::INVALID_ADDRESS)
    } else if !others_off {
        code(psci::DENIED)
    } else {
        code(psci::SUCCESS).then(Next::Suspend(start))
    }
}

/// `AFFINITY_INFO(affinity, lowest level)` (5.7). All vCPUs are in one instance of each level above 0.
fn affinity_info(here: &Here<'_, '_>, call: &Call) -> i64 {
    let (affinity, level) = (call.argument(1), lower(call.argument(2)));
    let invalid = i64::from(psci::INVALID_PARAMETERS);
    if level > MAX_LEVEL || affinity & !Mpidr::MASK != 0 {
        return invalid;
    }
    let state_of = |vcpu: VcpuId| {
        here.partition
            .vcpu(vcpu)
            .map_or(State::Off, |vcpu| vcpu.power.state())
    };
    if level == 0 {
        return vcpu_at(here, affinity)
            .map_or(invalid, |vcpu| i64::from(affinity_state(state_of(vcpu))));
    }
    // The fields below `level` are ignored; those from it up must name the one instance there is.
    let level_shift = if level == MAX_LEVEL { 32 } else { 8 * level };
    if affinity >> level_shift != 0 {
        return invalid;
    }
    let states = || {
        here.partition
            .vcpu_ids()
            .map(|vcpu| affinity_state(state_of(vcpu)))
    };
    let answer = if states().any(|state| state == psci::AFFINITY_ON) {
        psci::AFFINITY_ON
    } else if states().any(|state| state == psci::AFFINITY_ON_PENDING) {
        psci::AFFINITY_ON_PENDING
    } else {
        psci::AFFINITY_OFF
    };
    i64::from(answer)
}

const fn affinity_state(state: State) -> u32 {
    match state {
        State::Off => psci::AFFINITY_OFF,
        State::Reserved | State::OnPending => psci::AFFINITY_ON_PENDING,
        State::On | State::Suspended => psci::AFFINITY_ON,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_say_what_features_says() {
        for number in 0..32 {
            for (convention, function) in [(0, psci::VERSION), (32, psci::VERSION | smccc::SMC64)] {
                let known = FUNCTION_BITS >> (number + convention) & 1 == 1;
                assert_eq!(known, features(function + number) == psci::SUCCESS);
            }
        }
    }
}
