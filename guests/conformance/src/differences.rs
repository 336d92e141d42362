//! Where QEMU's own PSCI (target/arm/tcg/psci.c of QEMU 10) differs from the rules, and why the rules stay.

/// How a rule fares on the bare machine.
#[derive(Clone, Copy)]
pub enum Difference {
    /// It is checked, and must be found broken: should QEMU mend it, the suite says so.
    Known(&'static str),
    /// It is not tried: breaking it would leave a CPU running astray.
    Untried(&'static str),
}

use Difference::{Known, Untried};

/// QEMU gives PSCI alone, without the convention's own calls.
const PSCI_ONLY: &str = "QEMU has PSCI alone, no Arm Architecture service; PSCI_FEATURES says so";
/// QEMU compares and reads whole X registers.
const WHOLE_REGISTERS: &str =
    "QEMU takes X registers for W registers; no caller sets the upper halves";
/// QEMU starts a CPU wherever it is told to.
const ENTRY: &str = "QEMU checks no entry point: the CPU would run astray";
/// QEMU has no pending state.
const NO_PENDING: &str =
    "QEMU keeps no ON_PENDING: a CPU may be started twice before it has arrived";
/// QEMU's HVC ignores its immediate.
const IMMEDIATE: &str = "QEMU does not look at the immediate";
/// Without EL2 and EL3 there is one conduit.
const LEVELS: &str = "QEMU answers ON for every level above 0";
/// QEMU's CPU_SUSPEND waits as WFI does.
const SUSPEND: &str = "QEMU treats power-down as standby and never comes back by the entry point";

/// Subject and rule, as they are printed, and the difference.
const DIFFERENCES: &[(&str, &str, Difference)] = &[
    ("smccc", "SMCCC_VERSION is 1.1 or later", Known(PSCI_ONLY)),
    (
        "smccc",
        "SMCCC_ARCH_FEATURES knows what this service has",
        Known(PSCI_ONLY),
    ),
    (
        "smccc",
        "bits 63:32 of the function identifier are ignored",
        Known(WHOLE_REGISTERS),
    ),
    (
        "smccc",
        "HVC with another immediate is NOT_SUPPORTED",
        Known(IMMEDIATE),
    ),
    (
        "psci",
        "AFFINITY_INFO above level 3 is INVALID_PARAMETERS",
        Known(LEVELS),
    ),
    (
        "psci",
        "AFFINITY_INFO at levels 1 to 3 knows no other instance",
        Known(LEVELS),
    ),
    (
        "psci",
        "CPU_ON at a misaligned entry is INVALID_ADDRESS",
        Untried(ENTRY),
    ),
    (
        "psci",
        "CPU_ON outside RAM is INVALID_ADDRESS",
        Untried(ENTRY),
    ),
    (
        "psci",
        "CPU_SUSPEND power-down outside RAM is INVALID_ADDRESS",
        Untried(SUSPEND),
    ),
    (
        "power",
        "CPU_SUSPEND power-down comes back by its entry when the timer fires",
        Known(SUSPEND),
    ),
    (
        "races",
        "of all callers of one CPU_ON exactly one succeeds",
        Untried(NO_PENDING),
    ),
    (
        "races",
        "every successful CPU_ON is one run, however fast the CPU goes off",
        Untried(NO_PENDING),
    ),
];

/// The difference listed for a rule.
pub fn find(subject: &str, rule: &str) -> Option<Difference> {
    DIFFERENCES
        .iter()
        .find(|(of, name, _)| *of == subject && *name == rule)
        .map(|(_, _, difference)| *difference)
}
