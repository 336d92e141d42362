//! What the stock firmware of a Raspberry Pi 4 does with a card, step by step, and what would go wrong.
//!
//! Nobody can ask the firmware; this says what its documentation says (config.txt, "Boot options"). The tree and the bundle
//! are read by the hypervisor's own code.

use std::fmt;

use bulkhead::model::board::{Board, Cpu, CpuStart, Gic, UartKind};
use bulkhead::model::bundle::{self, System};

use super::Files;
use super::config::Config;
use crate::{payload, tree};

/// What the firmware does, and what goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One line a step.
    pub steps: Vec<String>,
    /// What keeps the system from starting.
    pub problems: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        for problem in &self.problems {
            writeln!(f, "  PROBLEM: {problem}")?;
        }
        if self.problems.is_empty() {
            writeln!(f, "  nothing is wrong with it")?;
        }
        Ok(())
    }
}

/// The tree the firmware takes where it is told of none.
const USUAL_TREE: &str = "bcm2711-rpi-4-b.dtb";
/// The kernel it takes in 64-bit mode where it is told of none.
const USUAL_KERNEL: &str = "kernel8.img";
/// A text only the hypervisor's image has.
const OURS: &[u8] = b"[bulkhead] refused";
/// RAM below the VideoCore's with its usual 76 MiB: what the firmware writes into the tree at least.
const RAM: u32 = 0x3b40_0000;
/// Overlays that put the PL011 on the pins.
const PL011_OVERLAYS: [&str; 2] = ["disable-bt", "miniuart-bt"];

/// Says what the firmware does with the card whose root folder has `files`.
pub fn check(files: &Files) -> Report {
    let mut look = Look {
        files,
        config: Config::default(),
        report: Report::default(),
    };
    look.config();
    look.firmware();
    look.kernel();
    if let Some(tree) = look.tree() {
        match Board::read(&tree) {
            Ok(board) => {
                look.board(&board);
                look.bundle(&board);
            }
            Err(error) => look.problem(format!("the hypervisor refuses its tree: {error}")),
        }
    }
    look.report
}

struct Look<'a> {
    files: &'a Files,
    config: Config,
    report: Report,
}

impl<'a> Look<'a> {
    fn step(&mut self, text: impl Into<String>) {
        self.report.steps.push(text.into());
    }

    fn problem(&mut self, text: impl Into<String>) {
        self.report.problems.push(text.into());
    }

