//! The golden list: every number of the ABI as first released. Numbers are append-only; a change here is a new ABI.

use bulkhead_abi::{bulkhead, psci, pv_time, smccc, trng};

/// Names in two lists side by side: what the crate says, and what was released.
macro_rules! golden {
    ($($module:ident { $($name:ident = $value:expr,)* })*) => {
        $(
            #[test]
            fn $module() {
                $(assert_eq!(i128::from(bulkhead_abi::$module::$name), $value, stringify!($name));)*
            }
        )*
    };
}

golden! {
    smccc {
        VERSION = 0x8000_0000,
        ARCH_FEATURES = 0x8000_0001,
        ARCH_SOC_ID = 0x8000_0002,
        ARCH_WORKAROUND_1 = 0x8000_8000,
        ARCH_WORKAROUND_2 = 0x8000_7fff,
        ARCH_WORKAROUND_3 = 0x8000_3fff,
        VERSION_1_2 = 0x1_0002,
        SUCCESS = 0,
        NOT_SUPPORTED = -1,
        NOT_REQUIRED = -2,
        INVALID_PARAMETER = -3,
        FAST = 0x8000_0000,
        SMC64 = 0x4000_0000,
    }
    psci {
        VERSION = 0x8400_0000,
        CPU_SUSPEND_32 = 0x8400_0001,
        CPU_SUSPEND_64 = 0xc400_0001,
        CPU_OFF = 0x8400_0002,
        CPU_ON_32 = 0x8400_0003,
        CPU_ON_64 = 0xc400_0003,
        AFFINITY_INFO_32 = 0x8400_0004,
        AFFINITY_INFO_64 = 0xc400_0004,
        MIGRATE_32 = 0x8400_0005,
        MIGRATE_INFO_TYPE = 0x8400_0006,
        SYSTEM_OFF = 0x8400_0008,
        SYSTEM_RESET = 0x8400_0009,
        FEATURES = 0x8400_000a,
        SYSTEM_SUSPEND_32 = 0x8400_000e,
        SYSTEM_SUSPEND_64 = 0xc400_000e,
        SYSTEM_RESET2_32 = 0x8400_0012,
        SYSTEM_RESET2_64 = 0xc400_0012,
        VERSION_1_1 = 0x1_0001,
        SUCCESS = 0,
        NOT_SUPPORTED = -1,
        INVALID_PARAMETERS = -2,
        DENIED = -3,
        ALREADY_ON = -4,
        ON_PENDING = -5,
        INTERNAL_FAILURE = -6,
        NOT_PRESENT = -7,
        DISABLED = -8,
        INVALID_ADDRESS = -9,
        AFFINITY_ON = 0,
        AFFINITY_OFF = 1,
        AFFINITY_ON_PENDING = 2,
        NO_TRUSTED_OS = 2,
    }
    trng {
        VERSION = 0x8400_0050,
        FEATURES = 0x8400_0051,
        GET_UUID = 0x8400_0052,
        RND_32 = 0x8400_0053,
        RND_64 = 0xc400_0053,
        VERSION_1_0 = 0x1_0000,
        SUCCESS = 0,
        NOT_SUPPORTED = -1,
        INVALID_PARAMETERS = -2,
        NO_ENTROPY = -3,
    }
    pv_time {
        FEATURES = 0xc500_0020,
        ST = 0xc500_0021,
    }
    bulkhead {
        CALL_UID = 0x8600_ff01,
        REVISION = 0x8600_ff03,
        FEATURES = 0xc600_0000,
        PARTITION_INFO = 0xc600_0001,
        CONSOLE_WRITE = 0xc600_0002,
        CONSOLE_READ = 0xc600_0003,
        CHANNEL_INFO = 0xc600_0010,
        CHANNEL_NOTIFY = 0xc600_0011,
        HEARTBEAT = 0xc600_0020,
        PARTITION_STATUS = 0xc600_0030,
        PARTITION_CONTROL = 0xc600_0031,
        STATISTIC = 0xc600_0040,
        CRASH_RECORD = 0xc600_0041,
        SUCCESS = 0,
        NOT_SUPPORTED = -1,
        INVALID_PARAMETER = -3,
        DENIED = -4,
        BUSY = -5,
        NO_DATA = -6,
        CONSOLE_WRITE_MAX = 48,
        CONSOLE_READ_MAX = 16,
        CAPABILITY_MANAGE = 0x1_0000_0000,
        CAPABILITY_OBSERVE = 0x2_0000_0000,
        COUNTERS = 11,
    }
    layout {
        RAM_BASE = 0x4000_0000,
        KERNEL_BASE = 0x4020_0000,
        GICD_BASE = 0x0800_0000,
        GICD_SIZE = 0x1_0000,
        GICC_BASE = 0x0801_0000,
        GICC_SIZE = 0x2000,
        GICR_BASE = 0x080a_0000,
        GICR_STRIDE = 0x2_0000,
        UART_BASE = 0x0900_0000,
        UART_SIZE = 0x1000,
        UART_INTID = 33,
        CHANNEL_BASE = 0x0a10_0000,
        CHANNEL_FIRST_INTID = 256,
        TIMER_PHYSICAL_INTID = 30,
        TIMER_VIRTUAL_INTID = 27,
        TIMER_SECURE_INTID = 29,
        TIMER_HYPERVISOR_INTID = 26,
    }
}

