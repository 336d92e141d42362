//! Rules a manifest breaks or keeps by itself, on any board: names that exist, nothing given twice, numbers
//! in range.

use std::collections::HashMap;

use bulkhead::words::PAGE_SIZE;
use bulkhead::words::limits::{MAX_CHANNELS, MAX_DEVICES, MAX_PARTITIONS, MAX_VCPUS};
use bulkhead_abi::layout::RAM_BASE;

use super::value::show_size;
use super::{Capability, Channel, Manifest, OnCrash, Partition};
use crate::report::{Located, Problem, Span, nearest};

/// What partitions' RAM is a multiple of: the block stage 2 maps it with.
pub const MEMORY_UNIT: u64 = 2 << 20;

/// Every rule `manifest` breaks.
pub fn check(manifest: &Manifest) -> Vec<Problem> {
    let mut problems = Vec::new();
    counts(manifest, &mut problems);
    names(manifest, &mut problems);
    cpus(manifest, &mut problems);
    for partition in &manifest.partitions {
        memory(partition, &mut problems);
        addresses(partition, &mut problems);
        capabilities(partition, manifest, &mut problems);
        notifies(partition, manifest, &mut problems);
    }
    for channel in &manifest.channels {
        channel_ends(channel, manifest, &mut problems);
    }
    problems
}

fn counts(manifest: &Manifest, problems: &mut Vec<Problem>) {
    if let Some(extra) = manifest.partitions.get(MAX_PARTITIONS) {
        problems.push(too_many(&extra.name.span, "partitions", MAX_PARTITIONS));
    }
    if let Some(extra) = manifest.channels.get(MAX_CHANNELS) {
        problems.push(too_many(&extra.name.span, "channels", MAX_CHANNELS));
    }
    for partition in &manifest.partitions {
        if let Some(extra) = partition.cpus.get(MAX_VCPUS) {
            problems.push(too_many(&extra.span, "CPUs for one partition", MAX_VCPUS));
        }
        if let Some(extra) = partition.devices.get(MAX_DEVICES) {
            problems.push(too_many(
                &extra.span,
                "devices for one partition",
                MAX_DEVICES,
            ));
        }
    }
}

fn too_many(span: &Span, what: &str, most: usize) -> Problem {
    Problem::error(span, format!("too many {what}"))
        .remedy(format!("the hypervisor has room for {most}"))
}

fn names(manifest: &Manifest, problems: &mut Vec<Problem>) {
    let partitions = manifest.partitions.iter().map(|p| &p.name);
    twice(partitions, "two partitions are called", problems);
    let channels = manifest.channels.iter().map(|c| &c.name);
    twice(channels, "two channels are called", problems);
}

fn twice<'m>(
    names: impl Iterator<Item = &'m Located<String>>,
    message: &str,
    problems: &mut Vec<Problem>,
) {
    let mut seen: HashMap<&str, &Span> = HashMap::new();
    for name in names {
        if let Some(first) = seen.insert(&name.value, &name.span) {
            let problem = Problem::error(&name.span, format!("{message} `{}`", name.value))
                .also(first, "the first is here")
                .remedy("give each a name of its own");
            problems.push(problem);
        }
    }
}

fn cpus(manifest: &Manifest, problems: &mut Vec<Problem>) {
    let mut owners: HashMap<u8, (&str, &Span)> = HashMap::new();
    for partition in &manifest.partitions {
        for cpu in &partition.cpus {
            let owner = (partition.name.value.as_str(), &cpu.span);
            if let Some((name, first)) = owners.insert(cpu.value, owner) {
                let problem =
                    Problem::error(&cpu.span, format!("CPU {} is given twice", cpu.value))
                        .label(format!("to `{}`", partition.name.value))
                        .also(first, format!("to `{name}`"))
                        .remedy(
                            "a partition owns its CPUs alone; take another one, or leave it out",
                        );
                problems.push(problem);
            }
        }
    }
}

fn memory(partition: &Partition, problems: &mut Vec<Problem>) {
    let Located { value: size, span } = &partition.memory;
    if *size == 0 || size % MEMORY_UNIT != 0 {
        let rounded = size
            .checked_next_multiple_of(MEMORY_UNIT)
            .unwrap_or(MEMORY_UNIT)
            .max(MEMORY_UNIT);
        let problem = Problem::error(span, "a partition's memory is a multiple of 2M").remedy(
            format!("the next that would do is \"{}\"", show_size(rounded)),
        );
        problems.push(problem);
    }
}

