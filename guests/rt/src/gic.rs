//! The interrupt controller, GICv2 or GICv3 as the tree says.
//!
//! Invariant: an [`Interrupt`] is what the CPU interface handed out, and goes back to it as it was.

use crate::{gicv2, gicv3, mmio};

/// Distributor registers both versions share (IHI 0048B 4.3, IHI 0069H 12.9).
pub mod distributor {
    /// GICD_CTLR.
    pub const CTLR: u64 = 0x000;
    /// GICD_TYPER.
    pub const TYPER: u64 = 0x004;
    /// GICD_IIDR.
    pub const IIDR: u64 = 0x008;
    /// GICD_IGROUPR.
    pub const IGROUPR: u64 = 0x080;
    /// GICD_ISENABLER.
    pub const ISENABLER: u64 = 0x100;
    /// GICD_ICENABLER.
    pub const ICENABLER: u64 = 0x180;
    /// GICD_ISPENDR.
    pub const ISPENDR: u64 = 0x200;
    /// GICD_ICPENDR.
    pub const ICPENDR: u64 = 0x280;
    /// GICD_ISACTIVER.
    pub const ISACTIVER: u64 = 0x300;
    /// GICD_ICACTIVER.
    pub const ICACTIVER: u64 = 0x380;
    /// GICD_IPRIORITYR.
    pub const IPRIORITYR: u64 = 0x400;
    /// GICD_ITARGETSR.
    pub const ITARGETSR: u64 = 0x800;
    /// GICD_ICFGR.
    pub const ICFGR: u64 = 0xc00;
    /// GICD_SGIR (GICv2).
    pub const SGIR: u64 = 0xf00;
    /// GICD_CPENDSGIR (GICv2).
    pub const CPENDSGIR: u64 = 0xf10;
    /// GICD_SPENDSGIR (GICv2).
    pub const SPENDSGIR: u64 = 0xf20;
    /// GICD_IROUTER (GICv3).
    pub const IROUTER: u64 = 0x6000;
}

/// First INTID of shared peripheral interrupts; those below belong to a CPU each.
pub const FIRST_SPI: u32 = 32;
/// First of the special INTIDs: 1020-1023 are no interrupts.
pub const FIRST_SPECIAL: u32 = 1020;
/// No interrupt is pending.
pub const SPURIOUS: u32 = 1023;
/// Priority the runtime gives what it enables: the middle.
pub const DEFAULT_PRIORITY: u8 = 0xa0;

/// Makes all SPIs disabled, not pending and not active, in the group that `group` says for each.
pub(crate) fn reset_shared(base: u64, group: u32) {
    let words = mmio::read32(base + distributor::TYPER) & 0x1f;
    for offset in (1..=words).map(|word| u64::from(word * 4)) {
        mmio::write32(base + distributor::ICENABLER + offset, u32::MAX);
        mmio::write32(base + distributor::ICPENDR + offset, u32::MAX);
        mmio::write32(base + distributor::ICACTIVER + offset, u32::MAX);
        mmio::write32(base + distributor::IGROUPR + offset, group);
    }
}

/// The controller and where its frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gic {
    /// GICv2: distributor and CPU interface.
    V2 {
        /// Address of the distributor.
        distributor: u64,
        /// Address of the CPU interface.
        cpu_interface: u64,
    },
    /// GICv3: distributor and redistributors; the CPU interface is in system registers.
    V3 {
        /// Address of the distributor.
        distributor: u64,
        /// Address of the first redistributor.
        redistributors: u64,
        /// Bytes of all redistributors together.
        size: u64,
    },
}

/// An acknowledged interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt(u32);

impl Interrupt {
    /// Takes what an acknowledge register returned.
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// Returns what the acknowledge register returned.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// Returns the INTID.
    pub const fn intid(self) -> u32 {
        self.0
            & 0xff_ffff
            & if self.0 & 0xffff_e000 == 0 {
                0x3ff
            } else {
                0xff_ffff
            }
    }

    /// Returns the CPU that sent an SGI (GICv2 only; 0 on GICv3).
    pub const fn source(self) -> u32 {
        (self.0 >> 10) & 0b111
    }
}

impl Gic {
    /// Returns the architecture version, 2 or 3.
    pub const fn version(&self) -> u32 {
        match self {
            Self::V2 { .. } => 2,
            Self::V3 { .. } => 3,
        }
    }

    /// Returns the distributor's address.
    pub const fn distributor(&self) -> u64 {
        match *self {
            Self::V2 { distributor, .. } | Self::V3 { distributor, .. } => distributor,
        }
    }

    /// Returns the frame in which this CPU finds the bits of `intid`: the distributor, or on GICv3
    /// for SGIs and PPIs its redistributor's SGI frame.
    pub fn frame(&self, intid: u32) -> u64 {
        match *self {
            Self::V3 {
                redistributors,
                size,
                ..
            } if intid < FIRST_SPI => gicv3::redistributor(redistributors, size) + gicv3::SGI_FRAME,
            _ => self.distributor(),
        }
    }

