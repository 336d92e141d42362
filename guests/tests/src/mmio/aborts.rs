//! What happens where nothing is, or where a device has no such access (hypercalls.md section 5).

use bulkhead_rt::mmu::{ROOT_BLOCK, descriptor};
use bulkhead_rt::{mmio, mmu};

use super::{CELL_ID0, IBRD, KEPT};
use crate::access::{self as acc, Routine};
use crate::environment::Environment;
use crate::tap::Tap;
use crate::trap::{self, Fault, class};

/// An IPA where no machine of ours has anything.
const NOWHERE: u64 = 0x0f80_0000;
/// Fault status: synchronous external abort, not on a walk.
const EXTERNAL: u64 = 0x10;
/// Fault status: alignment.
const ALIGNMENT: u64 = 0x21;
/// ESR: the instruction was 32 bits long.
const IL: u64 = 1 << 25;
/// ESR of data aborts: syndrome valid; never so for an abort taken to EL1.
const ISV: u64 = 1 << 24;
/// ESR of data aborts: a write.
const WNR: u64 = 1 << 6;

/// Runs the checks of this file.
pub fn run(tap: &mut Tap, environment: &Environment) {
    let uart = environment.machine.uart;
    nowhere(tap);
    nowhere_at_el0(tap);
    unaligned(tap, environment, uart);
    odd_accesses(tap, environment, uart);
    edges(tap, environment);
}

fn caught(routine: Routine, address: u64) -> Option<Fault> {
    let code = acc::address_of(routine);
    trap::catch(|| acc::call(code, address, [0, 0])).1
}

/// Checks one abort's class, status, direction and address.
fn is_abort(fault: Option<Fault>, wanted: u64, write: bool, address: u64) -> bool {
    fault.is_some_and(|fault| {
        fault.count == 1
            && fault.class() == wanted
            && fault.status() == EXTERNAL
            && fault.esr & (IL | ISV) == IL
            && (fault.esr & WNR != 0) == write
            && fault.far == address
    })
}

fn nowhere(tap: &mut Tap) {
    let loads = [
        acc::access_ldr,
        acc::access_ldp,
        acc::access_ldr_post,
        acc::access_ldrsb_x,
    ];
    let right = loads.iter().all(|routine| {
        is_abort(
            caught(*routine, NOWHERE + 8),
            class::DATA,
            false,
            NOWHERE + 8,
        )
    });
    tap.check(
        "a load from nowhere: external abort, ESR and FAR right",
        right,
    );
    let stores = [
        acc::access_str,
        acc::access_stp,
        acc::access_str_post,
        acc::access_stp_zero,
    ];
    let right = stores
        .iter()
        .all(|routine| is_abort(caught(*routine, NOWHERE), class::DATA, true, NOWHERE));
    tap.check("a store to nowhere: the same, WnR set", right);
    let fault = caught(acc::access_ldr_pre, NOWHERE);
    tap.check(
        "the FAR is of the access, not of the base",
        is_abort(fault, class::DATA, false, NOWHERE + 4),
    );
    let code = acc::address_of(acc::access_ldr_post);
    let (registers, _) = trap::catch(|| acc::call(code, NOWHERE, [KEPT, KEPT]));
    tap.equal(
        "an aborted load leaves its registers",
        registers,
        [NOWHERE, KEPT, KEPT],
    );
    let (_, fault) = trap::catch(|| acc::call(acc_executable(), 0, [0, 0]));
    tap.check(
        "a fetch from nowhere: instruction abort",
        is_fetch_abort(fault, class::FETCH),
    );
    let elr = fault.map(|fault| fault.elr);
    tap.equal("with the PC there", elr, Some(acc_executable()));
}

/// Maps NOWHERE executable by a page and returns its address.
fn acc_executable() -> u64 {
    let block = descriptor::BLOCK | descriptor::ACCESSED | descriptor::UNCACHED | descriptor::UXN;
    const ENTRY: usize = 24;
    if mmu::root().get(ENTRY) != block {
        // SAFETY: nothing of the runtime's is mapped by this entry.
        unsafe { mmu::set_root_entry(ENTRY, block) };
    }
    ENTRY as u64 * ROOT_BLOCK + NOWHERE
}

fn is_fetch_abort(fault: Option<Fault>, wanted: u64) -> bool {
    fault.is_some_and(|fault| {
        fault.class() == wanted && fault.status() == EXTERNAL && fault.far == fault.elr
    })
}

