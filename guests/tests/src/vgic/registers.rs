//! The registers themselves: identification, widths, what is kept, what is not there.

use bulkhead_rt::gic::{Gic, distributor};
use bulkhead_rt::gicv2::IIDR;
use bulkhead_rt::{cpu, mmio, read_sysreg};

use super::{SPI, SPURIOUS};
use crate::environment::Environment;
use crate::poll;
use crate::tap::Tap;
use crate::trap;

/// GICD_PIDR2 of GICv2 (IHI 0048B 4.6).
const PIDR2_V2: u64 = 0xfe8;
/// GICD_PIDR2 and GICR_PIDR2 of GICv3 (IHI 0069H 12.1.10).
const PIDR2_V3: u64 = 0xffe8;
/// Bytes of GICv2's distributor.
const FRAME_V2: u64 = 0x1000;
/// Bytes of a GICv3 frame.
const FRAME_V3: u64 = 0x1_0000;

/// Runs the checks of this file.
pub fn run(tap: &mut Tap, environment: &Environment) {
    let gic = &environment.machine.gic;
    identification(tap, environment);
    widths(tap, gic);
    configuration(tap, gic);
    no_faults(tap, environment);
    unowned(tap, environment);
    match *gic {
        Gic::V2 {
            distributor,
            cpu_interface,
        } => {
            version_2(tap, environment, distributor, cpu_interface);
        }
        Gic::V3 {
            distributor,
            redistributors,
            ..
        } => {
            version_3(tap, environment, distributor, redistributors);
        }
    }
    poll::reset(gic);
}

fn identification(tap: &mut Tap, environment: &Environment) {
    let gic = &environment.machine.gic;
    let offset = if gic.version() == 2 {
        PIDR2_V2
    } else {
        PIDR2_V3
    };
    let revision = mmio::read32(gic.distributor() + offset) >> 4 & 0xf;
    tap.equal("GICD_PIDR2 names the architecture", revision, gic.version());
    let kind = mmio::read32(gic.distributor() + distributor::TYPER);
    tap.check("GICD_TYPER has room for the UART's SPI", kind & 0x1f >= 1);
    if gic.version() == 2 {
        let cpus = kind >> 5 & 0b111;
        tap.equal(
            "GICD_TYPER counts the CPUs",
            cpus as usize + 1,
            environment.machine.cpu_count(),
        );
    }
    let implementer = mmio::read32(gic.distributor() + distributor::IIDR);
    mmio::write32(gic.distributor() + distributor::IIDR, !implementer);
    let after = mmio::read32(gic.distributor() + distributor::IIDR);
    tap.equal("GICD_IIDR is read-only", after, implementer);
}

/// IPRIORITYR: bytes and words of the same memory.
fn widths(tap: &mut Tap, gic: &Gic) {
    let word = gic.frame(SPI) + distributor::IPRIORITYR + u64::from(SPI) - 1;
    gic.set_priority(SPI, 0x50);
    tap.equal("a priority byte reads back", gic.priority(SPI), 0x50);
    tap.equal("the same in its word", mmio::read32(word) >> 8 & 0xff, 0x50);
    mmio::write32(word, 0x3000);
    tap.equal("a priority word writes its bytes", gic.priority(SPI), 0x30);
    gic.set_priority(SPI, 0xff);
    let kept = gic.priority(SPI);
    tap.check(
        "at least four priority bits are kept, the upper ones",
        kept & 0xf0 == 0xf0,
    );
    tap.equal(
        "and they are contiguous",
        kept.leading_ones() + kept.trailing_zeros(),
        8,
    );
    let banked = gic.frame(0) + distributor::IPRIORITYR;
    mmio::write32(banked, 0x1020_3040);
    let bytes = [0, 1, 2, 3].map(|intid| gic.priority(intid));
    tap.equal(
        "SGI priorities by word and byte",
        bytes,
        [0x40, 0x30, 0x20, 0x10],
    );
    // Halfwords and doublewords are not architected here: an abort, or zero, or the data.
    let (half, fault) = trap::catch(|| mmio::read16(word));
    let [_, upper] = half.to_le_bytes();
    let right = fault.is_some() || upper == 0 || upper == kept;
    tap.check("a halfword aborts, is zero or the data", right);
    let (double, fault) = trap::catch(|| mmio::read64(banked));
    let lower = double & u64::from(u32::MAX);
    let right = fault.is_some() || lower == 0 || lower == u64::from(mmio::read32(banked));
    tap.check("a doubleword aborts, is zero or the data", right);
    gic.set_priority(SPI, 0);
}

