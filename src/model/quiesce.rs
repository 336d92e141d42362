//! Calling the other cores of a partition in: for the rare register access that must see what their list registers hold.
//!
//! One asker at a time. It calls cores with a ticket; each, once in EL2, folds its list registers, answers with the
//! ticket, and waits until the ticket is over; then it fills them again. Nobody waits for a guest: a core that runs one
//! is interrupted, and a core already in EL2 answers from wherever it would wait for the asker. Tickets count up, so an
//! answer to an earlier call is no answer to this one.
//!
//! | asker                                 | called core                                  |
//! |---------------------------------------|----------------------------------------------|
//! | `begin` (answering meanwhile)         |                                              |
//! | `call(v)`, interrupt it               | `called(v)` is `Some(ticket)`: folds         |
//! | wait until `answered(v)` or `!loaded` | `answer(v, ticket)`, waits while `is_open`   |
//! | works; `end`                          | fills                                        |

use crate::words::VcpuId;
use crate::words::limits::MAX_VCPUS;
use crate::words::sync::{AtomicBool, AtomicU32, Ordering};

/// The state of the calls within one partition.
#[derive(Debug)]
pub struct Quiesce {
    asking: AtomicBool,
    /// Odd while a call to the vCPU is open.
    tickets: [AtomicU32; MAX_VCPUS],
    answers: [AtomicU32; MAX_VCPUS],
    loaded: [AtomicBool; MAX_VCPUS],
}

impl Quiesce {
    /// Makes one without calls.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            asking: AtomicBool::new(false),
            tickets: [const { AtomicU32::new(0) }; MAX_VCPUS],
            answers: [const { AtomicU32::new(0) }; MAX_VCPUS],
            loaded: [const { AtomicBool::new(false) }; MAX_VCPUS],
        }
    }

    /// Tries to become the one that asks. Until it succeeds, the caller answers calls itself.
    #[must_use]
    pub fn begin(&self) -> bool {
        !self.asking.swap(true, Ordering::Acquire)
    }

    /// Ends the calls to all of `vcpus`, and lets another ask.
    pub fn end(&self, vcpus: impl Iterator<Item = VcpuId>) {
        for vcpu in vcpus {
            if let Some(ticket) = self.tickets.get(vcpu.index()) {
                let now = ticket.load(Ordering::Relaxed);
                if now & 1 == 1 {
                    ticket.store(now.wrapping_add(1), Ordering::Release);
                }
            }
        }
        self.asking.store(false, Ordering::Release);
    }

    /// Calls `vcpu`, if its list registers may hold anything. `true`: interrupt its core, and wait for the answer.
    #[must_use]
    pub fn call(&self, vcpu: VcpuId) -> bool {
        let Some(ticket) = self.tickets.get(vcpu.index()) else {
            return false;
        };
        let open = ticket.load(Ordering::Relaxed) | 1;
        ticket.store(open, Ordering::SeqCst);
        self.is_loaded(vcpu)
    }

    /// Whether `vcpu` has answered the open call, or has nothing loaded.
    #[must_use]
    pub fn answered(&self, vcpu: VcpuId) -> bool {
        let index = vcpu.index() % MAX_VCPUS;
        let ticket = self.tickets[index].load(Ordering::Relaxed);
        self.answers[index].load(Ordering::Acquire) == ticket || !self.is_loaded(vcpu)
    }

    /// The ticket of a call that is open for `vcpu`.
    #[must_use]
    pub fn called(&self, vcpu: VcpuId) -> Option<u32> {
        let ticket = self.tickets[vcpu.index() % MAX_VCPUS].load(Ordering::SeqCst);
        (ticket & 1 == 1).then_some(ticket)
    }

    /// Answers the call with `ticket`; the list registers of `vcpu` are folded.
    pub fn answer(&self, vcpu: VcpuId, ticket: u32) {
        self.answers[vcpu.index() % MAX_VCPUS].store(ticket, Ordering::Release);
    }

    /// Whether the call with `ticket` is still open.
    #[must_use]
    pub fn is_open(&self, vcpu: VcpuId, ticket: u32) -> bool {
        self.called(vcpu) == Some(ticket)
    }

    /// Says whether the list registers of `vcpu` may hold anything: set before it is entered, cleared after the fold when
    /// it goes off.
    pub fn set_loaded(&self, vcpu: VcpuId, loaded: bool) {
        self.loaded[vcpu.index() % MAX_VCPUS].store(loaded, Ordering::SeqCst);
    }

    fn is_loaded(&self, vcpu: VcpuId) -> bool {
        self.loaded[vcpu.index() % MAX_VCPUS].load(Ordering::SeqCst)
    }
}

