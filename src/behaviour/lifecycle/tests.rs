//! Lives: each rule, and any sequence of events.

use super::*;
use crate::words::effort::times;
use proptest::prelude::*;

const ONE: OnCrash = OnCrash::Restart {
    limit: 2,
    window_ms: None,
};

/// One vCPU parks for the stop under way.
fn park(life: &Life, vcpu: u8) -> bool {
    life.park(VcpuId::new(vcpu), life.stopping().unwrap())
}

/// A running partition of one vCPU.
fn running() -> Life {
    let life = Life::new();
    life.arrive(VcpuId::new(0));
    assert!(life.start());
    life.run();
    life
}

#[test]
fn the_first_reason_to_stop_wins() {
    let life = running();
    assert!(life.stop(Reason::Reset));
    assert!(!life.stop(Reason::Crash));
    assert_eq!(life.now(), (State::Stopping, Reason::Reset));
}

#[test]
fn a_reset_starts_again_and_an_off_stays_off() {
    for (reason, next) in [
        (Reason::Reset, Next::Start),
        (Reason::Off, Next::Stay(State::Off)),
    ] {
        let life = running();
        life.arrive(VcpuId::new(1));
        life.stop(reason);
        assert!(!park(&life, 1));
        assert!(park(&life, 0));
        assert_eq!(life.finish_stop(OnCrash::Stop, 0), next);
    }
}

/// Crashes at `now` and gives what follows; it runs again.
fn crash(life: &Life, policy: OnCrash, now: u64) -> Next {
    assert!(life.stop(Reason::Crash));
    park(life, 0);
    let next = life.finish_stop(policy, now);
    life.run();
    next
}

const DOWN: Next = Next::Stay(State::Crashed);

#[test]
fn a_crash_restarts_as_often_as_the_policy_says_and_each_time_later() {
    let life = running();
    assert_eq!(crash(&life, ONE, 1000), Next::Start);
    assert_eq!(crash(&life, ONE, 2000), Next::StartAt(2100));
    assert_eq!(crash(&life, ONE, 1 << 40), DOWN);
    for policy in [OnCrash::Stop, OnCrash::Notify] {
        assert_eq!(crash(&running(), policy, 0), DOWN);
    }
}

