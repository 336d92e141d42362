//! Loads and stores of every form, made from any mapping and exception level.
//!
//! Invariant: root entries 16 and up hold this kernel's aliases; the identity map stays below.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bulkhead_rt::mmu::{self, ROOT_BLOCK, Table, descriptor};
use bulkhead_rt::{image, read_sysreg, write_sysreg};

use crate::trap::{self, El0Exit};

global_asm!(include_str!("access.S"));

/// Root entry: RAM for EL0 (and so not executable at EL1).
const RAM_EL0: usize = 16;
/// Root entry: devices for EL0.
const DEVICES_EL0: usize = 17;
/// Root entry: RAM, executable, under another address.
const RAM_ALIAS: usize = 18;
/// Root entry: devices under another address.
const DEVICES_ALIAS: usize = 19;
/// Root entry: a table that maps single pages.
const PAGES: usize = 20;
/// First address that TTBR1 translates with 39 bits.
const HIGH: u64 = 0xffff_ff80_0000_0000;
/// TCR_EL1.EPD1: no walks by TTBR1.
const TCR_EPD1: u64 = 1 << 23;
/// TCR_EL1: TTBR1's walks cached and inner shareable.
const TCR_CACHED_1: u64 = 0b01 << 24 | 0b01 << 26 | 0b11 << 28;
/// TCR_EL1.TG1.
const TCR_TG1: u64 = 0b11 << 30;
/// TCR_EL1.TG1: 64 KiB.
const TCR_TG1_64K: u64 = 0b11 << 30;
/// Bytes a level 2 block maps with the 64 KiB granule.
const BLOCK_64K: u64 = 512 << 20;

/// The routines of access.S.
pub type Routine = unsafe extern "C" fn();

macro_rules! routines {
    ($($name:ident),* $(,)?) => {
        unsafe extern "C" { $(pub fn $name();)* }
    };
}
routines!(
    access_ldr,
    access_ldr_zero,
    access_ldp,
    access_ldpsw,
    access_ldr_post,
    access_ldr_pre,
    access_ldr_pre_back,
    access_ldp_post,
    access_ldp_pre,
    access_ldp_pre_back,
    access_ldr_register,
    access_ldr_register_word,
    access_ldur,
    access_ldar,
    access_ldrsb_x,
    access_ldrsb_w,
    access_ldrsb_post,
    access_ldrsb_w_post,
    access_ldrb_post,
    access_ldrsh_post,
    access_ldrsh_w,
    access_ldrh_pre,
    access_ldrsw,
    access_ldrsw_post,
    access_str,
    access_str_post,
    access_str_pre,
    access_str_zero,
    access_stp,
    access_stp_post,
    access_stp_pre,
    access_stp_zero,
    access_strh_post,
    access_strb_pre,
    access_stlr,
    access_ldxr,
    access_stxr,
    access_ldr_s,
    access_str_q,
    access_ldp_d,
    access_at_el0,
    access_fetch_at_el0,
    access_hvc_at_el0,
    access_smc_at_el0,
    access_brk_at_el0,
    access_break_here_at_el0,
    access_break_here,
);

#[repr(C, align(8192))]
struct WideTable([AtomicU64; 1024]);

static LEVEL_2: Table = Table::new();
static LEVEL_3_RAM: Table = Table::new();
static LEVEL_3_DEVICES: Table = Table::new();
static HIGH_ROOT: Table = Table::new();
static HIGH_ROOT_64K: WideTable = WideTable([const { AtomicU64::new(0) }; 1024]);

/// How code and data are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// VA = PA for both.
    Identity,
    /// Data under another address, in a block of 1 GiB.
    DataAlias,
    /// Code and data under other addresses, in blocks of 1 GiB.
    BothAlias,
    /// Code and data in single pages of 4 KiB, data shifted by pages.
    Pages,
    /// Code and data by TTBR1.
    High,
    /// Code and data by TTBR1 with the 64 KiB granule.
    High64K,
    /// At EL0, under other addresses.
    El0,
}

impl Context {
    /// Names what is checked in this context.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "every load and store, VA = PA",
            Self::DataAlias => "every load and store, data by an alias of 1 GiB",
            Self::BothAlias => "every load and store, code and data by aliases of 1 GiB",
            Self::Pages => "every load and store, code and data by pages of 4 KiB",
            Self::High => "every load and store, code and data by TTBR1",
            Self::High64K => {
                "every load and store, code and data by TTBR1 in blocks of 64 KiB pages"
            }
            Self::El0 => "every load and store at EL0",
        }
    }
}

/// All contexts.
pub const CONTEXTS: [Context; 7] = [
    Context::Identity,
    Context::DataAlias,
    Context::BothAlias,
    Context::Pages,
    Context::High,
    Context::High64K,
    Context::El0,
];

fn alias(entry: usize, address: u64) -> u64 {
    (entry as u64 * ROOT_BLOCK) | (address % ROOT_BLOCK)
}

/// Returns where EL0 finds code or data of this image.
pub fn el0_ram(address: u64) -> u64 {
    alias(RAM_EL0, address)
}

/// Returns a routine's address.
pub fn address_of(routine: Routine) -> u64 {
    mmu::address(routine as *const ())
}

