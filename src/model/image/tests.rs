//! Headers written from their specifications, layouts against what they promise, any bytes.

use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::model::bundle::OnCrash;
use crate::words::PartitionId;

const MIB: u64 = 1 << 20;

fn payload(data: &[u8]) -> Payload<'_> {
    Payload {
        data,
        sha256: [0; 32],
    }
}

fn plan(kernel: &[u8], format: Format, memory: u64) -> Plan<'_> {
    Plan {
        id: PartitionId::new(0),
        name: "linux",
        cpus: ArrayVec::new(),
        memory,
        kernel: payload(kernel),
        format,
        initrd: None,
        bootargs: "",
        load: None,
        dtb: None,
        on_crash: OnCrash::Stop,
        heartbeat_ms: None,
        manage: 0,
        observe: false,
        devices: ArrayVec::new(),
        dma_unconfined: false,
    }
}

/// An arm64 Image: two instructions, text_offset, image_size, flags, the magic.
fn image(text_offset: u64, image_size: u64, flags: u64, length: usize) -> Vec<u8> {
    let mut image = vec![0; 8];
    for field in [text_offset, image_size, flags, 0, 0, 0] {
        image.extend_from_slice(&field.to_le_bytes());
    }
    image.extend_from_slice(b"ARM\x64");
    image.resize(length, 0);
    image
}

/// A segment of an ELF file: type, offset, virtual and physical address, sizes in the file and in memory.
type Header = (u32, u64, u64, u64, u64, u64);

fn elf(kind: u16, entry: u64, segments: &[Header]) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend_from_slice(&kind.to_le_bytes());
    elf.extend_from_slice(&183_u16.to_le_bytes());
    elf.extend_from_slice(&1_u32.to_le_bytes());
    for field in [entry, 64, 0] {
        elf.extend_from_slice(&field.to_le_bytes());
    }
    elf.extend_from_slice(&0_u32.to_le_bytes());
    let count = u16::try_from(segments.len()).unwrap();
    for half in [64, 56, count, 0, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    for (kind, offset, virt, phys, file, memory) in segments {
        elf.extend_from_slice(&kind.to_le_bytes());
        elf.extend_from_slice(&5_u32.to_le_bytes());
        for field in [*offset, *virt, *phys, *file, *memory, 4096] {
            elf.extend_from_slice(&field.to_le_bytes());
        }
    }
    elf.resize(0x3000, 0xaa);
    elf
}

fn refusal(plan: &Plan<'_>) -> String {
    layout(plan).unwrap_err().to_string()
}

fn kernel_piece(ipa: u64, offset: usize, len: usize, zero_after: u64) -> Piece {
    Piece {
        ipa: Ipa::new(ipa),
        source: Source::Kernel { offset, len },
        zero_after,
    }
}

#[test]
fn debians_kernel_goes_to_the_kernel_base_with_ramdisk_and_tree_behind_it() {
    let kernel = image(0, 0x1ab_0000, 0xa, 0x1000);
    let mut plan = plan(&kernel, Format::Image, 256 * MIB);
    plan.initrd = Some(payload(&[7; 5000]));
    let layout = layout(&plan).unwrap();
    assert_eq!(layout.entry, Ipa::new(0x4020_0000));
    let initrd = Ipa::new(0x41cb_0000);
    let ramdisk = Piece {
        ipa: initrd,
        source: Source::Initrd,
        zero_after: 0,
    };
    let pieces = [kernel_piece(0x4020_0000, 0, 0x1000, 0x1aa_f000), ramdisk];
    assert_eq!(layout.pieces.as_slice(), pieces);
    assert_eq!(layout.initrd, Some((initrd, 5000)));
    assert_eq!(layout.dtb, Ipa::new(0x41e0_0000));
    assert_eq!(layout.dtb_room, 2 * MIB);
}

