//! Where the tests run.

use core::fmt;

use crate::call::Conduit;
use crate::{Machine, hypervisor};

use super::tap::Tap;

/// The machine and what is below it.
pub struct Environment {
    /// The machine by its tree.
    pub machine: &'static Machine,
    /// Whether Bulkhead is below.
    pub bulkhead: bool,
}

/// Why a check that only Bulkhead promises is skipped.
pub const NOT_BULKHEAD: &str = "not under Bulkhead";

impl Environment {
    /// Asks what is below.
    pub fn find(machine: &'static Machine) -> Self {
        Self {
            machine,
            // A machine whose PSCI is by SMC has no hypervisor: HVC would be UNDEFINED.
            bulkhead: machine.conduit == Conduit::Hvc && hypervisor::is_bulkhead(),
        }
    }

    /// Returns the conduits that must work: both under Bulkhead, else the tree's.
    pub fn conduits(&self) -> &'static [Conduit] {
        match (self.bulkhead, self.machine.conduit) {
            (true, _) => &[Conduit::Hvc, Conduit::Smc],
            (false, Conduit::Hvc) => &[Conduit::Hvc],
            (false, Conduit::Smc) => &[Conduit::Smc],
        }
    }

    /// Runs a check that only Bulkhead promises, or skips it.
    pub fn only_bulkhead(&self, tap: &mut Tap, name: &str, check: impl FnOnce(&mut Tap, &str)) {
        if self.bulkhead {
            check(tap, name);
        } else {
            tap.skip(name, NOT_BULKHEAD);
        }
    }

    /// Tells whether there are at least `count` CPUs, and skips `name` if not.
    pub fn has_cpus(&self, tap: &mut Tap, count: usize, name: &str) -> bool {
        let enough = self.machine.cpu_count() >= count;
        if !enough {
            tap.skip(name, "too few CPUs");
        }
        enough
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.bulkhead {
            "Bulkhead"
        } else {
            "a bare machine"
        };
        let version = self.machine.gic.version();
        write!(
            f,
            "{below}, GICv{version}, {} CPUs",
            self.machine.cpu_count()
        )
    }
}
