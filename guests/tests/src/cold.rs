//! A restart is a cold start (`role=cold`): the first life fills whatever it can reach with a pattern and resets itself; the
//! second looks for it.
//!
//! Each check names a place where something of the former life could be read. The registers that the runtime itself sets
//! before this runs (translation, vectors, stack) are not among them.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::abi::layout::{TIMER_PHYSICAL_INTID, TIMER_VIRTUAL_INTID, UART_BASE, UART_INTID};
use bulkhead_rt::{
    Machine, hypervisor, image, mmio, println, psci, read_sysreg, timer, write_sysreg,
};

use crate::environment::Environment;
use crate::tap::Tap;
use crate::{boot, poll, smp};
use bulkhead_rt::test::fp;

/// What the first life leaves behind: no bit of it does anything where it is written.
const POISON: u64 = 0x0123_4567_89ab_cdef;
/// GICD and GICR: enabled, pending and active bits.
const STATE: [u64; 3] = [0x100, 0x200, 0x300];
/// The private peripheral interrupts in their word.
const PPIS: u32 = 0xffff_0000;
/// PL011: integer baud rate divisor, fractional one, interrupt mask.
const UART: [u64; 3] = [0x24, 0x28, 0x38];
/// Distance of RAM bytes that are poisoned.
const STEP: usize = 4096;

macro_rules! registers {
    ($($name:literal & $mask:expr,)*) => {
        /// The registers, in the order of their bits.
        const NAMES: &[&str] = &[$($name),*];

        /// Fills them, the bits of each that do nothing.
        fn poison_registers() {
            $(write_sysreg!($name, POISON & $mask);)*
        }

        /// Bit n: register n is not zero.
        pub fn left_in_registers() -> u64 {
            let values = [$(read_sysreg!($name)),*];
            let left = values.iter().enumerate().filter(|(_, value)| **value != 0);
            left.fold(0, |bits, (number, _)| bits | 1 << number)
        }
    };
}

registers! {
    "tpidr_el0" & u64::MAX,
    "tpidrro_el0" & u64::MAX,
    "contextidr_el1" & 0xffff_ffff,
    "sp_el0" & u64::MAX,
    "elr_el1" & u64::MAX,
    "spsr_el1" & 0xf000_03c5,
    "esr_el1" & 0xffff_ffff,
    "far_el1" & u64::MAX,
    "par_el1" & 0x0000_ffff_ffff_f000,
    "csselr_el1" & 0b11,
    "cntkctl_el1" & 0b11,
    "cntv_cval_el0" & u64::MAX,
    "cntp_cval_el0" & u64::MAX,
    "mdscr_el1" & (1 << 15),
    "dbgbvr0_el1" & 0x0000_ffff_ffff_fffc,
    "dbgwvr0_el1" & 0x0000_ffff_ffff_fffc,
    "dbgbcr0_el1" & (0b1111 << 5),
    "dbgwcr0_el1" & (0xff << 5),
    "pmuserenr_el0" & 0b1111,
    "pmccntr_el0" & u64::MAX,
    "pmevcntr0_el0" & 0xffff_ffff,
    "pmevtyper0_el0" & 0x8000_00ff,
    "pmcntenset_el0" & 1,
    "pmintenset_el1" & 1,
}

/// Plays the role.
pub fn run(machine: &'static Machine) {
    let starts = hypervisor::partition_info().map_or(0, |[_, starts, _]| starts);
    if starts == 1 {
        first(machine);
        psci::system_reset();
    }
    second(machine);
}

fn first(machine: &Machine) {
    machine.gic.init();
    for intid in [TIMER_VIRTUAL_INTID, TIMER_PHYSICAL_INTID, UART_INTID] {
        machine.gic.enable(intid);
    }
    for offset in UART {
        mmio::write32(UART_BASE + offset, 0x15);
    }
    // The UART's interrupt pending, a timer's active.
    machine.gic.write_bit(STATE[1], UART_INTID);
    timer::set_virtual_deadline(timer::now());
    timer::set_virtual_control(timer::ENABLE);
    let _ = poll::take(&machine.gic);
    poison_memory(machine);
    for index in 1..machine.cpu_count() {
        smp::run(index, |_| poison_cpu(), 0);
    }
    poison_cpu();
    println!(
        "role: {} of {} registers hold the pattern",
        left_in_registers().count_ones(),
        NAMES.len()
    );
}

pub fn poison_cpu() {
    fp::enable();
    fp::load(&fp::pattern(POISON));
    poison_registers();
}

/// Everything that is neither the image with its stacks nor the tree.
fn poison_memory(machine: &Machine) {
    let (own, tree) = (image(), machine.tree.data().as_ptr().addr() as u64);
    let tree_end = tree + machine.tree.data().len() as u64;
    for ram in machine.ram() {
        for address in (ram.base..ram.end()).step_by(STEP) {
            let kept = (own.base..own.end()).contains(&address)
                || (tree & !0xfff..tree_end).contains(&address);
            if !kept {
                mmio::write64(address, POISON);
            }
        }
    }
}

static LEFT: AtomicU64 = AtomicU64::new(0);
static LEFT_IN_FP: AtomicU64 = AtomicU64::new(0);

/// Looks at the registers of the calling CPU.
fn look(_: u64) {
    LEFT.fetch_or(left_in_registers(), Relaxed);
    fp::enable();
    let left = fp::store().iter().filter(|word| **word != 0).count();
    LEFT_IN_FP.fetch_add(left as u64, Relaxed);
}

fn second(machine: &'static Machine) {
    let mut tap = Tap::new();
    tap.begin("cold");
    look(0);
    interrupts(&mut tap, machine);
    uart(&mut tap);
    machine.gic.init();
    for index in 1..machine.cpu_count() {
        tap.check("another CPU comes up", smp::run(index, look, 0));
    }
    let left = LEFT.load(Relaxed);
    for (number, name) in NAMES.iter().enumerate() {
        tap.equal(name, left >> number & 1, 0);
    }
    tap.equal("V0-V31, FPCR, FPSR", LEFT_IN_FP.load(Relaxed), 0);
    boot::run(&mut tap, &Environment::find(machine));
    tap.finish();
}

fn interrupts(tap: &mut Tap, machine: &Machine) {
    let (private, shared) = (
        machine.gic.frame(TIMER_VIRTUAL_INTID),
        machine.gic.distributor(),
    );
    for (group, name) in STATE.into_iter().zip(["enabled", "pending", "active"]) {
        let left = mmio::read32(private + group) & PPIS | mmio::read32(shared + group + 4);
        tap.equal(name, left, 0);
    }
    let priorities = [TIMER_VIRTUAL_INTID, TIMER_PHYSICAL_INTID, UART_INTID]
        .map(|intid| machine.gic.priority(intid));
    tap.equal("priorities", priorities, [0; 3]);
    tap.equal(
        "the timers are off",
        (read_sysreg!("cntv_ctl_el0"), read_sysreg!("cntp_ctl_el0")),
        (0, 0),
    );
}

fn uart(tap: &mut Tap) {
    let left = UART.map(|offset| mmio::read32(UART_BASE + offset));
    tap.equal("the UART's divisors and mask", left, [0; 3]);
}
