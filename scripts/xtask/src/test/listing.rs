//! What the image executes before its MMU is on, by QEMU's listing of the instructions it translates.
//!
//! Until then memory is Device memory to the core. QEMU lets an exclusive store succeed there; the Raspberry Pi 4's bus does
//! not, and a lock would be waited for without end (Arm ARM B2.12.2). DC ZVA faults there (D7.5.8).

use std::path::Path;

use anyhow::Context as _;

use super::Outcome;

/// MSR SCTLR_EL2, Xt without t: the image's first switches the MMU off, its second on.
const SCTLR_EL2: u32 = 0xd51c_1000;
/// Fewest instructions the boot takes before: the board's tree is read there.
const FEWEST: usize = 1000;

/// QEMU's arguments for a listing in `file`.
pub fn arguments(file: &Path) -> [String; 4] {
    let file = file.display().to_string();
    ["-d", "in_asm", "-D", &file].map(str::to_string)
}

/// Looks through the listing in `file`.
///
/// # Errors
/// There is none.
pub fn judge(file: &Path) -> anyhow::Result<Outcome> {
    let text = std::fs::read_to_string(file).context("QEMU wrote no listing")?;
    // Megabytes that nobody looks at again.
    std::fs::remove_file(file)?;
    Ok(outcome(&text))
}

fn outcome(text: &str) -> Outcome {
    let mut switches = 0;
    let mut seen = 0;
    let mut outcome = Outcome::default();
    for (address, word) in text.lines().filter_map(instruction) {
        seen += 1;
        switches += usize::from(word & !0x1f == SCTLR_EL2);
        if switches == 2 {
            break;
        }
        if needs_cacheable(word) {
            outcome.failures.push(format!(
                "the instruction {word:#010x} at {address} does not work before the MMU is on"
            ));
        }
    }
    match (switches, seen) {
        (2, FEWEST..) => outcome.passed = 1,
        _ => outcome.failures.push(format!(
            "the listing has {switches} of the 2 switches of the MMU, and {seen} instructions before"
        )),
    }
    outcome
}

/// The address and the word of a line such as `0x00200000:  14000010  b  #0x200040`.
fn instruction(line: &str) -> Option<(&str, u32)> {
    let (address, rest) = line.split_once(": ")?;
    let word = rest.split_whitespace().next()?;
    let word = u32::from_str_radix(word, 16).ok()?;
    address.starts_with("0x").then_some((address, word))
}

/// Whether the instruction is an exclusive load or store, an atomic one, a compare and swap, or DC ZVA
/// (Arm ARM C4.1.94, "Loads and Stores").
const fn needs_cacheable(word: u32) -> bool {
    // o2 tells the ordered ones, which work, from the exclusive; L and o0 do not matter.
    let exclusive = word & 0x3f80_0000 == 0x0800_0000;
    let compare_and_swap = word & 0x3fa0_7c00 == 0x08a0_7c00;
    let atomic = word & 0x3f20_0c00 == 0x3820_0000;
    let zero = word & !0x1f == 0xd50b_7420;
    exclusive || compare_and_swap || atomic || zero
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_cacheable_memory_is_known() {
        // As an assembler makes them: ldaxr w0, [x1]; stlxr w2, w0, [x1]; ldxp; ldadd; swpal; casal; dc zva, x3.
        let bad = [
            0x885f_fc20,
            0x8802_fc20,
            0xc87f_0440,
            0xb820_0041,
            0xb8e0_8041,
            0x88e0_fc41,
            0xd50b_7423,
        ];
        for word in bad {
            assert!(needs_cacheable(word), "{word:#x}");
        }
        // ldar w0, [x1]; stlr w0, [x1]; ldr x0, [x1, x2]; ldr x0, [x1]; stp x0, x1, [sp]; dc civac, x3.
        let good = [
            0x88df_fc20,
            0x889f_fc20,
            0xf862_6820,
            0xf940_0020,
            0xa900_07e0,
            0xd50b_7e23,
        ];
        for word in good {
            assert!(!needs_cacheable(word), "{word:#x}");
        }
    }

    #[test]
    fn only_what_comes_before_the_mmu_counts() {
        let plain = "0x00200000:  14000010  b        #0x200040\n".repeat(FEWEST);
        let switch = "0x00200068:  d51c1009  msr      sctlr_el2, x9\n";
        let exclusive = "0x00201000:  885ffc20  ldaxr    w0, [x1]\n";
        let text = format!("IN: \n{switch}{plain}{switch}{exclusive}");
        assert_eq!(outcome(&text).failures, Vec::<String>::new());
        let text = format!("{switch}{plain}{exclusive}{switch}");
        assert_eq!(outcome(&text).failures.len(), 1);
        assert!(outcome(&text).failures[0].contains("0x885ffc20 at 0x00201000"));
        assert_eq!(outcome(&plain).failures.len(), 1);
    }
}
