//! Waiting for another core, but not for one that is lost.
//!
//! A core whose hypervisor has failed holds for good what it held. Whoever waits for it would fail with it.

use core::hint::spin_loop;

/// Tries after which what somebody lost may have is given up: far more than any core needs that is there.
#[cfg(not(test))]
const PATIENCE: u32 = 1 << 22;
#[cfg(test)]
const PATIENCE: u32 = 1 << 10;

/// Tries until `attempt` gives something; `None` after [`PATIENCE`] tries in which `lost` said that the one waited for may be
/// lost.
#[inline(always)]
pub fn wait<R>(mut attempt: impl FnMut() -> Option<R>, lost: impl Fn() -> bool) -> Option<R> {
    match attempt() {
        None => wait_further(attempt, lost),
        found => found,
    }
}

#[cold]
#[inline(never)]
fn wait_further<R>(mut attempt: impl FnMut() -> Option<R>, lost: impl Fn() -> bool) -> Option<R> {
    let mut patience = PATIENCE;
    while patience > 0 {
        if let Some(found) = attempt() {
            return Some(found);
        }
        patience -= u32::from(lost());
        spin_loop();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_waited_for_however_long_nobody_is_lost() {
        let mut tries = 0;
        let attempt = || {
            tries += 1;
            (tries == 10 * PATIENCE).then_some(tries)
        };
        assert_eq!(wait(attempt, || false), Some(10 * PATIENCE));
    }

    #[test]
    fn what_comes_in_time_is_had_though_somebody_is_lost() {
        let mut tries = 0;
        let attempt = || {
            tries += 1;
            (tries == 100).then_some(tries)
        };
        assert_eq!(wait(attempt, || true), Some(100));
    }

    #[test]
    fn what_somebody_lost_has_is_given_up() {
        assert_eq!(wait(|| None::<u8>, || true), None);
    }
}
