//! What cores share without a lock, in every interleaving and with every order of stores that the memory model allows.
//!
//! | words | protocol | here |
//! |---|---|---|
//! | `console::ByteRing` | one producer, one consumer | bytes arrive once, whole, in order |
//! | `console::Waiters`, `busy` | announce, try the lock; unlock, look | nobody is left behind |
//! | `console::Waiters`, `blocked` | the same words; set under the lock, taken by the interrupt | as above |
//! | `console::Held` | hold, look for room; make room, look | typed bytes are fetched by one of the two |
//! | `recorder::Recorder` | one writer, readers that look twice | no half events |
//! | `portions::Portions` | count and next in one word | each portion once, late workers too |
//! | `power::Power` | one compare-exchange decides | one caller wins, its entry arrives whole |
//! | `quiesce::Quiesce` | loaded, look for a call; call, look at loaded | nobody works while a vCPU comes up |
//! | `heartbeat::Heartbeat` | compare-exchange | a disarmed one stays so |
//! | `lifecycle::Life` | compare-exchanges of one word; lost, look; run, look | one stop wins, a lost core stops what runs |
//!
//! Not here, and why: `vgic::DirectTable` posts SGIs by read-modify-writes of one word each, which nothing can come
//! between, and its templates are hints that the model puts right; the console's focus, `Statistics`, `counter_offset` and
//! `program`'s notes (`watch`, `fault`, `selftest`, `system`) are single words of which any value seen is a right one a
//! moment ago; what boot writes once (`edge::gic`, `edge::takeover`, `program::system`) is written before the other cores are
//! started, and starting them synchronizes. The console's lock with its kicks is run step by step in `model::console`'s tests.

use crate::behaviour::heartbeat::{Heartbeat, Verdict};
use crate::behaviour::lifecycle::{Life, Reason, State};
use crate::behaviour::testing::{FREQUENCY, Fake};
use crate::model::console::{ByteRing, Held, Speaker, Waiters};
use crate::model::portions::Portions;
use crate::model::power::{Power, Start};
use crate::model::quiesce::Quiesce;
use crate::model::recorder::{Event, Recorder, What};
use crate::model::vgic::GicVersion;
use crate::words::sync::{AtomicBool, AtomicU8, Ordering};
use crate::words::{PartitionId, VcpuId};
use loom::sync::Mutex;
use loom::thread::{spawn, yield_now};
use std::sync::Arc;
use std::vec::Vec;

#[test]
fn bytes_of_a_ring_arrive_once_whole_and_in_order() {
    loom::model(|| {
        let ring = Arc::new(ByteRing::<2>::new());
        touched(&ring);
        let (producer, consumer) = (Arc::clone(&ring), Arc::clone(&ring));
        let consumer = spawn(move || {
            let take = |_| consumer.pop();
            (0..3).filter_map(take).collect::<Vec<u8>>()
        });
        let pushed = (1..=3).take_while(|byte| producer.push(*byte)).count();
        let mut popped = consumer.join().unwrap();
        popped.extend(std::iter::from_fn(|| ring.pop()));
        let expected: Vec<u8> = (1..=3).take(pushed).collect();
        assert!(pushed >= 2);
        assert_eq!(popped, expected);
    });
}

#[test]
fn pieces_of_a_ring_arrive_once_whole_and_in_order() {
    loom::model(|| {
        let ring = Arc::new(ByteRing::<2>::new());
        touched(&ring);
        let producer = Arc::clone(&ring);
        let producer = spawn(move || producer.push_all(&[1, 2, 3]));
        let take = || {
            let piece: Vec<u8> = ring.waiting(0..2).collect();
            ring.skip(piece.len());
            piece
        };
        let mut taken = take();
        let pushed = producer.join().unwrap();
        taken.extend(take());
        let expected: Vec<u8> = (1..=3).take(pushed).collect();
        assert!(pushed >= 2);
        assert_eq!(taken, expected);
    });
}

/// Uses every word of a ring before threads do: loom takes the first use for its making.
fn touched<const N: usize>(ring: &ByteRing<N>) {
    (0..N).for_each(|_| assert!(ring.push(9)));
    (0..N).for_each(|_| assert_eq!(ring.pop(), Some(9)));
}

