//! Software generated interrupts: to oneself, to others, all at once, with their source.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use bulkhead_rt::gic::{Gic, distributor};
use bulkhead_rt::{cpu, machine, mmio, timer, write_sysreg};

use super::{SPI, SPURIOUS, enable_sgis, pend, send_to_self};
use crate::environment::Environment;
use crate::poll;
use crate::smp;
use crate::tap::Tap;

/// Interrupts one way of the ping-pong.
const PING_PONGS: u64 = 10_000;

/// Runs the checks of this file.
pub fn run(tap: &mut Tap, environment: &Environment) {
    let gic = &environment.machine.gic;
    poll::reset(gic);
    enable_sgis(gic);
    to_self(tap, gic);
    all_at_once(tap, gic);
    more_than_list_registers(tap, gic);
    match *gic {
        Gic::V2 { distributor, .. } => {
            filters(tap, environment, distributor);
            pending_registers(tap, gic, distributor);
            two_sources(tap, environment);
        }
        Gic::V3 { .. } => all_but_self(tap, environment),
    }
    to_others(tap, environment);
    ping_pong(tap, environment);
    many_senders(tap, environment);
    poll::reset(gic);
}

fn to_self(tap: &mut Tap, gic: &Gic) {
    let wrong = (0..16).find(|intid| {
        send_to_self(gic, *intid);
        poll::serve(gic) != Some(*intid)
    });
    tap.equal("each SGI to self arrives", wrong, None);
    tap.equal("and nothing else", gic.acknowledge_raw() & 0x3ff, SPURIOUS);
    send_to_self(gic, 3);
    send_to_self(gic, 3);
    poll::serve(gic);
    tap.check(
        "an SGI sent twice before it is taken arrives once",
        poll::stays_quiet(),
    );
}

fn all_at_once(tap: &mut Tap, gic: &Gic) {
    for intid in (0..16).rev() {
        send_to_self(gic, intid);
    }
    let mut seen = [u32::MAX; 16];
    for place in &mut seen {
        *place = poll::serve(gic).unwrap_or(SPURIOUS);
    }
    let ascending = (0..).zip(seen).all(|(expected, intid)| expected == intid);
    // Equal priorities: the lowest INTID first is the rule of every implementation we know
    // (IHI 0048B 3.3.1 leaves it open, so only Bulkhead and QEMU are held to it).
    tap.check(
        "16 SGIs pending at once arrive once each, lowest INTID first",
        ascending,
    );
    tap.check("and no more", poll::stays_quiet());
}

fn more_than_list_registers(tap: &mut Tap, gic: &Gic) {
    gic.enable(SPI);
    for round in 0..50u32 {
        for intid in 0..16 {
            send_to_self(gic, (intid + round) % 16);
        }
        pend(gic);
        timer::set_virtual_deadline(0);
        let mut seen = 0u64;
        for _ in 0..17 {
            let bit = poll::serve(gic).map_or(63, |intid| intid % 63);
            seen |= 1 << bit;
        }
        if seen != 0xffff | 1 << SPI || poll::signalled() {
            tap.equal(
                "16 SGIs and an SPI at once, 50 times",
                seen,
                0xffff | 1 << SPI,
            );
            return;
        }
    }
    tap.check("16 SGIs and an SPI at once, 50 times", true);
    gic.disable(SPI);
}

/// GICD_SGIR's target list filter (IHI 0048B 4.3.15).
fn filters(tap: &mut Tap, environment: &Environment, base: u64) {
    let gic = &environment.machine.gic;
    let send = |value: u32| mmio::write32(base + distributor::SGIR, value);
    send(0b10 << 24 | 5);
    tap.equal("SGIR filter 0b10 sends to self", poll::serve(gic), Some(5));
    send(0b01 << 24 | 5);
    tap.check(
        "SGIR filter 0b01 does not send to self",
        poll::stays_quiet(),
    );
    send(0xff << 16 | 6);
    tap.equal(
        "SGIR with all targets sends to self too",
        poll::serve(gic),
        Some(6),
    );
    send(7);
    tap.check("SGIR with no target sends nothing", poll::stays_quiet());
    send(0b11 << 24 | 0xff << 16 | 7);
    tap.check(
        "SGIR's reserved filter does no harm",
        !poll::signalled() || poll::serve(gic).is_some(),
    );
    poll::reset(gic);
    enable_sgis(gic);
}