#[test]
fn an_images_text_offset_is_kept() {
    let kernel = image(0x8_0000, 0x10_0000, 0, 0x1000);
    let mut plan = plan(&kernel, Format::Image, 16 * MIB);
    assert_eq!(layout(&plan).unwrap().entry, Ipa::new(0x4028_0000));
    plan.load = Some(Ipa::new(0x4048_0000));
    assert_eq!(layout(&plan).unwrap().entry, Ipa::new(0x4048_0000));
    plan.load = Some(Ipa::new(0x4040_0000));
    assert!(refusal(&plan).contains("text_offset"), "{}", refusal(&plan));
}

#[test]
fn headers_no_kernel_of_this_machine_has_are_refused() {
    let text = |kernel: &[u8]| refusal(&plan(kernel, Format::Image, 16 * MIB));
    assert!(text(&image(0, MIB, 1, 64)).contains("big-endian"));
    assert!(text(&image(0, 0, 0, 64)).contains("image_size"));
    assert!(text(&image(2 * MIB, MIB, 0, 64)).contains("out of range"));
    assert!(text(&image(0, u64::MAX, 0, 64)).contains("out of range"));
    assert!(text(&image(0, MIB, 0, 64)[..59]).contains("ends before"));
    assert!(text(&[0; 64]).contains("magic"));
    let text = |kernel: &[u8]| refusal(&plan(kernel, Format::Elf, 16 * MIB));
    let good = elf(
        2,
        0x4020_0000,
        &[(1, 0x1000, 0x4020_0000, 0x4020_0000, 16, 16)],
    );
    let changed = |at: usize, byte: u8| {
        let mut elf = good.clone();
        elf[at] = byte;
        elf
    };
    assert!(layout(&plan(&good, Format::Elf, 16 * MIB)).is_ok());
    assert!(text(&changed(4, 1)).contains("ELF64"));
    assert!(text(&changed(5, 2)).contains("little-endian"));
    assert!(text(&changed(16, 1)).contains("not executable"));
    assert!(text(&changed(18, 62)).contains("AArch64"));
    assert!(text(&changed(54, 32)).contains("program headers"));
    assert!(text(&changed(24, 16)).contains("entry point"));
    assert!(text(&changed(24, 2)).contains("entry point"));
    assert!(text(&good[..100]).contains("ends before"));
    assert!(text(b"\x7fELF").contains("ends before"));
}

#[test]
fn an_elf_file_is_loaded_by_physical_address_and_entered_by_virtual() {
    let segments = [
        (1, 0x2000, 0xffff_0000_0000_2000, 0x4040_2000, 0x10, 0x1000),
        (6, 0x40, 0, 0, 0x38, 0x38),
        (1, 0x1000, 0xffff_0000_0000_0000, 0x4040_0000, 0x800, 0x800),
    ];
    let kernel = elf(2, 0xffff_0000_0000_0004, &segments);
    let mut plan = plan(&kernel, Format::Elf, 16 * MIB);
    let found = layout(&plan).unwrap();
    assert_eq!(found.entry, Ipa::new(0x4040_0004));
    let pieces = [
        kernel_piece(0x4040_0000, 0x1000, 0x800, 0),
        kernel_piece(0x4040_2000, 0x2000, 0x10, 0xff0),
    ];
    assert_eq!(found.pieces.as_slice(), pieces);
    assert_eq!(found.dtb, Ipa::new(0x4060_0000));
    plan.load = Some(Ipa::new(0x4080_0000));
    assert!(refusal(&plan).contains("fixed"), "{}", refusal(&plan));
    plan.load = Some(Ipa::new(0x4040_0000));
    assert_eq!(layout(&plan).unwrap(), found);
}

