//! Bundles as the host tool writes them, wrong ones one property at a time, and any bytes.
#![allow(
    clippy::cast_possible_truncation,
    reason = "test data are cut to their fields on purpose"
)]

use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;
use vm_fdt::FdtWriter;

use super::*;
use crate::model::board::{Board, Cpu, CpuStart, Gic, Timer};
use crate::words::{Mpidr, Range};

/// Writes a bundle, and next to it the digest's input as the format's description has it.
struct Build {
    writer: FdtWriter,
    hashed: Vec<u8>,
    names: Vec<String>,
    /// Properties to leave out or to replace, by node and name.
    changes: Vec<(&'static str, &'static str, Option<Vec<u8>>)>,
}

impl Build {
    fn new(changes: &[(&'static str, &'static str, Option<Vec<u8>>)]) -> Self {
        Self {
            writer: FdtWriter::new().unwrap(),
            hashed: Vec::new(),
            names: Vec::new(),
            changes: changes.to_vec(),
        }
    }

    fn node(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        let node = self.writer.begin_node(name).unwrap();
        self.hashed.push(1);
        self.hashed.extend_from_slice(name.as_bytes());
        self.hashed.push(0);
        self.names.push(name.to_string());
        inside(self);
        self.added();
        self.names.pop();
        self.hashed.push(3);
        self.writer.end_node(node).unwrap();
    }

    fn property(&mut self, name: &str, value: &[u8]) {
        let here = self.names.last().unwrap().clone();
        let changes = self.changes.clone();
        let change = changes.iter().find(|(n, p, _)| *n == here && *p == name);
        let value = match change {
            Some((_, _, None)) => return,
            Some((_, _, Some(other))) => other,
            None => value,
        };
        self.changes.retain(|(n, p, _)| !(*n == here && *p == name));
        self.put(name, value);
    }

    fn put(&mut self, name: &str, value: &[u8]) {
        let here = self.names.last().unwrap().as_str();
        self.writer.property(name, value).unwrap();
        if !(here.is_empty() && name == "digest") {
            self.hashed.push(2);
            self.hashed.extend_from_slice(name.as_bytes());
            self.hashed.push(0);
            self.hashed
                .extend_from_slice(&(value.len() as u32).to_be_bytes());
            if !(["kernel", "initrd"].contains(&here) && name == "data") {
                self.hashed.extend_from_slice(value);
            }
        }
    }

    /// Adds the properties asked for that were not there to be replaced.
    fn added(&mut self) {
        let here = self.names.last().unwrap().clone();
        for (node, name, value) in self.changes.clone() {
            if let (true, Some(value)) = (node == here, value) {
                self.put(name, &value);
            }
        }
        self.changes.retain(|(node, _, _)| *node != here);
    }

