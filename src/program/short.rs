//! The short path: exits that are done before the rest of the registers is saved.
//!
//! Each function answers 0 when the guest goes on, anything else when the core's loop has to look. What an exit needs
//! beyond X0 to X18 and X30, or a long look, is the loop's. The commonest forms of an exit are recognised whole, by a
//! compare with the syndrome they have; what is a little out of the ordinary goes to `further`, which is still short.

use super::machine::Hardware;
use crate::arm::list_register::GicVersion;
use crate::arm::registers::{INSTRUCTION, Registers};
use crate::arm::syndrome::{self, Class, Syndrome, fault_ipa};
use crate::behaviour::here::Here;
use crate::behaviour::partition::{Counter, Statistics};
use crate::behaviour::{hypercall, mmio, sysreg};
use crate::edge::context::{ACKNOWLEDGED, Calls, Context};
use crate::edge::gic::{FIRST_PPI, HostGic, Interface, POSTED, SPECIAL, SystemRegisters, V2};
use crate::edge::{guest, init};
use crate::model::vgic::{Posted, Vgic, post_to};
use bulkhead_abi::layout;
use spin::mutex::SpinMutex;

/// The guest goes on.
const DONE: u64 = 0;
/// The loop has to look.
const LEAVE: u64 = 1;
/// The first INTID of an SPI.
const FIRST_SPI: u32 = 32;
/// Private interrupts that are no SGIs.
const PPIS: u32 = FIRST_SPI - FIRST_PPI;
/// The highest of the registers that are saved in a row.
const LAST_SAVED: u64 = 18;

/// HPFAR_EL2 of the distributor's first page: the page's number from bit 4 on (Arm ARM D24.2.66).
const DISTRIBUTOR: u64 = layout::GICD_BASE >> 8;
/// The same of the page of vCPU 0's private interrupts, and from one vCPU to the next.
const PRIVATE: u64 = (layout::GICR_BASE + 0x1_0000) >> 8;
const STRIDE: u64 = layout::GICR_STRIDE >> 8;
/// Offset in a page.
const PAGE_OFFSET: u64 = 0xfff;
/// GICD_TYPER.
const TYPER: u64 = 0x004;
/// ISENABLER0 and ICENABLER0: 32 registers each, the same in the distributor and a redistributor.
const SWITCHES: u64 = 0x100;
const SWITCHES_MASK: u64 = 0xf03;
/// Set in the offset of an ICENABLER.
const CLEARS: u64 = 0x080;
/// GICD_SGIR.
const SGIR: u64 = 0xf00;

/// vCPUs that ICC_SGI1R_EL1's target list can name; GICD_SGIR's has half as many.
const TARGETS: usize = 16;

/// A vCPU that SGIs are sent to.
#[derive(Clone, Copy, Debug)]
struct Peer {
    /// Where they are posted; nowhere for the vCPU itself, and before it is known how the core is told.
    posted: Option<&'static Posted>,
    /// How it is told.
    order: u64,
}

/// What the short path knows of the core and its vCPU.
#[derive(Debug)]
#[repr(C)]
pub struct Guest {
    /// What vectors.S answers calls with.
    pub calls: Calls,
    /// The vCPU.
    pub here: Here<'static, 'static>,
    /// The core.
    pub hardware: Hardware,
    /// The vCPU's counters.
    statistics: &'static Statistics,
    /// The core's interface, if the controller is a GICv2.
    v2: Option<V2>,
    /// What is posted to the vCPU.
    posted: &'static Posted,
    /// The partition's virtual GIC.
    interrupts: &'static SpinMutex<Vgic>,
    /// The list registers there are, as bits.
    lists: u32,
    /// The vCPU's bit.
    own: u8,
    /// The partition's vCPUs, as many as a target list has.
    peers: [Peer; TARGETS],
    /// Whether it is known how each of them is reached.
    knows_peers: bool,
    /// HPFAR_EL2 of the vCPU's own private interrupts' page.
    private_page: u64,
}

