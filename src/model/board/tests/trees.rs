//! The trees of the two boards' shapes, built here.

use std::string::ToString;
use std::vec::Vec;

use vm_fdt::{FdtReserveEntry, FdtWriter};

/// A tree under construction.
pub(super) struct Build(pub(super) FdtWriter);

impl Build {
    pub(super) fn new(reserved: &[(u64, u64)]) -> Self {
        let entries: Vec<_> = reserved
            .iter()
            .map(|(base, size)| FdtReserveEntry::new(*base, *size).unwrap())
            .collect();
        Self(FdtWriter::new_with_mem_reserv(&entries).unwrap())
    }

    pub(super) fn node(&mut self, name: &str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let node = self.0.begin_node(name).unwrap();
        inside(self);
        self.0.end_node(node).unwrap();
        self
    }

    pub(super) fn cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
        self.0.property_array_u32(name, cells).unwrap();
        self
    }

    pub(super) fn texts(&mut self, name: &str, texts: &[&str]) -> &mut Self {
        let texts = texts.iter().map(ToString::to_string).collect();
        self.0.property_string_list(name, texts).unwrap();
        self
    }

    pub(super) fn flag(&mut self, name: &str) -> &mut Self {
        self.0.property_null(name).unwrap();
        self
    }
}

pub(super) fn tree(reserved: &[(u64, u64)], root: impl FnOnce(&mut Build)) -> Vec<u8> {
    let mut build = Build::new(reserved);
    build.node("", root);
    build.0.finish().unwrap()
}

/// What a test changes of the QEMU virt machine's tree.
pub(super) struct Virt {
    pub(super) gic: u32,
    pub(super) gic_frames: usize,
    pub(super) gic_interrupts: bool,
    pub(super) memory: Vec<u32>,
    pub(super) cpus: u32,
    pub(super) stdout: &'static str,
    pub(super) initrd: Option<(u32, u32)>,
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
    pub(super) fn build(&self) -> Vec<u8> {
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

    pub(super) fn gic(&self, t: &mut Build) {
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
pub(super) fn pi(memory: &[u32]) -> Vec<u8> {
    pi_below(memory, |_| {}, "spin-table")
}

/// The same, with what firmware below adds to the root and how it starts CPUs.
pub(super) fn pi_below(memory: &[u32], firmware: impl FnOnce(&mut Build), enable: &str) -> Vec<u8> {
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
pub(super) fn pi_with_tf_a(memory: &[u32]) -> Vec<u8> {
    let psci = |t: &mut Build| {
        t.node("psci", |t| {
            t.texts("compatible", &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]);
            t.texts("method", &["smc"]);
        });
    };
    pi_below(memory, psci, "psci")
}

pub(super) const PI_MEMORY: [u32; 6] = [0, 0, 0x3b40_0000, 0, 0x4000_0000, 0xbc00_0000];
