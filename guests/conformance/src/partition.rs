//! PARTITION_STATUS and PARTITION_CONTROL: own status always, others' and control of them with the capability `manage`;
//! and what a channel's peer sees of a partition's life.

use bulkhead_rt::abi::bulkhead::{self as id, action, state, stop_reason};
use bulkhead_rt::test::{poll, smp};
use bulkhead_rt::timer;

use crate::channel::{self, listen};
use crate::info;
use crate::peer::what;
use crate::suite::{Finding, Suite, expect, own};

const STATUS: &str = "ABI 3 PARTITION_STATUS";
const CONTROL: &str = "ABI 3 PARTITION_CONTROL";
const REASONS: &str = "ABI 3 Stop reasons";
const PSCI: &str = "ABI 2 Standard services";
const PEER: &str = "ABI 3 channels of a partition that stops";
const HEARTBEAT: &str = "ABI 3 HEARTBEAT";

/// Identifiers no partition has.
const NOBODY: [u64; 5] = [7, 8, 255, 1 << 32, u64::MAX];
/// Milliseconds of the peer's last heartbeat.
const SILENCE: u64 = 50;

/// Checks the calls.
pub fn run(suite: &mut Suite) {
    suite.own(
        STATUS,
        "the own status is running, with this start and the last stop's reason",
        |_| {
            let (code, status) = own(id::PARTITION_STATUS, &[info::own_id()]);
            let (_, [_, starts, reason]) = own(id::PARTITION_INFO, &[]);
            expect(0u64, code, 0)?;
            expect(0u64, status == [state::RUNNING, starts, reason], true)
        },
    );
    suite.own(
        STATUS,
        "a partition that does not exist is DENIED, with no results",
        |_| {
            NOBODY.into_iter().try_for_each(|other| {
                denied(id::PARTITION_STATUS, &[other])?;
                (0..6).try_for_each(|action| denied(id::PARTITION_CONTROL, &[other, action]))
            })
        },
    );
    suite.own(
        CONTROL,
        "a partition does not manage itself unless the manifest says so",
        |_| (0..6).try_for_each(|action| denied(id::PARTITION_CONTROL, &[info::own_id(), action])),
    );
    if !suite.environment.bulkhead {
        return;
    }
    let peer = channel::talk().map(|talk| u64::from(talk.peer));
    if info::capabilities() & id::CAPABILITY_MANAGE == 0 {
        suite.own(
            CONTROL,
            "without `manage` others are DENIED, whether or not they exist",
            |_| {
                let others = (0..8).filter(|other| *other != info::own_id());
                others.into_iter().try_for_each(|other| {
                    if Some(other) != peer {
                        denied(id::PARTITION_STATUS, &[other])?;
                    }
                    (0..6).try_for_each(|action| denied(id::PARTITION_CONTROL, &[other, action]))
                })
            },
        );
        suite.own(
            CONTROL,
            "the board is DENIED to who does not manage every other partition",
            |_| (0..6).try_for_each(|action| denied(id::PARTITION_CONTROL, &[id::BOARD, action])),
        );
        if let Some(peer) = peer {
            seen_by_its_peer(suite, peer);
        }
        return;
    }
    suite.own(
        CONTROL,
        "an action the board has not is INVALID_PARAMETER to who manages every other partition",
        |_| {
            [action::START, action::PAUSE, action::RESUME, 5, u64::MAX]
                .into_iter()
                .try_for_each(|action| {
                    let code = own(id::PARTITION_CONTROL, &[id::BOARD, action]).0;
                    expect(action, code, id::INVALID_PARAMETER)
                })
        },
    );
    match peer {
        Some(peer) => managed(suite, peer),
        None => suite.skip(CONTROL, "control of a managed partition", "no peer"),
    }
}