    fn payload(&mut self, name: &str, format: Option<&str>, data: &[u8]) {
        self.node(name, |b| {
            if let Some(format) = format {
                b.property("format", &text(format));
            }
            b.property("sha256", &Sha256::digest(data));
            b.property("data", data);
        });
    }
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn long(value: u64) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

type Change = (&'static str, &'static str, Option<Vec<u8>>);

/// The bundle of a system of two partitions and a channel, changed as asked, its digest as it should be.
fn bundle(changes: &[Change]) -> Vec<u8> {
    let mut b = Build::new(changes);
    b.node("", |b| {
        b.property("compatible", &text("bulkhead,bundle-1"));
        b.property("board", &text("qemu-virt"));
        b.property("digest", &[0; 32]);
        b.property("bulkhead.selftest", &[]);
        b.node("partitions", |b| {
            b.node("partition@0", |b| {
                b.property("label", &text("linux"));
                b.property("cpus", &words(&[0, 1]));
                b.property("memory-size", &long(256 << 20));
                b.property("load", &long(0x4008_0000));
                b.property("dtb-address", &long(0x4000_0000));
                b.property("bootargs", &text("console=ttyAMA0"));
                b.property("on-crash", &text("restart"));
                b.property("restart-limit", &words(&[3]));
                b.property("restart-window-ms", &words(&[60_000]));
                b.property("manage", &words(&[1]));
                b.property("observe", &[]);
                b.payload("kernel", Some("image"), b"a kernel");
                b.payload("initrd", None, b"a ramdisk");
            });
            b.node("partition@1", |b| {
                b.property("label", &text("control"));
                b.property("cpus", &words(&[2]));
                b.property("memory-size", &long(4 << 20));
                b.property("bootargs", &text(""));
                b.property("on-crash", &text("stop"));
                b.property("heartbeat-ms", &words(&[100]));
                b.property("devices", b"/pl061@9030000\0/pl031@9010000\0");
                b.property("dma-unconfined", &[]);
                b.node("kernel", |b| {
                    b.put("format", &text("elf"));
                    b.put("sha256", &Sha256::digest(b"elf"));
                    b.put("data", b"elf");
                });
            });
        });
        b.node("channels", |b| {
            b.node("channel@0", |b| {
                b.property("label", &text("telemetry"));
                b.property("from", &words(&[1]));
                b.property("to", &words(&[0]));
                b.property("size", &long(64 << 10));
            });
        });
    });
    let digest = Sha256::digest(&b.hashed);
    let mut bundle = b.writer.finish().unwrap();
    patch(&mut bundle, &digest);
    bundle
}

/// Puts the digest where zeros are.
fn patch(bundle: &mut [u8], digest: &[u8]) {
    if let Some(at) = bundle
        .windows(44)
        .position(|w| w[..8] == [0, 0, 0, 3, 0, 0, 0, 32])
    {
        bundle[at + 12..at + 44].copy_from_slice(digest);
    }
}

fn refusal(changes: &[Change]) -> String {
    System::read(&bundle(changes)).unwrap_err().to_string()
}

#[test]
fn a_bundle_gives_the_plan_that_was_written() {
    let bundle = bundle(&[]);
    let system = System::read(&bundle).unwrap();
    assert_eq!((system.board, system.selftest), ("qemu-virt", true));
    let [linux, control] = system.partitions.as_slice() else {
        panic!("two partitions");
    };
    assert_eq!((linux.name, linux.id), ("linux", PartitionId::new(0)));
    assert_eq!(linux.cpus.as_slice(), [CpuId::new(0), CpuId::new(1)]);
    assert_eq!(linux.memory, 256 << 20);
    assert_eq!(
        (linux.kernel.data, linux.format),
        (&b"a kernel"[..], Format::Image)
    );
    assert_eq!(linux.initrd.unwrap().data, b"a ramdisk");
    assert!(linux.kernel.verify() && linux.initrd.unwrap().verify());
    assert_eq!(linux.bootargs, "console=ttyAMA0");
    assert_eq!(linux.load, Some(Ipa::new(0x4008_0000)));
    assert_eq!(linux.dtb, Some(Ipa::new(0x4000_0000)));
    assert_eq!(
        linux.on_crash,
        OnCrash::Restart {
            limit: 3,
            window_ms: Some(60_000)
        }
    );
    assert_eq!((linux.manage, linux.observe), (0b10, true));
    assert_eq!((control.name, control.format), ("control", Format::Elf));
    assert_eq!((control.initrd, control.load), (None, None));
    assert_eq!((control.bootargs, control.on_crash), ("", OnCrash::Stop));
    assert_eq!(control.heartbeat_ms, Some(100));
    assert_eq!(
        control.devices.as_slice(),
        ["/pl061@9030000", "/pl031@9010000"]
    );
    assert_eq!((control.dma_unconfined, control.manage), (true, 0));
    let channel = ChannelPlan {
        name: "telemetry",
        from: PartitionId::new(1),
        to: PartitionId::new(0),
        both: false,
        size: 64 << 10,
    };
    assert_eq!(system.channels.as_slice(), [channel]);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole bundles, each of which takes an interpreter many seconds"
)]
fn the_digest_does_not_depend_on_itself_or_on_payload_bytes_but_on_all_else() {
    let good = bundle(&[]);
    let expected = digest(&good).unwrap();
    let mut other = good.clone();
    patch(&mut other, &[0; 32]);
    assert_eq!(digest(&other).unwrap(), expected);
    let changed = |from: &[u8], to: &[u8]| {
        let mut bundle = good.clone();
        let at = bundle.windows(from.len()).position(|w| w == from).unwrap();
        bundle[at..at + to.len()].copy_from_slice(to);
        bundle
    };
    let payload = changed(b"a kernel", b"A kernel");
    assert_eq!(digest(&payload).unwrap(), expected);
    let system = System::read(&payload).unwrap();
    assert!(!system.partitions[0].kernel.verify());
    for (from, to) in [(&b"linux"[..], &b"Linux"[..]), (b"observe\0", b"Observe\0")] {
        let text = System::read(&changed(from, to)).unwrap_err().to_string();
        assert!(text.contains("digest"), "{text}");
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole bundles, each of which takes an interpreter many seconds"
)]
fn what_is_wrong_is_named_with_its_node() {
    let cases: &[(Change, &str, &str)] = &[
        (
            ("", "compatible", Some(text("bulkhead,bundle-9"))),
            "bundle, /:",
            "bundle-1",
        ),
        (("", "board", None), "bundle, /:", "`board` is missing"),
        (("", "digest", None), "bundle, /:", "`digest` is missing"),
        (
            ("partition@0", "label", Some(text(""))),
            "/partitions/partition@0",
            "label",
        ),
        (
            ("partition@1", "label", Some(text("linux"))),
            "/partitions/partition@1",
            "label",
        ),
        (
            ("partition@0", "label", Some(text(&"x".repeat(32)))),
            "partition@0",
            "31 bytes",
        ),
        (
            ("partition@0", "cpus", None),
            "partition@0",
            "`cpus` is missing",
        ),
        (
            ("partition@0", "cpus", Some(words(&[1, 1]))),
            "partition@0",
            "CPU 1 is given twice",
        ),
        (
            ("partition@0", "cpus", Some(words(&[256]))),
            "partition@0",
            "`cpus`",
        ),
        (
            ("partition@0", "cpus", Some(vec![0; 3])),
            "partition@0",
            "`cpus`",
        ),
        (
            (
                "partition@0",
                "cpus",
                Some(words(&[0, 1, 2, 3, 4, 5, 6, 7, 8])),
            ),
            "partition@0",
            "more than 8",
        ),
        (
            ("partition@0", "memory-size", None),
            "partition@0",
            "`memory-size` is missing",
        ),
        (
            ("partition@0", "memory-size", Some(long(0))),
            "partition@0",
            "`memory-size`",
        ),
        (
            ("partition@0", "memory-size", Some(long(3 << 20))),
            "partition@0",
            "`memory-size`",
        ),
        (
            ("partition@0", "memory-size", Some(long(1 << 41))),
            "partition@0",
            "`memory-size`",
        ),
        (
            ("partition@0", "memory-size", Some(vec![0; 4])),
            "partition@0",
            "`memory-size`",
        ),
        (
            ("partition@0", "load", Some(long(1 << 41))),
            "partition@0",
            "`load`",
        ),
        (
            ("partition@0", "bootargs", None),
            "partition@0",
            "`bootargs` is missing",
        ),
        (
            ("partition@0", "bootargs", Some(vec![b'a'])),
            "partition@0",
            "`bootargs`",
        ),
        (
            ("partition@0", "bootargs", Some(b"a\0b\0".to_vec())),
            "partition@0",
            "`bootargs`",
        ),
        (
            ("partition@0", "on-crash", Some(text("explode"))),
            "partition@0",
            "`on-crash`",
        ),
        (
            ("partition@0", "restart-limit", None),
            "partition@0",
            "`restart-limit` is missing",
        ),
        (
            ("partition@1", "heartbeat-ms", Some(words(&[0]))),
            "partition@1",
            "`heartbeat-ms`",
        ),
        (
            ("partition@0", "manage", Some(words(&[2]))),
            "partition@0",
            "partition 2, which does not",
        ),
        (
            ("partition@1", "devices", Some(text("pl061"))),
            "partition@1",
            "`devices`",
        ),
        (
            ("partition@1", "devices", Some(text("/d").repeat(17))),
            "partition@1",
            "more than 16",
        ),
        (
            ("kernel", "format", Some(text("zip"))),
            "/partitions/partition@0/kernel",
            "`format`",
        ),
        (
            ("kernel", "sha256", Some(vec![0; 31])),
            "partition@0/kernel",
            "`sha256`",
        ),
        (
            ("kernel", "data", Some(vec![])),
            "partition@0/kernel",
            "`data`",
        ),
        (
            ("kernel", "data", None),
            "partition@0/kernel",
            "`data` is missing",
        ),
        (
            ("initrd", "sha256", None),
            "partition@0/initrd",
            "`sha256` is missing",
        ),
        (
            ("channel@0", "from", Some(words(&[0]))),
            "/channels/channel@0",
            "one partition",
        ),
        (
            ("channel@0", "to", Some(words(&[7]))),
            "/channels/channel@0",
            "partition 7",
        ),
        (
            ("channel@0", "size", Some(long(100))),
            "/channels/channel@0",
            "`size`",
        ),
        (
            ("channel@0", "size", None),
            "/channels/channel@0",
            "`size` is missing",
        ),
        (
            ("channel@0", "label", None),
            "/channels/channel@0",
            "`label` is missing",
        ),
    ];
    for (change, node, reason) in cases {
        let text = refusal(std::slice::from_ref(change));
        assert!(
            text.contains(node) && text.contains(reason),
            "{change:?}: {text}"
        );
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole bundles, each of which takes an interpreter many seconds"
)]
fn a_command_line_longer_than_linux_takes_is_refused() {
    let line = |length: usize| ("partition@0", "bootargs", Some(text(&"x".repeat(length))));
    assert!(System::read(&bundle(&[line(2048)])).is_ok());
    assert!(refusal(&[line(2049)]).contains("`bootargs`"));
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole bundles, each of which takes an interpreter many seconds"
)]
fn nodes_out_of_place_are_refused() {
    let renamed = |from: &[u8], to: &[u8]| {
        let mut bundle = bundle(&[]);
        let at = bundle.windows(from.len()).position(|w| w == from).unwrap();
        bundle[at..at + to.len()].copy_from_slice(to);
        let digest = digest(&bundle).unwrap();
        patch_again(&mut bundle, &digest);
        System::read(&bundle).unwrap_err().to_string()
    };
    assert!(renamed(b"partition@1", b"partition@2").contains("not numbered 1"));
    assert!(renamed(b"channel@0", b"channel@1").contains("not numbered 0"));
    assert!(renamed(b"partitions\0", b"Partitions\0").contains("`partitions` is missing"));
    assert!(renamed(b"kernel\0", b"Kernel\0").contains("`kernel` is missing"));
    assert!(
        System::read(b"")
            .unwrap_err()
            .to_string()
            .contains("not a sound")
    );
}

