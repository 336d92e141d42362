//! The attacks. Each makes a few instructions and registers, runs them, and comes back whatever happened.

use bulkhead_rt::abi::layout;
use bulkhead_rt::abi::{bulkhead, psci};
use bulkhead_rt::{machine, mmio, mmu, timer};

use crate::guard::{self, End, WORDS};
use crate::instruction::{self, CALLS, DSB, ISB, SET_TABLE, TLBI, UNMASK};
use crate::random::Random;
use crate::{address, odd, storm, tables};

/// An attacker: one CPU.
pub struct Attacker {
    /// The CPU's number.
    pub cpu: usize,
    /// How many CPUs attack.
    pub cpus: usize,
    /// The next encoding to try.
    pub encoding: u32,
    /// Where its choices come from.
    pub random: Random,
}

/// Instructions before the return, and how many.
pub type Program = ([u32; WORDS - 1], usize);

/// An attack: its name, for the boot argument `attacks=`, and one go at it.
pub type Attack = (&'static str, fn(&mut Attacker) -> End);

/// All of them.
pub const ATTACKS: &[Attack] = &[
    ("calls", calls),
    ("mmio", accesses),
    ("sysregs", system_registers),
    ("words", words),
    ("gic", controller),
    ("tables", translation),
    ("psci", power),
    ("toctou", changing_code),
    ("timers", timers),
    ("console", console),
    ("doorbells", doorbells),
    ("maintenance", maintenance),
    ("states", odd::states),
    ("programs", odd::programs),
    ("sweep", storm::sweep),
    ("decoder", odd::decoder),
    ("set-way", storm::set_way),
    ("floods", storm::floods),
    ("suspend", storm::suspend),
];

impl Attacker {
    /// Values for x0-x28.
    pub fn registers(&mut self) -> [u64; 29] {
        core::array::from_fn(|_| self.random.argument())
    }

    /// Runs `program`.
    pub fn run(&mut self, program: &Program, registers: &[u64; 29]) -> End {
        guard::run(self.cpu, &program.0[..program.1.min(WORDS - 1)], registers)
    }

    /// A program of `count` instructions by `make`, with interrupts taken in half of the cases.
    pub fn program(&mut self, count: usize, mut make: impl FnMut(&mut Random) -> u32) -> Program {
        let mut program = ([0; WORDS - 1], 0);
        if self.random.one_in(2) {
            push(&mut program, UNMASK);
        }
        for _ in 0..count {
            let word = make(&mut self.random);
            push(&mut program, word);
        }
        program
    }
}

/// Adds `word` to `program`, if there is room.
pub fn push(program: &mut Program, word: u32) {
    if let Some(place) = program.0.get_mut(program.1) {
        *place = word;
        program.1 += 1;
    }
}

/// Function numbers near those that exist, of all owners and widths, or any.
pub fn function(random: &mut Random) -> u64 {
    const BASES: [u32; 10] = [
        0x8000_0000,
        0x8400_0000,
        0xc400_0000,
        0xc600_0000,
        0x8600_ff00,
        0xc500_0020,
        0x8400_0050,
        0xc600_0010,
        0xc600_0030,
        0,
    ];
    let near = random.pick(&BASES).wrapping_add(random.bits(6));
    // Fast or yielding, 32 or 64 bits, any owner (DEN0028 2.5).
    let owned =
        random.bits(2) << 30 | random.bits(6) << 24 | random.pick(&[0, 0xff00]) | random.bits(5);
    let any = random.word();
    let number = random.pick(&[near, near, owned, any]);
    let ends = matches!(
        number & !(1 << 30),
        psci::SYSTEM_OFF
            | psci::SYSTEM_RESET
            | psci::SYSTEM_RESET2_32
            | psci::SYSTEM_SUSPEND_32
            | psci::CPU_OFF
            | psci::CPU_SUSPEND_32
    );
    // An attacker that switches itself off attacks no more; seldom it restarts.
    if ends && (number == psci::SYSTEM_OFF || !random.one_in(256)) {
        return u64::from(psci::VERSION);
    }
    u64::from(number)
        | if random.one_in(4) {
            random.next() << 32
        } else {
            0
        }
}

/// Calls of every owner and width, by HVC and SMC, now and then with another immediate.
fn calls(attacker: &mut Attacker) -> End {
    let mut registers = attacker.registers();
    registers[0] = function(&mut attacker.random);
    let program = attacker.program(1, |random| {
        let immediate = if random.one_in(16) {
            random.bits(16)
        } else {
            0
        };
        random.pick(&CALLS) | immediate << 5
    });
    attacker.run(&program, &registers)
}

fn accesses(attacker: &mut Attacker) -> End {
    let mut registers = attacker.registers();
    registers[1] = address::target(&mut attacker.random);
    let program = attacker.program(2, instruction::access);
    attacker.run(&program, &registers)
}

fn system_registers(attacker: &mut Attacker) -> End {
    let registers = attacker.registers();
    let program = attacker.program(2, instruction::system);
    attacker.run(&program, &registers)
}

fn words(attacker: &mut Attacker) -> End {
    let registers = attacker.registers();
    let program = attacker.program(6, instruction::anything);
    attacker.run(&program, &registers)
}

/// Programs the interrupt controller while interrupts fly.
fn controller(attacker: &mut Attacker) -> End {
    /// `MSR ICC_SGI1R_EL1, X2`, `MRS X3, ICC_IAR1_EL1`, `MSR ICC_EOIR1_EL1, X4`, `MSR ICC_DIR_EL1, X4`,
    /// `MSR ICC_PMR_EL1, X5`.
    const INTERFACE: [u32; 5] = [
        0xd518_cba2,
        0xd538_cc03,
        0xd518_cc24,
        0xd518_cb24,
        0xd518_4605,
    ];
    let mut registers = attacker.registers();
    registers[1] = address::controller(&mut attacker.random) & !3;
    registers[2] = attacker.random.below(16) << 24 | attacker.random.below(16);
    registers[4] = attacker.random.below(40);
    let program = attacker.program(16, |random| match random.below(4) {
        0 if random.one_in(4) => {
            // MRS or MSR of S3_0_C12_C8_0 to S3_0_C12_C15_7 from X2-X5.
            let fields = 0x18_c800 | random.bits(6) << 5;
            let read = random.bits(1) | u32::from(instruction::breaks_qemu(fields));
            (0xd500_0000 | fields | read << 21) + 2 + random.bits(2)
        }
        0 => random.pick(&INTERFACE),
        // STR or LDR of W2-W5, anywhere in the page.
        _ => 0xb900_0020 | random.bits(1) << 22 | random.bits(10) << 10 | (2 + random.bits(2)),
    });
    attacker.run(&program, &registers)
}

/// Walks tables made at random, and has EL2 walk them too.
fn translation(attacker: &mut Attacker) -> End {
    let (root, target) = tables::make(attacker);
    let mut registers = attacker.registers();
    registers[1] = target;
    registers[5] = root;
    let mut program = ([0; WORDS - 1], 0);
    for word in [SET_TABLE, ISB, TLBI, DSB, ISB] {
        push(&mut program, word);
    }
    for _ in 0..3 {
        let word = instruction::access(&mut attacker.random);
        push(&mut program, word);
    }
    attacker.run(&program, &registers)
}

/// Power calls at other CPUs, with entry points good and bad.
fn power(attacker: &mut Attacker) -> End {
    let random = &mut attacker.random;
    let mut registers = [0; 29];
    let others = random.below(attacker.cpus as u64 + 2);
    let entry = match random.below(16) {
        0 => random.argument(),
        1 => 0x4000_0000 + random.below(1 << 23),
        2..5 => address::any(random),
        _ => guard::stray(),
    };
    registers[0] = u64::from(random.pick(&[
        psci::CPU_ON_64,
        psci::CPU_ON_64,
        psci::CPU_ON_32,
        psci::AFFINITY_INFO_64,
        psci::FEATURES,
        psci::MIGRATE_INFO_TYPE,
    ]));
    // The first CPU sees to the others; the rest may switch themselves off, and come back.
    if attacker.cpu > 0 && random.one_in(8) {
        registers[0] = u64::from(psci::CPU_OFF);
    }
    (registers[1], registers[2], registers[3]) = (others, entry, random.next());
    let program = attacker.program(1, |random| random.pick(&CALLS));
    attacker.run(&program, &registers)
}

/// One CPU changes the code that another's access to a device exits with.
fn changing_code(attacker: &mut Attacker) -> End {
    let shared = guard::code_of(bulkhead_rt::cpu::MAX_CPUS - 1);
    let mut registers = attacker.registers();
    registers[1] = address::target(&mut attacker.random);
    if attacker.cpu % 2 == 1 {
        for _ in 0..200 {
            let place = shared + attacker.random.below(WORDS as u64 - 1) * 4;
            mmio::write32(place, instruction::access(&mut attacker.random));
        }
        return End::Returned;
    }
    mmio::write32(shared + (WORDS as u64 - 1) * 4, 0xd65f_03c0);
    guard::run_at(attacker.cpu, shared, &registers)
}

/// Sets the timers to extremes, with their interrupts on.
fn timers(attacker: &mut Attacker) -> End {
    /// `MSR` of CNTV_CVAL, CNTV_TVAL, CNTV_CTL, CNTP_CVAL, CNTP_TVAL, CNTP_CTL, CNTKCTL from X2 on.
    const REGISTERS: [u32; 7] = [
        0xd51b_e340,
        0xd51b_e300,
        0xd51b_e320,
        0xd51b_e240,
        0xd51b_e200,
        0xd51b_e220,
        0xd518_e100,
    ];
    let mut registers = attacker.registers();
    registers[2] = attacker
        .random
        .pick(&[0, u64::MAX, 1 << 63, (1 << 63) - 1, timer::now(), 1, 7]);
    registers[3] = timer::now().wrapping_add(attacker.random.below(1000));
    registers[4] = attacker.random.below(8);
    let program = attacker.program(4, |random| random.pick(&REGISTERS) | (2 + random.bits(2)));
    attacker.run(&program, &registers)
}

/// Writes anything to the console, by call and by register.
fn console(attacker: &mut Attacker) -> End {
    let mut registers = attacker.registers();
    if attacker.random.one_in(2) {
        registers[0] = u64::from(bulkhead::CONSOLE_WRITE);
        registers[1] = attacker.random.below(50);
        let program = attacker.program(1, |random| random.pick(&CALLS));
        return attacker.run(&program, &registers);
    }
    registers[1] = layout::UART_BASE + attacker.random.below(20) * 4;
    // STRB, STRH, STR of W2.
    let program = attacker.program(4, |random| {
        random.pick(&[0x3900_0022, 0x7900_0022, 0xb900_0022, 0xb940_0022])
    });
    attacker.run(&program, &registers)
}

fn doorbells(attacker: &mut Attacker) -> End {
    let mut registers = attacker.registers();
    registers[0] = u64::from(bulkhead::CHANNEL_NOTIFY);
    registers[1] = attacker.random.below(3);
    let program = attacker.program(1, |random| random.pick(&CALLS));
    attacker.run(&program, &registers)
}

/// Cache, TLB and address translation instructions, by set and way too.
fn maintenance(attacker: &mut Attacker) -> End {
    let registers = attacker.registers();
    let program = attacker.program(6, |random| {
        0xd508_0000
            | random.bits(3) << 16
            | (7 + random.bits(1)) << 12
            | random.bits(4) << 8
            | random.bits(3) << 5
            | (1 + random.bits(2))
    });
    attacker.run(&program, &registers)
}

/// Ends the interrupts that are active, so that the next attack's come.
pub fn drain() {
    let gic = &machine().gic;
    for _ in 0..8 {
        match gic.acknowledge() {
            Some(interrupt) => gic.end(interrupt),
            None => break,
        }
    }
}

/// Maps all that this program does not use as it is, as a device, so that any address can be tried; and the devices and RAM
/// once more with other rights (`address`).
pub fn open_everything() {
    use mmu::descriptor::{DEVICE_BLOCK, EL0, RAM_BLOCK, UXN};
    let root = mmu::root();
    for index in 2..mmu::ENTRIES {
        root.set(index, (index as u64 * mmu::ROOT_BLOCK) | DEVICE_BLOCK);
    }
    let more = [
        (address::EL0_DEVICES, DEVICE_BLOCK | EL0),
        (
            address::EL0_RAM,
            layout::RAM_BASE | (RAM_BLOCK | EL0) & !UXN,
        ),
        (address::NORMAL_ALIAS, RAM_BLOCK),
    ];
    for (at, descriptor) in more {
        let index = usize::try_from(at / mmu::ROOT_BLOCK).unwrap_or(mmu::ENTRIES - 1);
        root.set(index, descriptor);
    }
    mmu::synchronize();
}
