//! What every guest sees, on every board: the one virtual machine.

/// First address of a partition's RAM.
pub const RAM_BASE: u64 = 0x4000_0000;
/// Where the kernel's 2 MiB-aligned base is, unless its header or the manifest says otherwise.
pub const KERNEL_BASE: u64 = 0x4020_0000;
/// Base of a boot flash that holds nothing: reads as zero, writes are refused. Boot loaders look for settings there.
pub const FLASH_BASE: u64 = 0x0400_0000;
/// Size of that flash in bytes.
pub const FLASH_SIZE: u64 = 0x8_0000;
/// GIC distributor, both versions.
pub const GICD_BASE: u64 = 0x0800_0000;
/// Size of the distributor's frame.
pub const GICD_SIZE: u64 = 0x1_0000;
/// GICv2 CPU interface.
pub const GICC_BASE: u64 = 0x0801_0000;
/// Size of the GICv2 CPU interface.
pub const GICC_SIZE: u64 = 0x2000;
/// GICv2: GICC_DIR, in the interface's second page.
pub const GICC_DIR: u64 = GICC_BASE + 0x1000;
/// GICv3 redistributors, one after another in vCPU order.
pub const GICR_BASE: u64 = 0x080a_0000;
/// Size of one GICv3 redistributor: RD_base and SGI_base frames.
pub const GICR_STRIDE: u64 = 0x2_0000;
/// The virtual PL011.
pub const UART_BASE: u64 = 0x0900_0000;
/// Size of the virtual PL011's frame.
pub const UART_SIZE: u64 = 0x1000;
/// Interrupt of the virtual PL011: SPI 1.
pub const UART_INTID: u32 = 33;
/// First channel's shared memory.
pub const CHANNEL_BASE: u64 = 0x0a10_0000;
/// Doorbell of a partition's first channel, the others' follow: SPIs above those of the boards' devices, so that a
/// device keeps its own INTID.
pub const CHANNEL_FIRST_INTID: u16 = 256;
/// Virtual machine's GIC maintenance interrupt is not visible; its timer's PPIs are:
/// EL1 physical timer.
pub const TIMER_PHYSICAL_INTID: u32 = 30;
/// EL1 virtual timer.
pub const TIMER_VIRTUAL_INTID: u32 = 27;
/// EL3 physical (secure) timer, named in the tree because the binding wants four entries.
pub const TIMER_SECURE_INTID: u32 = 29;
/// EL2 physical timer, named in the tree because the binding wants four entries.
pub const TIMER_HYPERVISOR_INTID: u32 = 26;
/// The PMU's overflow interrupt (SBSA's number; the board's own is routed to it).
pub const PMU_INTID: u32 = 23;
