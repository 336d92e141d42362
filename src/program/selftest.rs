//! The self-test at boot (`selftest = true` in the manifest), for bring-up on a new board: the interrupt controller, each
//! core with its timers, stage 2 and RAM of each partition; a line for each, before any partition starts.
//!
//! Every core looks at itself and then waits for the boot core, which tells them to go on if all was found right. Each
//! wait is bounded by [`PATIENCE`]; on a sound board they take a few milliseconds.

use super::log;
use super::state::{self, Host};
use super::{fault, power};
use crate::behaviour::partition::Partition;
use crate::edge::gic::{HostGic, KICK, SPECIAL};
use crate::edge::timer::Line;
use crate::edge::{guest, init, takeover};
use crate::model::selftest::{CoreFound, CoreLine, MemoryFault, PartitionLine};
use crate::words::limits::MAX_CPUS;
use crate::words::{CpuId, Ipa, PAGE_SIZE, Pa};
use aarch64_cpu::asm::wfi;
use bulkhead_abi::layout;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// Seconds after which what has not come will not.
const PATIENCE: u64 = 2;
/// Seconds a core waits for the leader, who may have waited for several that did not come.
const PATIENCE_WITH_LEADER: u64 = 4 * PATIENCE;
/// Parts of a second a timer is set to.
const TIMER: u64 = 2000;
/// INTID field of IAR, as far as the interrupts looked at here need it.
const INTID: u32 = 0x3ff;
/// The core that leads, plus one; 0: no self-test.
static LEADER: AtomicU8 = AtomicU8::new(0);
/// What each core found, as [`CoreFound`].
static FOUND: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
/// The leader is done, and partitions may start.
static PASSED: AtomicBool = AtomicBool::new(false);

/// Asks for the self-test, led by `cpu`. Called by the boot core before any other runs.
pub fn ask(cpu: CpuId) {
    LEADER.store(cpu.get() + 1, Ordering::Release);
}

/// Does the calling core's part, if the self-test was asked for; its interrupt interface is up. Comes back if all was
/// found right.
pub fn take_part(host: &'static Host, cpu: CpuId) {
    let leader = LEADER.load(Ordering::Acquire);
    if leader == 0 {
        return;
    }
    note(cpu, CoreFound::ARRIVED);
    note(cpu, alone(host, cpu) | CoreFound::ALONE_DONE);
    if leader == cpu.get() + 1 {
        lead(host, cpu);
        return;
    }
    if wait_for(host, KICK, PATIENCE_WITH_LEADER) {
        note(cpu, CoreFound::SOFTWARE_INTERRUPT);
    }
    while !PASSED.load(Ordering::Acquire) {
        // The leader's kick stays pending until the core's own loop takes it.
        wfi();
    }
}

fn note(cpu: CpuId, found: CoreFound) {
    if let Some(slot) = FOUND.get(cpu.index()) {
        slot.fetch_or(found.bits(), Ordering::AcqRel);
    }
}

fn found(cpu: CpuId) -> CoreFound {
    let slot = FOUND.get(cpu.index());
    CoreFound::from_bits_truncate(slot.map_or(0, |slot| slot.load(Ordering::Acquire)))
}

