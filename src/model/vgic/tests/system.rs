//! A board around the model: virtual CPU interfaces that work on the filled list registers, a physical GIC, and the caller
//! that the module documentation asks for.

use super::*;
use crate::arm::list_register::InterfaceControl;

/// The virtual CPU interface of one core.
pub struct Core {
    pub lrs: Vec<ListRegister>,
    pub control: InterfaceControl,
    pub overflow: bool,
    pub trap_dir: bool,
    pub eoi_count: u32,
    pub running: Vec<u8>,
}

/// An interrupt of the physical GIC.
#[derive(Clone, Default)]
pub struct Physical {
    pub intid: u16,
    pub bank: Option<u8>,
    pub edge: bool,
    pub line: bool,
    pub latch: bool,
    pub enabled: bool,
    pub active: bool,
    pub route: u8,
}

/// The board. `kicked` are cores that must fold and fill and have not yet.
pub struct System {
    pub bench: Bench,
    pub config: Config,
    pub cores: Vec<Core>,
    pub physical: Vec<Physical>,
    pub kicked: u8,
    /// Cores to which an SGI was posted, and that have not looked yet.
    pub posted: u8,
    /// The same of doorbells.
    pub rung: u8,
    pub split_eoi: bool,
    pub use_direct: bool,
}

impl System {
    pub fn new(config: Config, split_eoi: bool, use_direct: bool) -> Self {
        let invalid = ListRegister::default();
        let core = |_| Core {
            lrs: vec![invalid; usize::from(config.list_registers)],
            control: InterfaceControl::ENABLE,
            overflow: false,
            trap_dir: false,
            eoi_count: 0,
            running: Vec::new(),
        };
        let mut physical: Vec<_> = (0..config.vcpus)
            .map(|bank| Physical {
                intid: TIMER,
                bank: Some(bank),
                route: bank,
                ..Physical::default()
            })
            .collect();
        physical.push(Physical {
            intid: DEVICE,
            ..Physical::default()
        });
        physical.push(Physical {
            intid: DEVICE_EDGE,
            edge: true,
            ..Physical::default()
        });
        Self {
            bench: Bench::new(&config),
            config,
            cores: (0..config.vcpus).map(core).collect(),
            physical,
            kicked: 0,
            posted: 0,
            rung: 0,
            split_eoi,
            use_direct,
        }
    }

    /// Calls the model and does what it asks, cores to fold apart: they are noted.
    pub fn call<T>(&mut self, call: impl FnOnce(&mut Vgic, &mut Effects<'_>) -> T) -> T {
        let mut effects = Effects::new(&self.bench.table);
        let result = call(&mut self.bench.gic, &mut effects);
        self.kicked |= effects.kick | effects.retract;
        for effect in effects.physical.clone() {
            self.apply(effect);
        }
        result
    }

    fn apply(&mut self, effect: Effect) {
        let (word, mask, vcpu) = match effect {
            Effect::Route { intid, vcpu } => {
                for physical in self
                    .physical
                    .iter_mut()
                    .filter(|physical| physical.intid == intid)
                {
                    physical.route = vcpu.get();
                }
                return;
            }
            Effect::Enable { vcpu, word, mask }
            | Effect::Disable { vcpu, word, mask }
            | Effect::Deactivate { vcpu, word, mask }
            | Effect::ClearPending { vcpu, word, mask }
            | Effect::Reset { vcpu, word, mask } => (word, mask, vcpu.get()),
            Effect::Trigger { word, mask, .. } => (word, mask, 0),
        };
        for physical in &mut self.physical {
            let place =
                physical.intid / 32 == u16::from(word) && mask >> (physical.intid % 32) & 1 != 0;
            if !place || physical.bank.is_some_and(|bank| bank != vcpu) {
                continue;
            }
            match effect {
                Effect::Enable { .. } => physical.enabled = true,
                Effect::Disable { .. } => physical.enabled = false,
                Effect::Deactivate { .. } => {
                    assert!(
                        physical.active,
                        "{} is deactivated and not active",
                        physical.intid
                    );
                    physical.active = false;
                }
                Effect::ClearPending { .. } => physical.latch = false,
                _ => {}
            }
        }
    }

    pub fn fold(&mut self, of: u8) {
        let core = &mut self.cores[usize::from(of)];
        let used: Vec<_> = core
            .lrs
            .iter()
            .copied()
            .filter(|lr| lr.state() != State::Invalid || lr.has_eoi())
            .collect();
        core.lrs.fill(ListRegister::default());
        let eoi_count = core::mem::take(&mut core.eoi_count);
        self.call(|gic, effects| gic.fold(vcpu(of), &used, eoi_count, effects));
    }

    pub fn fill(&mut self, of: u8) {
        let filled = self.call(|gic, effects| gic.fill(vcpu(of), effects));
        // GICV_DIR lies in a page of its own, which the guest does not get; ICC_DIR_EL1 traps by TDIR.
        let v2 = self.config.version == GicVersion::V2;
        let core = &mut self.cores[usize::from(of)];
        core.control = filled.control();
        core.overflow = filled.overflow;
        core.trap_dir = self.split_eoi && (filled.evicted || v2);
        for (to, from) in core.lrs.iter_mut().zip(&filled.lrs) {
            *to = *from;
        }
        assert!(filled.lrs.len() <= core.lrs.len());
        let mut seen: Vec<_> = filled.lrs.iter().map(|lr| lr.intid()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), filled.lrs.len(), "an interrupt is listed twice");
        self.kicked &= !(1 << of);
    }

