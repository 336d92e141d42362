//! An emulator test as data: a system, the machines it runs on, and what its console must say.

use std::fmt::Write as _;
use std::time::Duration;

use super::counts::Claim;
use super::damage::Damage;

/// How long a test may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// CPU a test runs on unless it names others.
const USUAL_CPU: &str = "cortex-a72";
/// What nobody's console may say unless the test allows it.
const PANIC: &str = "PANIC";
/// What it may never say.
const FAULT: &str = "FAULT at EL2";

/// One thing to happen, after the one before it.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A line matches the pattern.
    Wait(&'static str),
    /// Lines match each of the patterns, in any order.
    Meet(&'static [&'static str]),
    /// The text is typed.
    Send(&'static str),
    /// The partition of this name (none: the guest on the bare machine) has reported its checks and all of them hold.
    Tap(&'static str),
    /// Something is done to the running machine's memory.
    Damage(Damage),
    /// An SError comes out of the guest of this core.
    SystemError(u8),
    /// QEMU ends by itself.
    End,
}

/// What the boot loader hands over.
#[derive(Clone, Copy, Debug)]
pub enum Bundle {
    /// The bundle the system makes.
    Whole,
    /// None.
    Missing,
    /// The bundle after something was done to it.
    Changed(fn(&mut Vec<u8>)),
}

/// What changes a board's tree.
pub type ChangeTree = fn(&mut Vec<u8>) -> anyhow::Result<()>;

/// How the machine is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// As a boot loader does, at EL2.
    Usual,
    /// With these arguments more; QEMU lets the later of two settings win.
    With(&'static [&'static str]),
    /// At EL3, where the board has one.
    El3,
    /// With an image that takes the GICv2 for one whose hardware deactivation works.
    BelievingGicv2,
    /// With a listing of what it executes, which is looked through afterwards.
    Listed,
    /// A Raspberry Pi 4 with what a card has on it, which was made of the manifest and read back.
    Card,
    /// A Raspberry Pi 4 with TF-A at EL3.
    TfA,
    /// A Raspberry Pi 4 whose CPU 3 does not come.
    WithoutCpu3,
}

/// Where a test's system comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Written here.
    Text(String),
    /// A manifest of this repository.
    File(&'static str),
    /// No system: this guest of this repository alone, on QEMU virt without the hypervisor.
    Bare(&'static str),
}

/// A test.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, unique.
    pub name: &'static str,
    /// What it is about.
    pub subject: &'static str,
    /// Its system.
    pub origin: Origin,
    /// GIC versions to run it on.
    pub gics: &'static [u8],
    /// CPU models to run it on.
    pub cpus: &'static [&'static str],
    /// Whether to run it on the Raspberry Pi 4 too.
    pub on_pi: bool,
    /// What must happen.
    pub steps: Vec<Step>,
    /// What no line may match.
    pub forbidden: Vec<&'static str>,
    /// How many lines must match a pattern, from the start to the last step.
    pub tallies: Vec<(&'static str, usize)>,
    /// What the boot loader hands over.
    pub bundle: Bundle,
    /// How the machine is started.
    pub entry: Entry,
    /// How long it may take.
    pub patience: Duration,
    /// Whether instructions are the clock.
    pub icount: bool,
    /// What must hold of what each core executed.
    pub claim: Option<Claim>,
    /// Whether guests' instructions are counted too.
    pub counts_guests: bool,
    /// What is done to the tree that firmware hands over.
    pub tree: Option<ChangeTree>,
    /// How many cores the machine has, where it is not the board's usual number.
    pub cores: Option<u64>,
    /// Whether it belongs to the everyday subset.
    pub quick: bool,
    /// Whether it is run for who names it alone: it takes too long for the whole run.
    pub when_named: bool,
    /// vCPUs it has in all: what it costs the host.
    pub vcpus: usize,
}

