//! The plan's digest: what a loader or a bad card may not change unnoticed.
//!
//! SHA-256 over the tree in document order. A node is 0x01, its name, 0x00, its properties, its children, 0x03;
//! a property is 0x02, its name, 0x00, the length of its value as 32 bits big-endian, its value. The root's
//! `digest` is left out, and so is the value (not the length) of a payload's `data`, which its `sha256` covers.

use sha2::{Digest as _, Sha256};

use super::tree::{at_root, tree};
use super::{BundleError, BundleProblem, Digest};
use crate::words::{FlatTree, Token};

/// Opens a node.
const NODE: [u8; 1] = [1];
/// Opens a property.
const PROPERTY: [u8; 1] = [2];
/// Closes a node.
const END: [u8; 1] = [3];
/// Closes a name.
const NUL: [u8; 1] = [0];

/// Computes the plan's digest, without reading payloads.
///
/// # Errors
/// `Damaged` and its like if `bundle` is no device tree of a bundle's shape.
pub fn digest(bundle: &[u8]) -> Result<Digest, BundleError> {
    digest_of(tree(bundle)?)
}

/// The digest of the plan that is `tree`.
pub(super) fn digest_of(tree: FlatTree<'_>) -> Result<Digest, BundleError> {
    let mut hash = Sha256::new();
    // The name of the node opened last, whose properties come before any node in it.
    let mut own = &b""[..];
    let mut at = 0;
    while let Some(token) = tree.next(&mut at) {
        match token {
            Token::Begin(name) => {
                own = tree.name(name);
                hash.update(NODE);
                hash.update(own);
                hash.update(NUL);
            }
            Token::Property(property) => {
                let covers_itself = own.is_empty() && tree.is_named(property, b"digest");
                if !covers_itself {
                    let payload = is_payload(own) && tree.is_named(property, b"data");
                    let (name, bytes) = (tree.property_name(property), tree.value(property));
                    value(&mut hash, name, bytes, payload)?;
                }
            }
            Token::End => hash.update(END),
        }
    }
    Ok(hash.finalize().into())
}

/// Whether a node of this name holds a payload.
fn is_payload(name: &[u8]) -> bool {
    matches!(name, b"kernel" | b"initrd")
}

fn value(hash: &mut Sha256, name: &[u8], value: &[u8], payload: bool) -> Result<(), BundleError> {
    let length = u32::try_from(value.len()).map_err(|_| at_root(BundleProblem::Damaged))?;
    hash.update(PROPERTY);
    hash.update(name);
    hash.update(NUL);
    hash.update(length.to_be_bytes());
    if !payload {
        hash.update(value);
    }
    Ok(())
}
