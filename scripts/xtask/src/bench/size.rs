//! `cargo xtask size`: how large the image is, by section, module and symbol, and what memory goes where.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use bulkhead::model::bundle::System;
use bulkhead::model::translation::Tree;
use bulkhead::words::PAGE_SIZE;
use bulkhead::words::limits::{MAX_CPUS, MAX_PARTITIONS};

use super::symbols::{Image, Sized};
use crate::board::Choice;
use crate::{build, check, workspace};

/// Text and constants of the image may take so many bytes (performance.md).
pub const TARGET: u64 = 96 * 1024;
/// What they take today: may only be lowered.
pub const HELD: u64 = 267_500;
/// Bao's.
const PEER: u64 = 72 * 1024;
/// The manifest that is looked at if no other is named.
const DEMO: &str = "platform/qemu-virt/demo.toml";
/// Bits of a partition's addresses, bytes a last-level table maps, pages of zeros for where nothing is.
const IPA_BITS: u8 = 40;
const LAST_TABLE: u64 = 2 << 20;
const BLANK: u64 = 1;
/// Symbols and modules that are listed.
const MOST: usize = 20;
/// What there is one of for each core, and for each partition, in arrays as long as the limits say.
const PER_CORE: &[&str] = &[
    "bulkhead::edge::core::STACKS",
    "bulkhead::edge::keep::RECORDERS",
];
const PER_PARTITION: &[&str] = &["bulkhead::edge::keep::KEPT", "bulkhead::edge::keep::RINGS"];

/// What to print.
#[derive(clap::Args)]
pub struct Arguments {
    /// A manifest, to print what its partitions take beside the guests' own memory [default: the demo]
    manifest: Option<PathBuf>,
    /// How many symbols and modules to list
    #[arg(long, value_name = "COUNT", default_value_t = MOST)]
    top: usize,
}

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  cargo xtask size                  sections, the largest modules and symbols, memory per core and partition
  cargo xtask size --top 100        more of them
  cargo xtask size my.toml          and what the partitions of this system take";

/// Builds the image and prints its size.
///
/// # Errors
/// It does not build.
pub fn main(arguments: &Arguments) -> anyhow::Result<()> {
    build::hypervisor()?;
    print!("{}", text(&Image::built()?, arguments.top));
    let demo = workspace::root().join(DEMO);
    let manifest = arguments.manifest.as_deref().unwrap_or(&demo);
    let checked = check::file(manifest, None, &Choice::default())?;
    let system = System::read(&checked.bundle).context("the bundle")?;
    print!("{}", tables(&system));
    Ok(())
}

/// What the partitions of `system` take for translation tables.
fn tables(system: &System<'_>) -> String {
    let mut text = String::from(
        "\npartition        RAM, bytes  stage-2 tables and what channels map, at most, bytes\n",
    );
    for plan in &system.partitions {
        let channels = system.channels.iter();
        let channels = channels.filter(|channel| channel.from == plan.id || channel.to == plan.id);
        let of_channels: u64 = channels.map(|channel| channel.size / LAST_TABLE + 2).sum();
        let below = Tree::stage2_pages(plan.memory, 1) + of_channels;
        let pages = Tree::stage2_root_tables(IPA_BITS) + below + BLANK;
        let _ = writeln!(
            text,
            "{:14} {:12}  {}",
            plan.name,
            plan.memory,
            pages * PAGE_SIZE
        );
    }
    text
}

/// Bytes of text and constants: what is loaded and never written.
pub fn constant(image: &Image) -> u64 {
    let constant = image.sections.iter().filter(|section| !section.is_writable);
    constant.map(|section| section.size).sum()
}

/// What is to be said of the text and the constants.
pub fn judge(size: u64) -> String {
    let over = |limit: u64| match size.checked_sub(limit) {
        Some(over @ 1..) => format!("missed by {over}"),
        _ => "met".to_string(),
    };
    format!(
        "text and constants: {size} bytes of {HELD}; target {TARGET} {}; half of Bao's, {}, {}",
        over(TARGET),
        PEER / 2,
        over(PEER / 2)
    )
}

fn text(image: &Image, top: usize) -> String {
    let mut text = String::from("section            bytes\n");
    for section in &image.sections {
        let kind = if section.is_writable {
            "  (variable)"
        } else {
            ""
        };
        let _ = writeln!(text, "{:14} {:9}{kind}", section.name, section.size);
    }
    let _ = writeln!(
        text,
        "\n{}\n\nmodule, text and constants",
        judge(constant(image))
    );
    let constant = |symbol: &&Sized| !symbol.is_writable;
    list(&mut text, image.sized.iter().filter(constant), module, top);
    text.push_str("\nsymbol, text and constants\n");
    list(
        &mut text,
        image.sized.iter().filter(constant),
        |symbol| symbol.name.clone(),
        top,
    );
    text.push_str("\nvariables\n");
    list(
        &mut text,
        image.sized.iter().filter(|symbol| symbol.is_writable),
        |symbol| symbol.name.clone(),
        top,
    );
    let _ = writeln!(
        text,
        "\nmemory, without the guest's own and its stage-2 tables"
    );
    for (what, names, count) in [
        ("core", PER_CORE, MAX_CPUS),
        ("partition", PER_PARTITION, MAX_PARTITIONS),
    ] {
        let of = image
            .sized
            .iter()
            .filter(|symbol| names.contains(&symbol.name.as_str()));
        let bytes = of.map(|symbol| symbol.size).sum::<u64>() / count as u64;
        let _ = writeln!(text, "{bytes:9} bytes for each {what}, room for {count}");
    }
    text
}

/// Adds the largest of what `name` puts together.
fn list<'a>(
    text: &mut String,
    symbols: impl Iterator<Item = &'a Sized>,
    name: impl Fn(&Sized) -> String,
    top: usize,
) {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for symbol in symbols {
        *sums.entry(name(symbol)).or_default() += symbol.size;
    }
    let mut sums: Vec<(String, u64)> = sums.into_iter().collect();
    sums.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    for (name, size) in sums.into_iter().take(top) {
        let _ = writeln!(text, "{size:9}  {name}");
    }
}

/// The crate, and of Bulkhead itself the file, that a symbol is of.
fn module(symbol: &Sized) -> String {
    /// Parts of the name that say so.
    const PARTS: usize = 3;
    let name = symbol.name.trim_start_matches(['<', '&', '(', '[']);
    let own = name.starts_with("bulkhead::");
    let is_path = |part: &&str| {
        part.chars()
            .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
    };
    let parts: Vec<&str> = name
        .split("::")
        .take_while(is_path)
        .take(if own { PARTS } else { 1 })
        .collect();
    match (parts.is_empty(), name.contains("::")) {
        (false, true) => parts.join("::"),
        _ => "assembly and others".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbols_module_is_in_its_name() {
        let of = |name: &str| {
            module(&Sized {
                name: name.into(),
                size: 1,
                is_writable: false,
            })
        };
        assert_eq!(
            of("bulkhead::model::vgic::v3::<impl bulkhead::model::vgic::Vgic>::read"),
            "bulkhead::model::vgic"
        );
        assert_eq!(
            of("<bulkhead::program::machine::Hardware as core::fmt::Debug>::fmt"),
            "bulkhead::program::machine"
        );
        assert_eq!(of("core::fmt::write"), "core");
        assert_eq!(of("sha256_blocks"), "assembly and others");
    }
}