/// Replaces a digest that is not zeros any more.
fn patch_again(bundle: &mut [u8], digest: &[u8]) {
    let at = bundle
        .windows(8)
        .position(|w| w == [0, 0, 0, 3, 0, 0, 0, 32])
        .unwrap();
    bundle[at + 12..at + 44].copy_from_slice(digest);
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole bundles, each of which takes an interpreter many seconds"
)]
fn a_system_without_partitions_is_refused() {
    let mut b = Build::new(&[]);
    b.node("", |b| {
        b.property("compatible", &text("bulkhead,bundle-1"));
        b.property("board", &text("x"));
        b.property("digest", &[0; 32]);
        b.node("partitions", |_| {});
    });
    let digest = Sha256::digest(&b.hashed);
    let mut bundle = b.writer.finish().unwrap();
    patch(&mut bundle, &digest);
    let text = System::read(&bundle).unwrap_err().to_string();
    assert!(
        text.contains("/partitions") && text.contains("no partition"),
        "{text}"
    );
}

fn board(starts: &[CpuStart]) -> Board<'static> {
    let cpus = starts.iter().zip(0..).map(|(start, id)| Cpu {
        mpidr: Mpidr::new(id),
        start: *start,
    });
    let frame = Range::default();
    Board {
        model: "",
        compatible: "",
        ram: ArrayVec::new(),
        reserved: ArrayVec::new(),
        cpus: cpus.collect(),
        psci: None,
        power: None,
        gic: Gic::V2 {
            distributor: frame,
            cpu_interface: frame,
            hypervisor: frame,
            virtual_cpu: frame,
            maintenance: 25,
        },
        timer: Timer {
            virt: 27,
            phys: 30,
            hyp: 26,
        },
        pmu: None,
        console: None,
        initrd: None,
        bootargs: "",
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "one of many whole bundles, each of which takes an interpreter many seconds"
)]
fn a_system_fits_a_board_with_its_cpus_only() {
    let good = bundle(&[]);
    let system = System::read(&good).unwrap();
    let text = |board: &Board<'_>| fit(&system, board).unwrap_err().to_string();
    assert_eq!(fit(&system, &board(&[CpuStart::Psci; 3])), Ok(()));
    let small = text(&board(&[CpuStart::Psci; 2]));
    assert!(
        small.contains("control") && small.contains("CPU 2"),
        "{small}"
    );
    let stuck = text(&board(&[CpuStart::Psci, CpuStart::Psci, CpuStart::Unknown]));
    assert!(
        stuck.contains("CPU 2") && stuck.contains("enable-method"),
        "{stuck}"
    );
    let shared = bundle(&[("partition@1", "cpus", Some(words(&[1])))]);
    let shared = System::read(&shared).unwrap();
    let text = fit(&shared, &board(&[CpuStart::Psci; 4]))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("control") && text.contains("CPU 1") && text.contains("linux"),
        "{text}"
    );
}

