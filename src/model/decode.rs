//! Decodes A64 loads and stores of general registers, for data aborts that come without a syndrome.
//!
//! Hardware fills in ISS.ISV only for a single register without writeback (Arm ARM D24.2.45); a pair, a pre- or
//! post-indexed access to a device must be read from the instruction. What this module cannot describe completely,
//! or the architecture leaves CONSTRAINED UNPREDICTABLE, is [`None`]: it is never guessed (Arm ARM C4.1.94).

/// Register number 31: the zero register as data or index, the stack pointer as base.
pub const REGISTER_31: u8 = 31;

/// Which way the data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the device to the registers.
    Load,
    /// From the registers to the device.
    Store,
}

/// How a loaded value fills its register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extend {
    /// Zeros above the bytes read.
    Zero,
    /// The sign up to bit 31, zeros above (LDRSB and LDRSH to W).
    SignTo32,
    /// The sign up to bit 63 (LDRSB, LDRSH, LDRSW to X, LDPSW).
    SignTo64,
}

/// Where the address comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// Base register plus bytes; no writeback.
    Offset {
        /// Base register; 31 is SP.
        base: u8,
        /// Bytes added.
        bytes: i64,
    },
    /// Base register plus bytes, and the base becomes that address.
    PreIndex {
        /// Base register; 31 is SP.
        base: u8,
        /// Bytes added.
        bytes: i64,
    },
    /// Base register, which then grows by bytes.
    PostIndex {
        /// Base register; 31 is SP.
        base: u8,
        /// Bytes added afterwards.
        bytes: i64,
    },
    /// Base register plus an extended and shifted index register.
    Indexed {
        /// Base register; 31 is SP.
        base: u8,
        /// Index register; 31 is zero.
        index: u8,
        /// What becomes of the index before the shift.
        extension: Index,
        /// Bits to shift left, 0 to 3.
        shift: u8,
    },
    /// The instruction's own address plus bytes.
    Literal {
        /// Bytes added.
        bytes: i64,
    },
}

/// How an index register is read (Arm ARM C1.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Index {
    /// UXTW: the low word, zero-extended.
    Word,
    /// SXTW: the low word, sign-extended.
    SignedWord,
    /// LSL and SXTX: all 64 bits.
    Full,
}

/// A load or store of one or two general registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Which way the data goes.
    pub direction: Direction,
    /// The register at the effective address; 31 is the zero register.
    pub first: u8,
    /// The register `bytes` further up, for a pair; 31 is the zero register.
    pub second: Option<u8>,
    /// Bytes of each register: 1, 2, 4 or 8.
    pub bytes: u8,
    /// How a loaded value fills its register.
    pub extend: Extend,
    /// Where the address comes from.
    pub address: Address,
}

/// The registers an address is made of, as they were when the instruction was fetched.
#[derive(Clone, Copy, Debug)]
pub struct Registers<'a> {
    /// X0 to X30.
    pub general: &'a [u64; 31],
    /// The stack pointer the instruction used.
    pub stack_pointer: u64,
    /// The address of the instruction.
    pub program_counter: u64,
}

impl Registers<'_> {
    fn base(&self, register: u8) -> u64 {
        self.general
            .get(usize::from(register))
            .copied()
            .unwrap_or(self.stack_pointer)
    }

    fn index(&self, register: u8) -> u64 {
        self.general
            .get(usize::from(register))
            .copied()
            .unwrap_or(0)
    }
}

impl Access {
    /// Computes the effective address: that of the first register's bytes.
    ///
    /// Compare with FAR_EL2 without the tag byte; for a pair FAR may name either register's bytes.
    #[must_use]
    pub fn effective_address(&self, registers: &Registers<'_>) -> u64 {
        match self.address {
            Address::Offset { base, bytes } | Address::PreIndex { base, bytes } => {
                registers.base(base).wrapping_add_signed(bytes)
            }
            Address::PostIndex { base, .. } => registers.base(base),
            Address::Indexed {
                base,
                index,
                extension,
                shift,
            } => registers
                .base(base)
                .wrapping_add(extension.apply(registers.index(index)) << shift),
            Address::Literal { bytes } => registers.program_counter.wrapping_add_signed(bytes),
        }
    }

    /// Gives the base register (31 is SP) and its new value, if the instruction writes it back.
    #[must_use]
    pub fn writeback(&self, registers: &Registers<'_>) -> Option<(u8, u64)> {
        match self.address {
            Address::PreIndex { base, bytes } | Address::PostIndex { base, bytes } => {
                Some((base, registers.base(base).wrapping_add_signed(bytes)))
            }
            Address::Offset { .. } | Address::Indexed { .. } | Address::Literal { .. } => None,
        }
    }