/// GICD_SPENDSGIR and GICD_CPENDSGIR: a byte an SGI, a bit a source CPU.
fn pending_registers(tap: &mut Tap, gic: &Gic, base: u64) {
    let set = base + distributor::SPENDSGIR + 4;
    let clear = base + distributor::CPENDSGIR + 4;
    mmio::write8(set, 1);
    tap.equal("SPENDSGIR reads what is pending", mmio::read32(set), 1);
    tap.equal("CPENDSGIR reads the same", mmio::read32(clear), 1);
    tap.check("ISPENDR0 shows it", gic.read_bit(distributor::ISPENDR, 4));
    let source = poll::take(gic).map(|interrupt| {
        gic.end(interrupt);
        (interrupt.intid(), interrupt.source())
    });
    tap.equal("SPENDSGIR delivers with its source", source, Some((4, 0)));
    tap.equal("and is clear afterwards", mmio::read32(set), 0);
    send_to_self(gic, 4);
    tap.equal("SPENDSGIR shows an SGI sent by SGIR", mmio::read8(set), 1);
    mmio::write8(clear, 1);
    tap.check("CPENDSGIR withdraws it", poll::stays_quiet());
    send_to_self(gic, 4);
    gic.write_bit(distributor::ICPENDR, 4);
    tap.equal("ICPENDR0 leaves SGIs alone", poll::serve(gic), Some(4));
    gic.write_bit(distributor::ISPENDR, 4);
    tap.check("ISPENDR0 makes no SGI pending", poll::stays_quiet());
}

static SENT: AtomicU64 = AtomicU64::new(0);

/// On another CPU: sends SGI 9 to the boot CPU.
fn send_nine(_: u64) {
    machine().gic.init_cpu();
    machine().gic.send_sgi(9, 0);
    SENT.store(SENT.load(Relaxed) + 1, Relaxed);
}

/// GICv2: the same SGI from two CPUs is two interrupts.
fn two_sources(tap: &mut Tap, environment: &Environment) {
    const NAME: &str = "one SGI from two CPUs arrives twice, with its sources";
    if !environment.has_cpus(tap, 2, NAME) {
        return;
    }
    let gic = &environment.machine.gic;
    smp::run(1, send_nine, 0);
    send_to_self(gic, 9);
    let Gic::V2 {
        distributor: base, ..
    } = *gic
    else {
        return;
    };
    let byte = mmio::read8(base + distributor::SPENDSGIR + 9);
    tap.equal("SPENDSGIR shows both sources", byte, 0b11);
    let mut seen = [(0, 0); 2];
    for place in &mut seen {
        if let Some(interrupt) = poll::take(gic) {
            *place = (interrupt.intid(), interrupt.source());
            gic.end(interrupt);
        }
    }
    seen.sort_unstable();
    tap.equal(NAME, seen, [(9, 0), (9, 1)]);
    tap.check("and no more", poll::stays_quiet());
}

/// ICC_SGI1R_EL1.IRM: to all but the sender.
fn all_but_self(tap: &mut Tap, environment: &Environment) {
    let gic = &environment.machine.gic;
    write_sysreg!("S3_0_C12_C11_5", 1 << 40 | 5 << 24);
    tap.check("SGI1R with IRM does not send to self", poll::stays_quiet());
    write_sysreg!("S3_0_C12_C11_5", 5 << 24);
    tap.check("SGI1R with no target sends nothing", poll::stays_quiet());
    write_sysreg!(
        "S3_0_C12_C11_5",
        0xff << 48 | 0xff << 32 | 5 << 24 | 0xff << 16 | 0xffff
    );
    tap.check(
        "SGI1R to affinities that are not there sends nothing",
        poll::stays_quiet(),
    );
    gic.write_bit(distributor::ISPENDR, 4);
    tap.equal("ISPENDR0 makes an SGI pending", poll::serve(gic), Some(4));
    send_to_self(gic, 4);
    gic.write_bit(distributor::ICPENDR, 4);
    tap.check("ICPENDR0 withdraws an SGI", poll::stays_quiet());
}

static READY: AtomicU32 = AtomicU32::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);

/// On another CPU: takes one SGI and says which, from whom.
fn take_one(_: u64) {
    let gic = &machine().gic;
    poll::reset(gic);
    enable_sgis(gic);
    READY.store(1, Relaxed);
    let seen = poll::take(gic).map_or(u64::MAX, |interrupt| {
        gic.end(interrupt);
        u64::from(interrupt.intid()) | u64::from(interrupt.source()) << 8
    });
    SEEN.store(seen, Relaxed);
}

fn start_taker(index: usize) {
    READY.store(0, Relaxed);
    SEEN.store(0, Relaxed);
    smp::start(index, take_one, 0);
    timer::wait_until(smp::PATIENCE, || READY.load(Relaxed) == 1);
}

