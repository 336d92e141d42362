//! HEARTBEAT, PARTITION_STATUS, PARTITION_CONTROL, and STATISTIC of others (hypercalls.md, section 3).

use super::super::heartbeat::Verdict;
use super::super::lifecycle::{Reason, State};
use super::super::machine::BoardEnd;
use super::super::testing::{Bench, FREQUENCY, ID};
use crate::model::bundle::OnCrash;
use crate::words::{CpuId, VcpuId};
use proptest::prelude::*;

const HEARTBEAT: u64 = 0xc600_0020;
const STATUS: u64 = 0xc600_0030;
const CONTROL: u64 = 0xc600_0031;
const STATISTIC: u64 = 0xc600_0040;
/// PARTITION_CONTROL of the board.
const BOARD: u64 = 0xffff;
const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETER: i64 = -3;
const DENIED: i64 = -4;
const BUSY: i64 = -5;
/// Actions of PARTITION_CONTROL.
const START: u64 = 0;
const STOP: u64 = 1;
const RESTART: u64 = 2;
const PAUSE: u64 = 3;
const RESUME: u64 = 4;
/// A partition the test partition manages, and one it does not.
const MANAGED: u8 = 1;
const FOREIGN: u8 = 2;

fn code(bench: &mut Bench, function: u64, arguments: &[u64]) -> i64 {
    let results = bench.call(function, arguments).0;
    assert_eq!(results[1..], [0; 3]);
    results[0].cast_signed()
}

fn bench() -> Bench {
    let mut bench = Bench::v3(1);
    bench.neighbour(MANAGED);
    bench.neighbour(FOREIGN);
    bench.partition.plan.manage = 1 << MANAGED;
    bench
}

fn state(bench: &Bench, id: u8) -> State {
    bench.others[usize::from(id)].get().unwrap().life.state()
}

fn control(bench: &mut Bench, action: u64) -> i64 {
    code(bench, CONTROL, &[MANAGED.into(), action])
}

#[test]
fn a_manager_sees_the_partition_it_manages_and_no_other() {
    let mut bench = bench();
    assert_eq!(bench.call(STATUS, &[MANAGED.into()]).0, [0, 1, 1, 0]);
    for id in [FOREIGN.into(), 0, 7, 8, 256 + u64::from(MANAGED), u64::MAX] {
        assert_eq!(code(&mut bench, STATUS, &[id]), DENIED);
    }
}

#[test]
fn a_channels_peer_sees_state_and_starts_but_not_the_reason_and_controls_nothing() {
    let mut bench = bench();
    bench.channel(FOREIGN, true);
    let peer = u64::from(FOREIGN);
    let life = &bench.others[usize::from(FOREIGN)].get().unwrap().life;
    life.stop(Reason::Crash);
    life.park(VcpuId::new(0), 1);
    life.finish_stop(OnCrash::Stop, 0);
    assert_eq!(bench.call(STATUS, &[peer]).0, [0, 3, 1, 0]);
    for action in [START, STOP, RESTART, PAUSE, RESUME] {
        assert_eq!(code(&mut bench, CONTROL, &[peer, action]), DENIED);
    }
    assert_eq!(code(&mut bench, STATISTIC, &[peer, 0, 0]), DENIED);
    // One it manages and talks to tells everything.
    bench.channel(MANAGED, false);
    assert_eq!(control(&mut bench, STOP), 0);
    assert_eq!(bench.call(STATUS, &[MANAGED.into()]).0, [0, 1, 1, 3]);
}

#[test]
fn control_of_what_is_not_managed_is_denied_whatever_the_action() {
    let mut bench = bench();
    for id in [FOREIGN.into(), ID.into(), 7, u64::MAX] {
        for action in [START, STOP, RESTART, PAUSE, RESUME, 5, u64::MAX] {
            assert_eq!(code(&mut bench, CONTROL, &[id, action]), DENIED);
        }
    }
    assert_eq!(state(&bench, FOREIGN), State::Running);
    assert!(bench.machine.kicked.is_empty());
}

#[test]
fn an_action_that_is_none_is_invalid_and_changes_nothing() {
    let mut bench = bench();
    for action in [5, 1 << 32, u64::MAX] {
        assert_eq!(control(&mut bench, action), INVALID_PARAMETER);
    }
    assert_eq!(state(&bench, MANAGED), State::Running);
}