/// A test called `name` about `subject`, on GICv3 and GICv2, of a system with no partition yet.
pub fn case(name: &'static str, subject: &'static str) -> Case {
    Case {
        name,
        subject,
        origin: Origin::Text("board = \"qemu-virt\"\n".into()),
        gics: &[3, 2],
        cpus: &[USUAL_CPU],
        on_pi: false,
        steps: Vec::new(),
        forbidden: vec![PANIC, FAULT],
        tallies: Vec::new(),
        bundle: Bundle::Whole,
        entry: Entry::Usual,
        patience: PATIENCE,
        icount: false,
        claim: None,
        counts_guests: false,
        tree: None,
        cores: None,
        quick: false,
        when_named: false,
        vcpus: 0,
    }
}

// The table is the users' place: what it does not use today it may tomorrow.
#[allow(dead_code)]
impl Case {
    /// Adds a partition that runs a guest of this repository, or a file.
    pub fn guest(self, name: &str, kernel: &str, cpus: &[u8], memory: &str) -> Self {
        self.partition(name, &format!("\"{kernel}\""), cpus, memory)
    }

    /// Adds a partition with Debian's kernel and the demo's ramdisk.
    pub fn linux(self, name: &str, cpus: &[u8], memory: &str) -> Self {
        self.linux_with(name, cpus, memory, "target/guests/initramfs.cpio")
    }

    /// As [`Case::linux`], with another ramdisk.
    pub fn linux_with(self, name: &str, cpus: &[u8], memory: &str, initrd: &str) -> Self {
        self.partition(
            name,
            "{ debian = \"linux-image-cloud-arm64\" }",
            cpus,
            memory,
        )
        .with(&format!("initrd = \"{initrd}\""))
        .with("bootargs = \"console=ttyAMA0\"")
    }

    /// Adds a partition with Debian's kernel, which speaks from its first lines on and has no ramdisk.
    pub fn early_linux(self, name: &str, cpus: &[u8], memory: &str) -> Self {
        let kernel = "{ debian = \"linux-image-cloud-arm64\" }";
        self.partition(name, kernel, cpus, memory)
            .with("bootargs = \"earlycon=pl011,mmio32,0x9000000 console=ttyAMA0\"")
    }

    /// Adds a partition that runs `file` out of Debian's `package`.
    pub fn packaged(
        self,
        name: &str,
        package: &str,
        file: &str,
        cpus: &[u8],
        memory: &str,
    ) -> Self {
        let kernel = format!("{{ debian = \"{package}\", file = \"{file}\" }}");
        self.partition(name, &kernel, cpus, memory)
    }

    fn partition(mut self, name: &str, kernel: &str, cpus: &[u8], memory: &str) -> Self {
        self.vcpus += cpus.len();
        self.with(&format!(
            "[[partition]]\nname = \"{name}\"\ncpus = {cpus:?}\nmemory = \"{memory}\"\nkernel = {kernel}"
        ))
    }

    /// Adds a line to the manifest: to its last partition, or a table of its own.
    pub fn with(mut self, line: &str) -> Self {
        if let Origin::Text(text) = &mut self.origin {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{line}");
        }
        self
    }

    /// Takes the system from a manifest of this repository, with `vcpus` vCPUs in all.
    pub fn manifest(mut self, path: &'static str, vcpus: usize) -> Self {
        self.origin = Origin::File(path);
        self.vcpus = vcpus;
        self
    }

    /// Runs the guest called `kernel` without the hypervisor, on four CPUs; its report is `tap("")`.
    pub fn bare(mut self, kernel: &'static str) -> Self {
        self.origin = Origin::Bare(kernel);
        self.vcpus = 4;
        self
    }

    /// Runs it on these GICs alone.
    pub fn gics(mut self, gics: &'static [u8]) -> Self {
        self.gics = gics;
        self
    }