fn addresses(partition: &Partition, problems: &mut Vec<Problem>) {
    let size = partition.memory.value;
    let end = RAM_BASE.saturating_add(size);
    let places = [("load", &partition.load), ("dtb", &partition.dtb)];
    for (key, place) in places {
        let Some(place) = place else { continue };
        if place.value < RAM_BASE || place.value >= end {
            let message = format!("`{key}` lies outside the partition's memory");
            let remedy = format!("its memory is {RAM_BASE:#x} to {end:#x}, whatever the board");
            problems.push(Problem::error(&place.span, message).remedy(remedy));
        }
    }
}

fn capabilities(partition: &Partition, manifest: &Manifest, problems: &mut Vec<Problem>) {
    for capability in &partition.capabilities {
        if let Capability::Manage(name) = &capability.value {
            known_partition(name, &capability.span, manifest, problems);
        }
    }
}

/// A manager is told of a crash by the doorbells of its channels: without one, nobody is.
fn notifies(partition: &Partition, manifest: &Manifest, problems: &mut Vec<Problem>) {
    let name = &partition.name.value;
    let manages = |other: &Partition| {
        let wanted = Capability::Manage(name.clone());
        other.capabilities.iter().any(|one| one.value == wanted)
    };
    let joined = |other: &str| {
        manifest.channels.iter().any(|channel| {
            let ends = channel.between.each_ref().map(|end| end.value.as_str());
            ends == [name.as_str(), other] || ends == [other, name.as_str()]
        })
    };
    let is_told = |other: &Partition| manages(other) && joined(&other.name.value);
    if partition.on_crash == OnCrash::Notify && !manifest.partitions.iter().any(is_told) {
        let message = format!("nobody is told when `{name}` crashes");
        let problem = Problem::warning(&partition.name.span, message)
            .label("`on_crash` is \"notify\"")
            .remedy(format!(
                "a manager is told by the doorbell of a channel: give a partition \"manage:{name}\" and a channel to \
                 `{name}`, or say on_crash = \"stop\""
            ));
        problems.push(problem);
    }
}

fn channel_ends(channel: &Channel, manifest: &Manifest, problems: &mut Vec<Problem>) {
    let [from, to] = &channel.between;
    for end in [from, to] {
        known_partition(&end.value, &end.span, manifest, problems);
    }
    if from.value == to.value {
        let problem = Problem::error(&to.span, "both ends of the channel are the same partition")
            .also(&from.span, "the other end")
            .remedy("name two partitions");
        problems.push(problem);
    }
    let Located { value: size, span } = &channel.size;
    if *size == 0 || size % PAGE_SIZE != 0 {
        let problem =
            Problem::error(span, "a channel's size is a multiple of 4K").remedy("such as \"64K\"");
        problems.push(problem);
    }
}

