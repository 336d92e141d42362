//! System registers: what the ID registers show works, what they hide is UNDEFINED.

use core::arch::asm;

use bulkhead_rt::{mmu, read_sysreg, write_sysreg};

use crate::code::Register;
use crate::environment::Environment;
use crate::tap::Tap;
use crate::trap::{self, class};

/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    agreement(tap);
    hidden(tap, environment);
    plain(tap);
    set_way(tap);
    sweep(tap);
    pointer_authentication(tap);
}

/// A feature: its ID field, from which value on it is there, a register it brings.
struct Feature {
    name: &'static str,
    shown: fn() -> bool,
    register: Register,
}

const fn feature(name: &'static str, shown: fn() -> bool, register: Register) -> Feature {
    Feature {
        name,
        shown,
        register,
    }
}

macro_rules! field {
    ($register:literal, $shift:literal) => {
        (read_sysreg!($register) >> $shift) & 0xf
    };
}

/// Is an implementation defined PMU (15) or none (0)?
fn architected(field: u64) -> bool {
    field != 0 && field != 0xf
}

// ID registers by encoding where the assembler may not know them: S3_0_C0_C4_5 is ID_AA64SMFR0,
// S3_0_C0_C7_3 is ID_AA64MMFR3.
const FEATURES: &[Feature] = &[
    feature(
        "SVE: ZCR_EL1 as its ID field says",
        || field!("id_aa64pfr0_el1", 32) != 0,
        Register::new(3, 0, 1, 2, 0),
    ),
    feature(
        "SME: SMCR_EL1 as its ID field says",
        || field!("id_aa64pfr1_el1", 24) != 0,
        Register::new(3, 0, 1, 2, 6),
    ),
    feature(
        "MTE2: GCR_EL1 as its ID field says",
        || field!("id_aa64pfr1_el1", 8) >= 2,
        Register::new(3, 0, 1, 0, 6),
    ),
    feature(
        "LOR: LORID_EL1 as its ID field says",
        || field!("id_aa64mmfr1_el1", 16) != 0,
        Register::new(3, 0, 10, 4, 7),
    ),
    feature(
        "RAS: ERRIDR_EL1 as its ID field says",
        || field!("id_aa64pfr0_el1", 28) != 0,
        Register::new(3, 0, 5, 3, 0),
    ),
    feature(
        "AMU: AMCR_EL0 as its ID field says",
        || field!("id_aa64pfr0_el1", 44) != 0,
        Register::new(3, 3, 13, 2, 0),
    ),
    feature(
        "MPAM: MPAM1_EL1 as its ID fields say",
        || field!("id_aa64pfr0_el1", 40) | field!("id_aa64pfr1_el1", 16) != 0,
        Register::new(3, 0, 10, 5, 0),
    ),
    feature(
        "trace: TRCCONFIGR as its ID field says",
        || field!("id_aa64dfr0_el1", 4) != 0,
        Register::new(2, 1, 0, 4, 0),
    ),
    feature(
        "SPE: PMSIDR_EL1 as its ID field says",
        || field!("id_aa64dfr0_el1", 32) != 0,
        Register::new(3, 0, 9, 9, 7),
    ),
    feature(
        "TRF: TRFCR_EL1 as its ID field says",
        || field!("id_aa64dfr0_el1", 40) != 0,
        Register::new(3, 0, 1, 2, 1),
    ),
    feature(
        "TRBE: TRBIDR_EL1 as its ID field says",
        || field!("id_aa64dfr0_el1", 44) != 0,
        Register::new(3, 0, 9, 11, 7),
    ),
    feature(
        "BRBE: BRBIDR0_EL1 as its ID field says",
        || field!("id_aa64dfr0_el1", 52) != 0,
        Register::new(2, 1, 9, 2, 0),
    ),
    feature(
        "PMU: PMCR_EL0 as its ID field says",
        || architected(field!("id_aa64dfr0_el1", 8)),
        Register::new(3, 3, 9, 12, 0),
    ),
    feature(
        "RNG: RNDR as its ID field says",
        || field!("id_aa64isar0_el1", 60) != 0,
        Register::new(3, 3, 2, 4, 0),
    ),
    feature(
        "GCS: GCSCR_EL1 as its ID field says",
        || field!("id_aa64pfr1_el1", 44) != 0,
        Register::new(3, 0, 2, 5, 0),
    ),
    feature(
        "TCRX: TCR2_EL1 as its ID field says",
        || field!("S3_0_C0_C7_3", 0) != 0,
        Register::new(3, 0, 2, 0, 3),
    ),
    feature(
        "SCTLRX: SCTLR2_EL1 as its ID field says",
        || field!("S3_0_C0_C7_3", 4) != 0,
        Register::new(3, 0, 1, 0, 3),
    ),
    feature(
        "S1PIE: PIR_EL1 as its ID field says",
        || field!("S3_0_C0_C7_3", 8) != 0,
        Register::new(3, 0, 10, 2, 3),
    ),
    feature(
        "S1POE: POR_EL1 as its ID field says",
        || field!("S3_0_C0_C7_3", 16) != 0,
        Register::new(3, 0, 10, 2, 4),
    ),
    feature(
        "AIE: MAIR2_EL1 as its ID field says",
        || field!("S3_0_C0_C7_3", 24) != 0,
        Register::new(3, 0, 10, 2, 1),
    ),
    feature(
        "GIC system registers: ICC_SRE_EL1 as its ID field says",
        || field!("id_aa64pfr0_el1", 24) != 0,
        Register::new(3, 0, 12, 12, 5),
    ),
    feature(
        "PAuth: APIAKeyLo_EL1 as its ID field says",
        authenticates,
        Register::new(3, 0, 2, 1, 0),
    ),
    feature(
        "CSV2_2: SCXTNUM_EL1 as its ID field says",
        contexts,
        Register::new(3, 0, 13, 0, 7),
    ),
];