    /// A register access of a guest, with the folds it needs.
    pub fn access<T>(
        &mut self,
        by: u8,
        frame: Frame,
        offset: u32,
        call: impl FnOnce(&mut Vgic, &mut Effects<'_>) -> T,
    ) -> T {
        let cores: Vec<u8> = match self.bench.gic.reach(vcpu(by), frame, offset) {
            Reach::None => vec![],
            Reach::Of(of) => vec![of.get()],
            Reach::All => (0..self.config.vcpus).collect(),
        };
        for &core in &cores {
            self.fold(core);
        }
        let result = self.call(call);
        for &core in &cores {
            self.fill(core);
        }
        result
    }

    /// Where the bank at `offset` for word `word` is, for a guest that runs on `by`.
    pub fn bank(&self, by: u8, offset: u32, word: u32) -> (Frame, u32) {
        if self.config.version == GicVersion::V3 && word == 0 {
            (Frame::Redistributor(vcpu(by)), 0x1_0000 + offset)
        } else {
            (Frame::Distributor, offset + 4 * word)
        }
    }

    pub fn write(&mut self, by: u8, frame: Frame, offset: u32, width: u8, value: u64) {
        self.access(by, frame, offset, |gic, effects| match frame {
            Frame::Distributor => gic.distributor_write(vcpu(by), offset, width, value, effects),
            Frame::Redistributor(of) => gic.redistributor_write(of, offset, width, value, effects),
        });
    }

    pub fn read(&mut self, by: u8, frame: Frame, offset: u32) -> u32 {
        self.access(by, frame, offset, |gic, _| match frame {
            Frame::Distributor => gic.distributor_read(vcpu(by), offset, 4) as u32,
            Frame::Redistributor(of) => gic.redistributor_read(of, offset, 4) as u32,
        })
    }

    /// Whether the core's maintenance interrupt is asserted.
    pub fn maintenance(&self, of: u8) -> bool {
        let core = &self.cores[usize::from(of)];
        let eoi = core
            .lrs
            .iter()
            .any(|lr| lr.state() == State::Invalid && lr.has_eoi());
        let none = !core.lrs.iter().any(|lr| lr.state() == State::Pending);
        let missed = core.eoi_count != 0;
        eoi || none && core.control.contains(InterfaceControl::NO_PENDING)
            || missed && core.control.contains(InterfaceControl::ENTRY_NOT_PRESENT)
    }

    /// EL2 takes one interrupt that the physical GIC offers, if any.
    pub fn take_physical(&mut self) -> bool {
        let offered = |physical: &&mut Physical| {
            let pending = physical.latch || physical.line && !physical.edge;
            pending && physical.enabled && !physical.active
        };
        let Some(physical) = self.physical.iter_mut().find(offered) else {
            return false;
        };
        physical.active = true;
        physical.latch = false;
        let (core, intid) = (physical.route, physical.intid);
        let direct = self.bench.table.direct(vcpu(core), intid);
        if !self.give_directly(core, direct) {
            self.call(|gic, effects| gic.physical(vcpu(core), intid, effects));
        }
        true
    }

    /// Writes a list register without the model, if that is allowed.
    pub fn give_directly(&mut self, to: u8, value: u64) -> bool {
        let core = &mut self.cores[usize::from(to)];
        let free = core
            .lrs
            .iter_mut()
            .find(|lr| lr.state() == State::Invalid && !lr.has_eoi());
        match free {
            Some(lr) if self.use_direct && value != 0 && !core.overflow => {
                *lr = ListRegister::decode(self.config.version, value);
                true
            }
            _ => false,
        }
    }

    /// A guest's SGI, posted past the model. The targets are kicked; those that may take it directly do so when they come.
    pub fn post(&mut self, from: u8, value: u64) {
        let (version, vcpus) = (self.config.version, self.config.vcpus);
        let (sgi, targets) = sgi_targets(version, vcpus, vcpu(from), value);
        self.bench.table.post(vcpu(from), sgi, targets, version);
        self.posted |= targets;
    }

    /// A doorbell of another partition's, rung past the model: its core is told, if any is to be.
    pub fn ring(&mut self, intid: u16) {
        if let Some(target) = self.bench.table.bell(intid).unwrap().ring() {
            assert!(target.get() < self.config.vcpus, "nobody is told");
            self.rung |= 1 << target.get();
        }
    }

    /// What a kicked core does: takes a lone SGI directly if it may, else folds and fills.
    pub fn visit(&mut self, of: u8) {
        let empty = |lr: &ListRegister| lr.state() == State::Invalid && !lr.has_eoi();
        let core = &self.cores[usize::from(of)];
        let idle = core.lrs.iter().all(empty) && !core.overflow && core.eoi_count == 0;
        let posted = self.posted >> of & 1 != 0;
        // Each is an interrupt of its own.
        let rung = !posted && self.rung >> of & 1 != 0;
        self.posted &= !(1 << of);
        self.rung &= !(u8::from(rung) << of);
        if rung && idle && self.kicked >> of & 1 == 0 {
            let table = &self.bench.table;
            let value = if self.use_direct {
                table.take_bell(table, vcpu(of))
            } else {
                0
            };
            if value != 0 {
                assert!(self.give_directly(of, value), "there is room");
                return;
            }
        }
        if posted && idle && self.kicked >> of & 1 == 0 {
            let value = self.bench.table.take_one(vcpu(of), self.config.version);
            if value != 0 {
                assert!(self.give_directly(of, value), "there is room");
                return;
            }
        }
        self.fold_and_fill(of);
    }

    pub fn fold_and_fill(&mut self, of: u8) {
        self.fold(of);
        self.fill(of);
    }

    /// Lets everything happen that happens by itself. Panics if it never ends, as a storm of maintenance interrupts would.
    pub fn settle(&mut self) {
        for _ in 0..200 {
            let mut busy = false;
            for core in 0..self.config.vcpus {
                if (self.kicked | self.posted | self.rung) >> core & 1 != 0
                    || self.maintenance(core)
                {
                    self.visit(core);
                    busy = true;
                }
            }
            busy |= self.take_physical();
            if !busy {
                return;
            }
        }
        panic!("the system does not settle");
    }

    /// The guest reads IAR.
    pub fn acknowledge(&mut self, by: u8) -> Option<(u16, u8)> {
        let core = &mut self.cores[usize::from(by)];
        let running = core.running.last().copied().unwrap_or(0xff);
        let lr = core
            .lrs
            .iter_mut()
            .filter(|lr| lr.state() == State::Pending && lr.priority() < running)
            .min_by_key(|lr| (lr.priority(), lr.intid()))?;
        *lr = lr.with_state(State::Active);
        core.running.push(lr.priority());
        Some((lr.intid(), lr.source()))
    }

    /// The guest writes EOIR, and with `split_eoi` that is only the priority drop.
    pub fn end(&mut self, by: u8, intid: u16, source: u8) {
        self.cores[usize::from(by)].running.pop();
        if !self.split_eoi {
            self.deactivate(by, intid, source);
        }
    }

    /// The guest deactivates, by EOIR or DIR.
    pub fn deactivate(&mut self, by: u8, intid: u16, source: u8) {
        let core = &mut self.cores[usize::from(by)];
        if core.trap_dir {
            self.fold(by);
            self.call(|gic, effects| gic.deactivate(vcpu(by), intid, effects));
            self.fill(by);
            return;
        }
        let found = core
            .lrs
            .iter_mut()
            .find(|lr| lr.intid() == intid && lr.state().is_active());
        let Some(lr) = found else {
            core.eoi_count += 1;
            return;
        };
        assert_eq!(
            lr.source(),
            source,
            "an SGI's source changed while it was active"
        );
        let pending = lr.state() == State::PendingActive;
        *lr = lr.with_state(if pending {
            State::Pending
        } else {
            State::Invalid
        });
        if lr.is_hardware() {
            let physical = self
                .physical
                .iter_mut()
                .find(|physical| {
                    physical.intid == intid && physical.bank.is_none_or(|bank| bank == by)
                })
                .expect("only physical interrupts have HW");
            assert!(physical.active, "HW=1 deactivates an inactive {intid}");
            physical.active = false;
        }
    }
}
