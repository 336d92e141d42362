//! Emulated registers: where an access goes, and how a load or store is carried out.
//!
//! The syndrome describes most; what it does not (pairs, writeback) is decoded from the instruction, read through the
//! guest's own translation. The instruction is copied once, so that changing it meanwhile changes nothing here; what
//! does not fit the fault exactly is an external abort, never a guess.

use super::channel::{self, Port as ChannelPort};
use super::console;
use super::exit::Exit;
use super::here::Here;
use super::machine::Machine;
use super::partition::Counter;
use crate::arm::registers::Registers;
use crate::arm::syndrome::{DataAbort, FaultKind, Transfer};
use crate::model::console::Console;
use crate::model::decode::{self, Access, Direction};
use crate::model::vgic::{Frame, GicVersion, Vgic};
use crate::words::{Ipa, PAGE_SIZE, Va, VcpuId};
use bulkhead_abi::layout;

/// Bits of an address's tag, at its top: FAR_EL2 need not have it (Arm ARM D8.9).
const TAG_BITS: u32 = 8;
/// GICC_DIR: the INTID; an SGI's source above it is not needed, since a CPU has one of them active at a time.
const GICC_DIR_INTID: u64 = 0x3ff;

/// Bytes of the access that every GIC register but a few takes.
const WORD: u8 = 4;
/// GICD_SGIR (IHI 0048 4.3.15).
const SGIR: u32 = 0xf00;

/// What became of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The instruction is done, or will be tried again.
    Done,
    /// Nothing is there, or it cannot be carried out: an external abort.
    Abort,
}

/// An emulated device.
#[derive(Clone, Copy, Debug)]
enum Device<'a> {
    Gic(Frame),
    /// The second page of GICv2's CPU interface: GICC_DIR.
    Deactivate,
    Uart,
    Doorbell(&'a ChannelPort<'a>),
}

/// Offset of a doorbell's register in its page; the rest of the page reads as zero and ignores writes.
const DOORBELL_REGISTER: u64 = 0;

/// Where an access goes: a device, and the offset in its frame.
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    device: Device<'a>,
    offset: u64,
}

/// Devices are little-endian: a big-endian guest's data is turned round by so many bytes.
#[derive(Clone, Copy, Debug)]
struct Order {
    turned: Option<u8>,
}

impl Order {
    fn of(machine: &impl Machine, registers: &Registers, bytes: u8) -> Self {
        let turned = machine.is_big_endian(registers).then_some(bytes);
        Self { turned }
    }

    /// The low bytes of `value`, the other way round for a big-endian guest.
    fn apply(self, value: u64) -> u64 {
        match self.turned {
            None => value,
            Some(bytes) => value.swap_bytes() >> (64 - 8 * u32::from(bytes.clamp(1, 8))),
        }
    }
}

/// What became of one transfer.
enum Transferred {
    Loaded(u64),
    Stored,
    /// To be tried again: nothing has changed.
    Again,
}

/// Carries out the load or store that exited.
pub fn emulate(
    here: &Here<'_, '_>,
    console: &Console,
    machine: &mut impl Machine,
    registers: &mut Registers,
    exit: &Exit,
    abort: &DataAbort,
) -> Outcome {
    let Some(target) = route(here, exit.ipa()) else {
        return Outcome::Abort;
    };
    if abort.fault.kind != FaultKind::Translation || abort.fault.table_walk {
        return Outcome::Abort;
    }
    if abort.cache_maintenance {
        // Registers are cached nowhere: there is nothing to maintain.
        registers.skip_instruction(exit.is_long());
        return Outcome::Done;
    }
    let port = Port {
        here,
        console,
        target,
    };
    let outcome = match abort.transfer {
        Some(transfer) => port.single(machine, registers, exit, abort, &transfer),
        None => match fetch(here, machine, registers).and_then(decode::decode) {
            Some(access) => port.instruction(machine, registers, exit, abort, &access),
            None => Outcome::Abort,
        },
    };
    if outcome == Outcome::Done {
        here.count(Counter::Mmio);
    }
    outcome
}

/// A word of the virtual GIC's registers.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    frame: Frame,
    offset: u32,
}

