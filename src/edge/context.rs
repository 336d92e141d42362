//! A guest's registers while it runs on a core, the core's stacks, and the call into the guest.

use super::gic::{GICH_EISR0, GICH_LR, SystemRegisters, V2};
use crate::arm::list_register::{GicVersion, INTID_MASK, V2_EOI};
use crate::arm::registers::{PSTATE_BTYPE, PSTATE_SS, Registers};
use crate::behaviour::heartbeat::Heartbeat;
use crate::behaviour::hypercall::{OWN_FUNCTIONS, PSCI_FUNCTIONS};
use crate::model::recorder::{TRAIL_EVENTS, TRAIL_TIME, Trail, function};
use crate::program::machine::Hardware;
use crate::program::short::{self, Guest};
use bulkhead_abi::{bulkhead, psci, smccc};
use core::arch::global_asm;
use core::mem::{MaybeUninit, offset_of};
use core::ptr;

/// What the assembly keeps of the guest between exits, and what the short path works with.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct Context {
    /// The guest's registers.
    pub registers: Registers,
    /// SP of the core's loop while the guest runs.
    host_stack: u64,
    /// What the short path needs to know of the core and its vCPU, while the guest runs.
    guest: *mut Guest,
    /// X18 and X30 while the short path runs: together they take one instruction.
    volatile_pair: [u64; 2],
    /// What vectors.S answers calls with, once a guest was entered.
    calls: MaybeUninit<Calls>,
    /// Where GICC_DIR and the GICH registers lie, if the controller is a GICv2; or zeros.
    v2: [usize; 2],
}

/// What vectors.S needs to answer calls by itself.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// Counts and notes the calls answered.
    pub trail: &'static Trail,
    /// The same of interrupts ended.
    pub ended: &'static Trail,
    /// The most milliseconds a HEARTBEAT may name; 0 leaves all of them to the core's loop.
    pub beat_limit: u64,
    /// Ticks of the counter in a millisecond.
    pub ticks: u64,
    /// The partition's heartbeat.
    pub heartbeat: &'static Heartbeat,
}

/// Why [`enter`] returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// A synchronous exception: see ESR_EL2.
    Synchronous,
    /// A physical interrupt; [`Guest::acknowledged`] has it.
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
const _: () = assert!(offset_of!(Context, registers) == 0 && offset_of!(Context, v2) < 504);
const _: () =
    assert!(offset_of!(Registers, pc) == 8 * 31 && offset_of!(Registers, pstate) == 8 * 32);
const _: () = assert!(size_of::<Context>().is_multiple_of(16));

const _: () = assert!(offset_of!(Heartbeat, deadline) == 0 && offset_of!(Trail, words) == 0);
const _: () = assert!(offset_of!(Calls, heartbeat) == offset_of!(Calls, ticks) + 8);

/// Bit 30 of a function tells the two conventions apart (SMCCC 2.4).
const CONVENTION: u32 = smccc::SMC64.trailing_zeros();
/// Bit 25 of a function tells this hypervisor's own service from PSCI and the architecture's.
const OWN_SERVICE_BIT: u32 = 25;

const _: () = {
    let others = [psci::VERSION, psci::FEATURES, smccc::VERSION];
    assert!(bulkhead::FEATURES >> OWN_SERVICE_BIT & 1 == 1);
    let mut index = 0;
    while index < others.len() {
        assert!(others[index] >> OWN_SERVICE_BIT & 1 == 0);
        index += 1;
    }
};

/// The bits of a table of functions as vectors.S wants them: set for those that are not there, the first one on top.
const fn lacking(there: u64) -> u64 {
    (!there).reverse_bits()
}

