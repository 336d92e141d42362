//! The audit of this board: before the first partition starts, whenever the monitor is asked for it, and, where the manifest
//! says `audit = true`, with each turn in a partition's life.

use super::log;
use super::state::{self, partitions};
use crate::behaviour::audit::{self, Finding, Grant};
use crate::behaviour::partition::Partition;
use crate::edge::memory::TableView;
use crate::edge::{boot, init};
use crate::words::limits::{MAX_CHANNELS, MAX_PARTITIONS};
use crate::words::{CpuId, Pa, PartitionId, Range};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Once;

/// Most grants there are: each partition's RAM, interface and flash, its devices, and every channel's two ends.
const MAX_GRANTS: usize = MAX_PARTITIONS * 32 + 2 * MAX_CHANNELS;
/// Most ranges that are the hypervisor's.
const MAX_KEPT: usize = 16;

/// What the audit needs of the board.
#[derive(Debug)]
struct Known {
    /// What no partition may have.
    kept: ArrayVec<Range, MAX_KEPT>,
    /// GICV, where guests use it directly.
    virtual_cpu: Option<Range>,
    /// The root of EL2's own tables.
    own_root: Pa,
}

static KNOWN: Once<Known> = Once::new();

/// Tells the audit what the hypervisor keeps, which page of GICV guests use, and where EL2's own tables are.
pub fn prepare(kept: impl Iterator<Item = Range>, virtual_cpu: Option<Range>, own_root: u64) {
    KNOWN.call_once(|| Known {
        kept: kept.take(MAX_KEPT).collect(),
        virtual_cpu,
        own_root: Pa::new(own_root),
    });
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Grants of all partitions.
    pub grants: usize,
    /// Bytes the partitions' tables map.
    pub mapped: u64,
    /// Bytes EL2's own tables map.
    pub own: u64,
}

/// Every interrupt of a device with its owner.
fn devices_interrupts() -> impl Iterator<Item = (PartitionId, u32)> + Clone {
    let of = |one: &'static Partition<'static>| {
        let own = one.share.interrupts.iter();
        own.map(|interrupt| (one.plan.id, interrupt.intid))
    };
    partitions().flat_map(of)
}

/// Shows that whatever shared interrupt can come is a partition's, and comes to a core of its own; or is the console's.
fn interrupts_that_can_come() -> Result<(), Finding> {
    let Some(host) = state::HOST.get() else {
        return Ok(());
    };
    let cpus = || (0..).take(host.cpus.len()).map(CpuId::new);
    for word in 1..host.gic.words() {
        let mut enabled = host.gic.enabled_shared(word);
        while enabled != 0 {
            let intid = 32 * word + enabled.trailing_zeros();
            enabled &= enabled - 1;
            if host.uart == Some(intid) {
                continue;
            }
            let has = |one: &&Partition<'_>| {
                let mut own = one.share.interrupts.iter();
                own.any(|interrupt| interrupt.intid == intid)
            };
            let owner = partitions().find(has);
            let owner = owner.map(|one| (one.plan.id, &one.cpus[..]));
            let to = cpus().filter(|cpu| host.gic.goes_to(intid, *cpu));
            audit::signalled(intid, to, owner)?;
        }
    }
    Ok(())
}

/// Audits every partition and EL2 itself.
///
/// # Errors
/// The first finding.
pub fn run() -> Result<Summary, Finding> {
    let Some(known) = KNOWN.get() else {
        return Ok(Summary::default());
    };
    let mut grants: ArrayVec<Grant, MAX_GRANTS> = ArrayVec::new();
    for grant in partitions().flat_map(|one| audit::grants(one, known.virtual_cpu)) {
        if grants.try_push(grant).is_err() {
            return Err(Finding::Kept(grant.owner, grant.range.base().get()));
        }
    }
    let tables = |one: &'static Partition<'static>| one.tables.iter().copied();
    let mut kept: ArrayVec<Range, { MAX_KEPT + 2 * MAX_PARTITIONS }> = ArrayVec::new();
    let room = kept.remaining_capacity();
    kept.extend(
        known
            .kept
            .iter()
            .copied()
            .chain(partitions().flat_map(tables))
            .take(room),
    );
    audit::owners(&grants, &kept)?;
    audit::interrupts(devices_interrupts())?;
    interrupts_that_can_come()?;
    let mut summary = Summary {
        grants: grants.len(),
        ..Summary::default()
    };
    for one in partitions() {
        let view = TableView;
        summary.mapped += audit::tables(one.plan.id, &one.stage2, &view, &one.tables, &grants)?;
    }
    let (ttbr, tcr, sctlr) = init::own_regime();
    let own = audit::regime(ttbr, tcr, sctlr, known.own_root)?;
    summary.own = audit::own(&own, &TableView, boot::text())?;
    Ok(summary)
}

/// Whether the manifest asks for an audit with each turn in a partition's life.
pub static AT_EACH_TURN: AtomicBool = AtomicBool::new(false);

/// Audits everything, if the manifest asks for that, after `turn` in the life of `partition`, and says how it went.
///
/// # Errors
/// The first finding.
pub fn after(partition: &Partition<'_>, turn: &str) -> Result<(), Finding> {
    if !AT_EACH_TURN.load(Ordering::Relaxed) {
        return Ok(());
    }
    let name = partition.plan.name;
    match run() {
        Ok(Summary { grants, mapped, .. }) => {
            log::info!("audit: partition {name} {turn}: {grants} grants, {mapped:#x} bytes mapped");
            Ok(())
        }
        Err(finding) => {
            log::error!("audit: partition {name} {turn}: FAILED: {finding}");
            Err(finding)
        }
    }
}

/// The root of EL2's own tables.
#[must_use]
pub fn own_root() -> Option<Pa> {
    KNOWN.get().map(|known| known.own_root)
}
