//! stub
#![allow(missing_docs)]
use super::exit::{Next, undefined};
use super::here::Here;
use super::machine::Machine;
use crate::arm::registers::Registers;
pub fn trapped(here: &Here<'_, '_>, machine: &mut impl Machine, registers: &mut Registers, iss: u32) -> Next {
    let f = |shift: u32, mask: u32| u8::try_from(iss >> shift & mask).unwrap_or(0);
    let (op0, op2, op1, crn, rt, crm, read) = (f(20, 3), f(17, 7), f(14, 7), f(10, 15), f(5, 31), f(1, 15), iss & 1 == 1);
    match (op0, op1, crn, crm, op2) {
        (3, 0, 0, 1..=7, _) if read => registers.set(rt, machine.id_register(crm, op2)),
        (3, 0, 12, 11, 5..=7) if !read => {
            let v = registers.get(rt);
            here.with(machine, |vgic, effects| vgic.send_sgi1r(here.vcpu, v, effects));
        }
        (3, 0, 0, 0, 6) | (3, 1, 0, 0, 7) if read => registers.set(rt, 0),
        (3, 0, 1, 0, 1) => if read { registers.set(rt, 0) },
        (1, 0, 7, _, 2) => {}
        _ => return undefined(machine, registers, true),
    }
    registers.skip_instruction(true);
    Next::Resume
}
