//! CPUs and how they start, the PSCI conduit, the generic timer.
//!
//! Bindings: Devicetree Specification 3.8, Linux `arm/cpus.yaml`, `arm/psci.yaml`, `timer/arm,arch_timer.yaml`.

use arrayvec::ArrayVec;

use super::interrupts::{Interrupts, Line};
use super::tree::{Place, Tree, strings};
use super::{BoardError, BoardProblem, Conduit, Cpu, CpuStart, Timer};
use crate::words::limits::MAX_CPUS;
use crate::words::{Mpidr, Pa};

/// PSCI with the function identifiers its specification fixes.
pub(super) const PSCI_KINDS: &[&str] = &["arm,psci-1.0", "arm,psci-0.2"];
/// Performance monitors as the architecture has them, by the names trees give them.
pub(super) const PMU_KINDS: &[&str] = &[
    "arm,armv8-pmuv3",
    "arm,cortex-a53-pmu",
    "arm,cortex-a55-pmu",
    "arm,cortex-a57-pmu",
    "arm,cortex-a72-pmu",
    "arm,cortex-a73-pmu",
    "arm,cortex-a76-pmu",
];
/// INTIDs of private peripherals (IHI 0048 2.2.1).
const PPIS: core::ops::Range<u32> = 16..32;
/// The generic timer of an AArch64 board.
pub(super) const TIMER_KINDS: &[&str] = &["arm,armv8-timer"];
/// Most interrupts the generic timer has.
const MAX_TIMERS: usize = 5;
/// Where the timers are among `interrupts` when nothing names them: secure, non-secure EL1, virtual, EL2.
const TIMER_ORDER: [&str; 4] = ["sec-phys", "phys", "virt", "hyp-phys"];

/// How PSCI, whose node is at `place`, is called.
pub(super) fn psci(place: &Place<'_>) -> Result<Conduit, BoardError> {
    match place.raw_string("method") {
        b"hvc" => Ok(Conduit::Hvc),
        b"smc" => Ok(Conduit::Smc),
        _ => Err(place.error(BoardProblem::Malformed("method"))),
    }
}

/// Adds to `cpus` the CPUs under `parent` that are not disabled.
pub(super) fn cpus(
    root: &Place<'_>,
    parent: Option<&Place<'_>>,
    psci: Option<Conduit>,
    cpus: &mut ArrayVec<Cpu, MAX_CPUS>,
) -> Result<(), BoardError> {
    let lacks = || root.error(BoardProblem::Lacks("CPU under /cpus"));
    let parent = parent.filter(|parent| parent.enabled());
    let parent = parent.ok_or_else(lacks)?;
    let cells = parent.cells()?;
    parent.try_each_child(|place| {
        if !is_cpu(place) {
            return Ok(());
        }
        let cpu = cpu(place, cells, psci)?;
        if cpus.iter().any(|other: &Cpu| other.mpidr == cpu.mpidr) {
            return Err(place.error(BoardProblem::DuplicateCpu(cpu.mpidr.get())));
        }
        cpus.try_push(cpu).map_err(|_| {
            place.error(BoardProblem::TooMany {
                what: "CPUs",
                room: MAX_CPUS,
            })
        })
    })?;
    if cpus.is_empty() {
        return Err(lacks());
    }
    Ok(())
}

fn is_cpu(place: &Place<'_>) -> bool {
    let named = place.has_base_name("cpu") || place.raw_string("device_type") == b"cpu";
    named && place.enabled_itself()
}

fn cpu(place: &Place<'_>, cells: (usize, usize), psci: Option<Conduit>) -> Result<Cpu, BoardError> {
    let affinity = place.unit(cells)?.filter(|raw| raw & !Mpidr::MASK == 0);
    let affinity = affinity.ok_or_else(|| {
        place.error(match place.value("reg") {
            None => BoardProblem::Missing("reg"),
            Some(_) => BoardProblem::Malformed("reg"),
        })
    })?;
    let start = match place.raw_string("enable-method") {
        b"psci" if psci.is_some() => CpuStart::Psci,
        b"spin-table" => CpuStart::SpinTable {
            release: release(place)?,
        },
        _ => CpuStart::Unknown,
    };
    Ok(Cpu {
        mpidr: Mpidr::new(affinity),
        start,
    })
}

/// The 64-bit word a spinning CPU polls (Linux, Documentation/arch/arm64/booting.rst).
fn release(place: &Place<'_>) -> Result<Pa, BoardError> {
    const NAME: &str = "cpu-release-addr";
    let address = place.number(NAME)?;
    let address = address.ok_or_else(|| place.error(BoardProblem::Missing(NAME)))?;
    let release = Pa::new(address);
    if !release.is_aligned(u64::from(u64::BITS / u8::BITS)) {
        return Err(place.error(BoardProblem::Malformed(NAME)));
    }
    Ok(release)
}

/// The interrupts of the generic timer, whose node is at `place`.
pub(super) fn timer<'t>(
    tree: &mut Tree<'t>,
    place: Option<&Place<'t>>,
) -> Result<Timer, BoardError> {
    let lacks = || tree.root().error(BoardProblem::Lacks("arm,armv8-timer"));
    let place = place.ok_or_else(lacks)?;
    let mut lines: [Option<Line>; MAX_TIMERS] = [None; MAX_TIMERS];
    let mut rest = Interrupts::of(tree, place)?;
    for line in &mut lines {
        *line = rest.next().transpose()?;
    }
    let names = place.value("interrupt-names");
    let intid = |name| {
        let position = match names {
            Some(names) => strings(names).position(|own| own == name),
            None => TIMER_ORDER.iter().position(|own| *own == name),
        };
        let line = position.and_then(|position| *lines.get(position)?);
        let line = line.ok_or_else(|| place.error(BoardProblem::Missing("interrupts")))?;
        let line = line.ok_or_else(|| place.error(BoardProblem::NotAtGic))?;
        Ok(line.intid)
    };
    Ok(Timer {
        virt: intid("virt")?,
        phys: intid("phys")?,
        hyp: intid("hyp-phys")?,
    })
}

/// The overflow interrupt of the performance monitors at `place`, where it is a PPI (Linux `arm/pmu.yaml`). Trees that give each core an SPI
/// of its own have none that a virtual machine's tree could name.
pub(super) fn pmu<'t>(tree: &mut Tree<'t>, place: &Place<'t>) -> Result<Option<u32>, BoardError> {
    let first = Interrupts::of(tree, place)?.next().transpose()?.flatten();
    let intid = first.map(|line| line.intid);
    Ok(intid.filter(|intid| PPIS.contains(intid)))
}