/// The word that a load or store of one general register means, if it is one of the virtual GIC's and can be accessed
/// without a look at list registers.
#[inline(always)]
pub fn word_at_once(
    here: &Here<'_, '_>,
    abort: &DataAbort,
    transfer: &Transfer,
    ipa: u64,
) -> Option<Register> {
    if abort.fault.kind != FaultKind::Translation
        || abort.fault.table_walk
        || abort.cache_maintenance
        || transfer.bytes != WORD
        || ipa & u64::from(WORD - 1) != 0
    {
        return None;
    }
    let (frame, offset) = if ipa & !(layout::GICD_SIZE - 1) == layout::GICD_BASE {
        (Frame::Distributor, ipa - layout::GICD_BASE)
    } else {
        let Target {
            device: Device::Gic(frame),
            offset,
        } = route(here, Ipa::new(ipa))?
        else {
            return None;
        };
        (frame, offset)
    };
    let offset = u32::try_from(offset).ok()?;
    Vgic::never_reaches(frame, offset).then_some(Register { frame, offset })
}

impl Here<'_, '_> {
    /// Reads a register of [`word_at_once`].
    #[inline(always)]
    #[must_use]
    pub fn read_at_once(&self, register: Register) -> u64 {
        let vgic = self.partition.interrupts();
        let Register { frame, offset } = register;
        match frame {
            Frame::Distributor => vgic.distributor_read(self.vcpu, offset, WORD),
            Frame::Redistributor(of) => vgic.redistributor_read(of, offset, WORD),
        }
    }
}

/// Writes a register of [`word_at_once`]; `false`, and nothing has changed, if the loop must do it.
#[inline(always)]
pub fn store_at_once(
    here: &Here<'_, '_>,
    machine: &mut impl Machine,
    register: Register,
    value: u64,
) -> bool {
    let value = value & width_mask(WORD);
    let Register { frame, offset } = register;
    let sends = offset == SGIR && frame == Frame::Distributor;
    if sends && here.partition.gic_version == GicVersion::V2 {
        return here.post(machine, value);
    }
    here.with(machine, |vgic, effects| match frame {
        Frame::Distributor => vgic.distributor_write(here.vcpu, offset, WORD, value, effects),
        Frame::Redistributor(of) => vgic.redistributor_write(of, offset, WORD, value, effects),
    });
    true
}

/// Reads the instruction that exited.
fn fetch(here: &Here<'_, '_>, machine: &impl Machine, registers: &Registers) -> Option<u32> {
    if !registers.is_aarch64() {
        return None;
    }
    let address = machine.translate(registers, Va::new(registers.pc))?;
    machine.read_guest(here.partition.ram(address)?)
}

/// Finds the device at `address`.
fn route<'a>(here: &Here<'a, '_>, address: Ipa) -> Option<Target<'a>> {
    let within = |base: u64, size: u64| {
        address
            .get()
            .checked_sub(base)
            .filter(|offset| *offset < size)
    };
    if let Some(offset) = within(layout::GICD_BASE, layout::GICD_SIZE) {
        return Some(Target {
            device: Device::Gic(Frame::Distributor),
            offset,
        });
    }
    if let Some(offset) = within(layout::UART_BASE, layout::UART_SIZE) {
        return Some(Target {
            device: Device::Uart,
            offset,
        });
    }
    if let Some(offset) = within(layout::GICC_DIR, PAGE_SIZE) {
        return (here.partition.gic_version == GicVersion::V2).then_some(Target {
            device: Device::Deactivate,
            offset,
        });
    }
    if address.get() >= layout::CHANNEL_BASE {
        return doorbell(here, address);
    }
    let redistributors = layout::GICR_STRIDE * here.partition.vcpus.len() as u64;
    let offset = within(layout::GICR_BASE, redistributors)?;
    let vcpu = VcpuId::new(u8::try_from(offset / layout::GICR_STRIDE).ok()?);
    let frame = Frame::Redistributor(vcpu);
    (here.partition.gic_version == GicVersion::V3).then_some(Target {
        device: Device::Gic(frame),
        offset: offset % layout::GICR_STRIDE,
    })
}