/// ID_AA64ISAR1.API, APA or ID_AA64ISAR2.APA3.
fn authenticates() -> bool {
    field!("id_aa64isar1_el1", 8) | field!("id_aa64isar1_el1", 4) | field!("S3_0_C0_C6_2", 12) != 0
}

/// ID_AA64PFR0.CSV2 from 2 on, or ID_AA64PFR1.CSV2_frac from 2 on with CSV2 = 1.
fn contexts() -> bool {
    let version = field!("id_aa64pfr0_el1", 56);
    version >= 2 || version == 1 && field!("id_aa64pfr1_el1", 32) >= 2
}

/// Checks that a feature's register works where its ID field shows it, and is UNDEFINED elsewhere.
fn agreement(tap: &mut Tap) {
    // Nothing of EL1's own stands in the way: CPACR_EL1.ZEN, SMEN and FPEN.
    let control = read_sysreg!("cpacr_el1");
    write_sysreg!("cpacr_el1", control | 0b11 << 16 | 0b11 << 20 | 0b11 << 24);
    for feature in FEATURES {
        let (_, fault) = trap::catch(|| feature.register.read());
        let got = fault.map(|fault| fault.class());
        let expected = if (feature.shown)() {
            None
        } else {
            Some(class::UNDEFINED)
        };
        tap.equal(feature.name, got, expected);
    }
    write_sysreg!("cpacr_el1", control);
}

