//! Holds the filter to real CPUs' values and to properties of any value.

use super::*;
use proptest::prelude::*;

/// What QEMU 10.0.2's CPUs read at EL2 (virt, virtualization=on, gic-version=3): CRm, op2, value; the rest is zero.
type Cpu = &'static [(u8, u8, u64)];

const CORTEX_A53: Cpu = &[
    (1, 0, 0x131),
    (1, 1, 0x1001_1001),
    (1, 2, 0x300_0006),
    (1, 4, 0x1010_1105),
    (1, 5, 0x4000_0000),
    (1, 6, 0x126_0000),
    (1, 7, 0x210_2211),
    (2, 0, 0x210_1110),
    (2, 1, 0x1311_2111),
    (2, 2, 0x2123_2042),
    (2, 3, 0x111_2131),
    (2, 4, 0x1_1142),
    (2, 5, 0x1_1121),
    (3, 0, 0x1011_0222),
    (3, 1, 0x1211_1111),
    (3, 2, 0x43),
    (4, 0, 0x100_0222),
    (5, 0, 0x1030_5106),
    (6, 0, 0x1_1120),
    (7, 0, 0x1122),
];

const CORTEX_A72: Cpu = &[
    (1, 0, 0x131),
    (1, 1, 0x1001_1001),
    (1, 2, 0x300_0006),
    (1, 4, 0x1020_1105),
    (1, 5, 0x4000_0000),
    (1, 6, 0x126_0000),
    (1, 7, 0x210_2211),
    (2, 0, 0x210_1110),
    (2, 1, 0x1311_2111),
    (2, 2, 0x2123_2042),
    (2, 3, 0x111_2131),
    (2, 4, 0x1_1142),
    (2, 5, 0x1_1121),
    (3, 0, 0x1011_0222),
    (3, 1, 0x1211_1111),
    (3, 2, 0x43),
    (4, 0, 0x100_0222),
    (5, 0, 0x1030_5106),
    (6, 0, 0x1_1120),
    (7, 0, 0x1124),
];

const MAX: Cpu = &[
    (1, 0, 0x1102_0131),
    (1, 1, 0x1001_1001),
    (1, 2, 0x600_000a),
    (1, 4, 0x1010_1105),
    (1, 5, 0x4000_0000),
    (1, 6, 0x126_0000),
    (1, 7, 0x212_2211),
    (2, 0, 0x210_1110),
    (2, 1, 0x1311_2111),
    (2, 2, 0x2123_2042),
    (2, 3, 0x111_2131),
    (2, 4, 0x1_1142),
    (2, 5, 0x1101_1121),
    (2, 6, 0x2002_1110),
    (2, 7, 0x111_1111),
    (3, 0, 0x1011_0222),
    (3, 1, 0x1321_1111),
    (3, 2, 0x43),
    (3, 4, 0x11),
    (3, 5, 0x10),
    (3, 6, 0x2),
    (4, 0, 0x1301_0011_2111_0222),
    (4, 1, 0x10_0100_0121),
    (4, 4, 0x110_1101_0021_0021),
    (4, 5, 0x80f1_00fd_0000_0000),
    (5, 0, 0x1000_0000_1030_560a),
    (6, 0, 0x1221_1111_1021_2120),
    (6, 1, 0x111_2111_1021_1502),
    (6, 2, 0x11_0012),
    (7, 0, 0x2100_0323_1020_1126),
    (7, 1, 0x110_1120_1031_2122),
    (7, 2, 0x1221_0111_1201_1011),
    (7, 3, 0x1000_0000_0000_0000),
];

const NEOVERSE_V1: Cpu = &[
    (1, 0, 0x2101_0131),
    (1, 1, 0x1001_0000),
    (1, 2, 0x500_0009),
    (1, 4, 0x1020_1105),
    (1, 5, 0x4000_0000),
    (1, 6, 0x126_0000),
    (1, 7, 0x212_2211),
    (2, 0, 0x210_1110),
    (2, 1, 0x1311_2111),
    (2, 2, 0x2123_2042),
    (2, 3, 0x111_2131),
    (2, 4, 0x1_0142),
    (2, 5, 0x1101_1121),
    (2, 6, 0x102_1110),
    (2, 7, 0x110_0111),
    (3, 0, 0x1011_0222),
    (3, 1, 0x1321_1111),
    (3, 2, 0x43),
    (3, 4, 0x11),
    (4, 0, 0x1101_0001_2111_0112),
    (4, 1, 0x20),
    (4, 4, 0x1000_0010_0000),
    (5, 0, 0xf0_1030_5509),
    (6, 0, 0x1011_1111_1021_2120),
    (6, 1, 0x11_1000_1021_1302),
    (7, 0, 0x10_1125),
    (7, 1, 0x1021_2122),
    (7, 2, 0x220_0111_0210_1011),
];

