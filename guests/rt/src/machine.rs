//! The machine as its device tree describes it.
//!
//! Invariant: nothing about a board is compiled in but where output goes before the tree is read.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

use crate::arguments::Arguments;
use crate::call::Conduit;
use crate::cpu::MAX_CPUS;
use crate::gic::Gic;
use crate::{console, mmu};

/// Ranges of RAM a guest keeps.
const MAX_RAM: usize = 4;
/// First word of a flattened device tree, big-endian.
const FDT_MAGIC: u32 = 0xd00d_feed;

/// A range of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

impl Range {
    /// Returns the address after the last.
    pub const fn end(&self) -> u64 {
        self.base.saturating_add(self.size)
    }
}

/// What the tree says, read once.
pub struct Machine {
    /// The tree itself.
    pub tree: Fdt<'static>,
    /// The boot arguments.
    pub arguments: Arguments<'static>,
    /// How to reach PSCI.
    pub conduit: Conduit,
    /// The interrupt controller.
    pub gic: Gic,
    /// Address of the console's PL011.
    pub uart: u64,
    ram: [Range; MAX_RAM],
    cpus: [u64; MAX_CPUS],
    cpu_count: usize,
}

impl Machine {
    /// Returns the ranges of RAM.
    pub fn ram(&self) -> impl Iterator<Item = Range> {
        self.ram.into_iter().filter(|range| range.size > 0)
    }

    /// Returns how many CPUs there are, at most [`MAX_CPUS`].
    pub fn cpu_count(&self) -> usize {
        self.cpu_count
    }

    /// Returns the affinity of CPU `index`; index 0 is the boot CPU.
    pub fn cpu(&self, index: usize) -> Option<u64> {
        self.cpus[..self.cpu_count].get(index).copied()
    }

    /// Finds the first node of the tree compatible with `name`, at most three levels deep.
    pub fn find(&self, name: &str) -> Option<FdtNode<'static>> {
        find(self.tree, name)
    }
}

struct Cell(UnsafeCell<Option<Machine>>);

// SAFETY: written once before READY is set, only read afterwards.
unsafe impl Sync for Cell {}

static MACHINE: Cell = Cell(UnsafeCell::new(None));
static READY: AtomicBool = AtomicBool::new(false);

/// Returns the machine, or nothing before the tree is read.
pub(crate) fn try_machine() -> Option<&'static Machine> {
    if !READY.load(Ordering::Acquire) {
        return None;
    }
    // SAFETY: READY says that it is written and will not be again.
    unsafe { (*MACHINE.0.get()).as_ref() }
}

/// Returns the machine.
pub fn machine() -> &'static Machine {
    match try_machine() {
        Some(machine) => machine,
        None => panic!("the device tree is not read yet"),
    }
}

/// Reads the tree at `pointer`, brings up the console, maps RAM.
pub(crate) fn discover(pointer: *const u8) {
    let bytes = tree_bytes(pointer);
    let tree = match Fdt::new(bytes) {
        Ok(tree) => tree,
        Err(error) => panic!("bad device tree: {error}"),
    };
    let uart = find(tree, "arm,pl011")
        .and_then(|node| registers(node, 0))
        .map_or(crate::abi::layout::UART_BASE, |range| range.base);
    console::init(uart);
    let (cpus, cpu_count) = cpus(tree);
    let machine = Machine {
        tree,
        arguments: Arguments::new(bootargs(tree)),
        conduit: conduit(tree),
        gic: gic(tree),
        uart,
        ram: ram(tree),
        cpus,
        cpu_count,
    };
    machine
        .ram()
        .for_each(|range| mmu::add_ram(range.base, range.size));
    // SAFETY: the boot CPU alone, once, before READY.
    unsafe { *MACHINE.0.get() = Some(machine) };
    READY.store(true, Ordering::Release);
}

