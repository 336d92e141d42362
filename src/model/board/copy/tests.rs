//! Copies written down as text, of trees in the shapes of both boards and of any bytes.

use super::*;
use crate::words::Pa;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::string::String;
use std::vec::Vec;
use vm_fdt::FdtWriter;

/// What a copy gave, one line a node or property.
#[derive(Default)]
struct Written {
    text: String,
    depth: usize,
}

impl Nodes for Written {
    fn begin(&mut self, name: &str, at: Option<u64>) {
        let at = at.map(|at| format!("@{at:x}")).unwrap_or_default();
        writeln!(self.text, "{}{name}{at}", " ".repeat(self.depth)).unwrap();
        self.depth += 1;
    }

    fn property(&mut self, name: &str, value: &[u8]) {
        let words: Vec<String> = value
            .chunks(4)
            .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect();
        let line = format!("{}{name} = {}", " ".repeat(self.depth), words.join(" "));
        writeln!(self.text, "{}", line.trim_end()).unwrap();
    }

    fn cells(&mut self, name: &str, cells: &[u32]) {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.property(name, &bytes);
    }

    fn end(&mut self) {
        self.depth = self.depth.checked_sub(1).expect("a node is open");
    }
}

/// The copies of `paths`, registers 0x100_0000 higher than the board's.
fn copied(tree: &[u8], paths: &[&str]) -> String {
    copied_with(tree, paths, &[])
}

/// The same for a guest with this RAM.
fn copied_with(tree: &[u8], paths: &[&str], memory: &[(Range, Ipa)]) -> String {
    let copies = Copies {
        paths,
        place: &|range| Some(Ipa::new(range.base().get() + 0x100_0000)),
        gic: 1,
        memory,
    };
    let mut written = Written::default();
    copy(tree, &copies, &mut written).expect("the tree is sound");
    assert_eq!(written.depth, 0, "every node is closed");
    written.text
}

type Fdt = FdtWriter;

fn node(fdt: &mut Fdt, name: &str, inside: impl FnOnce(&mut Fdt)) {
    let node = fdt.begin_node(name).unwrap();
    inside(fdt);
    fdt.end_node(node).unwrap();
}

fn cells(fdt: &mut Fdt, name: &str, cells: &[u32]) {
    fdt.property_array_u32(name, cells).unwrap();
}

/// A board whose devices sit on a bus that moves addresses by 0x1000_0000, with what `devices` adds there.
fn board(devices: impl FnOnce(&mut Fdt)) -> Vec<u8> {
    let mut fdt = Fdt::new().unwrap();
    node(&mut fdt, "", |fdt| {
        cells(fdt, "#address-cells", &[2]);
        cells(fdt, "#size-cells", &[2]);
        cells(fdt, "interrupt-parent", &[5]);
        node(fdt, "intc@8000000", |fdt| {
            fdt.property_string("compatible", "arm,gic-v3").unwrap();
            cells(fdt, "#interrupt-cells", &[4]);
            cells(fdt, "phandle", &[5]);
        });
        node(fdt, "clock", |fdt| {
            fdt.property_string("compatible", "fixed-clock").unwrap();
            cells(fdt, "#clock-cells", &[0]);
            cells(fdt, "clock-frequency", &[48_000_000]);
            cells(fdt, "phandle", &[6]);
        });
        node(fdt, "clocks", |fdt| {
            cells(fdt, "#clock-cells", &[1]);
            cells(fdt, "#reset-cells", &[1]);
            cells(fdt, "phandle", &[7]);
        });
        node(fdt, "soc", |fdt| {
            cells(fdt, "#address-cells", &[1]);
            cells(fdt, "#size-cells", &[1]);
            cells(fdt, "ranges", &[0x7e00_0000, 0, 0x8e00_0000, 0x100_0000]);
            devices(fdt);
        });
    });
    fdt.finish().unwrap()
}

