//! Locks of the board as a whole, which outlive a core that fails with one.

use super::fault;
use crate::words::patience;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::mutex::{SpinMutex, SpinMutexGuard};

/// A lock for all cores.
#[derive(Debug)]
pub struct Common<T> {
    inner: SpinMutex<T>,
    /// It was waited for in vain: nobody waits again.
    lost: AtomicBool,
}

impl<T> Common<T> {
    /// An open lock.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self {
            inner: SpinMutex::new(value),
            lost: AtomicBool::new(false),
        }
    }

    /// Takes the lock if it is open.
    pub fn try_lock(&self) -> Option<SpinMutexGuard<'_, T>> {
        self.inner.try_lock()
    }

    /// Waits for the lock; `None` if a core has failed with it.
    pub fn lock(&self) -> Option<SpinMutexGuard<'_, T>> {
        if self.lost.load(Ordering::Relaxed) {
            return self.inner.try_lock();
        }
        let guard = patience::wait(|| self.inner.try_lock(), fault::any);
        if guard.is_none() {
            self.lost.store(true, Ordering::Relaxed);
        }
        guard
    }
}
