//! The virtual GIC and the reference side by side, step by step.

use super::reference::Reference;
use super::system::System;
use super::*;

/// What steps are about.
pub const INTIDS: [u16; 9] = [
    0,
    1,
    2,
    TIMER,
    LINE,
    DOORBELL,
    DOORBELL_2,
    DEVICE,
    DEVICE_EDGE,
];

/// What a guest or a device does.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    GroupEnables(u8),
    Enable(u8, u16),
    Disable(u8, u16),
    SetPending(u8, u16),
    ClearPending(u8, u16),
    SetActive(u8, u16),
    ClearActive(u8, u16),
    Priority(u8, u16, u8),
    Group(u8, u16, bool),
    Target(u8, u16, u8),
    Edge(u8, u16, bool),
    Sgi(u8, u16, u8),
    ClearSource(u8, u16, u8),
    SetSource(u8, u16, u8),
    Line(bool),
    Raise(u16),
    Device(u8, u16, bool),
    Acknowledge(u8),
    End(u8),
    Deactivate(u8, u8),
    Visit(u8),
    Read(u8, u16),
}

/// The system and the reference side by side, and the guest's own memory of what it has acknowledged.
pub struct Pair {
    pub system: System,
    pub reference: Reference,
    /// Acknowledged and not ended, for each vCPU, the latest last.
    pub nested: Vec<Vec<(u16, u8)>>,
    /// Ended but not deactivated (EOImode 1).
    dropped: Vec<Vec<(u16, u8)>>,
}

impl Pair {
    pub fn new((config, split, direct): (Config, bool, bool)) -> Self {
        let vcpus = usize::from(config.vcpus);
        let mut pair = Self {
            system: System::new(config, split, direct),
            reference: Reference::new(config.version, config.vcpus),
            nested: vec![vec![]; vcpus],
            dropped: vec![vec![]; vcpus],
        };
        // Most things are on at first, so that short sequences reach far.
        pair.apply(&Step::GroupEnables(3));
        for vcpu in 0..config.vcpus {
            for intid in INTIDS {
                if intid < 32 || vcpu == 0 {
                    pair.apply(&Step::Enable(vcpu, intid));
                    pair.apply(&Step::Priority(vcpu, intid, (intid as u8 % 5) << 4 | 0x80));
                    pair.apply(&Step::Target(0, intid, (intid % 3) as u8));
                }
            }
        }
        pair
    }

    pub fn v3(&self) -> bool {
        self.system.config.version == GicVersion::V3
    }

    fn write_bit(&mut self, by: u8, offset: u32, intid: u16) {
        let (frame, offset) = self.system.bank(by, offset, u32::from(intid / 32));
        self.system.write(by, frame, offset, 4, 1 << (intid % 32));
    }

    fn write_byte(&mut self, by: u8, offset: u32, intid: u16, value: u8) {
        let (frame, base) = match intid {
            0..32 => self.system.bank(by, offset, 0),
            _ => (Frame::Distributor, offset),
        };
        self.system
            .write(by, frame, base + u32::from(intid), 1, value.into());
    }

    /// Changes one field of a register: reads it, and writes it back.
    fn update(&mut self, by: u8, offset: u32, register: u32, clear: u32, set: u32, private: bool) {
        let (frame, base) = self.system.bank(by, offset, u32::from(!private));
        let base = if private { base } else { base - 4 } + 4 * register;
        let old = self.system.read(by, frame, base);
        self.system
            .write(by, frame, base, 4, u64::from(old & !clear | set));
    }

