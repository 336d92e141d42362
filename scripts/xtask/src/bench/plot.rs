//! The table as a picture: SVG, a bar a row on a logarithmic scale, with marks for its target and the best peer.

use std::fmt::Write as _;

use super::rows;
use super::saved::Measured;

/// Sizes in pixels: of a row, of the names' column, of the scale, and of the text.
const ROW: f64 = 16.0;
const NAMES: f64 = 190.0;
const SCALE: f64 = 560.0;
const NUMBERS: f64 = 70.0;
const TEXT: f64 = 11.0;
/// Room for a machine's heading and for the scale's numbers.
const HEADING: f64 = 58.0;
/// What the scale begins with, and how many powers of ten it has.
const LEAST: f64 = 10.0;
const DECADES: u32 = 7;

/// The picture of `measured`; `gic` gives a machine's version.
pub fn svg(measured: &Measured, gic: impl Fn(&str) -> u8) -> String {
    let mut body = String::new();
    let mut y = 10.0;
    let mut last = "";
    for (machine, name, figures) in measured {
        if machine != last {
            y += heading(&mut body, machine, y);
            last = machine;
        }
        let Some(row) = rows::find(name) else {
            continue;
        };
        let gic = gic(machine);
        let end = at(figures.el2.max);
        let goal = [row.goal(gic), row.half(gic)].into_iter().flatten().min();
        let colour = match goal {
            Some(goal) if figures.el2.max > goal => "#c44",
            Some(_) => "#484",
            None => "#888",
        };
        let middle = y + ROW / 2.0 + TEXT / 3.0;
        let _ = writeln!(
            body,
            "<text x='{}' y='{middle}' text-anchor='end'>{name}</text>\
             <rect x='{NAMES}' y='{}' width='{}' height='{}' fill='{colour}'/>\
             <text x='{}' y='{middle}'>{}</text>",
            NAMES - 6.0,
            y + 2.0,
            end - NAMES,
            ROW - 4.0,
            end + 4.0,
            figures.el2.median
        );
        mark(&mut body, row.goal(gic), y, "#000");
        mark(&mut body, row.peer_on(gic).map(|(peer, _)| peer), y, "#06c");
        y += ROW;
    }
    let (width, height) = (NAMES + SCALE + NUMBERS, y + 10.0);
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' font-family='sans-serif' font-size='{TEXT}'>\n\
         <rect width='100%' height='100%' fill='#fff'/>\n{body}</svg>\n"
    )
}

/// Where a number is on the scale.
fn at(number: u64) -> f64 {
    // Pictures need no more digits than an f64 has.
    let decades = (number.max(1) as f64 / LEAST).log10();
    NAMES + (decades / f64::from(DECADES)).clamp(0.0, 1.0) * SCALE
}

/// A machine's name, what the marks mean, and the scale; gives the height.
fn heading(body: &mut String, machine: &str, y: f64) -> f64 {
    let _ = writeln!(
        body,
        "<text x='10' y='{}' font-weight='bold'>{machine}: instructions at EL2 for one go</text>\
         <text x='10' y='{}'>red: over its target or half of the best peer's; black mark: target; \
         <tspan fill='#06c'>blue mark: best peer</tspan></text>",
        y + 14.0,
        y + 28.0
    );
    for decade in 0..=DECADES {
        let number = 10_u64.pow(decade + 1);
        let x = at(number);
        let _ = writeln!(
            body,
            "<text x='{x}' y='{}' text-anchor='middle' fill='#666'>{number}</text>\
             <line x1='{x}' x2='{x}' y1='{}' y2='{}' stroke='#ccc'/>",
            y + 44.0,
            y + 47.0,
            y + 54.0
        );
    }
    HEADING
}

fn mark(body: &mut String, number: Option<u64>, y: f64, colour: &str) {
    if let Some(number) = number {
        let x = at(number);
        let _ = writeln!(
            body,
            "<line x1='{x}' x2='{x}' y1='{y}' y2='{}' stroke='{colour}' stroke-width='2'/>",
            y + ROW
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::{Figures, Spread};

    #[test]
    fn a_longer_way_is_a_longer_bar() {
        assert!(at(100) > at(50) && at(50) > at(10));
        assert_eq!(at(0), at(10));
        let figures = Figures {
            el2: Spread {
                min: 150,
                median: 150,
                max: 150,
            },
            ..Figures::default()
        };
        let text = svg(&vec![("virt".into(), "ipi", figures)], |_| 3);
        assert!(text.contains(">ipi<") && !text.contains("#c44"));
        assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
    }
}