fn configuration(tap: &mut Tap, gic: &Gic) {
    let sgis = mmio::read32(gic.frame(0) + distributor::ICFGR);
    tap.equal("SGIs are edge-triggered", sgis, 0xaaaa_aaaa);
    mmio::write32(gic.frame(0) + distributor::ICFGR, 0);
    let sgis = mmio::read32(gic.frame(0) + distributor::ICFGR);
    tap.equal("and stay so", sgis, 0xaaaa_aaaa);
    let register = gic.distributor() + distributor::ICFGR + 8;
    let before = mmio::read32(register);
    mmio::write32(register, before | 0b1000);
    let edge = mmio::read32(register) & 0b1000;
    tap.equal("an SPI can be edge-triggered", edge, 0b1000);
    mmio::write32(register, before);
    tap.equal("and level-sensitive again", mmio::read32(register), before);
}

/// Reads every word of the frames: none faults, reserved ones read as zero.
fn no_faults(tap: &mut Tap, environment: &Environment) {
    let gic = &environment.machine.gic;
    // QEMU's GICv2 distributor is 4 KiB of the 64 its tree says.
    let size = match (gic.version(), environment.bulkhead) {
        (2, false) => FRAME_V2,
        _ => FRAME_V3,
    };
    let read = |base: u64, size: u64| {
        let words = (0..size).step_by(4);
        let (_, fault) = trap::catch(|| {
            words.for_each(|offset| {
                mmio::read32(base + offset);
            });
        });
        fault.map(|fault| fault.far)
    };
    tap.equal(
        "no read in the distributor faults",
        read(gic.distributor(), size),
        None,
    );
    let reserved = [0x00c, 0x020, 0x03c, 0xd80, 0xe00, 0xefc];
    let nonzero = reserved
        .into_iter()
        .find(|offset| mmio::read32(gic.distributor() + offset) != 0);
    tap.equal("offsets nobody implements read as zero", nonzero, None);
    if let Gic::V3 { .. } = gic {
        let frame = gic.frame(0) - FRAME_V3;
        tap.equal(
            "no read in the redistributor faults",
            read(frame, 2 * FRAME_V3),
            None,
        );
    }
    poll::reset(gic);
}

/// Bits of interrupts a partition does not own read as zero and ignore writes.
fn unowned(tap: &mut Tap, environment: &Environment) {
    environment.only_bulkhead(
        tap,
        "bits of interrupts not owned are RAZ/WI",
        |tap, name| {
            let base = environment.machine.gic.distributor();
            let lines = u64::from(mmio::read32(base + distributor::TYPER) & 0x1f);
            let groups = [
                distributor::ISENABLER,
                distributor::ISPENDR,
                distributor::ISACTIVER,
            ];
            let words = (1..=lines).flat_map(|word| groups.map(|group| (group, word)));
            let kept = words.into_iter().find(|(group, word)| {
                let owned = if *word == 1 { 1 << (SPI - 32) } else { 0 };
                let address = base + group + word * 4;
                mmio::write32(address, !owned);
                mmio::read32(address) & !owned != 0
            });
            tap.equal(name, kept, None);
            let priorities = (u64::from(SPI) + 1..(lines + 1) * 32).find(|intid| {
                mmio::write8(base + distributor::IPRIORITYR + intid, 0xf0);
                mmio::read8(base + distributor::IPRIORITYR + intid) != 0
            });
            tap.equal(
                "priorities of interrupts not owned are RAZ/WI",
                priorities,
                None,
            );
            tap.check("none of that delivers anything", poll::stays_quiet());
        },
    );
}