global_asm!(
    include_str!("vectors.S"),
    short_sync_v2 = sym synchronous_v2,
    short_irq_v2 = sym interrupt_v2,
    short_sync_v3 = sym synchronous_v3,
    short_irq_v3 = sym interrupt_v3,
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
    short_call = sym short::call,
    psci_service = const psci::VERSION,
    psci_version_value = const psci::VERSION_1_1,
    psci_version_note = const function(psci::VERSION),
    psci_features = const psci::FEATURES,
    psci_features_note = const function(psci::FEATURES),
    psci_lacks = const lacking(PSCI_FUNCTIONS),
    smccc_version = const smccc::VERSION,
    smccc_version_value = const smccc::VERSION_1_2,
    smccc_version_note = const function(smccc::VERSION),
    own_service = const bulkhead::FEATURES,
    own_service_bit = const OWN_SERVICE_BIT,
    own_features_note = const function(bulkhead::FEATURES),
    own_lacks_low = const lacking(OWN_FUNCTIONS[0]),
    own_lacks_high = const lacking(OWN_FUNCTIONS[1]),
    heartbeat = const bulkhead::HEARTBEAT,
    heartbeat_note = const function(bulkhead::HEARTBEAT),
    listed = const offset_of!(Guest, hardware) + offset_of!(Hardware, listed),
    lr_eoi = const V2_EOI.trailing_zeros(),
    lr_intid = const INTID_MASK,
    v2 = const offset_of!(Context, v2),
    gich_eisr0 = const GICH_EISR0,
    gich_lr0 = const GICH_LR,
    ended_trail = const offset_of!(Context, calls) + offset_of!(Calls, ended),
    calls_trail = const offset_of!(Context, calls) + offset_of!(Calls, trail),
    beat_limit = const offset_of!(Context, calls) + offset_of!(Calls, beat_limit),
    beat = const offset_of!(Context, calls) + offset_of!(Calls, ticks),
    beat_period = const offset_of!(Heartbeat, period),
    trail_count = const offset_of!(Trail, count),
    trail_mask = const TRAIL_EVENTS - 1,
    trail_time = const TRAIL_TIME,
    guest = const offset_of!(Context, guest),
    volatile_pair = const offset_of!(Context, volatile_pair),
    host_stack = const offset_of!(Context, host_stack),
    fault_stack = const offset_of!(super::core::Block, fault_stack),
    el2_fault = sym crate::program::fault::el2_fault,
);

/// A synchronous exit, where the controller is a GICv2.
extern "C" fn synchronous_v2(context: &mut Context, guest: &mut Guest, esr: u64) -> u64 {
    // SAFETY: only the table `vectors_v2` calls this, which `vector_base` gives for a GICv2 alone: where `Guest::new` sets it.
    let interface = unsafe { guest.v2.unwrap_unchecked() };
    short::synchronous(context, guest, interface, esr)
}

/// A synchronous exit, where the controller is a GICv3.
extern "C" fn synchronous_v3(context: &mut Context, guest: &mut Guest, esr: u64) -> u64 {
    short::synchronous(context, guest, SystemRegisters, esr)
}

/// An interrupt, where the controller is a GICv2.
extern "C" fn interrupt_v2(guest: &mut Guest) -> u64 {
    // SAFETY: as in `synchronous_v2`.
    let interface = unsafe { guest.v2.unwrap_unchecked() };
    short::interrupt(guest, interface)
}

/// An interrupt, where the controller is a GICv3.
extern "C" fn interrupt_v3(guest: &mut Guest) -> u64 {
    short::interrupt(guest, SystemRegisters)
}

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
            guest: ptr::null_mut(),
            volatile_pair: [0; 2],
            calls: MaybeUninit::uninit(),
            v2: [0; 2],
        }
    }

    /// Runs the guest until something is left for the core's loop.
    pub fn enter(&mut self, guest: &mut Guest) -> Exit {
        if self.guest.is_null() {
            self.calls = MaybeUninit::new(guest.calls);
            self.v2 = guest.v2.as_ref().map_or([0; 2], V2::ending);
        }
        self.guest = guest;
        // SAFETY: `self` is the core's context at the top of its fast stack (only `super::core` makes one), mapped
        // writable; the routine keeps the procedure call standard and writes nothing but it, the stacks, and through
        // `guest`, which is borrowed until it returns; `calls` was set at the first
        // entry, and so was `v2`, which has registers of the controller that EL2 drives, or zeros.
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
