//! The state at entry, the tree, RAM (hypercalls.md section 4).

use bulkhead_rt::abi::layout;
use bulkhead_rt::gic::Gic;
use bulkhead_rt::machine::{Range, registers};
use bulkhead_rt::{cpu, image, mmio, timer};
use dtoolkit::fdt::FdtNode;
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

use crate::environment::Environment;
use crate::tap::Tap;

/// CurrentEL at EL1.
const EL1: u64 = 1 << 2;
/// DAIF with everything masked.
const ALL_MASKED: u64 = 0xf << 6;
/// SCTLR_EL1: M, C and I.
const SCTLR_MCI: u64 = 1 << 0 | 1 << 2 | 1 << 12;
/// SCTLR_EL1: M and C, which the boot protocol wants off everywhere.
const SCTLR_MC: u64 = 1 << 0 | 1 << 2;
/// Alignment of the tree under Bulkhead.
const TREE_ALIGNMENT: u64 = 2 << 20;
/// Bytes in a page.
const PAGE: u64 = 4096;

/// Runs the subject.
pub fn run(tap: &mut Tap, environment: &Environment) {
    entry(tap, environment);
    identity(tap, environment);
    tree(tap, environment);
    devices(tap, environment);
    memory(tap, environment);
}

fn entry(tap: &mut Tap, environment: &Environment) {
    let state = cpu::entry_state(0);
    tap.equal("x1-x3 are zero at entry", &state.x[1..], &[0, 0, 0]);
    environment.only_bulkhead(tap, "x4-x30 are zero at entry", |tap, name| {
        tap.equal(name, state.rest, 0);
    });
    tap.equal("entered at EL1", state.current_el, EL1);
    tap.equal("entered with SP_EL1 selected", state.spsel, 1);
    tap.equal("entered with DAIF masked", state.daif, ALL_MASKED);
    tap.equal(
        "entered with MMU and data cache off",
        state.sctlr & SCTLR_MC,
        0,
    );
    environment.only_bulkhead(tap, "entered with instruction cache off", |tap, name| {
        tap.equal(name, state.sctlr & SCTLR_MCI, 0);
    });
    environment.only_bulkhead(tap, "the tree is 2 MiB-aligned", |tap, name| {
        // The manifest may place it elsewhere; 0x4000_0000 is aligned as well.
        tap.equal(name, state.x[0] % TREE_ALIGNMENT, 0);
    });
    let second = timer::frequency();
    tap.check("CNTFRQ is set", second > 0);
    tap.check("CNTVCT at entry is below one second", state.cntvct < second);
}

fn identity(tap: &mut Tap, environment: &Environment) {
    let mpidr = cpu::entry_state(0).mpidr;
    tap.equal("MPIDR bit 31 is one", mpidr >> 31 & 1, 1);
    tap.equal("the boot CPU's affinity is 0", cpu::affinity(), 0);
    let machine = environment.machine;
    let numbered = (0..machine.cpu_count()).all(|index| machine.cpu(index) == Some(index as u64));
    tap.check("the tree's CPUs have affinities 0, 1, ...", numbered);
}

/// Tells whether a string list property holds `wanted`.
fn lists(node: Option<FdtNode<'static>>, wanted: &str) -> bool {
    node.is_some_and(|node| node.is_compatible(wanted))
}

fn property<'a>(node: Option<FdtNode<'a>>, name: &str) -> Option<&'a [u8]> {
    let found = node?.properties().find(|item| item.name() == name)?;
    found.value_as::<&'a [u8]>().ok()
}

fn tree(tap: &mut Tap, environment: &Environment) {
    let tree = environment.machine.tree;
    let root = Some(tree.root());
    let two = [0, 0, 0, 2];
    tap.equal(
        "root has 2 address cells",
        property(root, "#address-cells"),
        Some(&two[..]),
    );
    tap.equal(
        "root has 2 size cells",
        property(root, "#size-cells"),
        Some(&two[..]),
    );
    tap.check(
        "root has a compatible",
        property(root, "compatible").is_some(),
    );
    tap.check(
        "root has an interrupt-parent",
        property(root, "interrupt-parent").is_some(),
    );
    let psci = tree.find_node("/psci");
    tap.check("psci lists arm,psci-1.0", lists(psci, "arm,psci-1.0"));
    tap.check("psci lists arm,psci-0.2", lists(psci, "arm,psci-0.2"));
    tap.equal(
        "psci's method is hvc",
        property(psci, "method"),
        Some(&b"hvc\0"[..]),
    );
    let chosen = tree.find_node("/chosen");
    tap.check(
        "chosen has bootargs",
        property(chosen, "bootargs").is_some(),
    );
    for name in ["linux,initrd-start", "linux,initrd-end"] {
        let empty = property(chosen, name).is_some_and(<[u8]>::is_empty);
        tap.check("no initrd property is empty", !empty);
    }
    environment.only_bulkhead(tap, "the hypervisor node is there", |tap, name| {
        let node = tree.find_node("/hypervisor");
        let compatible =
            lists(node, "bulkhead,hypervisor-1.0") && lists(node, "bulkhead,hypervisor");
        tap.check(
            name,
            compatible && property(node, "method") == Some(b"hvc\0"),
        );
    });
    environment.only_bulkhead(tap, "devices need no ranges applied", |tap, name| {
        let ranges = tree.root().children().any(|node| {
            node.properties()
                .any(|item| item.name() == "ranges" && !item.value().is_empty())
        });
        tap.check(name, !ranges);
    });
}