/// What a core does that has pushed a byte: whom it kicks.
fn serve(waiters: &Waiters, lock: &AtomicBool, rings: &[ByteRing<2>; 2], me: u8) -> Vec<u8> {
    let speaker = |id: u8| Speaker::partition(PartitionId::new(id));
    rings[usize::from(me)].push(1);
    waiters.set(speaker(me));
    // A compare-exchange that fails is a load, of any value that a load may see; loom's sees the newest.
    if lock.load(Ordering::Relaxed)
        || lock
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
    {
        return Vec::new();
    }
    waiters.clear(speaker(me));
    while rings[usize::from(me)].pop().is_some() {}
    lock.store(false, Ordering::Release);
    let kicked = waiters.take();
    (0..2).filter(|id| kicked.contains(speaker(*id))).collect()
}

#[test]
fn who_finds_the_console_busy_is_kicked() {
    loom::model(|| {
        let shared = Arc::new((
            Waiters::new(),
            AtomicBool::new(false),
            [ByteRing::<2>::new(), ByteRing::<2>::new()],
        ));
        shared.2.iter().for_each(touched);
        let _ = (shared.0.take(), shared.1.load(Ordering::Relaxed));
        let other = Arc::clone(&shared);
        let first = spawn(move || serve(&other.0, &other.1, &other.2, 0));
        let mut kicked = serve(&shared.0, &shared.1, &shared.2, 1);
        kicked.extend(first.join().unwrap());
        for (id, ring) in (0..).zip(&shared.2) {
            assert!(
                ring.is_empty() || kicked.contains(&id),
                "{id} is left behind"
            );
        }
    });
}

#[test]
fn typed_bytes_are_fetched_when_there_is_room() {
    loom::model(|| {
        let shared = Arc::new((Held::default(), ByteRing::<1>::new()));
        touched(&shared.1);
        shared.0.set(false);
        shared.1.push(1);
        let intake = Arc::clone(&shared);
        let goes_on = spawn(move || {
            let (held, queue) = &*intake;
            queue.space() > 0 || {
                held.set(true);
                queue.space() > 0
            }
        });
        let (held, queue) = &*shared;
        queue.pop();
        let fetches = held.is_set_after_room();
        assert!(goes_on.join().unwrap() || fetches);
    });
}

fn event(at: u64) -> Event {
    Event {
        at,
        took: 7,
        what: What::Exit,
        partition: PartitionId::new(3),
        vcpu: VcpuId::new(1),
        pc: at + 100,
        detail: at + 200,
    }
}

#[test]
fn a_reader_of_the_flight_recorder_sees_whole_events() {
    loom::model(|| {
        let recorder = Arc::new(Recorder::default());
        (0..4).for_each(|at| recorder.record(&event(at)));
        let writer = Arc::clone(&recorder);
        let writer = spawn(move || (4..6).for_each(|at| writer.record(&event(at))));
        let seen = recorder.get(1);
        assert!(seen.is_none_or(|seen| seen == event(1)), "{seen:?}");
        writer.join().unwrap();
        assert_eq!(recorder.get(5), Some(event(5)));
    });
}

#[test]
fn every_portion_is_done_once_though_a_worker_comes_late_from_the_job_before() {
    loom::model(|| {
        let shared = Arc::new((Portions::new(), [AtomicU8::new(0), AtomicU8::new(0)]));
        shared.0.offer(1);
        let untouched = shared
            .1
            .each_ref()
            .map(|times| times.load(Ordering::Relaxed));
        assert_eq!(untouched, [0, 0]);
        let worker = Arc::clone(&shared);
        let worker = spawn(move || {
            worker.0.work(|portion| {
                worker.1[portion as usize].fetch_add(1, Ordering::Relaxed);
            });
        });
        let (portions, times) = &*shared;
        let help = || {
            portions.work(|portion| {
                times[portion as usize].fetch_add(1, Ordering::Relaxed);
            });
            while !portions.is_done() {
                yield_now();
            }
        };
        help();
        assert_eq!(times[0].load(Ordering::Relaxed), 1, "seen by who waited");
        portions.offer(2);
        help();
        worker.join().unwrap();
        let done = times.each_ref().map(|times| times.load(Ordering::Relaxed));
        assert_eq!(done, [2, 1]);
    });
}

#[test]
fn one_caller_switches_a_vcpu_on_and_its_entry_arrives_whole() {
    loom::model(|| {
        let power = Arc::new(Power::new());
        let start = |caller| Start {
            entry: caller,
            context: caller,
        };
        assert!(power.switch_on(start(9)).is_ok() && power.take_start().is_some());
        power.switch_off();
        let callers: Vec<_> = (1..=2)
            .map(|caller| {
                let power = Arc::clone(&power);
                spawn(move || power.switch_on(start(caller)).is_ok())
            })
            .collect();
        let early = power.take_start();
        let wins: Vec<bool> = callers.into_iter().map(|one| one.join().unwrap()).collect();
        let winner = if wins[0] { 1 } else { 2 };
        // Taken once: the second caller of a vCPU that has started already is told so.
        assert_eq!(wins.iter().filter(|won| **won).count(), 1);
        assert_eq!(early.or_else(|| power.take_start()), Some(start(winner)));
    });
}

