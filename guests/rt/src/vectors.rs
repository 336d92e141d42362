//! Exceptions: a full frame for each, and the handlers the guest registers.
//!
//! Invariant: an exception without a handler, or one its handler refuses, panics with its syndrome.

use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, Ordering};

/// The interrupted code's registers and the exception's syndrome. A handler may change them.
#[repr(C, align(16))]
#[derive(Clone, Debug)]
pub struct Frame {
    /// x0-x30.
    pub x: [u64; 31],
    /// ELR_EL1: where to go on.
    pub elr: u64,
    /// SPSR_EL1: in which state.
    pub spsr: u64,
    /// ESR_EL1: why.
    pub esr: u64,
    /// FAR_EL1: at which address, for aborts and watchpoints.
    pub far: u64,
    /// Which of the sixteen vectors.
    pub vector: u64,
}

/// Kinds of exception, in the order of the vector table (Arm ARM D1.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Caused by an instruction.
    Synchronous,
    /// An IRQ.
    Irq,
    /// An FIQ.
    Fiq,
    /// An SError.
    SError,
}

impl Frame {
    /// Returns the exception's kind.
    pub fn kind(&self) -> Kind {
        match self.vector & 0b11 {
            0 => Kind::Synchronous,
            1 => Kind::Irq,
            2 => Kind::Fiq,
            _ => Kind::SError,
        }
    }

    /// Tells whether it came from EL0.
    pub fn from_el0(&self) -> bool {
        self.vector >= 8
    }

    /// Returns the exception class, ESR_EL1.EC.
    pub fn class(&self) -> u64 {
        (self.esr >> 26) & 0x3f
    }

    /// Moves past the instruction that caused the exception.
    pub fn skip(&mut self) {
        self.elr += 4;
    }
}

/// A handler; returns whether it dealt with the exception.
pub type Handler = fn(&mut Frame) -> bool;

static HANDLERS: [AtomicPtr<()>; 4] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 4];

global_asm!(
    include_str!("vectors.S"),
    ENTRY_SIZE = const 0x80,
    TABLE_ALIGN = const 0x800,
    FRAME_SIZE = const size_of::<Frame>(),
    FRAME_X = const offset_of!(Frame, x),
    FRAME_SPSR = const offset_of!(Frame, spsr),
    FRAME_FAR = const offset_of!(Frame, far),
    DISPATCH = sym dispatch,
);

const _: () = assert!(offset_of!(Frame, elr) == offset_of!(Frame, x) + 31 * 8);
const _: () = assert!(offset_of!(Frame, esr) == offset_of!(Frame, spsr) + 8);
const _: () = assert!(offset_of!(Frame, vector) == offset_of!(Frame, far) + 8);

unsafe extern "C" {
    fn rt_vectors();
}

pub(crate) fn install() {
    let table = (rt_vectors as *const ()).addr();
    // SAFETY: the table is aligned and saves whatever it interrupts.
    unsafe { asm!("msr vbar_el1, {0}", "isb", in(reg) table) };
}

/// Registers the handler of one kind, for all CPUs; returns the previous one.
pub fn handle(kind: Kind, handler: Handler) -> Option<Handler> {
    let old = HANDLERS[kind as usize].swap(handler as *mut (), Ordering::AcqRel);
    as_handler(old)
}

/// Registers the IRQ handler for all CPUs.
pub fn on_irq(handler: Handler) -> Option<Handler> {
    handle(Kind::Irq, handler)
}

/// Registers the handler of synchronous exceptions for all CPUs.
pub fn on_synchronous(handler: Handler) -> Option<Handler> {
    handle(Kind::Synchronous, handler)
}

fn as_handler(pointer: *mut ()) -> Option<Handler> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: only `handle` stores here, and only handlers.
    Some(unsafe { core::mem::transmute::<*mut (), Handler>(pointer) })
}

extern "C" fn dispatch(frame: &mut Frame) {
    let kind = frame.kind();
    let pointer = HANDLERS[kind as usize].load(Ordering::Acquire);
    if as_handler(pointer).is_some_and(|handler| handler(frame)) {
        return;
    }
    panic!(
        "unhandled {kind:?} exception, vector {}, ESR {:#x}, ELR {:#x}, FAR {:#x}, SPSR {:#x}",
        frame.vector, frame.esr, frame.elr, frame.far, frame.spsr
    );
}