    /// Gives the 64-bit register value for the bytes a load read, which stand in the low end of `raw`.
    #[must_use]
    pub fn loaded(&self, raw: u64) -> u64 {
        let unused = 64 - 8 * u32::from(self.bytes.clamp(1, 8));
        let zero_extended = raw << unused >> unused;
        let sign_extended = ((raw << unused).cast_signed() >> unused).cast_unsigned();
        match self.extend {
            Extend::Zero => zero_extended,
            Extend::SignTo32 => sign_extended & u64::from(u32::MAX),
            Extend::SignTo64 => sign_extended,
        }
    }

    /// Gives the bytes a store writes of the 64-bit register value `value`, in the low end.
    #[must_use]
    pub fn stored(&self, value: u64) -> u64 {
        let unused = 64 - 8 * u32::from(self.bytes.clamp(1, 8));
        value << unused >> unused
    }
}

impl Index {
    fn apply(self, value: u64) -> u64 {
        let word = value & u64::from(u32::MAX);
        match self {
            Self::Word => word,
            Self::SignedWord => sign_extend(word, 32).cast_unsigned(),
            Self::Full => value,
        }
    }
}

/// Decodes one A64 instruction.
///
/// Gives what a load or store of general registers does: single registers and pairs in every addressing mode, the
/// unprivileged and the load-acquire, store-release forms. Gives `None` for anything else: exclusives, atomics,
/// FP and SIMD, tags, pointer authentication, prefetches, cache maintenance, unallocated encodings, and those whose
/// effect is CONSTRAINED UNPREDICTABLE.
#[must_use]
pub fn decode(instruction: u32) -> Option<Access> {
    let word = Word(instruction);
    // Bits 28:25 of every load and store are x1x0 (C4.1), bit 26 alone says FP and SIMD.
    if word.bit(26) || word.bit(25) || !word.bit(27) {
        return None;
    }
    match word.bits(29, 27) {
        0b001 if !word.bit(28) => ordered(word),
        0b011 if !word.bit(24) => literal(word),
        0b011 => ordered_unscaled(word),
        0b101 => pair(word),
        0b111 => single(word),
        _ => None,
    }
}

/// An instruction, read by bit positions.
#[derive(Clone, Copy)]
struct Word(u32);

impl Word {
    fn bits(self, high: u32, low: u32) -> u32 {
        (self.0 >> low) & ((1 << (high - low + 1)) - 1)
    }

    fn bit(self, position: u32) -> bool {
        self.bits(position, position) == 1
    }

    fn signed(self, high: u32, low: u32) -> i64 {
        sign_extend(u64::from(self.bits(high, low)), high - low + 1)
    }

    fn register(self, low: u32) -> u8 {
        // Five bits always fit.
        u8::try_from(self.bits(low + 4, low)).unwrap_or(REGISTER_31)
    }

    /// Rt, bits 4:0.
    fn rt(self) -> u8 {
        self.register(0)
    }

    /// Rn, bits 9:5.
    fn rn(self) -> u8 {
        self.register(5)
    }

    /// Rt2, bits 14:10.
    fn rt2(self) -> u8 {
        self.register(10)
    }

    /// Rm or Rs, bits 20:16.
    fn rm(self) -> u8 {
        self.register(16)
    }

    /// The size field, bits 31:30: log2 of the bytes.
    fn scale(self) -> u8 {
        match self.bits(31, 30) {
            0 => 0,
            1 => 1,
            2 => 2,
            _ => 3,
        }
    }
}

/// Sign-extends the low `bits` bits of `value`.
fn sign_extend(value: u64, bits: u32) -> i64 {
    (value << (64 - bits)).cast_signed() >> (64 - bits)
}

fn simple(direction: Direction, word: Word, address: Address) -> Access {
    Access {
        direction,
        first: word.rt(),
        second: None,
        bytes: 1 << word.scale(),
        extend: Extend::Zero,
        address,
    }
}

/// LDAR, LDLAR, STLR, STLLR (C4.1.94, load/store ordered); their neighbours are exclusives and compare-and-swap.
fn ordered(word: Word) -> Option<Access> {
    let exclusive = !word.bit(23);
    let compare_and_swap = word.bit(21);
    let fixed_ones = word.rm() == REGISTER_31 && word.rt2() == REGISTER_31;
    if word.bit(24) || exclusive || compare_and_swap || !fixed_ones {
        return None;
    }
    let direction = if word.bit(22) {
        Direction::Load
    } else {
        Direction::Store
    };
    let address = Address::Offset {
        base: word.rn(),
        bytes: 0,
    };
    Some(simple(direction, word, address))
}

/// LDAPUR, LDAPURS*, STLUR (C4.1.94, LDAPR/STLR unscaled immediate).
fn ordered_unscaled(word: Word) -> Option<Access> {
    let unscaled = !word.bit(21) && word.bits(11, 10) == 0;
    if !unscaled {
        return None;
    }
    let address = Address::Offset {
        base: word.rn(),
        bytes: word.signed(20, 12),
    };
    by_opc(word, address)
}

