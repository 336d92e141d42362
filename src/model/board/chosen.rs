//! What `/chosen` says: console, initial ramdisk, command line (Devicetree Specification 3.6, Linux `chosen`).

use super::interrupts::Interrupts;
use super::survey::Survey;
use super::tree::{Place, Tree};
use super::{BoardError, BoardProblem, Console, UartKind};
use crate::words::{Pa, Range};

/// UARTs this image has a driver for: Arm's, and the BCM2835's auxiliary one.
pub(super) const UART_KINDS: &[&str] = &[PL011, MINI_UART];
const PL011: &str = "arm,pl011";
const MINI_UART: &str = "brcm,bcm2835-aux-uart";

/// Where the ramdisk may begin, which is the bundle: a flattened device tree, read by words.
const BUNDLE_ALIGNMENT: u64 = 4;

/// The console `stdout-path` names: a path or an alias, then options after a colon. None if it leads nowhere
/// or to a device without a driver here: a board without a console still runs.
pub(super) fn console<'t>(
    tree: &mut Tree<'t>,
    survey: &Survey<'t>,
) -> Result<Option<Console>, BoardError> {
    let Some((place, console)) = without_interrupt(tree, survey)? else {
        return Ok(None);
    };
    let line = Interrupts::of(tree, &place)?.next().transpose()?.flatten();
    let intid = line.map(|line| line.intid);
    Ok(Some(Console { intid, ..console }))
}

/// The console with its node, and without its interrupt: that may be what is wrong with the tree.
pub(super) fn without_interrupt<'t>(
    tree: &mut Tree<'t>,
    survey: &Survey<'t>,
) -> Result<Option<(Place<'t>, Console)>, BoardError> {
    let Some(place) = stdout(tree, survey) else {
        return Ok(None);
    };
    let Some(kind) = place.raw_strings("compatible").find_map(kind) else {
        return Ok(None);
    };
    let first = tree.registers(&place)?.next().transpose()?.flatten();
    let registers = first.ok_or_else(|| place.error(BoardProblem::Unmapped("0")))?;
    let console = Console {
        kind,
        registers,
        intid: None,
    };
    Ok(Some((place, console)))
}

/// The kind of UART that `own`, one of a node's `compatible` strings, says.
fn kind(own: &[u8]) -> Option<UartKind> {
    let is = |name: &str| own == name.as_bytes();
    if is(PL011) {
        Some(UartKind::Pl011)
    } else {
        is(MINI_UART).then_some(UartKind::MiniUart)
    }
}

fn stdout<'t>(tree: &Tree<'t>, survey: &Survey<'t>) -> Option<Place<'t>> {
    let [chosen, aliases, ..] = &survey.tops;
    let chosen = chosen.as_ref()?;
    let text = ["stdout-path", "linux,stdout-path"]
        .into_iter()
        .find_map(|name| chosen.strings(name).next())?;
    let target = text.split(':').next()?;
    let path = if target.starts_with('/') {
        target
    } else {
        aliases.as_ref()?.strings(target).next()?
    };
    let known = survey.uarts.iter().find(|uart| uart.is_at(path));
    let place = known.copied().or_else(|| tree.find(path));
    place.filter(Place::enabled)
}

/// The initial ramdisk, from `linux,initrd-start` to `linux,initrd-end`.
pub(super) fn initrd(chosen: Option<&Place<'_>>) -> Result<Option<Range>, BoardError> {
    const START: &str = "linux,initrd-start";
    const END: &str = "linux,initrd-end";
    let Some(chosen) = chosen else {
        return Ok(None);
    };
    let (Some(start), Some(end)) = (chosen.number(START)?, chosen.number(END)?) else {
        return Ok(None);
    };
    if !start.is_multiple_of(BUNDLE_ALIGNMENT) {
        return Err(chosen.error(BoardProblem::Unaligned(START, BUNDLE_ALIGNMENT)));
    }
    let size = end.checked_sub(start).filter(|size| *size > 0);
    let range = size.and_then(|size| Range::new(Pa::new(start), size));
    range
        .map(Some)
        .ok_or_else(|| chosen.error(BoardProblem::Malformed(END)))
}
