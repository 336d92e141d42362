//! Trees of the two boards' shapes, built here; the boards' own trees where a developer has them; any bytes.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test data are cut to their fields on purpose"
)]

use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;
use vm_fdt::{FdtReserveEntry, FdtWriter};

use super::tree::Tree;
use super::*;
use crate::words::effort::times;

mod lacking;
mod raspberry;

/// A tree under construction.
struct Build(FdtWriter);

impl Build {
    fn new(reserved: &[(u64, u64)]) -> Self {
        let entries: Vec<_> = reserved
            .iter()
            .map(|(base, size)| FdtReserveEntry::new(*base, *size).unwrap())
            .collect();
        Self(FdtWriter::new_with_mem_reserv(&entries).unwrap())
    }

    fn node(&mut self, name: &str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let node = self.0.begin_node(name).unwrap();
        inside(self);
        self.0.end_node(node).unwrap();
        self
    }

    fn cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
        self.0.property_array_u32(name, cells).unwrap();
        self
    }

    fn texts(&mut self, name: &str, texts: &[&str]) -> &mut Self {
        let texts = texts.iter().map(ToString::to_string).collect();
        self.0.property_string_list(name, texts).unwrap();
        self
    }

    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.property_null(name).unwrap();
        self
    }
}

fn tree(reserved: &[(u64, u64)], root: impl FnOnce(&mut Build)) -> Vec<u8> {
    let mut build = Build::new(reserved);
    build.node("", root);
    build.0.finish().unwrap()
}

/// What a test changes of the QEMU virt machine's tree.
struct Virt {
    gic: u32,
    gic_frames: usize,
    gic_interrupts: bool,
    memory: Vec<u32>,
    cpus: u32,
    stdout: &'static str,
    initrd: Option<(u32, u32)>,
}

impl Default for Virt {
    fn default() -> Self {
        Self {
            gic: 2,
            gic_frames: 4,
            gic_interrupts: true,
            memory: vec![0, 0x4000_0000, 0, 0x4000_0000],
            cpus: 4,
            stdout: "/pl011@9000000",
            initrd: None,
        }
    }
}