fn version_2(tap: &mut Tap, environment: &Environment, base: u64, interface: u64) {
    let cpus = environment.machine.cpu_count();
    let all = u8::try_from((1u32 << cpus) - 1).unwrap_or(u8::MAX);
    let implementer = mmio::read32(interface + IIDR);
    tap.equal("GICC_IIDR names GICv2", implementer >> 16 & 0xf, 2);
    if cpus == 1 {
        return tap.skip("ITARGETSR", "one CPU: it may read as zero");
    }
    let targets = base + distributor::ITARGETSR;
    let own = 1u8 << cpu::affinity();
    let banked = (0..32).all(|intid| mmio::read8(targets + intid) == own);
    tap.check("ITARGETSR0-7 read as the reader's bit", banked);
    mmio::write32(targets, u32::MAX);
    tap.equal("and are read-only", mmio::read8(targets), own);
    let byte = targets + u64::from(SPI);
    mmio::write8(byte, 0xff);
    let kept = mmio::read8(byte);
    // QEMU keeps bits of CPUs that are not there.
    environment.only_bulkhead(
        tap,
        "an SPI's targets keep the CPUs there are",
        |tap, name| {
            tap.equal(name, kept, all);
        },
    );
    mmio::write8(byte, 0b10);
    tap.equal("one target reads back", mmio::read8(byte), 0b10);
    tap.equal("also by its word", mmio::read32(byte - 1) >> 8 & 0xff, 0b10);
    mmio::write8(byte, 0);
    environment.machine.gic.enable(SPI);
    mmio::write8(byte, 0);
    super::pend(&environment.machine.gic);
    tap.check(
        "an SPI without target is not delivered",
        poll::stays_quiet(),
    );
    mmio::write8(byte, own);
    // QEMU keeps what is pending by target, and so forgets what is pending without one.
    environment.only_bulkhead(tap, "until it has one", |tap, name| {
        tap.equal(name, poll::serve(&environment.machine.gic), Some(SPI));
    });
}

fn version_3(tap: &mut Tap, environment: &Environment, base: u64, redistributors: u64) {
    let cpus = environment.machine.cpu_count() as u64;
    let frames = (0..cpus).map(|index| mmio::read64(redistributors + index * 0x2_0000 + 8));
    let affinities = frames
        .clone()
        .zip(0..)
        .all(|(kind, index)| kind >> 32 == index);
    tap.check("GICR_TYPER has each CPU's affinity, in order", affinities);
    let last = frames
        .zip(0..)
        .all(|(kind, index)| (kind >> 4 & 1 == 1) == (index == cpus - 1));
    tap.check("GICR_TYPER.Last marks the last, and only it", last);
    let high = mmio::read32(redistributors + 12);
    tap.equal("GICR_TYPER by its upper word", u64::from(high), 0);
    let revision = mmio::read32(redistributors + PIDR2_V3) >> 4 & 0xf;
    tap.equal("GICR_PIDR2 names the architecture", revision, 3);
    let control = mmio::read32(base + distributor::CTLR);
    tap.equal("GICD_CTLR has affinity routing on", control >> 4 & 1, 1);
    tap.equal(
        "ICC_SRE_EL1.SRE is set",
        read_sysreg!("S3_0_C12_C12_5") & 1,
        1,
    );
    let bits = read_sysreg!("S3_0_C12_C12_4") >> 8 & 0b111;
    tap.check("ICC_CTLR_EL1 says at least 4 priority bits", bits >= 3);
    let group_0 = read_sysreg!("S3_0_C12_C8_0");
    tap.equal(
        "IAR0 with nothing pending is 1023",
        group_0,
        u64::from(SPURIOUS),
    );
    let router = base + distributor::IROUTER + u64::from(SPI) * 8;
    mmio::write64(router, cpus - 1);
    tap.equal("IROUTER reads back", mmio::read64(router), cpus - 1);
    tap.equal(
        "also by its lower word",
        u64::from(mmio::read32(router)),
        cpus - 1,
    );
    mmio::write64(router, 0);
    let zeros = (0..32).all(|word| mmio::read32(base + distributor::ITARGETSR + word * 4) == 0);
    tap.check("ITARGETSR is RAZ with affinity routing", zeros);
    let banked = (0..8).all(|word| mmio::read32(base + distributor::IPRIORITYR + word * 4) == 0);
    tap.check("the distributor's banked priorities are RAZ", banked);
}
