//! A crash record in words, for people.

use super::{Cause, Fault, Record};
use crate::arm::registers::El1;
use crate::arm::syndrome::{Class, Fault as Status, FaultKind, Syndrome};
use crate::behaviour::partition::Partition;
use crate::model::recorder::{Event, What};
use crate::words::limits::LINE;
use crate::words::{Ipa, PAGE_SIZE};
use arrayvec::ArrayString;
use bulkhead_abi::layout;
use core::fmt::{self, Display, Formatter, Write};

/// A number as Arm's manuals and our documents write addresses: `0x4020_1234`.
struct Hex(u64);

impl Display for Hex {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let group = |index: u32| self.0 >> (16 * index) & 0xffff;
        let first = if self.0 >> 48 != 0 {
            3
        } else if self.0 >> 32 != 0 {
            2
        } else {
            1
        };
        write!(f, "{:#06x}", group(first))?;
        (0..first)
            .rev()
            .try_for_each(|index| write!(f, "_{:04x}", group(index)))
    }
}

/// What a partition has at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place<'a> {
    /// Its RAM.
    Ram,
    /// The memory of a channel.
    Channel {
        /// The channel's name.
        name: &'a str,
        /// Whether it may write there.
        writable: bool,
    },
    /// A channel's doorbell.
    Doorbell(&'a str),
    /// Its interrupt controller.
    InterruptController,
    /// Its UART.
    Uart,
    /// Nothing.
    Nothing,
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ram => f.write_str("its own RAM"),
            Self::Channel {
                name,
                writable: true,
            } => write!(f, "the memory of channel {name}"),
            Self::Channel {
                name,
                writable: false,
            } => write!(f, "the memory of channel {name}, where it may only read"),
            Self::Doorbell(name) => write!(f, "the doorbell of channel {name}"),
            Self::InterruptController => f.write_str("its interrupt controller"),
            Self::Uart => f.write_str("its UART"),
            Self::Nothing => f.write_str("no memory of this partition"),
        }
    }
}

/// What `partition` has at `address`.
#[must_use]
pub fn place<'a>(partition: &'a Partition<'_>, address: Ipa) -> Place<'a> {
    if partition.ram(address).is_some() {
        return Place::Ram;
    }
    for port in &partition.channels {
        let (base, size) = (port.end().ipa, port.size());
        match address.offset_from(base) {
            Some(offset) if offset < size => {
                return Place::Channel {
                    name: port.link.name,
                    writable: port.end().writable,
                };
            }
            Some(offset) if offset - size < PAGE_SIZE => return Place::Doorbell(port.link.name),
            _ => {}
        }
    }
    let within = |base: u64, size: u64| {
        address
            .offset_from(Ipa::new(base))
            .is_some_and(|offset| offset < size)
    };
    let redistributors = layout::GICR_STRIDE * partition.vcpus.len() as u64;
    if within(layout::UART_BASE, layout::UART_SIZE) {
        Place::Uart
    } else if within(layout::GICD_BASE, layout::GICD_SIZE)
        || within(layout::GICC_BASE, layout::GICC_SIZE)
        || within(layout::GICR_BASE, redistributors)
    {
        Place::InterruptController
    } else {
        Place::Nothing
    }
}

/// A record as one sentence.
#[derive(Clone, Copy, Debug)]
pub struct Sentence<'a> {
    /// The record.
    pub record: &'a Record,
    /// What the partition has where the fault was.
    pub place: Option<Place<'a>>,
}

impl<'a> Sentence<'a> {
    /// The sentence for a record of `partition`.
    #[must_use]
    pub fn new(record: &'a Record, partition: &'a Partition<'_>) -> Self {
        let (_, _, ipa) = record.syndrome();
        Self {
            record,
            place: ipa.map(|ipa| place(partition, ipa)),
        }
    }
}