/// What has state nobody saves, or reaches beyond the partition, is hidden.
fn hidden(tap: &mut Tap, environment: &Environment) {
    let fields: [(&str, u64); 10] = [
        ("SVE is hidden", field!("id_aa64pfr0_el1", 32)),
        ("AMU is hidden", field!("id_aa64pfr0_el1", 44)),
        ("MPAM is hidden", field!("id_aa64pfr0_el1", 40)),
        ("MTE is hidden", field!("id_aa64pfr1_el1", 8)),
        ("SME is hidden", field!("id_aa64pfr1_el1", 24)),
        ("SPE is hidden", field!("id_aa64dfr0_el1", 32)),
        ("trace is hidden", field!("id_aa64dfr0_el1", 4)),
        ("trace buffer is hidden", field!("id_aa64dfr0_el1", 44)),
        ("LOR is hidden", field!("id_aa64mmfr1_el1", 16)),
        ("EL2 is hidden", field!("id_aa64pfr0_el1", 8)),
    ];
    for (name, value) in fields {
        environment.only_bulkhead(tap, name, |tap, name| {
            tap.equal(name, value, 0);
        });
    }
    environment.only_bulkhead(tap, "ID_AA64ZFR0 and ID_AA64SMFR0 are zero", |tap, name| {
        let values = (read_sysreg!("S3_0_C0_C4_4"), read_sysreg!("S3_0_C0_C4_5"));
        tap.equal(name, values, (0, 0));
    });
}

fn plain(tap: &mut Tap) {
    let (_, fault) = trap::catch(|| {
        let value = read_sysreg!("actlr_el1");
        write_sysreg!("actlr_el1", value);
    });
    tap.equal("ACTLR_EL1 can be read and written back", fault, None);
    let (names, fault) = trap::catch(|| {
        [
            read_sysreg!("midr_el1"),
            read_sysreg!("revidr_el1"),
            read_sysreg!("aidr_el1"),
            read_sysreg!("ctr_el0"),
            read_sysreg!("dczid_el0"),
            read_sysreg!("clidr_el1"),
        ]
    });
    tap.equal(
        "identification registers can be read",
        (fault, names[0] != 0),
        (None, true),
    );
    let mut wrong = None;
    for crm in 0..8 {
        for op2 in 0..8 {
            let register = Register::new(3, 0, 0, crm, op2);
            // S3_0_C0_C0_n are MIDR, MPIDR and REVIDR; their neighbours are UNDEFINED.
            if crm > 0 && trap::catch(|| register.read()).1.is_some() {
                wrong = wrong.or(Some(register));
            }
        }
    }
    tap.equal("the whole ID space reads, reserved ones too", wrong, None);
    write_sysreg!("contextidr_el1", 0x1234_5678);
    tap.equal(
        "CONTEXTIDR_EL1 keeps 32 bits",
        read_sysreg!("contextidr_el1"),
        0x1234_5678,
    );
    write_sysreg!("contextidr_el1", 0);
    for register in [
        Register::new(3, 4, 1, 1, 0),
        Register::new(3, 4, 12, 0, 0),
        Register::new(3, 6, 1, 1, 0),
    ] {
        let class = trap::catch(|| register.read()).1.map(|fault| fault.class());
        tap.equal(
            "EL2's and EL3's registers are UNDEFINED",
            class,
            Some(class::UNDEFINED),
        );
    }
}

macro_rules! by_set_way {
    ($operation:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: DC ISW could lose dirty lines: this kernel's are cleaned before, and a
        // hypervisor must make it a clean and invalidate (Arm ARM D7.5.9.5).
        unsafe { asm!(concat!("dc ", $operation, ", {0}"), in(reg) value) };
    }};
}

/// Returns the last way and the last set that CCSIDR_EL1 shows, in the format FEAT_CCIDX chooses.
fn ways_and_sets(size: u64) -> (u64, u64) {
    if field!("id_aa64mmfr2_el1", 20) == 0 {
        (size >> 3 & 0x3ff, size >> 13 & 0x7fff)
    } else {
        (size >> 3 & 0x1f_ffff, size >> 32 & 0xff_ffff)
    }
}