#[test]
fn registers_and_interrupts_are_the_guests() {
    let tree = board(|fdt| {
        node(fdt, "uart@7e201000", |fdt| {
            fdt.property_string("compatible", "a").unwrap();
            cells(fdt, "reg", &[0x7e20_1000, 0x200, 0x7e30_0000, 0x10]);
            cells(fdt, "interrupts", &[0, 57, 4, 9, 0, 58, 1, 9]);
            fdt.property_string("status", "okay").unwrap();
            fdt.property_null("mark").unwrap();
        });
    });
    assert_eq!(
        copied(&tree, &["/soc/uart@7e201000"]),
        "uart@8f201000\n \
         reg = 00000000 8f201000 00000000 00000200 00000000 8f300000 00000000 00000010\n \
         interrupt-parent = 00000001\n \
         interrupts = 00000000 00000039 00000004 00000000 0000003a 00000001\n \
         compatible = 6100\n \
         mark =\n"
    );
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn clocks_of_others_become_fixed_ones_each_once() {
    let tree = board(|fdt| {
        node(fdt, "uart@7e201000", |fdt| {
            cells(fdt, "reg", &[0x7e20_1000, 0x200]);
            cells(fdt, "clocks", &[6, 7, 19, 7, 19, 7, 20]);
            fdt.property_string("clock-names", "x").unwrap();
            cells(fdt, "assigned-clocks", &[7, 19]);
        });
    });
    assert_eq!(
        copied(&tree, &["/soc/uart@7e201000"]),
        "uart@8f201000\n \
         reg = 00000000 8f201000 00000000 00000200\n \
         clocks = 08000000 08000001 08000001 08000002\n \
         clock-names = 7800\n\
         board-clock@0\n \
         compatible = 66697865 642d636c 6f636b00\n \
         #clock-cells = 00000000\n \
         clock-frequency = 02dc6c00\n \
         phandle = 08000000\n\
         board-clock@1\n \
         compatible = 66697865 642d636c 6f636b00\n \
         #clock-cells = 00000000\n \
         clock-frequency = 00000000\n \
         phandle = 08000001\n\
         board-clock@2\n \
         compatible = 66697865 642d636c 6f636b00\n \
         #clock-cells = 00000000\n \
         clock-frequency = 00000000\n \
         phandle = 08000002\n"
    );
}

/// A GPIO controller with pins, and a device that uses it.
fn gpio_and_user(fdt: &mut Fdt) {
    node(fdt, "gpio@7e200000", |fdt| {
        cells(fdt, "reg", &[0x7e20_0000, 0xb4]);
        cells(fdt, "#gpio-cells", &[2]);
        cells(fdt, "#interrupt-cells", &[2]);
        cells(fdt, "gpio-ranges", &[16, 0, 0, 58]);
        cells(fdt, "phandle", &[16]);
        node(fdt, "pins", |fdt| cells(fdt, "phandle", &[17]));
    });
    node(fdt, "spi@7e204000", |fdt| {
        cells(fdt, "reg", &[0x7e20_4000, 0x200]);
        cells(fdt, "cs-gpios", &[16, 8, 1]);
        cells(fdt, "pinctrl-0", &[17]);
        cells(fdt, "resets", &[7, 3]);
        fdt.property_string("reset-names", "r").unwrap();
        cells(fdt, "#address-cells", &[1]);
        cells(fdt, "#size-cells", &[0]);
        node(fdt, "chip@0", |fdt| {
            cells(fdt, "reg", &[0]);
            cells(fdt, "interrupt-parent", &[16]);
            cells(fdt, "interrupts", &[25, 2]);
            fdt.property_string("interrupt-names", "i").unwrap();
        });
        node(fdt, "chip@1", |fdt| {
            cells(fdt, "reg", &[1]);
            fdt.property_string("status", "disabled").unwrap();
        });
    });
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn references_to_what_is_copied_too_are_renumbered() {
    let text = copied(
        &board(gpio_and_user),
        &["/soc/spi@7e204000", "/soc/gpio@7e200000"],
    );
    assert_eq!(
        text,
        "gpio@8f200000\n \
         reg = 00000000 8f200000 00000000 000000b4\n \
         #gpio-cells = 00000002\n \
         #interrupt-cells = 00000002\n \
         gpio-ranges = 10000010 00000000 00000000 0000003a\n \
         phandle = 10000010\n \
         pins\n  \
         phandle = 10000011\n\
         spi@8f204000\n \
         reg = 00000000 8f204000 00000000 00000200\n \
         cs-gpios = 10000010 00000008 00000001\n \
         pinctrl-0 = 10000011\n \
         #address-cells = 00000001\n \
         #size-cells = 00000000\n \
         chip@0\n  \
         interrupt-parent = 10000010\n  \
         interrupts = 00000019 00000002\n  \
         interrupt-names = 6900\n  \
         reg = 00000000\n"
    );
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn references_to_what_the_guest_has_not_are_left_out() {
    let text = copied(&board(gpio_and_user), &["/soc/spi@7e204000"]);
    assert_eq!(
        text,
        "spi@8f204000\n \
         reg = 00000000 8f204000 00000000 00000200\n \
         #address-cells = 00000001\n \
         #size-cells = 00000000\n \
         chip@0\n  \
         reg = 00000000\n"
    );
}

#[test]
fn a_device_that_is_a_bus_translates_nothing() {
    let tree = board(|fdt| {
        node(fdt, "bus@7e400000", |fdt| {
            cells(fdt, "reg", &[0x7e40_0000, 0x1000]);
            cells(fdt, "#address-cells", &[1]);
            cells(fdt, "#size-cells", &[1]);
            cells(fdt, "ranges", &[0, 0x7e40_1000, 0x1000]);
            node(fdt, "timer@80", |fdt| cells(fdt, "reg", &[0x80, 0x40]));
        });
    });
    assert_eq!(
        copied(&tree, &["/soc/bus@7e400000"]),
        "bus@8f400000\n \
         #address-cells = 00000002\n \
         #size-cells = 00000002\n \
         ranges =\n \
         reg = 00000000 8f400000 00000000 00001000\n \
         timer@80\n  \
         reg = 00000000 8f401080 00000000 00000040\n"
    );
}

fn ram(base: u64, ipa: u64, size: u64) -> (Range, Ipa) {
    (Range::new(Pa::new(base), size).unwrap(), Ipa::new(ipa))
}

/// A device that may master a bus which sees only the board's first 1 GiB, at 0xc000_0000.
fn master(fdt: &mut Fdt) {
    cells(fdt, "dma-ranges", &[0xc000_0000, 0, 0, 0x4000_0000]);
    node(fdt, "usb@7e980000", |fdt| {
        fdt.property_string("compatible", "a").unwrap();
        cells(fdt, "reg", &[0x7e98_0000, 0x1000]);
        cells(fdt, "dma-ranges", &[1, 2, 3, 4]);
    });
    node(fdt, "gpio@7e200000", |fdt| {
        fdt.property_string("compatible", "arm,pl061").unwrap();
        cells(fdt, "reg", &[0x7e20_0000, 0x1000]);
    });
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn a_master_of_a_bus_is_told_where_on_it_the_guests_ram_is() {
    let devices = ["/soc/usb@7e980000", "/soc/gpio@7e200000"];
    // The second piece ends past what the bus reaches.
    let memory = [
        ram(0x1000_0000, 0x4000_0000, 0x20_0000),
        ram(0x3ff0_0000, 0x4020_0000, 0x20_0000),
    ];
    assert_eq!(
        copied_with(&board(master), &devices, &memory),
        "dma-bus@8f980000\n \
         compatible = 73696d70 6c652d62 757300\n \
         #address-cells = 00000002\n \
         #size-cells = 00000002\n \
         ranges =\n \
         dma-ranges = 00000000 d0000000 00000000 40000000 00000000 00200000 \
         00000000 fff00000 00000000 40200000 00000000 00100000\n \
         usb@8f980000\n  \
         reg = 00000000 8f980000 00000000 00001000\n  \
         compatible = 6100\n\
         gpio@8f200000\n \
         reg = 00000000 8f200000 00000000 00001000\n \
         compatible = 61726d2c 706c3036 3100\n"
    );
}

#[test]
fn a_master_that_reaches_none_of_the_guests_ram_is_switched_off() {
    let memory = [ram(0x8000_0000, 0x4000_0000, 0x20_0000)];
    let text = copied_with(&board(master), &["/soc/usb@7e980000"], &memory);
    assert!(text.contains("status = 64697361 626c6564 00\n"), "{text}");
    assert!(!text.contains("dma-ranges"), "{text}");
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds"
)]
fn nothing_is_copied_that_was_not_asked_for() {
    assert_eq!(copied(&board(gpio_and_user), &["/soc/gpio@7e20000"]), "");
    assert_eq!(copied(&board(gpio_and_user), &[]), "");
}

proptest! {
    #![proptest_config(crate::words::effort::cases(256))]

    #[test]
    #[cfg_attr(miri, ignore = "one of many whole boards' trees, each of which takes an interpreter many seconds")]
    fn no_change_to_a_tree_makes_a_copy_panic_or_leave_a_node_open(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12)
    ) {
        let mut tree = board(gpio_and_user);
        for (at, byte) in &changes {
            let at = at.index(tree.len());
            tree[at] = *byte;
        }
        let copies = Copies {
            paths: &["/soc/spi@7e204000", "/soc/gpio@7e200000"],
            place: &|range| Some(Ipa::new(range.base().get())),
            gic: 1,
            memory: &[ram(0x4080_0000, 0x4000_0000, 0x20_0000)],
        };
        let mut written = Written::default();
        let _ = copy(&tree, &copies, &mut written);
        prop_assert_eq!(written.depth, 0);
    }
}
