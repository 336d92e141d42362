//! Whether the devices a manifest hands out can be handed out: they exist, nobody else shares their pages or
//! interrupts, and what they can write to is confined.

use bulkhead::model::board::{
    Board, BoardPower, Copies, DeviceInfo, DevicePath, Dma, DmaReason, Gic, copy, devices,
    is_at_or_below,
};
use bulkhead::model::share::ShareError;
use bulkhead::words::{Ipa, Nodes, PAGE_SIZE, Range};

use crate::manifest::{Manifest, Partition};
use crate::report::{Problem, Span, nearest};

/// First shared peripheral interrupt (IHI 0048, 2.2.1); those below belong to a CPU each.
const FIRST_SPI: u32 = 32;

/// How many names a message lists.
const LISTED: usize = 3;

/// A device somebody is given.
struct Given<'m, 't> {
    partition: &'m Partition,
    span: &'m Span,
    info: &'t DeviceInfo<'t>,
}

/// Every rule the devices of `manifest` break on the board whose device tree is `tree`.
///
/// # Errors
/// The tree cannot be read.
pub fn check(manifest: &Manifest, tree: &[u8], board: &Board<'_>) -> anyhow::Result<Vec<Problem>> {
    let all = devices(tree)?.collect::<Result<Vec<_>, _>>()?;
    let mut problems = Vec::new();
    let given = resolve(manifest, &all, &mut problems);
    for (index, device) in given.iter().enumerate() {
        let earlier = given.get(..index).unwrap_or_default();
        if let Some(first) = earlier.iter().find(|other| is_within(device, other)) {
            problems.push(twice(device, first));
            continue;
        }
        usable(device, board, &mut problems);
        shared(device, &given, &all, &mut problems);
        confined(device, board, &mut problems);
    }
    idle_permissions(manifest, &given, &mut problems);
    unknown_rates(manifest, tree, &mut problems);
    Ok(problems)
}

/// Whether both are one device, or one lies below the other that somebody else is given.
fn is_within(device: &Given<'_, '_>, other: &Given<'_, '_>) -> bool {
    let (one, two) = (&device.info.path, &other.info.path);
    let nested = is_at_or_below(one, two.as_str()) || is_at_or_below(two, one.as_str());
    one == two || nested && !std::ptr::eq(device.partition, other.partition)
}

/// What the hypervisor itself would refuse, and the rules above have not found.
pub fn at_boot(manifest: &Manifest, error: &ShareError) -> Problem {
    let owner = manifest.partitions.get(error.partition.index());
    let named = owner.and_then(|own| {
        let path = DevicePath::from(error.device.as_str());
        let mut devices = own.devices.iter();
        let its = devices.find(|device| is_at_or_below(&path, &device.value));
        its.or(own.devices.first())
    });
    let span = named.map(|path| path.span.clone());
    Problem::error(&span.unwrap_or(0..0), error.to_string()).remedy("leave it out")
}

/// Notes whether a copy of a device's nodes has a clock whose rate nobody knows.
#[derive(Default)]
struct Rates {
    clock: bool,
    unknown: bool,
}

impl Nodes for Rates {
    fn begin(&mut self, name: &str, _: Option<u64>) {
        self.clock = name == "board-clock";
    }

    fn property(&mut self, _: &str, _: &[u8]) {}

    fn cells(&mut self, name: &str, cells: &[u32]) {
        self.unknown |= self.clock && name == "clock-frequency" && cells == [0];
    }

    fn end(&mut self) {}
}

fn unknown_rates(manifest: &Manifest, tree: &[u8], problems: &mut Vec<Problem>) {
    let devices = manifest.partitions.iter().flat_map(|own| &own.devices);
    for device in devices {
        let copies = Copies {
            paths: &[&device.value],
            place: &|range| Some(Ipa::new(range.base().get())),
            gic: 1,
            memory: &[],
        };
        let mut rates = Rates::default();
        if copy(tree, &copies, &mut rates).is_ok() && rates.unknown {
            let message = format!(
                "the board's tree does not say at what rate a clock of `{}` runs",
                device.value
            );
            let problem = Problem::warning(&device.span, message).remedy(
                "the guest is told 0 Hz: a driver that divides the clock has to know the rate itself",
            );
            problems.push(problem);
        }
    }
}