fn tree_bytes(pointer: *const u8) -> &'static [u8] {
    let words: *const [u8; 4] = pointer.cast();
    // SAFETY: the boot protocol says that x0 is the tree's address; the magic is checked first.
    let magic = u32::from_be_bytes(unsafe { *words });
    if magic != FDT_MAGIC {
        panic!("x0 = {pointer:?} is no device tree");
    }
    // SAFETY: a tree's second word is its size.
    let size = u32::from_be_bytes(unsafe { *words.wrapping_add(1) }) as usize;
    // SAFETY: the tree stays where it is; the guest does not write it.
    unsafe { core::slice::from_raw_parts(pointer, size) }
}

fn find(tree: Fdt<'static>, name: &str) -> Option<FdtNode<'static>> {
    tree.root()
        .children()
        .find_map(|node| find_below(node, name, 2))
}

fn find_below(node: FdtNode<'static>, name: &str, depth: u32) -> Option<FdtNode<'static>> {
    if node.is_compatible(name) {
        return Some(node);
    }
    if depth == 0 {
        return None;
    }
    node.children()
        .find_map(|child| find_below(child, name, depth - 1))
}

/// Returns the n-th range of a node's `reg`.
pub fn registers(node: FdtNode<'static>, n: usize) -> Option<Range> {
    let item = node.reg().ok()??.nth(n)?;
    Some(Range {
        base: item.address::<u64>().ok()?,
        size: item.size::<u64>().ok()?,
    })
}

fn ram(tree: Fdt<'static>) -> [Range; MAX_RAM] {
    let mut ranges = [Range::default(); MAX_RAM];
    let nodes = tree
        .root()
        .children()
        .filter(|node| node.name_without_address() == "memory");
    let found = nodes.flat_map(|node| (0..MAX_RAM).map_while(move |n| registers(node, n)));
    for (slot, range) in ranges.iter_mut().zip(found) {
        *slot = range;
    }
    ranges
}

/// Collects the CPUs' affinities, the boot CPU's first, the others in the tree's order.
fn cpus(tree: Fdt<'static>) -> ([u64; MAX_CPUS], usize) {
    let own = crate::cpu::affinity();
    let mut cpus = [own; MAX_CPUS];
    let mut count = 1;
    let children = tree
        .find_node("/cpus")
        .into_iter()
        .flat_map(|node| node.children());
    for node in children.filter(|node| node.name_without_address() == "cpu") {
        let affinity = node
            .reg()
            .ok()
            .flatten()
            .and_then(|mut items| items.next())
            .and_then(|item| item.address::<u64>().ok());
        match affinity {
            Some(affinity) if affinity != own && count < MAX_CPUS => {
                cpus[count] = affinity;
                count += 1;
            }
            _ => {}
        }
    }
    (cpus, count)
}

fn text(node: Option<FdtNode<'static>>, name: &str) -> &'static str {
    let property = node.and_then(|node| node.properties().find(|item| item.name() == name));
    property
        .and_then(|item| item.value_as::<&'static str>().ok())
        .unwrap_or_default()
}

fn bootargs(tree: Fdt<'static>) -> &'static str {
    text(tree.find_node("/chosen"), "bootargs")
}

fn conduit(tree: Fdt<'static>) -> Conduit {
    match text(tree.find_node("/psci"), "method") {
        "smc" => Conduit::Smc,
        _ => Conduit::Hvc,
    }
}

fn gic(tree: Fdt<'static>) -> Gic {
    let v2 = ["arm,cortex-a15-gic", "arm,gic-400"];
    let old = v2.iter().find_map(|name| find(tree, name));
    let new = find(tree, "arm,gic-v3");
    let ranges = |node| (registers(node, 0), registers(node, 1));
    match (old.map(ranges), new.map(ranges)) {
        (_, Some((Some(distributor), Some(redistributors)))) => Gic::V3 {
            distributor: distributor.base,
            redistributors: redistributors.base,
            size: redistributors.size,
        },
        (Some((Some(distributor), Some(interface))), _) => Gic::V2 {
            distributor: distributor.base,
            cpu_interface: interface.base,
        },
        _ => panic!("the tree names no GICv2 or GICv3"),
    }
}
