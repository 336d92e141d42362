//! The vendor-specific hypervisor service: who answers (DEN0028, section 6.2).

use super::{Answer, Call};
use bulkhead_abi::bulkhead;

/// Answers a call of this service; `None` if it is none.
pub(super) fn answer(call: &Call) -> Option<Answer> {
    match call.function {
        bulkhead::CALL_UID => Some(Answer::values(bulkhead::UID.map(u64::from))),
        bulkhead::REVISION => {
            let (major, minor) = bulkhead::REVISION_MAJOR_MINOR;
            Some(Answer::values([major.into(), minor.into(), 0, 0]))
        }
        _ => None,
    }
}
