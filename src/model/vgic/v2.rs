//! GICv2's distributor (IHI 0048 4.3): what it has besides the shared banks.
//!
//! Invariant: a private register shows the accessing vCPU's interrupts.

use super::distributor::{Bank, bytes_at};
use super::state::{bit_of, byte, lowest};
use super::{Effects, Frame, GicVersion, NOBODY, Vgic};

/// GICD_CTLR: both group enables.
pub(super) const CTLR: u32 = 0x000;
/// GICD_TYPER.
pub(super) const TYPER: u32 = 0x004;
/// GICD_IIDR.
pub(super) const IIDR: u32 = 0x008;
/// GICD_SGIR.
const SGIR: u32 = 0xf00;
/// GICD_ITARGETSR0, a byte an interrupt.
pub(super) const ITARGETSR: u32 = 0x800;
/// GICD_CPENDSGIR0, a byte an SGI.
pub(super) const CPENDSGIR: u32 = 0xf10;
/// GICD_SPENDSGIR0.
const SPENDSGIR: u32 = 0xf20;
/// Past GICD_SPENDSGIR3.
pub(super) const SGI_PENDING_END: u32 = 0xf30;
/// First of the identification registers (ICPIDR4).
const ID_FIRST: u32 = 0xfd0;
/// ICPIDR4-7, ICPIDR0-3, ICCIDR0-3: a GIC-400's, architecture revision 2.
const ID: [u8; 12] = [4, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];
/// GICD_IIDR: ProductID 'B', revision 0, implementer Arm, as GICR_IIDR.
pub(super) const IIDR_VALUE: u32 = 0x4200_043b;
/// GICD_CTLR.EnableGrp0 and EnableGrp1.
pub(super) const GROUP_ENABLES: u32 = 3;

/// An identification register of a 12-register block at `first`; `offset` at or above it.
pub(super) fn identification(id: &[u8; 12], first: u32, offset: u32) -> u32 {
    let index = (offset.wrapping_sub(first) >> 2) as usize;
    id.get(index).map_or(0, |&value| u32::from(value))
}

/// GICD_SGIR, written by the CPU with the bit `own`: the SGI and its targets, perhaps more than there are. TargetListFilter
/// is bits 25:24, CPUTargetList 23:16, SGIINTID 3:0; NSATT means nothing here.
#[inline]
pub(super) fn targets(own: u8, value: u64) -> (u8, u8) {
    let [sgi, _, list, filter, ..] = value.to_le_bytes();
    let targets = match filter & 3 {
        0 => list,
        1 => !own,
        2 => own,
        _ => 0,
    };
    (sgi & 15, targets)
}

impl Vgic {
    pub(super) fn read_v2(&self, vcpu: usize, offset: u32, width: u8) -> u32 {
        if let Some(bank) = Bank::at(offset, width) {
            return self.bank_read(vcpu, bank, width);
        }
        match (offset, width) {
            (CTLR, 4) => self.group_enables(),
            (TYPER, 4) => self.typer(),
            (IIDR, 4) => IIDR_VALUE,
            (CPENDSGIR..SGI_PENDING_END, 1 | 4) => {
                self.read_sources(vcpu, (offset & 15) as usize, width)
            }
            (ID_FIRST.., 4) => identification(&ID, ID_FIRST, offset),
            _ => 0,
        }
    }

    pub(super) fn write_v2(
        &mut self,
        vcpu: usize,
        offset: u32,
        width: u8,
        value: u32,
        effects: &mut Effects<'_>,
    ) {
        if let Some(bank) = Bank::at(offset, width) {
            return self.bank_write(vcpu, bank, width, value, effects);
        }
        let sgi = (offset & 15) as usize;
        match (offset, width) {
            (CTLR, 4) => self.write_group_enables(value, effects),
            (SGIR, 4) => {
                let (sgi, targets) = targets(self.bit_of(vcpu), value.into());
                self.send(vcpu, sgi, targets, GROUP_ENABLES, effects);
            }
            (CPENDSGIR..SPENDSGIR, 1 | 4) => self.clear_sources(vcpu, sgi, width, value, effects),
            (SPENDSGIR..SGI_PENDING_END, 1 | 4) => {
                self.set_sources(vcpu, sgi, width, value, effects)
            }
            _ => {}
        }
    }