    /// Runs it on each of these CPU models.
    pub fn on(mut self, cpus: &'static [&'static str]) -> Self {
        self.cpus = cpus;
        self
    }

    /// Runs it on QEMU's Raspberry Pi 4 too.
    pub fn pi(mut self) -> Self {
        self.on_pi = true;
        self
    }

    /// Does not run it there: it is about QEMU virt.
    pub fn virt_alone(mut self) -> Self {
        self.on_pi = false;
        self
    }

    /// Runs it on QEMU's Raspberry Pi 4 alone.
    pub fn pi_alone(self) -> Self {
        self.gics(&[]).pi()
    }

    /// A line must match `pattern`; an unfinished one counts once it rests, such as a prompt.
    pub fn wait(mut self, pattern: &'static str) -> Self {
        self.steps.push(Step::Wait(pattern));
        self
    }

    /// Then, `times` times: `text` is typed, and a line must match `pattern`.
    pub fn each_time(mut self, times: usize, text: &'static str, pattern: &'static str) -> Self {
        for _ in 0..times {
            self = self.send(text).wait(pattern);
        }
        self
    }

    /// Lines must match each of `patterns`, in any order: who says them do not wait for each other.
    pub fn meet(mut self, patterns: &'static [&'static str]) -> Self {
        self.steps.push(Step::Meet(patterns));
        self
    }

    /// Then `text` is typed.
    pub fn send(mut self, text: &'static str) -> Self {
        self.steps.push(Step::Send(text));
        self
    }

    /// Then `damage` is done to the running machine's memory.
    pub fn damage(mut self, damage: Damage) -> Self {
        self.steps.push(Step::Damage(damage));
        self
    }

    /// The partition called `name` must report checks that all hold.
    pub fn tap(mut self, name: &'static str) -> Self {
        self.steps.push(Step::Tap(name));
        self
    }

    /// Then an SError comes out of the guest of core `cpu`, which often calls.
    pub fn system_error(mut self, cpu: u8) -> Self {
        self.steps.push(Step::SystemError(cpu));
        self
    }

    /// QEMU must end by itself: the board is off, or reset.
    pub fn end(mut self) -> Self {
        self.steps.push(Step::End);
        self
    }

    /// No line may match `pattern`, from the start to the last step.
    pub fn forbid(mut self, pattern: &'static str) -> Self {
        self.forbidden.push(pattern);
        self
    }

    /// Exactly `count` lines must match `pattern`: none lost, none doubled.
    pub fn lines(mut self, pattern: &'static str, count: usize) -> Self {
        self.tallies.push((pattern, count));
        self
    }

    /// A panic is what the test wants to see.
    pub fn allow_panic(mut self) -> Self {
        self.forbidden.retain(|pattern| *pattern != PANIC);
        self
    }

    /// The hypervisor's own failure is what the test wants to see.
    pub fn allow_fault(mut self) -> Self {
        self.forbidden.retain(|pattern| *pattern != FAULT);
        self.allow_panic()
    }

    /// The boot loader hands over something else than the bundle.
    pub fn bundle(mut self, bundle: Bundle) -> Self {
        self.bundle = bundle;
        self
    }

    /// The machine is started otherwise than usual.
    pub fn entry(mut self, entry: Entry) -> Self {
        self.entry = entry;
        self
    }

    /// It may take so many seconds.
    pub fn seconds(mut self, seconds: u64) -> Self {
        self.patience = Duration::from_secs(seconds);
        self
    }

    /// Instructions are the clock.
    pub fn icount(mut self) -> Self {
        self.icount = true;
        self
    }

    /// What each core executes is counted, with instructions as the clock, and `claim` must hold of it.
    pub fn claim(mut self, claim: Claim) -> Self {
        self.claim = Some(claim);
        self.icount()
    }

    /// It is run only for who names it.
    pub fn when_named(mut self) -> Self {
        self.when_named = true;
        self
    }

    /// What guests execute is counted too.
    pub fn with_guests(mut self) -> Self {
        self.counts_guests = true;
        self
    }

    /// Firmware hands over another tree than the machine's: the machine's with a change.
    pub fn tree(mut self, change: ChangeTree) -> Self {
        self.tree = Some(change);
        self
    }

    /// The machine has so many cores; for a board whose emulator leaves that open.
    pub fn cores(mut self, cores: u64) -> Self {
        self.cores = Some(cores);
        self
    }

    /// It belongs to the everyday subset.
    pub fn quick(mut self) -> Self {
        self.quick = true;
        self
    }
}
