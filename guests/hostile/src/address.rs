//! Addresses worth attacking: each page the guest ABI names, what lies between them, and the edges.

use bulkhead_rt::abi::layout;

use crate::random::Random;

/// Bytes of a page.
const PAGE: u64 = 4096;
/// First address and size of what there is or is not.
const REGIONS: [(u64, u64); 10] = [
    (layout::GICD_BASE, layout::GICD_SIZE),
    (layout::GICC_BASE, layout::GICC_SIZE),
    (layout::GICR_BASE, 8 * layout::GICR_STRIDE),
    (layout::UART_BASE, layout::UART_SIZE),
    (layout::CHANNEL_BASE, 0x1_0000),
    (layout::FLASH_BASE, layout::FLASH_SIZE),
    (0, 0x400_0000),
    (0x0a00_0000, 0x10_0000),
    (0x0b00_0000, 0x3500_0000),
    // Past the end of any attacker's RAM, where others' might be.
    (0x4400_0000, 0x40_0000_0000),
];

/// Where GiB 0, the devices, is mapped once more as normal memory: accesses need not be aligned there.
pub const NORMAL_ALIAS: u64 = 4 << 30;
/// Where a 32-bit program at EL0 finds GiB 0, and RAM.
pub const EL0_DEVICES: u64 = 2 << 30;
/// See [`EL0_DEVICES`].
pub const EL0_RAM: u64 = 3 << 30;
/// Bytes of each of these.
const GIB: u64 = 1 << 30;

/// An address of the interrupt controller: one of its first three regions.
pub fn controller(random: &mut Random) -> u64 {
    let region = random.pick(&[REGIONS[0], REGIONS[1], REGIONS[2]]);
    inside(random, region)
}

/// An address to access: any, half of what is low as normal memory, where nothing need be aligned.
pub fn target(random: &mut Random) -> u64 {
    let address = any(random);
    if address < GIB && random.one_in(2) {
        address + NORMAL_ALIAS
    } else {
        address
    }
}

/// An address that a 32-bit program at EL0 can access.
pub fn target_el0(random: &mut Random) -> u64 {
    EL0_DEVICES + any(random) % GIB
}

/// Any of them; one in four near a page's end.
pub fn any(random: &mut Random) -> u64 {
    let region = random.pick(&REGIONS);
    inside(random, region)
}

fn inside(random: &mut Random, (base, size): (u64, u64)) -> u64 {
    let address = base + random.below(size);
    match random.below(8) {
        0 | 1 => (address | (PAGE - 1)) - random.below(16),
        2 => address,
        _ => address & !7,
    }
}
