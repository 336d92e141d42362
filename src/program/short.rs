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
use crate::behaviour::partition::{Partition, Vcpu};
use crate::behaviour::{hypercall, mmio, sysreg};
use crate::edge::context::{Calls, Context};
use crate::edge::gic::{FIRST_PPI, HostGic, Interface, POSTED, RUNG, SPECIAL, SystemRegisters, V2};
use crate::edge::{guest, init, timer};
use crate::model::recorder::{self, Deed, Trail};
use crate::model::vgic::{Bell, Posted, Vgic, post_to};
use crate::words::limits::MAX_CHANNELS;
use crate::words::{Ipa, VcpuId};
use bulkhead_abi::{bulkhead, layout};
use spin::mutex::SpinMutex;

/// The guest goes on.
const DONE: u64 = 0;
/// The loop has to look.
const LEAVE: u64 = 1;
/// The first INTID of an SPI.
const FIRST_SPI: u32 = 32;
/// Private interrupts that are no SGIs.
const PPIS: u32 = FIRST_SPI - FIRST_PPI;
/// Set in [`Guest::acknowledged`] when there is an interrupt.
pub const ACKNOWLEDGED: u64 = 1 << 32;

/// HPFAR_EL2 of the distributor's first page: the page's number from bit 4 on (Arm ARM D24.2.66).
const DISTRIBUTOR: u64 = layout::GICD_BASE >> 8;
/// The same of the page of vCPU 0's private interrupts, and from one vCPU to the next.
const PRIVATE: u64 = (layout::GICR_BASE + 0x1_0000) >> 8;
const STRIDE: u64 = layout::GICR_STRIDE >> 8;
/// Where HPFAR_EL2 has a page's number, and the bits of an address below that.
const HPFAR_SHIFT: u32 = 4;
const PAGE_SHIFT: u32 = 12;
/// No page's number as HPFAR_EL2 has it.
const NO_PAGE: u64 = u64::MAX;
/// Offset in a page.
const PAGE_OFFSET: u64 = 0xfff;
/// Offset of a doorbell in its page.
const DOORBELL: u32 = 0;
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

/// A doorbell at the other end of a channel.
#[derive(Clone, Copy, Debug)]
struct Line {
    bell: Bell<'static>,
    /// The peer's vCPU that takes it, when it was rung last, and how that is told.
    target: VcpuId,
    order: u64,
}

/// What the short path knows of the core and its vCPU: what it needs often comes first, where two loads are one.
#[derive(Debug)]
#[repr(C)]
pub struct Guest {
    /// What the short path acknowledged and left to the loop: [`ACKNOWLEDGED`] and the value of IAR, or zero.
    pub acknowledged: u64,
    /// The core's interface, if the controller is a GICv2.
    pub v2: Option<V2>,
    /// What counts and notes interrupts given to the vCPU.
    injected: &'static Trail,
    /// The same of registers accessed.
    accessed: &'static Trail,
    /// The same of SGIs sent.
    sent: &'static Trail,
    /// What is posted to the vCPU.
    posted: &'static Posted,
    /// The partition's virtual GIC.
    interrupts: &'static SpinMutex<Vgic>,
    /// The list registers there are, as bits.
    lists: u32,
    /// The vCPU's bit.
    own: u8,
    /// Whether it is known how each of the partition's vCPUs is reached.
    knows_peers: bool,
    /// HPFAR_EL2 of the vCPU's own private interrupts' page.
    private_page: u64,
    /// The vCPU.
    pub here: Here<'static, 'static>,
    /// The core.
    pub hardware: Hardware,
    /// The partition's vCPUs, as many as a target list has.
    peers: [Peer; TARGETS],
    /// What vectors.S answers calls with.
    pub calls: Calls,
    /// HPFAR_EL2 of the doorbell's page written last, and which channel's it is.
    bell_page: u64,
    bell: usize,
    /// The doorbells rung so far, by their channels.
    lines: [Option<Line>; MAX_CHANNELS],
}

