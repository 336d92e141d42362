//! Whether a manifest can be had on its board: everything that would go wrong at boot is found here first,
//! by the code that runs at boot where there is some.

mod devices;
#[cfg(test)]
mod fixture;
mod plan;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bulkhead::model::board::Board;
use bulkhead::model::bundle::{self as model, System};
use bulkhead::model::image;
use bulkhead::model::placement::{FreeMemory, Placement, PlacementError, place};
use bulkhead::model::share;
use bulkhead::words::{PAGE_SIZE, Pa, Range};

use crate::board::{self, Choice, Machine};
use crate::bundle::{self, Payloads};
use crate::manifest::value::show_size;
use crate::manifest::{Manifest, parse, rules};
use crate::payload::{self, PayloadError};
use crate::report::{self, Problem, Span, nearest};
use crate::{build, qemu, workspace};

/// What the hypervisor takes in RAM where its image is not built yet: image, stacks, tables.
const IMAGE_ROOM: u64 = 4 << 20;
/// Boot loaders put the device tree behind the bundle at a multiple of this.
const TREE_ALIGNMENT: u64 = 2 << 20;

/// A manifest that has passed.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The machine it was checked for.
    pub machine: Machine,
    /// The bundle.
    pub bundle: Vec<u8>,
    /// The plan as a table.
    pub plan: String,
}

/// Checks the manifest `file` for the board it names, or for `other_board`. What is wrong, and what it warns
/// of, goes to standard error.
///
/// # Errors
/// The manifest is refused.
pub fn file(file: &Path, other_board: Option<&str>, choice: &Choice) -> anyhow::Result<Checked> {
    let source = std::fs::read_to_string(file)
        .with_context(|| format!("reading the manifest {}", workspace::show(file)))?;
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut problems = Vec::new();
    let checked = stages(&source, &directory, other_board, choice, &mut problems)?;
    report::print(&workspace::show(file), &source, &problems);
    checked.with_context(|| {
        let count = problems.iter().filter(|problem| problem.is_fatal()).count();
        let plural = if count == 1 { "" } else { "s" };
        format!("{}: {count} mistake{plural}", workspace::show(file))
    })
}