    pub fn apply(&mut self, step: &Step) {
        let vcpus = self.reference.vcpus;
        let at = |cpu: &u8| cpu % vcpus;
        match step {
            Step::GroupEnables(value) => {
                self.system
                    .write(0, Frame::Distributor, 0, 4, u64::from(*value));
                self.reference.group_enable = [value & 1 != 0, value & 2 != 0];
            }
            Step::Enable(cpu, intid) => {
                self.write_bit(at(cpu), 0x100, *intid);
                self.reference.get(at(cpu), *intid).unwrap().enabled = true;
            }
            Step::Disable(cpu, intid) => {
                self.write_bit(at(cpu), 0x180, *intid);
                if self.v3() || *intid >= 16 {
                    self.reference.get(at(cpu), *intid).unwrap().enabled = false;
                }
            }
            Step::SetPending(cpu, intid) => {
                self.write_bit(at(cpu), 0x200, *intid);
                if self.v3() || *intid >= 16 {
                    self.reference.get(at(cpu), *intid).unwrap().latch = true;
                }
            }
            Step::ClearPending(cpu, intid) => {
                self.write_bit(at(cpu), 0x280, *intid);
                if self.v3() || *intid >= 16 {
                    self.reference.clear_pending(at(cpu), *intid);
                }
            }
            Step::SetActive(cpu, intid) => self.set_active(at(cpu), *intid),
            Step::ClearActive(cpu, intid) => self.clear_active(at(cpu), *intid),
            Step::Priority(cpu, intid, value) => {
                self.write_byte(at(cpu), 0x400, *intid, *value);
                self.reference.get(at(cpu), *intid).unwrap().priority = value & 0xf8;
            }
            Step::Group(cpu, intid, group1) => {
                let bit = 1 << (intid % 32);
                let register = u32::from(intid / 32);
                self.update(
                    at(cpu),
                    0x80,
                    register,
                    bit,
                    if *group1 { bit } else { 0 },
                    *intid < 32,
                );
                self.reference.get(at(cpu), *intid).unwrap().group1 = *group1;
            }
            Step::Target(cpu, intid, target) => self.target(at(cpu), *intid, *target),
            Step::Edge(cpu, intid, edge) => {
                let interrupt = self.reference.get(0, *intid).unwrap();
                if !interrupt.physical {
                    interrupt.edge = *edge;
                    let bit = 2 << (intid % 16 * 2);
                    let register = u32::from(intid / 16);
                    self.update(
                        at(cpu),
                        0xc00,
                        register,
                        bit,
                        if *edge { bit } else { 0 },
                        false,
                    );
                }
            }
            Step::Sgi(cpu, sgi, targets) => self.send(at(cpu), *sgi, *targets),
            Step::ClearSource(cpu, sgi, sources) if !self.v3() => {
                self.write_byte_at(at(cpu), 0xf10, *sgi, *sources);
                let interrupt = self.reference.get(at(cpu), *sgi).unwrap();
                interrupt.sources &= !sources;
                interrupt.latch = interrupt.sources != 0;
            }
            Step::SetSource(cpu, sgi, sources) if !self.v3() => {
                self.write_byte_at(at(cpu), 0xf20, *sgi, *sources);
                let everyone = (1u8 << vcpus) - 1;
                let interrupt = self.reference.get(at(cpu), *sgi).unwrap();
                interrupt.sources |= sources & everyone;
                interrupt.latch = interrupt.sources != 0;
            }
            Step::ClearSource(..) | Step::SetSource(..) => {}
            Step::Line(level) => {
                self.system
                    .call(|gic, effects| gic.set_level(LINE, *level, effects));
                self.reference.set_line(LINE, *level);
            }
            Step::Raise(intid) => {
                // One that is quiet may come once more than the reference says: `late` has that.
                let (word, bit) = (usize::from(intid / 32), usize::from(intid % 32));
                if !self.system.bench.table.is_quiet(word, bit) {
                    self.system.ring(*intid);
                    self.reference.get(0, *intid).unwrap().latch = true;
                }
            }
            Step::Device(cpu, intid, level) => self.device(at(cpu), *intid, *level),
            Step::Acknowledge(cpu) => self.acknowledge(at(cpu)),
            Step::End(cpu) => self.end(at(cpu)),
            Step::Deactivate(cpu, which) => self.deactivate(at(cpu), *which),
            Step::Visit(cpu) => self.system.fold_and_fill(at(cpu)),
            Step::Read(cpu, intid) => self.read(at(cpu), *intid),
        }
        self.system.settle();
        self.reference.settle();
    }

    fn write_byte_at(&mut self, by: u8, offset: u32, sgi: u16, value: u8) {
        self.system.write(
            by,
            Frame::Distributor,
            offset + u32::from(sgi),
            1,
            value.into(),
        );
    }

    fn on_a_stack(&self, intid: u16) -> bool {
        self.nested
            .iter()
            .flatten()
            .any(|(other, _)| *other == intid)
    }

    // By hand, active states are changed only with EOImode 1: with EOImode 0 the guest would have to end what is not
    // active, or in another order than that of priorities, which the architecture leaves UNPREDICTABLE.
    fn set_active(&mut self, by: u8, intid: u16) {
        if !self.system.split_eoi || self.on_a_stack(intid) {
            return;
        }
        let interrupt = self.reference.get(by, intid).unwrap().clone();
        if interrupt.active || !self.v3() && intid < 16 {
            return;
        }
        let interrupt = self.reference.get(by, intid).unwrap();
        interrupt.active = true;
        interrupt.holder = interrupt.target.unwrap_or(by);
        let holder = interrupt.holder;
        self.dropped[usize::from(holder)].push((intid, 0));
        self.write_bit(by, 0x300, intid);
    }

    fn clear_active(&mut self, by: u8, intid: u16) {
        if !self.system.split_eoi || self.on_a_stack(intid) {
            return;
        }
        for (vcpu, dropped) in self.dropped.iter_mut().enumerate() {
            dropped.retain(|(other, _)| *other != intid || intid < 32 && vcpu != usize::from(by));
        }
        self.reference.deactivate(by, intid);
        self.write_bit(by, 0x380, intid);
    }

