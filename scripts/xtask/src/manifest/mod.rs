//! The system manifest: how a board is divided, as its author wrote it.
//!
//! [`parse`] turns text into these types or says, for each mistake, where it is and what would be right.
//! What a manifest means on a given board is `check`'s to say.

pub mod parse;
#[cfg(any(test, fuzzing))]
pub mod property;
pub mod rules;
pub mod section;
pub mod value;

use crate::report::{Located, Span};

/// A system, as written.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// A folder under `platform/`, or a path to one.
    pub board: Located<String>,
    /// Whether the hypervisor runs its self-test before it starts the partitions.
    pub selftest: bool,
    /// Whether it audits its tables whenever a partition starts or stops.
    pub audit: bool,
    /// The partitions, in order; a partition's identifier is its index.
    pub partitions: Vec<Partition>,
    /// The channels, in order.
    pub channels: Vec<Channel>,
}

/// One `[[partition]]`.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its name.
    pub name: Located<String>,
    /// Physical CPUs, in vCPU order.
    pub cpus: Vec<Located<u8>>,
    /// Bytes of RAM.
    pub memory: Located<u64>,
    /// The kernel.
    pub kernel: Located<Kernel>,
    /// Path of the initial ramdisk.
    pub initrd: Option<Located<String>>,
    /// The command line.
    pub bootargs: String,
    /// Where the kernel goes in the guest.
    pub load: Option<Located<u64>>,
    /// Where the device tree goes in the guest.
    pub dtb: Option<Located<u64>>,
    /// What happens when it crashes.
    pub on_crash: OnCrash,
    /// The longest heartbeat it may ask for, in milliseconds.
    pub heartbeat_ms: Option<u32>,
    /// What it may do to others.
    pub capabilities: Vec<Located<Capability>>,
    /// Paths of the board's devices it owns.
    pub devices: Vec<Located<String>>,
    /// Where it says `dma = "unconfined"`, if it does.
    pub dma_unconfined: Option<Span>,
}

/// Where a kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// A guest of this repository, or a file.
    Named(String),
    /// The kernel in a Debian arm64 package, or another file of it.
    Debian {
        /// The package.
        package: String,
        /// The file's path in it.
        file: Option<String>,
    },
}

/// `on_crash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCrash {
    /// It stays down.
    Stop,
    /// It is started again, at most `limit` times within the window, or since power-on.
    Restart {
        /// Most restarts.
        limit: u32,
        /// The window, in milliseconds.
        window_ms: Option<u32>,
    },
    /// It stays down and its managers are told.
    Notify,
}

/// One entry of `capabilities`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `manage:NAME`.
    Manage(String),
    /// `observe`.
    Observe,
}

/// One `[[channel]]`.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name.
    pub name: Located<String>,
    /// The end that writes and the end that reads.
    pub between: [Located<String>; 2],
    /// Whether both ends write.
    pub both: bool,
    /// Bytes.
    pub size: Located<u64>,
}