/// Each stage finds all it can; a later one runs only where the earlier found nothing.
fn stages(
    source: &str,
    directory: &Path,
    other_board: Option<&str>,
    choice: &Choice,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Option<Checked>> {
    let manifest = match parse::parse(source) {
        Ok(manifest) => manifest,
        Err(found) => {
            problems.extend(found);
            return Ok(None);
        }
    };
    problems.extend(rules::check(&manifest));
    let Some(machine) = machine(&manifest, directory, other_board, choice, problems)? else {
        return Ok(None);
    };
    let tree = qemu::tree(&machine)?;
    let board = Board::read(&tree).with_context(|| format!("the board {}", machine.board.name))?;
    problems.extend(cpus(&manifest, &board));
    problems.extend(devices::check(&manifest, &tree, &board)?);
    let payloads = payloads(&manifest, directory, problems);
    if problems.iter().any(Problem::is_fatal) {
        return Ok(None);
    }
    let packed = bundle::write(&manifest, &machine.board.name, &payloads)?;
    let plan = as_at_boot(&manifest, &machine, &tree, &board, &packed, problems)?;
    Ok(plan.map(|plan| Checked {
        machine,
        bundle: packed,
        plan,
    }))
}

fn machine(
    manifest: &Manifest,
    directory: &Path,
    other_board: Option<&str>,
    choice: &Choice,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Option<Machine>> {
    let name = other_board.unwrap_or(&manifest.board.value);
    let Some(folder) = board::find(directory, name) else {
        if other_board.is_some() {
            bail!(
                "there is no board `{name}`; the boards are {}",
                board::known().join(", ")
            );
        }
        problems.push(unknown_board(name, &manifest.board.span));
        return Ok(None);
    };
    Machine::new(board::load(&folder)?, choice).map(Some)
}

fn unknown_board(name: &str, span: &Span) -> Problem {
    let known = board::known();
    let problem = Problem::error(span, format!("there is no board `{name}`"));
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => problem.remedy(format!("did you mean `{near}`?")),
        None => problem.remedy(format!(
            "the boards are {}; a folder of your own needs a board.toml",
            known.join(", ")
        )),
    }
}

fn cpus(manifest: &Manifest, board: &Board<'_>) -> Vec<Problem> {
    let present = board.cpus.len();
    let wanted = manifest
        .partitions
        .iter()
        .flat_map(|partition| &partition.cpus);
    let absent = wanted.filter(|cpu| usize::from(cpu.value) >= present);
    absent
        .map(|cpu| {
            let message = format!("the board has no CPU {}", cpu.value);
            let last = present.saturating_sub(1);
            Problem::error(&cpu.span, message).remedy(format!("its CPUs are 0 to {last}"))
        })
        .collect()
}

fn payloads(manifest: &Manifest, directory: &Path, problems: &mut Vec<Problem>) -> Vec<Payloads> {
    let mut all = Vec::new();
    let mut refuse = |span: &Span, error: PayloadError| {
        problems.push(Problem::error(span, error.message).remedy(error.remedy));
    };
    for partition in &manifest.partitions {
        let kernel = payload::kernel(&partition.kernel.value, directory)
            .map_err(|error| refuse(&partition.kernel.span, error));
        let initrd = partition.initrd.as_ref().map(|name| {
            payload::initrd(&name.value, directory).map_err(|error| refuse(&name.span, error))
        });
        if let (Ok(kernel), Ok(initrd)) = (kernel, initrd.transpose()) {
            all.push(Payloads { kernel, initrd });
        }
    }
    all
}

/// Does what the hypervisor does with a bundle before it starts anything, and shows the result.
fn as_at_boot(
    manifest: &Manifest,
    machine: &Machine,
    tree: &[u8],
    board: &Board<'_>,
    packed: &[u8],
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Option<String>> {
    let system = System::read(packed)?;
    model::fit(&system, board)?;
    if let Err(error) = share::shares(&system, board, tree) {
        problems.push(devices::at_boot(manifest, &error));
    }
    for (plan, partition) in system.partitions.iter().zip(&manifest.partitions) {
        if let Err(error) = image::layout(plan) {
            let problem = Problem::error(&partition.memory.span, error.to_string())
                .also(&partition.kernel.span, "with this kernel");
            problems.push(problem);
        }
    }
    let kept = kept(machine, board, packed.len() as u64, tree.len() as u64);
    let mut free = FreeMemory::new(&board.ram, kept.iter().map(|(range, _)| *range))?;
    let whole = free.clone();
    match place(&mut free, &system) {
        Err(error) => problems.push(misplaced(manifest, &error, &whole, &kept)),
        Ok(placement) if problems.iter().any(Problem::is_fatal) => drop(placement),
        Ok(placement) => {
            return Ok(Some(show(machine, tree, board, &system, &placement, &free)));
        }
    }
    Ok(None)
}

fn show(
    machine: &Machine,
    tree: &[u8],
    board: &Board<'_>,
    system: &System<'_>,
    placement: &Placement,
    free: &FreeMemory,
) -> String {
    plan::show(&plan::Facts {
        name: &machine.board.name,
        tree,
        board,
        system,
        placement,
        free,
    })
}

/// RAM no partition can have, and who has it.
fn kept(
    machine: &Machine,
    board: &Board<'_>,
    bundle_size: u64,
    tree_size: u64,
) -> Vec<(Range, String)> {
    let mut kept: Vec<(Range, String)> = board
        .reserved
        .iter()
        .map(|reserved| (reserved.range, format!("the firmware ({})", reserved.what)))
        .collect();
    kept.extend(
        board
            .spin_pages()
            .map(|page| (page, "CPUs that wait".to_string())),
    );
    let bundle_at = machine.board.bundle_at;
    let tree_at = bundle_at
        .saturating_add(bundle_size)
        .next_multiple_of(TREE_ALIGNMENT);
    let loaded = [
        (machine.board.image_at, image_room(), "the hypervisor"),
        (bundle_at, bundle_size, "the bundle"),
        (tree_at, tree_size, "the board's device tree"),
    ];
    for (base, size, what) in loaded {
        kept.extend(Range::new(Pa::new(base), size).map(|range| (range, what.to_string())));
    }
    kept
}

/// Bytes the hypervisor takes in RAM: `image_size` of its header (Linux,
/// Documentation/arch/arm64/booting.rst), where it is built.
fn image_room() -> u64 {
    let image = std::fs::read(build::image_path()).unwrap_or_default();
    let size = image
        .get(16..24)
        .filter(|_| payload::is_image(&image))
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(IMAGE_ROOM, u64::from_le_bytes);
    size.checked_next_multiple_of(PAGE_SIZE)
        .unwrap_or(IMAGE_ROOM)
}

fn misplaced(
    manifest: &Manifest,
    error: &PlacementError,
    whole: &FreeMemory,
    kept: &[(Range, String)],
) -> Problem {
    let keepers: Vec<String> = kept
        .iter()
        .map(|(range, what)| {
            format!(
                "{what} {}",
                plan::show_range(range.base().get(), range.size())
            )
        })
        .collect();
    let remedy = format!(
        "without what is kept ({}), the board has {} bytes for all partitions together",
        keepers.join(", "),
        whole.total()
    );
    let (span, message) = match error {
        PlacementError::Memory {
            partition,
            asked,
            total,
            ..
        } => {
            let mut owners = manifest.partitions.iter();
            let owner = owners.find(|p| p.name.value == partition.as_str());
            let message = format!(
                "the memory of `{partition}` does not fit: {} asked for, {} left of the board's",
                show_size(*asked),
                show_size(total & !(rules::MEMORY_UNIT - 1))
            );
            (owner.map(|p| p.memory.span.clone()), message)
        }
        PlacementError::Channel { channel, .. } | PlacementError::Window { channel, .. } => {
            let mut channels = manifest.channels.iter();
            let owner = channels.find(|c| c.name.value == channel.as_str());
            (owner.map(|c| c.size.span.clone()), error.to_string())
        }
        PlacementError::TooScattered(_) => (None, error.to_string()),
    };
    Problem::error(&span.unwrap_or(0..0), message).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::fixture::{board_tree, manifest};
    use super::*;
    use crate::board::tests::board as host_board;
    use crate::payload::Image;
    use crate::report::plain;
    use bulkhead::model::bundle::Format;

    /// The complaints about `source` from the board's CPUs to where its memory lies, with kernels of
    /// `kernel` bytes.
    fn outcome(source: &str, kernel: usize) -> Result<String, String> {
        let manifest = parse::parse(source).expect("the words are right");
        let tree = board_tree();
        let board = Board::read(&tree).expect("the tree is right");
        let machine = Machine::new(host_board(), &Choice::default()).unwrap();
        let mut problems = cpus(&manifest, &board);
        if !problems.is_empty() {
            return Err(plain("m.toml", source, &problems));
        }
        let one = Payloads {
            kernel: Image {
                bytes: vec![0; kernel],
                format: Format::Raw,
            },
            initrd: None,
        };
        let payloads = vec![one; manifest.partitions.len()];
        let packed = bundle::write(&manifest, "test", &payloads).unwrap();
        as_at_boot(&manifest, &machine, &tree, &board, &packed, &mut problems)
            .unwrap()
            .ok_or_else(|| plain("m.toml", source, &problems))
    }

    #[test]
    fn a_plan_names_addresses_and_what_is_left() {
        let text = outcome(&manifest(""), 4096).expect("it fits");
        assert!(
            text.starts_with("board test (test): 2 CPUs, 1G of RAM, GICv2\n"),
            "{text}"
        );
        let row = text
            .lines()
            .find(|line| line.starts_with("a "))
            .expect("a row");
        assert!(row.contains("4M"), "{text}");
        assert!(row.contains("0x40000000-0x403fffff"), "{text}");
        assert!(row.contains("raw 4 K"), "{text}");
        assert!(text.contains("left over: CPUs 1; "), "{text}");
    }

    #[test]
    fn a_plan_shows_channels() {
        let b = manifest("").replace("board = \"test\"\n", "");
        let b = b.replace("\"a\"", "\"b\"").replace("[0]", "[1]");
        let channel = "[[channel]]\nname = \"c\"\nbetween = [\"a\", \"b\"]\nsize = \"64K\"\n";
        let text = outcome(&format!("{}{b}{channel}", manifest("")), 64).expect("it fits");
        assert!(text.contains("a -> b"), "{text}");
        assert!(text.contains("64K"), "{text}");
    }

    #[test]
    fn a_cpu_the_board_lacks_is_refused() {
        let text = outcome(&manifest("").replace("[0]", "[0, 4]"), 1).expect_err("no CPU 4");
        assert_eq!(
            text,
            "error: the board has no CPU 4\n  --> m.toml:4:12\n  |\n4 | cpus = [0, 4]\n  |            ^\n  |\n  \
             = help: its CPUs are 0 to 1\n\n"
        );
    }

    #[test]
    fn memory_the_board_lacks_is_refused() {
        let text = outcome(&manifest("").replace("4M", "1G"), 1).expect_err("too much");
        assert!(
            text.starts_with("error: the memory of `a` does not fit: 1G asked for, "),
            "{text}"
        );
        assert!(text.contains("m.toml:5:10"), "{text}");
        assert!(text.contains("the hypervisor 0x40200000-"), "{text}");
    }

    #[test]
    fn a_kernel_larger_than_its_partition_is_refused() {
        let text = outcome(&manifest(""), 5 << 20).expect_err("too large");
        assert!(text.contains("m.toml:5:10"), "{text}");
        assert!(text.contains("with this kernel"), "{text}");
    }

    #[test]
    fn an_unknown_board_is_refused_with_the_nearest() {
        let problem = unknown_board("qemu-vrit", &(8..18));
        let text = plain("m.toml", "board = \"qemu-vrit\"", &[problem]);
        assert!(
            text.contains("there is no board `qemu-vrit`\n  --> m.toml:1:9"),
            "{text}"
        );
        assert!(text.contains("did you mean `qemu-virt`?"), "{text}");
    }

    #[test]
    fn payloads_that_are_missing_or_wrong_are_refused() {
        let folder = std::env::temp_dir().join(format!("bulkhead-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ramdisk"), "070701").unwrap();
        std::fs::write(folder.join("empty"), "").unwrap();
        let complaint = |kernel: &str| {
            let source = manifest("initrd = \"no/such\"").replace("\"k\"", kernel);
            let parsed = parse::parse(&source).unwrap();
            let mut problems = Vec::new();
            payloads(&parsed, &folder, &mut problems);
            plain("m.toml", &source, &problems)
        };
        let text = complaint("\"./ramdisk\"");
        assert!(
            text.contains(
                "an initial ramdisk, not a kernel a partition can start\n  --> m.toml:6:10"
            ),
            "{text}"
        );
        assert!(
            text.contains("there is no such file\n  --> m.toml:7:10"),
            "{text}"
        );
        assert!(complaint("\"./empty\"").contains("is empty\n  --> m.toml:6:10"));
        assert!(complaint("\"contrl\"").contains("there is no guest and no file `contrl`"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
