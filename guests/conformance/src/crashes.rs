//! CRASH_RECORD: for whoever observes, and for nobody else.

use bulkhead_rt::abi::bulkhead::{self as id, crash_cause, crash_item, stop_reason};

use crate::channel;
use crate::info;
use crate::suite::{Finding, Suite, expect, own};

const RECORD: &str = "ABI 3 CRASH_RECORD";

/// Identifiers no partition has.
const NOBODY: [u64; 4] = [7, 8, 1 << 32, u64::MAX];
/// Records a partition keeps.
const KEPT: u64 = 4;

/// Checks the call, after the peer has missed a heartbeat.
pub fn run(suite: &mut Suite) {
    suite.own(
        RECORD,
        "a partition that does not exist is DENIED, with no results",
        |_| {
            NOBODY
                .into_iter()
                .try_for_each(|other| refused(&[other, 0, 0], id::DENIED))
        },
    );
    if !suite.environment.bulkhead {
        return;
    }
    if info::capabilities() & id::CAPABILITY_OBSERVE == 0 {
        suite.own(
            RECORD,
            "without `observe` everybody is DENIED, the own partition too: its former life's registers are there",
            |_| (0..8).try_for_each(|other| refused(&[other, 0, 0], id::DENIED)),
        );
        return;
    }
    suite.own(RECORD, "who has not crashed has NO_DATA", |_| {
        [0, 1, KEPT, u64::MAX]
            .into_iter()
            .try_for_each(|index| refused(&[info::own_id(), index, 0], id::NO_DATA))
    });
    let Some(talk) = channel::talk() else { return };
    let peer = u64::from(talk.peer);
    let [_, starts, reason] = own(id::PARTITION_STATUS, &[peer]).1;
    if reason != stop_reason::HEARTBEAT {
        suite.skip(RECORD, "the record of a crash", "the peer has not crashed");
        return;
    }
    suite.own(
        RECORD,
        "a missed heartbeat leaves its cause, the vCPU, the starts until then, and registers",
        |_| missed(peer, starts),
    );
    suite.own(
        RECORD,
        "an item that is none is INVALID_PARAMETER, an exit past the last NO_DATA",
        |_| {
            [5, 15, 27, 31]
                .into_iter()
                .try_for_each(|item| refused(&[peer, 0, item], id::INVALID_PARAMETER))?;
            [crash_item::EXITS + 64, u64::MAX]
                .into_iter()
                .try_for_each(|item| refused(&[peer, 0, item], id::NO_DATA))
        },
    );
}

fn refused(arguments: &[u64], code: i64) -> Finding {
    let (got, results) = own(id::CRASH_RECORD, arguments);
    expect(arguments[0], got, code)?;
    expect(arguments[0], results == [0; 3], true)
}

fn missed(peer: u64, starts: u64) -> Finding {
    let item = |item| own(id::CRASH_RECORD, &[peer, 0, item]);
    let (code, [first, at_start, _]) = item(crash_item::WHEN);
    expect(0u64, code, 0)?;
    expect(1u64, first & 0xffff, crash_cause::HEARTBEAT)?;
    expect(2u64, first >> 16 & 0xffff, 0)?;
    expect(3u64, at_start, starts - 1)?;
    let exits = first >> 32;
    expect(4u64, (1..=8).contains(&exits), true)?;
    let (code, [pc, pstate, _]) = item(crash_item::FAULT);
    expect(5u64, code, 0)?;
    // A bare guest at EL1, somewhere in its image.
    expect(6u64, pc >> 28 == 4 && pstate & 0xf == 5, true)?;
    for register in 0..11 {
        expect(register, item(crash_item::REGISTERS + register).0, 0)?;
    }
    for exit in 0..exits {
        expect(exit, item(crash_item::EXITS + exit).0, 0)?;
    }
    expect(7u64, item(crash_item::ADDRESS).1[1], u64::MAX)
}
