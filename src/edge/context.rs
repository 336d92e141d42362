//! A guest's registers while it runs on a core, the core's stacks, and the call into the guest.

use crate::arm::list_register::GicVersion;
use crate::arm::registers::{PSTATE_BTYPE, PSTATE_SS, Registers};
use crate::behaviour::heartbeat::Heartbeat;
use crate::behaviour::hypercall::{OWN_FUNCTIONS, PSCI_FUNCTIONS};
use crate::program::short::{self, Guest};
use bulkhead_abi::{bulkhead, psci, smccc};
use core::arch::global_asm;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::AtomicU64;

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
    /// What the short path needs to know of the core and its vCPU, while the guest runs.
    guest: *mut Guest,
}

/// What vectors.S needs to answer calls by itself.
#[repr(C)]
#[derive(Debug)]
pub struct Calls {
    /// Counts the calls answered.
    pub answered: &'static AtomicU64,
    /// The most milliseconds a HEARTBEAT may name; 0 leaves all of them to the core's loop.
    pub beat_limit: u64,
    /// Ticks of the counter in a millisecond.
    pub ticks: u64,
    /// The partition's heartbeat.
    pub heartbeat: &'static Heartbeat,
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

/// ESR_EL2 of HVC #0 and SMC #0 from AArch64: class 0x16 or 0x17, 32-bit instruction, immediate 0 (Arm ARM D24.2.45).
const ESR_HVC: u32 = 0x16 << 26 | 1 << 25;
const ESR_SMC: u32 = 0x17 << 26 | 1 << 25;

// `stp` reaches 504 bytes with 64-bit registers.
const _: () = assert!(offset_of!(Context, registers) == 0 && offset_of!(Context, host_stack) < 504);
const _: () = assert!(size_of::<Context>().is_multiple_of(16));

const _: () = assert!(offset_of!(Guest, calls) == 0 && offset_of!(Heartbeat, deadline) == 0);
const _: () = assert!(offset_of!(Calls, heartbeat) == offset_of!(Calls, ticks) + 8);

/// Bit 30 of a function tells the two conventions apart (SMCCC 2.4).
const CONVENTION: u32 = smccc::SMC64.trailing_zeros();

global_asm!(
    include_str!("vectors.S"),
    short_sync_v2 = sym short::synchronous_v2,
    short_irq_v2 = sym short::interrupt_v2,
    short_sync_v3 = sym short::synchronous_v3,
    short_irq_v3 = sym short::interrupt_v3,
    cause_sync = const CAUSE_SYNC,
    cause_irq = const CAUSE_IRQ,
    cause_fiq = const CAUSE_FIQ,
    cause_serror = const CAUSE_SERROR,
    esr_hvc = const ESR_HVC,
    esr_smc_bit = const ESR_SMC ^ ESR_HVC,
    esr_smc_number = const (ESR_SMC ^ ESR_HVC).trailing_zeros(),
    pstate_ss = const PSTATE_SS,
    pstate_btype = const PSTATE_BTYPE,
    convention = const CONVENTION,
    psci_service = const psci::VERSION,
    psci_version_value = const psci::VERSION_1_1,
    psci_features = const psci::FEATURES - psci::VERSION,
    psci_functions = const PSCI_FUNCTIONS,
    smccc_version = const smccc::VERSION,
    smccc_version_value = const smccc::VERSION_1_2,
    own_service = const bulkhead::FEATURES,
    heartbeat = const bulkhead::HEARTBEAT - bulkhead::FEATURES,
    own_functions_low = const OWN_FUNCTIONS[0],
    own_functions_high = const OWN_FUNCTIONS[1],
    answered = const offset_of!(Calls, answered),
    beat_limit = const offset_of!(Calls, beat_limit),
    beat = const offset_of!(Calls, ticks),
    beat_period = const offset_of!(Heartbeat, period),
    guest = const offset_of!(Context, guest),
    pc = const offset_of!(Context, registers) + offset_of!(Registers, pc),
    host_stack = const offset_of!(Context, host_stack),
    fault_stack = const offset_of!(super::core::Block, fault_stack),
    el2_fault = sym crate::program::fault::el2_fault,
);

unsafe extern "C" {
    /// In vectors.S, which knows the layout it uses by `offset_of!`.
    #[allow(improper_ctypes)]
    fn enter_guest(context: *mut Context) -> u64;
    /// EL2's vectors where the controller is a GICv2.
    static vectors_v2: u8;
    /// The same for a GICv3.
    static vectors_v3: u8;
}

impl Context {
    /// A context without a guest.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            registers: Registers::new(),
            host_stack: 0,
            acknowledged: 0,
            guest: ptr::null_mut(),
        }
    }

    /// Runs the guest until something is left for the core's loop.
    pub fn enter(&mut self, guest: &mut Guest) -> Exit {
        self.guest = guest;
        // SAFETY: `self` is the core's context at the top of its fast stack (only `super::core` makes one), mapped
        // writable; the routine keeps the procedure call standard and writes nothing but it, the stacks, and through
        // `guest`, which is borrowed until it returns.
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

/// The address of EL2's vector table for this interrupt controller.
#[must_use]
pub fn vector_base(version: GicVersion) -> u64 {
    let table = match version {
        GicVersion::V2 => &raw const vectors_v2,
        GicVersion::V3 => &raw const vectors_v3,
    };
    table.addr() as u64
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
