//! The power manager of the BCM2835 and its successors: its watchdog is how a board without PSCI resets and halts.
//!
//! Registers as in Linux's `bcm2835_wdt` and the firmware's boot ROM: every write carries a password in its upper byte.
//! The boot ROM reads in PM_RSTS which partition of the card to boot from; 63, which no card has, means to halt.

use super::gic::Frame;
use crate::words::Range;

const PM_RSTC: usize = 0x1c;
const PM_RSTS: usize = 0x20;
const PM_WDOG: usize = 0x24;
const PASSWORD: u32 = 0x5a00_0000;
/// PM_RSTC.WRCFG: what the watchdog does when its time is over, and its value for a full reset.
const RSTC_CONFIGURATION: u32 = 0x30;
const RSTC_FULL_RESET: u32 = 0x20;
/// PM_RSTS: the bits of the boot partition's number, every second one; all set means 63.
const RSTS_PARTITION: u32 = 0x555;
/// PM_RSTS: all bits but the upper byte, which reads as zero and is written as the password.
const RSTS_BITS: u32 = 0x00ff_ffff;
/// Time until the reset, in units of about 15 microseconds.
const SOON: u32 = 10;

/// The power manager.
#[derive(Debug)]
pub struct Watchdog(Frame<0x28>);

impl Watchdog {
    /// Takes the power manager with these registers; `None` if they are too few.
    ///
    /// # Safety
    /// They are a BCM2835 power manager's as the board's tree names them, mapped as device memory or reached with the MMU
    /// off, and nothing else drives it.
    #[must_use]
    pub unsafe fn new(registers: Range) -> Option<Self> {
        // SAFETY: by this function's contract.
        unsafe { Frame::new(registers) }.map(Self)
    }

    /// Resets the board within a millisecond: the firmware boots it again.
    pub fn reset(&self) {
        self.expire(0);
    }

    /// Halts the board within a millisecond: the firmware waits there until power or its button says otherwise.
    pub fn halt(&self) {
        self.expire(RSTS_PARTITION);
    }

    fn expire(&self, partition: u32) {
        let status = self.0.read(PM_RSTS) & RSTS_BITS & !RSTS_PARTITION;
        self.0.write(PM_RSTS, PASSWORD | status | partition);
        self.0.write(PM_WDOG, PASSWORD | SOON);
        let control = self.0.read(PM_RSTC) & RSTS_BITS & !RSTC_CONFIGURATION;
        self.0.write(PM_RSTC, PASSWORD | control | RSTC_FULL_RESET);
    }
}
