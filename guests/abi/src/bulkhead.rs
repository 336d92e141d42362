//! Bulkhead's own services (SMC64 fast calls, owner 6) and the vendor hypervisor's identification.

/// `CALL_UID` of the vendor-specific hypervisor service.
pub const CALL_UID: u32 = 0x8600_ff01;
/// `REVISION` of the vendor-specific hypervisor service.
pub const REVISION: u32 = 0x8600_ff03;
/// dad6d56c-1bb2-415d-9d86-11ac172e91df as the four words `CALL_UID` returns (RFC 4122 bytes, each word little-endian).
pub const UID: [u32; 4] = [0x6cd5_d6da, 0x5d41_b21b, 0xac11_869d, 0xdf91_2e17];
/// Major and minor revision of this ABI.
pub const REVISION_MAJOR_MINOR: (u32, u32) = (1, 0);

/// `FEATURES(function)`.
pub const FEATURES: u32 = 0xc600_0000;
/// `PARTITION_INFO()`.
pub const PARTITION_INFO: u32 = 0xc600_0001;
/// `CONSOLE_WRITE(count, bytes...)`.
pub const CONSOLE_WRITE: u32 = 0xc600_0002;
/// `CONSOLE_READ(count)`.
pub const CONSOLE_READ: u32 = 0xc600_0003;
/// `CHANNEL_INFO(index)`.
pub const CHANNEL_INFO: u32 = 0xc600_0010;
/// `CHANNEL_NOTIFY(index)`.
pub const CHANNEL_NOTIFY: u32 = 0xc600_0011;
/// `HEARTBEAT(milliseconds, 0)`.
pub const HEARTBEAT: u32 = 0xc600_0020;
/// `PARTITION_STATUS(id)`.
pub const PARTITION_STATUS: u32 = 0xc600_0030;
/// `PARTITION_CONTROL(id, action)`.
pub const PARTITION_CONTROL: u32 = 0xc600_0031;
/// `STATISTIC(id, vcpu, counter)`.
pub const STATISTIC: u32 = 0xc600_0040;
/// `CRASH_RECORD(id, index, item)`: x1 to x3 of an item of a partition's crash record, index 0 the newest.
pub const CRASH_RECORD: u32 = 0xc600_0041;

/// Done.
pub const SUCCESS: i64 = 0;
/// No such function.
pub const NOT_SUPPORTED: i64 = -1;
/// An argument is out of its range.
pub const INVALID_PARAMETER: i64 = -3;
/// Not this partition's to do, or no such thing.
pub const DENIED: i64 = -4;
/// Legal, but not in the present state.
pub const BUSY: i64 = -5;
/// Nothing to return now.
pub const NO_DATA: i64 = -6;

/// Most bytes one `CONSOLE_WRITE` carries.
pub const CONSOLE_WRITE_MAX: u64 = 48;
/// Most bytes one `CONSOLE_READ` returns.
pub const CONSOLE_READ_MAX: u64 = 16;

/// What `PARTITION_STATUS` says of a partition.
pub mod state {
    /// Not running.
    pub const OFF: u64 = 0;
    /// Running, or on its way up or down.
    pub const RUNNING: u64 = 1;
    /// Held by a manager.
    pub const PAUSED: u64 = 2;
    /// Stopped by a fault.
    pub const CRASHED: u64 = 3;
}

/// `PARTITION_CONTROL`, x1: the board itself, for a partition that manages every other. `STOP` switches it off, `RESTART`
/// resets it.
pub const BOARD: u64 = 0xffff;

/// What `PARTITION_CONTROL` does.
pub mod action {
    /// Starts a partition that is off or crashed.
    pub const START: u64 = 0;
    /// Stops one that runs or is paused.
    pub const STOP: u64 = 1;
    /// Stops one that runs or is paused, and starts it again.
    pub const RESTART: u64 = 2;
    /// Holds the vCPUs of one that runs where they are.
    pub const PAUSE: u64 = 3;
    /// Lets the vCPUs of one that is paused go on.
    pub const RESUME: u64 = 4;
}

/// Why a partition last stopped: `PARTITION_INFO` and `PARTITION_STATUS`, x3.
pub mod stop_reason {
    /// It never stopped.
    pub const NEVER: u64 = 0;
    /// PSCI SYSTEM_OFF.
    pub const OFF: u64 = 1;
    /// PSCI SYSTEM_RESET or SYSTEM_RESET2.
    pub const RESET: u64 = 2;
    /// A manager stopped it.
    pub const MANAGER: u64 = 3;
    /// It crashed.
    pub const CRASH: u64 = 4;
    /// It missed its heartbeat.
    pub const HEARTBEAT: u64 = 5;
}

/// `PARTITION_INFO`, x1: the capability `manage`, over at least one partition.
pub const CAPABILITY_MANAGE: u64 = 1 << 32;
/// `PARTITION_INFO`, x1: the capability `observe`.
pub const CAPABILITY_OBSERVE: u64 = 1 << 33;
/// How many counters `STATISTIC` knows.
pub const COUNTERS: u64 = 11;

/// Why a partition crashed: `CRASH_RECORD`, item `WHEN`, x1 bits 15:0.
pub mod crash_cause {
    /// An exception vector of its EL1 faults on itself.
    pub const EXCEPTION_LOOP: u64 = 1;
    /// It missed its heartbeat.
    pub const HEARTBEAT: u64 = 2;
    /// An SError, such as a RAM error.
    pub const SYSTEM_ERROR: u64 = 3;
    /// A payload is damaged.
    pub const LOAD: u64 = 4;
    /// The hypervisor failed on one of its cores.
    pub const HYPERVISOR: u64 = 5;
}

/// What `CRASH_RECORD` returns in x1, x2 and x3.
pub mod crash_item {
    /// Cause (15:0), vCPU (31:16), exits recorded (47:32); starts until then; milliseconds of the board's counter.
    pub const WHEN: u64 = 0;
    /// PC of the fault; PSTATE; ESR.
    pub const FAULT: u64 = 1;
    /// FAR; IPA, all ones where there is none; VBAR_EL1.
    pub const ADDRESS: u64 = 2;
    /// ESR_EL1; FAR_EL1; ELR_EL1.
    pub const EL1: u64 = 3;
    /// SP_EL0; SP_EL1; SPSR_EL1.
    pub const STACK: u64 = 4;
    /// The first of eleven: three of X0 to X30 each, in order, the last two zero.
    pub const REGISTERS: u64 = 16;
    /// The first of as many as there are exits, newest first: when, in milliseconds; its kind (7:0: 0 synchronous, 1 interrupt,
    /// 2 SError) and ESR or INTID (63:8); PC.
    pub const EXITS: u64 = 32;
}