impl Guest {
    /// The vCPU of `here` on the core of `hardware`; `None` if the partition has no such vCPU.
    #[must_use]
    pub fn new(here: Here<'static, 'static>, hardware: Hardware) -> Option<Self> {
        let partition = here.partition;
        let statistics = &partition.vcpu(here.vcpu)?.statistics;
        let gic = &hardware.host.gic;
        let per_second = init::counter_frequency();
        let whole = per_second.is_multiple_of(1000);
        let limit = partition.plan.heartbeat_ms.filter(|_| whole).unwrap_or(0);
        Some(Self {
            calls: Calls {
                answered: statistics.word(Counter::ShortCall),
                beat_limit: limit.into(),
                ticks: per_second / 1000,
                heartbeat: &partition.heartbeat,
            },
            here,
            hardware,
            statistics,
            v2: match gic {
                HostGic::V2(gic) => Some(*gic),
                HostGic::V3(_) => None,
            },
            posted: partition.direct.posted(here.vcpu),
            interrupts: &partition.interrupts,
            lists: u32::MAX >> (32 - gic.list_registers().clamp(1, 32)),
            own: 1 << (here.vcpu.get() & 7),
            peers: [Peer {
                posted: None,
                order: 0,
            }; TARGETS],
            knows_peers: false,
            private_page: PRIVATE + STRIDE * u64::from(here.vcpu.get()),
        })
    }

    /// Learns how the partition's cores are reached, those that are up, until all are.
    #[inline(always)]
    pub fn learn_peers(&mut self) {
        if !self.knows_peers {
            self.learn();
        }
    }

    #[inline(never)]
    fn learn(&mut self) {
        let partition = self.here.partition;
        let vcpus = partition.vcpu_ids().zip(&partition.cpus);
        self.knows_peers = true;
        for (peer, (vcpu, cpu)) in self.peers.iter_mut().zip(vcpus) {
            let order = self.hardware.host.gic.order(*cpu, POSTED);
            self.knows_peers &= order.is_some();
            let order = order.filter(|_| vcpu != self.here.vcpu);
            *peer = Peer {
                posted: order.map(|_| partition.direct.posted(vcpu)),
                order: order.unwrap_or(0),
            };
        }
    }

    /// Whether no list register is in use.
    #[inline(always)]
    fn is_idle(&self, interface: impl Interface) -> bool {
        interface.empty_list_registers() & self.lists == self.lists
    }
}

/// A synchronous exit, where the controller is a GICv2.
pub extern "C" fn synchronous_v2(context: &mut Context, guest: &mut Guest, esr: u64) -> u64 {
    match guest.v2 {
        Some(interface) => synchronous(context, guest, interface, esr),
        None => LEAVE,
    }
}

/// A synchronous exit, where the controller is a GICv3.
pub extern "C" fn synchronous_v3(context: &mut Context, guest: &mut Guest, esr: u64) -> u64 {
    synchronous(context, guest, SystemRegisters, esr)
}

/// An interrupt, where the controller is a GICv2.
pub extern "C" fn interrupt_v2(context: &mut Context, guest: &mut Guest) -> u64 {
    match guest.v2 {
        Some(interface) => interrupt(context, guest, interface),
        None => LEAVE,
    }
}

/// An interrupt, where the controller is a GICv3.
pub extern "C" fn interrupt_v3(context: &mut Context, guest: &mut Guest) -> u64 {
    interrupt(context, guest, SystemRegisters)
}

#[inline(always)]
fn synchronous<I: Interface>(
    context: &mut Context,
    guest: &mut Guest,
    interface: I,
    esr: u64,
) -> u64 {
    if I::VERSION == GicVersion::V3 && syndrome::is_sgi1r_write(esr) {
        return sgi1r(context, guest, interface, esr);
    }
    if syndrome::is_plain_word_access(esr) {
        return word(context, guest, interface, esr);
    }
    further(context, guest, Syndrome::new(esr))
}