#[test]
fn the_board_ends_only_for_who_manages_every_other_partition() {
    let mut bench = bench();
    let ask = |bench: &mut Bench, action| code(bench, CONTROL, &[BOARD, action]);
    for action in [START, STOP, RESTART, PAUSE, RESUME, 5] {
        assert_eq!(ask(&mut bench, action), DENIED);
    }
    bench.partition.plan.manage |= 1 << FOREIGN;
    for action in [START, PAUSE, RESUME, 5, u64::MAX] {
        assert_eq!(ask(&mut bench, action), INVALID_PARAMETER);
    }
    assert_eq!(bench.machine.ended, []);
    // The board of the bench has no way to end.
    assert_eq!(ask(&mut bench, STOP), NOT_SUPPORTED);
    assert_eq!(ask(&mut bench, RESTART), NOT_SUPPORTED);
    assert_eq!(bench.machine.ended, [BoardEnd::Off, BoardEnd::Reset]);
}

#[test]
fn a_partition_alone_does_not_end_the_board() {
    let mut bench = Bench::v3(1);
    assert_eq!(code(&mut bench, CONTROL, &[BOARD, STOP]), DENIED);
    assert_eq!(bench.machine.ended, []);
}

#[test]
fn a_pause_holds_and_a_resume_lets_go() {
    let mut bench = bench();
    assert_eq!(control(&mut bench, RESUME), BUSY);
    assert_eq!(control(&mut bench, PAUSE), 0);
    assert_eq!(bench.machine.kicked, [CpuId::new(0)]);
    assert_eq!(bench.call(STATUS, &[MANAGED.into()]).0, [0, 2, 1, 0]);
    assert_eq!(control(&mut bench, PAUSE), BUSY);
    assert_eq!(control(&mut bench, START), BUSY);
    assert_eq!(control(&mut bench, RESUME), 0);
    assert_eq!(state(&bench, MANAGED), State::Running);
}

#[test]
fn a_stop_is_begun_once_and_its_reason_is_the_manager() {
    let mut bench = bench();
    assert_eq!(control(&mut bench, STOP), 0);
    assert_eq!(bench.call(STATUS, &[MANAGED.into()]).0, [0, 1, 1, 3]);
    for action in [START, STOP, RESTART, PAUSE, RESUME] {
        assert_eq!(control(&mut bench, action), BUSY);
    }
    assert_eq!(bench.machine.kicked.len(), 1);
}

#[test]
fn others_counters_are_for_those_who_observe() {
    let mut bench = bench();
    let ask = |bench: &mut Bench, id: u64| bench.call(STATISTIC, &[id, 0, 0]).0[0].cast_signed();
    assert_eq!(ask(&mut bench, MANAGED.into()), DENIED);
    bench.partition.plan.observe = true;
    assert_eq!(ask(&mut bench, MANAGED.into()), 0);
    assert_eq!(ask(&mut bench, FOREIGN.into()), 0);
    assert_eq!(ask(&mut bench, 0), DENIED);
    assert_eq!(
        code(&mut bench, STATISTIC, &[FOREIGN.into(), 1, 0]),
        INVALID_PARAMETER
    );
}

#[test]
fn a_heartbeat_needs_the_manifests_leave_and_keeps_its_limit() {
    let mut bench = bench();
    assert_eq!(code(&mut bench, HEARTBEAT, &[0, 1]), INVALID_PARAMETER);
    assert_eq!(code(&mut bench, HEARTBEAT, &[10, 0]), DENIED);
    bench.partition.plan.heartbeat_ms = Some(100);
    for time in [101, 1 << 32, 1 << 32 | 50, u64::MAX] {
        assert_eq!(code(&mut bench, HEARTBEAT, &[time, 0]), INVALID_PARAMETER);
    }
    assert_eq!(bench.machine.timer, None);
    bench.machine.counter = 1000;
    assert_eq!(code(&mut bench, HEARTBEAT, &[100, 0]), 0);
    assert_eq!(bench.machine.timer, Some(1000 + FREQUENCY / 10));
    assert_eq!(code(&mut bench, HEARTBEAT, &[0, 0]), 0);
    assert_eq!(bench.machine.timer, None);
}

