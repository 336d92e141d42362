//! HEARTBEAT: arming within the manifest's limit. That a missed one stops the partition is the peer's to show.

use bulkhead_rt::abi::bulkhead as id;
use bulkhead_rt::timer;

use crate::suite::{Suite, expect, own};

const HEARTBEAT: &str = "ABI 3 HEARTBEAT";

/// Checks the call.
pub fn run(suite: &mut Suite) {
    suite.own(
        HEARTBEAT,
        "HEARTBEAT with anything in X2 is INVALID_PARAMETER",
        |_| {
            [1, 1 << 32, u64::MAX].into_iter().try_for_each(|x2| {
                expect(x2, own(id::HEARTBEAT, &[0, x2]).0, id::INVALID_PARAMETER)
            })
        },
    );
    let Some(limit) = suite.environment.machine.arguments.number("heartbeat") else {
        suite.own(
            HEARTBEAT,
            "HEARTBEAT is DENIED where the manifest grants none",
            |_| {
                [1, 100, u64::MAX]
                    .into_iter()
                    .try_for_each(|time| expect(time, own(id::HEARTBEAT, &[time, 0]).0, id::DENIED))
            },
        );
        return;
    };
    suite.own(
        HEARTBEAT,
        "HEARTBEAT beyond the manifest's limit is INVALID_PARAMETER",
        |_| {
            [limit + 1, 1 << 31, 1 << 32, u64::MAX]
                .into_iter()
                .try_for_each(|time| {
                    expect(
                        time,
                        own(id::HEARTBEAT, &[time, 0]).0,
                        id::INVALID_PARAMETER,
                    )
                })
        },
    );
    suite.own(
        HEARTBEAT,
        "HEARTBEAT up to the limit arms, and each call arms anew",
        |_| {
            // One and a half times the limit in all.
            for _ in 0..30 {
                expect(limit, own(id::HEARTBEAT, &[limit, 0]).0, 0)?;
                timer::delay(limit * 1000 / 20);
            }
            expect(0u64, own(id::HEARTBEAT, &[0, 0]).0, 0)
        },
    );
    suite.own(HEARTBEAT, "HEARTBEAT 0 disarms", |_| {
        expect(limit, own(id::HEARTBEAT, &[limit, 0]).0, 0)?;
        expect(0u64, own(id::HEARTBEAT, &[0, 0]).0, 0)?;
        // A partition that goes on after the limit was not stopped.
        timer::delay(limit * 1500);
        Ok(())
    });
}
