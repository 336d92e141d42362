//! The interrupt controller, GICv2 (Arm IHI 0048B) or GICv3 (Arm IHI 0069H), one file a part.
//!
//! Invariant: IRQs stay masked in PSTATE; interrupts are taken by polling the CPU interface.

mod level;
mod pending;
mod priority;
mod registers;
mod sgi;

use bulkhead_rt::abi::layout::UART_INTID;
use bulkhead_rt::gic::{Gic, distributor};

use crate::environment::Environment;
use crate::poll;
use crate::tap::Tap;

/// The only shared interrupt every partition owns.
const SPI: u32 = UART_INTID;
/// The acknowledge register's "no interrupt".
const SPURIOUS: u32 = 1023;

/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    let gic = &environment.machine.gic;
    poll::reset(gic);
    registers::run(tap, environment);
    sgi::run(tap, environment);
    pending::run(tap, environment);
    priority::run(tap, environment);
    level::run(tap, environment);
    poll::reset(gic);
}

/// Sends an SGI to the calling CPU.
fn send_to_self(gic: &Gic, intid: u32) {
    gic.send_sgi(intid, bulkhead_rt::cpu::affinity());
}

/// Enables all SGIs of the calling CPU.
fn enable_sgis(gic: &Gic) {
    for intid in 0..16 {
        gic.enable(intid);
    }
}

/// Makes the shared interrupt pending by software.
fn pend(gic: &Gic) {
    gic.write_bit(distributor::ISPENDR, SPI);
}

/// Returns the shared interrupt's pending and active bits.
fn state(gic: &Gic) -> (bool, bool) {
    (
        gic.read_bit(distributor::ISPENDR, SPI),
        gic.read_bit(distributor::ISACTIVER, SPI),
    )
}
