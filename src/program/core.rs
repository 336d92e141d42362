//! The loop of each core: wait until its vCPU is on, run it, see to what it exits for.

mod off;

use super::log;
use super::machine::Hardware;
use super::short::{ACKNOWLEDGED, Guest};
use super::state::{self, Host};
use super::{crash, fault, load, system, watch};
use crate::arm::registers::Registers;
use crate::behaviour::channel;
use crate::behaviour::console;
use crate::behaviour::crash::{Cause, Fault};
use crate::behaviour::exit::{self, Next};
use crate::behaviour::heartbeat::Verdict;
use crate::behaviour::here::Here;
use crate::behaviour::lifecycle::{Next as NextLife, Reason, State};
use crate::behaviour::machine::Machine;
use crate::behaviour::partition::Counter;
use crate::edge::context::{Context, Exit};
use crate::edge::gic::{KICK, POSTED, RUNG, SPECIAL, START};
use crate::edge::{firmware, guest, init, takeover, timer};
use crate::model::power::Power;
use crate::model::recorder::{Event, Recorder, Stage, What};
use crate::model::watch::{Sample, Suspect, Verdict as Look};
use crate::words::{CpuId, lower_half};
use aarch64_cpu::asm::wfi;

/// INTID field of a GICv2's IAR; GICv3's INTIDs of interest fit too.
const INTID: u32 = 0x3ff;

/// Milliseconds between two looks at a vCPU that may be in a loop.
const LOOKS_APART: u64 = 10;

/// The private peripheral interrupts in their word, INTIDs 16 to 31.
const PPIS: u32 = 0xffff_0000;

/// A core and the vCPU it runs.
struct Core {
    context: &'static mut Context,
    guest: Guest,
    /// The power of its vCPU.
    power: &'static Power,
    /// Whether all but the entry point is ready for a start: see `off`.
    prepared: bool,
    /// Whether the list registers are empty, since nothing has come since they were emptied.
    unloaded: bool,
    /// The stop for which the vCPU last parked: once for each.
    parked_in: Option<u32>,
    /// Whether an access of the vCPU to nothing was reported.
    fault_reported: bool,
    /// What the core did last.
    recorder: &'static Recorder,
    /// The last synchronous exit or SError.
    last: exit::Exit,
    /// The last interrupt taken.
    interrupt: u32,
    /// A vCPU that may be in a loop of exceptions.
    suspect: Option<Suspect>,
    /// When it is to be looked at next, in milliseconds.
    look_at: u64,
}

/// Runs core `cpu` for good.
pub extern "C" fn main(cpu: u64) -> ! {
    let cpu = CpuId::new(u8::try_from(cpu).unwrap_or(0));
    let (Some(context), Some(host)) = (takeover::claim_core(cpu), state::HOST.get()) else {
        super::fault::halt(format_args!("started twice, or before the board was known"));
    };
    let features = init::features();
    init::el2(&features, host.gic.version());
    if let Some(mpidr) = host.cpus.get(cpu.index()) {
        host.gic.start_core(cpu, *mpidr);
    }
    super::selftest::take_part(host, cpu);
    if cpu == system::console_core() {
        host.take_uart(cpu);
    }
    let Some((partition, vcpu)) = state::assignment(cpu) else {
        rest(host, cpu)
    };
    host.gic
        .enable(0, 1 << host.maintenance | 1 << host.timer, cpu);
    let hardware = Hardware {
        host,
        features,
        workarounds: firmware::workarounds(host.firmware),
        partition,
        cpu,
        direct: &partition.direct,
        private: partition.direct.private(vcpu),
        vcpu,
        overflow: false,
        listed: 0,
        maintained: 0,
    };
    let here = Here {
        partition,
        vcpu,
        partitions: state::all(),
    };
    let Some(shared) = partition.vcpu(vcpu) else {
        rest(host, cpu)
    };
    let mut core = Core {
        context,
        guest: Guest::new(here, shared, hardware),
        power: &shared.power,
        prepared: false,
        unloaded: false,
        parked_in: None,
        fault_reported: false,
        recorder: state::recorder(cpu),
        last: exit::Exit::default(),
        interrupt: 0,
        suspect: None,
        look_at: 0,
    };
    watch::start(cpu);
    partition.life.arrive(vcpu);
    loop {
        let start = core.wait_until_on();
        core.begin(start);
        core.run();
    }
}

/// A core without a vCPU: it may have the console to see to.
fn rest(host: &Host, cpu: CpuId) -> ! {
    host.gic.enable(0, 1 << host.timer, cpu);
    watch::start(cpu);
    loop {
        wfi();
        let iar = host.gic.acknowledge();
        let intid = iar & INTID;
        if intid < SPECIAL {
            host.gic.drop_priority(iar);
            if Some(intid) == host.uart {
                system::uart_interrupt();
            } else if intid == host.timer {
                system::timer_interrupt(cpu, None);
            } else if intid == KICK {
                fault::as_asked(cpu);
                watch::keep(cpu);
                system::serve_console();
            }
            host.gic.deactivate(iar);
        }
    }
}

