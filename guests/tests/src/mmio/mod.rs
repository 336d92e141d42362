//! Device accesses of every form, by every kind of mapping, at EL1 and EL0.

mod aborts;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use bulkhead_rt::gic::distributor;
use bulkhead_rt::{mmio, mmu};

use crate::access::{self as acc, CONTEXTS, Context, Routine};
use crate::environment::Environment;
use crate::tap::Tap;

/// UARTIBRD: 16 bits kept.
const IBRD: u64 = 0x24;
/// UARTFBRD: 6 bits kept.
const FBRD: u64 = 0x28;
/// UARTPeriphID0: 0x11, then 0x10 (Arm DDI 0183 3.3.14).
const PERIPH_ID0: u64 = 0xfe0;
/// UARTPCellID0: 0x0d, 0xf0, 0x05, 0xb1.
const CELL_ID0: u64 = 0xff0;
/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    acc::install();
    let uart = environment.machine.uart;
    let priorities = environment.machine.gic.frame(0) + distributor::IPRIORITYR;
    let pairs = environment.bulkhead || environment.machine.gic.version() == 2;
    PAIRS.store(pairs, Relaxed);
    for context in CONTEXTS {
        in_context(tap, context, uart, priorities);
    }
    without_translation(tap, uart, priorities);
    mmio::write32(uart + IBRD, 0);
    mmio::write32(uart + FBRD, 0);
    aborts::run(tap, environment);
}

/// A load: which routine, at which offset, what it leaves in x0 (as an offset), x1, x2.
struct Load {
    name: &'static str,
    routine: Routine,
    offset: u64,
    index: u64,
    expected: [u64; 3],
}

const fn load(name: &'static str, routine: Routine, offset: u64, expected: [u64; 3]) -> Load {
    Load {
        name,
        routine,
        offset,
        index: KEPT,
        expected,
    }
}

const fn indexed(name: &'static str, routine: Routine, index: u64, expected: u64) -> Load {
    Load {
        name,
        routine,
        offset: CELL_ID0,
        index,
        expected: [0, expected, index],
    }
}

/// What x1 and x2 hold before a load.
const KEPT: u64 = 0xdead_dead_dead_dead;
const MINUS_8: u64 = 8u64.wrapping_neg();
const MINUS_12: u64 = 12u64.wrapping_neg();

const LOADS: &[Load] = &[
    load("ldr w", acc::access_ldr, CELL_ID0, [0, 0x0d, KEPT]),
    load(
        "ldr wzr post",
        acc::access_ldr_zero,
        CELL_ID0,
        [4, KEPT, KEPT],
    ),
    load("ldp w", acc::access_ldp, PERIPH_ID0, [0, 0x11, 0x10]),
    load(
        "ldr w post",
        acc::access_ldr_post,
        CELL_ID0,
        [4, 0x0d, KEPT],
    ),
    load("ldr w pre", acc::access_ldr_pre, CELL_ID0, [4, 0xf0, KEPT]),
    load(
        "ldr w pre back",
        acc::access_ldr_pre_back,
        CELL_ID0 + 12,
        [MINUS_12, 0x0d, KEPT],
    ),
    load(
        "ldp w post",
        acc::access_ldp_post,
        CELL_ID0,
        [8, 0x0d, 0xf0],
    ),
    load("ldp w pre", acc::access_ldp_pre, CELL_ID0, [8, 0x05, 0xb1]),
    load(
        "ldp w pre back",
        acc::access_ldp_pre_back,
        CELL_ID0 + 8,
        [MINUS_8, 0x0d, 0xf0],
    ),
    load("ldur w", acc::access_ldur, CELL_ID0 + 8, [0, 0xf0, KEPT]),
    load("ldar w", acc::access_ldar, CELL_ID0 + 4, [0, 0xf0, KEPT]),
    load(
        "ldrsb x",
        acc::access_ldrsb_x,
        CELL_ID0 + 4,
        [0, 0xffff_ffff_ffff_fff0, KEPT],
    ),
    load(
        "ldrsb w",
        acc::access_ldrsb_w,
        CELL_ID0 + 4,
        [0, 0xffff_fff0, KEPT],
    ),
    load(
        "ldrsb x post",
        acc::access_ldrsb_post,
        CELL_ID0 + 12,
        [1, 0xffff_ffff_ffff_ffb1, KEPT],
    ),
    load(
        "ldrsb w post",
        acc::access_ldrsb_w_post,
        CELL_ID0 + 12,
        [1, 0xffff_ffb1, KEPT],
    ),
    load(
        "ldrb w post",
        acc::access_ldrb_post,
        CELL_ID0 + 12,
        [1, 0xb1, KEPT],
    ),
    load(
        "ldrsh x post",
        acc::access_ldrsh_post,
        IBRD,
        [2, 0xffff_ffff_ffff_fff5, KEPT],
    ),
    load("ldrsh w", acc::access_ldrsh_w, IBRD, [0, 0xffff_fff5, KEPT]),
    load(
        "ldrh w pre",
        acc::access_ldrh_pre,
        IBRD - 2,
        [2, 0xfff5, KEPT],
    ),
    indexed("ldr w register", acc::access_ldr_register, 3, 0xb1),
    indexed(
        "ldr w register sxtw",
        acc::access_ldr_register_word,
        0xffff_ffff,
        0,
    ),
];

