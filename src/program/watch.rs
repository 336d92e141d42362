//! The watch over vCPUs that have fallen silent ([`crate::model::watch`]): kept by one core, once a second.
//!
//! The watcher is the core that takes the console's interrupts: one without a vCPU if there is one, then one of a partition
//! without a heartbeat. Where every core is a partition's that has one, it still watches, for an exit a second: a heartbeat
//! finds its own partition alone, and only while the guest has it armed.

use super::state;
use super::system;
use crate::behaviour::lifecycle::State;
use crate::behaviour::partition::Counter;
use crate::edge::timer;
use crate::model::power::State as PowerState;
use crate::model::watch::Silence;
use crate::words::CpuId;
use crate::words::limits::MAX_CPUS;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use spin::mutex::SpinMutex;

/// Milliseconds between two rounds.
const PERIOD: u64 = 1000;

/// How long the vCPU of each core has been silent: the watcher's alone, so never contended.
static SILENCE: SpinMutex<[Silence; MAX_CPUS]> = SpinMutex::new([Silence::new(); MAX_CPUS]);
/// Set for a core whose vCPU is to be looked at.
static LOOK: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
/// When the next round is due, in milliseconds; never before [`start`].
static DUE: AtomicU64 = AtomicU64::new(u64::MAX);

/// Begins the watch if `cpu`, the calling core, is to keep it.
pub fn start(cpu: CpuId) {
    if cpu == system::console_core() {
        let due = timer::now() + PERIOD;
        DUE.store(due, Ordering::Relaxed);
        timer::set(due);
    }
}

/// Goes on with the watch on `cpu`, the calling core, if it has the console now and has it from another that kept it.
pub fn keep(cpu: CpuId) {
    let due = DUE.load(Ordering::Relaxed);
    if due != u64::MAX && cpu == system::console_core() {
        timer::set(due);
    }
}

/// The timer of `cpu`, the calling core, has fired: a round, if it keeps the watch and one is due.
pub fn timer_interrupt(cpu: CpuId) {
    let due = DUE.load(Ordering::Relaxed);
    if due == u64::MAX || cpu != system::console_core() {
        return;
    }
    let now = timer::now();
    if now < due {
        timer::set(due);
        return;
    }
    DUE.store(now + PERIOD, Ordering::Relaxed);
    timer::set(now + PERIOD);
    round();
}

fn round() {
    let Some(host) = state::HOST.get() else {
        return;
    };
    let mut silence = SILENCE.lock();
    for partition in state::partitions() {
        let running = partition.life.state() == State::Running;
        for vcpu in &partition.vcpus {
            let Some(silence) = silence.get_mut(vcpu.cpu.index()) else {
                continue;
            };
            let exits = vcpu.statistics.get(Counter::Exits as usize).unwrap_or(0);
            let runs = running && vcpu.power.state() == PowerState::On;
            if silence.period(exits, runs)
                && let Some(look) = LOOK.get(vcpu.cpu.index())
            {
                look.store(true, Ordering::Release);
                host.gic.kick(vcpu.cpu);
            }
        }
    }
}

/// Whether the vCPU of `cpu`, the calling core, is to be looked at: once.
#[must_use]
pub fn wants_look(cpu: CpuId) -> bool {
    LOOK.get(cpu.index())
        .is_some_and(|look| look.swap(false, Ordering::AcqRel))
}
