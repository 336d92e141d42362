//! STATISTIC: own counters always, others' with the capability `observe`.

use bulkhead_rt::abi::bulkhead as id;
use bulkhead_rt::test::environment::Environment;

use crate::info;
use crate::suite::{Finding, Suite, expect, own};

const STATISTIC: &str = "ABI 3 STATISTIC";

/// Counter of all exits, and of those by HVC.
const EXITS: u64 = 0;
const HVC: u64 = 1;
/// Identifiers no partition has.
const NOBODY: [u64; 4] = [8, 255, 1 << 32, u64::MAX];

/// Checks the call.
pub fn run(suite: &mut Suite) {
    suite.own(
        STATISTIC,
        "every counter of every own vCPU can be read",
        |environment| counters(info::own_id(), environment.machine.cpu_count() as u64),
    );
    suite.own(
        STATISTIC,
        "a counter past the last is INVALID_PARAMETER",
        |_| {
            [id::COUNTERS, 1 << 32, u64::MAX]
                .into_iter()
                .try_for_each(|counter| {
                    expect(
                        counter,
                        own(id::STATISTIC, &[info::own_id(), 0, counter]).0,
                        id::INVALID_PARAMETER,
                    )
                })
        },
    );
    suite.own(
        STATISTIC,
        "a vCPU past the last is INVALID_PARAMETER",
        |environment| {
            let beyond = environment.machine.cpu_count() as u64;
            [beyond, 256, 1 << 32, u64::MAX]
                .into_iter()
                .try_for_each(|vcpu| {
                    expect(
                        vcpu,
                        own(id::STATISTIC, &[info::own_id(), vcpu, 0]).0,
                        id::INVALID_PARAMETER,
                    )
                })
        },
    );
    suite.own(
        STATISTIC,
        "a hundred calls are counted as a hundred",
        |_| calls_count(),
    );
    others(suite);
}

fn counters(partition: u64, vcpus: u64) -> Finding {
    for vcpu in 0..vcpus {
        for counter in 0..id::COUNTERS {
            expect(
                counter,
                own(id::STATISTIC, &[partition, vcpu, counter]).0,
                0,
            )?;
        }
    }
    Ok(())
}

fn calls_count() -> Finding {
    let partition = info::own_id();
    let read = |counter| own(id::STATISTIC, &[partition, 0, counter]).1[0];
    let (exits, calls) = (read(EXITS), read(HVC));
    for _ in 0..98 {
        own(id::CHANNEL_INFO, &[u64::MAX]);
    }
    expect(HVC, read(HVC) - calls, 100 - 1)?;
    expect(EXITS, read(EXITS) - exits >= 100, true)
}

fn others(suite: &mut Suite) {
    let observes = info_if(&suite.environment) & id::CAPABILITY_OBSERVE != 0;
    if observes {
        suite.own(
            STATISTIC,
            "with `observe` the counters of others can be read",
            |_| {
                let other = u64::from(info::own_id() == 0);
                counters(other, 1)
            },
        );
    } else {
        suite.own(
            STATISTIC,
            "without `observe` others are DENIED, whether or not they exist",
            |_| {
                (0..8)
                    .filter(|id| *id != info::own_id())
                    .try_for_each(|other| {
                        expect(other, own(id::STATISTIC, &[other, 0, 0]).0, id::DENIED)
                    })
            },
        );
    }
    suite.own(
        STATISTIC,
        "a partition that does not exist is DENIED",
        |_| {
            NOBODY.into_iter().try_for_each(|other| {
                expect(other, own(id::STATISTIC, &[other, 0, 0]).0, id::DENIED)
            })
        },
    );
}

fn info_if(environment: &Environment) -> u64 {
    if environment.bulkhead {
        info::capabilities()
    } else {
        0
    }
}
