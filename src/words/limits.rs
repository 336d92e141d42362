//! How much of everything the image has room for. A board or manifest beyond a limit is refused by name.

/// Physical CPUs.
pub const MAX_CPUS: usize = 8;
/// Partitions.
pub const MAX_PARTITIONS: usize = 8;
/// vCPUs of one partition: what a GICv2 distributor can address.
pub const MAX_VCPUS: usize = 8;
/// Ranges of RAM a board may have.
pub const MAX_RAM_RANGES: usize = 16;
/// Ranges kept from partitions (firmware, hypervisor, bundle, device tree).
pub const MAX_RESERVED: usize = 32;
/// Pieces one partition's RAM may be made of.
pub const MAX_EXTENTS: usize = 4;
/// Channels in a system.
pub const MAX_CHANNELS: usize = 64;
/// Bytes of a line of the log, of the monitor or of a crash: one length for all, so that their text is written by one code.
pub const LINE: usize = 240;
/// Devices handed to one partition.
pub const MAX_DEVICES: usize = 16;