/// Does what nobody else may do at the same time.
fn alone(work: &Mutex<u32>) {
    let mut times = work.try_lock().expect("somebody else is at work");
    yield_now();
    *times += 1;
}

#[test]
fn nobody_works_alone_while_a_vcpu_runs() {
    loom::model(|| {
        let shared = Arc::new((Quiesce::new(), Mutex::new(0)));
        let own = VcpuId::new(1);
        // Of an earlier call.
        assert!(shared.0.begin() && !shared.0.call(own));
        shared.0.answer(own, 1);
        shared.0.end([own].into_iter());
        let core = Arc::clone(&shared);
        // A core that comes up looks for a call before its guest runs.
        let core = spawn(move || {
            let (quiesce, work) = &*core;
            quiesce.set_loaded(own, true);
            if let Some(ticket) = quiesce.called(own) {
                quiesce.answer(own, ticket);
                while quiesce.is_open(own, ticket) {
                    yield_now();
                }
            }
            alone(work);
        });
        let (quiesce, work) = &*shared;
        assert!(quiesce.begin());
        // Where it must wait, the core's guest runs until a kick brings it in: no more is to be seen then.
        if !quiesce.call(own) || answered(quiesce, own) {
            alone(work);
        }
        quiesce.end([own].into_iter());
        core.join().unwrap();
    });
}

/// Whether the called core answers within what loom has patience for.
fn answered(quiesce: &Quiesce, own: VcpuId) -> bool {
    (0..2).any(|_| {
        yield_now();
        quiesce.answered(own)
    })
}

#[test]
fn a_heartbeat_that_is_disarmed_stays_so() {
    loom::model(|| {
        let heartbeat = Arc::new(Heartbeat::new());
        heartbeat.arm(100, &mut Fake::new(GicVersion::V3));
        let manager = Arc::clone(&heartbeat);
        let manager = spawn(move || manager.extend(1000, FREQUENCY));
        heartbeat.disarm();
        manager.join().unwrap();
        assert_eq!(heartbeat.judge(u64::MAX - 1), Verdict::Idle);
    });
}

#[test]
fn of_two_stops_one_wins_and_a_pause_changes_neither() {
    loom::model(|| {
        let life = Arc::new(Life::new());
        assert!(life.start());
        life.run();
        let (manager, guest) = (Arc::clone(&life), Arc::clone(&life));
        let manager = spawn(move || manager.pause());
        let guest = spawn(move || guest.stop(Reason::Reset));
        let crashed = life.stop(Reason::Crash);
        let (_, reset) = (manager.join().unwrap(), guest.join().unwrap());
        assert!(crashed != reset || !crashed, "both have won");
        let (state, reason) = life.now();
        match (crashed, reset) {
            (true, _) => assert_eq!((state, reason), (State::Stopping, Reason::Crash)),
            (_, true) => assert_eq!((state, reason), (State::Stopping, Reason::Reset)),
            _ => assert!(matches!(state, State::Running | State::Paused)),
        }
    });
}

#[test]
fn a_core_that_is_lost_while_its_partition_starts_stops_it() {
    loom::model(|| {
        let life = Arc::new(Life::new());
        (0..2).for_each(|vcpu| life.arrive(VcpuId::new(vcpu)));
        assert!(life.start());
        let lost = Arc::clone(&life);
        let lost = spawn(move || {
            lost.lose(VcpuId::new(1));
            lost.stop(Reason::Crash)
        });
        life.run();
        lost.join().unwrap();
        assert_eq!(life.now(), (State::Stopping, Reason::Crash));
    });
}

#[test]
fn the_last_vcpu_to_park_says_so() {
    loom::model(|| {
        let life = Arc::new(Life::new());
        (0..2).for_each(|vcpu| life.arrive(VcpuId::new(vcpu)));
        assert!(life.start());
        life.run();
        assert!(life.stop(Reason::Off));
        let number = life.stopping().unwrap();
        let other = Arc::clone(&life);
        let other = spawn(move || other.park(VcpuId::new(1), number));
        let own = life.park(VcpuId::new(0), number);
        assert!(other.join().unwrap() || own);
    });
}