/// LDR and LDRSW of a literal (C4.1.94, load register literal).
fn literal(word: Word) -> Option<Access> {
    let (bytes, extend) = match word.bits(31, 30) {
        0b00 => (4, Extend::Zero),
        0b01 => (8, Extend::Zero),
        0b10 => (4, Extend::SignTo64),
        _ => return None,
    };
    Some(Access {
        direction: Direction::Load,
        first: word.rt(),
        second: None,
        bytes,
        extend,
        address: Address::Literal {
            bytes: word.signed(23, 5) * 4,
        },
    })
}

/// LDP, STP, LDPSW, LDNP, STNP (C4.1.94, load/store pair).
fn pair(word: Word) -> Option<Access> {
    let load = word.bit(22);
    let no_allocate = word.bits(24, 23) == 0b00;
    let (bytes, extend) = match word.bits(31, 30) {
        0b00 => (4_u8, Extend::Zero),
        0b01 if load && !no_allocate => (4, Extend::SignTo64),
        0b10 => (8, Extend::Zero),
        _ => return None,
    };
    if load && word.rt() == word.rt2() {
        return None;
    }
    let base = word.rn();
    let offset = word.signed(21, 15) * i64::from(bytes);
    let address = match word.bits(24, 23) {
        0b01 => Address::PostIndex {
            base,
            bytes: offset,
        },
        0b11 => Address::PreIndex {
            base,
            bytes: offset,
        },
        _ => Address::Offset {
            base,
            bytes: offset,
        },
    };
    let access = Access {
        direction: if load {
            Direction::Load
        } else {
            Direction::Store
        },
        first: word.rt(),
        second: Some(word.rt2()),
        bytes,
        extend,
        address,
    };
    predictable(access)
}

/// Single registers with an immediate or a register offset, and LDAPR, which lives among the atomics.
fn single(word: Word) -> Option<Access> {
    let base = word.rn();
    if word.bit(24) {
        let bytes = i64::from(word.bits(21, 10)) << word.scale();
        return by_opc(word, Address::Offset { base, bytes });
    }
    if word.bit(21) {
        return match word.bits(11, 10) {
            0b10 => register_offset(word),
            0b00 => load_acquire_rcpc(word),
            _ => None,
        };
    }
    let bytes = word.signed(20, 12);
    let address = match word.bits(11, 10) {
        0b01 => Address::PostIndex { base, bytes },
        0b11 => Address::PreIndex { base, bytes },
        // Unscaled, and unprivileged: the rights were checked before the abort, the address is the same.
        _ => Address::Offset { base, bytes },
    };
    by_opc(word, address)
}

/// The register-offset form: option in 15:13, S in 12.
fn register_offset(word: Word) -> Option<Access> {
    let extension = match word.bits(15, 13) {
        0b010 => Index::Word,
        0b110 => Index::SignedWord,
        0b011 | 0b111 => Index::Full,
        _ => return None,
    };
    let address = Address::Indexed {
        base: word.rn(),
        index: word.rm(),
        extension,
        shift: if word.bit(12) { word.scale() } else { 0 },
    };
    by_opc(word, address)
}

/// LDAPR: A=1, R=0, Rs all ones, o3=1, opc=100 among the atomic memory operations.
fn load_acquire_rcpc(word: Word) -> Option<Access> {
    let matches = word.bits(23, 22) == 0b10 && word.rm() == 31 && word.bits(15, 12) == 0b1100;
    let address = Address::Offset {
        base: word.rn(),
        bytes: 0,
    };
    matches.then(|| simple(Direction::Load, word, address))
}

/// Direction and extension from opc (bits 23:22), the same in every single-register form.
fn by_opc(word: Word, address: Address) -> Option<Access> {
    let (direction, extend) = match (word.bits(23, 22), word.scale()) {
        (0b00, _) => (Direction::Store, Extend::Zero),
        (0b01, _) => (Direction::Load, Extend::Zero),
        (0b10, 0..=2) => (Direction::Load, Extend::SignTo64),
        (0b11, 0..=1) => (Direction::Load, Extend::SignTo32),
        // PRFM and the unallocated.
        _ => return None,
    };
    let access = Access {
        extend,
        ..simple(direction, word, address)
    };
    predictable(access)
}

/// Passes an access on unless it writes back a base that is also one of its data registers (C6.2, K1.2).
fn predictable(access: Access) -> Option<Access> {
    let base = match access.address {
        Address::PreIndex { base, .. } | Address::PostIndex { base, .. } => base,
        Address::Offset { .. } | Address::Indexed { .. } | Address::Literal { .. } => {
            return Some(access);
        }
    };
    let overlaps = base == access.first || Some(base) == access.second;
    (base == REGISTER_31 || !overlaps).then_some(access)
}

#[cfg(test)]
mod tests;