/// Signed words: from four SGI priorities of 0xf0 each, then 0x10 each.
const SIGNED: &[Load] = &[
    load(
        "ldrsw",
        acc::access_ldrsw,
        0,
        [0, 0xffff_ffff_f0f0_f0f0, KEPT],
    ),
    load(
        "ldrsw post",
        acc::access_ldrsw_post,
        0,
        [4, 0xffff_ffff_f0f0_f0f0, KEPT],
    ),
    load(
        "ldpsw",
        acc::access_ldpsw,
        0,
        [0, 0xffff_ffff_f0f0_f0f0, 0x1010_1010],
    ),
];

/// QEMU makes one doubleword of a pair, which its redistributor does not know.
static PAIRS: AtomicBool = AtomicBool::new(true);

fn signed() -> &'static [Load] {
    match PAIRS.load(Relaxed) {
        true => SIGNED,
        false => &SIGNED[..2],
    }
}

/// A store: its routine, where its address is, what it leaves in IBRD, FBRD and the base.
struct Store {
    name: &'static str,
    routine: Routine,
    offset: u64,
    expected: [u32; 2],
    base: u64,
}

/// What stores find in IBRD and FBRD.
const BEFORE: [u32; 2] = [0x1111, 0x11];

const fn store(
    name: &'static str,
    routine: Routine,
    offset: u64,
    expected: [u32; 2],
    base: u64,
) -> Store {
    Store {
        name,
        routine,
        offset,
        expected,
        base,
    }
}

const STORES: &[Store] = &[
    store("str w", acc::access_str, IBRD, [0x0025, 0x11], 0),
    store("str w post", acc::access_str_post, IBRD, [0x0025, 0x11], 4),
    store("str w pre", acc::access_str_pre, IBRD, [0x1111, 0x25], 4),
    store("str wzr post", acc::access_str_zero, IBRD, [0, 0x11], 4),
    store("stp w", acc::access_stp, IBRD, [0x0025, 0x3a], 0),
    store("stp w post", acc::access_stp_post, IBRD, [0x0025, 0x3a], 8),
    store(
        "stp w pre back",
        acc::access_stp_pre,
        IBRD + 8,
        [0x0025, 0x3a],
        MINUS_8,
    ),
    store("stp wzr", acc::access_stp_zero, IBRD, [0, 0], 0),
    store(
        "strh w post",
        acc::access_strh_post,
        IBRD,
        [0x0025, 0x11],
        2,
    ),
    store(
        "strb w pre",
        acc::access_strb_pre,
        FBRD - 1,
        [0x1111, 0x25],
        1,
    ),
    store("stlr w", acc::access_stlr, FBRD, [0x1111, 0x25], 0),
];

fn wrong_load(context: Context, loads: &'static [Load], base: u64) -> Option<&'static str> {
    let wrong = loads.iter().find(|one| {
        let data = [KEPT, one.index];
        let mut got = acc::run(context, one.routine, base + one.offset, data);
        if one.index == 0xffff_ffff {
            // One word before PCellID0 is PeriphID3, 0 in every revision.
            got[1] &= 0xff;
        }
        got != one.expected
    });
    wrong.map(|one| one.name)
}

fn wrong_store(context: Context, uart: u64) -> Option<&'static str> {
    let wrong = STORES.iter().find(|one| {
        mmio::write32(uart + IBRD, BEFORE[0]);
        mmio::write32(uart + FBRD, BEFORE[1]);
        let [base, ..] = acc::run(context, one.routine, uart + one.offset, [0x25, 0x3a]);
        let got = [mmio::read32(uart + IBRD), mmio::read32(uart + FBRD)];
        got != one.expected || base != one.base
    });
    wrong.map(|one| one.name)
}

/// Runs all accesses; returns the names of those that went wrong.
fn all(context: Context, uart: u64, priorities: u64) -> [Option<&'static str>; 3] {
    mmio::write32(uart + IBRD, 0xfff5);
    mmio::write32(priorities, 0xf0f0_f0f0);
    mmio::write32(priorities + 4, 0x1010_1010);
    [
        wrong_load(context, LOADS, uart),
        wrong_load(context, signed(), priorities),
        wrong_store(context, uart),
    ]
}

fn in_context(tap: &mut Tap, context: Context, uart: u64, priorities: u64) {
    let name = context.name();
    if !acc::available(context) {
        return tap.skip(name, "no 64 KiB pages");
    }
    tap.equal(name, all(context, uart, priorities), [None; 3]);
}

static UART: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);

extern "C" fn all_untranslated(priorities: u64) {
    let wrong = all(Context::Identity, UART.load(Relaxed), priorities);
    WRONG.store(wrong.iter().flatten().count() as u64, Relaxed);
}

fn without_translation(tap: &mut Tap, uart: u64, priorities: u64) {
    UART.store(uart, Relaxed);
    WRONG.store(u64::MAX, Relaxed);
    mmu::without_translation(all_untranslated, priorities);
    let name = "every load and store with the MMU off";
    tap.equal(name, WRONG.load(Relaxed), 0);
}
