//! What a board's tree says of it: what is read, what is missing, what is left out.

use super::*;

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
    let unaligned = |start| Virt {
        initrd: Some((start, 0x4800_1234)),
        ..Virt::default()
    };
    assert!(Board::read(&unaligned(0x4800_0004).build()).is_ok());
    assert_eq!(
        message(&unaligned(0x4800_0002).build()),
        "device tree, /chosen: property `linux,initrd-start` is no multiple of 4: the boot loader has to put it at one"
    );
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
