//! CONSOLE_WRITE and CONSOLE_READ.

use bulkhead_rt::abi::bulkhead as id;

use crate::suite::{Suite, expect, own};

const WRITE: &str = "ABI 3 CONSOLE_WRITE";
const READ: &str = "ABI 3 CONSOLE_READ";

/// Checks the calls.
pub fn run(suite: &mut Suite) {
    suite.own(
        WRITE,
        "CONSOLE_WRITE of no byte or more than 48 is INVALID_PARAMETER",
        |_| {
            [0, 49, 1 << 32, u64::MAX]
                .into_iter()
                .try_for_each(|count| {
                    expect(
                        count,
                        own(id::CONSOLE_WRITE, &[count]).0,
                        id::INVALID_PARAMETER,
                    )
                })
        },
    );
    suite.own(
        WRITE,
        "CONSOLE_WRITE of 1 to 48 bytes takes no more than that",
        |_| {
            // Each is a line of its own, of a comment, so that the report stays one: \"#...\\n\".
            (2..=48).try_for_each(|count| {
                let mut bytes = [b'.'; 48];
                bytes[0] = b'#';
                bytes[count - 1] = b'\n';
                let written = bulkhead_rt::hypervisor::console_write(&bytes[..count]);
                expect(
                    count as u64,
                    written.is_ok_and(|taken| (1..=count).contains(&taken)),
                    true,
                )
            })
        },
    );
    suite.own(
        READ,
        "CONSOLE_READ of no byte or more than 16 is INVALID_PARAMETER",
        |_| {
            [0, 17, 1 << 32, u64::MAX]
                .into_iter()
                .try_for_each(|count| {
                    expect(
                        count,
                        own(id::CONSOLE_READ, &[count]).0,
                        id::INVALID_PARAMETER,
                    )
                })
        },
    );
    suite.own(
        READ,
        "CONSOLE_READ with nothing typed is NO_DATA, with no results",
        |_| {
            (1..=16).try_for_each(|count| {
                let (code, results) = own(id::CONSOLE_READ, &[count]);
                expect(count, code, id::NO_DATA)?;
                expect(count, results == [0; 3], true)
            })
        },
    );
}
