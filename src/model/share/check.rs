//! Reads the devices out of the board's tree, and refuses what cannot be handed over.

use super::{Share, ShareError, ShareProblem, Shares, pages};
use crate::model::board::{Board, DeviceInfo, Dma, devices, is_at_or_below};
use crate::model::bundle::{Plan, System};
use crate::words::limits::MAX_PARTITIONS;
use crate::words::{PAGE_SIZE, Text};
use arrayvec::ArrayVec;
use bulkhead_abi::layout;

/// The first SPI (IHI 0069, 2.2.1).
const FIRST_SPI: u32 = 32;
/// The first INTID past the SPIs.
const SPI_END: u32 = 1020;
/// Kinds that could interrupt or unmap for everybody.
const NOBODYS: &[&str] = &["arm,gic-v3-its", "arm,gic-v2m-frame", "arm,smmu-v3"];
/// Kinds whose windows are not in `reg`.
const BRIDGES: &[&str] = &[
    "pci-host-ecam-generic",
    "pci-host-cam-generic",
    "brcm,bcm2711-pcie",
];

/// Decides what each partition of `system` has of the board's devices, by its device tree `tree`.
///
/// # Errors
/// Names the partition, the device and what is wrong, or the place in the board's tree.
pub fn shares(system: &System<'_>, board: &Board<'_>, tree: &[u8]) -> Result<Shares, ShareError> {
    let mut shares = Shares::new();
    shares_in(&mut shares, system, board, tree)?;
    Ok(shares)
}

/// Decides as [`shares`] does, into `shares`, which is empty: it is large, and need not be moved.
///
/// # Errors
/// As [`shares`]; what is in `shares` then means nothing.
pub fn shares_in(
    shares: &mut Shares,
    system: &System<'_>,
    board: &Board<'_>,
    tree: &[u8],
) -> Result<(), ShareError> {
    shares.extend(system.partitions.iter().map(|_| Share::default()));
    if system.partitions.iter().all(|plan| plan.devices.is_empty()) {
        return Ok(());
    }
    let mut found: ArrayVec<u32, MAX_PARTITIONS> = system.partitions.iter().map(|_| 0).collect();
    for info in devices(tree)? {
        let info = info?;
        let Some((plan, named)) = owner(system, &info)? else {
            continue;
        };
        if let Some(index) = named
            && let Some(found) = found.get_mut(plan.id.index())
        {
            *found |= 1_u32.checked_shl(index).unwrap_or(0);
        }
        if let Some(share) = shares.get_mut(plan.id.index()) {
            take(share, plan, &info, named.is_some(), board)?;
        }
    }
    all_found(system, &found)?;
    for info in devices(tree)? {
        apart(system, shares, &info?)?;
    }
    for (plan, share) in system.partitions.iter().zip(shares) {
        share.arrange(plan.memory, channels(system, plan).1);
    }
    Ok(())
}

fn refuse(plan: &Plan<'_>, device: &str, problem: ShareProblem) -> ShareError {
    ShareError {
        partition: plan.id,
        device: Text::from(device),
        problem,
    }
}

/// Whose a device is, and which of the plan's devices it is unless it lies below one.
fn owner<'s, 'b>(
    system: &'s System<'b>,
    info: &DeviceInfo<'_>,
) -> Result<Option<(&'s Plan<'b>, Option<u32>)>, ShareError> {
    let has = |plan: &&Plan<'_>| {
        let mut own = plan.devices.iter();
        own.any(|own| is_at_or_below(&info.path, own))
    };
    let mut owners = system.partitions.iter().filter(has);
    let Some(plan) = owners.next() else {
        return Ok(None);
    };
    if let Some(other) = owners.next() {
        let problem = ShareProblem::TwoOwners(plan.id);
        return Err(refuse(other, info.path.as_str(), problem));
    }
    let index = plan
        .devices
        .iter()
        .position(|own| *own == info.path.as_str());
    Ok(Some((
        plan,
        index.and_then(|index| u32::try_from(index).ok()),
    )))
}

/// Each plan's devices exist, each named once.
fn all_found(system: &System<'_>, found: &[u32]) -> Result<(), ShareError> {
    for (plan, found) in system.partitions.iter().zip(found) {
        for (index, path) in (0..).zip(&plan.devices) {
            if found.checked_shr(index).unwrap_or(0) & 1 == 0 {
                return Err(refuse(plan, path, ShareProblem::Missing));
            }
        }
    }
    Ok(())
}