/// A load or store of a word, of a register that the syndrome names.
#[inline(always)]
fn word<I: Interface>(context: &mut Context, guest: &mut Guest, interface: I, esr: u64) -> u64 {
    let index = syndrome::transfer_register(esr);
    if guest::is_odd() || guest::is_unusual_data() || index > LAST_SAVED {
        return further(context, guest, Syndrome::new(esr));
    }
    let (far, hpfar) = init::fault_address();
    let offset = far & PAGE_OFFSET;
    let own = I::VERSION == GicVersion::V3 && hpfar == guest.private_page;
    if hpfar != DISTRIBUTOR && !own {
        return further(context, guest, Syndrome::new(esr));
    }
    if I::VERSION == GicVersion::V2 && offset == SGIR && syndrome::is_write(esr) {
        return sgir(context, guest, interface, esr);
    }
    let switches = offset & SWITCHES_MASK == SWITCHES;
    // A GICv2's distributor has the private interrupts in word 0; a GICv3's has none there.
    let word = if own { 0 } else { offset >> 2 & 31 };
    let private = own || I::VERSION == GicVersion::V2 && word == 0;
    if !syndrome::is_write(esr) {
        let direct = &guest.here.partition.direct;
        let value = if switches && private {
            direct.enabled(0, Some(guest.here.vcpu))
        } else if switches {
            direct.enabled(narrow(word), None)
        } else if offset == TYPER && !own {
            direct.typer()
        } else {
            return further(context, guest, Syndrome::new(esr));
        };
        if let Some(register) = register(&mut context.registers, index) {
            *register = value.into();
        }
        guest.statistics.count(Counter::ShortAccess);
        guest::skip_plain();
        DONE
    } else if switches {
        switch(context, guest, interface, esr, (word, private), offset)
    } else {
        further(context, guest, Syndrome::new(esr))
    }
}

/// A write to GICD_SGIR.
#[inline(always)]
fn sgir<I: Interface>(context: &mut Context, guest: &mut Guest, interface: I, esr: u64) -> u64 {
    let index = syndrome::transfer_register(esr);
    let value = register(&mut context.registers, index).map_or(0, |register| *register);
    // CPUTargetList, with the filter above it (IHI 0048B 4.3.15): one that does not mean the list names nobody here.
    if !send(guest, interface, value & 0xf, value >> 16 & 0xffff) {
        return further(context, guest, Syndrome::new(esr));
    }
    guest.statistics.count(Counter::ShortAccess);
    guest::skip_plain();
    DONE
}

/// A write to ICC_SGI1R_EL1.
#[inline(always)]
fn sgi1r<I: Interface>(context: &mut Context, guest: &mut Guest, interface: I, esr: u64) -> u64 {
    let index = syndrome::moved_register(esr);
    if guest::is_odd() || index > LAST_SAVED {
        return further(context, guest, Syndrome::new(esr));
    }
    let value = register(&mut context.registers, index).map_or(0, |register| *register);
    // Affinities, the range and the routing mode all zero: the list means this partition's vCPUs (IHI 0069H 12.2.20).
    if value & 0x00ff_f1ff_00ff_0000 != 0
        || !send(guest, interface, value >> 24 & 0xf, value & 0xffff)
    {
        return further(context, guest, Syndrome::new(esr));
    }
    guest.statistics.count(Counter::ShortSgi);
    guest::skip_plain();
    DONE
}

/// General register `index`, if it is one of those that are saved in a row.
#[inline(always)]
fn register(registers: &mut Registers, index: u64) -> Option<&mut u64> {
    if index > LAST_SAVED {
        return None;
    }
    registers.x.get_mut(usize::try_from(index).unwrap_or(0))
}

/// The lower half.
#[inline(always)]
fn narrow(value: u64) -> u32 {
    crate::words::lower_half(value)
}

/// A write at `offset`, one of the ISENABLERs and ICENABLERs: of `word`, and whether that is the vCPU's own word 0.
#[inline(never)]
fn switch<I: Interface>(
    context: &mut Context,
    guest: &mut Guest,
    interface: I,
    esr: u64,
    (word, private): (u64, bool),
    offset: u64,
) -> u64 {
    let on = offset & CLEARS == 0;
    let index = syndrome::transfer_register(esr);
    let mask = register(&mut context.registers, index).map_or(0, |register| narrow(*register));
    // A GICv3's distributor has nothing in word 0.
    if word != 0 || private {
        let (here, word) = (&guest.here, narrow(word));
        let idle = || guest.is_idle(interface);
        let direct = &here.partition.direct;
        // Who finds it locked waits in the loop, where a core that died with it is found.
        let Some(mut vgic) = guest.interrupts.try_lock() else {
            return LEAVE;
        };
        let physical = vgic.switch_at_once(word as usize, here.vcpu, mask, on, idle, direct);
        let Some(physical) = physical else {
            drop(vgic);
            return further(context, guest, Syndrome::new(esr));
        };
        if physical != 0 {
            // Still under the lock, so that the controller sees the changes in the model's order.
            let (gic, cpu) = (&guest.hardware.host.gic, guest.hardware.cpu);
            if on {
                gic.enable(word, physical, cpu);
            } else {
                gic.disable(word, physical, cpu);
            }
        }
    }
    guest.statistics.count(Counter::ShortAccess);
    guest::skip_plain();
    DONE
}