impl Virt {
    /// The tree of QEMU's virt machine with virtualization=on, its devices thinned out.
    fn build(&self) -> Vec<u8> {
        tree(&[], |t| {
            t.texts("compatible", &["linux,dummy-virt"]);
            t.texts("model", &["linux,dummy-virt"]);
            t.cells("#address-cells", &[2]).cells("#size-cells", &[2]);
            t.cells("interrupt-parent", &[0x8005]);
            t.flag("dma-coherent");
            t.node("psci", |t| {
                t.texts("compatible", &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]);
                t.texts("method", &["smc"]);
            });
            t.node("memory@40000000", |t| {
                t.texts("device_type", &["memory"]);
                t.cells("reg", &self.memory);
            });
            t.node("virtio_mmio@a000000", |t| {
                t.texts("compatible", &["virtio,mmio"]);
                t.cells("reg", &[0, 0xa00_0000, 0, 0x200]);
                t.cells("interrupts", &[0, 16, 1]);
                t.flag("dma-coherent");
            });
            t.node("pl061@9030000", |t| {
                t.texts("compatible", &["arm,pl061", "arm,primecell"]);
                t.cells("reg", &[0, 0x903_0000, 0, 0x1000]);
                t.cells("interrupts", &[0, 7, 4]);
            });
            t.node("pcie@10000000", |t| {
                t.texts("compatible", &["pci-host-ecam-generic"]);
                t.texts("device_type", &["pci"]);
                t.cells("#address-cells", &[3]).cells("#size-cells", &[2]);
                t.cells("#interrupt-cells", &[1]);
                t.cells("reg", &[0x40, 0x1000_0000, 0, 0x1000_0000]);
                let map = [
                    [0, 0, 0, 1, 0x8005, 0, 0, 0, 3, 4],
                    [0, 0, 0, 2, 0x8005, 0, 0, 0, 4, 4],
                    [0x800, 0, 0, 1, 0x8005, 0, 0, 0, 4, 4],
                ];
                t.cells("interrupt-map", map.as_flattened());
            });
            t.node("pl011@9000000", |t| {
                t.texts("compatible", &["arm,pl011", "arm,primecell"]);
                t.cells("reg", &[0, 0x900_0000, 0, 0x1000]);
                t.cells("interrupts", &[0, 1, 4]);
            });
            t.node("intc@8000000", |t| self.gic(t));
            t.node("cpus", |t| {
                t.cells("#address-cells", &[1]).cells("#size-cells", &[0]);
                for cpu in 0..self.cpus {
                    t.node(&format!("cpu@{cpu:x}"), |t| {
                        t.texts("device_type", &["cpu"]);
                        t.texts("compatible", &["arm,cortex-a72"]);
                        t.texts("enable-method", &["psci"]);
                        t.cells("reg", &[cpu]);
                    });
                }
            });
            t.node("timer", |t| {
                t.texts("compatible", &["arm,armv8-timer", "arm,armv7-timer"]);
                let lines = [1, 13, 0xf04, 1, 14, 0xf04, 1, 11, 0xf04, 1, 10, 0xf04];
                t.cells("interrupts", &lines);
            });
            t.node("aliases", |t| {
                t.texts("serial0", &["/pl011@9000000"]);
            });
            t.node("chosen", |t| {
                t.texts("stdout-path", &[self.stdout]);
                t.texts("bootargs", &["bulkhead.selftest"]);
                if let Some((start, end)) = self.initrd {
                    t.cells("linux,initrd-start", &[start]);
                    t.cells("linux,initrd-end", &[end]);
                }
            });
        })
    }

    fn gic(&self, t: &mut Build) {
        t.cells("phandle", &[0x8005])
            .cells("#interrupt-cells", &[3]);
        t.cells("#address-cells", &[2]).cells("#size-cells", &[2]);
        t.flag("interrupt-controller").flag("ranges");
        if self.gic_interrupts {
            t.cells("interrupts", &[1, 9, 4]);
        }
        let frames: &[[u32; 4]] = if self.gic == 2 {
            t.texts("compatible", &["arm,cortex-a15-gic"]);
            &[
                [0, 0x800_0000, 0, 0x1_0000],
                [0, 0x801_0000, 0, 0x1_0000],
                [0, 0x803_0000, 0, 0x1_0000],
                [0, 0x804_0000, 0, 0x1_0000],
            ]
        } else {
            t.texts("compatible", &["arm,gic-v3"]);
            t.cells("#redistributor-regions", &[1]);
            &[[0, 0x800_0000, 0, 0x1_0000], [0, 0x80a_0000, 0, 0xf6_0000]]
        };
        let frames = &frames[..self.gic_frames.min(frames.len())];
        t.cells("reg", frames.as_flattened());
        t.node("v2m@8020000", |t| {
            t.texts("compatible", &["arm,gic-v2m-frame"]);
            t.cells("reg", &[0, 0x802_0000, 0, 0x1000]);
        });
    }
}

/// A tree with the Raspberry Pi 4's peculiarities: 32-bit buses behind `ranges`, one size cell, a spin table.
fn pi(memory: &[u32]) -> Vec<u8> {
    pi_below(memory, |_| {}, "spin-table")
}