/// Finds the doorbell at `address`.
fn doorbell<'a>(here: &Here<'a, '_>, address: Ipa) -> Option<Target<'a>> {
    let mut ports = here.partition.channels.iter();
    ports.find_map(|port| {
        Some(Target {
            offset: port.doorbell_offset(address)?,
            device: Device::Doorbell(port),
        })
    })
}

/// A device as one exit sees it.
struct Port<'a, 'h, 'b> {
    here: &'a Here<'h, 'b>,
    console: &'a Console,
    target: Target<'h>,
}

impl Port<'_, '_, '_> {
    /// Whether the device has registers to be accessed by `bytes` bytes (IHI 0048B 4.1.4, IHI 0069H 12.1.3, DDI 0183 3.2),
    /// and the access is aligned.
    fn takes(&self, bytes: u8) -> bool {
        let widths: &[u8] = match (self.target.device, self.here.partition.gic_version) {
            (Device::Gic(_), GicVersion::V3) => &[1, 4, 8],
            (Device::Gic(_), GicVersion::V2) => &[1, 4],
            (Device::Deactivate | Device::Doorbell(_), _) => &[4],
            (Device::Uart, _) => &[1, 2, 4],
        };
        widths.contains(&bytes) && self.target.offset.is_multiple_of(u64::from(bytes))
    }

    /// Carries out the load or store of one register that the syndrome describes.
    fn single(
        &self,
        machine: &mut impl Machine,
        registers: &mut Registers,
        exit: &Exit,
        abort: &DataAbort,
        transfer: &Transfer,
    ) -> Outcome {
        if !self.takes(transfer.bytes) {
            return Outcome::Abort;
        }
        let order = Order::of(machine, registers, transfer.bytes);
        let stored = abort
            .write
            .then(|| order.apply(registers.get(transfer.register)));
        match self.transfer(machine, 0, transfer.bytes, stored) {
            Transferred::Loaded(raw) => {
                registers.set(transfer.register, transfer.loaded(order.apply(raw)));
            }
            Transferred::Stored => {}
            Transferred::Again => return Outcome::Done,
        }
        registers.skip_instruction(exit.is_long());
        Outcome::Done
    }

    /// Reads, or writes `stored`, `bytes` bytes `further` up from the target.
    fn transfer(
        &self,
        machine: &mut impl Machine,
        further: u64,
        bytes: u8,
        stored: Option<u64>,
    ) -> Transferred {
        let offset = self.target.offset + further;
        match (self.target.device, stored) {
            (Device::Gic(frame), None) => {
                Transferred::Loaded(self.gic_read(machine, frame, offset, bytes))
            }
            (Device::Gic(frame), Some(value)) => {
                self.gic_write(machine, frame, offset, bytes, value);
                Transferred::Stored
            }
            (Device::Deactivate, None) => Transferred::Loaded(0),
            (Device::Deactivate, Some(value)) => {
                self.deactivate(machine, offset, value);
                Transferred::Stored
            }
            (Device::Doorbell(_), None) => Transferred::Loaded(0),
            (Device::Doorbell(port), Some(_)) => {
                if offset == DOORBELL_REGISTER {
                    channel::notify(self.here, port, machine);
                }
                Transferred::Stored
            }
            (Device::Uart, None) => Transferred::Loaded(u64::from(console::read(
                self.here,
                self.console,
                machine,
                offset,
            ))),
            (Device::Uart, Some(value)) => {
                let value = u32::try_from(value & width_mask(bytes.min(4))).unwrap_or(0);
                match console::write(self.here, self.console, machine, offset, value) {
                    console::Stored::Done => Transferred::Stored,
                    console::Stored::Full => Transferred::Again,
                }
            }
        }
    }

    /// Carries out a write to GICC_DIR, which means nothing with EOImode 0 (IHI 0048B 4.4.14).
    fn deactivate(&self, machine: &mut impl Machine, offset: u64, value: u64) {
        let intid = u16::try_from(value & GICC_DIR_INTID).unwrap_or(0);
        if offset == 0 && machine.split_eoi() {
            let vcpu = self.here.vcpu;
            self.here.with_folded(machine, |vgic, effects| {
                vgic.deactivate(vcpu, intid, effects);
            });
        }
    }

    fn gic_read(&self, machine: &mut impl Machine, frame: Frame, offset: u64, bytes: u8) -> u64 {
        let vcpu = self.here.vcpu;
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        let value = self
            .here
            .access(machine, frame, offset, |vgic, _| match frame {
                Frame::Distributor => vgic.distributor_read(vcpu, offset, bytes),
                Frame::Redistributor(of) => vgic.redistributor_read(of, offset, bytes),
            });
        value | self.physical_pending(machine, frame, offset)
    }

    /// What the physical controller knows to be pending, where the guest reads pending bits.
    fn physical_pending(&self, machine: &impl Machine, frame: Frame, offset: u32) -> u64 {
        let asked =
            self.here
                .partition
                .interrupts()
                .physical_pending(self.here.vcpu, frame, offset);
        let Some((word, mask)) = asked else { return 0 };
        let of = if let Frame::Redistributor(of) = frame {
            of
        } else {
            self.here.vcpu
        };
        let cpu = self.here.partition.vcpu(of).map(|vcpu| vcpu.cpu);
        cpu.map_or(0, |cpu| {
            u64::from(machine.physical_pending(word, cpu) & mask)
        })
    }

    fn gic_write(
        &self,
        machine: &mut impl Machine,
        frame: Frame,
        offset: u64,
        bytes: u8,
        value: u64,
    ) {
        let vcpu = self.here.vcpu;
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        let value = value & width_mask(bytes);
        self.here
            .access(machine, frame, offset, |vgic, effects| match frame {
                Frame::Distributor => vgic.distributor_write(vcpu, offset, bytes, value, effects),
                Frame::Redistributor(of) => {
                    vgic.redistributor_write(of, offset, bytes, value, effects)
                }
            });
    }

    /// Whether `access`, at `address`, is the one that faulted, and one the device has, whole within its page.
    fn is_what_faulted(
        &self,
        exit: &Exit,
        abort: &DataAbort,
        access: &Access,
        address: u64,
    ) -> bool {
        let count = u64::from(access.bytes) * if access.second.is_some() { 2 } else { 1 };
        let untagged = |address: u64| address << TAG_BITS;
        untagged(address) == untagged(exit.far)
            && abort.write == (access.direction == Direction::Store)
            && self.takes(access.bytes)
            && exit.ipa().get() % PAGE_SIZE + count <= PAGE_SIZE
    }

    /// Carries out a decoded instruction, if it is the access that faulted, whole within the device's page.
    fn instruction(
        &self,
        machine: &mut impl Machine,
        registers: &mut Registers,
        exit: &Exit,
        abort: &DataAbort,
        access: &Access,
    ) -> Outcome {
        let view = decode::Registers {
            general: &registers.x.clone(),
            stack_pointer: machine.stack_pointer(registers),
            program_counter: registers.pc,
        };
        if !self.is_what_faulted(exit, abort, access, access.effective_address(&view)) {
            return Outcome::Abort;
        }
        let order = Order::of(machine, registers, access.bytes);
        let parts = [Some(access.first), access.second];
        for (further, register) in (0_u64..).zip(parts.into_iter().flatten()) {
            let stored = abort
                .write
                .then(|| order.apply(access.stored(registers.get(register))));
            match self.transfer(
                machine,
                further * u64::from(access.bytes),
                access.bytes,
                stored,
            ) {
                Transferred::Loaded(raw) => {
                    registers.set(register, access.loaded(order.apply(raw)));
                }
                Transferred::Stored => {}
                Transferred::Again => return Outcome::Done,
            }
        }
        match access.writeback(&view) {
            Some((decode::REGISTER_31, value)) => machine.set_stack_pointer(registers, value),
            Some((base, value)) => registers.set(base, value),
            None => {}
        }
        registers.skip_instruction(exit.is_long());
        Outcome::Done
    }
}

/// Ones in the low `bytes` bytes.
fn width_mask(bytes: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(bytes.clamp(1, 8)))
}
