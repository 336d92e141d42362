//! What is handed over, and everything a bundle may not ask for. The board is QEMU virt's in shape.

use super::*;
use crate::model::board::{Board, Trigger};
use crate::model::bundle::{ChannelPlan, Format, OnCrash, Payload, Plan, System};
use crate::words::{CpuId, PartitionId};
use std::string::{String, ToString};
use std::vec::Vec;
use vm_fdt::FdtWriter;

const NAMES: [&str; 2] = ["a", "b"];

fn plan<'b>(index: u8, devices: &[&'b str]) -> Plan<'b> {
    Plan {
        id: PartitionId::new(index),
        name: NAMES[usize::from(index)],
        cpus: [CpuId::new(index)].into_iter().collect(),
        memory: 4 << 20,
        kernel: Payload {
            data: &[0],
            sha256: [0; 32],
        },
        format: Format::Raw,
        initrd: None,
        bootargs: "",
        load: None,
        dtb: None,
        on_crash: OnCrash::Stop,
        heartbeat_ms: None,
        manage: 0,
        observe: false,
        devices: devices.iter().copied().collect(),
        dma_unconfined: false,
    }
}

fn system<'b>(a: &[&'b str], b: &[&'b str]) -> System<'b> {
    System {
        board: "test",
        partitions: [plan(0, a), plan(1, b)].into_iter().collect(),
        channels: ArrayVec::new(),
        selftest: false,
        audit: false,
    }
}

type Fdt = FdtWriter;

fn node(fdt: &mut Fdt, name: &str, kind: &str, inside: impl FnOnce(&mut Fdt)) {
    let node = fdt.begin_node(name).unwrap();
    if !kind.is_empty() {
        fdt.property_string("compatible", kind).unwrap();
    }
    inside(fdt);
    fdt.end_node(node).unwrap();
}

fn device(fdt: &mut Fdt, name: &str, kind: &str, interrupt: [u32; 3]) {
    let (_, address) = name.split_once('@').unwrap();
    let address = u64::from_str_radix(address, 16).unwrap();
    node(fdt, name, kind, |fdt| {
        fdt.property_array_u64("reg", &[address, 0x800]).unwrap();
        fdt.property_array_u32("interrupts", &interrupt).unwrap();
    });
}

fn tree() -> Vec<u8> {
    let mut fdt = Fdt::new().unwrap();
    let root = fdt.begin_node("").unwrap();
    fdt.property_u32("#address-cells", 2).unwrap();
    fdt.property_u32("#size-cells", 2).unwrap();
    fdt.property_u32("interrupt-parent", 1).unwrap();
    node(&mut fdt, "chosen", "", |fdt| {
        fdt.property_string("stdout-path", "/serial@9000000")
            .unwrap();
    });
    node(&mut fdt, "memory@40000000", "", |fdt| {
        fdt.property_string("device_type", "memory").unwrap();
        fdt.property_array_u64("reg", &[0x4000_0000, 0x4000_0000])
            .unwrap();
    });
    node(&mut fdt, "cpus", "", |fdt| {
        fdt.property_u32("#address-cells", 1).unwrap();
        fdt.property_u32("#size-cells", 0).unwrap();
        node(fdt, "cpu@0", "", |fdt| {
            fdt.property_string("device_type", "cpu").unwrap();
            fdt.property_u32("reg", 0).unwrap();
        });
    });
    node(&mut fdt, "timer", "arm,armv8-timer", |fdt| {
        let ppis = [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4];
        fdt.property_array_u32("interrupts", &ppis).unwrap();
    });
    node(&mut fdt, "intc@8000000", "arm,gic-v3", |fdt| {
        let frames = [0x800_0000, 0x1_0000, 0x80a_0000, 0x4_0000];
        fdt.property_array_u64("reg", &frames).unwrap();
        fdt.property_u32("#interrupt-cells", 3).unwrap();
        fdt.property_array_u32("interrupts", &[1, 9, 4]).unwrap();
        fdt.property_phandle(1).unwrap();
    });
    devices(&mut fdt);
    fdt.end_node(root).unwrap();
    fdt.finish().unwrap()
}

/// One for each rule.
fn devices(fdt: &mut Fdt) {
    for (name, kind, interrupt) in [
        ("serial@9000000", "arm,pl011", [0, 5, 4]),
        ("gpio@9030000", "arm,pl061", [0, 7, 4]),
        ("gpio@9031000", "arm,pl061", [0, 8, 1]),
        ("gpio@9040000", "arm,pl061", [0, 9, 4]),
        ("gpio@9040800", "arm,pl061", [0, 10, 4]),
        ("gpio@9050000", "arm,pl061", [0, 11, 4]),
        ("gpio@9060000", "arm,pl061", [0, 11, 4]),
        ("ethernet@9070000", "x,unknown", [0, 12, 4]),
        ("its@8080000", "arm,gic-v3-its", [0, 13, 4]),
        ("pcie@10000000", "pci-host-ecam-generic", [0, 14, 4]),
        ("gpio@9080000", "arm,pl061", [1, 3, 4]),
        ("gpio@9090000", "arm,pl061", [0, 1, 4]),
        ("gpio@90a0000", "arm,pl061", [0, 224, 4]),
        ("gpio@41000000", "arm,pl061", [0, 15, 4]),
        ("gpio@a100000", "arm,pl061", [0, 16, 4]),
        ("gpio@90000800", "arm,pl061", [0, 17, 4]),
        ("gpio@9000000800", "arm,pl061", [0, 18, 4]),
    ] {
        device(fdt, name, kind, interrupt);
    }
    node(fdt, "gpio@90b0000", "arm,pl061", |fdt| {
        fdt.property_array_u64("reg", &[0x90b_0000, 0x1000])
            .unwrap();
        fdt.property_string("status", "disabled").unwrap();
    });
    node(fdt, "bus@90c0000", "arm,pl061", |fdt| {
        fdt.property_array_u64("reg", &[0x90c_0000, 0x1000])
            .unwrap();
        fdt.property_u32("#address-cells", 2).unwrap();
        fdt.property_u32("#size-cells", 2).unwrap();
        fdt.property_null("ranges").unwrap();
        device(fdt, "gpio@90d0000", "arm,pl061", [0, 20, 4]);
    });
}

fn outcome(system: &System<'_>) -> Result<Shares, ShareError> {
    let tree = tree();
    let board = Board::read(&tree).unwrap();
    shares(system, &board, &tree)
}

fn refusal(a: &[&str], b: &[&str]) -> String {
    outcome(&system(a, b))
        .expect_err("it is refused")
        .to_string()
}

fn window(base: u64, size: u64, ipa: u64) -> Window {
    Window {
        range: Range::new(Pa::new(base), size).unwrap(),
        ipa: Ipa::new(ipa),
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_device_is_seen_where_the_board_has_it_with_its_interrupt() {
    let shares = outcome(&system(&["/gpio@9030000"], &["/gpio@9031000"])).unwrap();
    assert_eq!(
        shares[0].windows[..],
        [window(0x903_0000, 0x1000, 0x903_0000)]
    );
    assert_eq!(
        shares[1].windows[..],
        [window(0x903_1000, 0x1000, 0x903_1000)]
    );
    let found = |share: &Share| {
        share
            .interrupts
            .iter()
            .map(|i| (i.intid, i.trigger))
            .collect::<Vec<_>>()
    };
    assert_eq!(found(&shares[0]), [(39, Trigger::Level)]);
    assert_eq!(found(&shares[1]), [(40, Trigger::Edge)]);
    let register = Range::new(Pa::new(0x903_0400), 4).unwrap();
    assert_eq!(shares[0].ipa(register), Some(Ipa::new(0x903_0400)));
    assert_eq!(shares[1].ipa(register), None);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn two_devices_of_one_page_are_one_window() {
    let shares = outcome(&system(&["/gpio@9040000", "/gpio@9040800"], &[])).unwrap();
    assert_eq!(
        shares[0].windows[..],
        [window(0x904_0000, 0x1000, 0x904_0000)]
    );
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn what_lies_below_a_device_comes_with_it() {
    let shares = outcome(&system(&["/bus@90c0000"], &[])).unwrap();
    let windows = [
        window(0x90c_0000, 0x1000, 0x90c_0000),
        window(0x90d_0000, 0x1000, 0x90d_0000),
    ];
    assert_eq!(shares[0].windows[..], windows);
    assert_eq!(shares[0].interrupts[0].intid, 52);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_device_where_the_guest_has_something_moves_above_its_ram() {
    let mut asked = system(
        &["/gpio@90000800", "/gpio@9000000800", "/gpio@a100000"],
        &[],
    );
    asked.partitions[0].memory = 2 << 30;
    asked.channels.push(ChannelPlan {
        name: "c",
        from: PartitionId::new(0),
        to: PartitionId::new(1),
        both: false,
        size: 0x1000,
    });
    // RAM ends at 0xc000_0000; each keeps its place within 2 MiB.
    let expected = [
        window(0x90_0000_0000, 0x1000, 0x90_0000_0000),
        window(0x9000_0000, 0x1000, 0xc020_0000),
        window(0xa10_0000, 0x1000, 0xc010_0000),
    ];
    let mut found = outcome(&asked).unwrap()[0].windows.clone();
    found.sort_by_key(|window| core::cmp::Reverse(window.range.base()));
    assert_eq!(found[..], expected);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn no_moved_window_lies_on_another() {
    let mut asked = system(&["/gpio@90000800", "/gpio@a100000", "/gpio@9030000"], &[]);
    // RAM ends where one of the devices is.
    asked.partitions[0].memory = 0x5000_0000;
    let windows = outcome(&asked).unwrap()[0].windows.clone();
    for (index, one) in windows.iter().enumerate() {
        for other in &windows[..index] {
            let size = one.range.size().max(other.range.size());
            assert!(
                one.ipa.get().abs_diff(other.ipa.get()) >= size,
                "{windows:?}"
            );
        }
    }
}

#[test]
fn a_system_without_devices_does_not_look_at_the_tree() {
    let tree = tree();
    let board = Board::read(&tree).unwrap();
    let shares = shares(&system(&[], &[]), &board, b"no tree").unwrap();
    assert_eq!(shares[..], [Share::default(), Share::default()]);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn what_cannot_be_handed_over_is_refused_by_name() {
    for (device, reason) in [
        ("/gpio@9999999", "the board has no such device"),
        ("/gpio", "the board has no such device"),
        ("/", "the board has no such device"),
        ("/gpio@90b0000", "it is disabled on this board"),
        ("/serial@9000000", "the hypervisor needs it itself"),
        ("/intc@8000000", "the hypervisor needs it itself"),
        ("/its@8080000", "the hypervisor needs it itself"),
        ("/timer", "the CPUs cannot address it by itself"),
        ("/pcie@10000000", "a PCI host bridge cannot be handed over"),
        (
            "/gpio@9080000",
            "interrupt 19 is not one that can be handed over",
        ),
        (
            "/gpio@9090000",
            "interrupt 33 is the number of the partition's own",
        ),
        ("/gpio@41000000", "its registers lie in RAM"),
        ("/ethernet@9070000", "it may write memory by itself"),
    ] {
        let text = refusal(&[device], &[]);
        assert!(text.contains(reason), "{device}: {text}");
        assert!(
            text.starts_with(&format!("device {device} for partition 0: ")),
            "{text}"
        );
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_doorbell_keeps_its_number() {
    let mut asked = system(&["/gpio@90a0000"], &[]);
    assert!(outcome(&asked).is_ok());
    asked.channels.push(ChannelPlan {
        name: "c",
        from: PartitionId::new(1),
        to: PartitionId::new(0),
        both: false,
        size: 0x1000,
    });
    let text = outcome(&asked).expect_err("256 is a doorbell").to_string();
    assert!(text.contains("interrupt 256 is the number"), "{text}");
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn nothing_has_two_owners() {
    for (a, b, reason) in [
        ("/gpio@9030000", "/gpio@9030000", "it is partition 0's too"),
        (
            "/bus@90c0000",
            "/bus@90c0000/gpio@90d0000",
            "it is partition 0's too",
        ),
        ("/gpio@9040000", "/gpio@9040800", "on the page at 0x9040000"),
        ("/gpio@9050000", "/gpio@9060000", "but has interrupt 43"),
    ] {
        let text = refusal(&[a], &[b]);
        assert!(text.contains(reason), "{a} and {b}: {text}");
        let text = refusal(&[b], &[a]);
        assert!(text.starts_with("device /"), "{text}");
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn what_nobody_has_is_not_reached_through_a_neighbour() {
    assert!(
        refusal(&["/gpio@9040000"], &[])
            .contains("/gpio@9040800 for partition 0: it is not the partition's")
    );
    assert!(
        refusal(&["/gpio@9050000"], &[])
            .contains("/gpio@9060000 for partition 0: it is not the partition's")
    );
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_dma_master_is_had_by_a_partition_that_may() {
    let mut asked = system(&["/ethernet@9070000"], &[]);
    asked.partitions[0].dma_unconfined = true;
    assert_eq!(outcome(&asked).unwrap()[0].interrupts[0].intid, 44);
}
