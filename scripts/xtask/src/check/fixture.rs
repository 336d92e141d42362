//! A small board and manifest for the checker's tests.

use vm_fdt::FdtWriter;

/// A manifest of one partition with `line` in it.
pub fn manifest(line: &str) -> String {
    format!(
        "board = \"test\"\n[[partition]]\nname = \"a\"\ncpus = [0]\nmemory = \"4M\"\nkernel = \"k\"\n{line}\n"
    )
}

fn device(fdt: &mut FdtWriter, name: &str, kind: &str, spi: u32, more: &[(&str, &str)]) {
    let (_, address) = name.split_once('@').unwrap();
    let address = u64::from_str_radix(address, 16).unwrap();
    let node = fdt.begin_node(name).unwrap();
    fdt.property_string("compatible", kind).unwrap();
    fdt.property_array_u64("reg", &[address, 0x100]).unwrap();
    fdt.property_array_u32("interrupts", &[0, spi, 4]).unwrap();
    for (key, value) in more {
        match *value {
            "" => fdt.property_null(key).unwrap(),
            text => fdt.property_string(key, text).unwrap(),
        }
    }
    fdt.end_node(node).unwrap();
}

/// A board of two CPUs, 1 GiB at 0x4000_0000, a GICv2 and devices of every kind the rules are about.
pub fn board_tree() -> Vec<u8> {
    let mut fdt = FdtWriter::new().unwrap();
    let root = fdt.begin_node("").unwrap();
    fdt.property_u32("#address-cells", 2).unwrap();
    fdt.property_u32("#size-cells", 2).unwrap();
    fdt.property_u32("interrupt-parent", 1).unwrap();
    fdt.property_string("model", "test").unwrap();
    fdt.property_string("compatible", "test,board").unwrap();
    core_nodes(&mut fdt);
    device(&mut fdt, "serial@9000000", "arm,pl011", 1, &[]);
    device(&mut fdt, "gpio@9030000", "arm,pl061", 7, &[]);
    device(&mut fdt, "gpio@9041000", "arm,pl061", 8, &[]);
    device(&mut fdt, "gpio@9041800", "arm,pl061", 10, &[]);
    device(&mut fdt, "gpio@9050000", "arm,pl061", 9, &[]);
    device(&mut fdt, "gpio@9060000", "arm,pl061", 9, &[]);
    device(
        &mut fdt,
        "gpio@9070000",
        "arm,pl061",
        11,
        &[("status", "disabled")],
    );
    device(
        &mut fdt,
        "ethernet@9080000",
        "x,ethernet",
        12,
        &[("dma-coherent", "")],
    );
    bus(&mut fdt);
    clocked(&mut fdt);
    fdt.end_node(root).unwrap();
    fdt.finish().unwrap()
}

/// A device with another below it.
fn bus(fdt: &mut FdtWriter) {
    let node = fdt.begin_node("bus@90a0000").unwrap();
    fdt.property_string("compatible", "arm,pl061").unwrap();
    fdt.property_array_u64("reg", &[0x90a_0000, 0x1000])
        .unwrap();
    fdt.property_u32("#address-cells", 2).unwrap();
    fdt.property_u32("#size-cells", 2).unwrap();
    fdt.property_null("ranges").unwrap();
    device(fdt, "gpio@90a1000", "arm,pl061", 13, &[]);
    fdt.end_node(node).unwrap();
}

/// A device with a clock that has no rate.
fn clocked(fdt: &mut FdtWriter) {
    let clock = fdt.begin_node("clock-controller").unwrap();
    fdt.property_u32("#clock-cells", 1).unwrap();
    fdt.property_phandle(2).unwrap();
    fdt.end_node(clock).unwrap();
    let node = fdt.begin_node("gpio@90b0000").unwrap();
    fdt.property_string("compatible", "arm,pl061").unwrap();
    fdt.property_array_u64("reg", &[0x90b_0000, 0x1000])
        .unwrap();
    fdt.property_array_u32("interrupts", &[0, 14, 4]).unwrap();
    fdt.property_array_u32("clocks", &[2, 19]).unwrap();
    fdt.end_node(node).unwrap();
}

fn core_nodes(fdt: &mut FdtWriter) {
    let chosen = fdt.begin_node("chosen").unwrap();
    fdt.property_string("stdout-path", "/serial@9000000")
        .unwrap();
    fdt.end_node(chosen).unwrap();
    let memory = fdt.begin_node("memory@40000000").unwrap();
    fdt.property_string("device_type", "memory").unwrap();
    fdt.property_array_u64("reg", &[0x4000_0000, 0x4000_0000])
        .unwrap();
    fdt.end_node(memory).unwrap();
    let psci = fdt.begin_node("psci").unwrap();
    fdt.property_string("compatible", "arm,psci-1.0").unwrap();
    fdt.property_string("method", "smc").unwrap();
    fdt.end_node(psci).unwrap();
    let cpus = fdt.begin_node("cpus").unwrap();
    fdt.property_u32("#address-cells", 1).unwrap();
    fdt.property_u32("#size-cells", 0).unwrap();
    for cpu in 0..2 {
        let node = fdt.begin_node(&format!("cpu@{cpu}")).unwrap();
        fdt.property_string("device_type", "cpu").unwrap();
        fdt.property_string("compatible", "arm,armv8").unwrap();
        fdt.property_string("enable-method", "psci").unwrap();
        fdt.property_u32("reg", cpu).unwrap();
        fdt.end_node(node).unwrap();
    }
    fdt.end_node(cpus).unwrap();
    let timer = fdt.begin_node("timer").unwrap();
    fdt.property_string("compatible", "arm,armv8-timer")
        .unwrap();
    let ppis = [1, 13, 0xf08, 1, 14, 0xf08, 1, 11, 0xf08, 1, 10, 0xf08];
    fdt.property_array_u32("interrupts", &ppis).unwrap();
    fdt.end_node(timer).unwrap();
    let gic = fdt.begin_node("intc@8000000").unwrap();
    fdt.property_string("compatible", "arm,cortex-a15-gic")
        .unwrap();
    fdt.property_null("interrupt-controller").unwrap();
    fdt.property_u32("#interrupt-cells", 3).unwrap();
    fdt.property_phandle(1).unwrap();
    let frames = [
        0x800_0000, 0x1_0000, 0x801_0000, 0x1_0000, 0x803_0000, 0x1_0000, 0x804_0000, 0x1_0000,
    ];
    fdt.property_array_u64("reg", &frames).unwrap();
    fdt.property_array_u32("interrupts", &[1, 9, 0xf04])
        .unwrap();
    fdt.end_node(gic).unwrap();
}