fn to_others(tap: &mut Tap, environment: &Environment) {
    let machine = environment.machine;
    for index in 1..machine.cpu_count() {
        let affinity = machine.cpu(index).unwrap_or(0);
        start_taker(index);
        machine.gic.send_sgi(11, affinity);
        smp::wait_off(index);
        tap.equal(
            "an SGI reaches the CPU it is for, and no other",
            SEEN.load(Relaxed),
            11,
        );
        tap.check("not the sender", poll::stays_quiet());
        start_taker(index);
        match machine.gic {
            Gic::V2 {
                distributor: base, ..
            } => {
                mmio::write32(base + distributor::SGIR, 0b01 << 24 | 12);
            }
            Gic::V3 { .. } => write_sysreg!("S3_0_C12_C11_5", 1 << 40 | 12 << 24),
        }
        smp::wait_off(index);
        tap.equal(
            "an SGI to all but self reaches the others",
            SEEN.load(Relaxed),
            12,
        );
    }
    poll::reset(&machine.gic);
    enable_sgis(&machine.gic);
}

static PONGS: AtomicU64 = AtomicU64::new(0);
static STRAYS: AtomicU64 = AtomicU64::new(0);

/// Waits in WFI for interrupt `intid`; false if it does not come.
fn await_sgi(gic: &Gic, intid: u32) -> bool {
    let end = timer::now() + timer::ticks(smp::PATIENCE);
    while timer::now() < end {
        if let Some(interrupt) = gic.acknowledge() {
            gic.end(interrupt);
            if interrupt.intid() == intid {
                return true;
            }
            STRAYS.store(STRAYS.load(Relaxed) + 1, Relaxed);
        } else if !poll::signalled() {
            cpu::wait_for_interrupt();
        }
    }
    false
}

/// On CPU 1: answers each SGI 1 with an SGI 2.
fn pong(_: u64) {
    let gic = &machine().gic;
    poll::reset(gic);
    gic.enable(1);
    READY.store(1, Relaxed);
    for round in 1..=PING_PONGS {
        if !await_sgi(gic, 1) {
            return;
        }
        PONGS.store(round, Relaxed);
        gic.send_sgi(2, 0);
    }
}

fn ping_pong(tap: &mut Tap, environment: &Environment) {
    const NAME: &str = "10,000 SGIs there and back through WFI, none lost or doubled";
    if !environment.has_cpus(tap, 2, NAME) {
        return;
    }
    let gic = &environment.machine.gic;
    READY.store(0, Relaxed);
    STRAYS.store(0, Relaxed);
    smp::start(1, pong, 0);
    timer::wait_until(smp::PATIENCE, || READY.load(Relaxed) == 1);
    let rounds = (0..PING_PONGS).take_while(|_| {
        gic.send_sgi(1, 1);
        await_sgi(gic, 2)
    });
    let rounds = rounds.count() as u64;
    smp::wait_off(1);
    let counts = (rounds, PONGS.load(Relaxed), STRAYS.load(Relaxed));
    tap.equal(NAME, counts, (PING_PONGS, PING_PONGS, 0));
    tap.check("and nothing is left", poll::stays_quiet());
}

/// What each sender may send up to; raised by the receiver.
static ALLOWED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// On another CPU: sends its own SGI 500 times, each after the one before was taken.
fn sender(index: u64) {
    machine().gic.init_cpu();
    let slot = usize::try_from(index).unwrap_or(0);
    let intid = u32::try_from(index).unwrap_or(0);
    for round in 0..500 {
        if !timer::wait_until(smp::PATIENCE, || ALLOWED[slot].load(Relaxed) >= round) {
            return;
        }
        machine().gic.send_sgi(intid, 0);
    }
}

fn many_senders(tap: &mut Tap, environment: &Environment) {
    const NAME: &str = "500 SGIs from each other CPU at the same time, none lost";
    if !environment.has_cpus(tap, 2, NAME) {
        return;
    }
    let gic = &environment.machine.gic;
    let others = 1..environment.machine.cpu_count();
    for index in others.clone() {
        ALLOWED[index].store(0, Relaxed);
        smp::start(index, sender, index as u64);
    }
    let mut left = 500 * others.len();
    while left > 0 {
        let Some(intid) = poll::serve(gic) else {
            break;
        };
        left -= 1;
        if let Some(slot) = ALLOWED.get(intid as usize) {
            slot.store(slot.load(Relaxed) + 1, Relaxed);
        }
    }
    let all = others
        .clone()
        .all(|index| ALLOWED[index].load(Relaxed) == 500);
    tap.equal(NAME, (left, all), (0, true));
    others.for_each(|index| {
        smp::wait_off(index);
    });
    tap.check("and nothing is left", poll::stays_quiet());
}
