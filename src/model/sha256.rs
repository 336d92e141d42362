//! SHA-256 (FIPS 180-4) around a compression function: the message is cut into blocks and padded here, so that a core's
//! own instructions may do the rest.
//!
//! Invariant: every byte goes to the compression function once, in order, in whole blocks.

/// Bytes of a block.
pub const BLOCK: usize = 64;
/// The eight working words.
pub type State = [u32; 8];
/// The state before the first block (5.3.3).
const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
/// What follows the message (5.1.1): one bit.
const END_BIT: u8 = 0x80;
/// Bytes of the message's length, at the end of the last block.
const LENGTH: usize = 8;

/// Computes the digest of `message` with `compress`, which takes a run of blocks into the state.
pub fn digest(message: &[u8], mut compress: impl FnMut(&mut State, &[[u8; BLOCK]])) -> [u8; 32] {
    let mut state = INITIAL;
    let (blocks, rest) = message.as_chunks();
    compress(&mut state, blocks);
    let mut last = [[0; BLOCK]; 2];
    let room = last.as_flattened_mut();
    for (to, from) in room.iter_mut().zip(rest.iter().chain(&[END_BIT])) {
        *to = *from;
    }
    let used = if rest.len() + 1 + LENGTH <= BLOCK {
        1
    } else {
        2
    };
    let bits = (message.len() as u64).wrapping_mul(8).to_be_bytes();
    let at = used * BLOCK - LENGTH;
    for (to, from) in room.iter_mut().skip(at).zip(bits) {
        *to = from;
    }
    compress(&mut state, last.get(..used).unwrap_or_default());
    let mut digest = [0; 32];
    for (to, word) in digest.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    fn by_blocks(message: &[u8]) -> [u8; 32] {
        digest(message, |state, blocks| {
            sha2::block_api::compress256(state, blocks);
        })
    }

    #[test]
    fn every_length_is_padded_as_the_standard_says() {
        let message: Vec<u8> = (0..=u8::MAX).cycle().take(300).collect();
        for length in crate::words::effort::some(0..message.len(), 59) {
            let part = &message[..length];
            let whole: [u8; 32] = Sha256::digest(part).into();
            assert_eq!(by_blocks(part), whole, "{length} bytes");
        }
    }

    #[test]
    fn the_standards_example_comes_out() {
        // FIPS 180-4's companion example: "abc".
        assert_eq!(by_blocks(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
