//! The SHA-256 of payloads, checked before every start.

use crate::edge::sha256;
use crate::model::bundle::Payload;

/// Whether the payload's bytes are those that were packed: by the core's instructions, or in portable code.
#[must_use]
pub fn matches(payload: &Payload<'_>) -> bool {
    match sha256::digest(payload.data) {
        Some(digest) => payload.has_digest(&digest),
        None => payload.verify(),
    }
}
