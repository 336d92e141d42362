//! GICv3's distributor and redistributors, and the SGI registers (IHI 0069 12.9, 12.11, 12.2).
//!
//! One security state (DS=1), affinity routing always on (ARE=1), no LPIs, no message-based SPIs. vCPU n is 0.0.0.n.

use super::distributor::Bank;
use super::v2::{CTLR, IIDR, IIDR_VALUE, TYPER, identification};
use super::{Effects, Frame, GicVersion, LAST_SPI, NOBODY, Vgic};
use crate::words::VcpuId;

/// Where a redistributor's second frame, of SGIs and PPIs, begins.
pub(super) const SGI_FRAME: u32 = 0x1_0000;
/// GICD_IROUTER0; those below 32 do not exist.
pub(super) const IROUTER: u32 = 0x6000;
/// First of the identification registers, PIDR4, in every frame.
const ID_FIRST: u32 = 0xffd0;
/// PIDR4-7, PIDR0-3, CIDR0-3, architecture revision 3.
const ID: [u8; 12] = [0x44, 0, 0, 0, 0x92, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];
/// GICD_CTLR.ARE and DS, which are fixed.
const CTLR_FIXED: u32 = 1 << 4 | 1 << 6;
/// GICD_TYPER.IDbits: ten bits of INTID.
const ID_BITS: u32 = 9 << 19;
/// IROUTER's fields that are kept: IRM and the lower three affinities. Aff3 is not supported (A3V is 0).
const ROUTE_MASK: u32 = 0x80ff_ffff;
/// IROUTER.IRM: to any.
const ROUTE_ANY: u32 = 1 << 31;
/// GICR_IIDR.
const IIDR_OF_REDISTRIBUTOR: u32 = 0x004;
/// GICR_TYPER's lower half.
const REDISTRIBUTOR_TYPER: u32 = 0x008;
/// GICR_TYPER.Affinity_Value.
const REDISTRIBUTOR_AFFINITY: u32 = 0x00c;
/// GICR_WAKER.
const WAKER: u32 = 0x014;
/// GICR_WAKER.ProcessorSleep.
const PROCESSOR_SLEEP: u32 = 1 << 1;
/// GICR_WAKER.ProcessorSleep and ChildrenAsleep.
const ASLEEP: u32 = 3 << 1;

/// ICC_SGI1R_EL1.IRM.
const SGI_ALL_BUT_SELF: u64 = 1 << 40;
/// ICC_SGI1R_EL1.Aff3, RS, Aff2 and Aff1: all zero for vCPUs 0..8.
const SGI_AFFINITIES: u64 = 0x00ff_f0ff_00ff_0000;

impl Vgic {
    /// Reads `width` bytes at `offset` of the distributor, for `vcpu`; zero where nothing is.
    ///
    /// Do what [`Vgic::reach`] says first.
    pub fn distributor_read(&self, vcpu: VcpuId, offset: u32, width: u8) -> u64 {
        match self.config.version {
            GicVersion::V2 => u64::from(self.read_v2(vcpu.index(), offset, width)),
            GicVersion::V3 if width == 8 => match self.route_place(offset & !7) {
                Some((word, bit)) => u64::from(self.word(word, 0).route[bit]),
                None => 0,
            },
            GicVersion::V3 => u64::from(self.read_v3(offset, width)),
        }
    }

    /// Writes `width` bytes at `offset` of the distributor, for `vcpu`; nothing where nothing is.
    ///
    /// Do what [`Vgic::reach`] says first.
    pub fn distributor_write(
        &mut self,
        vcpu: VcpuId,
        offset: u32,
        width: u8,
        value: u64,
        effects: &mut Effects<'_>,
    ) {
        if self.bit_of(vcpu.index()) == 0 {
            return;
        }
        let [low, _] = halves(value);
        match self.config.version {
            GicVersion::V2 => self.write_v2(vcpu.index(), offset, width, low, effects),
            GicVersion::V3 => self.write_v3(vcpu.index(), offset, width, value, effects),
        }
    }

    /// GICD_TYPER of either version: interrupts, and CPUs or bits of an INTID.
    pub(super) fn typer(&self) -> u32 {
        let lines = u32::from(self.words_in_use - 1);
        match self.config.version {
            GicVersion::V2 => lines | u32::from(self.config.vcpus - 1) << 5,
            GicVersion::V3 => lines | ID_BITS,
        }
    }

    fn read_v3(&self, offset: u32, width: u8) -> u32 {
        if let Some(bank) = Bank::at(offset, width) {
            let there =
                self.has_bank(Frame::Distributor, bank) && !matches!(bank, Bank::Target(..));
            return if there {
                self.bank_read(0, bank, width)
            } else {
                0
            };
        }
        match (offset, width) {
            (CTLR, 4) => self.group_enables() | CTLR_FIXED,
            (TYPER, 4) => self.typer(),
            (IIDR, 4) => IIDR_VALUE,
            (ID_FIRST..0x1_0000, 4) => identification(&ID, ID_FIRST, offset),
            (IROUTER..0x8000, 4) if offset & 4 == 0 => self
                .route_place(offset)
                .map_or(0, |(word, bit)| self.word(word, 0).route[bit]),
            _ => 0,
        }
    }

    fn write_v3(
        &mut self,
        vcpu: usize,
        offset: u32,
        width: u8,
        value: u64,
        effects: &mut Effects<'_>,
    ) {
        let [low, _] = halves(value);
        if let Some(bank) = Bank::at(offset, width) {
            if self.has_bank(Frame::Distributor, bank) && !matches!(bank, Bank::Target(..)) {
                self.bank_write(vcpu, bank, width, low, effects);
            }
            return;
        }
        match (offset, width) {
            (CTLR, 4) => self.write_group_enables(low, effects),
            (IROUTER..0x8000, 4 | 8) if offset & 7 == 0 => self.write_route(offset, low, effects),
            _ => {}
        }
    }