/// Visits the first sets and ways of all data caches by each operation, and all of level 1 by CISW.
fn set_way(tap: &mut Tap) {
    let levels = (0..7).take_while(|level| read_sysreg!("clidr_el1") >> (level * 3) & 0b111 != 0);
    let mut count = 0u32;
    let (_, fault) = trap::catch(|| {
        for level in levels {
            write_sysreg!("csselr_el1", level << 1);
            let size = read_sysreg!("ccsidr_el1");
            let line = (size & 0b111) + 4;
            let (ways, sets) = ways_and_sets(size);
            // Ways are at the top of 32 bits (Arm ARM C5.3.17).
            let shift = if ways == 0 {
                0
            } else {
                ways.leading_zeros() - 32
            };
            let limit = if level == 0 { sets } else { sets.min(15) };
            for way in 0..=ways {
                for set in 0..=limit {
                    let place = way << shift | set << line | level << 1;
                    by_set_way!("cisw", place);
                    if set < 4 {
                        by_set_way!("csw", place);
                    }
                    count += 1;
                }
            }
        }
        mmu::clean_invalidate((&raw const count).cast(), 64);
        by_set_way!("isw", 0u64);
    });
    tap.equal("set/way maintenance returns", fault, None);
    tap.check("for every cache the CPU shows", count > 0);
}

/// Registers whose reading changes something this kernel needs.
fn dangerous(register: Register) -> bool {
    // ICC_IAR0, ICC_IAR1; DBGDTRRX_EL0 and DBGDTR_EL0.
    matches!(
        register,
        Register {
            op0: 3,
            op1: 0,
            crn: 12,
            crm: 8 | 12,
            op2: 0
        }
    ) || matches!(
        register,
        Register {
            op0: 2,
            op1: 3,
            crn: 0,
            ..
        }
    )
}

fn sweep(tap: &mut Tap) {
    let (mut readable, mut odd) = (0u32, None);
    for number in 0..2 * 8 * 16 * 16 * 8u32 {
        let register = Register::new(
            2 + (number >> 14 & 1),
            number >> 11 & 0b111,
            number >> 7 & 0xf,
            number >> 3 & 0xf,
            number & 0b111,
        );
        if dangerous(register) {
            continue;
        }
        match trap::catch(|| register.read()).1.map(|fault| fault.class()) {
            None => readable += 1,
            // SVE, SME and FP may be switched off by CPACR_EL1.
            Some(class::UNDEFINED | 0x07 | 0x19 | 0x1d) => {}
            // FEAT_IDST reports the ID space's holes as trapped MRS.
            Some(0x18) if register.op0 == 3 && register.crn == 0 => {}
            Some(class) => odd = odd.or(Some((register, class))),
        }
    }
    bulkhead_rt::println!("# {readable} registers can be read");
    tap.equal("every encoding reads or is UNDEFINED", odd, None);
    tap.check("and this kernel lives on", readable > 50);
}

/// Keys are the partition's own and pointers signed with them authenticate.
fn pointer_authentication(tap: &mut Tap) {
    const NAME: &str = "a signed pointer authenticates, with the key and no other";
    if !authenticates() {
        return tap.skip(NAME, "no FEAT_PAuth");
    }
    /// SCTLR_EL1.EnIA.
    const ENABLE: u64 = 1 << 31;
    let control = read_sysreg!("sctlr_el1");
    let key = Register::new(3, 0, 2, 1, 0);
    let pointer = 0x1234_5678u64;
    let (results, fault) = trap::catch(|| {
        key.write(0x0123_4567_89ab_cdef);
        write_sysreg!("sctlr_el1", control | ENABLE);
        let mut signed = pointer;
        // SAFETY: PACIZA changes its register alone.
        unsafe { asm!(".arch_extension pauth", "paciza {0}", inout(reg) signed) };
        let mut plain = signed;
        // SAFETY: XPACI changes its register alone.
        unsafe { asm!(".arch_extension pauth", "xpaci {0}", inout(reg) plain) };
        let mut back = signed;
        // SAFETY: AUTIZA with the right key changes its register alone.
        unsafe { asm!(".arch_extension pauth", "autiza {0}", inout(reg) back) };
        (signed != pointer, plain, back)
    });
    write_sysreg!("sctlr_el1", control);
    tap.equal(NAME, (results, fault), ((true, pointer, pointer), None));
}
