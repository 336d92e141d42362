//! A core whose vCPU is off: what it does beforehand for a start, how it waits for one, and the start itself.
//!
//! Invariant: a core that is prepared has its EL1, its FP registers, its virtual CPU interface and its context as a start
//! needs them, but for the entry point and X0. It is prepared only while its partition runs and the vCPU is off: the
//! loader, which clobbers V registers, works at other times.

use super::{Core, INTID};
use crate::arm::control;
use crate::arm::registers::Registers;
use crate::behaviour::lifecycle::State;
use crate::behaviour::machine::{Machine, Workaround};
use crate::edge::gic::{SPECIAL, START};
use crate::edge::init;
use crate::model::power::{Start, State as PowerState};
use crate::model::vgic::Filled;
use aarch64_cpu::asm::wfi;
use core::sync::atomic::Ordering;

impl Core {
    /// Waits until the vCPU has a start, seeing to the partition's life meanwhile.
    pub(super) fn wait_until_on(&mut self) -> Start {
        loop {
            if let Some(start) = self.look_for_start() {
                return start;
            }
            if let Some(start) = self.wait() {
                return start;
            }
        }
    }

    /// Sees to all that may be wanted of a core whose vCPU does not run.
    #[inline(never)]
    fn look_for_start(&mut self) -> Option<Start> {
        self.take_interrupts();
        // What came meanwhile waits in the model: the list registers of a vCPU that is not on stay empty.
        self.unload();
        let partition = self.guest.here.partition;
        let state = partition.life.state();
        if state == State::Running {
            let start = self.powered();
            if start.is_none() {
                self.prepare_if_off();
            }
            return start;
        }
        // What follows may list interrupts.
        self.unloaded = false;
        match state {
            State::Stopping => self.stop(),
            State::Starting => self.start(),
            State::Waiting if self.leads() => self.start_if_due(),
            State::Off | State::Crashed | State::Paused | State::Waiting | State::Running => {}
        }
        None
    }

    /// Waits for an interrupt, and takes it: the start, if it was for one. With any other there is more to look at.
    #[inline(always)]
    fn wait(&mut self) -> Option<Start> {
        wfi();
        let gic = &self.guest.hardware.host.gic;
        let iar = gic.acknowledge();
        let intid = iar & INTID;
        if intid == START {
            gic.drop_priority(iar);
            gic.deactivate(iar);
            let ready = self.prepared && self.unloaded;
            let runs = self.guest.here.partition.life.state() == State::Running;
            return if ready && runs {
                self.power.take_start()
            } else {
                None
            };
        }
        if intid < SPECIAL {
            gic.drop_priority(iar);
            self.take(iar);
        }
        None
    }

    /// Empties the list registers, unless they are since the last time.
    pub(super) fn unload(&mut self) {
        if !self.unloaded {
            self.guest.here.unload(&mut self.guest.hardware);
            self.unloaded = true;
        }
    }

    /// The start that another vCPU, the loader or a wake-up event has given.
    fn powered(&mut self) -> Option<Start> {
        if let Some(start) = self.power.take_start() {
            return Some(start);
        }
        let wakes = self.power.state() == PowerState::Suspended
            && self.guest.here.would_wake(&mut self.guest.hardware);
        if wakes { self.power.wake() } else { None }
    }

    /// Prepares a vCPU that may be switched on; one that is suspended needs its timers until it wakes.
    fn prepare_if_off(&mut self) {
        if !self.prepared && self.power.state() != PowerState::Suspended {
            self.prepare();
        }
    }

    /// Puts the core's EL1 back to reset and leaves nothing to a start but its entry point.
    pub(super) fn prepare(&mut self) {
        self.unload();
        let partition = self.guest.here.partition;
        let hardware = &mut self.guest.hardware;
        init::reset_el1(&hardware.features);
        hardware.host.gic.reset_virtual();
        hardware.put_list_registers(&Filled::default());
        hardware.maintained = 0;
        // The last guest may have switched this mitigation off.
        if hardware.firmware_says(Workaround::StoreBypass) == 0 {
            hardware.work_around(Workaround::StoreBypass, true);
        }
        let guest = init::Guest {
            stage2_root: partition.stage2.root().get(),
            vtcr: partition.stage2.vtcr(init::pa_bits()),
            vmid: partition.plan.id.get() + 1,
            vcpu: self.guest.here.vcpu.get(),
        };
        init::guest(guest, partition.counter_offset.load(Ordering::Relaxed));
        partition.interrupts().sift(self.guest.here.vcpu);
        self.context.registers = Registers {
            // For whoever asks where it went off.
            pc: self.context.registers.pc,
            pstate: control::PSTATE_ENTRY,
            ..Registers::new()
        };
        self.guest.learn_peers();
        self.prepared = true;
    }

    /// Points the core, which is prepared or becomes so, at its start.
    #[inline(always)]
    pub(super) fn begin(&mut self, start: Start) {
        if !self.prepared {
            self.prepare();
        }
        (self.prepared, self.unloaded) = (false, false);
        self.suspect = None;
        let registers = &mut self.context.registers;
        registers.x[0] = start.context;
        registers.pc = start.entry;
        self.guest.learn_peers();
        self.guest.here.load(&mut self.guest.hardware);
    }
}