impl Display for Sentence<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let record = self.record;
        match record.cause {
            Cause::ExceptionLoop => f.write_str("exception loop, its vector faults on itself: ")?,
            Cause::Heartbeat => return write!(f, "missed its heartbeat; pc {}", Hex(record.pc())),
            Cause::SystemError => {
                let (esr, ..) = record.syndrome();
                return write!(
                    f,
                    "SError, a RAM error or an access that failed late: ESR {esr:#x}; pc {}",
                    Hex(record.pc())
                );
            }
            Cause::Load => return f.write_str("not loaded: a payload is damaged or misplaced"),
            Cause::Hypervisor => {
                return f.write_str("the hypervisor failed on one of its cores");
            }
        }
        let (esr, far, ipa) = record.syndrome();
        syndrome(f, Syndrome::new(esr), far, ipa, self.place)?;
        write!(f, "; pc {}", Hex(record.pc()))
    }
}

/// The syndrome in words: what kind of exception, and of an abort where and why.
#[inline(never)]
fn syndrome(
    f: &mut Formatter<'_>,
    syndrome: Syndrome,
    far: u64,
    ipa: Option<Ipa>,
    place: Option<Place<'_>>,
) -> fmt::Result {
    let class = syndrome.class();
    let (name, access) = match class {
        Class::DataAbortLower | Class::DataAbortSame => {
            let abort = syndrome.data_abort();
            (
                "data abort",
                if abort.write { "write to" } else { "read from" },
            )
        }
        Class::InstructionAbortLower | Class::InstructionAbortSame => {
            ("instruction abort", "fetch from")
        }
        _ => return f.write_str(name_of(class)),
    };
    let fault = syndrome.data_abort().fault;
    write!(f, "{name}, ")?;
    status(f, fault)?;
    if fault.table_walk {
        f.write_str(" on a walk of its own tables")?;
    }
    match (ipa, place) {
        (Some(ipa), Some(place)) => write!(f, ", {access} {}, which is {place}", Hex(ipa.get())),
        _ => write!(f, ", {access} virtual address {}", Hex(far)),
    }
}

/// A fault status in words.
fn status(f: &mut Formatter<'_>, fault: Status) -> fmt::Result {
    let (name, has_level) = match fault.kind {
        FaultKind::AddressSize => ("address size fault", true),
        FaultKind::Translation => ("translation fault", true),
        FaultKind::AccessFlag => ("access flag fault", true),
        FaultKind::Permission => ("permission fault", true),
        FaultKind::External => ("external abort", false),
        FaultKind::TagCheck => ("tag check fault", false),
        FaultKind::Parity => ("parity or ECC error", false),
        FaultKind::Alignment => ("alignment fault", false),
        FaultKind::TlbConflict => ("TLB conflict", false),
        FaultKind::Other => return write!(f, "fault status {:#x}", fault.status),
    };
    f.write_str(name)?;
    if has_level {
        write!(f, " level {}", fault.level())?;
    }
    Ok(())
}

/// What an exception that is no abort is called.
#[must_use]
pub const fn name_of(class: Class) -> &'static str {
    match class {
        Class::Unknown => "undefined instruction",
        Class::Wait => "WFI or WFE",
        Class::Coprocessor => "AArch32 coprocessor access",
        Class::FloatingPoint => "FP or SIMD access",
        Class::PointerAuthentication => "pointer authentication instruction",
        Class::Load64 => "LD64B or ST64B",
        Class::BranchTarget => "branch target exception",
        Class::IllegalState => "illegal execution state",
        Class::Svc32 | Class::Svc64 => "SVC",
        Class::Hvc32 | Class::Hvc64 => "HVC",
        Class::Smc32 | Class::Smc64 => "SMC",
        Class::SystemRegister | Class::SystemRegister128 => "system register access",
        Class::Sve => "SVE access",
        Class::Eret => "ERET",
        Class::PointerAuthenticationFailure => "pointer authentication failure",
        Class::Sme => "SME access",
        Class::InstructionAbortLower | Class::InstructionAbortSame => "instruction abort",
        Class::PcAlignment => "PC alignment fault",
        Class::DataAbortLower | Class::DataAbortSame => "data abort",
        Class::SpAlignment => "SP alignment fault",
        Class::FloatingPointException => "FP exception",
        Class::SError => "SError",
        Class::BreakpointLower | Class::BreakpointSame => "breakpoint",
        Class::StepLower | Class::StepSame => "software step",
        Class::WatchpointLower | Class::WatchpointSame => "watchpoint",
        Class::SoftwareBreakpoint => "BRK",
        Class::VectorCatch => "vector catch",
        Class::Reserved(_) => "reserved exception class",
    }
}