/// Installs the aliases. The devices are in the first GiB, as `device` shows.
pub fn install() {
    let ram = image().base / ROOT_BLOCK * ROOT_BLOCK;
    let shared = descriptor::BLOCK | descriptor::NORMAL | descriptor::INNER_SHAREABLE;
    let device = descriptor::DEVICE_BLOCK;
    let entries = [
        (
            RAM_EL0,
            ram | shared | descriptor::ACCESSED | descriptor::EL0 | descriptor::PXN,
        ),
        (DEVICES_EL0, device | descriptor::EL0),
        (RAM_ALIAS, ram | descriptor::RAM_BLOCK),
        (DEVICES_ALIAS, device),
        (PAGES, LEVEL_2.address() | descriptor::TABLE_OR_PAGE),
    ];
    for (index, value) in entries {
        // SAFETY: nothing of the runtime's is mapped by these entries.
        unsafe { mmu::set_root_entry(index, value) };
    }
    HIGH_ROOT.set(0, device);
    HIGH_ROOT.set(1, ram | descriptor::RAM_BLOCK);
    HIGH_ROOT_64K.0[0].store(device, Relaxed);
    let block = ram + image().base % ROOT_BLOCK / BLOCK_64K * BLOCK_64K;
    HIGH_ROOT_64K.0[1].store(block | descriptor::RAM_BLOCK, Relaxed);
    mmu::synchronize();
}

/// Maps the 2 MiB around `code` and around `data` in pages, the data's rotated by one page.
fn map_pages(code: u64, data: u64) -> (u64, u64) {
    const MIB_2: u64 = 2 << 20;
    const PAGE: u64 = 4096;
    let page = descriptor::TABLE_OR_PAGE | descriptor::ACCESSED;
    let (code_base, data_base) = (code / MIB_2 * MIB_2, data / MIB_2 * MIB_2);
    for index in 0..512u64 {
        let place = usize::try_from(index).unwrap_or(0);
        let ram = page | descriptor::NORMAL | descriptor::INNER_SHAREABLE;
        LEVEL_3_RAM.set(place, ram | (code_base + index * PAGE));
        let rotated = data_base + (index + 1) % 512 * PAGE;
        LEVEL_3_DEVICES.set(place, page | descriptor::PXN | descriptor::UXN | rotated);
    }
    LEVEL_2.set(3, LEVEL_3_RAM.address() | descriptor::TABLE_OR_PAGE);
    LEVEL_2.set(7, LEVEL_3_DEVICES.address() | descriptor::TABLE_OR_PAGE);
    mmu::synchronize();
    let base = PAGES as u64 * ROOT_BLOCK;
    let shifted = (data % MIB_2).wrapping_sub(PAGE) % MIB_2;
    (base + 3 * MIB_2 + code % MIB_2, base + 7 * MIB_2 + shifted)
}

fn switch_high(context: Context) {
    let tcr = read_sysreg!("tcr_el1") & !(TCR_EPD1 | TCR_TG1) | TCR_CACHED_1;
    let (root, granule) = match context {
        Context::High64K => (mmu::address(&raw const HIGH_ROOT_64K), TCR_TG1_64K),
        _ => (HIGH_ROOT.address(), 0b10 << 30),
    };
    write_sysreg!("ttbr1_el1", root);
    write_sysreg!("tcr_el1", tcr | granule);
    mmu::synchronize();
}

/// Tells whether the CPU has what a context needs: TGran64 is 0 where 64 KiB pages are.
pub fn available(context: Context) -> bool {
    context != Context::High64K || read_sysreg!("id_aa64mmfr0_el1") >> 24 & 0xf == 0
}

/// Runs a routine with `base` and two more registers in a context; returns x0-x2, x0 as an offset
/// from the address passed.
pub fn run(context: Context, routine: Routine, base: u64, data: [u64; 2]) -> [u64; 3] {
    let code = address_of(routine);
    if context == Context::El0 {
        let exit = run_at_el0(routine, alias(DEVICES_EL0, base), data);
        let [x0, x1, x2, _] = exit.x;
        return [x0.wrapping_sub(alias(DEVICES_EL0, base)), x1, x2];
    }
    let (code, address) = match context {
        Context::DataAlias => (code, alias(DEVICES_ALIAS, base)),
        Context::BothAlias => (alias(RAM_ALIAS, code), alias(DEVICES_ALIAS, base)),
        Context::Pages => map_pages(code, base),
        Context::High => (HIGH + ROOT_BLOCK + code % ROOT_BLOCK, HIGH + base),
        Context::High64K => (HIGH + BLOCK_64K + code % BLOCK_64K, HIGH + base),
        Context::Identity | Context::El0 => (code, base),
    };
    if matches!(context, Context::High | Context::High64K) {
        switch_high(context);
    }
    let [x0, x1, x2] = call(code, address, data);
    [x0.wrapping_sub(address), x1, x2]
}

/// Calls a routine at `code` with x0-x2 as given.
pub fn call(code: u64, address: u64, data: [u64; 2]) -> [u64; 3] {
    let (mut x0, mut x1, mut x2) = (address, data[0], data[1]);
    // SAFETY: the routines access devices only, and use no registers but these.
    unsafe {
        asm!("blr {code}", code = in(reg) code, inout("x0") x0, inout("x1") x1, inout("x2") x2,
             out("x30") _);
    }
    [x0, x1, x2]
}

/// Runs a routine at EL0 with x0 as given.
pub fn run_at_el0(routine: Routine, address: u64, data: [u64; 2]) -> El0Exit {
    let entry = el0_ram(address_of(access_at_el0));
    let function = el0_ram(address_of(routine));
    trap::run_at_el0(entry, [address, data[0], data[1], function])
}

/// Returns where EL0 finds a device.
pub fn el0_device(address: u64) -> u64 {
    alias(DEVICES_EL0, address)
}