    /// Whether `offset` is one of GICv2's registers of pending SGIs.
    pub(super) fn is_sgi_pending(&self, frame: Frame, offset: u32) -> bool {
        let v2 = self.config.version == GicVersion::V2 && frame == Frame::Distributor;
        v2 && (CPENDSGIR..SGI_PENDING_END).contains(&offset)
    }

    /// GICD_CTLR's group enables.
    pub(super) fn group_enables(&self) -> u32 {
        self.group_enable[0] & 1 | self.group_enable[1] & 2
    }

    /// Forwards or holds back whole groups.
    pub(super) fn write_group_enables(&mut self, value: u32, effects: &mut Effects<'_>) {
        if value & GROUP_ENABLES == self.group_enables() {
            return;
        }
        let fewer = self.group_enables() & !value != 0;
        self.group_enable = [(value & 1).wrapping_neg(), (value >> 1 & 1).wrapping_neg()];
        if fewer {
            effects.retract |= self.everyone();
        }
        for vcpu in 0..usize::from(self.config.vcpus) {
            self.publish(0, vcpu, effects);
            self.notice(0, vcpu, u32::MAX, effects);
        }
        for word in 1..usize::from(self.words_in_use) {
            self.publish(word, 0, effects);
            self.notice(word, 0, u32::MAX, effects);
        }
    }

    fn read_sources(&self, vcpu: usize, first: usize, width: u8) -> u32 {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.sources[vcpu & 7]);
        bytes_at(&bytes, first, width)
    }

    fn clear_sources(
        &mut self,
        vcpu: usize,
        first: usize,
        width: u8,
        value: u32,
        effects: &mut Effects<'_>,
    ) {
        for (index, clear) in value
            .to_le_bytes()
            .into_iter()
            .take(usize::from(width))
            .enumerate()
        {
            let sgi = (first + index) & 15;
            self.sources[vcpu & 7][sgi] &= !clear;
            if self.sources[vcpu & 7][sgi] == 0 {
                self.word_mut(0, vcpu).latch &= !(1 << sgi);
            }
        }
        self.publish(0, vcpu, effects);
    }

    fn set_sources(
        &mut self,
        vcpu: usize,
        first: usize,
        width: u8,
        value: u32,
        effects: &mut Effects<'_>,
    ) {
        let mut changed = 0;
        for (index, set) in value
            .to_le_bytes()
            .into_iter()
            .take(usize::from(width))
            .enumerate()
        {
            let sgi = (first + index) & 15;
            let set = set & self.everyone();
            self.sources[vcpu & 7][sgi] |= set;
            changed |= u32::from(set != 0) << sgi;
        }
        self.word_mut(0, vcpu).latch |= changed;
        self.publish(0, vcpu, effects);
        self.notice(0, vcpu, changed, effects);
    }

    /// ITARGETSR: the reader's own bit for private interrupts; zero with one CPU (IHI 0048 4.3.12).
    pub(super) fn read_targets(&self, vcpu: usize, word: usize, first: usize, width: u8) -> u32 {
        if self.config.vcpus == 1 {
            return 0;
        }
        let state = self.word(word, vcpu);
        let mut bytes = [0; 32];
        for index in 0..usize::from(width) {
            let bit = (first + index) & 31;
            // Private ones name their reader, also where nobody has the interrupt: that is how a CPU learns its number.
            bytes[bit] = match word {
                0 => self.bit_of(vcpu),
                _ => state.route[bit].to_le_bytes()[0],
            };
        }
        bytes_at(&bytes, first, width)
    }

    pub(super) fn write_targets(
        &mut self,
        word: usize,
        first: usize,
        width: u8,
        value: u32,
        effects: &mut Effects<'_>,
    ) {
        if self.config.vcpus == 1 || word == 0 {
            return;
        }
        for (index, targets) in value
            .to_le_bytes()
            .into_iter()
            .take(usize::from(width))
            .enumerate()
        {
            let bit = (first + index) & 31;
            let targets = targets & self.everyone();
            if self.word(word, 0).owned >> bit & 1 == 0 {
                continue;
            }
            self.word_mut(word, 0).route[bit] = u32::from(targets);
            let target = if targets == 0 {
                NOBODY
            } else {
                byte(lowest(u32::from(targets)))
            };
            debug_assert!(targets == 0 || bit_of(target) & targets != 0);
            self.retarget(word, bit, target, effects);
        }
    }
}
