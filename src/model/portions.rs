//! Work cut into portions that the cores of a partition do together: each takes the next one that nobody has.
//!
//! Invariant: every portion of a job is given out once, and [`Portions::is_done`] holds only after the last one that was
//! given out is done. Whoever offered the job waits for that before it offers another.

use crate::words::lower_half;
use crate::words::sync::{AtomicU32, AtomicU64, Ordering};

/// A job's portions.
#[derive(Debug)]
pub struct Portions {
    /// How many there are, in bits 63:32, and the next one. One word: whoever comes late out of the job before must not take
    /// a portion by that job's number and this one's count.
    job: AtomicU64,
    done: AtomicU32,
}

/// Where the number of portions is in [`Portions::job`].
const COUNT_SHIFT: u32 = 32;

impl Portions {
    /// No job.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            job: AtomicU64::new(0),
            done: AtomicU32::new(0),
        }
    }

    /// Offers a job of `count` portions. The one before must be done.
    pub fn offer(&self, count: u32) {
        self.done.store(0, Ordering::Relaxed);
        self.job
            .store(u64::from(count) << COUNT_SHIFT, Ordering::Release);
    }

    /// Does portions with `work` until none is left to take.
    pub fn work(&self, mut work: impl FnMut(u32)) {
        while let Some(portion) = self.take() {
            work(portion);
            self.done.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether every portion is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let count = self.job.load(Ordering::Relaxed) >> COUNT_SHIFT;
        u64::from(self.done.load(Ordering::Acquire)) == count
    }

    /// The next portion. The counter stays where it is once all are taken, so that it cannot wrap.
    fn take(&self) -> Option<u32> {
        self.job
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |job| {
                (u64::from(lower_half(job)) < job >> COUNT_SHIFT).then(|| job + 1)
            })
            .map(lower_half)
            .ok()
    }
}

impl Default for Portions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU8;

    #[test]
    fn every_portion_is_done_once_by_whoever_comes() {
        let portions = Portions::new();
        let times: Vec<AtomicU8> = (0..1000).map(|_| AtomicU8::new(0)).collect();
        portions.offer(1000);
        assert!(!portions.is_done());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    portions.work(|portion| {
                        times[portion as usize].fetch_add(1, Ordering::Relaxed);
                    });
                });
            }
        });
        assert!(portions.is_done());
        assert!(times.iter().all(|times| times.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn without_a_job_there_is_nothing_to_do() {
        let portions = Portions::new();
        portions.work(|_| panic!("no job was offered"));
        assert!(portions.is_done());
    }

    #[test]
    fn a_job_may_follow_another() {
        let portions = Portions::new();
        for count in [3, 0, 5] {
            let mut seen = 0;
            portions.offer(count);
            portions.work(|_| seen += 1);
            assert!(portions.is_done());
            assert_eq!(seen, count);
        }
    }

    #[test]
    fn a_portion_under_way_is_not_done() {
        let portions = Portions::new();
        portions.offer(1);
        portions.work(|_| assert!(!portions.is_done()));
        assert!(portions.is_done());
    }
}