impl Guest {
    /// The vCPU of `here`, `vcpu`, on the core of `hardware`.
    #[must_use]
    pub fn new(here: Here<'static, 'static>, vcpu: &Vcpu, hardware: Hardware) -> Self {
        let partition = here.partition;
        let trails = vcpu.statistics.trails;
        let gic = &hardware.host.gic;
        let per_second = init::counter_frequency();
        let whole = per_second.is_multiple_of(1000);
        let limit = partition.plan.heartbeat_ms.filter(|_| whole).unwrap_or(0);
        Self {
            acknowledged: 0,
            calls: Calls {
                trail: trails.of(Deed::Called),
                ended: trails.of(Deed::Ended),
                beat_limit: limit.into(),
                ticks: per_second / 1000,
                heartbeat: &partition.heartbeat,
            },
            here,
            hardware,
            injected: trails.of(Deed::Injected),
            accessed: trails.of(Deed::Accessed),
            sent: trails.of(Deed::Sent),
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
            lines: const { [None; MAX_CHANNELS] },
            bell_page: NO_PAGE,
            bell: 0,
        }
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

    /// Rings at the other end of channel `index`; `false`, and nothing has changed, if it is not known how.
    #[inline(always)]
    fn ring(&mut self, interface: impl Interface, index: usize) -> bool {
        let Some(slot) = self.lines.get_mut(index) else {
            return false;
        };
        let Some(line) = slot else {
            return self.ring_first(index);
        };
        let Some(target) = line.bell.ring() else {
            return true;
        };
        if target != line.target {
            self.tell(index, target);
            return true;
        }
        interface.send(line.order);
        true
    }

    /// As [`Guest::ring`], for a channel that was never rung.
    #[cold]
    #[inline(never)]
    fn ring_first(&mut self, index: usize) -> bool {
        let Some((peer, intid)) = self.peer(index) else {
            return false;
        };
        let Some(bell) = peer.direct.bell(intid) else {
            return false;
        };
        // Which vCPU takes it is seen now; that it is none is as good as any.
        let (target, order) = (VcpuId::new(u8::MAX), 0);
        if let Some(slot) = self.lines.get_mut(index) {
            *slot = Some(Line {
                bell,
                target,
                order,
            });
        }
        if let Some(target) = bell.ring() {
            self.tell(index, target);
        }
        true
    }

    /// Interrupts the core of the vCPU `target` at the other end of channel `index`, which rang, and notes how.
    #[cold]
    #[inline(never)]
    fn tell(&mut self, index: usize, target: VcpuId) {
        let Some((peer, _)) = self.peer(index) else {
            return;
        };
        let Some(cpu) = peer.cpus.get(target.index()) else {
            return;
        };
        let gic = &self.hardware.host.gic;
        // A core that is not up yet finds it when it starts.
        if let (Some(order), Some(Some(line))) = (gic.order(*cpu, RUNG), self.lines.get_mut(index))
        {
            (line.target, line.order) = (target, order);
        }
        gic.send(*cpu, RUNG);
    }

    /// Who is at the other end of channel `index`, and the doorbell's INTID there.
    fn peer(&self, index: usize) -> Option<(&'static Partition<'static>, u16)> {
        let port = self.here.partition.channels.get(index)?;
        let peer = port.peer();
        Some((self.here.other(peer.partition)?, peer.intid))
    }

    /// Notes which doorbell's page `address` lies in, if it lies in one.
    #[inline(never)]
    fn notice_bell(&mut self, address: Ipa) {
        let mut ports = self.here.partition.channels.iter();
        if let Some(index) = ports.position(|port| port.doorbell_offset(address).is_some()) {
            self.bell = index;
            self.bell_page = address.get() >> PAGE_SHIFT << HPFAR_SHIFT;
        }
    }

    /// Whether no list register is in use.
    #[inline(always)]
    fn is_idle(&self, interface: impl Interface) -> bool {
        interface.empty_list_registers() & self.lists == self.lists
    }
}

/// A synchronous exit: zero if it is dealt with, or else one that is left to the loop.
#[inline(always)]
pub fn synchronous<I: Interface>(
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
    if guest::is_odd() || guest::is_unusual_data() {
        return further(context, guest, Syndrome::new(esr));
    }
    let (far, hpfar) = init::fault_address();
    let offset = far & PAGE_OFFSET;
    let own = I::VERSION == GicVersion::V3 && hpfar == guest.private_page;
    if hpfar != DISTRIBUTOR && !own {
        return elsewhere(context, guest, interface, esr);
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
        context.registers.x[index] = value.into();
        guest.accessed.note(timer::ticks(), narrow(offset));
        guest::skip_plain();
        DONE
    } else if switches {
        switch(context, guest, interface, esr, (word, private), offset)
    } else {
        further(context, guest, Syndrome::new(esr))
    }
}

/// As [`word`], outside the virtual GIC: a doorbell's page is known once it was written.
#[inline(never)]
fn elsewhere<I: Interface>(
    context: &mut Context,
    guest: &mut Guest,
    interface: I,
    esr: u64,
) -> u64 {
    let (far, hpfar) = init::fault_address();
    let at_bell = far & PAGE_OFFSET == u64::from(DOORBELL);
    let rings = hpfar == guest.bell_page && at_bell && syndrome::is_write(esr);
    if !rings || !guest.ring(interface, guest.bell) {
        return further(context, guest, Syndrome::new(esr));
    }
    guest.accessed.note(timer::ticks(), DOORBELL);
    guest::skip_plain();
    DONE
}

/// A write to GICD_SGIR.
#[inline(always)]
fn sgir<I: Interface>(context: &mut Context, guest: &mut Guest, interface: I, esr: u64) -> u64 {
    let index = syndrome::transfer_register(esr);
    let value = context.registers.x[index];
    // CPUTargetList, with the filter above it (IHI 0048B 4.3.15): one that does not mean the list names nobody here.
    if !send(guest, interface, value & 0xf, value >> 16 & 0xffff) {
        return further(context, guest, Syndrome::new(esr));
    }
    guest.accessed.note(timer::ticks(), narrow(SGIR));
    guest::skip_plain();
    DONE
}

/// A write to ICC_SGI1R_EL1.
#[inline(always)]
fn sgi1r<I: Interface>(context: &mut Context, guest: &mut Guest, interface: I, esr: u64) -> u64 {
    let index = syndrome::moved_register(esr);
    if guest::is_odd() {
        return further(context, guest, Syndrome::new(esr));
    }
    let value = context.registers.x[index];
    // Affinities, the range and the routing mode all zero: the list means this partition's vCPUs (IHI 0069H 12.2.20).
    if value & 0x00ff_f1ff_00ff_0000 != 0
        || !send(guest, interface, value >> 24 & 0xf, value & 0xffff)
    {
        return further(context, guest, Syndrome::new(esr));
    }
    guest.sent.note(timer::ticks(), narrow(value >> 24 & 0xf));
    guest::skip_plain();
    DONE
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
    let mask = narrow(context.registers.x[index]);
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
    guest.accessed.note(timer::ticks(), narrow(offset));
    guest::skip_plain();
    DONE
}

/// Sends SGI `sgi` to the vCPU itself or to one other, the bits of `targets`; `false`, and nothing has changed, if there are
/// more or it takes longer.
#[inline(always)]
fn send<I: Interface>(guest: &mut Guest, interface: I, sgi: u64, targets: u64) -> bool {
    let first = targets.trailing_zeros();
    // None, or more than one.
    if targets.wrapping_shr(first) != 1 {
        return false;
    }
    let target = &guest.peers[first as usize & (TARGETS - 1)];
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
        Class::DataAbortLower => access(context, guest, syndrome),
        Class::SystemRegister => system_register(context, guest, syndrome),
        _ => LEAVE,
    }
}