#[test]
fn a_payload_verifies_by_the_standards_own_example() {
    // FIPS 180-4's "abc".
    let sha256 = [
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22,
        0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00,
        0x15, 0xad,
    ];
    assert!(
        Payload {
            data: b"abc",
            sha256
        }
        .verify()
    );
    assert!(
        !Payload {
            data: b"abd",
            sha256
        }
        .verify()
    );
}

/// Gives a changed bundle the digest it needs to be read at all.
fn redigested(mut bundle: Vec<u8>) -> Vec<u8> {
    if let Ok(digest) = digest(&bundle) {
        let at = bundle
            .windows(8)
            .position(|w| w == [0, 0, 0, 3, 0, 0, 0, 32]);
        if let Some(at) = at {
            bundle[at + 12..at + 44].copy_from_slice(&digest);
        }
    }
    bundle
}

proptest! {
    #![proptest_config(crate::words::effort::cases(2000))]

    #[test]
    #[cfg_attr(miri, ignore = "one of many whole bundles, each of which takes an interpreter many seconds")]
    fn no_change_makes_reading_panic_or_hang(
        changes in proptest::collection::vec((any::<usize>(), prop_oneof![0_u8..16, any::<u8>()]), 1..8)
    ) {
        let mut bundle = bundle(&[]);
        for (at, byte) in changes {
            let at = at % bundle.len();
            bundle[at] = byte;
        }
        let bundle = redigested(bundle);
        if let Ok(system) = System::read(&bundle) {
            let count = system.partitions.len();
            prop_assert!(system.partitions.iter().all(|p| p.memory % (2 << 20) == 0 && p.memory > 0));
            prop_assert!(system.channels.iter().all(|c| c.from.index() < count && c.to.index() < count));
        }
    }

    #[test]
    fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(System::read(&bytes).is_err());
    }

    #[test]
    fn no_truncated_bundle_is_read(length in 0_usize..1200) {
        let mut bundle = bundle(&[]);
        if length < bundle.len() {
            bundle.truncate(length);
            prop_assert!(System::read(&bundle).is_err());
        }
    }
}
