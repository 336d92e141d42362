//! A GIC as the specifications describe it, one interrupt at a time, with no list registers: what the guest should see.

use super::{DEVICE, DEVICE_EDGE, DOORBELL, DOORBELL_2, GicVersion, LINE, TIMER};
use std::collections::BTreeMap;

#[derive(Clone, Default, Debug)]
pub struct Interrupt {
    pub enabled: bool,
    pub group1: bool,
    pub priority: u8,
    pub edge: bool,
    pub latch: bool,
    pub sources: u8,
    pub line: bool,
    pub target: Option<u8>,
    pub active: bool,
    pub holder: u8,
    pub physical: bool,
    /// The device's line or latched edge in the physical GIC.
    pub device_line: bool,
    pub device_latch: bool,
    /// EL2 took the physical interrupt, and the guest has not acknowledged it.
    pub captured: bool,
    /// The active state is that of the physical interrupt.
    pub active_physical: bool,
}

impl Interrupt {
    pub fn pending(&self) -> bool {
        self.latch || self.captured || (self.line && !self.edge)
    }
}

pub struct Reference {
    version: GicVersion,
    pub vcpus: u8,
    pub group_enable: [bool; 2],
    pub interrupts: BTreeMap<(u8, u16), Interrupt>,
    /// Running priorities of each vCPU, the most urgent last.
    pub running: Vec<Vec<u8>>,
}

impl Reference {
    pub fn new(version: GicVersion, vcpus: u8) -> Self {
        let mut interrupts = BTreeMap::new();
        let v2 = version == GicVersion::V2;
        for vcpu in 0..vcpus {
            for sgi in 0..16 {
                let sgi_state = Interrupt {
                    edge: true,
                    enabled: v2,
                    target: Some(vcpu),
                    ..Interrupt::default()
                };
                interrupts.insert((vcpu, sgi), sgi_state);
            }
            let timer = Interrupt {
                physical: true,
                target: Some(vcpu),
                ..Interrupt::default()
            };
            interrupts.insert((vcpu, TIMER), timer);
        }
        let target = if v2 && vcpus > 1 { None } else { Some(0) };
        for (intid, edge, physical) in [
            (LINE, false, false),
            (DOORBELL, true, false),
            (DOORBELL_2, true, false),
            (DEVICE, false, true),
            (DEVICE_EDGE, true, true),
        ] {
            let spi = Interrupt {
                edge,
                physical,
                target,
                ..Interrupt::default()
            };
            interrupts.insert((0, intid), spi);
        }
        Self {
            version,
            vcpus,
            group_enable: [false; 2],
            interrupts,
            running: vec![Vec::new(); usize::from(vcpus)],
        }
    }

    pub fn get(&mut self, vcpu: u8, intid: u16) -> Option<&mut Interrupt> {
        let bank = if intid < 32 { vcpu } else { 0 };
        self.interrupts.get_mut(&(bank, intid))
    }

    /// EL2 takes whatever the physical GIC offers; an undelivered level is handed back when disabled.
    pub fn settle(&mut self) {
        for interrupt in self
            .interrupts
            .values_mut()
            .filter(|interrupt| interrupt.physical)
        {
            if interrupt.captured && !interrupt.enabled && !interrupt.edge {
                interrupt.captured = false;
            }
            let owed = interrupt.captured || interrupt.active_physical;
            let offered = interrupt.device_latch || (interrupt.device_line && !interrupt.edge);
            if interrupt.enabled && !owed && offered {
                interrupt.captured = true;
                interrupt.device_latch = false;
            }
        }
    }

    pub fn set_device(&mut self, vcpu: u8, intid: u16, level: bool) {
        let interrupt = self.get(vcpu, intid).unwrap();
        if level && !interrupt.device_line && interrupt.edge {
            interrupt.device_latch = true;
        }
        interrupt.device_line = level;
    }

    pub fn set_line(&mut self, intid: u16, level: bool) {
        let interrupt = self.get(0, intid).unwrap();
        if level && !interrupt.line && interrupt.edge {
            interrupt.latch = true;
        }
        interrupt.line = level;
    }

    pub fn send(&mut self, from: u8, sgi: u16, targets: u8) {
        for target in (0..self.vcpus).filter(|target| targets >> target & 1 != 0) {
            let interrupt = self.get(target, sgi).unwrap();
            interrupt.latch = true;
            interrupt.sources |= 1 << from;
        }
    }

    /// What the vCPU would be given now: INTID and priority.
    pub fn offered(&self, vcpu: u8) -> Option<(u16, u8)> {
        let running = self.running[usize::from(vcpu)]
            .last()
            .copied()
            .unwrap_or(0xff);
        self.interrupts
            .iter()
            .filter(|((bank, intid), interrupt)| {
                (*intid >= 32 || *bank == vcpu)
                    && interrupt.target == Some(vcpu)
                    && interrupt.enabled
                    && self.group_enable[usize::from(interrupt.group1)]
                    && interrupt.pending()
                    && !interrupt.active
            })
            .map(|((_, intid), interrupt)| (interrupt.priority, *intid))
            .min()
            .filter(|(priority, _)| *priority < running)
            .map(|(priority, intid)| (intid, priority))
    }

    /// Acknowledges; gives the INTID and, on GICv2, the source of an SGI.
    pub fn acknowledge(&mut self, vcpu: u8) -> Option<(u16, u8)> {
        let (intid, priority) = self.offered(vcpu)?;
        let v2_sgi = self.version == GicVersion::V2 && intid < 16;
        let interrupt = self.get(vcpu, intid).unwrap();
        let mut source = 0;
        interrupt.latch = false;
        if v2_sgi {
            source = interrupt.sources.trailing_zeros() as u8;
            interrupt.sources &= interrupt.sources - 1;
            interrupt.latch = interrupt.sources != 0;
        }
        interrupt.active = true;
        interrupt.active_physical = interrupt.captured;
        interrupt.captured = false;
        interrupt.holder = vcpu;
        self.running[usize::from(vcpu)].push(priority);
        Some((intid, source))
    }

    pub fn drop_priority(&mut self, vcpu: u8) {
        self.running[usize::from(vcpu)].pop();
    }

    pub fn deactivate(&mut self, vcpu: u8, intid: u16) {
        let interrupt = self.get(vcpu, intid).unwrap();
        interrupt.active = false;
        interrupt.active_physical = false;
    }

    pub fn clear_pending(&mut self, vcpu: u8, intid: u16) {
        let interrupt = self.get(vcpu, intid).unwrap();
        interrupt.latch = false;
        interrupt.captured = false;
        interrupt.device_latch = false;
    }
}