    /// Brings the distributor up; once, on the boot CPU.
    pub fn init(&self) {
        match *self {
            Self::V2 { distributor, .. } => gicv2::init(distributor),
            Self::V3 { distributor, .. } => gicv3::init(distributor),
        }
        self.init_cpu();
    }

    /// Brings this CPU's interface up with all priorities let through; on each CPU.
    pub fn init_cpu(&self) {
        match *self {
            Self::V2 {
                distributor,
                cpu_interface,
            } => gicv2::init_cpu(distributor, cpu_interface),
            Self::V3 {
                redistributors,
                size,
                ..
            } => gicv3::init_cpu(redistributors, size),
        }
    }

    /// Writes this interrupt's bit of a set or clear register group.
    pub fn write_bit(&self, group: u64, intid: u32) {
        let word = self.frame(intid) + group + u64::from(intid / 32 * 4);
        mmio::write32(word, 1 << (intid % 32));
    }

    /// Returns this interrupt's bit of a register group.
    pub fn read_bit(&self, group: u64, intid: u32) -> bool {
        let word = self.frame(intid) + group + u64::from(intid / 32 * 4);
        mmio::read32(word) & (1 << (intid % 32)) != 0
    }

    /// Enables an interrupt at [`DEFAULT_PRIORITY`], an SPI towards the calling CPU.
    pub fn enable(&self, intid: u32) {
        self.set_priority(intid, DEFAULT_PRIORITY);
        if intid >= FIRST_SPI {
            self.route_here(intid);
        }
        self.write_bit(distributor::ISENABLER, intid);
    }

    /// Disables an interrupt and waits until that holds.
    pub fn disable(&self, intid: u32) {
        self.write_bit(distributor::ICENABLER, intid);
        if let Self::V3 { .. } = self {
            gicv3::wait_for_writes(self.distributor());
        }
    }

    /// Sets a priority; smaller is more urgent.
    pub fn set_priority(&self, intid: u32, priority: u8) {
        let byte = self.frame(intid) + distributor::IPRIORITYR + u64::from(intid);
        mmio::write8(byte, priority);
    }

    /// Returns a priority as the controller keeps it.
    pub fn priority(&self, intid: u32) -> u8 {
        mmio::read8(self.frame(intid) + distributor::IPRIORITYR + u64::from(intid))
    }

    /// Routes an SPI to the calling CPU.
    pub fn route_here(&self, intid: u32) {
        match *self {
            Self::V2 { distributor, .. } => gicv2::route_here(distributor, intid),
            Self::V3 { distributor, .. } => gicv3::route_here(distributor, intid),
        }
    }

    /// Acknowledges the most urgent pending interrupt, if there is one.
    pub fn acknowledge(&self) -> Option<Interrupt> {
        let interrupt = Interrupt(self.acknowledge_raw());
        (interrupt.intid() < FIRST_SPECIAL).then_some(interrupt)
    }

    /// Reads the acknowledge register as it is.
    pub fn acknowledge_raw(&self) -> u32 {
        match *self {
            Self::V2 { cpu_interface, .. } => gicv2::acknowledge(cpu_interface),
            Self::V3 { .. } => gicv3::acknowledge(),
        }
    }

    /// Ends an interrupt: drops its priority, and deactivates it unless EOImode is 1.
    pub fn end(&self, interrupt: Interrupt) {
        match *self {
            Self::V2 { cpu_interface, .. } => gicv2::end(cpu_interface, interrupt.raw()),
            Self::V3 { .. } => gicv3::end(interrupt.raw()),
        }
    }

    /// Deactivates an interrupt (EOImode 1).
    pub fn deactivate(&self, interrupt: Interrupt) {
        match *self {
            Self::V2 { cpu_interface, .. } => gicv2::deactivate(cpu_interface, interrupt.raw()),
            Self::V3 { .. } => gicv3::deactivate(interrupt.raw()),
        }
    }

    /// Chooses EOImode: with `split`, [`Gic::end`] only drops the priority.
    pub fn set_split_end(&self, split: bool) {
        match *self {
            Self::V2 { cpu_interface, .. } => gicv2::set_split_end(cpu_interface, split),
            Self::V3 { .. } => gicv3::set_split_end(split),
        }
    }

    /// Lets through only interrupts more urgent than `priority`.
    pub fn set_priority_mask(&self, priority: u8) {
        match *self {
            Self::V2 { cpu_interface, .. } => gicv2::set_priority_mask(cpu_interface, priority),
            Self::V3 { .. } => gicv3::set_priority_mask(priority),
        }
    }

    /// Sends SGI `intid` (0-15) to the CPU with this affinity.
    pub fn send_sgi(&self, intid: u32, affinity: u64) {
        match *self {
            Self::V2 { distributor, .. } => gicv2::send_sgi(distributor, intid, affinity),
            Self::V3 { .. } => gicv3::send_sgi(intid, affinity),
        }
    }
}
