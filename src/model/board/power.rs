//! How the board as a whole is switched off and reset.
//!
//! Bindings: Linux `arm/psci.yaml`, `soc/bcm/brcm,bcm2835-pm.yaml`.

use super::tree::{Place, Tree};
use super::{BoardError, BoardPower, BoardProblem, Conduit};

/// The BCM2835's power manager with its watchdog, by all the names it has had.
pub(super) const PM_KINDS: &[&str] = &["brcm,bcm2711-pm", "brcm,bcm2835-pm", "brcm,bcm2835-pm-wdt"];
/// Bytes up to and with the last register used, PM_WDOG.
const PM_SIZE: u64 = 0x28;

/// How the board ends: by PSCI where firmware has it, or else by the power manager, if there is one.
pub(super) fn power<'t>(
    tree: &mut Tree<'t>,
    manager: Option<&Place<'t>>,
    psci: Option<Conduit>,
) -> Result<Option<BoardPower>, BoardError> {
    if let Some(conduit) = psci {
        return Ok(Some(BoardPower::Psci(conduit)));
    }
    let Some(place) = manager else {
        return Ok(None);
    };
    let malformed = || place.error(BoardProblem::Malformed("reg"));
    let registers = tree.registers(place)?.next().ok_or_else(malformed)??;
    let registers = registers.ok_or_else(|| place.error(BoardProblem::Unmapped("pm")))?;
    if registers.size() < PM_SIZE || !registers.base().is_aligned(4) {
        return Err(malformed());
    }
    Ok(Some(BoardPower::Bcm2835Pm { registers }))
}
