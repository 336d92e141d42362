//! The virtual GIC between its model and the hardware: every path that touches both goes through here.
//!
//! Invariant: the list registers of a core are read and written by that core alone, with the partition's interrupt lock
//! held and the model folded before it is filled.

use super::channel::Port;
use super::machine::{Machine, Taken};
use super::partition::{Counter, Partition, Vcpu};
use crate::model::vgic::{Effects, Filled, Frame, Reach, Vgic, sgi_targets};
use crate::words::{PartitionId, VcpuId};

/// A vCPU on its own core.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a, 'b> {
    /// Its partition.
    pub partition: &'a Partition<'b>,
    /// The vCPU.
    pub vcpu: VcpuId,
    /// Every partition, by its identifier.
    pub partitions: &'a [Option<&'a Partition<'b>>],
}

impl<'a, 'b> Here<'a, 'b> {
    /// The partition `id`, if there is one.
    #[must_use]
    pub fn other(&self, id: PartitionId) -> Option<&'a Partition<'b>> {
        self.partitions.get(id.index()).copied().flatten()
    }

    /// Runs `operation` on the model, then brings hardware and model together: physical work is done, this core's list
    /// registers are folded and filled if they have to be, other cores with something new are interrupted.
    pub fn with<R>(
        &self,
        machine: &mut impl Machine,
        operation: impl FnOnce(&mut Vgic, &mut Effects<'_>) -> R,
    ) -> R {
        self.locked(machine, false, operation)
    }

    /// As [`Self::with`], with this core's list registers folded first.
    pub fn with_folded<R>(
        &self,
        machine: &mut impl Machine,
        operation: impl FnOnce(&mut Vgic, &mut Effects<'_>) -> R,
    ) -> R {
        self.locked(machine, true, operation)
    }

    /// As [`Self::with`], for a register access that must see what list registers hold.
    pub fn access<R>(
        &self,
        machine: &mut impl Machine,
        frame: Frame,
        offset: u32,
        operation: impl FnOnce(&mut Vgic, &mut Effects<'_>) -> R,
    ) -> R {
        let reach = self.partition.interrupts().reach(self.vcpu, frame, offset);
        match reach {
            Reach::None => self.locked(machine, false, operation),
            Reach::Of(vcpu) if vcpu == self.vcpu => self.locked(machine, true, operation),
            Reach::Of(_) | Reach::All if self.partition.vcpus.len() == 1 => {
                self.locked(machine, true, operation)
            }
            Reach::Of(_) | Reach::All => self.alone(machine, operation),
        }
    }

    /// Whether a core of the partition, or of the one at the other end of `port`, is lost.
    #[must_use]
    pub fn is_bereft(&self, port: &Port<'_>) -> bool {
        let peer = self.other(port.peer().partition);
        self.partition.life.has_lost() || peer.is_some_and(|peer| peer.life.has_lost())
    }

    /// Folds and fills: for a kick or a maintenance interrupt.
    pub fn refresh(&self, machine: &mut impl Machine) {
        self.locked(machine, true, |_, _| ());
    }

    /// Folds what the list registers hold, for a vCPU that goes off.
    pub fn unload(&self, machine: &mut impl Machine) {
        let mut vgic = self.partition.interrupts();
        let mut effects = Effects::new(&self.partition.direct);
        self.fold(&mut vgic, machine, &mut effects);
        self.finish(machine, &effects);
        self.partition.quiesce.set_loaded(self.vcpu, false);
    }

    /// Readies the list registers, which are empty, of a vCPU that comes up: with what waits for it, if anything does.
    pub fn load(&self, machine: &mut impl Machine) {
        self.partition.quiesce.set_loaded(self.vcpu, true);
        self.answer_call(machine);
        let waits = {
            let vgic = self.partition.interrupts();
            vgic.may_wait(self.vcpu, &self.partition.direct)
        };
        if waits {
            self.refresh(machine);
        }
    }

    /// Whether an interrupt waits that wakes the vCPU out of a power-down state. Its list registers are empty and stay so.
    #[must_use]
    pub fn would_wake(&self, machine: &mut impl Machine) -> bool {
        let mut vgic = self.partition.interrupts();
        let mut effects = Effects::new(&self.partition.direct);
        self.fold(&mut vgic, machine, &mut effects);
        // What would be offered goes back at once: nobody may find an interrupt in neither place.
        let offered = vgic.fill(self.vcpu, &mut effects).lrs;
        vgic.fold(self.vcpu, &offered, 0, &mut effects);
        self.finish(machine, &effects);
        offered.iter().any(|offer| offer.state().is_pending())
    }

    /// Whether the vCPU has interrupts in its list registers, once they are filled.
    #[must_use]
    pub fn is_pending(&self, machine: &mut impl Machine) -> bool {
        self.refresh(machine);
        machine.list_registers_used()
    }

    /// What its cores share about the vCPU.
    #[must_use]
    pub fn shared(&self) -> Option<&Vcpu> {
        self.partition.vcpu(self.vcpu)
    }

    /// Counts an exit of the vCPU.
    pub fn count(&self, counter: Counter) {
        if let Some(vcpu) = self.shared() {
            vcpu.statistics.count(counter);
        }
    }

    /// Answers a core of the partition that waits for this one, if any does.
    pub fn answer_call(&self, machine: &mut impl Machine) {
        let quiesce = &self.partition.quiesce;
        let Some(ticket) = quiesce.called(self.vcpu) else {
            return;
        };
        {
            let mut vgic = self.partition.interrupts();
            let mut effects = Effects::new(&self.partition.direct);
            self.fold(&mut vgic, machine, &mut effects);
            self.finish(machine, &effects);
        }
        quiesce.answer(self.vcpu, ticket);
        self.partition
            .wait(|| (!quiesce.is_open(self.vcpu, ticket)).then_some(()));
        self.refresh(machine);
    }

    fn locked<R>(
        &self,
        machine: &mut impl Machine,
        fold_first: bool,
        operation: impl FnOnce(&mut Vgic, &mut Effects<'_>) -> R,
    ) -> R {
        let mut vgic = self.partition.interrupts();
        let mut effects = Effects::new(&self.partition.direct);
        if fold_first {
            self.fold(&mut vgic, machine, &mut effects);
        }
        let result = operation(&mut vgic, &mut effects);
        if fold_first {
            self.fill(&mut vgic, machine, &mut effects);
            self.finish(machine, &effects);
        } else if !effects.is_empty() {
            self.settle(&mut vgic, machine, &mut effects);
        }
        result
    }

    /// Brings hardware and model together after an operation without a fold. What concerns the vCPU's own core is done
    /// here; the rest is told the others.
    fn settle(&self, vgic: &mut Vgic, machine: &mut impl Machine, effects: &mut Effects<'_>) {
        let own = 1_u8 << (self.vcpu.get() & 7);
        let retract = effects.retract & own != 0 && machine.list_registers_used();
        if effects.kick & own != 0 || retract {
            self.fold(vgic, machine, effects);
            self.fill(vgic, machine, effects);
        }
        self.finish(machine, effects);
    }

    /// Sends the SGIs that a write of `value` to the SGI register asks for without the model, if that is all there is to
    /// do; else `false`, and nothing has changed.
    #[inline(always)]
    pub fn post(&self, machine: &mut impl Machine, value: u64) -> bool {
        let Partition {
            direct,
            gic_version,
            vcpus,
            ..
        } = self.partition;
        let count = u8::try_from(vcpus.len()).unwrap_or(1);
        let (sgi, targets) = sgi_targets(*gic_version, count, self.vcpu, value);
        let own = 1_u8 << (self.vcpu.get() & 7);
        let to_self = targets & own != 0;
        if to_self && (machine.list_registers_used() || machine.list_registers_overflow()) {
            return false;
        }
        direct.post(self.vcpu, sgi, targets, *gic_version);
        let mut others = targets & !own;
        while others != 0 {
            let target = others.trailing_zeros() as usize;
            others &= others - 1;
            if let Some(vcpu) = vcpus.get(target) {
                machine.kick_posted(vcpu.cpu);
            }
        }
        if to_self {
            match direct.take_one(self.vcpu, *gic_version) {
                0 => self.refresh(machine),
                value => machine.list_one(value),
            }
        }
        true
    }

    /// Runs `operation` with every core of the partition folded and waiting.
    fn alone<R>(
        &self,
        machine: &mut impl Machine,
        operation: impl FnOnce(&mut Vgic, &mut Effects<'_>) -> R,
    ) -> R {
        let quiesce = &self.partition.quiesce;
        self.partition.wait(|| {
            let begun = quiesce.begin().then_some(());
            if begun.is_none() {
                self.answer_call(machine);
            }
            begun
        });
        let others = || self.partition.vcpu_ids().filter(|vcpu| *vcpu != self.vcpu);
        for other in others() {
            if quiesce.call(other)
                && let Some(vcpu) = self.partition.vcpu(other)
            {
                machine.kick(vcpu.cpu);
            }
        }
        self.partition
            .wait(|| others().all(|other| quiesce.answered(other)).then_some(()));
        let result = self.locked(machine, true, operation);
        quiesce.end(others());
        result
    }

    fn fold(&self, vgic: &mut Vgic, machine: &mut impl Machine, effects: &mut Effects<'_>) {
        let mut taken = Taken::default();
        machine.take_list_registers(&mut taken);
        vgic.fold(self.vcpu, &taken.list_registers, taken.eoi_count, effects);
    }

    fn fill(&self, vgic: &mut Vgic, machine: &mut impl Machine, effects: &mut Effects<'_>) {
        let mut filled = Filled::default();
        vgic.fill_into(self.vcpu, &mut filled, effects);
        if filled.overflow {
            self.count(Counter::Overflow);
        }
        machine.put_list_registers(&filled);
    }

    /// Does the physical work, and interrupts the other cores that have something new.
    fn finish(&self, machine: &mut impl Machine, effects: &Effects<'_>) {
        for effect in &effects.physical {
            machine.apply(effect, &self.partition.cpus);
        }
        let others = (effects.kick | effects.retract) & !(1_u8 << (self.vcpu.get() & 7));
        let mut left = others;
        while left != 0 {
            let vcpu = self.partition.vcpus.get(left.trailing_zeros() as usize);
            left &= left - 1;
            if let Some(vcpu) = vcpu {
                machine.kick(vcpu.cpu);
            }
        }
    }
}