impl Core {
    /// Whether this core leads its partition.
    fn leads(&self) -> bool {
        self.guest
            .here
            .partition
            .life
            .is_leader(self.guest.here.vcpu)
    }

    /// One step of a stop: this core parks; the leader, once all have, decides what follows.
    fn stop(&mut self) {
        let partition = self.guest.here.partition;
        let stop = partition.life.stopping();
        let Some(number) = stop else { return };
        if self.parked_in != stop {
            self.parked_in = stop;
            self.note_life(Stage::Stopping);
            self.power.switch_off();
            self.prepared = false;
            init::reset_el1(&self.guest.hardware.features);
            let host = self.guest.hardware.host;
            let kept = 1 << host.maintenance | 1 << host.timer;
            host.gic
                .reset_private(!kept & PPIS, self.guest.hardware.cpu);
            if partition.life.park(self.guest.here.vcpu, number) && !self.leads() {
                self.kick_leader();
            }
        }
        if self.leads() && partition.life.all_parked() {
            partition.heartbeat.disarm();
            // Before anything else: devices of a partition that is down interrupt nobody.
            load::silence(partition, &mut self.guest.hardware);
            for port in &partition.channels {
                port.leave(
                    || self.guest.here.is_bereft(port),
                    |range| takeover::guest_ram(range).zero(range.base(), range.size()),
                );
            }
            // Nobody else does it for those that are absent; and one that parked early may have been switched on since.
            for vcpu in &partition.vcpus {
                vcpu.power.switch_off();
            }
            let next = partition
                .life
                .finish_stop(partition.plan.on_crash, timer::now());
            self.note_life(Stage::Down);
            // What it finds is said; the next start is refused for it.
            let _ = super::audit::after(partition, "is down");
            channel::announce(&self.guest.here, &mut self.guest.hardware);
            system::stopped(partition, next);
            match next {
                NextLife::Start => self.start(),
                NextLife::StartAt(due) => timer::set(due),
                NextLife::Stay(_) => {}
            }
        }
    }

    /// The leader starts the partition after a crash when its time has come.
    fn start_if_due(&mut self) {
        match self.guest.here.partition.life.start_if_due(timer::now()) {
            Ok(true) => self.start(),
            Ok(false) => {}
            Err(due) => timer::set(due),
        }
    }

    /// The leader loads the partition with the others' help, and all its cores are told.
    fn start(&mut self) {
        let partition = self.guest.here.partition;
        if !self.leads() {
            load::help(partition);
            return;
        }
        self.note_life(Stage::Loading);
        load::offer(partition);
        self.kick_others();
        match load::load(&self.guest.here, &mut self.guest.hardware) {
            Ok(entry) => {
                let _ = self.power.switch_on(entry);
                partition.life.run();
                self.note_life(Stage::Running);
                if partition.life.starts() > 1 {
                    let (name, starts) = (partition.plan.name, partition.life.starts());
                    log::info!("partition {name}: start {starts}");
                }
                channel::announce(&self.guest.here, &mut self.guest.hardware);
                self.kick_others();
                // This core's own start is found without another event.
                self.guest.hardware.host.gic.kick(self.guest.hardware.cpu);
            }
            Err(error) => {
                partition.life.fail();
                crash::record(
                    &self.guest.here,
                    self.recorder,
                    &Registers::new(),
                    Cause::Load,
                    Fault::None,
                );
                log::warn!("partition {}: not started: {error}", partition.plan.name);
                system::board_off_if_idle();
            }
        }
    }

    fn kick_leader(&self) {
        let partition = self.guest.here.partition;
        let leader = partition
            .vcpu_ids()
            .find(|vcpu| partition.life.is_leader(*vcpu))
            .and_then(|vcpu| partition.vcpu(vcpu));
        if let Some(leader) = leader {
            self.guest.hardware.host.gic.kick(leader.cpu);
        }
    }

    fn kick_others(&self) {
        for cpu in self
            .guest
            .here
            .partition
            .cpus
            .iter()
            .filter(|cpu| **cpu != self.guest.hardware.cpu)
        {
            self.guest.hardware.host.gic.kick(*cpu);
        }
    }

