//! Any bytes as a bundle, and with any board's tree: refused with a place, or a system that fits.

use super::Input;
use crate::model::board::Board;
use crate::model::bundle::{Plan, System, digest, fit};
use crate::model::image::{Source, layout};
use crate::model::placement::{FreeMemory, place};
use crate::model::share::{Share, shares};
use crate::words::Range;
use bulkhead_abi::layout::RAM_BASE;
use std::vec::Vec;

/// What RAM is given out in.
const BLOCK: u64 = 2 << 20;
/// The head of a property of 32 bytes in a flattened tree, and where its value begins after it.
const PROPERTY_OF_32: [u8; 8] = [0, 0, 0, 3, 0, 0, 0, 32];
const VALUE: usize = 12;
const DIGEST: usize = 32;

/// `bundle` with the digest it needs to be read at all.
fn redigested(bundle: &[u8]) -> Vec<u8> {
    let mut bundle = bundle.to_vec();
    if let Ok(digest) = digest(&bundle) {
        let at = bundle.windows(8).position(|bytes| bytes == PROPERTY_OF_32);
        let value = at.and_then(|at| bundle.get_mut(at + VALUE..at + VALUE + DIGEST));
        if let Some(value) = value {
            value.copy_from_slice(&digest);
        }
    }
    bundle
}

/// A bundle is refused, or gives whole blocks of memory and channels between partitions that are there.
pub fn read(bytes: &[u8]) {
    let _ = System::read(bytes);
    let bundle = redigested(bytes);
    let Ok(system) = System::read(&bundle) else {
        return;
    };
    let count = system.partitions.len();
    assert!(count > 0);
    for plan in &system.partitions {
        assert!(plan.memory > 0 && plan.memory.is_multiple_of(BLOCK));
        assert!(!plan.cpus.is_empty() && !plan.name.is_empty());
        let _ = plan.kernel.verify();
    }
    for channel in &system.channels {
        assert!(channel.from.index() < count && channel.to.index() < count);
        assert_ne!(channel.from, channel.to);
    }
}

/// A bundle and a board's tree, the bundle's length in front: what they make together gives nothing to two, and nothing
/// that is not there.
pub fn system(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let length = usize::try_from(input.word()).unwrap_or(usize::MAX);
    let (bundle, tree) = input.rest().split_at(length.min(input.rest().len()));
    let bundle = redigested(bundle);
    let (Ok(system), Ok(board)) = (System::read(&bundle), Board::read(tree)) else {
        return;
    };
    if fit(&system, &board).is_err() {
        return;
    }
    for plan in &system.partitions {
        placed_images(plan);
    }
    if let Ok(shares) = shares(&system, &board, tree) {
        disjoint_shares(&shares);
    }
    let reserved = || board.reserved.iter().map(|reserved| reserved.range);
    let Ok(mut free) = FreeMemory::new(&board.ram, reserved()) else {
        return;
    };
    if let Ok(placement) = place(&mut free, &system) {
        let extents = placement.extents.iter().flatten();
        let mut given: Vec<Range> = extents.map(|extent| extent.range).collect();
        given.extend(&placement.channels);
        assert!(
            given
                .iter()
                .all(|one| board.ram.iter().any(|ram| ram.contains(*one)))
        );
        let taken: Vec<Range> = given.iter().copied().chain(reserved()).collect();
        for (index, one) in given.iter().enumerate() {
            let others = taken.iter().skip(index + 1);
            assert!(
                others.clone().all(|other| !one.overlaps(*other)),
                "{given:?}"
            );
        }
    }
}

/// A kernel's pieces, its tree and its ramdisk lie in the guest's RAM and apart.
fn placed_images(plan: &Plan<'_>) {
    let Ok(layout) = layout(plan) else {
        return;
    };
    let mut runs: Vec<(u64, u64)> = std::vec![(layout.dtb.get(), layout.dtb_room)];
    for piece in &layout.pieces {
        let length = match piece.source {
            Source::Kernel { offset, len } => {
                assert!(offset + len <= plan.kernel.data.len());
                len
            }
            Source::Initrd => plan.initrd.as_ref().map_or(0, |initrd| initrd.data.len()),
        };
        runs.push((piece.ipa.get(), length as u64 + piece.zero_after));
    }
    runs.sort_unstable();
    assert!(
        runs.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0),
        "{runs:x?}"
    );
    let past = runs.last().map_or(0, |(base, size)| base + size);
    assert!(runs[0].0 >= RAM_BASE && past <= RAM_BASE + plan.memory);
}

/// No page of registers and no interrupt has two owners.
fn disjoint_shares(shares: &[Share]) {
    for (index, one) in shares.iter().enumerate() {
        for other in shares.iter().skip(index + 1) {
            for window in &one.windows {
                assert!(
                    other
                        .windows
                        .iter()
                        .all(|w| !w.range.overlaps(window.range))
                );
            }
            for line in &one.interrupts {
                assert!(other.interrupts.iter().all(|l| l.intid != line.intid));
            }
        }
    }
}