/// The same, with what firmware below adds to the root and how it starts CPUs.
fn pi_below(memory: &[u32], firmware: impl FnOnce(&mut Build), enable: &str) -> Vec<u8> {
    tree(&[(0, 0x1000)], |t| {
        t.texts("compatible", &["raspberrypi,4-model-b", "brcm,bcm2711"]);
        t.texts("model", &["Raspberry Pi 4 Model B"]);
        t.cells("#address-cells", &[2]).cells("#size-cells", &[1]);
        t.cells("interrupt-parent", &[1]);
        firmware(t);
        t.node("aliases", |t| {
            t.texts("serial1", &["/soc/serial@7e215040"]);
        });
        t.node("chosen", |t| {
            t.texts("stdout-path", &["serial1:115200n8"]);
        });
        t.node("reserved-memory", |t| {
            t.cells("#address-cells", &[2]).cells("#size-cells", &[1]);
            t.flag("ranges");
            t.node("linux,cma", |t| {
                t.cells("size", &[0x400_0000]);
            });
            t.node("nvram@0", |t| {
                t.cells("reg", &[0, 0, 0]).texts("status", &["disabled"]);
            });
            t.node("atf@0", |t| {
                t.cells("reg", &[0, 0, 0x8_0000]).flag("no-map");
            });
        });
        t.node("soc", |t| {
            t.texts("compatible", &["simple-bus"]);
            t.cells("#address-cells", &[1]).cells("#size-cells", &[1]);
            let ranges = [
                [0x7e00_0000, 0, 0xfe00_0000, 0x180_0000],
                [0x4000_0000, 0, 0xff80_0000, 0x80_0000],
            ];
            t.cells("ranges", ranges.as_flattened());
            t.cells("dma-ranges", &[0xc000_0000, 0, 0, 0x4000_0000]);
            t.node("watchdog@7e100000", |t| {
                t.texts("compatible", &["brcm,bcm2711-pm", "brcm,bcm2835-pm-wdt"]);
                let blocks = [0x7e10_0000, 0x114, 0x7e00_a000, 0x24];
                t.cells("reg", &blocks);
            });
            t.node("serial@7e201000", |t| {
                t.texts("compatible", &["arm,pl011", "arm,primecell"]);
                t.cells("reg", &[0x7e20_1000, 0x200]);
                t.cells("interrupts", &[0, 121, 4]);
            });
            t.node("serial@7e215040", |t| {
                t.texts("compatible", &["brcm,bcm2835-aux-uart"]);
                t.cells("reg", &[0x7e21_5040, 0x40]);
                t.cells("interrupts", &[0, 93, 4]);
            });
            t.node("serial@7e201400", |t| {
                t.texts("compatible", &["arm,pl011", "arm,primecell"]);
                t.texts("status", &["disabled"]);
                t.cells("reg", &[0x7e20_1400, 0x200]);
                t.cells("interrupts", &[0, 121, 4]);
            });
            t.node("i2c@7e804000", |t| {
                t.texts("compatible", &["brcm,bcm2711-i2c"]);
                t.cells("#address-cells", &[1]).cells("#size-cells", &[0]);
                t.cells("reg", &[0x7e80_4000, 0x1000]);
                t.cells("interrupts", &[0, 117, 4]);
                t.node("rtc@68", |t| {
                    t.texts("compatible", &["nxp,pcf85063"]);
                    t.cells("reg", &[0x68]);
                });
            });
            t.node("mailbox@7e00b880", |t| {
                t.texts("compatible", &["brcm,bcm2835-mbox"]);
                t.cells("reg", &[0x7e00_b880, 0x40]);
                t.cells("interrupts", &[0, 33, 4]);
            });
            t.node("interrupt-controller@7ef00100", |t| {
                t.texts("compatible", &["brcm,bcm2711-l2-intc"]);
                t.cells("reg", &[0x7ef0_0100, 0x30]);
                t.cells("interrupts", &[0, 96, 4]);
                t.cells("#interrupt-cells", &[1])
                    .flag("interrupt-controller");
                t.cells("phandle", &[0xf]);
            });
            t.node("hdmi@7ef00700", |t| {
                t.texts("compatible", &["brcm,bcm2711-hdmi0"]);
                t.cells("interrupt-parent", &[0xf]);
                t.cells("reg", &[0x7ef0_0700, 0x300, 0x1000_0000, 0x100]);
                t.cells("interrupts", &[0, 1, 2]);
            });
            t.node("interrupt-controller@40041000", |t| {
                t.texts("compatible", &["arm,gic-400"]);
                t.cells("#interrupt-cells", &[3])
                    .flag("interrupt-controller");
                t.cells("phandle", &[1]).cells("interrupts", &[1, 9, 0xf04]);
                let frames = [
                    [0x4004_1000, 0x1000],
                    [0x4004_2000, 0x2000],
                    [0x4004_4000, 0x2000],
                    [0x4004_6000, 0x2000],
                ];
                t.cells("reg", frames.as_flattened());
            });
        });
        t.node("timer", |t| {
            t.texts("compatible", &["arm,armv8-timer"]);
            let lines = [1, 13, 0xf08, 1, 14, 0xf08, 1, 11, 0xf08, 1, 10, 0xf08];
            t.cells("interrupts", &lines);
        });
        t.node("cpus", |t| {
            t.cells("#address-cells", &[1]).cells("#size-cells", &[0]);
            for cpu in 0..4 {
                t.node(&format!("cpu@{cpu}"), |t| {
                    t.texts("device_type", &["cpu"]).cells("reg", &[cpu]);
                    t.texts("enable-method", &[enable]);
                    t.cells("cpu-release-addr", &[0, 0xd8 + 8 * cpu]);
                });
            }
            t.node("l2-cache0", |t| {
                t.texts("compatible", &["cache"]);
            });
        });
        t.node("memory@0", |t| {
            t.texts("device_type", &["memory"]).cells("reg", memory);
        });
    })
}

