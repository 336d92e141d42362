//! One instruction made at run time: for registers that have no name yet.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bulkhead_rt::mmu;

/// `RET`.
const RET: u32 = 0xd65f_03c0;
/// `MRS X0, S2_0_C0_C0_0` without its register fields (Arm ARM C6.2.229).
const MRS: u32 = 0xd530_0000;
/// `MSR S2_0_C0_C0_0, X0`.
const MSR: u32 = 0xd510_0000;

#[repr(C, align(64))]
struct Code([AtomicU32; 2]);

static CODE: Code = Code([const { AtomicU32::new(RET) }; 2]);

/// A system register's encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// op0, 2 or 3.
    pub op0: u32,
    /// op1.
    pub op1: u32,
    /// CRn.
    pub crn: u32,
    /// CRm.
    pub crm: u32,
    /// op2.
    pub op2: u32,
}

impl Register {
    /// Names a register in the order of `S<op0>_<op1>_C<CRn>_C<CRm>_<op2>`.
    pub const fn new(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> Self {
        Self {
            op0,
            op1,
            crn,
            crm,
            op2,
        }
    }

    fn fields(self) -> u32 {
        (self.op0 & 1) << 19 | self.op1 << 16 | self.crn << 12 | self.crm << 8 | self.op2 << 5
    }

    /// Reads the register; an exception is the caller's to catch.
    pub fn read(self) -> u64 {
        run(MRS | self.fields(), 0)
    }

    /// Writes the register; an exception is the caller's to catch.
    pub fn write(self, value: u64) {
        run(MSR | self.fields(), value);
    }
}

fn run(instruction: u32, value: u64) -> u64 {
    CODE.0[0].store(instruction, Relaxed);
    let address = (&raw const CODE).cast::<u8>();
    mmu::synchronize_instructions(address, size_of::<Code>());
    let mut x0 = value;
    // SAFETY: one MRS or MSR and a return; the registers asked for change nothing Rust relies on.
    unsafe { asm!("blr {0}", in(reg) address, inout("x0") x0, out("x30") _) };
    x0
}
