//! The `/hypervisor` node, and a node for each channel (hypercalls.md, section 4).

use bulkhead_rt::abi::bulkhead as id;
use bulkhead_rt::hypervisor;
use bulkhead_rt::machine::registers;
use bulkhead_rt::test::environment::Environment;
use dtoolkit::fdt::FdtNode;
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

use crate::info;
use crate::suite::{Finding, Suite, expect, own};

const NODE: &str = "ABI 4 /hypervisor";
const CHANNELS: &str = "ABI 4 channels";

/// Bytes of a doorbell's page.
const PAGE: u64 = 4096;
/// Interrupt specifier: the kind SPI, its first INTID, and a rising edge.
const SPI: u32 = 0;
const FIRST_SPI: u32 = 32;
const EDGE: u32 = 1;

/// Checks the nodes.
pub fn run(suite: &mut Suite) {
    suite.own(
        NODE,
        "/hypervisor is compatible with bulkhead,hypervisor-1.0 and bulkhead,hypervisor, by HVC",
        |e| {
            let Some(node) = e.machine.tree.find_node("/hypervisor") else {
                return expect(0u64, false, true);
            };
            expect(0u64, node.is_compatible("bulkhead,hypervisor-1.0"), true)?;
            expect(1u64, node.is_compatible("bulkhead,hypervisor"), true)?;
            expect(2u64, text(node, "method") == Some("hvc"), true)
        },
    );
    suite.own(
        NODE,
        "/hypervisor names the partition as PARTITION_INFO does",
        |e| {
            let node = e.machine.tree.find_node("/hypervisor");
            let named = node.and_then(|node| cells::<1>(node, "bulkhead,partition-id"));
            expect(
                info::own_id(),
                named.map_or(u64::MAX, |[id]| u64::from(id)),
                info::own_id(),
            )
        },
    );
    suite.own(
        CHANNELS,
        "there is a channel node for each CHANNEL_INFO, and it says the same",
        channels,
    );
}

fn property<'a>(node: FdtNode<'a>, name: &str) -> Option<&'a [u8]> {
    let mut properties = node.properties();
    properties
        .find(|property| property.name() == name)?
        .value_as::<&'a [u8]>()
        .ok()
}

fn text<'a>(node: FdtNode<'a>, name: &str) -> Option<&'a str> {
    core::str::from_utf8(property(node, name)?)
        .ok()?
        .strip_suffix('\0')
}

fn cells<const N: usize>(node: FdtNode<'_>, name: &str) -> Option<[u32; N]> {
    let value = property(node, name)?;
    if value.len() != 4 * N {
        return None;
    }
    let mut cells = [0; N];
    for (cell, bytes) in cells.iter_mut().zip(value.chunks_exact(4)) {
        *cell = u32::from_be_bytes(bytes.try_into().ok()?);
    }
    Some(cells)
}

fn channels(environment: &Environment) -> Finding {
    let nodes = environment.machine.tree.root().children();
    let nodes = nodes.filter(|node| node.is_compatible("bulkhead,channel-1.0"));
    let mut count = 0;
    for (index, node) in (0..).zip(nodes) {
        let Ok(channel) = hypervisor::channel(index) else {
            return expect(index, false, true);
        };
        let memory = registers(node, 0).unwrap_or_default();
        let doorbell = registers(node, 1).unwrap_or_default();
        expect(
            index,
            (memory.base, memory.size) == (channel.base, channel.size),
            true,
        )?;
        expect(
            index,
            (doorbell.base, doorbell.size) == (memory.end(), PAGE),
            true,
        )?;
        let interrupt = cells::<3>(node, "interrupts").unwrap_or_default();
        expect(
            index,
            interrupt == [SPI, channel.doorbell - FIRST_SPI, EDGE],
            true,
        )?;
        expect(
            index,
            property(node, "bulkhead,read-only").is_some(),
            !channel.writable,
        )?;
        expect(index, node.is_compatible("generic-uio"), true)?;
        expect(index, text(node, "label").is_some(), true)?;
        count = index + 1;
    }
    expect(count, own(id::CHANNEL_INFO, &[count]).0, id::DENIED)
}