    pub fn target(&mut self, by: u8, intid: u16, target: u8) {
        if intid < 32 {
            return;
        }
        let vcpus = self.reference.vcpus;
        if self.v3() {
            let offset = 0x6000 + 8 * u32::from(intid);
            self.system
                .write(by, Frame::Distributor, offset, 8, target.into());
            self.reference.get(0, intid).unwrap().target = (target < vcpus).then_some(target);
        } else {
            let mask = if target < 4 { 1 << target } else { 0 };
            self.write_byte(by, 0x800, intid, mask);
            if vcpus > 1 {
                self.reference.get(0, intid).unwrap().target =
                    (target < vcpus.min(4)).then_some(target);
            }
        }
    }

    pub fn send(&mut self, by: u8, sgi: u16, targets: u8) {
        self.reference.send(by, sgi, targets);
        let (list, sgi) = (u64::from(targets), u64::from(sgi));
        let value = if self.v3() {
            sgi << 24 | list
        } else {
            list << 16 | sgi
        };
        if self.system.use_direct {
            self.system.post(by, value);
        } else if self.v3() {
            self.system
                .call(|gic, effects| gic.send_sgi1r(vcpu(by), value, effects));
        } else {
            self.system.write(by, Frame::Distributor, 0xf00, 4, value);
        }
    }

    pub fn device(&mut self, by: u8, intid: u16, level: bool) {
        let private = |bank: Option<u8>| bank.is_none_or(|bank| bank == by);
        let physical = self
            .system
            .physical
            .iter_mut()
            .find(|physical| physical.intid == intid && private(physical.bank))
            .unwrap();
        if level && !physical.line && physical.edge {
            physical.latch = true;
        }
        physical.line = level;
        self.reference.set_device(by, intid, level);
    }

    fn acknowledge(&mut self, by: u8) {
        let got = self.system.acknowledge(by);
        let expected = self.reference.acknowledge(by);
        assert_eq!(got, expected, "vCPU {by} acknowledges");
        self.nested[usize::from(by)].extend(got);
    }

    pub fn end(&mut self, by: u8) {
        let Some((intid, source)) = self.nested[usize::from(by)].pop() else {
            return;
        };
        self.system.end(by, intid, source);
        self.reference.drop_priority(by);
        if self.system.split_eoi {
            self.dropped[usize::from(by)].push((intid, source));
        } else {
            self.reference.deactivate(by, intid);
        }
    }

    pub fn deactivate(&mut self, by: u8, which: u8) {
        let dropped = &mut self.dropped[usize::from(by)];
        if dropped.is_empty() {
            return;
        }
        let (intid, source) = dropped.remove(usize::from(which) % dropped.len());
        self.system.deactivate(by, intid, source);
        self.reference.deactivate(by, intid);
    }

    fn read(&mut self, by: u8, intid: u16) {
        let expected = self.reference.get(by, intid).unwrap().clone();
        for (offset, bit) in [
            (0x80, expected.group1),
            (0x100, expected.enabled),
            (0x180, expected.enabled),
            (0x200, expected.pending()),
            (0x280, expected.pending()),
            (0x300, expected.active),
            (0x380, expected.active),
        ] {
            let (frame, offset) = self.system.bank(by, offset, u32::from(intid / 32));
            let read = self.system.read(by, frame, offset) >> (intid % 32) & 1;
            assert_eq!(read, u32::from(bit), "register {offset:#x} for {intid}");
        }
        if !self.v3() && intid < 16 {
            let (register, shift) = (0xf20 + u32::from(intid & !3), u32::from(intid & 3) * 8);
            let read = self.system.read(by, Frame::Distributor, register) >> shift & 0xff;
            assert_eq!(read, u32::from(expected.sources));
        }
    }

    /// Switches everything off but what is pending and active, and lets the guest finish all of it.
    pub fn drain(&mut self) {
        for vcpu in 0..self.reference.vcpus {
            while !self.nested[usize::from(vcpu)].is_empty() {
                self.apply(&Step::End(vcpu));
            }
            while !self.dropped[usize::from(vcpu)].is_empty() {
                self.apply(&Step::Deactivate(vcpu, 0));
            }
        }
        for vcpu in 0..self.reference.vcpus {
            for _ in 0..200 {
                self.apply(&Step::Line(false));
                for intid in [TIMER, DEVICE, DEVICE_EDGE] {
                    self.apply(&Step::Device(vcpu, intid, false));
                }
                let before = self.nested[usize::from(vcpu)].len();
                self.apply(&Step::Acknowledge(vcpu));
                if self.nested[usize::from(vcpu)].len() == before {
                    break;
                }
                self.apply(&Step::End(vcpu));
                self.apply(&Step::Deactivate(vcpu, 0));
            }
            for intid in INTIDS {
                self.apply(&Step::Read(vcpu, intid));
            }
        }
    }
}