/// Whether the short path has saved general register `index`.
/// (X18 and X30 lie apart.)
const fn is_saved(index: u8) -> bool {
    index <= 17 || index >= 31
}

/// Goes past the instruction that exited, which was one of AArch64.
fn skip(registers: &mut Registers) -> u64 {
    guest::load_return(registers);
    registers.skip_a64();
    guest::store_return(registers);
    DONE
}

/// A call that vectors.S does not answer itself, HVC #0 or SMC #0 of AArch64: those that need no more than their arguments.
pub extern "C" fn call(context: &mut Context, guest: &mut Guest) -> u64 {
    let registers = &mut context.registers;
    let [x0, x1, ..] = registers.x;
    let function = narrow(x0);
    let channel = usize::try_from(x1).unwrap_or(usize::MAX);
    let rung = function == bulkhead::CHANNEL_NOTIFY
        && match guest.v2 {
            Some(interface) => guest.ring(interface, channel),
            None => guest.ring(SystemRegisters, channel),
        };
    if rung {
        registers.x[..4].fill(0);
    } else if !hypercall::at_once(&guest.here, &mut guest.hardware, registers) {
        return LEAVE;
    }
    let note = recorder::function(function);
    guest.calls.trail.note(timer::ticks(), note.into());
    // HVC has left its instruction behind already.
    if Syndrome::new(init::exception_syndrome()).class() == Class::Smc64 {
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
    let address = fault_ipa(hpfar, far);
    let Some(register) = mmio::word_at_once(&guest.here, &abort, &transfer, address) else {
        if (layout::CHANNEL_BASE..layout::RAM_BASE).contains(&address) {
            guest.notice_bell(Ipa::new(address));
        }
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
    guest
        .accessed
        .note(timer::ticks(), narrow(far & PAGE_OFFSET));
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
    guest.sent.note(timer::ticks(), 0);
    skip(&mut context.registers)
}

/// A physical interrupt: acknowledged, its priority dropped, and given to the guest through a list register if the
/// model need not be asked: zero, or else one that is left to the loop.
#[inline(always)]
pub fn interrupt<I: Interface>(guest: &mut Guest, interface: I) -> u64 {
    let iar = interface.acknowledge();
    let intid = iar & I::INTID;
    let value = if intid.wrapping_sub(FIRST_PPI) < PPIS {
        guest.hardware.private.direct(intid)
    } else if I::VERSION == GicVersion::V3 && intid < FIRST_PPI {
        return own(guest, interface, iar);
    } else if I::VERSION == GicVersion::V2 && intid == POSTED {
        return posted(guest, interface, iar);
    } else {
        guest.hardware.direct.shared(guest.here.vcpu, intid)
    };
    if value == 0 || interface.empty_list_registers() & 1 == 0 {
        return interrupt_further(guest, interface, iar);
    }
    interface.drop_priority(iar);
    interface.write_list_register(0, value);
    if I::VERSION == GicVersion::V2 {
        guest.hardware.listed = narrow(value);
    }
    // Its INTID lies lowest in either format.
    guest.injected.note(timer::ticks(), narrow(value));
    DONE
}

/// A GICv3's SGI, EL2's own word. Apart, so that [`interrupt`] ends where it returns; a GICv2 would be copied for it.
#[inline(never)]
fn own<I: Interface>(guest: &mut Guest, interface: I, iar: u32) -> u64 {
    match iar & I::INTID {
        POSTED => posted(guest, interface, iar),
        RUNG => rung(guest, interface, iar),
        _ => interrupt_further(guest, interface, iar),
    }
}

/// EL2's word that SGIs were posted to the vCPU: taken at once if it is one and no list register is in use.
#[inline(always)]
fn posted<I: Interface>(guest: &mut Guest, interface: I, iar: u32) -> u64 {
    interface.drop_priority(iar);
    let taken = if guest.is_idle(interface) {
        guest.hardware.private.take_one(guest.posted, I::VERSION)
    } else {
        None
    };
    let Some(value) = taken else {
        guest.acknowledged = ACKNOWLEDGED | u64::from(iar);
        return LEAVE;
    };
    interface.deactivate(iar);
    interface.write_list_register(0, value);
    guest.injected.note(timer::ticks(), narrow(value));
    DONE
}

/// EL2's word that doorbells of the partition were rung: taken as [`posted`] SGIs are.
#[inline(always)]
fn rung<I: Interface>(guest: &mut Guest, interface: I, iar: u32) -> u64 {
    interface.drop_priority(iar);
    let here = &guest.here;
    let value = if guest.is_idle(interface) {
        let direct = &here.partition.direct;
        direct.take_bell(guest.hardware.direct, here.vcpu)
    } else {
        0
    };
    if value == 0 {
        guest.acknowledged = ACKNOWLEDGED | u64::from(iar);
        return LEAVE;
    }
    interface.deactivate(iar);
    interface.write_list_register(0, value);
    guest.injected.note(timer::ticks(), narrow(value));
    DONE
}

/// As [`interrupt`], for what does not go into an empty first list register; `iar` was acknowledged, no more.
#[inline(never)]
fn interrupt_further<I: Interface>(guest: &mut Guest, interface: I, iar: u32) -> u64 {
    let intid = iar & I::INTID;
    if intid == RUNG {
        return rung(guest, interface, iar);
    }
    if intid >= SPECIAL {
        return LEAVE;
    }
    interface.drop_priority(iar);
    guest.hardware.listed = 0;
    if intid >= FIRST_PPI && inject(guest, interface, intid) {
        guest.injected.note(timer::ticks(), intid);
        return DONE;
    }
    guest.acknowledged = ACKNOWLEDGED | u64::from(iar);
    LEAVE
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