    /// The file called `name`; FAT knows no case.
    fn file(&self, name: &str) -> Option<&'a [u8]> {
        let mut files = self.files.iter();
        let found = files.find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, bytes)| &bytes[..])
    }

    fn config(&mut self) {
        let Some(bytes) = self.file("config.txt") else {
            return self.problem("there is no config.txt");
        };
        self.config = Config::read(&String::from_utf8_lossy(bytes));
        for file in self.config.includes.clone() {
            self.step(format!(
                "config.txt takes in {file}, which is not looked at here"
            ));
        }
        for overlay in self
            .config
            .all("dtoverlay")
            .map(str::to_string)
            .collect::<Vec<_>>()
        {
            self.step(format!(
                "the overlay {overlay} changes the tree, which is not looked at here"
            ));
        }
        if self.config.get("arm_64bit") == Some("0") {
            self.problem("arm_64bit=0: the cores would enter in AArch32");
        }
        if self.config.get("enable_gic") == Some("0") {
            self.problem("enable_gic=0: EL2 would have no interrupt controller");
        }
    }

    fn firmware(&mut self) {
        for (key, usual) in [("start_file", "start4.elf"), ("fixup_file", "fixup4.dat")] {
            let name = self.config.get(key).unwrap_or(usual).to_string();
            match self.file(&name) {
                Some(bytes) if !bytes.is_empty() => {
                    self.step(format!(
                        "the boot loader in the board's EEPROM loads {name}, {} bytes",
                        bytes.len()
                    ));
                }
                _ => self.problem(format!(
                    "there is no {name}: without it the board only blinks"
                )),
            }
        }
        match self.config.get("armstub").map(str::to_string) {
            None => self.step("its own stub puts all cores into EL2: core 0 goes on, the others wait on the spin table"),
            Some(stub) if self.file(&stub).is_none() => self.problem(format!("there is no {stub}, named as armstub")),
            Some(stub) => self.step(format!(
                "{stub} runs at EL3 first; where it puts PSCI into the tree, as TF-A does, the hypervisor uses that"
            )),
        }
    }

    fn kernel(&mut self) {
        let name = self
            .config
            .get("kernel")
            .unwrap_or(USUAL_KERNEL)
            .to_string();
        let Some(bytes) = self.file(&name) else {
            return self.problem(format!("there is no {name}, the kernel"));
        };
        let address = self.config.get("kernel_address");
        let place = address.map_or("where its header says".to_string(), |at| format!("at {at}"));
        self.step(format!("it loads {name}, {} bytes, {place}", bytes.len()));
        if !payload::is_image(bytes) {
            self.problem(format!("{name} is no arm64 Image"));
        } else if !bytes.windows(OURS.len()).any(|window| window == OURS) {
            self.problem(format!(
                "{name} is not this hypervisor: the card starts something else"
            ));
        }
    }

    /// The tree, with RAM in it as the firmware writes it.
    fn tree(&mut self) -> Option<Vec<u8>> {
        let name = self
            .config
            .get("device_tree")
            .unwrap_or(USUAL_TREE)
            .to_string();
        let Some(bytes) = self.file(&name) else {
            self.problem(format!("there is no {name}, the device tree"));
            return None;
        };
        self.step(format!(
            "it loads {name}, and writes RAM and the ramdisk's place into it"
        ));
        let mut bytes = bytes.to_vec();
        match tree::property(&bytes, "/memory@0", "reg") {
            // Two cells of address, one of size (or two).
            Ok(Some(reg)) if reg.len() >= 12 => {
                let size = reg.end - 4..reg.end;
                bytes[size].copy_from_slice(&RAM.to_be_bytes());
            }
            _ => self.problem(format!(
                "{name} has no memory node that the firmware could fill in"
            )),
        }
        Some(bytes)
    }

    fn board(&mut self, board: &Board<'_>) {
        let gic = match board.gic {
            Gic::V2 { .. } => "GICv2",
            Gic::V3 { .. } => "GICv3",
        };
        let spins = |cpu: &&Cpu| matches!(cpu.start, CpuStart::SpinTable { .. });
        self.step(format!(
            "the hypervisor finds: {}, {} CPUs ({} on a spin table), {gic}",
            board.model,
            board.cpus.len(),
            board.cpus.iter().filter(spins).count()
        ));
        let on_pins = PL011_OVERLAYS.iter().any(|name| {
            self.config
                .all("dtoverlay")
                .any(|own| own.split(',').next() == Some(name))
        });
        let enabled = self.config.get("enable_uart") == Some("1");
        match board.console.map(|console| console.kind) {
            Some(UartKind::MiniUart) if enabled => self.step("its console is the mini UART on GPIO 14 and 15, 115200 baud"),
            Some(UartKind::MiniUart) => self.problem("enable_uart=1 is missing: the console, the mini UART, stays off"),
            Some(UartKind::Pl011) if on_pins => self.step("its console is the PL011 on GPIO 14 and 15"),
            Some(UartKind::Pl011) => self.problem(
                "the console is the PL011, which is wired to Bluetooth unless there is dtoverlay=disable-bt",
            ),
            None => self.problem("the tree's stdout-path names no UART the hypervisor drives: it would be mute"),
        }
    }

    fn bundle(&mut self, board: &Board<'_>) {
        let Some((name, place)) = self.config.initramfs.clone() else {
            return self
                .problem("config.txt has no line `initramfs FILE ADDRESS`: there is no bundle");
        };
        let Some(bytes) = self.file(&name) else {
            return self.problem(format!("there is no {name}, the bundle"));
        };
        self.step(format!(
            "it loads {name}, {} bytes, at {place}",
            bytes.len()
        ));
        match System::read(bytes) {
            Err(error) => self.problem(format!("{name}: {error}")),
            Ok(system) => {
                if let Err(error) = bundle::fit(&system, board) {
                    self.problem(format!("{name} does not fit this board: {error}"));
                }
                let names: Vec<&str> = system.partitions.iter().map(|plan| plan.name).collect();
                self.step(format!(
                    "the hypervisor starts the partitions {}",
                    names.join(", ")
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A card with what can be written here: no tree, no bundle.
    fn card(config: &str) -> Files {
        let mut kernel = vec![0; 64];
        kernel[56..60].copy_from_slice(b"ARM\x64");
        kernel.extend(OURS);
        let files = [
            ("config.txt", config.as_bytes().to_vec()),
            ("start4.elf", vec![1]),
            ("fixup4.dat", vec![1]),
            ("BULKHEAD.IMG", kernel),
        ];
        files
            .map(|(name, bytes)| (name.to_string(), bytes))
            .into_iter()
            .collect()
    }

    const USUAL: &str = "arm_64bit=1\nkernel=bulkhead.img\n";

    /// The problems of a card, but for that of its tree.
    fn problems(files: &Files) -> Vec<String> {
        let tree = "there is no bcm2711-rpi-4-b.dtb, the device tree";
        let mut problems = check(files).problems;
        assert!(problems.iter().any(|problem| problem == tree));
        problems.retain(|problem| problem != tree);
        problems
    }

    #[test]
    fn names_on_a_card_have_no_case() {
        assert_eq!(problems(&card(USUAL)), Vec::<String>::new());
    }

    #[test]
    fn what_the_firmware_needs_and_does_not_find_is_named() {
        let lacks = |name: &str| {
            let mut files = card(USUAL);
            files.remove(name);
            problems(&files).join("; ")
        };
        assert!(lacks("start4.elf").contains("there is no start4.elf"));
        assert!(lacks("fixup4.dat").contains("there is no fixup4.dat"));
        assert!(lacks("BULKHEAD.IMG").contains("there is no bulkhead.img, the kernel"));
        assert!(lacks("config.txt").contains("there is no config.txt"));
    }

    #[test]
    fn settings_nothing_works_with_are_named() {
        let with = |line: &str| problems(&card(&format!("{USUAL}{line}\n"))).join("; ");
        assert!(with("arm_64bit=0").contains("AArch32"));
        assert!(with("enable_gic=0").contains("no interrupt controller"));
        assert!(with("armstub=bl31.bin").contains("there is no bl31.bin, named as armstub"));
        assert_eq!(with("[pi3]\narm_64bit=0"), "");
    }

    #[test]
    fn another_kernel_is_told_from_ours() {
        let mut files = card(USUAL);
        files.insert("BULKHEAD.IMG".into(), vec![0; 64]);
        assert!(problems(&files)[0].contains("is no arm64 Image"));
        let mut linux = vec![0; 100];
        linux[56..60].copy_from_slice(b"ARM\x64");
        files.insert("BULKHEAD.IMG".into(), linux);
        assert!(problems(&files)[0].contains("is not this hypervisor"));
    }

    #[test]
    fn a_tree_that_is_none_is_a_problem() {
        let mut files = card(USUAL);
        files.insert(USUAL_TREE.into(), vec![0; 100]);
        let problems = check(&files).problems.join("; ");
        assert!(problems.contains("no memory node"), "{problems}");
        assert!(
            problems.contains("the hypervisor refuses its tree"),
            "{problems}"
        );
    }
}