#[test]
fn the_wait_doubles_up_to_ten_seconds() {
    let many = OnCrash::Restart {
        limit: u32::MAX,
        window_ms: None,
    };
    let life = running();
    let waits: Vec<u64> = (0..100)
        .map(|_| match crash(&life, many, 0) {
            Next::StartAt(due) => due,
            _ => 0,
        })
        .collect();
    assert_eq!(
        waits[..10],
        [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
    );
    assert!(waits[10..].iter().all(|wait| *wait == 10_000));
}

#[test]
fn a_window_that_is_over_begins_anew_with_the_next_crash() {
    let policy = OnCrash::Restart {
        limit: 2,
        window_ms: Some(60_000),
    };
    let life = running();
    assert_eq!(crash(&life, policy, 500), Next::Start);
    assert_eq!(crash(&life, policy, 60_500), Next::StartAt(60_600));
    assert_eq!(crash(&life, policy, 60_501), Next::Start);
    assert_eq!(crash(&life, policy, 60_502), Next::StartAt(60_602));
    assert_eq!(crash(&life, policy, 60_503), DOWN);
}

#[test]
fn one_that_waits_starts_when_its_time_has_come_or_a_manager_says_so() {
    let waiting = || {
        let life = running();
        crash(&life, ONE, 0);
        assert!(life.stop(Reason::Crash));
        park(&life, 0);
        assert_eq!(life.finish_stop(ONE, 1000), Next::StartAt(1100));
        assert_eq!(life.state(), State::Waiting);
        life
    };
    let life = waiting();
    assert_eq!(life.start_if_due(1099), Err(1100));
    assert_eq!(life.start_if_due(1100), Ok(true));
    assert_eq!(life.start_if_due(1100), Ok(false));
    assert_eq!(life.state(), State::Starting);
    assert!(waiting().start());
    let life = waiting();
    assert!(life.stop_by_manager(true));
    assert_eq!(life.state(), State::Starting);
    let life = waiting();
    assert!(life.stop_by_manager(false));
    assert_eq!(life.now(), (State::Off, Reason::Manager));
    assert_eq!(life.start_if_due(u64::MAX), Ok(false));
}

#[test]
fn a_stop_does_not_wait_for_a_core_that_never_came_or_is_lost() {
    let life = running();
    assert!(life.stop(Reason::Reset));
    assert!(!life.all_parked());
    assert!(park(&life, 0), "of three vCPUs two have no core");

    let life = running();
    life.arrive(VcpuId::new(1));
    life.lose(VcpuId::new(0));
    assert!(life.stop(Reason::Crash));
    assert!(life.is_leader(VcpuId::new(1)) && !life.is_leader(VcpuId::new(0)));
    assert!(park(&life, 1));
    assert_eq!(life.finish_stop(ONE, 0), DOWN);
    assert!(!life.start(), "it has lost a core");
}

#[test]
fn a_core_that_comes_up_during_a_stop_does_not_count_for_the_next() {
    let life = running();
    life.stop(Reason::Reset);
    let late = life.stopping().unwrap();
    park(&life, 0);
    life.finish_stop(OnCrash::Stop, 0);
    life.run();
    life.arrive(VcpuId::new(1));
    assert!(!life.park(VcpuId::new(1), late));
    life.stop(Reason::Reset);
    assert!(!park(&life, 0), "the other has not parked for this one");
    assert!(park(&life, 1));
}

#[test]
fn a_running_partition_is_not_started_and_one_that_is_off_not_stopped() {
    assert!(!running().start());
    assert!(!Life::new().stop(Reason::Off));
}

#[test]
fn starts_are_counted_and_the_last_reason_is_kept() {
    let life = running();
    life.stop(Reason::Reset);
    park(&life, 0);
    life.finish_stop(OnCrash::Stop, 0);
    life.run();
    assert_eq!(life.starts(), 2);
    assert_eq!(life.now(), (State::Running, Reason::Reset));
}

#[test]
fn a_manager_pauses_what_runs_and_resumes_what_is_paused() {
    let life = running();
    assert!(!life.resume());
    assert!(life.pause());
    assert!(!life.pause());
    assert_eq!(life.state(), State::Paused);
    assert!(life.resume());
    assert_eq!(life.now(), (State::Running, Reason::Never));
}

#[test]
fn a_paused_partition_can_be_stopped_and_a_stop_that_came_meanwhile_is_not_lost() {
    for stop in [
        |life: &Life| life.stop_by_manager(false),
        |life: &Life| life.stop(Reason::Off),
    ] {
        let life = running();
        life.pause();
        assert!(stop(&life));
        assert!(!life.resume());
        assert_eq!(life.state(), State::Stopping);
    }
}

#[test]
fn a_managers_restart_starts_again_once() {
    let life = running();
    assert!(life.stop_by_manager(true));
    assert_eq!(life.now(), (State::Stopping, Reason::Manager));
    park(&life, 0);
    assert_eq!(life.finish_stop(OnCrash::Stop, 0), Next::Start);
    life.run();
    assert!(life.stop_by_manager(false));
    park(&life, 0);
    assert_eq!(life.finish_stop(OnCrash::Stop, 0), Next::Stay(State::Off));
    assert!(!life.stop_by_manager(true), "it is off");
}

/// What may happen to a partition of two vCPUs at any moment.
#[derive(Clone, Copy, Debug)]
enum Event {
    Start,
    StopBy(bool),
    Pause,
    Resume,
    Guest(Reason),
    /// A core looks at the state and does its part, as the core's loop does.
    Core(u8),
    Lose(u8),
    Time(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Start),
        any::<bool>().prop_map(Event::StopBy),
        Just(Event::Pause),
        Just(Event::Resume),
        prop_oneof![
            Just(Reason::Off),
            Just(Reason::Reset),
            Just(Reason::Crash),
            Just(Reason::Heartbeat)
        ]
        .prop_map(Event::Guest),
        (0_u8..2).prop_map(Event::Core),
        (0_u8..2).prop_map(Event::Core),
        (0_u8..40).prop_map(|n| if n < 2 {
            Event::Lose(n)
        } else {
            Event::Core(n % 2)
        }),
        (0_u64..200).prop_map(Event::Time),
    ]
}

