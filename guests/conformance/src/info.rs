//! PARTITION_INFO.

use bulkhead_rt::abi::bulkhead as id;

use crate::suite::{Suite, expect, own};

const INFO: &str = "ABI 3 PARTITION_INFO";

/// Checks the call.
pub fn run(suite: &mut Suite) {
    suite.own(
        INFO,
        "PARTITION_INFO's vCPUs are the tree's",
        |environment| {
            let (code, [x1, ..]) = own(id::PARTITION_INFO, &[]);
            expect(0u64, code, 0)?;
            expect(
                x1,
                x1 >> 16 & 0xffff,
                environment.machine.cpu_count() as u64,
            )
        },
    );
    suite.own(
        INFO,
        "PARTITION_INFO's capabilities are manage (bit 32) and observe (bit 33) alone",
        |_| {
            let (_, [x1, ..]) = own(id::PARTITION_INFO, &[]);
            expect(x1, x1 >> 34, 0)
        },
    );
    suite.own(
        INFO,
        "PARTITION_INFO counts this start, and names why the partition last stopped",
        |_| {
            let (_, [_, starts, reason]) = own(id::PARTITION_INFO, &[]);
            expect(starts, starts >= 1, true)?;
            expect(reason, reason <= id::stop_reason::HEARTBEAT, true)?;
            expect(
                reason,
                (starts == 1) == (reason == id::stop_reason::NEVER),
                true,
            )
        },
    );
    suite.own(INFO, "PARTITION_INFO takes no arguments", |_| {
        let plain = own(id::PARTITION_INFO, &[]);
        expect(
            u64::MAX,
            own(id::PARTITION_INFO, &[u64::MAX; 7]) == plain,
            true,
        )
    });
}

/// This partition's identifier.
pub fn own_id() -> u64 {
    own(id::PARTITION_INFO, &[]).1[0] & 0xffff
}

/// This partition's capabilities, in the bits PARTITION_INFO has them in.
pub fn capabilities() -> u64 {
    own(id::PARTITION_INFO, &[]).1[0] & (id::CAPABILITY_MANAGE | id::CAPABILITY_OBSERVE)
}