    /// Runs the vCPU until it is off, suspended, or its partition stops.
    fn run(&mut self) {
        let mut next = Next::Resume;
        while next == Next::Resume {
            // The loop may have looked at the list registers.
            self.guest.hardware.listed = 0;
            let exit = self.context.enter(&mut self.guest);
            let (at, pc) = (timer::ticks(), self.context.registers.pc);
            next = match exit {
                Exit::Synchronous => self.synchronous(),
                Exit::Interrupt => self.interrupt(),
                Exit::FastInterrupt => Next::Resume,
                Exit::SystemError => self.system_error(),
            };
            self.record(exit, at, pc);
            if self.suspect.is_some() {
                self.look();
            }
            if next == Next::Standby {
                self.standby();
                next = Next::Resume;
            }
            if next == Next::Resume && self.guest.here.partition.life.state() == State::Paused {
                self.hold();
            }
            if self.guest.here.partition.life.state() == State::Stopping {
                break;
            }
        }
        self.leave(next);
    }

    /// Notes what the core has just done, from `at` on.
    fn record(&self, exit: Exit, at: u64, pc: u64) {
        let (what, detail) = match exit {
            Exit::Synchronous => (What::Exit, self.last.esr),
            Exit::Interrupt | Exit::FastInterrupt => (What::Interrupt, self.interrupt.into()),
            Exit::SystemError => (What::SystemError, self.last.esr),
        };
        self.note(what, detail, at, pc);
    }

    fn note(&self, what: What, detail: u64, at: u64, pc: u64) {
        self.recorder.record(&Event {
            at,
            took: lower_half(timer::ticks().wrapping_sub(at)),
            what,
            partition: self.guest.here.partition.plan.id,
            vcpu: self.guest.here.vcpu,
            pc,
            detail,
        });
    }

    /// Notes a turn in the partition's life.
    fn note_life(&self, stage: Stage) {
        self.note(What::Life, stage.code(), timer::ticks(), 0);
    }

    /// Stops the partition for a fault found on this core, and leaves a record if no other stop came first.
    fn crash(&mut self, reason: Reason, cause: Cause, fault: Fault) {
        if self.guest.here.partition.life.stop(reason) {
            crash::record(
                &self.guest.here,
                self.recorder,
                &self.context.registers,
                cause,
                fault,
            );
            self.kick_others();
        }
    }

    /// Looks whether the vCPU, which has just been interrupted, is in a loop of exceptions at its EL1.
    fn look(&mut self) {
        let now = timer::now();
        if now < self.look_at {
            return;
        }
        let (registers, el1) = (&self.context.registers, guest::el1());
        let sample = Sample {
            pc: registers.pc,
            pstate: registers.pstate,
            vbar: el1.vbar,
            elr: el1.elr,
            spsr: el1.spsr,
            esr: el1.esr,
            far: el1.far,
        };
        let verdict = self.suspect.as_mut().map(|suspect| suspect.look(&sample));
        if verdict == Some(Look::Again) {
            self.look_at = now + LOOKS_APART;
            timer::set(self.look_at);
            return;
        }
        self.suspect = None;
        if verdict == Some(Look::Looping) {
            self.crash(Reason::Crash, Cause::ExceptionLoop, Fault::Stage1);
        }
    }

    /// Holds the vCPU where it is until its manager lets it go on or stops it.
    fn hold(&mut self) {
        self.note_life(Stage::Paused);
        while self.guest.here.partition.life.state() == State::Paused {
            wfi();
            self.take_interrupts();
        }
    }

    fn synchronous(&mut self) -> Next {
        let (esr, far, hpfar) = init::syndrome();
        self.guest.here.count(Counter::Exits);
        let exit = exit::Exit { esr, far, hpfar };
        let pc = self.context.registers.pc;
        self.last = exit;
        let next = exit::synchronous(
            &self.guest.here,
            &state::CONSOLE,
            &mut self.guest.hardware,
            &mut self.context.registers,
            &exit,
        );
        self.report_fault(&exit, pc);
        next
    }

    /// Says where the vCPU first touched what is not there: once, so that no guest can make it a flood.
    fn report_fault(&mut self, exit: &exit::Exit, pc: u64) {
        let faults = Counter::Stage2Fault as usize;
        let counted = self
            .guest
            .here
            .shared()
            .and_then(|vcpu| vcpu.statistics.get(faults));
        if !self.fault_reported && counted.is_some_and(|count| count > 0) {
            self.fault_reported = true;
            log::info!(
                "partition {}: vCPU {} got an external abort: nothing it may use so at {:#x}; pc {pc:#x} (its first; more are only counted)",
                self.guest.here.partition.plan.name,
                self.guest.here.vcpu.get(),
                exit.ipa().get(),
            );
        }
    }

    /// An SError ends the partition: nobody knows what it has damaged.
    fn system_error(&mut self) -> Next {
        let (esr, far, hpfar) = init::syndrome();
        self.last = exit::Exit { esr, far, hpfar };
        Next::Stop(Reason::Crash)
    }