impl Default for Quiesce {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn an_answer_to_an_earlier_call_is_no_answer_to_this_one() {
        let (quiesce, vcpu) = (Quiesce::new(), VcpuId::new(1));
        quiesce.set_loaded(vcpu, true);
        assert!(quiesce.begin());
        assert!(quiesce.call(vcpu));
        let ticket = quiesce.called(vcpu).unwrap();
        quiesce.answer(vcpu, ticket);
        assert!(quiesce.answered(vcpu));
        quiesce.end([vcpu].into_iter());
        assert!(!quiesce.is_open(vcpu, ticket));
        assert!(quiesce.begin());
        assert!(quiesce.call(vcpu));
        assert!(!quiesce.answered(vcpu));
    }

    #[test]
    fn a_vcpu_with_nothing_loaded_is_not_waited_for() {
        let (quiesce, vcpu) = (Quiesce::new(), VcpuId::new(2));
        assert!(quiesce.begin());
        assert!(!quiesce.call(vcpu));
        assert!(quiesce.answered(vcpu));
    }

    /// Four cores that all ask and answer at random: everybody gets through, and while one works nobody else is loaded.
    #[test]
    fn cores_that_call_each_other_all_get_through_and_work_alone() {
        const CORES: u8 = 4;
        let quiesce = Arc::new(Quiesce::new());
        let loaded = Arc::new(AtomicUsize::new(usize::from(CORES)));
        (0..CORES).for_each(|core| quiesce.set_loaded(VcpuId::new(core), true));
        let done = Arc::new(AtomicUsize::new(0));
        let cores: Vec<_> = (0..CORES)
            .map(|core| {
                let (quiesce, loaded, done) =
                    (Arc::clone(&quiesce), Arc::clone(&loaded), Arc::clone(&done));
                std::thread::spawn(move || {
                    let own = VcpuId::new(core);
                    let others = || {
                        (0..CORES)
                            .filter(move |other| *other != core)
                            .map(VcpuId::new)
                    };
                    let serve = || {
                        if let Some(ticket) = quiesce.called(own) {
                            loaded.fetch_sub(1, Ordering::SeqCst);
                            quiesce.answer(own, ticket);
                            while quiesce.is_open(own, ticket) {
                                std::thread::yield_now();
                            }
                            loaded.fetch_add(1, Ordering::SeqCst);
                        }
                    };
                    for _ in 0..if cfg!(miri) { 2 } else { 50 } {
                        while !quiesce.begin() {
                            serve();
                            std::thread::yield_now();
                        }
                        others().for_each(|other| assert!(quiesce.call(other)));
                        while !others().all(|other| quiesce.answered(other)) {
                            std::thread::yield_now();
                        }
                        assert_eq!(loaded.load(Ordering::SeqCst), 1, "only the asker is loaded");
                        quiesce.end(others());
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                    while done.load(Ordering::SeqCst) < usize::from(CORES) {
                        serve();
                        std::thread::yield_now();
                    }
                })
            })
            .collect();
        cores.into_iter().for_each(|core| core.join().unwrap());
    }
}
