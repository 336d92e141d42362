//! Interrupts that are private to a core: the timer's, the performance monitors'.

use super::*;
use crate::model::board::tree::Tree;

/// The timer's interrupts out of a tree.
fn timer_of(bytes: &[u8]) -> Result<Timer, BoardError> {
    let mut tree = Tree::new(bytes).unwrap();
    let place = tree.walk().find(|place| place.is_any(cpus::TIMER_KINDS));
    cpus::timer(&mut tree, place.as_ref())
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn timers_are_found_by_their_names_where_they_have_some() {
    let named = |names: &[&str]| {
        tree(&[], |t| {
            t.cells("#address-cells", &[2]).cells("#size-cells", &[2]);
            t.node("gic", |t| {
                t.texts("compatible", &["arm,gic-v3"]);
                t.cells("#interrupt-cells", &[3]).cells("phandle", &[1]);
            });
            t.node("timer", |t| {
                t.texts("compatible", &["arm,armv8-timer"]);
                t.cells("interrupt-parent", &[1]);
                t.cells("interrupts", &[1, 14, 4, 1, 11, 4, 1, 10, 4]);
                t.texts("interrupt-names", names);
            });
        })
    };
    let bytes = named(&["phys", "virt", "hyp-phys"]);
    let timer = timer_of(&bytes).unwrap();
    assert_eq!((timer.phys, timer.virt, timer.hyp), (30, 27, 26));
    let bytes = named(&["phys", "virt", "hyp-virt"]);
    assert!(timer_of(&bytes).is_err());
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn the_performance_monitors_interrupt_is_taken_where_it_is_private() {
    let pmu = |lines: &[u32]| {
        let bytes = tree(&[], |t| {
            t.cells("#address-cells", &[2]).cells("#size-cells", &[2]);
            t.node("gic", |t| {
                t.texts("compatible", &["arm,gic-v3"]);
                t.cells("#interrupt-cells", &[3]).cells("phandle", &[1]);
            });
            t.node("pmu", |t| {
                t.texts("compatible", &["arm,cortex-a72-pmu", "arm,armv8-pmuv3"]);
                t.cells("interrupt-parent", &[1]);
                t.cells("interrupts", lines);
            });
        });
        let mut tree = Tree::new(&bytes).unwrap();
        let place = tree.walk().find(|place| place.is_any(cpus::PMU_KINDS));
        cpus::pmu(&mut tree, &place.unwrap()).unwrap()
    };
    assert_eq!(pmu(&[1, 7, 4]), Some(23));
    // The Raspberry Pi 4's: an SPI a core.
    assert_eq!(pmu(&[0, 16, 4, 0, 17, 4, 0, 18, 4, 0, 19, 4]), None);
    assert_eq!(pmu(&[]), None);
}