/// Adds a device to the partition's share; `whole` for one the plan names, else it lies below one.
fn take(
    share: &mut Share,
    plan: &Plan<'_>,
    info: &DeviceInfo<'_>,
    whole: bool,
    board: &Board<'_>,
) -> Result<(), ShareError> {
    let fail = |problem| Err(refuse(plan, info.path.as_str(), problem));
    match (whole, info.enabled) {
        (true, false) => return fail(ShareProblem::Disabled),
        // It is not copied either.
        (false, false) => return Ok(()),
        (_, true) => {}
    }
    if whole && (info.unmapped || info.registers.is_empty()) {
        return fail(ShareProblem::Unaddressable);
    }
    if whole && info.indirect_interrupts {
        return fail(ShareProblem::Indirect);
    }
    if BRIDGES.contains(&info.compatible) {
        return fail(ShareProblem::Bridge);
    }
    if NOBODYS.contains(&info.compatible) || is_hypervisors(info, board) {
        return fail(ShareProblem::Hypervisors);
    }
    if info.dma != Dma::Never && (whole || !info.registers.is_empty()) && !plan.dma_unconfined {
        return fail(ShareProblem::Unconfined);
    }
    for range in &info.registers {
        let Some(pages) = pages(*range).filter(|pages| pages.size() > 0) else {
            return fail(ShareProblem::Unaddressable);
        };
        if board.ram.iter().any(|ram| ram.overlaps(pages)) {
            return fail(ShareProblem::InRam);
        }
        if !share.add_pages(pages) {
            let (what, room) = ("runs of registers", super::MAX_WINDOWS);
            return fail(ShareProblem::TooMany { what, room });
        }
    }
    take_interrupts(share, plan, info)
}

fn take_interrupts(
    share: &mut Share,
    plan: &Plan<'_>,
    info: &DeviceInfo<'_>,
) -> Result<(), ShareError> {
    for interrupt in &info.interrupts {
        let fail = |problem| Err(refuse(plan, info.path.as_str(), problem));
        if !(FIRST_SPI..SPI_END).contains(&interrupt.intid) {
            return fail(ShareProblem::Interrupt(interrupt.intid));
        }
        if share.has(interrupt.intid) {
            continue;
        }
        if share.interrupts.try_push(*interrupt).is_err() {
            let (what, room) = ("interrupts", super::MAX_INTERRUPTS);
            return fail(ShareProblem::TooMany { what, room });
        }
    }
    Ok(())
}

/// Whether the hypervisor drives the device.
fn is_hypervisors(info: &DeviceInfo<'_>, board: &Board<'_>) -> bool {
    let console = board.console.iter();
    let mut kept = board.own_registers().filter_map(pages);
    let shares_page = kept.any(|kept| {
        let mut theirs = info.registers.iter().filter_map(|range| pages(*range));
        theirs.any(|theirs| theirs.overlaps(kept))
    });
    let mut intids = info
        .interrupts
        .iter()
        .map(|interrupt| Some(interrupt.intid));
    shares_page || intids.any(|intid| console.clone().any(|console| console.intid == intid))
}

/// How many ends of channels the partition has, and the address after the last.
fn channels(system: &System<'_>, plan: &Plan<'_>) -> (u32, u64) {
    let own = system.channels.iter().flat_map(|channel| {
        let ends = [channel.from, channel.to].into_iter();
        ends.filter(|end| *end == plan.id).map(|_| channel.size)
    });
    own.fold((0, layout::CHANNEL_BASE), |(count, end), size| {
        (
            count + 1,
            end.saturating_add(size).saturating_add(PAGE_SIZE),
        )
    })
}

/// Checks that `info` has no page and no interrupt in common with a partition that does not have `info`.
fn apart(system: &System<'_>, shares: &Shares, info: &DeviceInfo<'_>) -> Result<(), ShareError> {
    if !info.enabled {
        return Ok(());
    }
    for (plan, share) in system.partitions.iter().zip(shares) {
        let mut own = plan.devices.iter();
        if own.any(|own| is_at_or_below(&info.path, own)) {
            numbers(system, plan, info)?;
            continue;
        }
        // A bus around a device of the partition's spans its registers by nature.
        let mut own = plan.devices.iter();
        if own.any(|own| is_at_or_below(&Text::from(*own), info.path.as_str())) {
            continue;
        }
        common(plan, share, info)?;
    }
    Ok(())
}

/// Checks that the guest's own UART and doorbells have none of the device's numbers.
fn numbers(system: &System<'_>, plan: &Plan<'_>, info: &DeviceInfo<'_>) -> Result<(), ShareError> {
    let first = u32::from(layout::CHANNEL_FIRST_INTID);
    let doorbells = first..first + channels(system, plan).0;
    let mut intids = info.interrupts.iter().map(|interrupt| interrupt.intid);
    let taken = intids.find(|intid| *intid == layout::UART_INTID || doorbells.contains(intid));
    match taken {
        Some(intid) => Err(refuse(
            plan,
            info.path.as_str(),
            ShareProblem::Number(intid),
        )),
        None => Ok(()),
    }
}

/// Refuses what `share` has in common with somebody else's device.
fn common(plan: &Plan<'_>, share: &Share, other: &DeviceInfo<'_>) -> Result<(), ShareError> {
    let fail = |problem| Err(refuse(plan, other.path.as_str(), problem));
    for theirs in other.registers.iter().filter_map(|range| pages(*range)) {
        if let Some(window) = share.windows.iter().find(|own| own.range.overlaps(theirs)) {
            let page = window.range.base().max(theirs.base());
            return fail(ShareProblem::SharedPage(page));
        }
    }
    let mut intids = other.interrupts.iter().map(|interrupt| interrupt.intid);
    match intids.find(|intid| share.has(*intid)) {
        Some(intid) => fail(ShareProblem::SharedInterrupt(intid)),
        None => Ok(()),
    }
}
