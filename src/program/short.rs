//! The short path: exits that are done before the rest of the registers is saved.
//!
//! Each function answers 0 when the guest goes on, anything else when the core's loop has to look. What an exit needs
//! beyond X0 to X18 and X30, or a long look, is the loop's.

use super::machine::Hardware;
use crate::arm::registers::Registers;
use crate::arm::syndrome::{Class, Syndrome, fault_ipa};
use crate::behaviour::here::Here;
use crate::behaviour::partition::{Counter, Statistics};
use crate::behaviour::{hypercall, mmio, sysreg};
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
    match syndrome.class() {
        Class::Hvc64 if syndrome.immediate() == 0 => call(context, Counter::Hvc),
        Class::Smc64 if syndrome.immediate() == 0 => call(context, Counter::Smc),
        Class::DataAbortLower => access(context, syndrome),
        Class::SystemRegister => system_register(context, syndrome),
        _ => LEAVE,
    }
}

/// Whether the short path has saved general register `index`.
const fn is_saved(index: u8) -> bool {
    index <= 18 || index >= 30
}

/// Goes past the instruction that exited, which was one of AArch64.
#[inline(always)]
fn skip(registers: &mut Registers) -> u64 {
    guest::load_return(registers);
    registers.skip_a64();
    guest::store_return(registers);
    DONE
}

/// A call whose answer takes no more than its arguments.
fn call(context: &mut Context, counter: Counter) -> u64 {
    let Some(guest) = &context.guest else {
        return LEAVE;
    };
    if !hypercall::at_once(&mut context.registers) {
        return own_call(context, counter);
    }
    count_call(guest, counter);
    done(context, counter)
}

/// A call of Bulkhead's own that is as short.
#[inline(never)]
fn own_call(context: &mut Context, counter: Counter) -> u64 {
    let Some(guest) = &mut context.guest else {
        return LEAVE;
    };
    if !hypercall::own_at_once(&guest.here, &mut guest.hardware, &mut context.registers) {
        return LEAVE;
    }
    count_call(guest, counter);
    done(context, counter)
}

#[inline(always)]
fn count_call(guest: &Guest, counter: Counter) {
    guest.statistics.count(Counter::Exits);
    guest.statistics.count(counter);
}

/// Goes on behind the call.
#[inline(always)]
fn done(context: &mut Context, counter: Counter) -> u64 {
    // HVC has left its instruction behind already.
    if counter == Counter::Smc {
        skip(&mut context.registers)
    } else {
        DONE
    }
}

/// A load or store of a word of the virtual GIC that asks for nothing the list registers hold.
fn access(context: &mut Context, syndrome: Syndrome) -> u64 {
    let Some(guest) = &mut context.guest else {
        return LEAVE;
    };
    let abort = syndrome.data_abort();
    let Some(transfer) = abort.transfer else {
        return LEAVE;
    };
    if !is_saved(transfer.register) || syndrome.instruction_length() != LONG || guest::is_unusual()
    {
        return LEAVE;
    }
    let (far, hpfar) = init::fault_address();
    let Some(register) = mmio::word_at_once(&guest.here, &abort, &transfer, fault_ipa(hpfar, far))
    else {
        return LEAVE;
    };
    if abort.write {
        return store(context, register, transfer.register);
    }
    let value = transfer.loaded(guest.here.read_at_once(register));
    context.registers.set(transfer.register, value);
    count_access(guest);
    skip(&mut context.registers)
}

/// The store of [`access`].
#[inline(never)]
fn store(context: &mut Context, register: mmio::Register, from: u8) -> u64 {
    let Some(guest) = &mut context.guest else {
        return LEAVE;
    };
    let value = context.registers.get(from);
    if !mmio::store_at_once(&guest.here, &mut guest.hardware, register, value) {
        return LEAVE;
    }
    count_access(guest);
    skip(&mut context.registers)
}

#[inline(always)]
fn count_access(guest: &Guest) {
    guest.statistics.count(Counter::Exits);
    guest.statistics.count(Counter::Mmio);
}

/// A write that sends SGIs.
fn system_register(context: &mut Context, syndrome: Syndrome) -> u64 {
    let Some(guest) = &mut context.guest else {
        return LEAVE;
    };
    let access = syndrome.system_register();
    if !is_saved(access.register)
        || !sysreg::at_once(&guest.here, &mut guest.hardware, &context.registers, access)
    {
        return LEAVE;
    }
    guest.statistics.count(Counter::Exits);
    guest.statistics.count(Counter::SystemRegister);
    skip(&mut context.registers)
}

/// A physical interrupt: acknowledged, its priority dropped, and given to the guest through a list register if the
/// model need not be asked.
pub extern "C" fn interrupt(context: &mut Context) -> u64 {
    let Some(guest) = &mut context.guest else {
        return LEAVE;
    };
    let delivery = guest.hardware.host.gic.deliver(|intid| {
        let private = (FIRST_PPI..FIRST_SPI).contains(&intid);
        if guest.hardware.overflow {
            0
        } else if private {
            guest.private.private(intid)
        } else if intid >= FIRST_SPI {
            guest.direct.shared(guest.here.vcpu, intid)
        } else {
            0
        }
    });
    if delivery.done {
        guest.hardware.listed = delivery.intid;
        guest.statistics.count(Counter::Direct);
        return DONE;
    }
    interrupt_further(context, delivery.iar, delivery.intid)
}

/// As [`interrupt`], for what is no device's or timer's interrupt into an empty first list register.
#[inline(never)]
fn interrupt_further(context: &mut Context, iar: u32, intid: u32) -> u64 {
    let Some(guest) = &mut context.guest else {
        return LEAVE;
    };
    if intid >= SPECIAL {
        return LEAVE;
    }
    if intid == guest.hardware.host.maintenance && end_listed(guest, iar) {
        guest.statistics.count(Counter::Exits);
        guest.statistics.count(Counter::Maintenance);
        return DONE;
    }
    guest.hardware.listed = 0;
    let gic = &guest.hardware.host.gic;
    // Physical SGIs are EL2's own: a guest's never reach the physical controller.
    let done = !guest.hardware.overflow
        && if intid >= FIRST_PPI {
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

/// Ends the physical interrupt that [`interrupt`] put into list register 0, if its end is all that there is maintenance for:
/// where the hardware does not.
#[inline(always)]
fn end_listed(guest: &mut Guest, iar: u32) -> bool {
    let gic = &guest.hardware.host.gic;
    let listed = core::mem::take(&mut guest.hardware.listed);
    if listed == 0 || guest.hardware.overflow || gic.ended_list_registers() != 1 {
        return false;
    }
    gic.write_list_register(0, 0);
    gic.deactivate(listed);
    gic.deactivate(iar);
    true
}

/// Puts `intid` into a free list register, if that is all there is to do.
#[inline(always)]
fn inject(guest: &Guest, gic: &HostGic, intid: u32) -> bool {
    let narrow = u16::try_from(intid).unwrap_or(u16::MAX);
    let value = guest.direct.direct(guest.here.vcpu, narrow);
    let free = gic.empty_list_registers().trailing_zeros() as usize;
    if value == 0 || free >= gic.list_registers() {
        return false;
    }
    gic.write_list_register(free, value);
    true
}

/// Takes what another core posted, if it is one SGI and no list register is in use.
#[inline(always)]
fn take_posted(guest: &Guest, gic: &HostGic, iar: u32) -> bool {
    let all = u32::MAX >> (32 - gic.list_registers().clamp(1, 32));
    if gic.empty_list_registers() & all != all {
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
