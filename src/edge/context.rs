//! A guest's registers while it runs on a core, the core's stacks, and the call into the guest.

use crate::arm::registers::Registers;
use crate::program::short::Guest;
use bulkhead_abi::{psci, smccc};
use core::arch::global_asm;
use core::mem::offset_of;

/// What the assembly keeps of the guest between exits, and what the short path works with.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct Context {
    /// The guest's registers.
    pub registers: Registers,
    /// SP of the core's loop while the guest runs.
    host_stack: u64,
    /// What the short path acknowledged and left to the loop: [`ACKNOWLEDGED`] and the value of IAR, or zero.
    pub acknowledged: u64,
    /// Calls that vectors.S answered; the short path counts them and sets it back.
    pub version_calls: u64,
    /// What the short path needs to know of the core and its vCPU; none before a partition runs here.
    pub guest: Option<Guest>,
}

/// Set in [`Context::acknowledged`] when there is an interrupt. (Zero means none, so that the stacks stay in .bss.)
pub const ACKNOWLEDGED: u64 = 1 << 32;

/// Why [`enter`] returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// A synchronous exception: see ESR_EL2.
    Synchronous,
    /// A physical interrupt; [`Context::acknowledged`] has it.
    Interrupt,
    /// A fast interrupt, which nothing of ours uses.
    FastInterrupt,
    /// An SError.
    SystemError,
}

const CAUSE_SYNC: u64 = 1;
const CAUSE_IRQ: u64 = 2;
const CAUSE_FIQ: u64 = 3;
const CAUSE_SERROR: u64 = 4;

/// ESR_EL2 of HVC #0 from AArch64: class 0x16, 32-bit instruction, immediate 0 (Arm ARM D24.2.45).
const ESR_HVC: u32 = 0x16 << 26 | 1 << 25;

// `stp` reaches 504 bytes with 64-bit registers.
const _: () = assert!(offset_of!(Context, registers) == 0 && offset_of!(Context, host_stack) < 504);
const _: () = assert!(size_of::<Context>().is_multiple_of(16));

global_asm!(
    include_str!("vectors.S"),
    short_sync = sym crate::program::short::synchronous,
    short_irq = sym crate::program::short::interrupt,
    cause_sync = const CAUSE_SYNC,
    cause_irq = const CAUSE_IRQ,
    cause_fiq = const CAUSE_FIQ,
    cause_serror = const CAUSE_SERROR,
    esr_hvc = const ESR_HVC,
    psci_version = const psci::VERSION,
    psci_version_value = const psci::VERSION_1_1,
    smccc_version = const smccc::VERSION,
    smccc_version_value = const smccc::VERSION_1_2,
    version_calls = const offset_of!(Context, version_calls),
    pc = const offset_of!(Context, registers) + offset_of!(Registers, pc),
    host_stack = const offset_of!(Context, host_stack),
    fault_stack = const offset_of!(super::core::Block, fault_stack),
    el2_fault = sym crate::program::fault::el2_fault,
);

unsafe extern "C" {
    /// In vectors.S, which knows the layout it uses by `offset_of!`.
    #[allow(improper_ctypes)]
    fn enter_guest(context: *mut Context) -> u64;
    /// EL2's vector table.
    static vectors: u8;
}

impl Context {
    /// A context without a guest.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            registers: Registers::new(),
            host_stack: 0,
            acknowledged: 0,
            version_calls: 0,
            guest: None,
        }
    }

    /// Runs the guest until something is left for the core's loop.
    pub fn enter(&mut self) -> Exit {
        // SAFETY: `self` is the core's context at the top of its fast stack (only `super::core` makes one), mapped
        // writable; the routine keeps the procedure call standard and writes nothing but it and the stacks.
        match unsafe { enter_guest(self) } {
            CAUSE_SYNC => Exit::Synchronous,
            CAUSE_IRQ => Exit::Interrupt,
            CAUSE_FIQ => Exit::FastInterrupt,
            _ => Exit::SystemError,
        }
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// The address of EL2's vector table.
#[must_use]
pub fn vector_base() -> u64 {
    (&raw const vectors).addr() as u64
}

/// The registers at an exception of EL2 itself, as `fault` in vectors.S stores them.
#[repr(C)]
#[derive(Debug)]
pub struct FaultFrame {
    /// X0 to X30.
    pub x: [u64; 31],
    /// The stack pointer.
    pub sp: u64,
    /// Where it happened.
    pub pc: u64,
    /// PSTATE then.
    pub pstate: u64,
}

const _: () = assert!(size_of::<FaultFrame>() == 16 * 17);