    /// The SPI that the IROUTER at `offset` routes, if the partition has it.
    fn route_place(&self, offset: u32) -> Option<(usize, usize)> {
        let intid = u16::try_from(offset.checked_sub(IROUTER)? >> 3).ok()?;
        (intid <= LAST_SPI && self.owns_spi(intid)).then(|| Self::place(intid))
    }

    fn write_route(&mut self, offset: u32, low: u32, effects: &mut Effects<'_>) {
        let Some((word, bit)) = self.route_place(offset) else {
            return;
        };
        let route = low & ROUTE_MASK;
        self.word_mut(word, 0).route[bit] = route;
        let target = match u8::try_from(route) {
            _ if route & ROUTE_ANY != 0 => 0,
            Ok(vcpu) if vcpu < self.config.vcpus => vcpu,
            _ => NOBODY,
        };
        self.retarget(word, bit, target, effects);
    }

    /// Reads `width` bytes at `offset` (0..0x2_0000) of the redistributor of vCPU `of`; zero where nothing is.
    ///
    /// Do what [`Vgic::reach`] says first.
    pub fn redistributor_read(&self, of: VcpuId, offset: u32, width: u8) -> u64 {
        if self.config.version == GicVersion::V2 || self.bit_of(of.index()) == 0 {
            return 0;
        }
        if let Some(offset) = offset.checked_sub(SGI_FRAME) {
            return u64::from(self.read_private(of, offset, width));
        }
        let last = of.get() + 1 == self.config.vcpus;
        let kind = u32::from(of.get()) << 8 | u32::from(last) << 4;
        match (offset, width) {
            (IIDR_OF_REDISTRIBUTOR, 4) => u64::from(IIDR_VALUE),
            (REDISTRIBUTOR_TYPER, 8) => u64::from(kind) | u64::from(of.get()) << 32,
            (REDISTRIBUTOR_TYPER, 4) => u64::from(kind),
            (REDISTRIBUTOR_AFFINITY, 4) => u64::from(of.get()),
            (WAKER, 4) if self.awake & self.bit_of(of.index()) == 0 => u64::from(ASLEEP),
            (ID_FIRST.., 4) => u64::from(identification(&ID, ID_FIRST, offset)),
            _ => 0,
        }
    }

    /// Writes `width` bytes at `offset` (0..0x2_0000) of the redistributor of vCPU `of`; nothing where nothing is.
    ///
    /// Do what [`Vgic::reach`] says first.
    pub fn redistributor_write(
        &mut self,
        of: VcpuId,
        offset: u32,
        width: u8,
        value: u64,
        effects: &mut Effects<'_>,
    ) {
        let own = self.bit_of(of.index());
        if self.config.version == GicVersion::V2 || own == 0 {
            return;
        }
        let [low, _] = halves(value);
        if let Some(offset) = offset.checked_sub(SGI_FRAME) {
            self.write_private(of, offset, width, low, effects);
        } else if (offset, width) == (WAKER, 4) {
            let sleeps = low & PROCESSOR_SLEEP != 0;
            self.awake = if sleeps {
                self.awake & !own
            } else {
                self.awake | own
            };
        }
    }

    fn read_private(&self, of: VcpuId, offset: u32, width: u8) -> u32 {
        match Bank::at(offset, width) {
            Some(Bank::Target(..)) => 0,
            Some(bank) if bank.word() == 0 => self.bank_read(of.index(), bank, width),
            None if width == 4 && offset >= ID_FIRST => identification(&ID, ID_FIRST, offset),
            _ => 0,
        }
    }

    fn write_private(
        &mut self,
        of: VcpuId,
        offset: u32,
        width: u8,
        value: u32,
        effects: &mut Effects<'_>,
    ) {
        match Bank::at(offset, width) {
            Some(bank) if bank.word() == 0 && !matches!(bank, Bank::Target(..)) => {
                self.bank_write(of.index(), bank, width, value, effects);
            }
            _ => {}
        }
    }

    /// Sends the SGIs that `vcpu` asks for in ICC_SGI1R_EL1, to either group. Ignores it on GICv2.
    pub fn send_sgi1r(&mut self, vcpu: VcpuId, value: u64, effects: &mut Effects<'_>) {
        self.send_sgir(vcpu, value, 0b11, effects);
    }

    /// Sends the SGIs that `vcpu` asks for in ICC_SGI0R_EL1 or ICC_ASGI1R_EL1: those that the target has in group 0.
    pub fn send_sgi0r(&mut self, vcpu: VcpuId, value: u64, effects: &mut Effects<'_>) {
        self.send_sgir(vcpu, value, 0b01, effects);
    }

    fn send_sgir(&mut self, vcpu: VcpuId, value: u64, groups: u32, effects: &mut Effects<'_>) {
        let own = self.bit_of(vcpu.index());
        if self.config.version == GicVersion::V2 || own == 0 {
            return;
        }
        let (sgi, targets) = targets(own, value);
        self.send(vcpu.index(), sgi, targets, groups, effects);
    }
}

/// ICC_SGI1R_EL1 and its like, written by the vCPU with the bit `own`: the SGI and its targets, perhaps more than there are.
#[inline]
pub(super) fn targets(own: u8, value: u64) -> (u8, u8) {
    let [list, _, _, sgi, ..] = value.to_le_bytes();
    let targets = if value & SGI_ALL_BUT_SELF != 0 {
        !own
    } else if value & SGI_AFFINITIES == 0 {
        list
    } else {
        0
    };
    (sgi & 15, targets)
}

/// The lower and the upper 32 bits.
fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}
