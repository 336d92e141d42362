//! The short path: exits that are done before the rest of the registers is saved.
//!
//! Each function answers 0 when the guest goes on, anything else when the core's loop has to look. What an exit needs
//! beyond X0 to X18 and X30, or a long look, is the loop's.

use super::machine::Hardware;
use crate::arm::registers::Registers;
use crate::arm::syndrome::{Class, Syndrome};
use crate::behaviour::here::Here;
use crate::behaviour::partition::{Counter, Statistics};
use crate::behaviour::{exit, hypercall, mmio, sysreg};
use crate::edge::context::{ACKNOWLEDGED, Context};
use crate::edge::gic::{FIRST_PPI, HostGic, POSTED, SPECIAL};
use crate::edge::{guest, init};
use crate::model::vgic::{DirectTable, DirectWord};

/// The guest goes on.
const DONE: u64 = 0;
/// The loop has to look.
const LEAVE: u64 = 1;
/// Bytes of an A64 instruction.
const LONG: u64 = 4;
/// The first INTID of an SPI.
const FIRST_SPI: u32 = 32;

/// What the short path knows of the core and its vCPU.
#[derive(Debug)]
pub struct Guest {
    /// The vCPU.
    pub here: Here<'static, 'static>,
    /// The core; the loop keeps it current.
    pub hardware: Hardware,
    /// What may be injected directly.
    direct: &'static DirectTable,
    /// The same, of the vCPU's private interrupts.
    private: &'static DirectWord,
    /// The vCPU's counters.
    statistics: &'static Statistics,
}

impl Guest {
    /// The vCPU of `here` on the core of `hardware`; `None` if the partition has no such vCPU.
    #[must_use]
    pub fn new(here: Here<'static, 'static>, hardware: Hardware) -> Option<Self> {
        let direct = &here.partition.direct;
        Some(Self {
            here,
            hardware,
            direct,
            private: direct.private(here.vcpu),
            statistics: &here.partition.vcpu(here.vcpu)?.statistics,
        })
    }
}

/// A synchronous exit.
pub extern "C" fn synchronous(context: &mut Context) -> u64 {
    let Some(guest) = &mut context.guest else {
        return LEAVE;
    };
    if context.version_calls != 0 {
        let calls = core::mem::take(&mut context.version_calls);
        guest.statistics.add(Counter::ShortCall, calls);
    }
    let syndrome = Syndrome::new(init::exception_syndrome());
    let registers = &mut context.registers;
    let done = match syndrome.class() {
        Class::Hvc64 if syndrome.immediate() == 0 => call(guest, registers, Counter::Hvc),
        Class::Smc64 if syndrome.immediate() == 0 => {
            call(guest, registers, Counter::Smc) && skip(registers)
        }
        Class::DataAbortLower => access(guest, registers, syndrome),
        Class::SystemRegister => system_register(guest, registers, syndrome),
        _ => false,
    };
    if done { DONE } else { LEAVE }
}

/// Whether the short path has saved general register `index`.
const fn is_saved(index: u8) -> bool {
    index <= 18 || index >= 30
}

/// Goes past the instruction that exited.
#[inline(always)]
fn skip(registers: &mut Registers) -> bool {
    guest::load_return(registers);
    registers.skip_instruction(true);
    guest::store_return(registers);
    true
}

/// A call whose answer takes no more than its arguments.
#[inline(always)]
fn call(guest: &Guest, registers: &mut Registers, counter: Counter) -> bool {
    let answered = hypercall::at_once(registers);
    if answered {
        guest.statistics.count(Counter::Exits);
        guest.statistics.count(counter);
    }
    answered
}

/// A load or store in a register frame of the virtual GIC that asks for nothing the list registers hold.
#[inline(always)]
fn access(guest: &mut Guest, registers: &mut Registers, syndrome: Syndrome) -> bool {
    let abort = syndrome.data_abort();
    let saved = abort
        .transfer
        .is_some_and(|transfer| is_saved(transfer.register));
    if !saved || syndrome.instruction_length() != LONG {
        return false;
    }
    let (far, hpfar) = init::fault_address();
    let exit = exit::Exit {
        esr: syndrome.get(),
        far,
        hpfar,
    };
    let done = mmio::at_once(&guest.here, &mut guest.hardware, registers, &exit, &abort);
    if done {
        guest.statistics.count(Counter::Exits);
        guest.statistics.count(Counter::Mmio);
    }
    done && skip(registers)
}

/// A write that sends SGIs.
#[inline(always)]
fn system_register(guest: &mut Guest, registers: &mut Registers, syndrome: Syndrome) -> bool {
    let access = syndrome.system_register();
    if !is_saved(access.register)
        || !sysreg::at_once(&guest.here, &mut guest.hardware, registers, access)
    {
        return false;
    }
    guest.statistics.count(Counter::Exits);
    guest.statistics.count(Counter::SystemRegister);
    skip(registers)
}

/// A physical interrupt: acknowledged, its priority dropped, and given to the guest through a list register if the
/// model need not be asked.
pub extern "C" fn interrupt(context: &mut Context) -> u64 {
    let Some(guest) = &context.guest else {
        return LEAVE;
    };
    let gic = &guest.hardware.host.gic;
    let iar = gic.acknowledge();
    let intid = gic.intid(iar);
    if intid >= SPECIAL {
        return LEAVE;
    }
    gic.drop_priority(iar);
    // Physical SGIs are EL2's own: a guest's never reach the physical controller.
    let done = if intid >= FIRST_PPI {
        inject(guest, gic, intid)
    } else {
        intid == POSTED && take_posted(guest, gic, iar)
    };
    if done {
        guest.statistics.count(Counter::Direct);
        return DONE;
    }
    context.acknowledged = ACKNOWLEDGED | u64::from(iar);
    LEAVE
}

/// Puts `intid` into a free list register, if that is all there is to do.
#[inline(always)]
fn inject(guest: &Guest, gic: &HostGic, intid: u32) -> bool {
    let value = if intid < FIRST_SPI {
        guest.private.private(intid)
    } else {
        let narrow = u16::try_from(intid).unwrap_or(u16::MAX);
        guest.direct.direct(guest.here.vcpu, narrow)
    };
    if value == 0 || guest.hardware.overflow {
        return false;
    }
    let empty = gic.empty_list_registers();
    if empty & 1 == 1 {
        gic.write_list_register(0, value);
        return true;
    }
    inject_further(gic, empty, value)
}

/// As [`inject`], when the first list register is in use.
#[inline(never)]
fn inject_further(gic: &HostGic, empty: u32, value: u64) -> bool {
    let free = empty.trailing_zeros() as usize;
    let there = free < gic.list_registers();
    if there {
        gic.write_list_register(free, value);
    }
    there
}

/// Takes what another core posted, if it is one SGI and no list register is in use.
#[inline(always)]
fn take_posted(guest: &Guest, gic: &HostGic, iar: u32) -> bool {
    let all = u32::MAX >> (32 - gic.list_registers().clamp(1, 32));
    if guest.hardware.overflow || gic.empty_list_registers() & all != all {
        return false;
    }
    let value = guest
        .direct
        .take_one(guest.here.vcpu, guest.here.partition.gic_version);
    if value == 0 {
        return false;
    }
    gic.deactivate(iar);
    gic.write_list_register(0, value);
    true
}
