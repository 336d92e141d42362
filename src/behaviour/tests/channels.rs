//! Channels between two partitions: CHANNEL_INFO, CHANNEL_NOTIFY, the doorbell's page (hypercalls.md, sections 3 to 5).

use super::super::channel;
use super::super::exit::Next;
use super::super::testing::{Bench, CHANNELS, VECTOR};
use crate::model::vgic::{Effects, Frame};
use crate::words::effort::times;
use crate::words::{CpuId, VcpuId};

const CHANNEL_INFO: u64 = 0xc600_0010;
const CHANNEL_NOTIFY: u64 = 0xc600_0011;
const DENIED: i64 = -4;
/// Identifier of the neighbour.
const PEER: u8 = 5;
/// GICD_CTLR, GICD_ISENABLER8, GICD_ISPENDR8 and GICD_IGROUPR8 (IHI 0069H 12.9): INTIDs 256 to 287.
const CTLR: u32 = 0;
const IGROUPR8: u32 = 0x0a0;
const ISENABLER8: u32 = 0x120;
const ISPENDR8: u32 = 0x220;

/// Data abort from EL1, translation fault level 3, ISV, SAS, SRT=1, WnR (Arm ARM D24.2.40).
const fn access(size_log2: u64, write: bool) -> u64 {
    0x24 << 26 | 1 << 25 | 1 << 24 | size_log2 << 22 | 1 << 16 | (write as u64) << 6 | 0b000_111
}

/// A permission fault level 3 on a 64-bit store.
const FORBIDDEN_STORE: u64 =
    0x24 << 26 | 1 << 25 | 1 << 24 | 3 << 22 | 1 << 16 | 1 << 6 | 0b001_111;

fn bench() -> Bench {
    let mut bench = Bench::v3(1);
    bench.neighbour(PEER);
    bench.channel(PEER, true);
    bench.channel(PEER, false);
    bench
}

/// What of the two doorbells is pending at the peer: bits 0 and 1.
fn rung(bench: &Bench) -> u64 {
    let peer = bench.others[usize::from(PEER)].get().unwrap();
    let mut vgic = peer.interrupts.lock();
    // A guest that reads it is folded first.
    vgic.fold(VcpuId::new(0), &[], 0, &mut Effects::new(&peer.direct));
    vgic.distributor_read(VcpuId::new(0), ISPENDR8, 4)
}

/// The peer's guest enables its distributor and both doorbells.
fn listen(bench: &Bench) {
    let peer = bench.others[usize::from(PEER)].get().unwrap();
    let mut vgic = peer.interrupts.lock();
    let mut effects = Effects::new(&peer.direct);
    for (offset, value) in [(CTLR, 0x12), (IGROUPR8, 0b11), (ISENABLER8, 0b11)] {
        assert_ne!(Frame::Distributor, Frame::Redistributor(VcpuId::new(0)));
        vgic.distributor_write(VcpuId::new(0), offset, 4, value, &mut effects);
    }
}

#[test]
fn channel_info_describes_the_callers_ends_in_order() {
    let mut bench = bench();
    let base = CHANNELS;
    let peer = u64::from(PEER) << 16;
    assert_eq!(
        bench.call(CHANNEL_INFO, &[0]).0,
        [0, base, 0x2000, 256 | peer | 1 << 32]
    );
    assert_eq!(
        bench.call(CHANNEL_INFO, &[1]).0,
        [0, base + 0x3000, 0x2000, 257 | peer]
    );
}

#[test]
fn past_the_last_end_everything_is_denied_and_nobody_disturbed() {
    let mut bench = bench();
    for index in [2, 256, 1 << 32, u64::MAX] {
        for function in [CHANNEL_INFO, CHANNEL_NOTIFY] {
            let ([code, rest @ ..], next) = bench.call(function, &[index]);
            assert_eq!((code.cast_signed(), rest), (DENIED, [0; 3]));
            assert_eq!(next, Next::Resume);
        }
    }
    assert_eq!(rung(&bench), 0);
    assert!(bench.machine.kicked.is_empty());
}

