//! The plan as a table: who gets what, at which addresses, and what is left.

use std::fmt::Write as _;

use bulkhead::model::board::{Board, Gic, devices};
use bulkhead::model::bundle::{Format, Plan, System};
use bulkhead::model::placement::{FreeMemory, Placement};

use crate::manifest::value::show_size;

/// Everything a plan is printed from.
pub struct Facts<'a> {
    /// The board's name.
    pub name: &'a str,
    /// The board's device tree.
    pub tree: &'a [u8],
    /// The board, read from it.
    pub board: &'a Board<'a>,
    /// The system.
    pub system: &'a System<'a>,
    /// Where its memory lies.
    pub placement: &'a Placement,
    /// RAM left over.
    pub free: &'a FreeMemory,
}

/// The plan, as text.
pub fn show(facts: &Facts<'_>) -> String {
    let mut text = headline(facts);
    text.push_str(&partitions(facts));
    if !facts.system.channels.is_empty() {
        text.push('\n');
        text.push_str(&channels(facts));
    }
    text.push('\n');
    text.push_str(&left_over(facts));
    text
}

/// The addresses from `base` on, `size` bytes of them.
pub fn show_range(base: u64, size: u64) -> String {
    format!("{base:#x}-{:#x}", base.saturating_add(size.saturating_sub(1)))
}

fn headline(facts: &Facts<'_>) -> String {
    let board = facts.board;
    let ram: u64 = board.ram.iter().map(|range| range.size()).sum();
    let gic = match board.gic {
        Gic::V2 { .. } => 2,
        Gic::V3 { .. } => 3,
    };
    let cpus = board.cpus.len();
    let kind = if board.model.is_empty() { board.compatible } else { board.model };
    format!(
        "board {} ({kind}): {cpus} CPUs, {} of RAM, GICv{gic}\n\n",
        facts.name,
        show_size(ram)
    )
}

fn partitions(facts: &Facts<'_>) -> String {
    let mut rows = vec![row([
        "partition", "CPUs", "memory", "on the board", "in the guest", "kernel", "initrd",
        "devices", "interrupts",
    ])];
    for (plan, extents) in facts.system.partitions.iter().zip(&facts.placement.extents) {
        for (index, extent) in extents.iter().enumerate() {
            let range = extent.range;
            let place = show_range(range.base().get(), range.size());
            let seen = show_range(extent.ipa.get(), range.size());
            let mut cells = row(["", "", "", &place, &seen, "", "", "", ""]);
            if index == 0 {
                first_cells(&mut cells, plan, facts.tree);
            }
            rows.push(cells);
        }
    }
    table(&rows)
}

fn first_cells(cells: &mut [String], plan: &Plan<'_>, tree: &[u8]) {
    let format = match plan.format {
        Format::Image => "Image",
        Format::Elf => "ELF",
        Format::Raw => "raw",
    };
    let cpus: Vec<String> = plan.cpus.iter().map(ToString::to_string).collect();
    let initrd = plan.initrd.as_ref().map(|payload| megabytes(payload.data.len()));
    let fill = [
        (0, plan.name.to_string()),
        (1, cpus.join(" ")),
        (2, show_size(plan.memory)),
        (5, format!("{format} {}", megabytes(plan.kernel.data.len()))),
        (6, initrd.unwrap_or_else(none)),
        (7, or_none(plan.devices.join(" "))),
        (8, or_none(interrupts(plan, tree))),
    ];
    for (index, text) in fill {
        cells[index] = text;
    }
}

/// The interrupts of the partition's devices; those of the virtual machine itself are everybody's.
fn interrupts(plan: &Plan<'_>, tree: &[u8]) -> String {
    let Ok(all) = devices(tree) else {
        return String::new();
    };
    let own = all
        .flatten()
        .filter(|info| plan.devices.contains(&info.path.as_str()));
    let numbers: Vec<String> = own
        .flat_map(|info| info.interrupts)
        .map(|interrupt| interrupt.intid.to_string())
        .collect();
    numbers.join(" ")
}

fn channels(facts: &Facts<'_>) -> String {
    let mut rows = vec![row(["channel", "between", "size", "on the board"])];
    let name = |id: bulkhead::words::PartitionId| {
        let plan = facts.system.partitions.get(id.index());
        plan.map_or("?", |plan| plan.name)
    };
    for (channel, range) in facts.system.channels.iter().zip(&facts.placement.channels) {
        let arrow = if channel.both { "<->" } else { "->" };
        let ends = format!("{} {arrow} {}", name(channel.from), name(channel.to));
        let place = show_range(range.base().get(), range.size());
        rows.push(row([channel.name, &ends, &show_size(channel.size), &place]));
    }
    table(&rows)
}

fn left_over(facts: &Facts<'_>) -> String {
    let is_given = |cpu: usize| {
        let mut plans = facts.system.partitions.iter();
        plans.any(|plan| plan.cpus.iter().any(|own| own.index() == cpu))
    };
    let cpus: Vec<String> = (0..facts.board.cpus.len())
        .filter(|cpu| !is_given(*cpu))
        .map(|cpu| cpu.to_string())
        .collect();
    let largest = facts.free.holes().iter().map(|hole| hole.size()).max();
    let mut text = String::new();
    let cpus = or_none(cpus.join(" "));
    let total = usize::try_from(facts.free.total()).unwrap_or(usize::MAX);
    let largest = usize::try_from(largest.unwrap_or(0)).unwrap_or(usize::MAX);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "left over: CPUs {cpus}; {} of RAM, {} in one piece",
        megabytes(total),
        megabytes(largest)
    );
    text
}

fn megabytes(bytes: usize) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    if tenths == 0 {
        return format!("{} K", bytes.div_ceil(1024));
    }
    format!("{}.{} M", tenths / 10, tenths % 10)
}

fn none() -> String {
    "-".into()
}

fn or_none(text: String) -> String {
    if text.is_empty() { none() } else { text }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

/// Rows of cells under each other, two spaces apart.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [row(["a", "b", "c"]), row(["long", "x", ""])];
        assert_eq!(table(&rows), "a     b  c\nlong  x\n");
    }

    #[test]
    fn sizes_are_rounded_for_reading() {
        assert_eq!(megabytes(27_303_872), "26.0 M");
        assert_eq!(megabytes(2048), "2 K");
        assert_eq!(show_range(0x4000_0000, 0x1000), "0x40000000-0x40000fff");
    }
}