#[test]
fn a_heartbeat_is_missed_at_its_time_and_not_before() {
    let mut bench = bench();
    bench.partition.plan.heartbeat_ms = Some(100);
    bench.call(HEARTBEAT, &[50, 0]);
    let due = FREQUENCY / 20;
    let heartbeat = &bench.partition.heartbeat;
    assert_eq!(heartbeat.judge(due - 1), Verdict::Later(due));
    assert_eq!(heartbeat.judge(due), Verdict::Missed);
    // A partition that was held gets its whole time again.
    heartbeat.extend(due, FREQUENCY);
    assert_eq!(heartbeat.judge(due), Verdict::Later(2 * due));
    heartbeat.disarm();
    heartbeat.extend(due, FREQUENCY);
    assert_eq!(heartbeat.judge(u64::MAX - 1), Verdict::Idle);
}

proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    /// Whatever is asked in whatever order: only the managed partition changes, by the table of its life.
    #[test]
    fn control_never_reaches_further_than_the_manifest(calls in prop::collection::vec((0_u64..9, 0_u64..7), 0..60)) {
        let mut bench = bench();
        for (id, action) in calls {
            let before = state(&bench, MANAGED);
            let answer = code(&mut bench, CONTROL, &[id, action]);
            let expected = match (before, action) {
                _ if id != u64::from(MANAGED) => DENIED,
                (_, 5..) => INVALID_PARAMETER,
                (State::Running, STOP | RESTART | PAUSE) => 0,
                (State::Paused, STOP | RESTART | RESUME) => 0,
                _ => BUSY,
            };
            prop_assert_eq!(answer, expected);
            prop_assert_eq!(state(&bench, FOREIGN), State::Running);
            prop_assert_eq!(bench.partition.life.state(), State::Running);
        }
    }
}

const CRASH_RECORD: u64 = 0xc600_0041;
const NO_DATA: i64 = -6;

fn crash(partition: &crate::behaviour::partition::Partition<'_>, starts: u64) {
    use crate::arm::registers::{El1, Registers};
    use crate::behaviour::crash::{Cause, Fault, Record};
    let mut registers = Registers::new();
    registers.x = core::array::from_fn(|index| 100 + index as u64);
    registers.pc = 0x4020_0000;
    partition.crashes.lock().add(Record {
        cause: Cause::Heartbeat,
        vcpu: crate::words::VcpuId::new(2),
        at: 99,
        starts,
        fault: Fault::None,
        registers,
        el1: El1::default(),
        exits: arrayvec::ArrayVec::new(),
    });
}

#[test]
fn a_crash_record_is_denied_without_observe_even_to_its_own_partition() {
    let mut bench = bench();
    crash(&bench.partition, 1);
    for id in [ID, MANAGED, FOREIGN, 7] {
        assert_eq!(code(&mut bench, CRASH_RECORD, &[id.into(), 0, 0]), DENIED);
    }
}

#[test]
fn an_observer_reads_every_register_of_a_record_and_nothing_beyond() {
    let mut bench = bench();
    bench.partition.plan.observe = true;
    crash(bench.others[usize::from(FOREIGN)].get().unwrap(), 7);
    let id = u64::from(FOREIGN);
    assert_eq!(
        bench.call(CRASH_RECORD, &[id, 0, 0]).0,
        [0, 2 | 2 << 16, 7, 99]
    );
    let registers: Vec<u64> = (16..27)
        .flat_map(|item| bench.call(CRASH_RECORD, &[id, 0, item]).0[1..].to_vec())
        .collect();
    let expected: Vec<u64> = (100..131).chain([0, 0]).collect();
    assert_eq!(registers, expected);
    assert_eq!(bench.call(CRASH_RECORD, &[id, 0, 2]).0, [0, 0, u64::MAX, 0]);
    for item in [5, 15, 27, 31] {
        assert_eq!(
            code(&mut bench, CRASH_RECORD, &[id, 0, item]),
            INVALID_PARAMETER
        );
    }
    for (index, item) in [(0, 32), (0, u64::MAX), (1, 0), (u64::MAX, 0)] {
        assert_eq!(code(&mut bench, CRASH_RECORD, &[id, index, item]), NO_DATA);
    }
}
