//! The guest's tree, read back by two readers and held against another writer's.

use std::string::{String, ToString};
use std::vec::Vec;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use proptest::prelude::*;
use vm_fdt::FdtWriter;

use super::*;

const CHANNELS: [GuestChannel<'static>; 2] = [
    GuestChannel {
        name: "telemetry",
        ipa: Ipa::new(0xa10_0000),
        size: 0x1_0000,
        intid: 64,
        writable: true,
    },
    GuestChannel {
        name: "commands",
        ipa: Ipa::new(0xa20_0000),
        size: 0x1000,
        intid: 65,
        writable: false,
    },
];

fn no_devices(_: &mut dyn Nodes) -> bool {
    true
}

fn full(gic: GuestGic) -> GuestTree<'static> {
    GuestTree {
        id: PartitionId::new(2),
        name: "linux",
        gic,
        vcpus: 2,
        memory: 256 << 20,
        bootargs: "console=ttyAMA0",
        initrd: Some((Ipa::new(0x41cb_0000), 5000)),
        channels: &CHANNELS,
        pmu: Some(23),
    }
}

fn least() -> GuestTree<'static> {
    GuestTree {
        bootargs: "",
        initrd: None,
        channels: &[],
        pmu: None,
        ..full(GuestGic::V3)
    }
}

fn written(tree: &GuestTree<'_>) -> Vec<u8> {
    let mut out = vec![0xa5; 64 << 10];
    let length = write(tree, &no_devices, &mut out).unwrap();
    out.truncate(length);
    out
}

/// A tree as text: each node's path, each property's bytes.
fn dump(tree: &[u8]) -> Vec<String> {
    fn walk(node: &FdtNode<'_>, path: &str, lines: &mut Vec<String>) {
        lines.push(path.to_string());
        for property in node.properties() {
            lines.push(format!(
                "{path} {} {:x?}",
                property.name(),
                property.value()
            ));
        }
        for child in node.children() {
            walk(&child, &format!("{path}/{}", child.name()), lines);
        }
    }
    let mut lines = Vec::new();
    walk(&Fdt::new(tree).unwrap().root(), "", &mut lines);
    lines
}

/// The same tree by another writer.
struct Oracle(FdtWriter);

impl Oracle {
    fn node(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        let node = self.0.begin_node(name).unwrap();
        inside(self);
        self.0.end_node(node).unwrap();
    }

    fn words(&mut self, name: &str, cells: &[u32]) {
        self.0.property_array_u32(name, cells).unwrap();
    }

    fn longs(&mut self, name: &str, cells: &[u64]) {
        self.0.property_array_u64(name, cells).unwrap();
    }

    fn texts(&mut self, name: &str, texts: &[&str]) {
        let texts = texts.iter().map(ToString::to_string).collect();
        self.0.property_string_list(name, texts).unwrap();
    }

    fn flag(&mut self, name: &str) {
        self.0.property_null(name).unwrap();
    }
}