/// A UUID's sixteen bytes, each result register little-endian (DEN0028 6.2).
fn uuid(words: [u32; 4]) -> u128 {
    let bytes = words.map(u32::to_le_bytes).concat();
    bytes
        .iter()
        .fold(0, |value, byte| value << 8 | u128::from(*byte))
}

#[test]
fn identifications_are_the_released_uuids() {
    assert_eq!(uuid(bulkhead::UID), 0xdad6d56c_1bb2_415d_9d86_11ac172e91df);
    assert_eq!(uuid(trng::UUID), 0xd10c3673_ea8c_4475_ba9f_e7be4c35cb3c);
    assert_eq!(bulkhead::REVISION_MAJOR_MINOR, (1, 0));
}

#[test]
fn states_actions_and_reasons_keep_their_numbers() {
    use bulkhead::{action, state, stop_reason};
    assert_eq!(
        [state::OFF, state::RUNNING, state::PAUSED, state::CRASHED],
        [0, 1, 2, 3]
    );
    assert_eq!(bulkhead::BOARD, 0xffff);
    assert_eq!(
        [
            action::START,
            action::STOP,
            action::RESTART,
            action::PAUSE,
            action::RESUME
        ],
        [0, 1, 2, 3, 4]
    );
    assert_eq!(
        [
            stop_reason::NEVER,
            stop_reason::OFF,
            stop_reason::RESET,
            stop_reason::MANAGER,
            stop_reason::CRASH,
            stop_reason::HEARTBEAT
        ],
        [0, 1, 2, 3, 4, 5]
    );
}

#[test]
fn every_call_has_a_number_of_its_own_in_its_owners_range() {
    let arm = [smccc::VERSION, smccc::ARCH_FEATURES, smccc::ARCH_SOC_ID];
    let standard = [
        psci::VERSION,
        psci::CPU_SUSPEND_64,
        psci::CPU_ON_64,
        trng::VERSION,
        trng::FEATURES,
        trng::GET_UUID,
        trng::RND_32,
        trng::RND_64,
    ];
    let hypervisor = [pv_time::FEATURES, pv_time::ST];
    let vendor = [
        bulkhead::CALL_UID,
        bulkhead::REVISION,
        bulkhead::FEATURES,
        bulkhead::PARTITION_INFO,
        bulkhead::CONSOLE_WRITE,
        bulkhead::CONSOLE_READ,
        bulkhead::CHANNEL_INFO,
        bulkhead::CHANNEL_NOTIFY,
        bulkhead::HEARTBEAT,
        bulkhead::PARTITION_STATUS,
        bulkhead::PARTITION_CONTROL,
        bulkhead::STATISTIC,
        bulkhead::CRASH_RECORD,
    ];
    let owners: [(u32, &[u32]); 4] = [(0, &arm), (4, &standard), (5, &hypervisor), (6, &vendor)];
    let mut all = Vec::new();
    for (owner, functions) in owners {
        for function in functions {
            assert_eq!(function >> 24 & 0x3f, owner, "{function:#x}");
            assert_eq!(function >> 31, 1, "{function:#x} is fast");
            assert!(!all.contains(function), "{function:#x}");
            all.push(*function);
        }
    }
}

#[test]
fn crash_causes_and_items_keep_their_numbers() {
    use bulkhead::{crash_cause, crash_item};
    assert_eq!(
        [
            crash_cause::EXCEPTION_LOOP,
            crash_cause::HEARTBEAT,
            crash_cause::SYSTEM_ERROR,
            crash_cause::LOAD,
            crash_cause::HYPERVISOR
        ],
        [1, 2, 3, 4, 5]
    );
    assert_eq!(
        [
            crash_item::WHEN,
            crash_item::FAULT,
            crash_item::ADDRESS,
            crash_item::EL1,
            crash_item::STACK,
            crash_item::REGISTERS,
            crash_item::EXITS
        ],
        [0, 1, 2, 3, 4, 16, 32]
    );
}
