//! The physical GIC's frames (Linux `interrupt-controller/arm,gic.yaml` and `arm,gic-v3.yaml`).

use arrayvec::ArrayVec;

use super::interrupts::Interrupts;
use super::tree::{Place, Registers, Tree};
use super::{BoardError, BoardProblem, Gic, MAX_REDISTRIBUTOR_REGIONS};
use crate::words::Range;

/// GICv3 and GICv4; the others are GICv2s with the virtualization extensions.
const V3_KINDS: &[&str] = &["arm,gic-v3"];
/// Every kind this image knows.
pub(super) const KINDS: &[&str] = &[
    "arm,gic-400",
    "arm,cortex-a15-gic",
    "arm,cortex-a7-gic",
    "arm,gic-v3",
];
/// A GICv2's frames, in `reg`'s order.
const V2_FRAMES: [&str; 4] = ["GICD", "GICC", "GICH", "GICV"];
/// Two 64 KiB frames: RD_base and SGI_base (IHI 0069, 12.10).
const DEFAULT_STRIDE: u64 = 0x2_0000;
/// What a stride is a multiple of.
const FRAME: u64 = 0x1_0000;

/// Whether `place` is a GIC of a kind this image knows.
pub(super) fn is_gic(place: &Place<'_>) -> bool {
    place.is_any(KINDS)
}

/// The board's GIC, whose node is at `place`.
pub(super) fn gic<'t>(tree: &mut Tree<'t>, place: Option<&Place<'t>>) -> Result<Gic, BoardError> {
    let lacks = || tree.root().error(BoardProblem::Lacks("GICv2 or GICv3"));
    let place = place.ok_or_else(lacks)?;
    let maintenance = maintenance(tree, place)?;
    if place.is_any(V3_KINDS) {
        v3(tree, place, maintenance)
    } else {
        v2(tree, place, maintenance)
    }
}

fn maintenance(tree: &Tree<'_>, place: &Place<'_>) -> Result<u32, BoardError> {
    let missing = || place.error(BoardProblem::Missing("interrupts"));
    let first = Interrupts::of_gic(tree, place)?
        .next()
        .ok_or_else(missing)??;
    first.map(|line| line.intid).ok_or_else(missing)
}

fn v2<'t>(tree: &mut Tree<'t>, place: &Place<'t>, maintenance: u32) -> Result<Gic, BoardError> {
    let mut frames = Frames(place, tree.registers(place)?);
    let [gicd, gicc, gich, gicv] = V2_FRAMES;
    Ok(Gic::V2 {
        distributor: frames.next(gicd)?,
        cpu_interface: frames.next(gicc)?,
        hypervisor: frames.next(gich)?,
        virtual_cpu: frames.next(gicv)?,
        maintenance,
    })
}

fn v3<'t>(tree: &mut Tree<'t>, place: &Place<'t>, maintenance: u32) -> Result<Gic, BoardError> {
    const REGIONS: &str = "#redistributor-regions";
    let mut frames = Frames(place, tree.registers(place)?);
    let distributor = frames.next("GICD")?;
    let regions = place.cell(REGIONS)?.unwrap_or(1);
    let mut redistributors = ArrayVec::new();
    for _ in 0..regions {
        let region = frames.next("GICR")?;
        let full = BoardProblem::TooMany {
            what: "redistributor regions",
            room: MAX_REDISTRIBUTOR_REGIONS,
        };
        redistributors
            .try_push(region)
            .map_err(|_| place.error(full))?;
    }
    if redistributors.is_empty() {
        return Err(place.error(BoardProblem::Malformed(REGIONS)));
    }
    Ok(Gic::V3 {
        distributor,
        redistributors,
        stride: stride(place)?,
        maintenance,
    })
}

fn stride(place: &Place<'_>) -> Result<u64, BoardError> {
    const NAME: &str = "redistributor-stride";
    // Some trees write 0 for "the usual".
    let stride = place.number(NAME)?.filter(|stride| *stride != 0);
    match stride.unwrap_or(DEFAULT_STRIDE) {
        stride if stride >= DEFAULT_STRIDE && stride.is_multiple_of(FRAME) => Ok(stride),
        _ => Err(place.error(BoardProblem::Malformed(NAME))),
    }
}

/// The entries of a GIC's `reg`, by name.
struct Frames<'p, 't>(&'p Place<'t>, Registers<'p, 't>);

impl Frames<'_, '_> {
    fn next(&mut self, name: &'static str) -> Result<Range, BoardError> {
        let missing = || self.0.error(BoardProblem::NoFrame(name));
        let range = self.1.next().ok_or_else(missing)??;
        range
            .filter(|range| range.size() > 0)
            .ok_or_else(|| self.0.error(BoardProblem::Unmapped(name)))
    }
}
