//! The table for a document: a row an operation, a column a machine.

use std::fmt::Write as _;

use super::rows::ROWS;
use super::saved::Measured;

/// The table of `measured`, in Markdown. A figure over its target or half of the best peer's is in bold; device accesses are in
/// brackets.
pub fn table(measured: &Measured, gic: impl Fn(&str) -> u8) -> String {
    let mut machines: Vec<&str> = Vec::new();
    for (machine, _, _) in measured {
        if !machines.contains(&machine.as_str()) {
            machines.push(machine);
        }
    }
    let mut text = String::from("| operation |");
    for machine in &machines {
        let _ = write!(text, " {machine} |");
    }
    let _ = writeln!(
        text,
        " target | best peer |\n|---|{}---|---|",
        "---|".repeat(machines.len())
    );
    for row in ROWS {
        let _ = write!(text, "| {} |", row.name);
        for machine in &machines {
            let mut found = measured.iter();
            let found = found.find(|(on, name, _)| on == machine && *name == row.name);
            let cell = found.map_or_else(String::new, |(_, _, figures)| {
                let limits = [row.goal(gic(machine)), row.half(gic(machine))];
                let over = limits
                    .iter()
                    .flatten()
                    .any(|limit| figures.el2.max > *limit);
                let bold = if over { "**" } else { "" };
                let devices = match figures.others[1] {
                    0 => String::new(),
                    count => format!(" [{count}]"),
                };
                format!("{bold}{}{bold}{devices}", figures.el2.median)
            });
            let _ = write!(text, " {cell} |");
        }
        let target = match (row.goal(3), row.goal(2)) {
            (Some(one), Some(other)) if one != other => format!("{one}; GICv2 {other}"),
            (Some(one), _) => one.to_string(),
            _ => "-".to_string(),
        };
        let peer = match (row.peer_on(3), row.peer_on(2)) {
            (Some((one, name)), Some((other, another))) if one != other => {
                format!("{one} {name}; GICv2 {other} {another}")
            }
            (Some((count, name)), _) => format!("{count} {name}"),
            _ => "-".to_string(),
        };
        let _ = writeln!(text, " {target} | {peer} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::{Figures, Spread};

    #[test]
    fn what_misses_its_target_is_in_bold() {
        let figures = |median| Figures {
            el2: Spread {
                min: median,
                median,
                max: median,
            },
            others: [2, 6, 0, 0, 0, 0],
            ..Figures::default()
        };
        let line = |median| {
            let measured = vec![("virt".to_string(), "ipi", figures(median))];
            let text = table(&measured, |_| 3);
            let mut lines = text.lines().map(str::to_string);
            lines.find(|line| line.starts_with("| ipi |")).unwrap()
        };
        assert_eq!(
            line(150),
            "| ipi | 150 [6] | 150; GICv2 170 | 339 hvisor; GICv2 882 Bao |"
        );
        assert!(line(151).contains("**151** [6]"));
    }
}