/// What a partition without `manage` learns of the partition at the other end of a channel.
fn seen_by_its_peer(suite: &mut Suite, peer: u64) {
    suite.own(
        STATUS,
        "a channel's peer shows its state and starts, a new life as one start more, and never the reason",
        |_| {
            let [state, starts, reason] = status(peer);
            expect(0u64, [state, reason] == [state::RUNNING, 0], true)?;
            expect(1u64, channel::request(what::RESET, 0), true)?;
            serves(peer, starts + 1)?;
            expect(2u64, status(peer)[2], 0)
        },
    );
    suite.own(
        STATUS,
        "a channel's peer that has switched off shows state 0, and the doorbell rings",
        |environment| {
            listen(environment, |gic, intid| {
                expect(0u64, channel::request(what::OFF, 0), true)?;
                channel::once(gic, intid)?;
                expect(1u64, status(peer)[0], state::OFF)
            })
        },
    );
}

fn denied(function: u32, arguments: &[u64]) -> Finding {
    let (code, results) = own(function, arguments);
    expect(arguments[0], code, id::DENIED)?;
    expect(arguments[0], results == [0; 3], true)
}

fn status(peer: u64) -> [u64; 3] {
    own(id::PARTITION_STATUS, &[peer]).1
}

fn control(peer: u64, action: u64) -> i64 {
    own(id::PARTITION_CONTROL, &[peer, action]).0
}

/// Waits until the peer is in `state`.
fn reaches(peer: u64, state: u64) -> Finding {
    timer::wait_until(smp::PATIENCE, || status(peer)[0] == state);
    expect(state, status(peer)[0], state)
}

/// Waits until the peer has started `starts` times and serves requests.
fn serves(peer: u64, starts: u64) -> Finding {
    expect(starts, channel::wait_started(starts), true)?;
    expect(starts, status(peer)[1], starts)?;
    expect(starts, channel::request(what::WRITE, starts), true)
}

/// Refuses each of `actions` as not possible now.
fn busy(peer: u64, actions: &[u64]) -> Finding {
    actions
        .iter()
        .try_for_each(|action| expect(*action, control(peer, *action), id::BUSY))
}

fn managed(suite: &mut Suite, peer: u64) {
    suite.own(
        CONTROL,
        "an action past the last is INVALID_PARAMETER",
        |_| {
            [5, 1 << 32, u64::MAX]
                .into_iter()
                .try_for_each(|action| expect(action, control(peer, action), id::INVALID_PARAMETER))
        },
    );
    suite.own(
        CONTROL,
        "what runs is not started and not resumed: BUSY",
        |_| busy(peer, &[action::START, action::RESUME]),
    );
    suite.own(
        CONTROL,
        "a paused partition does nothing until it is resumed, and then goes on",
        |_| pause(peer),
    );
    suite.own(
        CONTROL,
        "a stopped partition stays down until it is started: stop reason 3, one start more",
        |_| {
            let [_, starts, _] = status(peer);
            stop(peer)?;
            busy(
                peer,
                &[action::STOP, action::RESTART, action::PAUSE, action::RESUME],
            )?;
            expect(0u64, control(peer, action::START), 0)?;
            serves(peer, starts + 1)
        },
    );
    suite.own(
        CONTROL,
        "a restart is a stop by the manager and a start",
        |_| {
            let [_, starts, _] = status(peer);
            expect(0u64, control(peer, action::RESTART), 0)?;
            serves(peer, starts + 1)?;
            expect(0u64, status(peer)[2], stop_reason::MANAGER)
        },
    );
    suite.own(CONTROL, "a paused partition can be stopped", |_| {
        let [_, starts, _] = status(peer);
        expect(0u64, control(peer, action::PAUSE), 0)?;
        stop(peer)?;
        expect(1u64, control(peer, action::START), 0)?;
        serves(peer, starts + 1)
    });
    reasons(suite, peer);
    neighbour(suite, peer);
    suite.own(
        HEARTBEAT,
        "a partition that misses its heartbeat stops with reason 5, and its policy applies",
        |_| {
            let [_, starts, _] = status(peer);
            expect(0u64, channel::request(what::FALL_SILENT, SILENCE), true)?;
            serves(peer, starts + 1)?;
            expect(0u64, status(peer)[2], stop_reason::HEARTBEAT)
        },
    );
}