#[test]
fn a_position_independent_elf_file_moves_as_a_whole() {
    let segments = [
        (1, 0x1000, 0, 0, 0x800, 0x800),
        (1, 0x2000, 0x1_0000, 0x1_0000, 0x10, 0x20),
    ];
    let kernel = elf(3, 0x40, &segments);
    let mut plan = plan(&kernel, Format::Elf, 16 * MIB);
    let found = layout(&plan).unwrap();
    assert_eq!(found.entry, Ipa::new(0x4020_0040));
    assert_eq!(
        found.pieces[1],
        kernel_piece(0x4021_0000, 0x2000, 0x10, 0x10)
    );
    plan.load = Some(Ipa::new(0x4000_0000));
    assert_eq!(layout(&plan).unwrap().entry, Ipa::new(0x4000_0040));
    plan.load = Some(Ipa::new(0x4000_0800));
    assert!(refusal(&plan).contains("4 KiB"));
}

#[test]
fn odd_segments_are_refused() {
    let text = |segments: &[Header]| {
        let kernel = elf(2, 0x4020_0000, segments);
        refusal(&plan(&kernel, Format::Elf, 16 * MIB))
    };
    let at = |phys, file, memory| (1, 0x1000, phys, phys, file, memory);
    assert!(text(&[at(0x4020_0000, 32, 16)]).contains("odd"));
    assert!(text(&[at(u64::MAX - 4, 4, 16)]).contains("odd"));
    assert!(text(&[at(0x4020_0000, 0x10_0000, 0x10_0000)]).contains("ends before"));
    assert!(text(&[at(0x4020_0000, 64, 64), at(0x4020_0020, 64, 64)]).contains("overlap"));
    assert!(text(&[]).contains("entry point"));
    let many: Vec<_> = (0..17).map(|i| at(0x4020_0000 + i * 64, 64, 64)).collect();
    assert!(text(&many).contains("more than 16"));
}

#[test]
fn a_small_partitions_tree_goes_to_the_front_of_ram() {
    let found = layout(&plan(&[1; 4096], Format::Raw, 4 * MIB)).unwrap();
    assert_eq!(found.entry, Ipa::new(0x4020_0000));
    assert_eq!(
        (found.dtb, found.dtb_room),
        (Ipa::new(0x4000_0000), 2 * MIB)
    );
}

#[test]
fn the_manifest_may_place_kernel_and_tree() {
    let mut plan = plan(&[1; 4096], Format::Raw, 64 * MIB);
    plan.load = Some(Ipa::new(0x4008_0000));
    plan.dtb = Some(Ipa::new(0x4000_0000));
    let found = layout(&plan).unwrap();
    assert_eq!(found.entry, Ipa::new(0x4008_0000));
    assert_eq!(
        (found.dtb, found.dtb_room),
        (Ipa::new(0x4000_0000), 0x8_0000)
    );
    plan.dtb = Some(Ipa::new(0x4000_0004));
    assert!(refusal(&plan).contains("multiple of 8"));
    plan.dtb = Some(Ipa::new(0x3fff_0000));
    assert!(refusal(&plan).contains("below RAM"));
    plan.dtb = Some(Ipa::new(0x4007_f000));
    let text = refusal(&plan);
    assert!(
        text.contains("the kernel and the device tree overlap by 4096"),
        "{text}"
    );
    plan.load = Some(Ipa::new(0x4008_0002));
    assert!(refusal(&plan).contains("multiple of 4"));
}

#[test]
fn what_does_not_fit_says_by_how_much_and_what_would_do() {
    let ramdisk = vec![0; 3 << 20];
    let kernel = image(0, 5 * MIB, 0, 4096);
    let mut plan = plan(&kernel, Format::Image, 4 * MIB);
    let text = refusal(&plan);
    assert_eq!(
        text,
        "the kernel ends 3145728 bytes past RAM; 8 MiB of memory would do"
    );
    plan.memory = 8 * MIB;
    assert!(layout(&plan).is_ok(), "the tree finds room at the front");
    plan.initrd = Some(payload(&ramdisk));
    let text = refusal(&plan);
    assert_eq!(
        text,
        "the initial ramdisk ends 2097152 bytes past RAM; 10 MiB of memory would do"
    );
    plan.memory = 10 * MIB;
    assert!(layout(&plan).is_ok());
    plan.load = Some(Ipa::new(0x4000_0000));
    plan.memory = 8 * MIB;
    let text = refusal(&plan);
    assert_eq!(
        text,
        "the device tree ends 65536 bytes past RAM; 10 MiB of memory would do"
    );
    plan.memory = 10 * MIB;
    assert_eq!(layout(&plan).unwrap().dtb, Ipa::new(0x4080_0000));
}