fn resolve<'m, 't>(
    manifest: &'m Manifest,
    all: &'t [DeviceInfo<'t>],
    problems: &mut Vec<Problem>,
) -> Vec<Given<'m, 't>> {
    let mut given = Vec::new();
    for partition in &manifest.partitions {
        for device in &partition.devices {
            let found = all.iter().find(|info| info.path.as_str() == device.value);
            match found {
                Some(info) => given.push(Given {
                    partition,
                    span: &device.span,
                    info,
                }),
                None => problems.push(unknown(&device.value, &device.span, all)),
            }
        }
    }
    given
}

fn unknown(path: &str, span: &Span, all: &[DeviceInfo<'_>]) -> Problem {
    let paths = all.iter().map(|info| info.path.as_str());
    let problem = Problem::error(span, format!("the board has no device `{path}`"));
    match nearest(path, paths) {
        Some(near) => problem.remedy(format!("did you mean `{near}`?")),
        None => problem.remedy(
            "name a node of the board's device tree by its path, such as \"/pl061@9030000\"",
        ),
    }
}

fn twice(device: &Given<'_, '_>, first: &Given<'_, '_>) -> Problem {
    let message = format!("the device `{}` is given twice", device.info.path);
    Problem::error(device.span, message)
        .label(format!("to `{}`", device.partition.name.value))
        .also(first.span, format!("to `{}`", first.partition.name.value))
        .remedy("a device belongs to one partition; let the others reach it through a channel")
}

fn usable(device: &Given<'_, '_>, board: &Board<'_>, problems: &mut Vec<Problem>) {
    let info = device.info;
    let path = &info.path;
    let mut refuse = |message: String, remedy: &str| {
        problems.push(Problem::error(device.span, message).remedy(remedy));
    };
    if !info.enabled {
        refuse(
            format!("the device `{path}` is disabled on this board"),
            "enable it in the firmware's device tree (its `status`), or leave it out",
        );
    }
    if info.unmapped || info.registers.is_empty() {
        refuse(
            format!("the CPUs cannot address the device `{path}` by itself"),
            "hand over the bus or controller it sits on",
        );
    }
    if info.indirect_interrupts {
        refuse(
            format!("an interrupt of `{path}` does not go to the board's GIC"),
            "hand over a device whose interrupts are all the GIC's",
        );
    }
    for interrupt in info.interrupts.iter().filter(|i| i.intid < FIRST_SPI) {
        refuse(
            format!(
                "`{path}` has interrupt {}, which is a CPU's own",
                interrupt.intid
            ),
            "timers, PMU and GIC are there for every partition; leave it out",
        );
    }
    if info
        .registers
        .iter()
        .any(|range| is_hypervisors(*range, board))
    {
        refuse(
            format!("the hypervisor needs `{path}` itself"),
            "every partition has a console and a GIC of its own; leave it out",
        );
    }
}

/// Whether the hypervisor drives what lies at `range`.
fn is_hypervisors(range: Range, board: &Board<'_>) -> bool {
    let console = board.console.map(|console| console.registers);
    let mut kept: Vec<Range> = console.into_iter().collect();
    if let Some(BoardPower::Bcm2835Pm { registers }) = board.power {
        kept.push(registers);
    }
    match &board.gic {
        Gic::V2 {
            distributor,
            cpu_interface,
            hypervisor,
            virtual_cpu,
            ..
        } => kept.extend([*distributor, *cpu_interface, *hypervisor, *virtual_cpu]),
        Gic::V3 {
            distributor,
            redistributors,
            ..
        } => {
            kept.push(*distributor);
            kept.extend(redistributors.iter().copied());
        }
    }
    kept.iter().any(|own| own.overlaps(range))
}

fn shared(
    device: &Given<'_, '_>,
    given: &[Given<'_, '_>],
    all: &[DeviceInfo<'_>],
    problems: &mut Vec<Problem>,
) {
    let is_partners = |info: &DeviceInfo<'_>| {
        given.iter().any(|other| {
            other.info.path == info.path && std::ptr::eq(other.partition, device.partition)
        })
    };
    let others: Vec<&DeviceInfo<'_>> = all
        .iter()
        .filter(|other| other.enabled && !is_partners(other))
        .filter(|other| !encloses(other, device.info))
        .collect();
    let path = &device.info.path;
    let mut refuse = |what: String, with: &[String], unit: &str| {
        let message = format!("the device `{path}` shares {what} with {}", listed(with));
        let remedy = format!("{unit}: give all of these to one partition, or none");
        problems.push(Problem::error(device.span, message).remedy(remedy));
    };
    let (page, with) = shared_with(&others, |other| common_page(device.info, other));
    if let Some(page) = page {
        let what = format!("the page at {page:#x}");
        refuse(what, &with, "memory is handed over in pages of 4K");
    }
    let (intid, with) = shared_with(&others, |other| common_interrupt(device.info, other));
    if let Some(intid) = intid {
        let what = format!("interrupt {intid}");
        refuse(what, &with, "an interrupt has one owner");
    }
}

/// The first thing shared with any of `others`, and the paths of all that share something.
fn shared_with<T>(
    others: &[&DeviceInfo<'_>],
    common: impl Fn(&DeviceInfo<'_>) -> Option<T>,
) -> (Option<T>, Vec<String>) {
    let mut first = None;
    let mut paths = Vec::new();
    for other in others {
        if let Some(thing) = common(other) {
            first.get_or_insert(thing);
            paths.push(format!("`{}`", other.path));
        }
    }
    (first, paths)
}

/// The first few of `names`, and how many more there are.
fn listed(names: &[String]) -> String {
    let few = names.get(..LISTED).unwrap_or(names);
    let more = match names.len() - few.len() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    format!("{}{more}", few.join(", "))
}

/// Whether `other` is the bus `device` sits on, or the other way round: such registers overlap by nature.
fn encloses(other: &DeviceInfo<'_>, device: &DeviceInfo<'_>) -> bool {
    let below = |inner: &DeviceInfo<'_>, outer: &DeviceInfo<'_>| {
        let rest = inner.path.as_str().strip_prefix(outer.path.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(device, other) || below(other, device)
}

fn common_page(one: &DeviceInfo<'_>, other: &DeviceInfo<'_>) -> Option<u64> {
    for a in &one.registers {
        for b in &other.registers {
            if pages(*a).overlaps(pages(*b)) {
                let page = a.base().max(b.base()).align_down(PAGE_SIZE);
                return Some(page.get());
            }
        }
    }
    None
}

/// The whole pages `range` lies in.
fn pages(range: Range) -> Range {
    let base = range.base().align_down(PAGE_SIZE);
    let end = range.end().align_up(PAGE_SIZE);
    let size = end.and_then(|end| end.offset_from(base));
    size.and_then(|size| Range::new(base, size))
        .unwrap_or(range)
}

fn common_interrupt(one: &DeviceInfo<'_>, other: &DeviceInfo<'_>) -> Option<u32> {
    one.interrupts
        .iter()
        .map(|interrupt| interrupt.intid)
        .find(|intid| other.interrupts.iter().any(|theirs| theirs.intid == *intid))
}

fn confined(device: &Given<'_, '_>, board: &Board<'_>, problems: &mut Vec<Problem>) {
    let path = &device.info.path;
    let Some(reason) = unconfined(device.info) else {
        return;
    };
    if device.partition.dma_unconfined.is_none() {
        let message =
            format!("no SMMU confines `{path}`, which can write memory by itself: {reason}");
        let problem = Problem::error(device.span, message).remedy(
            "leave it out, or accept that it can reach all RAM with dma = \"unconfined\" in this partition",
        );
        problems.push(problem);
        return;
    }
    let ram: Vec<String> = board
        .ram
        .iter()
        .map(|range| super::plan::show_range(range.base().get(), range.size()))
        .collect();
    let message = format!(
        "`{path}` can read and write all RAM ({}): the hypervisor and every partition",
        ram.join(", ")
    );
    let problem = Problem::warning(device.span, message).label(reason).remedy(
        "`dma = \"unconfined\"` accepts this: the partition is trusted like the hypervisor",
    );
    problems.push(problem);
}

/// Why nothing confines what the device writes to, if it may write anything.
fn unconfined(info: &DeviceInfo<'_>) -> Option<String> {
    match info.dma {
        Dma::Never => None,
        Dma::Master(DmaReason::Iommus) => {
            Some("it sits behind an SMMU, which this version does not set up".into())
        }
        Dma::Master(reason) => Some(reason.to_string()),
        Dma::Unknown => Some("nothing in the tree says that it cannot".into()),
    }
}

fn idle_permissions(manifest: &Manifest, given: &[Given<'_, '_>], problems: &mut Vec<Problem>) {
    for partition in &manifest.partitions {
        let Some(span) = &partition.dma_unconfined else {
            continue;
        };
        let needed = given.iter().any(|device| {
            std::ptr::eq(device.partition, partition) && unconfined(device.info).is_some()
        });
        if !needed {
            let problem = Problem::warning(span, "no device of this partition needs `dma`")
                .remedy("leave the line out");
            problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixture::{board_tree, manifest};
    use crate::report::plain;

    fn complaint(devices: &str) -> String {
        complaints(&manifest(devices))
    }

    fn complaints(source: &str) -> String {
        let parsed = crate::manifest::parse::parse(source).expect("the words are right");
        let tree = board_tree();
        let board = Board::read(&tree).expect("the tree is right");
        plain(
            "m.toml",
            source,
            &check(&parsed, &tree, &board).expect("it reads"),
        )
    }

    #[test]
    fn a_device_alone_on_its_page_and_interrupt_is_fine() {
        assert_eq!(complaint("devices = [\"/gpio@9030000\"]"), "");
    }

    #[test]
    fn a_device_the_board_lacks_is_refused_with_the_nearest() {
        assert_eq!(
            complaint("devices = [\"/gpio@9030001\"]"),
            "error: the board has no device `/gpio@9030001`\n  --> m.toml:7:12\n  |\n7 | devices = \
             [\"/gpio@9030001\"]\n  |            ^^^^^^^^^^^^^^^\n  |\n  = help: did you mean \
             `/gpio@9030000`?\n\n"
        );
    }

    #[test]
    fn a_device_given_twice_is_refused() {
        let one = manifest("devices = [\"/gpio@9030000\"]");
        let two = one
            .replace("board = \"test\"\n", "")
            .replace("\"a\"", "\"b\"");
        let text = complaints(&format!("{one}{two}"));
        assert!(
            text.contains("the device `/gpio@9030000` is given twice\n"),
            "{text}"
        );
        assert!(text.contains("to `a`") && text.contains("to `b`"), "{text}");
    }

    #[test]
    fn what_lies_below_a_device_is_not_given_to_another() {
        let one = manifest("devices = [\"/bus@90a0000\"]");
        let two = one
            .replace("board = \"test\"\n", "")
            .replace("\"a\"", "\"b\"")
            .replace("/bus@90a0000", "/bus@90a0000/gpio@90a1000");
        let text = complaints(&format!("{one}{two}"));
        assert!(text.contains("is given twice\n"), "{text}");
        let both = "devices = [\"/bus@90a0000\", \"/bus@90a0000/gpio@90a1000\"]";
        assert_eq!(complaint(both), "", "one partition may name both");
    }

    #[test]
    fn a_clock_of_unknown_rate_is_pointed_out() {
        let text = complaint("devices = [\"/gpio@90b0000\"]");
        assert!(text.starts_with("warning: "), "{text}");
        assert!(
            text.contains("at what rate a clock of `/gpio@90b0000` runs"),
            "{text}"
        );
    }

    #[test]
    fn a_device_behind_a_shared_page_is_refused() {
        let text = complaint("devices = [\"/gpio@9041000\"]");
        assert!(
            text.contains("`/gpio@9041000` shares the page at 0x9041000 with `/gpio@9041800`\n"),
            "{text}"
        );
        let both = complaint("devices = [\"/gpio@9041000\", \"/gpio@9041800\"]");
        assert_eq!(both, "", "one partition may have the whole page");
    }

    #[test]
    fn a_device_behind_a_shared_interrupt_is_refused() {
        let text = complaint("devices = [\"/gpio@9050000\"]");
        assert!(
            text.contains("`/gpio@9050000` shares interrupt 41 with `/gpio@9060000`\n"),
            "{text}"
        );
    }

    #[test]
    fn a_disabled_device_is_refused() {
        let text = complaint("devices = [\"/gpio@9070000\"]");
        assert!(text.contains("is disabled on this board\n"), "{text}");
    }

    #[test]
    fn the_hypervisors_own_devices_are_refused() {
        let text = complaint("devices = [\"/serial@9000000\"]");
        assert!(
            text.contains("the hypervisor needs `/serial@9000000` itself"),
            "{text}"
        );
    }

    #[test]
    fn a_dma_master_without_an_smmu_is_refused_unless_it_is_accepted() {
        let line = "devices = [\"/ethernet@9080000\"]";
        let text = complaint(line);
        assert!(
            text.starts_with("error: no SMMU confines `/ethernet@9080000`"),
            "{text}"
        );
        assert!(text.contains("dma = \"unconfined\""), "{text}");
        let text = complaint(&format!("{line}\ndma = \"unconfined\""));
        assert!(
            text.starts_with("warning: `/ethernet@9080000` can read and write all RAM"),
            "{text}"
        );
        assert!(text.contains("(0x40000000-0x7fffffff)"), "{text}");
        assert!(!text.contains("error:"), "{text}");
    }

    #[test]
    fn a_permission_nobody_needs_is_pointed_out() {
        let text = complaint("dma = \"unconfined\"");
        assert!(
            text.starts_with("warning: no device of this partition needs `dma`"),
            "{text}"
        );
    }
}