/// Writes `arguments` as a line; what is longer than [`LINE`] is cut off.
fn line(each: &mut dyn FnMut(&str), arguments: fmt::Arguments<'_>) {
    let mut text: ArrayString<LINE> = ArrayString::new();
    let _ = text.write_fmt(arguments);
    each(&text);
}

/// Gives the record as lines: the sentence, when, the syndromes, the registers, the last exits. `frequency` is that of the
/// counter, in Hz.
pub fn lines(
    record: &Record,
    partition: &Partition<'_>,
    frequency: u64,
    each: &mut dyn FnMut(&str),
) {
    line(each, format_args!("{}", Sentence::new(record, partition)));
    line(
        each,
        format_args!(
            "  at {}.{:03} s, vCPU {}, start {}",
            record.at / 1000,
            record.at % 1000,
            record.vcpu,
            record.starts
        ),
    );
    if matches!(record.cause, Cause::Load | Cause::Hypervisor) {
        return;
    }
    syndromes(record, each);
    for (index, values) in record.registers.x.chunks(4).enumerate() {
        let mut text: ArrayString<LINE> = ArrayString::new();
        let _ = write!(text, "  x{:<3}", index * 4);
        for value in values {
            let _ = write!(text, " {value:016x}");
        }
        each(&text);
    }
    let now = record.exits.first().map_or(0, |event| event.at);
    for event in &record.exits {
        exit(event, now, frequency, each);
    }
}

fn syndromes(record: &Record, each: &mut dyn FnMut(&str)) {
    if let Fault::Stage2 { esr, far, ipa } = record.fault {
        line(
            each,
            format_args!(
                "  ESR_EL2 {esr:#x} FAR_EL2 {far:#x} IPA {:#x}",
                ipa.map_or(0, Ipa::get)
            ),
        );
    }
    let El1 {
        esr,
        far,
        elr,
        spsr,
        vbar,
        sp_el0,
        sp_el1,
    } = record.el1;
    line(
        each,
        format_args!(
            "  ESR_EL1 {esr:#x} FAR_EL1 {far:#x} ELR_EL1 {elr:#x} SPSR_EL1 {spsr:#x} VBAR_EL1 {vbar:#x}"
        ),
    );
    let (pc, pstate) = (record.registers.pc, record.registers.pstate);
    line(
        each,
        format_args!("  PC {pc:#x} PSTATE {pstate:#x} SP_EL1 {sp_el1:#x} SP_EL0 {sp_el0:#x}"),
    );
}

/// An exit of the record's: how long before the newest, what, and where.
fn exit(event: &Event, newest: u64, frequency: u64, each: &mut dyn FnMut(&str)) {
    /// Microseconds in a second.
    const MICROSECONDS: u64 = 1_000_000;
    let ticks = newest.saturating_sub(event.at);
    let before = ticks.saturating_mul(MICROSECONDS) / frequency.max(1);
    let mut text: ArrayString<LINE> = ArrayString::new();
    let _ = write!(text, "  exit {before:>8} us before: ");
    let _ = match event.what {
        What::Exit | What::SystemError => {
            write!(text, "{}", name_of(Syndrome::new(event.detail).class()))
        }
        What::Interrupt => write!(text, "interrupt {}", event.detail),
        What::Life => write!(text, "life"),
    };
    let _ = write!(text, ", {:#x}, pc {:#x}", event.detail, event.pc);
    each(&text);
}