/// The partition and its two cores.
struct World {
    life: Life,
    policy: OnCrash,
    now: u64,
    in_guest: [bool; 2],
    lost: [bool; 2],
    parked_in: [Option<u32>; 2],
}

impl World {
    fn new(policy: OnCrash) -> Self {
        let life = Life::new();
        (0..2).for_each(|vcpu| life.arrive(VcpuId::new(vcpu)));
        Self {
            life,
            policy,
            now: 0,
            in_guest: [false; 2],
            lost: [false; 2],
            parked_in: [None; 2],
        }
    }

    /// What a core does when it is interrupted.
    fn core(&mut self, core: u8) {
        let (index, vcpu) = (usize::from(core), VcpuId::new(core));
        if self.lost[index] {
            return;
        }
        match self.life.state() {
            State::Running => self.in_guest[index] = true,
            State::Stopping => self.stop(index, vcpu),
            State::Starting if self.life.is_leader(vcpu) => {
                assert_eq!(self.in_guest, [false; 2], "loaded under a running guest");
                self.life.run();
            }
            State::Waiting if self.life.is_leader(vcpu) => {
                let _ = self.life.start_if_due(self.now);
            }
            _ => {}
        }
    }

    fn stop(&mut self, index: usize, vcpu: VcpuId) {
        self.in_guest[index] = false;
        let stop = self.life.stopping();
        if self.parked_in[index] != stop {
            self.parked_in[index] = stop;
            self.life.park(vcpu, stop.unwrap());
        }
        if self.life.is_leader(vcpu) && self.life.all_parked() {
            assert_eq!(
                self.in_guest, [false; 2],
                "a stop ended with a guest running"
            );
            let _ = self.life.finish_stop(self.policy, self.now);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start => {
                self.life.start();
            }
            Event::StopBy(again) => {
                self.life.stop_by_manager(again);
            }
            Event::Pause => {
                self.life.pause();
            }
            Event::Resume => {
                self.life.resume();
            }
            Event::Guest(reason) if self.in_guest[0] => {
                self.life.stop(reason);
            }
            Event::Guest(_) => {}
            Event::Core(core) => self.core(core),
            Event::Lose(core) => {
                let index = usize::from(core);
                self.lost[index] = true;
                self.in_guest[index] = false;
                self.life.lose(VcpuId::new(core));
                self.life.stop(Reason::Crash);
            }
            Event::Time(time) => self.now += time,
        }
    }
}

proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    /// Whatever happens in whatever order, no partition is loaded under a guest, no stop ends before its cores have parked,
    /// and once nothing more happens it comes to rest in a few steps of its cores.
    #[test]
    fn any_life_comes_to_rest(
        events in prop::collection::vec(event(), 0..times(200, 20)),
        restart in any::<bool>(),
    ) {
        let mut world = World::new(if restart { ONE } else { OnCrash::Stop });
        for event in events {
            world.happen(event);
        }
        for _ in 0..8 {
            world.now += BACK_OFF_MOST;
            (0..2).for_each(|core| world.core(core));
        }
        let (state, all_lost) = (world.life.state(), world.lost == [true; 2]);
        let at_rest = matches!(state, State::Off | State::Crashed | State::Running | State::Paused);
        prop_assert!(at_rest || all_lost, "{state:?}");
        if world.lost != [false; 2] && !all_lost {
            prop_assert!(matches!(state, State::Off | State::Crashed), "{state:?} without a core");
        }
    }
}