/// The Pi's tree as TF-A leaves it (plat/rpi/rpi4: `dt_add_psci_node`, `dt_add_psci_cpu_enable_methods`).
fn pi_with_tf_a(memory: &[u32]) -> Vec<u8> {
    let psci = |t: &mut Build| {
        t.node("psci", |t| {
            t.texts("compatible", &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]);
            t.texts("method", &["smc"]);
        });
    };
    pi_below(memory, psci, "psci")
}

const PI_MEMORY: [u32; 6] = [0, 0, 0x3b40_0000, 0, 0x4000_0000, 0xbc00_0000];

fn range(base: u64, size: u64) -> Range {
    Range::new(Pa::new(base), size).unwrap()
}

fn message(tree: &[u8]) -> String {
    Board::read(tree).unwrap_err().to_string()
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_virt_tree_with_gicv2_gives_the_machine_qemu_documents() {
    let tree = Virt::default().build();
    let board = Board::read(&tree).unwrap();
    assert_eq!(board.compatible, "linux,dummy-virt");
    assert_eq!(board.bootargs, "bulkhead.selftest");
    assert_eq!(board.ram.as_slice(), [range(0x4000_0000, 0x4000_0000)]);
    assert_eq!(board.psci, Some(Conduit::Smc));
    let mpidrs: Vec<_> = board.cpus.iter().map(|cpu| cpu.mpidr.get()).collect();
    assert_eq!(mpidrs, [0, 1, 2, 3]);
    assert!(board.cpus.iter().all(|cpu| cpu.start == CpuStart::Psci));
    let gic = Gic::V2 {
        distributor: range(0x800_0000, 0x1_0000),
        cpu_interface: range(0x801_0000, 0x1_0000),
        hypervisor: range(0x803_0000, 0x1_0000),
        virtual_cpu: range(0x804_0000, 0x1_0000),
        maintenance: 25,
    };
    assert_eq!(board.gic, gic);
    let timer = Timer {
        virt: 27,
        phys: 30,
        hyp: 26,
    };
    assert_eq!(board.timer, timer);
    let console = Console {
        kind: UartKind::Pl011,
        registers: range(0x900_0000, 0x1000),
        intid: Some(33),
    };
    assert_eq!(board.console, Some(console));
    assert_eq!(board.initrd, None);
    assert!(board.reserved.is_empty());
}

#[test]
fn a_virt_tree_with_gicv3_gives_one_redistributor_region() {
    let virt = Virt {
        gic: 3,
        initrd: Some((0x4800_0000, 0x4800_1234)),
        ..Virt::default()
    };
    let tree = virt.build();
    let board = Board::read(&tree).unwrap();
    let gic = Gic::V3 {
        distributor: range(0x800_0000, 0x1_0000),
        redistributors: [range(0x80a_0000, 0xf6_0000)].into_iter().collect(),
        stride: 0x2_0000,
        maintenance: 25,
    };
    assert_eq!(board.gic, gic);
    assert_eq!(board.initrd, Some(range(0x4800_0000, 0x1234)));
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_pi_tree_gives_addresses_through_ranges_and_a_spin_table() {
    let tree = pi(&PI_MEMORY);
    let board = Board::read(&tree).unwrap();
    let ram = [range(0, 0x3b40_0000), range(0x4000_0000, 0xbc00_0000)];
    assert_eq!(board.ram.as_slice(), ram);
    let gic = Gic::V2 {
        distributor: range(0xff84_1000, 0x1000),
        cpu_interface: range(0xff84_2000, 0x2000),
        hypervisor: range(0xff84_4000, 0x2000),
        virtual_cpu: range(0xff84_6000, 0x2000),
        maintenance: 25,
    };
    assert_eq!(board.gic, gic);
    assert_eq!(board.psci, None);
    let release = Pa::new(0xe8);
    assert_eq!(board.cpus[2].start, CpuStart::SpinTable { release });
    let console = Console {
        kind: UartKind::MiniUart,
        registers: range(0xfe21_5040, 0x40),
        intid: Some(125),
    };
    assert_eq!(board.console, Some(console));
    let reserved: Vec<_> = board.reserved.iter().map(|r| (r.what, r.range)).collect();
    let expected = [
        ("/memreserve/", range(0, 0x1000)),
        ("atf@0", range(0, 0x8_0000)),
    ];
    assert_eq!(reserved, expected);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn bytes_past_the_tree_are_ignored() {
    let mut tree = Virt::default().build();
    tree.extend_from_slice(&[0xff; 4096]);
    assert!(Board::read(&tree).is_ok());
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn ram_ranges_come_sorted_and_touching_ones_joined() {
    let virt = Virt {
        memory: [
            [0, 0x8000_0000, 0, 0x1000_0000],
            [0, 0x4000_0000, 0, 0x1000_0000],
            [0, 0xa000_0000, 0, 0],
            [0, 0x5000_0000, 0, 0x3000_0000],
            [1, 0, 0, 0x1000],
        ]
        .as_flattened()
        .to_vec(),
        ..Virt::default()
    };
    let tree = virt.build();
    let board = Board::read(&tree).unwrap();
    let ram = [range(0x4000_0000, 0x5000_0000), range(1 << 32, 0x1000)];
    assert_eq!(board.ram.as_slice(), ram);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_board_without_what_every_board_needs_is_refused_by_name() {
    let no_ram = pi(&[0, 0, 0]);
    assert!(message(&no_ram).contains("no RAM"), "{}", message(&no_ram));
    let no_gich = Virt {
        gic_frames: 2,
        ..Virt::default()
    };
    let text = message(&no_gich.build());
    assert!(
        text.contains("/intc@8000000") && text.contains("GICH"),
        "{text}"
    );
    let no_gicv = Virt {
        gic_frames: 3,
        ..Virt::default()
    };
    assert!(message(&no_gicv.build()).contains("GICV"));
    let no_maintenance = Virt {
        gic_interrupts: false,
        ..Virt::default()
    };
    let text = message(&no_maintenance.build());
    assert!(
        text.contains("/intc@8000000") && text.contains("`interrupts`"),
        "{text}"
    );
    let many = Virt {
        cpus: 9,
        ..Virt::default()
    };
    assert!(message(&many.build()).contains("more than 8 CPUs"));
    let odd = Virt {
        memory: vec![0, 0x4000_0000, 0],
        ..Virt::default()
    };
    let text = message(&odd.build());
    assert!(
        text.contains("/memory@40000000") && text.contains("`reg`"),
        "{text}"
    );
    let backwards = Virt {
        initrd: Some((0x4800_0000, 0x4700_0000)),
        ..Virt::default()
    };
    assert!(message(&backwards.build()).contains("linux,initrd-end"));
    assert!(message(&[]).contains("not a sound"));
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn list_registers_are_as_many_as_the_command_line_allows() {
    let limit = |bootargs| {
        let tree = Virt::default().build();
        let board = Board::read(&tree).unwrap();
        Board { bootargs, ..board }.list_registers()
    };
    assert_eq!(limit("quiet bulkhead.list-registers=2"), Some(2));
    for none in [
        "",
        "bulkhead.list-registers",
        "bulkhead.list-registers=0",
        "bulkhead.list-registers=x",
    ] {
        assert_eq!(limit(none), None);
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_console_that_leads_nowhere_is_none() {
    for stdout in ["/pl011@9999999", "serial7", "", "/pl061@9030000"] {
        let tree = Virt {
            stdout,
            ..Virt::default()
        };
        let tree = tree.build();
        assert_eq!(Board::read(&tree).unwrap().console, None, "{stdout}");
    }
    for stdout in [
        "serial0",
        "serial0:115200n8",
        "/pl011@9000000:9600",
        "/pl011",
    ] {
        let tree = Virt {
            stdout,
            ..Virt::default()
        };
        let tree = tree.build();
        assert!(Board::read(&tree).unwrap().console.is_some(), "{stdout}");
    }
}

/// The timer's interrupts out of a tree.
fn timer_of(bytes: &[u8]) -> Result<Timer, BoardError> {
    let tree = Tree::new(bytes).unwrap();
    let place = tree.walk().find(|place| place.is_any(cpus::TIMER_KINDS));
    cpus::timer(&tree, place.as_ref())
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
        let tree = Tree::new(&bytes).unwrap();
        let place = tree.walk().find(|place| place.is_any(cpus::PMU_KINDS));
        cpus::pmu(&tree, &place.unwrap()).unwrap()
    };
    assert_eq!(pmu(&[1, 7, 4]), Some(23));
    // The Raspberry Pi 4's: an SPI a core.
    assert_eq!(pmu(&[0, 16, 4, 0, 17, 4, 0, 18, 4, 0, 19, 4]), None);
    assert_eq!(pmu(&[]), None);
}

#[test]
fn a_node_nested_too_deep_is_refused() {
    let depth = |levels: usize| {
        let mut build = Build::new(&[]);
        let mut open: Vec<_> = Vec::new();
        for level in 0..=levels {
            let name = if level == 0 { "" } else { "n" };
            open.push(build.0.begin_node(name).unwrap());
        }
        while let Some(node) = open.pop() {
            build.0.end_node(node).unwrap();
        }
        build.0.finish().unwrap()
    };
    assert!(message(&depth(16)).contains("no RAM"));
    assert!(message(&depth(17)).contains("more than 16 deep"));
}

#[test]
#[cfg_attr(miri, ignore = "thousands of nodes take an interpreter minutes")]
fn a_tree_of_too_many_nodes_is_refused() {
    let wide = |count: usize| {
        tree(&[], |t| {
            for index in 0..count {
                t.node(&format!("n{index}"), |_| {});
            }
        })
    };
    assert!(message(&wide(4095)).contains("no RAM"));
    assert!(message(&wide(4096)).contains("more than 4096 nodes"));
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_device_has_its_registers_and_interrupts_at_the_gic() {
    let tree = Virt::default().build();
    let pl061 = device(&tree, "/pl061@9030000").unwrap();
    assert_eq!(pl061.path.as_str(), "/pl061@9030000");
    assert_eq!(pl061.compatible, "arm,pl061");
    assert_eq!(pl061.registers.as_slice(), [range(0x903_0000, 0x1000)]);
    let line = Interrupt {
        intid: 39,
        trigger: Trigger::Level,
    };
    assert_eq!(pl061.interrupts.as_slice(), [line]);
    assert_eq!(pl061.dma, Dma::Never);
    assert!(pl061.enabled && !pl061.unmapped && !pl061.indirect_interrupts);
    let virtio = device(&tree, "/virtio_mmio@a000000").unwrap();
    assert_eq!(virtio.interrupts[0].trigger, Trigger::Edge);
    assert!(matches!(virtio.dma, Dma::Master(DmaReason::Known(_))));
    assert!(device(&tree, "/pl061@9030001").is_err());
    assert!(device(&tree, "pl061@9030000").is_err());
}

#[test]
fn a_pci_bridge_has_the_interrupts_of_its_map_once_each() {
    let tree = Virt::default().build();
    let pcie = device(&tree, "/pcie@10000000").unwrap();
    let intids: Vec<_> = pcie.interrupts.iter().map(|line| line.intid).collect();
    assert_eq!(intids, [35, 36]);
    assert!(matches!(pcie.dma, Dma::Master(_)));
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn what_a_bus_hides_is_marked_and_not_guessed() {
    let tree = pi(&PI_MEMORY);
    let rtc = device(&tree, "/soc/i2c@7e804000/rtc@68").unwrap();
    assert!(rtc.unmapped && rtc.registers.is_empty());
    assert_eq!(rtc.dma, Dma::Unknown);
    let hdmi = device(&tree, "/soc/hdmi@7ef00700").unwrap();
    assert_eq!(hdmi.registers.as_slice(), [range(0xfef0_0700, 0x300)]);
    assert!(hdmi.unmapped, "its second range is in no window of the bus");
    assert!(hdmi.indirect_interrupts && hdmi.interrupts.is_empty());
    let soc = device(&tree, "/soc").unwrap();
    assert_eq!(soc.dma, Dma::Master(DmaReason::DmaRanges));
    let mailbox = device(&tree, "/soc/mailbox@7e00b880").unwrap();
    assert!(matches!(mailbox.dma, Dma::Master(DmaReason::Known(_))));
    let off = device(&tree, "/soc/serial@7e201400").unwrap();
    assert!(!off.enabled);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn two_uarts_of_the_pi_share_a_page_and_an_interrupt() {
    let tree = pi(&PI_MEMORY);
    let all: Vec<_> = devices(&tree).unwrap().map(Result::unwrap).collect();
    let uarts: Vec<_> = all.iter().filter(|d| d.compatible == "arm,pl011").collect();
    assert_eq!(uarts.len(), 2);
    assert_eq!(uarts[0].interrupts, uarts[1].interrupts);
    let page = |index: usize| uarts[index].registers[0].base().align_down(4096);
    assert_eq!(page(0), page(1));
    assert!(all.iter().all(|d| !d.path.as_str().starts_with("/cpus")));
    assert!(all.iter().all(|d| !d.path.as_str().starts_with("/memory")));
}

/// Reads everything there is to read of `tree`.
fn read_all(tree: &[u8]) {
    let _ = Board::read(tree);
    let _ = device(tree, "/soc/serial@7e201000");
    if let Ok(devices) = devices(tree) {
        for found in devices {
            let _ = found.map(|info| device(tree, info.path.as_str()));
        }
    }
}

fn mutated(base: &[u8], changes: &[(usize, u8)], length: usize) -> Vec<u8> {
    let mut tree = base.to_vec();
    for (at, byte) in changes {
        let at = at % tree.len();
        tree[at] = *byte;
    }
    tree.truncate(length);
    tree
}

/// Bytes that mean something in a tree, and any others.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![0_u8..16, Just(0xff), Just(0x80), any::<u8>()]
}

fn changes() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((any::<usize>(), byte()), 1..12)
}

proptest! {
    #![proptest_config(crate::words::effort::cases(600))]

    #[test]
    fn no_change_to_a_virt_tree_makes_it_panic_or_hang(changes in changes(), gic in 2_u32..4) {
        let base = Virt { gic, ..Virt::default() }.build();
        read_all(&mutated(&base, &changes, base.len()));
    }

    #[test]
    #[cfg_attr(miri, ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds")]
    fn no_change_to_a_pi_tree_makes_it_panic_or_hang(changes in changes()) {
        let base = pi(&PI_MEMORY);
        read_all(&mutated(&base, &changes, base.len()));
    }

    #[test]
    fn no_truncated_tree_makes_it_panic(length in 0_usize..times(6000, 600)) {
        let base = pi(&PI_MEMORY);
        read_all(&mutated(&base, &[], length));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    #[cfg_attr(miri, ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds")]
    fn ram_of_any_tree_is_ascending_and_disjoint(
        pieces in proptest::collection::vec((0_u32..64, 0_u32..16), 1..16)
    ) {
        let memory: Vec<u32> = pieces.iter().flat_map(|(b, s)| [0, b << 24, 0, s << 24]).collect();
        let tree = Virt { memory, ..Virt::default() }.build();
        let mut covered = [false; 80];
        for (base, size) in &pieces {
            covered[*base as usize..(base + size) as usize].fill(true);
        }
        match Board::read(&tree) {
            Err(_) => prop_assert!(covered.iter().all(|c| !c)),
            Ok(board) => {
                prop_assert!(board.ram.windows(2).all(|w| w[0].end() < w[1].base()));
                for (unit, covered) in covered.iter().enumerate() {
                    let unit = range((unit as u64) << 24, 1 << 24);
                    let found = board.ram.iter().any(|ram| ram.contains(unit));
                    prop_assert_eq!(found, *covered);
                }
            }
        }
    }
}

/// A tree of a developer's: `target/trees/` holds QEMU's dumped ones and the Pi's from Debian's kernel package.
fn own(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/trees");
    std::fs::read(path.join(name)).unwrap()
}

/// The Pi's tree as its firmware hands it over: with RAM in it.
fn own_pi() -> Vec<u8> {
    let mut tree = own("bcm2711-rpi-4-b.dtb");
    let find = |from: usize, what: &[u8]| {
        let found = tree[from..].windows(what.len()).position(|w| w == what);
        from + found.expect("the memory node, and its `reg` of three cells")
    };
    let reg = find(find(0, b"\x01memory@0\0"), &[0, 0, 0, 3, 0, 0, 0, 12]);
    let size = reg + 12 + 8;
    tree[size..size + 4].copy_from_slice(&0x3b40_0000_u32.to_be_bytes());
    tree
}

#[test]
#[ignore = "needs target/trees/virt-gicv2.dtb and virt-gicv3.dtb, dumped by QEMU (-M virt,dumpdtb=)"]
fn qemus_own_trees_read_as_the_ones_built_here() {
    for gic in [2, 3] {
        let own = own(&format!("virt-gicv{gic}.dtb"));
        let built = Virt {
            gic,
            ..Virt::default()
        };
        let built = built.build();
        let (own, built) = (Board::read(&own).unwrap(), Board::read(&built).unwrap());
        assert_eq!((&own.gic, own.timer), (&built.gic, built.timer));
        assert_eq!((&own.cpus, own.psci), (&built.cpus, built.psci));
        assert_eq!((&own.ram, own.console), (&built.ram, built.console));
    }
}

#[test]
#[ignore = "needs target/trees/bcm2711-rpi-4-b.dtb from Debian's linux-image-*-arm64 package"]
fn the_pis_own_tree_reads_as_the_one_built_here() {
    let own = own_pi();
    let built = pi(&PI_MEMORY);
    let all: Vec<_> = devices(&own).unwrap().map(Result::unwrap).collect();
    assert!(all.len() > 50, "{}", all.len());
    let (own, built) = (Board::read(&own).unwrap(), Board::read(&built).unwrap());
    assert_eq!((&own.gic, own.timer), (&built.gic, built.timer));
    assert_eq!((&own.cpus, own.psci), (&built.cpus, built.psci));
    assert_eq!(own.console, built.console);
    assert_eq!(own.ram.as_slice(), [range(0, 0x3b40_0000)]);
    assert_eq!(own.reserved.as_slice(), &built.reserved[..1]);
}

/// The tree without the zeros QEMU leaves behind it.
fn unpadded(mut tree: Vec<u8>) -> Vec<u8> {
    let last = tree.iter().rposition(|byte| *byte != 0).unwrap();
    tree.truncate(last + 2);
    let total = tree.len() as u32;
    tree[4..8].copy_from_slice(&total.to_be_bytes());
    tree
}

#[test]
#[ignore = "needs target/trees"]
fn no_change_to_the_boards_own_trees_makes_it_panic_or_hang() {
    let bases = [own("virt-gicv2.dtb"), own("virt-gicv3.dtb"), own_pi()].map(unpadded);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for base in bases {
        for _ in 0..4000 {
            let mut tree = base.clone();
            for _ in 0..1 + random() % 8 {
                let at = random() % base.len();
                tree[at] = (random() % 256) as u8 & if random() % 2 == 0 { 0xff } else { 0x0f };
            }
            let _ = Board::read(&tree);
        }
    }
}