/// What hypercalls.md's section 4 wants of `full(V2)`, with the numbers written out.
fn oracle_v2() -> Vec<u8> {
    let mut o = Oracle(FdtWriter::new().unwrap());
    o.node("", |o| {
        o.texts("compatible", &["bulkhead,machine-1.0"]);
        o.texts("model", &["Bulkhead partition"]);
        o.words("#address-cells", &[2]);
        o.words("#size-cells", &[2]);
        o.words("interrupt-parent", &[1]);
        o.node("aliases", |o| o.texts("serial0", &["/pl011@9000000"]));
        o.node("chosen", |o| {
            o.texts("bootargs", &["console=ttyAMA0"]);
            o.texts("stdout-path", &["/pl011@9000000"]);
            o.longs("linux,initrd-start", &[0x41cb_0000]);
            o.longs("linux,initrd-end", &[0x41cb_1388]);
        });
        o.node("memory@40000000", |o| {
            o.texts("device_type", &["memory"]);
            o.longs("reg", &[0x4000_0000, 0x1000_0000]);
        });
        o.node("cpus", |o| {
            o.words("#address-cells", &[1]);
            o.words("#size-cells", &[0]);
            for cpu in [0, 1] {
                o.node(&format!("cpu@{cpu}"), |o| {
                    o.texts("device_type", &["cpu"]);
                    o.texts("compatible", &["arm,armv8"]);
                    o.words("reg", &[cpu]);
                    o.texts("enable-method", &["psci"]);
                });
            }
        });
        o.node("psci", |o| {
            o.texts("compatible", &["arm,psci-1.0", "arm,psci-0.2"]);
            o.texts("method", &["hvc"]);
        });
        o.node("timer", |o| {
            o.texts("compatible", &["arm,armv8-timer"]);
            let lines = [1, 13, 0x304, 1, 14, 0x304, 1, 11, 0x304, 1, 10, 0x304];
            o.words("interrupts", &lines);
            o.flag("always-on");
        });
        o.node("intc@8000000", |o| {
            o.texts("compatible", &["arm,cortex-a15-gic"]);
            o.words("#interrupt-cells", &[3]);
            o.words("#address-cells", &[0]);
            o.flag("interrupt-controller");
            o.longs("reg", &[0x800_0000, 0x1_0000, 0x801_0000, 0x2000]);
            o.words("phandle", &[1]);
        });
        o.node("apb-pclk", |o| {
            o.texts("compatible", &["fixed-clock"]);
            o.words("#clock-cells", &[0]);
            o.words("clock-frequency", &[24_000_000]);
            o.texts("clock-output-names", &["clk24mhz"]);
            o.words("phandle", &[2]);
        });
        o.node("pl011@9000000", |o| {
            o.texts("compatible", &["arm,pl011", "arm,primecell"]);
            o.longs("reg", &[0x900_0000, 0x1000]);
            o.words("interrupts", &[0, 1, 4]);
            o.words("clocks", &[2, 2]);
            o.texts("clock-names", &["uartclk", "apb_pclk"]);
        });
        o.node("pmu", |o| {
            o.texts("compatible", &["arm,armv8-pmuv3"]);
            o.words("interrupts", &[1, 7, 0x304]);
        });
        o.node("hypervisor", |o| {
            let kinds = ["bulkhead,hypervisor-1.0", "bulkhead,hypervisor"];
            o.texts("compatible", &kinds);
            o.texts("method", &["hvc"]);
            o.words("bulkhead,partition-id", &[2]);
            o.texts("bulkhead,partition", &["linux"]);
        });
        o.node("channel@a100000", |o| {
            o.texts("compatible", &["bulkhead,channel-1.0", "generic-uio"]);
            o.longs("reg", &[0xa10_0000, 0x1_0000, 0xa11_0000, 0x1000]);
            o.texts("reg-names", &["memory", "doorbell"]);
            o.words("interrupts", &[0, 32, 1]);
            o.texts("label", &["telemetry"]);
            o.texts("linux,uio-name", &["telemetry"]);
        });
        o.node("channel@a200000", |o| {
            o.texts("compatible", &["bulkhead,channel-1.0", "generic-uio"]);
            o.longs("reg", &[0xa20_0000, 0x1000, 0xa20_1000, 0x1000]);
            o.texts("reg-names", &["memory", "doorbell"]);
            o.words("interrupts", &[0, 33, 1]);
            o.texts("label", &["commands"]);
            o.texts("linux,uio-name", &["commands"]);
            o.flag("bulkhead,read-only");
        });
    });
    o.0.finish().unwrap()
}

#[test]
#[cfg_attr(
    miri,
    ignore = "two writers' whole trees take an interpreter half a minute; each of ours is read in other tests"
)]
fn the_tree_is_the_one_another_writer_makes() {
    let own = dump(&written(&full(GuestGic::V2)));
    let other = dump(&oracle_v2());
    for (own, other) in own.iter().zip(&other) {
        assert_eq!(own, other);
    }
    assert_eq!(own.len(), other.len());
}

