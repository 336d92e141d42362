//! Machines whose firmware hands over a tree that lacks something, or lies.

use super::case::{Case, Entry, case};
use crate::tree;

/// Trees that lack something: what EL2 needs, it misses by name, and starts nothing; what it can do without, it does without.
pub fn cases() -> Vec<Case> {
    let lacking = |name, change| {
        case(name, "boot")
            .guest("one", "control-loop", &[0], "4M")
            .guest("two", "control-loop", &[1], "4M")
            .tree(change)
    };
    let refused = |name, change, said| {
        lacking(name, change)
            .forbid(r"^\[(one|two)\]")
            .wait(said)
            .wait("nothing was started")
            .seconds(20)
    };
    vec![
        refused(
            "tree-without-gic",
            |tree| tree::remove(tree, "/intc@8000000"),
            "refused: the board's device tree: device tree, /",
        ),
        refused(
            "tree-without-maintenance-interrupt",
            |tree| tree::remove_property(tree, "/intc@8000000", "interrupts"),
            "refused: the board's device tree: device tree, /intc@8000000: property `interrupts` is missing",
        ),
        refused(
            "tree-without-timer",
            |tree| tree::remove(tree, "/timer"),
            "refused: the board's device tree: device tree, /",
        ),
        refused(
            "tree-without-cpu-number",
            |tree| tree::remove_property(tree, "/cpus/cpu@1", "reg"),
            "refused: the board's device tree: device tree, /cpus/cpu@1: property `reg` is missing",
        ),
        // Nobody can start CPU 1, which the bundle gives away.
        lacking("tree-without-enable-method", |tree| {
            tree::remove_property(tree, "/cpus/cpu@1", "enable-method")
        })
        .forbid(r"^\[(one|two)\]")
        .wait("refused: the bundle does not fit this board: partition two: CPU 1 has no `enable-method` that works")
        .end(),
        lacking("tree-without-console-interrupt", |tree| {
            tree::remove_property(tree, "/pl011@9000000", "interrupts")
        })
        .wait(r"^\[one\] control: \d+ ticks"),
        // The tree has a CPU more than the machine: firmware refuses to start it.
        case("cpu-refused", "boot")
            .gics(&[2])
            .cores(5)
            .guest("one", "control-loop", &[0], "4M")
            .guest("two", "control-loop", &[4], "4M")
            .tree(|_| Ok(()))
            .entry(Entry::With(&["-smp", "4"]))
            .wait("warning: CPU 4 does not start: PSCI says")
            .wait("warning: partition two does not start: it has no CPU")
            .wait(r"^\[one\] control: \d+ ticks"),
    ]
}
