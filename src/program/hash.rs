//! The SHA-256 of payloads, checked before every start.

use crate::model::bundle::Payload;

/// Whether the payload's bytes are those that were packed.
#[must_use]
pub fn matches(payload: &Payload<'_>) -> bool {
    payload.verify()
}