/// Looks until `is_so`, or for `seconds`.
fn wait(seconds: u64, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = init::counter().saturating_add(init::counter_frequency() * seconds);
    loop {
        if is_so() {
            return true;
        }
        if init::counter() >= deadline {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// Waits for the interrupt `intid`, and ends it. Others that come meanwhile are ended too.
fn wait_for(host: &Host, intid: u32, seconds: u64) -> bool {
    wait(seconds, || {
        let iar = host.gic.acknowledge();
        if iar & INTID < SPECIAL {
            host.gic.drop_priority(iar);
            host.gic.deactivate(iar);
        }
        iar & INTID == intid
    })
}

/// What a core can find out without others.
fn alone(host: &Host, cpu: CpuId) -> CoreFound {
    let mut found = CoreFound::empty();
    let before = init::counter();
    // Bounded by looks, not by time, which may stand still.
    let counts = (0..1_000_000).any(|_| init::counter() != before);
    found.set(CoreFound::COUNTER, counts && init::counter_frequency() > 0);
    if !counts {
        return found;
    }
    let timers = [
        (Line::Hypervisor, host.timer, CoreFound::HYPERVISOR_TIMER),
        (
            Line::Virtual,
            layout::TIMER_VIRTUAL_INTID,
            CoreFound::VIRTUAL_TIMER,
        ),
        (
            Line::Physical,
            layout::TIMER_PHYSICAL_INTID,
            CoreFound::PHYSICAL_TIMER,
        ),
    ];
    for (line, intid, bit) in timers {
        found.set(bit, fires(host, cpu, line, intid));
    }
    found.set(CoreFound::LIST_REGISTERS, list_registers_hold(host));
    found
}

/// Whether the timer interrupts the calling core.
fn fires(host: &Host, cpu: CpuId, line: Line, intid: u32) -> bool {
    let mask = 1 << (intid & 31);
    host.gic.enable(0, mask, cpu);
    line.start(init::counter_frequency() / TIMER);
    let came = wait(PATIENCE, || {
        let iar = host.gic.acknowledge();
        let own = iar & INTID == intid;
        if iar & INTID < SPECIAL {
            host.gic.drop_priority(iar);
            if own {
                // Its line goes low before it is deactivated, or it would come again.
                line.stop();
            }
            host.gic.deactivate(iar);
        }
        own
    });
    line.stop();
    host.gic.reset_private(mask, cpu);
    came
}

/// Whether each list register of the calling core holds the number of a virtual interrupt that is neither pending nor
/// active.
fn list_registers_hold(host: &Host) -> bool {
    let gic = &host.gic;
    // The same place in both formats (GICH_LR 9:0, ICH_LR_EL2 31:0).
    let value = |index: usize| 32 + index as u64;
    let all = 0..gic.list_registers();
    for index in all.clone() {
        gic.write_list_register(index, value(index));
    }
    let mut hold = gic.list_registers() > 0;
    for index in all {
        hold &= gic.read_list_register(index) == value(index);
        gic.write_list_register(index, 0);
    }
    hold
}

/// The boot core's part: waits for the others, interrupts them, looks at the partitions, says what was found.
fn lead(host: &'static Host, own: CpuId) {
    let began = init::counter();
    let cpus = (0..host.cpus.len()).filter_map(|index| u8::try_from(index).ok());
    let cpus = cpus.map(CpuId::new);
    let done = |cpu| found(cpu).contains(CoreFound::ALONE_DONE);
    wait(PATIENCE, || cpus.clone().all(done));
    for cpu in cpus.clone().filter(|cpu| done(*cpu)) {
        host.gic.kick(cpu);
    }
    if wait_for(host, KICK, PATIENCE) {
        note(own, CoreFound::SOFTWARE_INTERRUPT);
    }
    let answered = |cpu| !done(cpu) || found(cpu).contains(CoreFound::SOFTWARE_INTERRUPT);
    wait(PATIENCE, || cpus.clone().all(answered));
    say_gic(host);
    let mut passed = true;
    for cpu in cpus.clone() {
        let found = found(cpu);
        passed &= found.is_sound();
        log::info!("self-test: {}", CoreLine { cpu, found });
    }
    for partition in state::partitions() {
        let fault = memory(host, partition).err();
        passed &= fault.is_none();
        let line = PartitionLine {
            name: partition.plan.name,
            memory: partition.plan.memory,
            fault,
        };
        log::info!("self-test: {line}");
    }
    let milliseconds = (init::counter() - began) * 1000 / init::counter_frequency().max(1);
    if !passed {
        power::drain();
        fault::refuse(format_args!("the self-test failed"));
    }
    log::info!("self-test: passed in {milliseconds} ms");
    PASSED.store(true, Ordering::Release);
    for cpu in cpus.filter(|cpu| *cpu != own) {
        host.gic.kick(cpu);
    }
}

fn say_gic(host: &Host) {
    let version = match host.gic {
        HostGic::V2(_) => "GICv2",
        HostGic::V3(_) => "GICv3",
    };
    let ends = if host.hardware_deactivation {
        "a guest's end of interrupt deactivates the physical one"
    } else {
        "EL2 deactivates physical interrupts, since this controller forgets those that are signalled again"
    };
    log::info!(
        "self-test: interrupt controller: ok: {version}, {} list registers, {} priority bits; {ends}",
        host.gic.list_registers(),
        host.gic.priority_bits()
    );
}

/// Looks at a partition's stage 2 and RAM.
fn memory(host: &Host, partition: &Partition<'_>) -> Result<(), MemoryFault> {
    init::reset_el1(&init::features());
    let guest = init::Guest {
        stage2_root: partition.stage2.root().get(),
        vtcr: partition.stage2.vtcr(init::pa_bits()),
        vmid: partition.plan.id.get() + 1,
        vcpu: 0,
    };
    init::guest(guest, 0);
    stage2(host, partition)?;
    for extent in &partition.extents {
        let kept = takeover::guest_ram(extent.range).keeps_what_is_written();
        kept.map_err(MemoryFault::Ram)?;
    }
    Ok(())
}

/// Has the core itself translate the first and the last page of each piece of RAM, and pages outside.
fn stage2(host: &Host, partition: &Partition<'_>) -> Result<(), MemoryFault> {
    let mut end = Ipa::new(layout::RAM_BASE);
    for extent in &partition.extents {
        let last = extent.range.size() - PAGE_SIZE;
        for offset in [0, last] {
            let ipa = extent.ipa.checked_add(offset).unwrap_or_default();
            leads(ipa, extent.range.base().checked_add(offset))?;
        }
        let past = extent.ipa.checked_add(extent.range.size());
        end = end.max(past.unwrap_or_default());
    }
    leads(end, None)?;
    leads(Ipa::new(layout::RAM_BASE - PAGE_SIZE), None)?;
    if let HostGic::V2(gic) = &host.gic {
        leads(Ipa::new(layout::GICC_BASE), Some(gic.virtual_interface()))?;
    }
    Ok(())
}

fn leads(ipa: Ipa, expected: Option<Pa>) -> Result<(), MemoryFault> {
    let found = guest::stage2(ipa);
    if found == expected {
        return Ok(());
    }
    Err(MemoryFault::Wrong {
        ipa,
        expected,
        found,
    })
}
