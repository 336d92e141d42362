//! Instructions made at random, class by class (Arm ARM C4.1).

use crate::random::Random;

/// Register that holds the address under attack.
pub const BASE: u32 = 1;
/// Where loads go and stores come from.
const DATA: [u32; 6] = [2, 3, 4, 5, 31, 1];

/// `ISB`.
pub const ISB: u32 = 0xd503_3fdf;
/// `DSB SY`.
pub const DSB: u32 = 0xd503_3f9f;
/// `MSR DAIFCLR, #2`: interrupts come.
pub const UNMASK: u32 = 0xd503_42ff;
/// `TLBI VMALLE1`.
pub const TLBI: u32 = 0xd508_871f;
/// `MSR TTBR0_EL1, X5`.
pub const SET_TABLE: u32 = 0xd518_2005;
/// `HVC #0`, `SMC #0`; the immediate stands in bits 20:5.
pub const CALLS: [u32; 2] = [0xd400_0002, 0xd400_0003];

/// A load, a store, or what behaves like one, at the address in x1.
pub fn access(random: &mut Random) -> u32 {
    let (data, second) = (random.pick(&DATA), random.pick(&DATA));
    let base = if random.one_in(64) { 31 } else { BASE };
    let size = random.bits(2) << 30;
    let vector = u32::from(random.one_in(8)) << 26;
    let operation = random.bits(2) << 22;
    let registers = base << 5 | data;
    match random.below(10) {
        // Unsigned offset; an offset now and then.
        0 | 1 => {
            let offset = if random.one_in(4) { random.bits(3) } else { 0 };
            size | 0b111 << 27 | vector | 0b01 << 24 | operation | offset << 10 | registers
        }
        // Unscaled, post-index, unprivileged, pre-index.
        2 | 3 => {
            let offset = (random.bits(4).wrapping_sub(8)) & 0x1ff;
            let kind = random.bits(2) << 10;
            size | 0b111 << 27 | vector | operation | offset << 12 | kind | registers
        }
        // Pairs, all addressing modes.
        4 | 5 => {
            let kind = random.bits(2) << 23;
            let load = random.bits(1) << 22;
            let offset = (random.bits(3).wrapping_sub(4)) & 0x7f;
            size | 0b101 << 27 | vector | kind | load | offset << 15 | second << 10 | registers
        }
        // Exclusives, acquire and release, compare and swap.
        6 => {
            let shape = random.bits(3) << 21;
            size | 0b00_1000 << 24
                | shape
                | random.bits(5) << 16
                | random.bits(1) << 15
                | second << 10
                | registers
        }
        // Atomics, register offsets.
        7 => {
            let low = random.bits(6) << 10;
            size | 0b111 << 27 | operation | 1 << 21 | random.bits(5) << 16 | low | registers
        }
        // Anything of the class "Loads and Stores": vectors of several registers, tags, copies, what is not allocated.
        8 => random.word() & !(1 << 25 | 0x1f << 5) | 1 << 27 | base << 5,
        // Cache and translation maintenance by address.
        _ => {
            0xd508_0000
                | random.bits(3) << 16
                | 7 << 12
                | random.bits(4) << 8
                | random.bits(3) << 5
                | BASE
        }
    }
}

/// A read or write of a system register, or a system instruction, of any encoding. What this program cannot come back
/// from (its vectors, its stack, its translation) is seldom written.
pub fn system(random: &mut Random) -> u32 {
    loop {
        let read = random.bits(1) << 21;
        let fields = random.bits(2) << 19
            | random.bits(3) << 16
            | random.bits(4) << 12
            | random.bits(4) << 8
            | random.bits(3) << 5;
        let word = 0xd500_0000 | read | fields | 2;
        let harmful = is_needed(fields) && !random.one_in(16) || breaks_qemu(fields);
        if read != 0 || !harmful {
            return word;
        }
    }
}

/// Whether the system instruction or register is needed by this program itself: SCTLR_EL1, TTBR0_EL1, TCR_EL1, MAIR_EL1,
/// VBAR_EL1. `fields` are the encoding's bits 20:5.
const fn is_needed(fields: u32) -> bool {
    matches!(
        fields & 0x1f_ffe0,
        0x18_1000 | 0x18_2000 | 0x18_2040 | 0x18_a200 | 0x18_c000
    )
}

/// ICC_BPR1_EL1. QEMU 10 keeps the low three bits of a number above 7 for it, and fails an assertion of its own at zero
/// (`icv_gprio_mask`): whoever wrote that would test QEMU and nothing else.
pub const fn breaks_qemu(fields: u32) -> bool {
    fields & 0x1f_ffe0 == 0x18_cc60
}

/// Encodings of system instructions and registers, read and written.
pub const ENCODINGS: u32 = 1 << 17;

/// Number `number` of them, with x2-x5 as its register. What this program needs is read and not written.
pub fn encoding(number: u32) -> u32 {
    let fields = (number & 0xffff) << 5;
    let read = if is_needed(fields) || breaks_qemu(fields) {
        1
    } else {
        number >> 16 & 1
    };
    0xd500_0000 | read << 21 | fields | (2 + number % 4)
}

/// Any 32 bits.
pub fn anything(random: &mut Random) -> u32 {
    random.word()
}