/// Checks what every layout promises of itself.
fn check(plan: &Plan<'_>) {
    let Ok(layout) = layout(plan) else {
        return;
    };
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for piece in &layout.pieces {
        let length = match piece.source {
            Source::Kernel { offset, len } => {
                assert!(offset + len <= plan.kernel.data.len());
                len
            }
            Source::Initrd => plan.initrd.unwrap().data.len(),
        };
        runs.push((piece.ipa.get(), bytes(length) + piece.zero_after));
    }
    assert!(layout.dtb_room >= 64 << 10);
    runs.push((layout.dtb.get(), layout.dtb_room));
    let entered = |(base, size): &(u64, u64)| (*base..base + size).contains(&layout.entry.get());
    assert!(runs[..runs.len() - 1].iter().any(entered));
    runs.sort_unstable();
    assert!(
        runs.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0),
        "{runs:x?}"
    );
    let (last, size) = runs[runs.len() - 1];
    assert!(runs[0].0 >= 0x4000_0000 && last + size <= 0x4000_0000 + plan.memory);
}

fn changes() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((0_usize..0x100, any::<u8>()), 0..6)
}

fn mutated(mut kernel: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for (at, byte) in changes {
        kernel[*at] = *byte;
    }
    kernel
}

fn placed<'k>(kernel: &'k [u8], format: Format, memory: u64, load: Option<u64>) -> Plan<'k> {
    let mut plan = plan(kernel, format, memory * 2 * MIB);
    plan.load = load.map(|load| Ipa::new(0x4000_0000 + (load << 16)));
    plan.initrd = Some(payload(&[1; 3000]));
    plan
}

proptest! {
    #![proptest_config(crate::words::effort::cases(2000))]

    #[test]
    fn an_elf_files_layout_lies_in_ram_without_overlap_whatever_its_header(
        changes in changes(), movable in any::<bool>(), memory in 1_u64..8,
        load in proptest::option::of(0_u64..0x80)
    ) {
        let segments = [
            (1, 0x1000, 0x4020_0000, 0x4020_0000, 0x800, 0x900),
            (1, 0x2000, 0x4021_0000, 0x4021_0000, 0x10, 0x20),
        ];
        let kernel = elf(if movable { 3 } else { 2 }, 0x4020_0000, &segments);
        let kernel = mutated(kernel, &changes);
        check(&placed(&kernel, Format::Elf, memory, load));
    }

    #[test]
    fn an_images_layout_lies_in_ram_without_overlap_whatever_its_header(
        changes in changes(), memory in 1_u64..8, load in proptest::option::of(0_u64..0x80)
    ) {
        let kernel = mutated(image(0, MIB, 0, 0x200), &changes);
        check(&placed(&kernel, Format::Image, memory, load));
    }

    #[test]
    fn a_raw_kernels_layout_lies_in_ram_without_overlap(
        length in 1_usize..0x3000, memory in 1_u64..8, load in proptest::option::of(0_u64..0x80),
        dtb in proptest::option::of(0_u64..0x80)
    ) {
        let kernel = vec![0; length];
        let mut plan = placed(&kernel, Format::Raw, memory, load);
        plan.dtb = dtb.map(|dtb| Ipa::new(0x4000_0000 + (dtb << 16)));
        check(&plan);
    }

    #[test]
    fn no_bytes_make_a_layout_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Image, Format::Elf, Format::Raw] {
            check(&plan(&bytes, format, 16 * MIB));
        }
    }
}
