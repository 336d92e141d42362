//! A storm of bad calls, register and device accesses, the same every time; the guest comes back.

use bulkhead_rt::abi::layout::TIMER_VIRTUAL_INTID;
use bulkhead_rt::abi::{bulkhead, psci};
use bulkhead_rt::gic::Gic;
use bulkhead_rt::{mmio, timer};

use crate::code::Register;
use crate::environment::Environment;
use crate::exchange::{Exchange, Instruction};
use crate::poll;
use crate::tap::Tap;
use crate::trap;

/// A linear congruential generator (Knuth's MMIX constants), upper bits used.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16 ^ self.0 << 40
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 8) % limit
    }

    fn word(&mut self) -> u32 {
        u32::try_from(self.next() & 0xffff_ffff).unwrap_or(0)
    }
}

/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    let mut random = Random(0x1234_5678_9abc_def0);
    calls(tap, environment, &mut random);
    registers(tap, &mut random);
    controller(tap, environment, &mut random);
    nowhere(tap, &mut random);
    alive(tap, environment);
}

/// Functions that would end the test by doing what they are for.
fn ends_the_test(function: u32) -> bool {
    matches!(
        function & !(1 << 30),
        psci::CPU_SUSPEND_32
            | psci::CPU_OFF
            | psci::CPU_ON_32
            | psci::SYSTEM_OFF
            | psci::SYSTEM_RESET
            | psci::SYSTEM_SUSPEND_32
            | psci::SYSTEM_RESET2_32
    ) || matches!(
        function,
        bulkhead::HEARTBEAT | bulkhead::PARTITION_CONTROL | bulkhead::CONSOLE_WRITE
    )
}

fn calls(tap: &mut Tap, environment: &Environment, random: &mut Random) {
    const BASES: [u32; 8] = [
        0x8000_0000,
        0x8400_0000,
        0xc400_0000,
        0xc600_0000,
        0x8600_ff00,
        0xc500_0020,
        0x8400_0050,
        0,
    ];
    let conduits = environment.conduits();
    let mut broken = None;
    for round in 0..20_000u32 {
        let base = BASES[usize::try_from(random.below(8)).unwrap_or(0)];
        let function = match random.below(3) {
            0 => random.word(),
            _ => base.wrapping_add(u32::try_from(random.below(0x60)).unwrap_or(0)),
        };
        if ends_the_test(function) {
            continue;
        }
        let arguments = [0; 7].map(|_: u64| match random.below(4) {
            0 => random.next(),
            1 => random.below(8),
            2 => u64::MAX - random.below(8),
            _ => 0x4000_0000 + random.below(1 << 28),
        });
        let conduit = conduits[round as usize % conduits.len()];
        let result = Exchange::make(Instruction::from(conduit), u64::from(function), &arguments);
        // TRNG and our own calls define results up to x3; none touches x4.
        if !result.preserved() {
            broken = broken.or(Some(function));
        }
    }
    tap.equal("20,000 random calls leave x4-x30", broken, None);
}

/// Writes zero to encodings that cannot be read: those are write-only or nothing.
fn registers(tap: &mut Tap, random: &mut Random) {
    let mut odd = 0;
    for _ in 0..5_000 {
        let register = Register::new(
            3,
            u32::try_from(random.below(8)).unwrap_or(0),
            u32::try_from(random.below(16)).unwrap_or(0),
            u32::try_from(random.below(16)).unwrap_or(0),
            u32::try_from(random.below(8)).unwrap_or(0),
        );
        // ICC_IARn acknowledges, and the unreadable ICC_DIR, EOIR and SGI registers act.
        if register.crn == 12 {
            continue;
        }
        let (_, fault) = trap::catch(|| register.read());
        if fault.is_some() {
            let (_, fault) = trap::catch(|| register.write(0));
            odd += u32::from(fault.is_some_and(|fault| fault.count != 1));
        }
    }
    tap.equal(
        "5,000 random system registers return or are UNDEFINED",
        odd,
        0,
    );
}

fn controller(tap: &mut Tap, environment: &Environment, random: &mut Random) {
    let gic = &environment.machine.gic;
    let size = match gic {
        Gic::V2 { .. } => 0x1000,
        Gic::V3 { .. } => 0x1_0000,
    };
    let (_, _) = trap::catch(|| {
        for _ in 0..20_000 {
            let frame = if random.below(2) == 0 {
                gic.frame(0)
            } else {
                gic.distributor()
            };
            let address = frame + random.below(size);
            let value = random.next();
            match random.below(8) {
                0 => mmio::write8(address, value.to_le_bytes()[0]),
                1 => mmio::write16(
                    address & !1,
                    u16::from_le_bytes([value.to_le_bytes()[0], 0x5a]),
                ),
                2 => mmio::write64(address & !7, value),
                3..6 => mmio::write32(address & !3, random.word()),
                _ => {
                    mmio::read32(address & !3);
                }
            }
        }
    });
    gic.init();
    poll::reset(gic);
    tap.check(
        "20,000 random accesses to the interrupt controller return",
        true,
    );
}

fn nowhere(tap: &mut Tap, random: &mut Random) {
    let count = 5_000;
    let (_, fault) = trap::catch(|| {
        for _ in 0..count {
            let address = 0x0f80_0000 + (random.below(0x8_0000) & !7);
            match random.below(2) {
                0 => mmio::write64(address, random.next()),
                _ => {
                    mmio::read64(address);
                }
            }
        }
    });
    let taken = fault.map_or(0, |fault| fault.count);
    tap.equal("5,000 random accesses to nowhere abort, each", taken, count);
}

fn alive(tap: &mut Tap, environment: &Environment) {
    let gic = &environment.machine.gic;
    gic.enable(TIMER_VIRTUAL_INTID);
    timer::set_virtual_deadline(timer::now() + timer::ticks(1_000));
    timer::set_virtual_control(timer::ENABLE);
    let interrupt = poll::take(gic);
    timer::set_virtual_control(0);
    interrupt.inspect(|one| gic.end(*one));
    let intid = interrupt.map(|one| one.intid());
    tap.equal("afterwards the timer still fires", intid, Some(27));
    poll::reset(gic);
}
