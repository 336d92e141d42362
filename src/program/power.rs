//! The end of the board as a whole: off or reset, by the way its tree offers.

use super::state::{self, CONSOLE, UART};
use super::system;
use crate::behaviour::machine::BoardEnd;
use crate::edge::firmware::{self, Conduit};
use crate::edge::uart::BoardUart;
use crate::edge::{init, takeover};
use crate::model::board::{self, BoardPower};
use crate::model::console::Speaker;
use spin::Once;

/// The board's way, once its tree has been read and its devices are mapped.
static POWER: Once<BoardPower> = Once::new();
/// Parts of a second the console gets to send what is still to be said: 1,000 bytes at 115200 baud.
const DRAIN: u64 = 10;

/// Notes the board's way. Called once, with the MMU on.
pub fn open(power: Option<BoardPower>) {
    if let Some(power) = power {
        POWER.call_once(|| power);
    }
}

/// Whether the board has a way to end.
#[must_use]
pub fn is_known() -> bool {
    POWER.get().is_some()
}

/// PSCI's conduit, for the edge.
#[must_use]
pub const fn conduit(conduit: board::Conduit) -> Conduit {
    match conduit {
        board::Conduit::Hvc => Conduit::Hvc,
        board::Conduit::Smc => Conduit::Smc,
    }
}

/// Ends the board once the console has shown what there was to say. Comes back only where there is no way to: the board's
/// tree names none, or firmware refuses.
pub fn end(end: BoardEnd) {
    drain();
    end_now(end);
}

/// As [`end`], leaving the console as it is: for those who wrote to the UART themselves.
pub fn end_now(end: BoardEnd) {
    match (POWER.get(), end) {
        (Some(BoardPower::Psci(way)), BoardEnd::Off) => firmware::system_off(conduit(*way)),
        (Some(BoardPower::Psci(way)), BoardEnd::Reset) => firmware::system_reset(conduit(*way)),
        (Some(BoardPower::Bcm2835Pm { registers }), BoardEnd::Off) => {
            if let Some(watchdog) = takeover::watchdog(*registers) {
                watchdog.halt();
            }
        }
        (Some(BoardPower::Bcm2835Pm { registers }), BoardEnd::Reset) => {
            if let Some(watchdog) = takeover::watchdog(*registers) {
                watchdog.reset();
            }
        }
        (None, _) => {}
    }
}

/// Moves what speakers have said to the UART until all of it is sent, for a bounded time.
pub fn drain() {
    let deadline = init::counter().saturating_add(init::counter_frequency() / DRAIN);
    while init::counter() < deadline && !is_drained() {
        core::hint::spin_loop();
    }
}

fn is_drained() -> bool {
    let own = state::partitions().map(|partition| Speaker::partition(partition.plan.id));
    let mut drained = true;
    for speaker in own.chain([Speaker::HYPERVISOR, Speaker::MONITOR]) {
        system::serve(speaker);
        drained &= CONSOLE.ring(speaker).is_empty();
    }
    drained
        && UART
            .lock()
            .is_none_or(|uart| uart.as_ref().is_none_or(BoardUart::is_idle))
}
