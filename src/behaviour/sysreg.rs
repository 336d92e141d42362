//! Trapped system registers: `arm::sysreg` says what each is to a partition, this does it.

use super::exit::{Next, undefined};
use super::here::Here;
use super::machine::Machine;
use super::partition::Counter;
use crate::arm::registers::Registers;
use crate::arm::syndrome::{Encoding, SystemAccess};
use crate::arm::sysreg::{Policy, SgiGroup, policy};
use crate::model::vgic::GicVersion;

/// The INTID field of ICC_DIR_EL1.
const DIR_INTID: u64 = 0xff_ffff;

/// Handles a trapped access to a system register or a trapped system instruction.
pub fn trapped(
    here: &Here<'_, '_>,
    machine: &mut impl Machine,
    registers: &mut Registers,
    access: SystemAccess,
) -> Next {
    here.count(Counter::SystemRegister);
    let value = registers.get(access.register);
    match policy(access.encoding, access.read, machine.rights()) {
        Policy::ReadAs(fixed) if access.read => registers.set(access.register, fixed),
        Policy::IdRegister(register) => {
            registers.set(access.register, machine.id_register(register))
        }
        Policy::ReadAs(_) | Policy::WriteIgnored => {}
        Policy::SetWay => {
            if !machine.maintain_set_way(value) {
                // Between two parts the core takes its interrupts.
                return Next::Resume;
            }
        }
        Policy::Sgi(group) => sgi(here, machine, group, value),
        Policy::Deactivate => deactivate(here, machine, value),
        Policy::Undefined => return undefined(here, machine, registers),
    }
    registers.skip_instruction(true);
    Next::Resume
}

/// Handles the access if it sends SGIs that need no look at the model; else nothing has changed.
#[inline(always)]
pub fn at_once(
    here: &Here<'_, '_>,
    machine: &mut impl Machine,
    registers: &Registers,
    access: SystemAccess,
) -> bool {
    access.encoding == Encoding::ICC_SGI1R_EL1
        && !access.read
        && here.partition.gic_version == GicVersion::V3
        && here.post(machine, registers.get(access.register))
}

/// Sends the SGIs a write to ICC_SGInR_EL1 asks for. There is one security state: what is not ICC_SGI1R_EL1 reaches
/// group 0 alone (IHI 0069 12.2).
fn sgi(here: &Here<'_, '_>, machine: &mut impl Machine, group: SgiGroup, value: u64) {
    here.with(machine, |vgic, effects| match group {
        SgiGroup::Group1 => vgic.send_sgi1r(here.vcpu, value, effects),
        SgiGroup::Group0 | SgiGroup::OtherGroup1 => vgic.send_sgi0r(here.vcpu, value, effects),
    });
}

/// Ends an interrupt whose list register was needed: trapped only while there are such.
fn deactivate(here: &Here<'_, '_>, machine: &mut impl Machine, value: u64) {
    let Ok(intid) = u16::try_from(value & DIR_INTID) else {
        return;
    };
    here.with_folded(machine, |vgic, effects| {
        vgic.deactivate(here.vcpu, intid, effects)
    });
}
