//! Attacks out of states in which no system makes calls: levels, masks, endianness, debug, an MMU that is off, code whose
//! page leads elsewhere by the time EL2 looks.

use bulkhead_rt::read_sysreg;

use crate::attack::{Attacker, Program, function, push};
use crate::guard::{self, End, WORDS};
use crate::instruction::{self, CALLS, DSB, ISB};
use crate::random::Random;
use crate::{address, tables};

/// `ERET`.
const ERET: u32 = 0xd69f_03e0;
/// `MSR ELR_EL1, X6` and `MSR SPSR_EL1, X7`.
const RETURN_STATE: [u32; 2] = [0xd518_4026, 0xd518_4007];
/// `STR X5, [X6]`.
const STORE: u32 = 0xf900_00c5;
/// `NOP`.
const NOP: u32 = 0xd503_201f;
/// `SVC #0` in A64, A32 and twice in T32.
const SVC: [u32; 3] = [0xd400_0001, 0xef00_0000, 0xdf00_df00];
/// SPSR_EL1: EL1h, EL0t, AArch32 user.
const MODES: [u64; 3] = [0b0101, 0b0000, 0b1_0000];
/// SPSR_EL1.T, IL and SS.
const THUMB: u64 = 1 << 5;
const ILLEGAL: u64 = 1 << 20;
const STEP: u64 = 1 << 21;

/// Instructions that make the CPU's state an odd one, with the registers they take.
fn prologue(program: &mut Program, registers: &mut [u64; 29], random: &mut Random) {
    /// SCTLR_EL1: M, A, C, SA, SA0, I, E0E; EE without the MMU, whose walks it would turn round too.
    const CONTROL: [u64; 8] = [
        1,
        1 << 1,
        1 << 2,
        1 << 3,
        1 << 4,
        1 << 12,
        1 << 24,
        1 << 25 | 1,
    ];
    for _ in 0..random.below(3) {
        let words = match random.below(10) {
            // MSR SPSel, #0
            0 => [0xd500_40bf, NOP, NOP],
            // MSR DAIFSet or DAIFClr, of any
            1 => [
                0xd503_40df | random.bits(1) << 5 | random.bits(4) << 8,
                NOP,
                NOP,
            ],
            // MSR SCTLR_EL1, X8
            2 | 3 => {
                registers[8] = read_sysreg!("sctlr_el1") ^ random.pick(&CONTROL);
                [DSB, 0xd518_1008, ISB]
            }
            // MSR OSLAR_EL1, XZR; MSR MDSCR_EL1, X9
            4 => {
                registers[9] = random.next() & 0xf001;
                [0xd510_109f, 0xd510_0249, ISB]
            }
            // MSR DBGBVR0_EL1, X10; MSR DBGBCR0_EL1, X11
            5 => {
                registers[10] = guard::stray();
                [0xd510_008a, 0xd510_00ab, ISB]
            }
            // ADD SP, X12, #0
            6 => [0x9100_019f, NOP, NOP],
            // MSR CPACR_EL1, XZR
            7 => [0xd518_105f, ISB, NOP],
            // MSR TTBR1_EL1, X13; MSR CONTEXTIDR_EL1, X14
            8 => [0xd518_202d, 0xd518_d02e, ISB],
            // MSR PAN, #1: UNDEFINED on old CPUs
            _ => [0xd500_419f, NOP, NOP],
        };
        words.into_iter().for_each(|word| push(program, word));
    }
}

/// A call or an access out of an odd state at EL1.
pub fn states(attacker: &mut Attacker) -> End {
    let mut registers = attacker.registers();
    let random = &mut attacker.random;
    registers[0] = function(random);
    registers[1] = address::target(random);
    let mut program = ([0; WORDS - 1], 0);
    prologue(&mut program, &mut registers, random);
    for _ in 0..2 {
        let word = match random.below(4) {
            0 => instruction::access(random),
            1 => instruction::system(random),
            _ => random.pick(&CALLS) | random.pick(&[0, 0, 0, 1, 0xffff]) << 5,
        };
        push(&mut program, word);
    }
    attacker.run(&program, &registers)
}

/// A program at EL0, of 64 or 32 bits, or in an illegal state or single step: calls, accesses, anything.
pub fn programs(attacker: &mut Attacker) -> End {
    let mut registers = attacker.registers();
    let base = guard::code_of(attacker.cpu);
    let random = &mut attacker.random;
    let mode = random.pick(&MODES);
    let wide = mode != MODES[2];
    let mut program = ([0; WORDS - 1], 0);
    prologue(&mut program, &mut registers, random);
    for word in [RETURN_STATE[0], RETURN_STATE[1], ERET] {
        push(&mut program, word);
    }
    let level = if mode == MODES[0] {
        base
    } else {
        base - bulkhead_rt::abi::layout::RAM_BASE + address::EL0_RAM
    };
    registers[0] = function(random);
    registers[1] = address::target_el0(random);
    registers[6] = level + program.1 as u64 * 4;
    let thumb = !wide && random.one_in(2);
    let flags = [
        (thumb, THUMB),
        (random.one_in(8), ILLEGAL),
        (random.one_in(8), STEP),
    ];
    registers[7] = flags.iter().fold(
        mode,
        |state, (set, bit)| if *set { state | bit } else { state },
    );
    for _ in 0..4 {
        let word = match random.below(6) {
            0 if wide => random.pick(&CALLS),
            1 | 2 if wide => instruction::access(random),
            3 if wide => instruction::system(random),
            0 => a32(random, 0x0140_0070),
            // Loads and stores of one register, of several, of halves and pairs: always, base R1.
            1 => a32(random, 0x0401_0000),
            2 => a32(random, 0x0801_0000),
            3 => a32(random, 0x0001_0090),
            // Coprocessors 14 and 15.
            4 if !wide => a32(random, 0x0e00_0e10),
            _ => random.word(),
        };
        push(&mut program, word);
    }
    push(&mut program, SVC[usize::from(!wide) + usize::from(thumb)]);
    attacker.run(&program, &registers)
}

/// An A32 instruction that is always executed, of the kind whose fixed bits are `kind`, the rest at random.
fn a32(random: &mut Random, kind: u32) -> u32 {
    /// What says which kind it is.
    const KIND: u32 = 0x0e0f_0090;
    0xe000_0000 | kind | random.word() & 0x01ff_ffff & !KIND
}

/// An access to a device by code whose page, by its table, is somewhere else by then: the CPU still has the old
/// translation, EL2 looks it up anew.
pub fn decoder(attacker: &mut Attacker) -> End {
    let mut registers = attacker.registers();
    let mut program = ([0; WORDS - 1], 0);
    for word in [NOP, STORE, DSB] {
        push(&mut program, word);
    }
    for _ in 0..3 {
        let word = instruction::access(&mut attacker.random);
        push(&mut program, word);
    }
    let place = guard::put(attacker.cpu, &program.0[..program.1]);
    let trap = tables::trap(attacker.cpu, place, &mut attacker.random);
    registers[1] = address::target(&mut attacker.random);
    (registers[5], registers[6]) = (trap.value, trap.entry);
    guard::run_at(attacker.cpu, trap.code, &registers)
}
