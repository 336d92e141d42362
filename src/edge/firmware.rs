//! Calls to the firmware below, where the board's tree names one, and the spin table where it names that.

use crate::words::{Mpidr, Pa};
use aarch64_cpu::asm::{barrier, sev};
use smccc::psci::{self, LowestAffinityLevel};

/// How the firmware below is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// By HVC.
    Hvc,
    /// By SMC.
    Smc,
}

/// Asks PSCI to start a core at `entry`.
///
/// # Errors
/// PSCI's answer.
pub fn cpu_on(conduit: Conduit, core: Mpidr, entry: Pa) -> Result<(), psci::Error> {
    match conduit {
        Conduit::Hvc => psci::cpu_on::<smccc::Hvc>(core.get(), entry.get(), 0),
        Conduit::Smc => psci::cpu_on::<smccc::Smc>(core.get(), entry.get(), 0),
    }
}

/// Whether PSCI says that the core is off.
#[must_use]
pub fn is_off(conduit: Conduit, core: Mpidr) -> bool {
    let state = match conduit {
        Conduit::Hvc => psci::affinity_info::<smccc::Hvc>(core.get(), LowestAffinityLevel::All),
        Conduit::Smc => psci::affinity_info::<smccc::Smc>(core.get(), LowestAffinityLevel::All),
    };
    matches!(state, Ok(psci::AffinityState::Off))
}

/// Asks PSCI to switch the board off. Comes back only where PSCI fails.
pub fn system_off(conduit: Conduit) {
    let _ = match conduit {
        Conduit::Hvc => psci::system_off::<smccc::Hvc>(),
        Conduit::Smc => psci::system_off::<smccc::Smc>(),
    };
}

/// Asks PSCI to reset the board. Comes back only where PSCI fails.
pub fn system_reset(conduit: Conduit) {
    let _ = match conduit {
        Conduit::Hvc => psci::system_reset::<smccc::Hvc>(),
        Conduit::Smc => psci::system_reset::<smccc::Smc>(),
    };
}

/// SMCCC 1.1, the first with SMCCC_ARCH_FEATURES.
const FEATURES_SINCE: smccc::arch::Version = smccc::arch::Version { major: 1, minor: 1 };

/// What the firmware below says of each of the three workarounds on the calling core: SMCCC_ARCH_FEATURES' codes, all
/// NOT_SUPPORTED unless it is called by SMC (below an HVC there would be no firmware) and knows them.
#[must_use]
pub fn workarounds(conduit: Option<Conduit>) -> [i32; 3] {
    use smccc::arch;
    let none = [arch::error::NOT_SUPPORTED; 3];
    // Asked in the order DEN0028, appendix B, wants: each call says that the next may be made.
    let knows = conduit == Some(Conduit::Smc)
        && psci::psci_features::<smccc::Smc>(arch::SMCCC_VERSION).is_ok()
        && arch::version::<smccc::Smc>().is_ok_and(|version| version >= FEATURES_SINCE);
    if !knows {
        return none;
    }
    let ask = |function| match arch::features::<smccc::Smc>(function) {
        Ok(value) => i32::try_from(value).unwrap_or(arch::error::NOT_SUPPORTED),
        Err(error) => error.into(),
    };
    [
        ask(arch::SMCCC_ARCH_WORKAROUND_1),
        ask(arch::SMCCC_ARCH_WORKAROUND_2),
        ask(arch::SMCCC_ARCH_WORKAROUND_3),
    ]
}

/// Has firmware invalidate branch targets (SMCCC_ARCH_WORKAROUND_1). Where [`workarounds`] says 0.
pub fn clear_branch_targets() {
    let _ = smccc::arch::arch_workaround_1::<smccc::Smc>();
}

/// Has firmware let loads pass stores or not, on the calling core (SMCCC_ARCH_WORKAROUND_2). Where [`workarounds`] says 0.
pub fn stop_store_bypass(on: bool) {
    let _ = smccc::arch::arch_workaround_2::<smccc::Smc>(on);
}

/// Has firmware clear the branch history (SMCCC_ARCH_WORKAROUND_3). Where [`workarounds`] says 0.
pub fn clear_branch_history() {
    let _ = smccc::arch::arch_workaround_3::<smccc::Smc>();
}

/// Releases a core from the spin table at `release` to `entry`.
///
/// # Safety
/// `release` is the core's cpu-release-addr by the board's tree, mapped writable.
pub unsafe fn release(release: Pa, entry: Pa) {
    // SAFETY: by this function's contract; the address is a multiple of eight (the tree's reader refuses others).
    unsafe { (release.get() as *mut u64).write_volatile(entry.get()) };
    // The waiting core reads the word with its caches off.
    super::cache::clean_to_coherency(release.get(), 8);
    barrier::dsb(barrier::SY);
    sev();
}
