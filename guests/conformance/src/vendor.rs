//! Who answers, and what it has: CALL_UID, REVISION, FEATURES.

use bulkhead_rt::abi::bulkhead as id;
use bulkhead_rt::test::environment::Environment;

use crate::suite::{Finding, Suite, call, expect, own as own_call};

const QUERIES: &str = "DEN0028 General service queries";
const FEATURES: &str = "ABI 3 FEATURES";

/// The functions of the service.
const ALL: [u32; 11] = [
    id::FEATURES,
    id::PARTITION_INFO,
    id::CONSOLE_WRITE,
    id::CONSOLE_READ,
    id::CHANNEL_INFO,
    id::CHANNEL_NOTIFY,
    id::HEARTBEAT,
    id::PARTITION_STATUS,
    id::PARTITION_CONTROL,
    id::STATISTIC,
    id::CRASH_RECORD,
];

/// Checks the service.
pub fn run(suite: &mut Suite) {
    suite.own(
        QUERIES,
        "CALL_UID is dad6d56c-1bb2-415d-9d86-11ac172e91df",
        |environment| {
            let uid = [0x6cd5_d6da, 0x5d41_b21b, 0xac11_869d, 0xdf91_2e17];
            all_conduits(environment, id::CALL_UID, uid)
        },
    );
    suite.own(QUERIES, "REVISION is 1.0", |environment| {
        all_conduits(environment, id::REVISION, [1, 0, 0, 0])
    });
    suite.own(
        FEATURES,
        "FEATURES knows every function of the service",
        |_| {
            ALL.into_iter().try_for_each(|function| {
                expect(function, own(id::FEATURES, &[u64::from(function)]), 0)
            })
        },
    );
    suite.own(
        FEATURES,
        "FEATURES knows nothing else, of 65536 and of other services",
        |_| {
            let others = [
                0,
                0x8600_0000,
                0x8600_ff01,
                0x8400_0000,
                0xc700_0000,
                u32::MAX,
            ];
            let numbers = (0..=0xffff).map(|number| 0xc600_0000 | number);
            numbers
                .filter(|function| !ALL.contains(function))
                .chain(others)
                .try_for_each(|function| {
                    expect(function, own(id::FEATURES, &[u64::from(function)]), -1)
                })
        },
    );
    suite.own(
        FEATURES,
        "what FEATURES knows is not NOT_SUPPORTED when called",
        |_| {
            ALL.into_iter().try_for_each(|function| {
                let code = own(function, &[u64::from(id::FEATURES), u64::MAX, u64::MAX]);
                expect(function, code == id::NOT_SUPPORTED, false)
            })
        },
    );
}

fn own(function: u32, arguments: &[u64]) -> i64 {
    own_call(function, arguments).0
}

fn all_conduits(environment: &Environment, function: u32, expected: [u64; 4]) -> Finding {
    environment.conduits().iter().try_for_each(|conduit| {
        let results = call((*conduit).into(), function, &[]).results();
        results
            .into_iter()
            .zip(expected)
            .try_for_each(|(got, expected)| expect(function, got, expected))
    })
}