fn known_partition(name: &str, span: &Span, manifest: &Manifest, problems: &mut Vec<Problem>) {
    let names = || manifest.partitions.iter().map(|p| p.name.value.as_str());
    if names().any(|known| known == name) {
        return;
    }
    let remedy = match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "the partitions are {}",
            names().collect::<Vec<_>>().join(", ")
        ),
    };
    problems.push(Problem::error(span, format!("there is no partition `{name}`")).remedy(remedy));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::parse::parse;
    use crate::report::plain;

    const A: &str = "[[partition]]\nname = \"a\"\ncpus = [0]\nmemory = \"4M\"\nkernel = \"k\"\n";
    const B: &str = "[[partition]]\nname = \"b\"\ncpus = [1]\nmemory = \"4M\"\nkernel = \"k\"\n";

    fn complaint(partitions: &str) -> String {
        let source = format!("board = \"b\"\n{partitions}");
        let manifest = parse(&source).expect("the words are right");
        plain("m.toml", &source, &check(&manifest))
    }

    #[test]
    fn two_partitions_with_nothing_in_common_are_fine() {
        let channel = "[[channel]]\nname = \"c\"\nbetween = [\"a\", \"b\"]\nsize = \"64K\"\n";
        let manage = format!("{A}capabilities = [\"manage:b\"]\nload = 0x4008_0000\n");
        assert_eq!(complaint(&format!("{manage}{B}{channel}")), "");
    }

    #[test]
    fn a_cpu_given_twice_is_refused() {
        assert_eq!(
            complaint(&format!("{A}{}", B.replace("[1]", "[1, 0]"))),
            "error: CPU 0 is given twice\n  --> m.toml:9:12\n  |\n4 | cpus = [0]\n  |         - to `a`\n  \
             .\n9 | cpus = [1, 0]\n  |            ^ to `b`\n  |\n  = help: a partition owns its CPUs alone; \
             take another one, or leave it out\n\n"
        );
    }

    #[test]
    fn a_cpu_given_twice_to_one_partition_is_refused() {
        let text = complaint(&A.replace("[0]", "[0, 0]"));
        assert!(
            text.contains("CPU 0 is given twice\n  --> m.toml:4:12"),
            "{text}"
        );
    }

    #[test]
    fn two_partitions_of_one_name_are_refused() {
        let text = complaint(&format!("{A}{}", B.replace("\"b\"", "\"a\"")));
        assert!(
            text.contains("two partitions are called `a`\n  --> m.toml:8:8"),
            "{text}"
        );
    }

    #[test]
    fn memory_in_odd_pieces_is_refused_with_the_next_even_one() {
        let text = complaint(&A.replace("4M", "5M"));
        assert!(
            text.contains("a multiple of 2M\n  --> m.toml:5:10"),
            "{text}"
        );
        assert!(text.contains("the next that would do is \"6M\""), "{text}");
        assert!(complaint(&A.replace("4M", "0M")).contains("would do is \"2M\""));
    }

    #[test]
    fn addresses_outside_the_partitions_memory_are_refused() {
        let text = complaint(&format!("{A}dtb = 0x8000_0000\nload = 0\n"));
        assert!(
            text.contains("`dtb` lies outside the partition's memory\n  --> m.toml:7:7"),
            "{text}"
        );
        assert!(text.contains("`load` lies outside"), "{text}");
        assert!(text.contains("0x40000000 to 0x40400000"), "{text}");
    }

    #[test]
    fn capabilities_name_partitions_that_exist() {
        let text = complaint(&format!("{A}capabilities = [\"manage:bb\"]\n{B}"));
        assert!(
            text.contains("there is no partition `bb`\n  --> m.toml:7:17"),
            "{text}"
        );
        assert!(text.contains("did you mean `b`?"), "{text}");
    }

    #[test]
    fn a_crash_that_nobody_is_told_of_is_warned_of() {
        let notify = format!("{A}on_crash = \"notify\"\n");
        let channel = "[[channel]]\nname = \"c\"\nbetween = [\"a\", \"b\"]\nsize = \"4K\"\n";
        let manager = format!("{B}capabilities = [\"manage:a\"]\n");
        for system in [
            format!("{notify}{B}"),
            format!("{notify}{B}{channel}"),
            format!("{notify}{manager}"),
        ] {
            let text = complaint(&system);
            assert!(
                text.starts_with("warning: nobody is told when `a` crashes"),
                "{text}"
            );
        }
        assert_eq!(complaint(&format!("{notify}{manager}{channel}")), "");
    }

    #[test]
    fn channels_join_two_partitions_that_exist() {
        let channel = |ends: &str, size: &str| {
            complaint(&format!(
                "{A}{B}[[channel]]\nname = \"c\"\nbetween = [{ends}]\nsize = \"{size}\"\n"
            ))
        };
        let text = channel("\"a\", \"sensor\"", "4K");
        assert!(
            text.contains("there is no partition `sensor`\n   --> m.toml:14:17"),
            "{text}"
        );
        assert!(text.contains("the partitions are a, b"), "{text}");
        assert!(channel("\"a\", \"a\"", "4K").contains("both ends of the channel are the same"));
        assert!(channel("\"a\", \"b\"", "0K").contains("a channel's size is a multiple of 4K"));
    }

    #[test]
    fn more_partitions_than_there_is_room_for_are_refused() {
        let many: String = (0..9)
            .map(|i| {
                A.replace("\"a\"", &format!("\"p{i}\""))
                    .replace("[0]", &format!("[{i}]"))
            })
            .collect();
        let text = complaint(&many);
        assert!(text.contains("too many partitions"), "{text}");
        assert!(text.contains("room for 8"), "{text}");
    }
}