    /// Sees to the interrupt the short path left.
    fn interrupt(&mut self) -> Next {
        self.guest.here.count(Counter::Exits);
        let acknowledged = core::mem::take(&mut self.guest.acknowledged);
        if acknowledged & ACKNOWLEDGED != 0 {
            self.take(u32::try_from(acknowledged & u64::from(u32::MAX)).unwrap_or(0));
        }
        Next::Resume
    }

    /// Takes every interrupt that is pending, while the vCPU does not run.
    fn take_interrupts(&mut self) {
        // Each look takes one interrupt, of which a core has no more than INTIDs; a storm waits for the next turn.
        for _ in 0..64 {
            let iar = self.guest.hardware.host.gic.acknowledge();
            if iar & INTID >= SPECIAL {
                return;
            }
            self.guest.hardware.host.gic.drop_priority(iar);
            self.take(iar);
        }
    }

    /// Sees to the interrupt `iar` acknowledged; its priority is dropped.
    fn take(&mut self, iar: u32) {
        let intid = iar & INTID;
        self.unloaded = false;
        self.interrupt = intid;
        let host = self.guest.hardware.host;
        if intid == KICK {
            host.gic.deactivate(iar);
            self.kicked();
        } else if intid == START {
            // Found in the power state, by whoever waits for it.
            host.gic.deactivate(iar);
        } else if intid == host.timer {
            self.timer();
            host.gic.deactivate(iar);
        } else if intid == POSTED || intid == RUNG {
            host.gic.deactivate(iar);
            self.guest.here.refresh(&mut self.guest.hardware);
        } else if intid == host.maintenance {
            self.guest.here.count(Counter::Maintenance);
            self.guest.here.refresh(&mut self.guest.hardware);
            host.gic.deactivate(iar);
        } else if Some(intid) == host.uart {
            system::uart_interrupt();
            host.gic.deactivate(iar);
        } else {
            self.guest.here.count(Counter::Interrupt);
            let (vcpu, intid) = (self.guest.here.vcpu, u16::try_from(intid).unwrap_or(0));
            self.guest
                .here
                .with(&mut self.guest.hardware, |vgic, effects| {
                    vgic.physical(vcpu, intid, effects)
                });
        }
    }

    /// EL2's timer: output or input that was put off may go on, and the partition's heartbeat may be due.
    fn timer(&mut self) {
        system::timer_interrupt(
            self.guest.hardware.cpu,
            Some(self.guest.here.partition.plan.id),
        );
        let partition = self.guest.here.partition;
        let now = self.guest.hardware.counter();
        if partition.life.state() == State::Paused {
            partition.heartbeat.extend(now, init::counter_frequency());
        }
        match partition.heartbeat.judge(now) {
            Verdict::Idle => {}
            Verdict::Later(deadline) => self.guest.hardware.set_timer(Some(deadline)),
            Verdict::Missed => {
                self.crash(Reason::Heartbeat, Cause::Heartbeat, Fault::None);
            }
        }
    }

    /// Another core wants something: this looks at all it may be.
    fn kicked(&mut self) {
        self.guest.here.answer_call(&mut self.guest.hardware);
        self.guest.here.refresh(&mut self.guest.hardware);
        console::refresh(&self.guest.here, &state::CONSOLE, &mut self.guest.hardware);
        system::serve_partition(self.guest.here.partition.plan.id);
        if self.guest.hardware.cpu == system::console_core() {
            system::serve_console();
            watch::keep(self.guest.hardware.cpu);
        }
        fault::as_asked(self.guest.hardware.cpu);
        if watch::wants_look(self.guest.hardware.cpu) {
            self.suspect = Some(Suspect::new());
            self.look_at = 0;
        }
    }

    /// Waits for an interrupt as WFI does, then lets the vCPU go on.
    fn standby(&mut self) {
        if !self.guest.here.is_pending(&mut self.guest.hardware) {
            wfi();
        }
    }

    /// Leaves the guest: off, suspended, or with its partition.
    fn leave(&mut self, next: Next) {
        self.unload();
        match next {
            Next::Off => {
                let partition = self.guest.here.partition;
                partition.interrupts().reset_vcpu(self.guest.here.vcpu);
                // Whoever finds it off finds it ready to be switched on.
                self.prepare();
                self.power.switch_off();
            }
            Next::Suspend(start) => self.power.suspend(start),
            Next::Stop(Reason::Crash) => {
                let (cause, fault) = crash::of(&self.last);
                self.crash(Reason::Crash, cause, fault);
            }
            Next::Stop(reason) => {
                if self.guest.here.partition.life.stop(reason) {
                    self.kick_others();
                }
            }
            Next::Resume | Next::Standby => {}
        }
    }
}