const ALL: Rights = Rights {
    gic_system_registers: true,
    performance_monitors: true,
    self_hosted_debug: true,
};
const NONE: Rights = Rights {
    gic_system_registers: false,
    performance_monitors: false,
    self_hosted_debug: false,
};

fn set(cpu: Cpu) -> IdSet {
    IdSet::read(|register| {
        cpu.iter()
            .find(|row| (row.0, row.1) == (register.crm(), register.op2()))
            .map_or(0, |row| row.2)
    })
}

fn check(cpu: Cpu, rights: Rights, expected: &[(u8, u8, u64)]) {
    let shown = set(cpu).filtered(rights);
    for (crm, op2, value) in expected {
        let register = IdRegister::new(*crm, *op2).unwrap();
        assert_eq!(shown.get(register), *value, "S3_0_C0_C{crm}_{op2}");
    }
}

#[test]
fn plain_cores_lose_el2_and_little_else() {
    for cpu in [CORTEX_A53, CORTEX_A72] {
        let raw = set(cpu);
        let shown = raw.filtered(ALL);
        for register in IdRegister::all() {
            let expected = match (register.crm(), register.op2()) {
                (4, 0) => 0x0100_0012, // AArch64 at EL1, AArch32 at EL0, no EL2, GIC registers
                (1, 1) => 0x1001_0001, // no Virtualization
                (2, 6) => 0,
                (7, 0) => 0x1122, // 40 bits of address: what stage 2 translates
                _ => raw.get(register),
            };
            assert_eq!(shown.get(register), expected, "{register:?}");
        }
    }
    check(
        CORTEX_A72,
        NONE,
        &[
            (4, 0, 0x12),
            (5, 0, 0x1030_5006),
            (1, 1, 0x0001_0001),
            (1, 2, 0x6),
        ],
    );
}

#[test]
fn a_core_with_everything_shows_what_a_partition_may_use() {
    check(
        MAX,
        ALL,
        &[
            (4, 0, 0x1101_0000_0111_0012), // no EL2, RAS, SVE, SEL2; CSV2 1
            (4, 1, 0x21),                  // BT, SSBS; no MTE, SME, NMI
            (4, 2, 0),
            (4, 4, 0),
            (4, 5, 0),
            (4, 7, 0),
            (5, 0, 0x1030_560a), // no HPMN0
            (5, 1, 0),
            (6, 0, 0x1221_1111_1021_2120),
            (6, 1, 0x0111_2111_1021_1502),
            (6, 2, 0x0010_0010),           // RPRES, BC; no WFxT, MOPS
            (7, 0, 0x1020_1122),           // 40 bits; no FGT, ECV, stage 2
            (7, 1, 0x0110_1020_0030_2002), // no VMIDBits, VH, LO, XNX, HCX
            (7, 2, 0x1021_0011_1001_0011), // no IESB, NV, FWB, EVT
            (7, 3, 0x1000_0000_0000_0000), // Spec_FPACC
            (1, 0, 0x0101_0131),
            (1, 1, 0x1001_0001),
            (1, 2, 0x0600_000a),
            (2, 5, 0x1101_1121),
            (2, 6, 0x0002_1010),
            (3, 4, 0x11),
            (3, 5, 0),
            (3, 6, 0x2),
        ],
    );
}

#[test]
fn an_absent_double_lock_stays_absent() {
    check(NEOVERSE_V1, ALL, &[(5, 0, 0xf0_1030_5509), (4, 4, 0)]);
}

#[test]
fn absent_floating_point_stays_absent() {
    let absent = 0x00ff_0011;
    assert_eq!(filter(IdRegister::AA64PFR0, absent, ALL), absent);
    let no_granule = 0xff00_0000;
    assert_eq!(filter(IdRegister::AA64MMFR0, no_granule, ALL), no_granule);
}

#[test]
fn foreign_performance_monitors_are_hidden() {
    assert_eq!(filter(IdRegister::AA64DFR0, 0xf06, ALL), 0x006);
    assert_eq!(filter(IdRegister::AA64DFR0, 0x906, ALL), 0x606);
    assert_eq!(filter(IdRegister::AA64DFR0, 0x406, ALL), 0x406);
    assert_eq!(filter(IdRegister::AA64DFR0, 0x406, NONE), 0x006);
}

#[test]
fn each_register_and_field_has_one_rule() {
    for (index, (register, fields)) in TABLE.iter().enumerate() {
        assert!(TABLE[..index].iter().all(|(other, _)| other != register));
        for pair in fields.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{register:?} out of order");
        }
        assert!(fields.iter().all(|(low, _)| low % 4 == 0 && *low <= 60));
    }
}