#[test]
fn a_ring_stays_pending_once_and_calls_once_until_it_is_looked_at() {
    let mut bench = bench();
    for _ in 0..3 {
        assert_eq!(bench.call(CHANNEL_NOTIFY, &[0]).0, [0; 4]);
    }
    assert_eq!(bench.machine.kicked.len(), 1);
    assert_eq!(rung(&bench), 0b01);
    assert_eq!(bench.call(CHANNEL_NOTIFY, &[1]).0, [0; 4]);
    assert_eq!(bench.machine.kicked.len(), 2);
    assert_eq!(rung(&bench), 0b11);
}

#[test]
fn a_storm_of_rings_calls_a_core_twice_whatever_it_does_with_them() {
    for listens in [false, true] {
        let mut bench = bench();
        if listens {
            listen(&bench);
        }
        for _ in 0..times(1000, 20) {
            bench.call(CHANNEL_NOTIFY, &[0]);
            assert_eq!(rung(&bench), 0b01);
        }
        assert_eq!(bench.machine.kicked.len(), 2, "{listens}");
    }
}

#[test]
fn a_ring_calls_the_core_of_the_peer_that_listens() {
    let mut bench = bench();
    listen(&bench);
    bench.call(CHANNEL_NOTIFY, &[0]);
    assert_eq!(bench.machine.kicked, [CpuId::new(0)]);
}

#[test]
fn nothing_rings_at_the_caller() {
    let mut bench = bench();
    bench.call(CHANNEL_NOTIFY, &[0]);
    let own = bench.partition.interrupts.lock();
    assert_eq!(own.distributor_read(VcpuId::new(0), ISPENDR8, 4), 0);
}

#[test]
fn any_word_written_to_the_doorbells_first_word_rings() {
    for value in [0, 1, u64::MAX] {
        let mut bench = bench();
        bench.registers.x[1] = value;
        let before = bench.registers.pc;
        assert_eq!(bench.exit(access(2, true), CHANNELS + 0x2000), Next::Resume);
        assert_eq!(bench.registers.pc, before + 4);
        assert_eq!(rung(&bench), 0b01);
    }
}

#[test]
fn the_rest_of_the_doorbells_page_reads_as_zero_and_ignores_writes() {
    for offset in [4, 8, 0xffc] {
        let mut bench = bench();
        bench.exit(access(2, true), CHANNELS + 0x2000 + offset);
        assert_eq!(rung(&bench), 0);
        bench.registers.x[1] = u64::MAX;
        bench.exit(access(2, false), CHANNELS + 0x2000 + offset);
        assert_eq!(bench.registers.x[1], 0);
        assert!(bench.machine.injected.is_empty());
    }
}

#[test]
fn other_widths_and_addresses_without_a_doorbell_are_external_aborts() {
    let widths = [0, 1, 3].map(|size| (access(size, true), CHANNELS + 0x2000));
    // The memory is mapped, so a translation fault there is none of ours; behind the second doorbell is nothing.
    let nowhere = [CHANNELS, CHANNELS + 0x1ffc, CHANNELS + 0x6000].map(|at| (access(2, true), at));
    for (esr, address) in widths.into_iter().chain(nowhere) {
        let mut bench = bench();
        bench.exit(esr, address);
        assert_eq!(rung(&bench), 0, "{address:#x}");
        assert_eq!(bench.machine.injected.len(), 1, "{address:#x}");
        assert_eq!(bench.registers.pc, VECTOR);
    }
}

#[test]
fn a_store_to_the_read_only_end_is_an_external_abort() {
    let mut bench = bench();
    bench.exit(FORBIDDEN_STORE, CHANNELS + 0x3000);
    // ESR_EL1: data abort taken from EL1, WnR, synchronous external abort 0b010000.
    let esr = bench.machine.injected[0].esr;
    assert_eq!((esr >> 26, esr & 0x7f), (0x25, 0x50));
}

#[test]
fn a_partition_that_comes_or_goes_rings_at_all_its_peers() {
    let mut bench = bench();
    bench.on_core(|here, _, machine, _| channel::announce(here, machine));
    assert_eq!(rung(&bench), 0b11);
}