/// Sends SGI `sgi` to the vCPU itself or to one other, the bits of `targets`; `false`, and nothing has changed, if there are
/// more or it takes longer.
#[inline(always)]
fn send<I: Interface>(guest: &mut Guest, interface: I, sgi: u64, targets: u64) -> bool {
    if targets & targets.wrapping_sub(1) != 0 {
        return false;
    }
    let Some(target) = guest.peers.get(targets.trailing_zeros() as usize) else {
        return false;
    };
    let Some(posted) = target.posted else {
        return targets == u64::from(guest.own) && send_to_self(guest, interface, sgi);
    };
    post_to(posted, guest.own, narrow(sgi), I::VERSION);
    interface.send(target.order);
    true
}

/// Puts SGI `sgi` into a list register of the vCPU itself, if none is in use.
#[inline(always)]
fn send_to_self<I: Interface>(guest: &Guest, interface: I, sgi: u64) -> bool {
    match guest.hardware.private.ready(narrow(sgi)) {
        Some(value) if guest.is_idle(interface) => {
            interface.write_list_register(0, value);
            true
        }
        _ => false,
    }
}

/// What is not recognised at once, but still short.
#[inline(never)]
fn further(context: &mut Context, guest: &mut Guest, syndrome: Syndrome) -> u64 {
    match syndrome.class() {
        Class::Hvc64 if syndrome.immediate() == 0 => call(context, guest, Counter::Hvc),
        Class::Smc64 if syndrome.immediate() == 0 => call(context, guest, Counter::Smc),
        Class::DataAbortLower => access(context, guest, syndrome),
        Class::SystemRegister => system_register(context, guest, syndrome),
        _ => LEAVE,
    }
}

/// Whether the short path has saved general register `index`.
const fn is_saved(index: u8) -> bool {
    index <= 18 || index >= 30
}

/// Goes past the instruction that exited, which was one of AArch64.
fn skip(registers: &mut Registers) -> u64 {
    guest::load_return(registers);
    registers.skip_a64();
    guest::store_return(registers);
    DONE
}

/// A call whose answer takes no more than its arguments.
fn call(context: &mut Context, guest: &mut Guest, counter: Counter) -> u64 {
    let registers = &mut context.registers;
    if !hypercall::at_once(&guest.here, &mut guest.hardware, registers) {
        return LEAVE;
    }
    guest.statistics.count(Counter::Exits);
    guest.statistics.count(counter);
    // HVC has left its instruction behind already.
    if counter == Counter::Smc {
        skip(registers)
    } else {
        DONE
    }
}

/// A load or store of a word of the virtual GIC that asks for nothing the list registers hold.
fn access(context: &mut Context, guest: &mut Guest, syndrome: Syndrome) -> u64 {
    let abort = syndrome.data_abort();
    let Some(transfer) = abort.transfer else {
        return LEAVE;
    };
    if !is_saved(transfer.register)
        || syndrome.instruction_length() != INSTRUCTION
        || guest::is_unusual()
    {
        return LEAVE;
    }
    let (far, hpfar) = init::fault_address();
    let Some(register) = mmio::word_at_once(&guest.here, &abort, &transfer, fault_ipa(hpfar, far))
    else {
        return LEAVE;
    };
    if abort.write {
        let value = context.registers.get(transfer.register);
        if !mmio::store_at_once(&guest.here, &mut guest.hardware, register, value) {
            return LEAVE;
        }
    } else {
        let value = transfer.loaded(guest.here.read_at_once(register));
        context.registers.set(transfer.register, value);
    }
    guest.statistics.count(Counter::ShortAccess);
    skip(&mut context.registers)
}