#[test]
fn the_block_has_56_encodings_and_no_more() {
    let all: Vec<_> = IdRegister::all().collect();
    assert_eq!(all.len(), 56);
    for (index, register) in all.iter().enumerate() {
        assert_eq!(register.index(), index);
        assert_eq!(
            IdRegister::new(register.crm(), register.op2()),
            Some(*register)
        );
    }
    for outside in [(0, 0), (0, 5), (8, 0), (1, 8), (255, 255)] {
        assert_eq!(IdRegister::new(outside.0, outside.1), None);
    }
}

#[test]
fn controls_follow_the_features() {
    let (a53, max, v1) = (set(CORTEX_A53), set(MAX), set(NEOVERSE_V1));
    let a53 = features(|id| a53.get(id));
    assert_eq!(
        a53,
        HostFeatures {
            performance_monitors: 1,
            double_lock: true,
            physical_address_range: 2,
            gic_system_registers: true,
            aarch32_el0: true,
            ..HostFeatures::default()
        }
    );
    let max = features(|id| max.get(id));
    assert!(max.pointer_authentication && max.sve && max.sme && max.mte && max.hcrx);
    assert!(max.fine_grained_traps && max.vhe && max.nested && max.limited_ordering && max.ras);
    assert!(max.context_number && max.nmi && max.stage_2_force_write_back && max.vmid_16);
    assert!(!max.profiling && !max.trace_buffer && !max.mpam && !max.activity_monitors);
    assert_eq!((max.enhanced_counter, max.enhanced_traps), (2, 2));
    assert_eq!(
        (max.physical_address_range, max.performance_monitors),
        (6, 6)
    );
    assert!(features(|id| v1.get(id)).stage_2_execute_never);
    assert_eq!(features(|_| u64::MAX).performance_monitors, 0);
}

/// Features that need EL2, or registers nobody switches: CRm, op2, lowest bit (Arm ARM D24.2).
const NEVER: &[(u8, u8, u32)] = &[
    (4, 0, 8),
    (4, 0, 12),
    (4, 0, 28),
    (4, 0, 32),
    (4, 0, 36),
    (4, 0, 40),
    (4, 0, 44),
    (4, 0, 52),
    (4, 1, 8),
    (4, 1, 24),
    (4, 1, 28),
    (4, 1, 36),
    (4, 1, 44),
    (4, 1, 48),
    (5, 0, 4),
    (5, 0, 32),
    (5, 0, 40),
    (5, 0, 44),
    (5, 0, 48),
    (5, 0, 52),
    (6, 0, 24),
    (6, 1, 60),
    (6, 2, 16),
    (6, 2, 32),
    (7, 0, 56),
    (7, 0, 60),
    (7, 1, 4),
    (7, 1, 8),
    (7, 1, 16),
    (7, 1, 28),
    (7, 1, 32),
    (7, 1, 40),
    (7, 2, 24),
    (7, 2, 40),
    (7, 2, 56),
    (7, 3, 0),
    (7, 3, 4),
    (7, 3, 8),
    (7, 3, 16),
    (7, 3, 24),
    (7, 3, 28),
    (7, 3, 32),
    (1, 1, 12),
    (1, 0, 20),
    (1, 0, 28),
    (1, 2, 12),
    (1, 2, 28),
];

proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    #[test]
    fn what_is_shown_is_never_more_than_there_is(crm in 1_u8..=7, op2 in 0_u8..=7, raw: u64, gic: bool, pmu: bool) {
        let rights = Rights { gic_system_registers: gic, performance_monitors: pmu, self_hosted_debug: true };
        let register = IdRegister::new(crm, op2).unwrap();
        let shown = filter(register, raw, rights);
        for low in (0..64).step_by(4) {
            prop_assert!((shown >> low) & 0xf <= (raw >> low) & 0xf, "{register:?} bit {low}");
        }
        prop_assert_eq!(filter(register, shown, rights), shown, "showing it twice changes nothing");
        for (_, _, low) in NEVER.iter().filter(|row| (row.0, row.1) == (crm, op2)) {
            prop_assert_eq!((shown >> low) & 0xf, 0, "{:?} bit {}", register, low);
        }
    }

    #[test]
    fn reserved_encodings_read_as_zero(raw: u64) {
        for (crm, op2) in [(1, 3), (3, 3), (3, 7), (4, 2), (4, 3), (4, 6), (4, 7), (5, 1), (5, 2), (5, 3), (5, 4),
            (5, 5), (5, 6), (5, 7), (6, 4), (6, 7), (7, 4), (7, 5), (7, 6), (7, 7), (4, 4), (4, 5), (3, 5)]
        {
            prop_assert_eq!(filter(IdRegister::new(crm, op2).unwrap(), raw, ALL), 0);
        }
    }
}
