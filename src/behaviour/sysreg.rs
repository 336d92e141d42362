//! stub
#![allow(missing_docs)]
use super::exit::{Next, undefined};
use super::here::Here;
use super::machine::Machine;
use crate::arm::registers::Registers;
use crate::arm::syndrome::{Encoding, SystemAccess};
pub fn trapped(here: &Here<'_, '_>, machine: &mut impl Machine, registers: &mut Registers, access: SystemAccess) -> Next {
    let Encoding {op0, op1, crn, crm, op2} = access.encoding; let rt = access.register; let read = access.read;
    match (op0, op1, crn, crm, op2) {
        (3, 0, 0, 1..=7, _) if read => registers.set(rt, crate::arm::id::IdRegister::new(crm, op2).map_or(0, |r| machine.id_register(r))),
        (3, 0, 12, 11, 5..=7) if !read => {
            let v = registers.get(rt);
            here.with(machine, |vgic, effects| vgic.send_sgi1r(here.vcpu, v, effects));
        }
        (3, 0, 0, 0, 6) | (3, 1, 0, 0, 7) if read => registers.set(rt, 0),
        (3, 0, 1, 0, 1) => if read { registers.set(rt, 0) },
        (1, 0, 7, _, 2) => {}
        _ => return undefined(machine, registers),
    }
    registers.skip_instruction(true);
    Next::Resume
}
