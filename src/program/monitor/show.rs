//! The monitor's tables.

use super::{reason_name, say, state_name};
use crate::behaviour::crash;
use crate::behaviour::partition::{COUNTERS, Counter, Partition, Vcpu};
use crate::edge::{boot, init, timer};
use crate::program;
use crate::program::audit::{self, Summary};
use crate::program::state::{self, LINKS, partitions};
use crate::words::limits::{LINE, MAX_CPUS};
use arrayvec::ArrayString;
use core::fmt::Write;
use spin::Once;
use spin::mutex::SpinMutex;

/// Bytes in a MiB.
const MIB: u32 = 20;
/// Milliseconds in a second.
const MILLISECONDS: u64 = 1000;

/// The exits of each core's vCPU at the last look, and when that was, in milliseconds.
static LOOKS: SpinMutex<[(u64, u64); MAX_CPUS]> = SpinMutex::new([(0, 0); MAX_CPUS]);

/// `list`.
pub fn list() {
    say!("id name                 state     CPUs        RAM  starts crashes last stop");
    for partition in partitions() {
        let mut cpus: ArrayString<LINE> = ArrayString::new();
        for (index, cpu) in partition.cpus.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(cpus, "{comma}{cpu}");
        }
        let (_, reason) = partition.life.now();
        say!(
            "{:<2} {:<20} {:<9} {:<8} {:>3} MiB {:>6} {:>7} {}",
            partition.plan.id,
            partition.plan.name,
            state_name(partition),
            cpus,
            partition.plan.memory >> MIB,
            partition.life.starts(),
            crashes_of(partition),
            reason_name(reason)
        );
    }
}

/// How often it crashed.
fn crashes_of(partition: &Partition<'_>) -> u64 {
    partition.crashes().map_or(0, |crashes| crashes.count())
}

/// `crashes NAME`.
#[inline(never)]
pub fn crashes(partition: &Partition<'_>) {
    let count = crashes_of(partition);
    say!("{}: {count} crashes", partition.plan.name);
    for index in 0..crash::KEPT {
        let record = program::crash::newest(partition, index);
        if let Some(record) = record {
            crash::lines(&record, partition, init::counter_frequency(), &mut |line| {
                say!("{line}");
            });
        }
    }
}

/// `stats [NAME]`.
#[inline(never)]
pub fn statistics(partition: &Partition<'_>) {
    const NAMES: [&str; COUNTERS] = [
        "exits",
        "hvc",
        "smc",
        "wfx",
        "sysreg",
        "mmio",
        "stage 2",
        "interrupts",
        "maintenance",
        "injected",
        "overflows",
    ];
    let now = timer::now();
    for (index, vcpu) in partition.vcpus.iter().enumerate() {
        let mut line: ArrayString<LINE> = ArrayString::new();
        for (counter, name) in NAMES.iter().enumerate() {
            let value = vcpu.statistics.get(counter).unwrap_or(0);
            if value != 0 || counter == Counter::Exits as usize {
                let _ = write!(line, ", {name} {value}");
            }
        }
        let rate = rate(vcpu, now);
        say!("{} vCPU {index}: {rate} exits/s{line}", partition.plan.name);
    }
}

/// Exits per second since the last look.
fn rate(vcpu: &Vcpu, now: u64) -> u64 {
    let exits = vcpu.statistics.get(Counter::Exits as usize).unwrap_or(0);
    let mut looks = LOOKS.lock();
    let Some(look) = looks.get_mut(vcpu.cpu.index()) else {
        return 0;
    };
    let (before, at) = core::mem::replace(look, (exits, now));
    let more = exits.saturating_sub(before).saturating_mul(MILLISECONDS);
    more / now.saturating_sub(at).max(1)
}

/// `audit`.
pub fn audit() {
    match audit::run() {
        Ok(Summary {
            grants,
            mapped,
            own,
        }) => say!(
            "audit: {grants} grants, none overlaps another's; {} MiB mapped by stage 2, all of it granted; {} MiB by EL2, none both writable and executable",
            mapped >> MIB,
            own >> MIB
        ),
        Err(finding) => say!("audit: FAILED: {finding}"),
    }
}

/// `memory`.
pub fn memory() {
    let image = boot::image();
    say!(
        "{:#012x}..{:#012x} the hypervisor",
        image.base(),
        image.end()
    );
    for partition in partitions() {
        for extent in &partition.extents {
            say!(
                "{:#012x}..{:#012x} {}, RAM at its {:#x}",
                extent.range.base(),
                extent.range.end(),
                partition.plan.name,
                extent.ipa
            );
        }
    }
    for partition in partitions() {
        for tables in &partition.tables {
            let (base, end) = (tables.base(), tables.end());
            say!(
                "{base:#012x}..{end:#012x} tables of {}",
                partition.plan.name
            );
        }
    }
    if let Some(root) = super::super::audit::own_root() {
        say!("{root:#012x} tables of the hypervisor");
    }
    for link in LINKS.iter().filter_map(Once::get) {
        let [first, second] = link.ends.map(|end| end.partition);
        let name = |id| state::partition(id).map_or("?", |partition| partition.plan.name);
        say!(
            "{:#012x}..{:#012x} channel {}, {} and {}",
            link.range.base(),
            link.range.end(),
            link.name,
            name(first),
            name(second)
        );
    }
}

/// `irqs`, of one partition.
#[inline(never)]
pub fn interrupts(partition: &Partition<'_>) {
    let name = partition.plan.name;
    // A partition's own lock is not waited for: its cores may want it, or have died with it.
    let Some(vgic) = partition.interrupts.try_lock() else {
        say!("{name}: busy, ask again");
        return;
    };
    // Copied out under the lock, said without it.
    let mut given: arrayvec::ArrayVec<_, MOST> = arrayvec::ArrayVec::new();
    given.extend(vgic.given().take(MOST));
    drop(vgic);
    for one in given {
        let mut whose: ArrayString<LINE> = ArrayString::new();
        if let Some(vcpu) = one.vcpu {
            let _ = write!(whose, " vCPU {vcpu}");
        }
        say!(
            "{name} INTID {}{whose}: {}{}, priority {:#04x}{}{}{}",
            one.intid,
            if one.physical { "physical" } else { "virtual" },
            if one.edge { " edge" } else { " level" },
            one.priority,
            if one.enabled { ", enabled" } else { "" },
            if one.pending { ", pending" } else { "" },
            if one.active { ", active" } else { "" }
        );
    }
}

/// Interrupts shown of a partition.
const MOST: usize = 64;