#[test]
#[cfg_attr(
    miri,
    ignore = "two whole trees told as text take an interpreter half a minute; each is written in other tests"
)]
fn a_gicv3_tree_differs_in_the_gic_and_the_ppis_mask_only() {
    let v2 = dump(&written(&full(GuestGic::V2)));
    let v3 = dump(&written(&full(GuestGic::V3)));
    let pairs = v2.iter().zip(&v3).filter(|(two, three)| two != three);
    let differing: Vec<_> = pairs.map(|(_, three)| three.as_str()).collect();
    let starts = [
        "/timer interrupts [0, 0, 0, 1, 0, 0, 0, d, 0, 0, 0, 4,",
        "/intc@8000000 compatible [61, 72, 6d, 2c, 67, 69, 63, 2d, 76, 33, 0]",
        "/intc@8000000 reg [0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 8, a, 0, 0, \
         0, 0, 0, 0, 0, 4, 0, 0]",
        "/pmu interrupts [0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 4]",
    ];
    assert_eq!(differing.len(), starts.len());
    for (line, start) in differing.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn what_a_partition_has_not_is_not_in_its_tree() {
    let lines = dump(&written(&least()));
    assert!(lines.iter().any(|line| line == "/chosen bootargs [0]"));
    for absent in ["initrd", "pmu", "channel", "rng-seed", "kaslr"] {
        assert!(!lines.iter().any(|line| line.contains(absent)), "{absent}");
    }
}

#[test]
fn a_simple_reader_understands_the_tree() {
    let bytes = written(&full(GuestGic::V2));
    let tree = fdt::Fdt::new(&bytes).unwrap();
    assert_eq!(tree.total_size(), bytes.len());
    assert_eq!(tree.cpus().count(), 2);
    let region = tree.memory().regions().next().unwrap();
    assert_eq!(region.starting_address as usize, 0x4000_0000);
    assert_eq!(region.size, Some(256 << 20));
    assert_eq!(tree.chosen().bootargs(), Some("console=ttyAMA0"));
    assert_eq!(tree.chosen().stdout().unwrap().name, "pl011@9000000");
    let uart = tree.find_compatible(&["arm,pl011"]).unwrap();
    let registers = uart.reg().unwrap().next().unwrap();
    assert_eq!(registers.starting_address as usize, 0x900_0000);
    let gic = tree.find_phandle(1).unwrap();
    assert_eq!(gic.name, "intc@8000000");
    assert!(tree.find_node("/hypervisor").is_some());
}

#[test]
fn a_machine_that_cannot_be_is_refused() {
    let refused = |change: fn(&mut GuestTree<'static>)| {
        let mut tree = full(GuestGic::V2);
        change(&mut tree);
        write(&tree, &no_devices, &mut [0; 8192])
    };
    assert_eq!(refused(|t| t.vcpus = 0), Err(TreeError::Vcpus(0)));
    assert_eq!(refused(|t| t.vcpus = 9), Err(TreeError::Vcpus(9)));
    assert_eq!(refused(|t| t.pmu = Some(15)), Err(TreeError::Intid(15)));
    assert_eq!(refused(|t| t.pmu = Some(1020)), Err(TreeError::Intid(1020)));
    const HIGH: [GuestChannel<'static>; 1] = [GuestChannel {
        ipa: Ipa::new(u64::MAX - 1),
        ..CHANNELS[0]
    }];
    assert!(matches!(
        refused(|t| t.channels = &HIGH),
        Err(TreeError::Channel(_))
    ));
    assert!(refused(|t| t.vcpus = 8).is_ok());
}

#[test]
#[cfg_attr(
    miri,
    ignore = "its 64 channels take an interpreter minutes; other trees have two"
)]
fn the_machine_with_everything_fits_the_room_a_layout_keeps() {
    let name = "x".repeat(31);
    let channels: Vec<_> = (0_u64..64)
        .map(|index| GuestChannel {
            name: &name,
            ipa: Ipa::new(0xa10_0000 + index * 0x2000),
            intid: 64,
            ..CHANNELS[1]
        })
        .collect();
    let bootargs = "y".repeat(2048);
    let tree = GuestTree {
        channels: &channels,
        bootargs: &bootargs,
        vcpus: 8,
        ..full(GuestGic::V2)
    };
    let length = written(&tree).len();
    assert!(length <= 48 << 10, "{length}");
}

proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    #[test]
    fn a_buffer_too_small_is_an_error_and_one_large_enough_gives_the_same_tree(room in 0_usize..8192) {
        let expected = written(&full(GuestGic::V2));
        let mut out = vec![0x5a; room];
        match write(&full(GuestGic::V2), &no_devices, &mut out) {
            Ok(length) => prop_assert_eq!(&out[..length], &expected[..]),
            Err(error) => {
                prop_assert_eq!(error, TreeError::NoRoom(room));
                prop_assert!(room < expected.len() + 4096);
            }
        }
    }

    #[test]
    fn any_text_in_the_plan_gives_a_sound_tree(bootargs in "[^\0]{0,80}", name in "[^\0]{0,31}") {
        let tree = GuestTree { bootargs: &bootargs, name: &name, ..full(GuestGic::V3) };
        let bytes = written(&tree);
        let tree = Fdt::new(&bytes).unwrap();
        let chosen = tree.find_node("/chosen").unwrap();
        let found = chosen.property("bootargs").unwrap();
        prop_assert_eq!(found.value_as::<&str>().unwrap(), bootargs.as_str());
    }
}