/// A write that sends SGIs.
fn system_register(context: &mut Context, guest: &mut Guest, syndrome: Syndrome) -> u64 {
    let access = syndrome.system_register();
    if !is_saved(access.register)
        || !sysreg::at_once(&guest.here, &mut guest.hardware, &context.registers, access)
    {
        return LEAVE;
    }
    guest.statistics.count(Counter::ShortSgi);
    skip(&mut context.registers)
}

/// A physical interrupt: acknowledged, its priority dropped, and given to the guest through a list register if the
/// model need not be asked.
#[inline(always)]
fn interrupt<I: Interface>(context: &mut Context, guest: &mut Guest, interface: I) -> u64 {
    if I::VERSION == GicVersion::V2 && guest.hardware.listed != 0 && end_listed(guest, interface) {
        return DONE;
    }
    let iar = interface.acknowledge();
    let intid = iar & I::INTID;
    let value = if intid.wrapping_sub(FIRST_PPI) < PPIS {
        guest.hardware.private.direct(intid)
    } else if intid == POSTED {
        return posted(context, guest, interface, iar);
    } else {
        guest.hardware.direct.shared(guest.here.vcpu, intid)
    };
    if value == 0 || interface.empty_list_registers() & 1 == 0 {
        return interrupt_further(context, guest, interface, iar);
    }
    interface.drop_priority(iar);
    interface.write_list_register(0, value);
    if I::VERSION == GicVersion::V2 {
        guest.hardware.listed = intid;
    }
    guest.statistics.count(Counter::Direct);
    DONE
}

/// EL2's word that SGIs were posted to the vCPU: taken at once if it is one and no list register is in use.
#[inline(always)]
fn posted<I: Interface>(context: &mut Context, guest: &mut Guest, interface: I, iar: u32) -> u64 {
    interface.drop_priority(iar);
    let taken = if guest.is_idle(interface) {
        guest.hardware.private.take_one(guest.posted, I::VERSION)
    } else {
        None
    };
    let Some(value) = taken else {
        context.acknowledged = ACKNOWLEDGED | u64::from(iar);
        return LEAVE;
    };
    interface.deactivate(iar);
    interface.write_list_register(0, value);
    guest.statistics.count(Counter::Direct);
    DONE
}

/// As [`interrupt`], for what does not go into an empty first list register; `iar` was acknowledged, no more.
#[inline(never)]
fn interrupt_further<I: Interface>(
    context: &mut Context,
    guest: &mut Guest,
    interface: I,
    iar: u32,
) -> u64 {
    let intid = iar & I::INTID;
    if intid >= SPECIAL {
        return LEAVE;
    }
    interface.drop_priority(iar);
    guest.hardware.listed = 0;
    if intid >= FIRST_PPI && inject(guest, interface, intid) {
        guest.statistics.count(Counter::Direct);
        return DONE;
    }
    context.acknowledged = ACKNOWLEDGED | u64::from(iar);
    LEAVE
}

/// Ends the physical interrupt that [`interrupt`] put into list register 0, where the hardware does not, if that is all that
/// there is maintenance for. The maintenance interrupt is a level: with its cause gone it need not be acknowledged.
#[inline(always)]
fn end_listed<I: Interface>(guest: &mut Guest, interface: I) -> bool {
    if interface.ended_list_registers() != 1 {
        return false;
    }
    interface.write_list_register(0, 0);
    interface.deactivate(guest.hardware.listed);
    guest.hardware.listed = 0;
    guest.statistics.count(Counter::ShortMaintenance);
    true
}

/// Puts `intid` into a free list register, if that is all there is to do.
#[inline(always)]
fn inject<I: Interface>(guest: &Guest, interface: I, intid: u32) -> bool {
    let narrow = u16::try_from(intid).unwrap_or(u16::MAX);
    let value = guest.hardware.direct.direct(guest.here.vcpu, narrow);
    let free = interface.empty_list_registers() & guest.lists;
    if value == 0 || free == 0 {
        return false;
    }
    interface.write_list_register(free.trailing_zeros() as usize, value);
    true
}
