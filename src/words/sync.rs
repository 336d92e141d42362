//! Atomic words and fences, as everything that cores share uses them: `core`'s, or a model checker's.
//!
//! `cargo xtask test host/interleavings` builds the tests with `--cfg loom`: then each word is one of loom's, which tries
//! every order in which threads and the memory model let loads see stores. loom knows no total order of SeqCst accesses;
//! so a SeqCst load has a SeqCst fence in front here, which orders it after SeqCst stores and read-modify-writes before it
//! and no other way round.

#[cfg(not(all(loom, test)))]
pub use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

#[cfg(all(loom, test))]
pub use checked::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

#[cfg(all(loom, test))]
#[allow(missing_docs, reason = "as core's")]
mod checked {
    pub use loom::sync::atomic::{Ordering, fence};
    use std::sync::OnceLock;

    /// An atomic word whose constructor is `const`, as loom's is not: loom's is made when it is first used.
    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            #[derive(Debug)]
            pub struct $name {
                initial: $value,
                word: OnceLock<loom::sync::atomic::$name>,
            }

            impl Default for $name {
                fn default() -> Self {
                    Self::new(<$value>::default())
                }
            }

            impl $name {
                pub const fn new(initial: $value) -> Self {
                    Self {
                        initial,
                        word: OnceLock::new(),
                    }
                }

                fn word(&self) -> &loom::sync::atomic::$name {
                    let make = || loom::sync::atomic::$name::new(self.initial);
                    self.word.get_or_init(make)
                }

                pub fn load(&self, order: Ordering) -> $value {
                    if order == Ordering::SeqCst {
                        fence(Ordering::SeqCst);
                        return self.word().load(Ordering::Acquire);
                    }
                    self.word().load(order)
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    self.word().store(value, order);
                }

                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.word().swap(value, order)
                }

                pub fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.word().compare_exchange(current, new, success, failure)
                }

                pub fn fetch_update(
                    &self,
                    success: Ordering,
                    failure: Ordering,
                    update: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    self.word().fetch_update(success, failure, update)
                }
            }
        };
    }

    macro_rules! arithmetic {
        ($name:ident, $value:ty) => {
            impl $name {
                pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    self.word().fetch_add(value, order)
                }

                pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                    self.word().fetch_or(value, order)
                }

                pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                    self.word().fetch_and(value, order)
                }
            }
        };
    }

    atomic!(AtomicBool, bool);
    atomic!(AtomicU8, u8);
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
    arithmetic!(AtomicU8, u8);
    arithmetic!(AtomicU32, u32);
    arithmetic!(AtomicU64, u64);
}
