//! Whether a board has the CPUs a system hands out. Memory is `placement`'s, devices are the host checker's.

use thiserror::Error;

use super::{Plan, System};
use crate::model::board::{Board, CpuStart};
use crate::words::{CpuId, Text};

/// Why a system does not fit a board: which partition, and what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("partition {partition}: {problem}")]
pub struct FitError {
    /// The partition's name.
    pub partition: Text<32>,
    /// What does not fit.
    pub problem: FitProblem,
}

/// What of a partition does not fit a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FitProblem {
    /// A CPU the board has not.
    #[error("CPU {cpu} does not exist, the board has {present}")]
    NoSuchCpu {
        /// The CPU asked for.
        cpu: CpuId,
        /// How many there are.
        present: usize,
    },
    /// A CPU another partition has.
    #[error("CPU {cpu} is partition {owner}'s")]
    CpuTaken {
        /// The CPU asked for.
        cpu: CpuId,
        /// Who has it.
        owner: Text<32>,
    },
    /// A CPU nobody can start.
    #[error("CPU {0} has no `enable-method` that works: neither PSCI nor a spin table")]
    CpuWithoutStart(CpuId),
}

/// Checks that `board` has the CPUs `system` hands out, that each can be started, and that none has two owners.
///
/// # Errors
/// Names the partition and what it asks for.
pub fn fit(system: &System<'_>, board: &Board<'_>) -> Result<(), FitError> {
    for (index, plan) in system.partitions.iter().enumerate() {
        let earlier = system.partitions.get(..index).unwrap_or_default();
        for cpu in &plan.cpus {
            one(*cpu, earlier, board).map_err(|problem| FitError {
                partition: Text::from(plan.name),
                problem,
            })?;
        }
    }
    Ok(())
}

fn one(cpu: CpuId, earlier: &[Plan<'_>], board: &Board<'_>) -> Result<(), FitProblem> {
    let present = board.cpus.len();
    let found = board.cpus.get(cpu.index());
    let found = found.ok_or(FitProblem::NoSuchCpu { cpu, present })?;
    if found.start == CpuStart::Unknown && present > 1 {
        return Err(FitProblem::CpuWithoutStart(cpu));
    }
    match earlier.iter().find(|plan| plan.cpus.contains(&cpu)) {
        None => Ok(()),
        Some(owner) => Err(FitProblem::CpuTaken {
            cpu,
            owner: Text::from(owner.name),
        }),
    }
}
