//! Attacks by number: every encoding, every set and way, calls and accesses many times over.

use bulkhead_rt::abi::{bulkhead, layout, psci};
use bulkhead_rt::timer;

use crate::attack::{Attacker, push};
use crate::guard::{self, End, WORDS};
use crate::instruction::{self, CALLS, DSB, ISB, UNMASK};

/// Times a flood repeats what it does, and the console's, whose bytes somebody has to keep.
const TIMES: u64 = 200;
const CONSOLE_TIMES: u64 = 4;
/// Bytes of a page.
const PAGE: u64 = 4096;

/// Every encoding of system registers and instructions, read and written, one after another; those that are UNDEFINED are
/// skipped.
pub fn sweep(attacker: &mut Attacker) -> End {
    let mut registers = attacker.registers();
    registers[6] = guard::skipping_vectors();
    // MSR VBAR_EL1, X6
    let mut program = ([0; WORDS - 1], 0);
    for word in [0xd518_c006, ISB] {
        push(&mut program, word);
    }
    while program.1 < WORDS - 1 {
        let word = instruction::encoding(attacker.encoding);
        attacker.encoding = (attacker.encoding + 1) % instruction::ENCODINGS;
        push(&mut program, word);
    }
    attacker.run(&program, &registers)
}

/// Sets, ways and levels that are there and are not, by each of the three instructions.
pub fn set_way(attacker: &mut Attacker) -> End {
    /// `DC ISW, X2`; CSW and CISW have CRm 10 and 14.
    const ISW: u32 = 0xd508_7642;
    /// `MSR CSSELR_EL1, X4`, `MRS X5, CCSIDR_EL1`.
    const SIZE: [u32; 2] = [0xd51a_0004, 0xd539_0005];
    let mut registers = attacker.registers();
    registers[2] = attacker.random.next() & 0xf000_ffce;
    let program = attacker.program(8, |random| match random.below(4) {
        0 => random.pick(&SIZE),
        _ => ISW | random.below(3).try_into().map_or(0, |n: u32| n << 10) | random.bits(1),
    });
    attacker.run(&program, &registers)
}

/// The same call or access many times over, as fast as the CPU can, with interrupts on.
pub fn floods(attacker: &mut Attacker) -> End {
    /// `STR W2, [X1]`, `MSR ICC_SGI1R_EL1, X2`.
    const STORES: [u32; 2] = [0xb900_0022, 0xd518_cba2];
    let random = &mut attacker.random;
    let call = random.pick(&CALLS);
    // GICD_SGIR and ICC_SGI1R_EL1: SGI 3 to everybody.
    let to_all = if random.one_in(2) {
        0x00ff_0003
    } else {
        0x0300_000f
    };
    let [notify, write, info] = [
        bulkhead::CHANNEL_NOTIFY,
        bulkhead::CONSOLE_WRITE,
        bulkhead::PARTITION_INFO,
    ]
    .map(u64::from);
    let (word, [x0, x1, x2], times) = match random.below(8) {
        0 => (call, [notify, random.below(2), 0], TIMES),
        1 => (STORES[0], [0, layout::CHANNEL_BASE + PAGE, 1], TIMES),
        2 => (call, [write, 48, random.next()], CONSOLE_TIMES),
        3 => (STORES[0], [0, layout::UART_BASE, 0x23], CONSOLE_TIMES),
        4 => (STORES[0], [0, layout::GICD_BASE + 0xf00, to_all], TIMES),
        5 => (STORES[1], [0, 0, to_all], TIMES),
        6 => (
            call,
            [u64::from(psci::CPU_ON_64), random.below(8), guard::stray()],
            TIMES,
        ),
        _ => (call, [info, 0, 0], TIMES),
    };
    let mut registers = attacker.registers();
    (registers[20], registers[21], registers[22], registers[23]) = (times, x0, x1, x2);
    // MOV X0, X21; MOV X1, X22; MOV X2, X23; the instruction; SUB X20, X20, #1; CBNZ X20, to the first MOV.
    let repeated = [
        0xaa15_03e0,
        0xaa16_03e1,
        0xaa17_03e2,
        word,
        0xd100_0694,
        0xb5ff_ff74,
    ];
    let mut program = ([0; WORDS - 1], 0);
    push(&mut program, UNMASK);
    repeated
        .into_iter()
        .for_each(|word| push(&mut program, word));
    attacker.run(&program, &registers)
}

/// Suspends this CPU in every way there is, with a timer near, past, or far; the first CPU, which revives the others, seldom
/// so that it starts anew.
pub fn suspend(attacker: &mut Attacker) -> End {
    /// A power state of type power-down (DEN0022 5.4.2).
    const POWER_DOWN: u64 = 1 << 16;
    let random = &mut attacker.random;
    let mut registers = [0; 29];
    let deep = attacker.cpu > 0 || random.one_in(64);
    let state = random.pick(&[0, 0, 1, POWER_DOWN, POWER_DOWN | 1, 1 << 30, u64::MAX]);
    let function = random.pick(&[
        psci::CPU_SUSPEND_32,
        psci::CPU_SUSPEND_32 | 1 << 30,
        psci::SYSTEM_SUSPEND_32,
        psci::SYSTEM_SUSPEND_32 | 1 << 30,
    ]);
    let suspends_cpu = function & !(1 << 30) == psci::CPU_SUSPEND_32;
    registers[0] = u64::from(function);
    let entry = if random.one_in(8) {
        random.argument()
    } else {
        guard::stray()
    };
    (registers[1], registers[2], registers[3]) = if suspends_cpu {
        (if deep { state } else { state & !POWER_DOWN }, entry, 0)
    } else {
        (entry, 0, 0)
    };
    if !suspends_cpu && !deep {
        registers[0] = u64::from(psci::VERSION);
    }
    timer::set_virtual_deadline(timer::now() + random.below(timer::ticks(200)));
    timer::set_virtual_control(timer::ENABLE | random.below(16) / 15 * 2);
    let mut program = ([0; WORDS - 1], 0);
    push(&mut program, DSB);
    push(&mut program, random.pick(&CALLS));
    attacker.run(&program, &registers)
}