fn nowhere_at_el0(tap: &mut Tap) {
    let address = acc::el0_device(NOWHERE);
    let fault = acc::run_at_el0(acc::access_ldr, address, [0, 0]).fault;
    let right = is_abort(Some(fault), class::DATA_EL0, false, address);
    tap.check("EL0's load from nowhere aborts to EL1", right);
    let fault = acc::run_at_el0(acc::access_stp, address, [0, 0]).fault;
    let right = is_abort(Some(fault), class::DATA_EL0, true, address);
    tap.check("EL0's store to nowhere aborts to EL1", right);
    let entry = acc::el0_ram(acc::address_of(acc::access_fetch_at_el0));
    // The devices' alias may not be executed: map one where EL0 may.
    const ENTRY: usize = 25;
    let block = descriptor::BLOCK | descriptor::ACCESSED | descriptor::UNCACHED;
    // SAFETY: nothing of the runtime's is mapped by this entry.
    unsafe { mmu::set_root_entry(ENTRY, block | descriptor::EL0 | descriptor::PXN) };
    let target = ENTRY as u64 * ROOT_BLOCK + NOWHERE;
    let fault = trap::run_at_el0(entry, [target, 0, 0, 0]).fault;
    tap.check(
        "EL0's fetch from nowhere aborts to EL1",
        is_fetch_abort(Some(fault), class::FETCH_EL0),
    );
    for (name, routine) in [
        ("HVC at EL0 is UNDEFINED", acc::access_hvc_at_el0 as Routine),
        ("SMC at EL0 is UNDEFINED", acc::access_smc_at_el0 as Routine),
    ] {
        let fault = acc::run_at_el0(routine, 0, [0, 0]).fault;
        tap.equal(
            name,
            (fault.class(), fault.elr),
            (class::UNDEFINED, acc::el0_ram(acc::address_of(routine))),
        );
    }
    let exit = acc::run_at_el0(
        acc::access_ldr,
        acc::el0_ram(acc::address_of(acc::access_at_el0)),
        [0, 0],
    );
    tap.equal("EL0's own SVC goes to EL1", exit.fault.class(), class::SVC);
}

fn unaligned(tap: &mut Tap, environment: &Environment, uart: u64) {
    const NAME: &str = "an unaligned device access is an alignment fault";
    if !environment.bulkhead && environment.machine.cpu_count() == 1 {
        return tap.skip(NAME, "QEMU with one CPU does not check");
    }
    let fault = caught(acc::access_ldr, uart + CELL_ID0 + 2);
    let status = fault.map(|fault| (fault.class(), fault.status()));
    tap.equal(NAME, status, Some((class::DATA, ALIGNMENT)));
}

fn odd_accesses(tap: &mut Tap, environment: &Environment, uart: u64) {
    // The bare machine has no reason to refuse these; a hypervisor must not guess.
    let routines: [(&str, Routine, u64); 5] = [
        (
            "ldxr from a device aborts",
            acc::access_ldxr,
            uart + CELL_ID0,
        ),
        ("stxr to a device aborts", acc::access_stxr, uart + IBRD),
        (
            "ldr s from a device aborts",
            acc::access_ldr_s,
            uart + CELL_ID0,
        ),
        (
            "str q to a device aborts",
            acc::access_str_q,
            uart + CELL_ID0,
        ),
        (
            "ldp d from a device aborts",
            acc::access_ldp_d,
            uart + CELL_ID0,
        ),
    ];
    bulkhead_rt::test::fp::enable();
    for (name, routine, address) in routines {
        let fault = caught(routine, address);
        environment.only_bulkhead(tap, name, |tap, name| {
            let right =
                fault.is_some_and(|fault| fault.class() == class::DATA && fault.far == address);
            tap.check(name, right);
        });
    }
    environment.only_bulkhead(tap, "a width the device has not aborts", |tap, name| {
        let (_, fault) = trap::catch(|| mmio::read64(uart + CELL_ID0));
        tap.check(name, is_abort(fault, class::DATA, false, uart + CELL_ID0));
    });
}

fn edges(tap: &mut Tap, environment: &Environment) {
    environment.only_bulkhead(tap, "one byte beyond RAM aborts", |tap, name| {
        let end = environment
            .machine
            .ram()
            .map(|range| range.end())
            .max()
            .unwrap_or(0);
        let (_, fault) = trap::catch(|| mmio::read8(end));
        tap.check(name, is_abort(fault, class::DATA, false, end));
        let (_, fault) = trap::catch(|| mmio::write8(end, 0));
        tap.check("a store there too", is_abort(fault, class::DATA, true, end));
    });
    environment.only_bulkhead(tap, "below RAM and at 0 aborts", |tap, name| {
        let start = environment
            .machine
            .ram()
            .map(|range| range.base)
            .min()
            .unwrap_or(8);
        for address in [start - 4, 0] {
            let (_, fault) = trap::catch(|| mmio::read32(address));
            tap.check(name, is_abort(fault, class::DATA, false, address));
        }
    });
    environment.only_bulkhead(
        tap,
        "every GiB without RAM or devices aborts",
        |tap, name| {
            // 32 bits of IPA at least are looked at, then the highest the identity map reaches.
            let holes = [0x8000_0000u64, 0xc000_0000, 0x1_0000_0000, 0x3f_0000_0000];
            let open = holes.into_iter().find(|address| {
                let inside = environment
                    .machine
                    .ram()
                    .any(|range| (range.base..range.end()).contains(address));
                !inside && trap::catch(|| mmio::read32(*address)).1.is_none()
            });
            tap.equal(name, open, None);
        },
    );
}
