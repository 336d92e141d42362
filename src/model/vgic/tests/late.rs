//! The virtual GIC where cores are late: what occurs against what is acknowledged.

use super::pair::{Pair, Step};
use super::*;

/// What happens when cores are late: nothing folds or fills until that core gets round to it.
#[derive(Clone, Copy, Debug)]
pub enum Late {
    Raise(u16),
    Sgi(u8, u16, u8),
    Pulse,
    Take,
    Acknowledge(u8),
    End(u8),
    Deactivate(u8),
    Visit(u8),
    Target(u16, u8),
}

/// How often something occurred and was acknowledged, and whether an occurrence is still to be acknowledged.
#[derive(Default)]
struct Account {
    occurred: u32,
    acknowledged: u32,
    due: bool,
}

pub struct LatePair {
    pair: Pair,
    /// By vCPU and source (0 except for GICv2's SGIs; SPIs under vCPU 0), and INTID.
    accounts: std::collections::BTreeMap<(u8, u8, u16), Account>,
}

impl LatePair {
    pub fn new(setup: (Config, bool, bool)) -> Self {
        let mut pair = Pair::new(setup);
        // Where an interrupt goes must be a vCPU.
        for intid in [DOORBELL, DOORBELL_2, DEVICE_EDGE] {
            pair.apply(&Step::Target(0, intid, 0));
        }
        Self {
            pair,
            accounts: std::collections::BTreeMap::new(),
        }
    }

    fn occurs(&mut self, vcpu: u8, source: u8, intid: u16) {
        let account = self.accounts.entry((vcpu, source, intid)).or_default();
        account.occurred += 1;
        account.due = true;
    }

    pub fn apply(&mut self, step: &Late) {
        let vcpus = self.pair.reference.vcpus;
        let at = |cpu: &u8| cpu % vcpus;
        let v3 = self.pair.v3();
        match step {
            Late::Raise(intid) => {
                self.occurs(0, 0, *intid);
                self.pair.system.ring(*intid);
            }
            Late::Sgi(from, sgi, to) => {
                self.occurs(at(to), if v3 { 0 } else { at(from) }, *sgi);
                self.pair.send(at(from), *sgi, 1 << at(to));
            }
            Late::Pulse => {
                self.pair.device(0, DEVICE_EDGE, false);
                self.occurs(0, 0, DEVICE_EDGE);
                self.pair.device(0, DEVICE_EDGE, true);
            }
            Late::Take => {
                self.pair.system.take_physical();
            }
            Late::Acknowledge(cpu) => self.acknowledge(at(cpu)),
            Late::End(cpu) => self.pair.end(at(cpu)),
            Late::Deactivate(cpu) => self.pair.deactivate(at(cpu), 0),
            Late::Visit(cpu) => self.pair.system.visit(at(cpu)),
            Late::Target(intid, target) => self.pair.target(0, *intid, at(target)),
        }
    }

    fn acknowledge(&mut self, by: u8) {
        let Some((intid, source)) = self.pair.system.acknowledge(by) else {
            return;
        };
        let vcpu = if intid < 32 { by } else { 0 };
        let account = self.accounts.entry((vcpu, source, intid)).or_default();
        account.acknowledged += 1;
        account.due = false;
        assert!(
            account.acknowledged <= account.occurred,
            "{intid} is doubled"
        );
        self.pair.nested[usize::from(by)].push((intid, source));
    }

    pub fn finish(&mut self) {
        let vcpus = self.pair.reference.vcpus;
        for _ in 0..100 {
            self.pair.system.settle();
            for vcpu in 0..vcpus {
                self.acknowledge(vcpu);
                self.pair.end(vcpu);
                self.pair.deactivate(vcpu, 0);
            }
        }
        for (key, account) in &self.accounts {
            assert!(!account.due, "{key:?} is lost");
        }
    }
}
