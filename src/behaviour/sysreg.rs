//! stub
use super::exit::{Next, undefined}; use super::here::Here; use super::machine::Machine; use crate::arm::registers::Registers;
pub fn trapped(_here: &Here<'_, '_>, machine: &mut impl Machine, registers: &mut Registers, _iss: u32) -> Next { undefined(machine, registers, true) }