fn stop(peer: u64) -> Finding {
    expect(0u64, control(peer, action::STOP), 0)?;
    reaches(peer, state::OFF)?;
    expect(1u64, status(peer)[2], stop_reason::MANAGER)
}

fn pause(peer: u64) -> Finding {
    expect(0u64, control(peer, action::PAUSE), 0)?;
    reaches(peer, state::PAUSED)?;
    busy(peer, &[action::PAUSE, action::START])?;
    // The request is there, the doorbell rung; nobody takes it.
    let Some(pending) = channel::ask(what::WRITE, 0x1234) else {
        return expect(1u64, false, true);
    };
    timer::delay(20_000);
    expect(2u64, channel::is_done(&pending), false)?;
    expect(3u64, control(peer, action::RESUME), 0)?;
    let done = timer::wait_until(smp::PATIENCE, || channel::is_done(&pending));
    expect(4u64, done, true)?;
    reaches(peer, state::RUNNING)
}

fn reasons(suite: &mut Suite, peer: u64) {
    suite.own(
        PSCI,
        "SYSTEM_RESET restarts the partition alone: stop reason 2",
        |_| {
            let [_, starts, _] = status(peer);
            expect(0u64, channel::request(what::RESET, 0), true)?;
            serves(peer, starts + 1)?;
            expect(0u64, status(peer)[2], stop_reason::RESET)
        },
    );
    suite.own(
        PSCI,
        "SYSTEM_RESET2, architectural warm reset, does too",
        |_| {
            let [_, starts, _] = status(peer);
            expect(0u64, channel::request(what::RESET2, 0), true)?;
            serves(peer, starts + 1)?;
            expect(0u64, status(peer)[2], stop_reason::RESET)
        },
    );
    suite.own(
        REASONS,
        "SYSTEM_OFF stops the partition alone: stop reason 1, state 0",
        |_| {
            let [_, starts, _] = status(peer);
            expect(0u64, channel::request(what::OFF, 0), true)?;
            reaches(peer, state::OFF)?;
            expect(1u64, status(peer)[2], stop_reason::OFF)?;
            expect(2u64, control(peer, action::START), 0)?;
            serves(peer, starts + 1)
        },
    );
}

fn neighbour(suite: &mut Suite, peer: u64) {
    suite.own(
        PEER,
        "the doorbell rings when the peer stops, and again when it starts",
        |environment| {
            listen(environment, |gic, intid| {
                let [_, starts, _] = status(peer);
                stop(peer)?;
                channel::once(gic, intid)?;
                expect(0u64, control(peer, action::START), 0)?;
                expect(
                    1u64,
                    poll::serve(gic).map_or(0, u64::from),
                    u64::from(intid),
                )?;
                serves(peer, starts + 1)
            })
        },
    );
    suite.own(
        PEER,
        "memory outlives the peer's life while this end is up",
        |_| {
            let [_, starts, _] = status(peer);
            let mark = 0x5afe_0000 | starts;
            expect(0u64, channel::mark(mark), true)?;
            stop(peer)?;
            expect(1u64, channel::marked(), mark)?;
            expect(2u64, control(peer, action::START), 0)?;
            serves(peer, starts + 1)?;
            expect(3u64, channel::marked(), mark)
        },
    );
    suite.own(
        PEER,
        "CHANNEL_NOTIFY to a peer that is down succeeds, and disturbs nothing",
        |_| {
            let [_, starts, _] = status(peer);
            stop(peer)?;
            for _ in 0..10 {
                expect(0u64, own(id::CHANNEL_NOTIFY, &[0]).0, 0)?;
            }
            expect(1u64, status(peer)[0], state::OFF)?;
            expect(2u64, control(peer, action::START), 0)?;
            serves(peer, starts + 1)
        },
    );
}
