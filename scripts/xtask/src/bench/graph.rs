//! What the short path may call: the image's calls and jumps, followed from the vectors.
//!
//! A function counts whole: whatever an instruction in it may branch to is reached. What leaves for the core's loop or reports
//! a failure of EL2 is not followed. A call by a pointer could lead anywhere, so there must be none.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Context as _;

use super::symbols::Image;

/// Where the short path begins.
const FROM: &str = "vectors";
/// Where it ends: the way to the core's loop and back, and to the report of EL2's own failures.
const ENDS: &[&str] = &["leave", "fault", "enter_guest"];
/// What the names of functions that panic, or that formatting needs, have in them.
const BARRED: &[&str] = &[
    "panic",
    "core::fmt",
    "_failed",
    "_fail",
    "core::slice::index",
    "log::",
];

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// The functions of the short path, by name, and who was found to branch there first.
    pub functions: BTreeMap<String, String>,
    /// Calls of what must not be there, and by a pointer: where they are, in which function, and what is called.
    pub barred: Vec<(u64, String, String)>,
}

impl Reached {
    /// The way from the vectors to `name`.
    pub fn way(&self, name: &str) -> String {
        let mut way = vec![name];
        let mut at = name;
        while let Some(before) = self.functions.get(at).filter(|before| !before.is_empty()) {
            way.push(before);
            at = before;
        }
        way.join(" <- ")
    }
}

/// Follows the short path of the image.
///
/// # Errors
/// It has no vectors.
pub fn short_path(image: &Image) -> anyhow::Result<Reached> {
    let start = image.code.iter().find(|(_, name)| *name == FROM);
    let (start, _) = start.context("the image has no vectors")?;
    let mut reached = Reached::default();
    let mut queue = VecDeque::from([(*start, String::new())]);
    while let Some((at, from)) = queue.pop_front() {
        let Some((begin, end, name)) = image.bounds(at) else {
            continue;
        };
        if ENDS.contains(&name) || reached.functions.contains_key(name) {
            continue;
        }
        reached.functions.insert(name.to_string(), from);
        for address in (begin..end).step_by(4) {
            match image.word(address).map(|word| branch(word, address)) {
                Some(Branch::To(target)) if !(begin..end).contains(&target) => {
                    let to = image.function(target);
                    if is_barred(&to) {
                        reached.barred.push((address, name.to_string(), to));
                    } else {
                        queue.push_back((target, name.to_string()));
                    }
                }
                Some(Branch::Pointer) => {
                    let to = "what a pointer leads to".to_string();
                    reached.barred.push((address, name.to_string(), to));
                }
                _ => {}
            }
        }
        // What does not end with a jump or return goes on into the next; what ends with a call is a call of what never returns.
        if !image.word(end - 4).is_some_and(ends) {
            queue.push_back((end, name.to_string()));
        }
    }
    Ok(reached)
}

fn is_barred(name: &str) -> bool {
    BARRED.iter().any(|part| name.contains(part))
}

/// Where an instruction may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Branch {
    /// Only behind itself; or by a table within the function.
    No,
    /// To this address.
    To(u64),
    /// Anywhere: BLR.
    Pointer,
}

/// The instruction's target (Arm ARM C4.1.92, "Branches, Exception Generating and System instructions").
fn branch(word: u32, at: u64) -> Branch {
    let offset = |shift: u32, bits: u32| {
        let value = word >> shift & ((1 << bits) - 1);
        let signed = i64::from(value) << (64 - bits) >> (64 - bits);
        Branch::To(at.wrapping_add_signed(signed * 4))
    };
    if word & 0x7c00_0000 == 0x1400_0000 {
        offset(0, 26) // B, BL
    } else if word & 0xff00_0000 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 {
        offset(5, 19) // B.cond; CBZ, CBNZ
    } else if word & 0x7e00_0000 == 0x3600_0000 {
        offset(5, 14) // TBZ, TBNZ
    } else if word & 0xffff_fc1f == 0xd63f_0000 {
        Branch::Pointer
    } else {
        Branch::No
    }
}

/// Whether nothing behind the instruction is executed after it, at the end of a function: B, BL, BR, RET, ERET, BRK, and what
/// is no instruction.
fn ends(word: u32) -> bool {
    word & 0x7c00_0000 == 0x1400_0000
        || word & 0xffff_fc1f == 0xd61f_0000
        || word & 0xffff_fc1f == 0xd65f_0000
        || word == 0xd69f_03e0
        || word & 0xffe0_001f == 0xd420_0000
        || word >> 16 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_read_as_an_assembler_writes_them() {
        // At 0x1000: bl 0x1100; b 0xff0; b.eq 0x1008; cbnz x3, 0xffc; tbz w2, #5, 0x1010; blr x8; br x8; ret; nop.
        let cases = [
            (0x9400_0040, Branch::To(0x1100)),
            (0x17ff_fffc, Branch::To(0xff0)),
            (0x5400_0040, Branch::To(0x1008)),
            (0xb5ff_ffe3, Branch::To(0xffc)),
            (0x3628_0082, Branch::To(0x1010)),
            (0xd63f_0100, Branch::Pointer),
            (0xd61f_0100, Branch::No),
            (0xd65f_03c0, Branch::No),
            (0xd503_201f, Branch::No),
        ];
        for (word, expected) in cases {
            assert_eq!(branch(word, 0x1000), expected, "{word:#x}");
        }
        assert!(
            [0x17ff_fffc, 0x9400_0040, 0xd65f_03c0, 0xd69f_03e0]
                .into_iter()
                .all(ends)
        );
        assert!(
            ![0x5400_0040, 0xd63f_0100, 0xd503_201f]
                .into_iter()
                .any(ends)
        );
    }

    #[test]
    fn the_way_to_a_function_is_told() {
        let functions = [("vectors", ""), ("short", "vectors"), ("deep", "short")];
        let reached = Reached {
            functions: functions
                .map(|(name, from)| (name.to_string(), from.to_string()))
                .into(),
            barred: Vec::new(),
        };
        assert_eq!(reached.way("deep"), "deep <- short <- vectors");
    }
}