fn devices(tap: &mut Tap, environment: &Environment) {
    let machine = environment.machine;
    let node = machine.find("arm,armv8-timer");
    let interrupts = property(node, "interrupts").unwrap_or_default();
    let numbers = interrupts
        .chunks(12)
        .map(|three| three.get(7).copied().unwrap_or(0));
    // PPI n is INTID 16 + n: secure, physical, virtual, hypervisor.
    tap.check(
        "the timer's PPIs are 13, 14, 11, 10",
        numbers.eq([13, 14, 11, 10]),
    );
    match machine.gic {
        Gic::V2 {
            distributor,
            cpu_interface,
        } => {
            tap.equal("GICD is at 0x0800_0000", distributor, 0x0800_0000);
            tap.equal("GICC is at 0x0801_0000", cpu_interface, 0x0801_0000);
            tap.check(
                "GICv2 is arm,cortex-a15-gic",
                machine.find("arm,cortex-a15-gic").is_some(),
            );
        }
        Gic::V3 {
            distributor,
            redistributors,
            ..
        } => {
            tap.equal("GICD is at 0x0800_0000", distributor, 0x0800_0000);
            tap.equal("GICR is at 0x080a_0000", redistributors, 0x080a_0000);
        }
    }
    let uart = machine.find("arm,pl011");
    let base = uart
        .and_then(|node| registers(node, 0))
        .map(|range| range.base);
    tap.equal("the PL011 is at 0x0900_0000", base, Some(0x0900_0000));
    tap.check(
        "the PL011 is arm,primecell too",
        lists(uart, "arm,primecell"),
    );
    let interrupt = property(uart, "interrupts");
    let level_spi_1 = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4];
    tap.equal(
        "the PL011 has SPI 1, level",
        interrupt,
        Some(&level_spi_1[..]),
    );
    tap.check("the PL011 has clocks", property(uart, "clocks").is_some());
}

fn memory(tap: &mut Tap, environment: &Environment) {
    let machine = environment.machine;
    let base = machine.ram().next().map(|range| range.base);
    tap.equal("RAM begins at 0x4000_0000", base, Some(layout::RAM_BASE));
    environment.only_bulkhead(tap, "RAM is zero beyond the images", |tap, name| {
        let dirty = machine
            .ram()
            .find_map(|range| first_nonzero(environment, range));
        tap.equal(name, dirty, None);
    });
    for range in machine.ram() {
        let last = range.end() - 8;
        // Nothing of ours is there: the images are at the beginning.
        mmio::write64(last, 0x0123_4567_89ab_cdef);
        let byte = mmio::read8(last + 7);
        tap.equal("RAM is usable to its last byte", byte, 0x01);
        mmio::write64(last, 0);
    }
}

/// Returns the first address in `range` that is not zero and belongs to no image.
fn first_nonzero(environment: &Environment, range: Range) -> Option<u64> {
    let images = images(environment);
    let mut at = range.base;
    while at < range.end() {
        let inside = images
            .iter()
            .find(|image| image.base <= at && at < image.end());
        if let Some(image) = inside {
            at = image.end().next_multiple_of(PAGE);
            continue;
        }
        if mmio::read64(at) != 0 {
            return Some(at);
        }
        at += 8;
    }
    None
}

/// Returns the kernel, the tree and the initial ramdisk, from their pages' beginnings.
fn images(environment: &Environment) -> [Range; 3] {
    let tree = environment.machine.tree;
    let chosen = tree.find_node("/chosen");
    let address = |name| {
        let bytes = property(chosen, name).unwrap_or_default();
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let start = address("linux,initrd-start");
    let blob = tree.data();
    [
        image(),
        Range {
            base: cpu::entry_state(0).x[0],
            size: blob.len() as u64,
        },
        Range {
            base: start,
            size: address("linux,initrd-end").saturating_sub(start),
        },
    ]
    .map(|range| Range {
        base: range.base & !(PAGE - 1),
        size: range.size + (range.base & (PAGE - 1)),
    })
}
