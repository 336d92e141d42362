//! The emulator tests. The folder's documentation says how to add one.

use bulkhead::model::bundle::digest;

use super::case::{Bundle, Case, Entry, case};
use super::{counted, crashes, hostile, lives, trees};

/// The CPU models that matter: in-order, out-of-order, and everything QEMU knows.
pub const EVERY_CPU: &[&str] = &["cortex-a53", "cortex-a72", "max"];

/// The channels of a Linux and the conformance suite's peer.
const TALK: &str =
    "[[channel]]\nname = \"talk\"\nbetween = [\"linux\", \"peer\"]\nsize = \"8K\"\nrw = \"both\"";
const HEAR: &str = "[[channel]]\nname = \"hear\"\nbetween = [\"peer\", \"linux\"]\nsize = \"4K\"";

/// The devices of QEMU virt that can be handed over and interrupt by themselves.
const GPIO_AND_CLOCK: &str = "devices = [\"/pl061@9030000\", \"/pl031@9010000\"]";

/// A line of Linux, as soon as it knows its machine.
pub const LINUX_SPEAKS: &str = r"^\[linux\] .*Booting Linux on physical CPU";

/// U-Boot for a virtual machine, in Debian's u-boot-qemu.
pub const UBOOT: &str = "usr/lib/u-boot/qemu_arm64/u-boot.bin";

/// Every emulator test.
pub fn cases() -> Vec<Case> {
    let mut cases = systems();
    cases.extend(guests());
    cases.extend(neighbours());
    cases.extend(lives::cases());
    cases.extend(crashes::cases());
    cases.extend(boot());
    cases.extend(forged());
    cases.extend(trees::cases());
    cases.extend(hostile::cases(&hostile::Plan::default()));
    cases.extend(counted::cases());
    cases.extend(conformance());
    cases.extend(pi());
    cases
}

/// The guest ABI, rule by rule (`guests/conformance`); what Arm's standards say of it also on the bare machine.
fn conformance() -> Vec<Case> {
    const ALL: &str = "platform/qemu-virt/conformance.toml";
    const SUBJECT: &str = "conformance";
    vec![
        case("suite", SUBJECT)
            .manifest(ALL, 4)
            .on(&["cortex-a72", "max"])
            .pi()
            .tap("suite")
            .quick(),
        // With no capability, no channel, no heartbeat and one CPU: what is denied.
        case("denied", SUBJECT)
            .guest("suite", "conformance", &[0], "8M")
            .guest("other", "control-loop", &[1], "4M")
            .pi()
            .tap("suite"),
        // Channels, and no other right over their peer.
        case("peer", SUBJECT)
            .pi()
            .guest("suite", "conformance", &[0], "8M")
            .with("bootargs = \"tests=channel,partition\"")
            .guest("peer", "conformance", &[1], "4M")
            .with("bootargs = \"role=peer\"")
            .with("[[channel]]\nname = \"talk\"\nbetween = [\"suite\", \"peer\"]\nsize = \"8K\"\nrw = \"both\"")
            .with("[[channel]]\nname = \"hear\"\nbetween = [\"peer\", \"suite\"]\nsize = \"4K\"")
            .tap("suite"),
        case("bare", SUBJECT).bare("conformance").tap(""),
    ]
}

/// Whole systems, as users run them.
fn systems() -> Vec<Case> {
    vec![
        case("demo", "systems")
            .manifest("platform/qemu-virt/demo.toml", 4)
            .wait(r"^\[control\] control: sensor at .* [1-9]\d* doorbells")
            .wait(r"^\[linux\] bulkhead: shell ready")
            .wait(r"^\[linux\] # $")
            .send("echo $((6 * 7)) is the answer\n")
            .wait(r"^\[linux\] 42 is the answer")
            .wait(r"^\[control\] ")
            .quick(),
        case("linux", "systems")
            .linux("linux", &[0, 1], "256M")
            .on(EVERY_CPU)
            .pi()
            .wait(r"^\[linux\] bulkhead: shell ready"),
        case("linux-reboot", "systems")
            .pi()
            .linux("linux", &[0, 1], "256M")
            .wait(r"^\[linux\] bulkhead: shell ready")
            .send("reboot -f\n")
            .wait(r"partition linux: asked for a reset")
            .wait(r"^\[linux\] bulkhead: shell ready")
            .send("poweroff -f\n")
            .wait(r"partition linux: switched itself off")
            .end(),
        // Debian's kernel, Debian's UIO (uio_pdrv_genirq built from Debian's source), a program without a driver of ours.
        case("linux-uio", "systems")
            .linux_with("linux", &[0, 1], "256M", "target/guests/uio.cpio")
            .guest("peer", "conformance", &[2], "4M")
            .with("bootargs = \"role=peer\"")
            .with(TALK)
            .with(HEAR)
            .wait(r"^\[linux\] bulkhead: shell ready")
            .wait(r"^\[linux\] # $")
            .send("insmod /lib/uio.ko; insmod /lib/uio_pdrv_genirq.ko of_id=generic-uio; linux-uio\n")
            .wait(r"^\[linux\] uio: 1000 rings, 1000 interrupts")
            .wait(r"^\[linux\] uio: the peer's word is there"),
        // Without any module: /dev/mem reaches memory and doorbell, but no interrupt.
        case("linux-channel", "systems")
            .pi()
            .linux("linux", &[0, 1], "256M")
            .guest("peer", "conformance", &[2], "4M")
            .with("bootargs = \"role=peer\"")
            .with(TALK)
            .with(HEAR)
            .wait(r"^\[linux\] bulkhead: shell ready")
            .wait(r"^\[linux\] # $")
            .send("cat /proc/device-tree/channel@a100000/label; echo\n")
            .wait(r"talk")
            // The peer's protocol (guests/conformance/src/peer.rs): write 0x1234abcd where Linux only reads.
            .send("poke() { devmem $((0xa100000 + $1)) 64 $2; }; poke 8 3; poke 16 0x1234abcd; poke 0 1\n")
            .send("devmem 0xa102000 32 1; while [ $(devmem 0xa100040 64) != 0x0000000000000001 ]; do :; done\n")
            .send("echo peer wrote $(devmem 0xa103000 64)\n")
            .wait(r"^\[linux\] peer wrote 0x000000001234ABCD")
            .send("devmem 0xa103000 64 5 || echo refused, and still $(devmem 0xa103000 64)\n")
            .wait(r"^\[linux\] refused, and still 0x000000001234ABCD"),
        case("linux-devices", "systems")
            .linux("linux", &[0, 1], "256M")
            .with(GPIO_AND_CLOCK)
            .wait(r"^\[linux\] .*rtc-pl031 9010000.pl031: registered as rtc0")
            .wait(r"^\[linux\] bulkhead: shell ready")
            .wait(r"^\[linux\] # $")
            .send("echo +2 > /sys/class/rtc/rtc0/wakealarm; test -c /dev/gpiochip0 && echo a GPIO is there\n")
            .wait(r"^\[linux\] a GPIO is there")
            .send("until grep -q ' [1-9][0-9]* .*rtc-pl031' /proc/interrupts; do sleep 1; done; echo alarm\n")
            .wait(r"^\[linux\] alarm"),
        // The boot loader, unmodified: it reads its settings from a flash that holds nothing, and then its console.
        case("u-boot", "systems")
            .packaged("u-boot", "u-boot-qemu", UBOOT, &[0], "128M")
            .with("dtb = 0x4000_0000")
            .wait("Hit any key to stop autoboot")
            .send("\n")
            .wait(r"^\[u-boot\] => $")
            .send("md.l 04000000 1; version\n")
            .wait(r"^\[u-boot\] 04000000: 00000000")
            .wait(r"^\[u-boot\] U-Boot 20"),
        case("two-linux", "systems")
            .linux("one", &[0], "128M")
            .linux("two", &[1], "128M")
            .wait("bulkhead: shell ready")
            .wait("bulkhead: shell ready"),
    ]
}

/// What a partition sees of its machine, tested from inside (`guests/tests`).
fn guests() -> Vec<Case> {
    let tests = |name, cpus: &[u8]| {
        case(name, "guest")
            .guest("t", "guest-tests", cpus, "8M")
            .pi()
            .tap("t")
            // Written without polling; the guest cannot know what arrived.
            .lines(r"^\[t\] N\d{5} [a-z]{56}$", 1600)
    };
    vec![
        tests("two-cpus", &[0, 1]).on(EVERY_CPU).quick(),
        tests("one-cpu", &[3]),
        tests("four-cpus", &[0, 1, 2, 3]),
        // vCPU numbers are the partition's own, whichever CPUs it has.
        tests("crossed-cpus", &[3, 1]),
        // A GIC with fewer list registers than QEMU's four: one, two.
        tests("one-list-register", &[0, 1])
            .entry(Entry::With(&["-append", "bulkhead.list-registers=1"])),
        tests("two-list-registers", &[0, 1])
            .gics(&[3])
            .virt_alone()
            .entry(Entry::With(&["-append", "bulkhead.list-registers=2"])),
        case("devices", "guest")
            .guest("t", "guest-tests", &[1, 2], "8M")
            .with(GPIO_AND_CLOCK)
            .with("bootargs = \"tests=devices\"")
            .on(EVERY_CPU)
            .seconds(240)
            .tap("t"),
        case("devices-dma", "guest")
            .guest("t", "guest-tests", &[1], "8M")
            .with("devices = [\"/fw-cfg@9020000\"]")
            .with("dma = \"unconfined\"")
            .with("bootargs = \"tests=dma\"")
            .tap("t"),
        case("devices-one-cpu", "guest")
            .guest("t", "guest-tests", &[3], "8M")
            .with(GPIO_AND_CLOCK)
            .with("bootargs = \"tests=devices\"")
            .tap("t"),
    ]
}

/// What a partition notices of a neighbour that misbehaves: nothing.
fn neighbours() -> Vec<Case> {
    let board_end = |name, action: &str, said| {
        case(name, "neighbour")
            .guest("manager", "guest-tests", &[0], "8M")
            .with(&format!("bootargs = \"role=board {action}\""))
            .with("capabilities = [\"manage:other\"]")
            .guest("other", "control-loop", &[2], "4M")
            .pi()
            .wait(said)
            .end()
    };
    let beside = |name, role: &str| {
        case(name, "neighbour")
            .guest("bad", "guest-tests", &[1], "8M")
            .with(&format!("bootargs = \"role={role}\""))
            .guest("t", "guest-tests", &[0], "8M")
            .pi()
            .tap("t")
    };
    vec![
        beside("flood", "flood"),
        beside("aborts", "fault-data"),
        // It is busy with everything masked, and no less healthy for it.
        beside("spin", "spin").forbid("partition bad:"),
        // It never comes to EL2 by itself.
        case("fault-loop", "neighbour")
            .pi()
            .guest("bad", "guest-tests", &[1], "8M")
            .with("bootargs = \"role=fault-loop\"")
            .guest("t", "guest-tests", &[0], "8M")
            .wait(r"partition bad: crashed; stays down")
            .wait(
                r"partition bad: exception loop, its vector faults on itself: .*; pc 0x0f80_0200$",
            )
            .tap("t"),
        beside("panic", "panic").allow_panic(),
        beside("off", "off"),
        // The board's end, by PSCI and by the Pi's watchdog.
        board_end("board-off", "action=1", "asks: board off"),
        board_end("board-reset", "action=2", "asks: board reset"),
        // Its second CPU leaves an interrupt active each time.
        case("resets", "neighbour")
            .guest("bad", "guest-tests", &[1, 2], "8M")
            .with("bootargs = \"role=reset starts=20\"")
            .pi()
            .guest("t", "guest-tests", &[0], "8M")
            .forbid("not as after a reset")
            .wait(r"^\[bad\] role: done")
            .tap("t"),
        // A device's interrupt comes while its partition is off.
        case("device-off", "neighbour")
            .guest("dev", "guest-tests", &[1], "8M")
            .with("bootargs = \"role=device-off\"")
            .with("devices = [\"/pl031@9010000\"]")
            .guest("t", "guest-tests", &[0], "8M")
            .with("bootargs = \"tests=off\"")
            .with("capabilities = [\"manage:dev\", \"observe\"]")
            .wait(r"^\[dev\] role: alarm set")
            .tap("t")
            .wait(r"^\[dev\] role: the alarm has gone off: true")
            .wait(r"^\[dev\] role: it interrupts nobody: true")
            .wait(r"^\[dev\] role: until it is enabled: true"),
        // A device's interrupt is pending in one life and active in the next.
        case("device-restarts", "neighbour")
            .guest("bad", "guest-tests", &[1], "8M")
            .with("bootargs = \"role=device-restart starts=20\"")
            .with("devices = [\"/pl061@9030000\"]")
            .guest("t", "control-loop", &[0], "4M")
            .wait(r"^\[bad\] role: done"),
    ]
}

/// What the Raspberry Pi 4 alone has.
fn pi() -> Vec<Case> {
    vec![
        // The console is the mini UART; the other PL011s of this one's page and interrupt are disabled.
        case("devices", "guest")
            .guest("t", "guest-tests", &[1], "8M")
            .with("devices = [\"/soc/serial@7e201000\"]")
            .with("bootargs = \"tests=serial\"")
            .pi_alone()
            .tap("t"),
        case("demo", "systems")
            .manifest("platform/rpi4/demo.toml", 4)
            .pi_alone()
            .wait(r"^\[control\] control: sensor at .* [1-9]\d* doorbells")
            .wait(r"^\[linux\] bulkhead: shell ready")
            .wait(r"^\[linux\] # $")
            .send("echo $((6 * 7)) is the answer\n")
            .wait(r"^\[linux\] 42 is the answer")
            .wait(r"^\[control\] "),
        // The image of a card is made, read back by tools that did not write it, and what they read is booted.
        case("card", "boot")
            .manifest("platform/rpi4/demo.toml", 4)
            .pi_alone()
            .entry(Entry::Card)
            .wait(r"^\[control\] control: sensor at .* [1-9]\d* doorbells")
            .wait(r"^\[linux\] .*Booting Linux"),
        // PSCI below: cores are started and the board is switched off by it, since the tree says so.
        case("tf-a", "boot")
            .guest("t", "guest-tests", &[1, 3], "8M")
            .with("bootargs = \"tests=boot,smccc,psci,timer,uart\"")
            .pi_alone()
            .entry(Entry::TfA)
            .tap("t")
            .wait("board off")
            .end(),
        case("cpu-missing", "boot")
            .with("selftest = true")
            .guest("t", "control-loop", &[0], "4M")
            .pi_alone()
            .entry(Entry::WithoutCpu3)
            .forbid(r"^\[t\]")
            .wait("self-test: core 2: ok")
            .wait("self-test: core 3: FAILED: it did not come")
            .wait("refused: the self-test failed")
            .end(),
    ]
}

/// What the hypervisor refuses to boot.
fn boot() -> Vec<Case> {
    let refused = |name| {
        case(name, "boot")
            .guest("control", "control-loop", &[0], "4M")
            .pi()
    };
    vec![
        refused("bundle-missing")
            .bundle(Bundle::Missing)
            .wait("(?i)no bundle")
            .quick(),
        refused("bundle-damaged")
            .bundle(Bundle::Changed(|bundle| flip(bundle, b"contro")))
            .wait("(?i)bundle, .*digest")
            .quick(),
        refused("bundle-no-tree")
            .bundle(Bundle::Changed(|bundle| bundle.truncate(64)))
            .wait("(?i)bundle"),
        refused("before-the-mmu")
            .entry(Entry::Listed)
            .wait(r"^\[control\] control: 1000 Hz"),
        case("selftest", "boot")
            .with("selftest = true")
            .guest("one", "control-loop", &[2], "4M")
            .guest("two", "control-loop", &[0], "64M")
            .pi()
            .forbid("FAILED")
            .wait("self-test: interrupt controller: ok: GICv[23], [1-9][0-9]* list registers")
            .wait("self-test: core 0: ok: counter, EL2 timer, virtual timer, physical timer, list registers, interrupt")
            .wait("self-test: core 3: ok: ")
            .wait("self-test: partition one: ok: stage 2, 4096 KiB of RAM")
            .wait("self-test: partition two: ok: stage 2, 65536 KiB of RAM")
            .wait("self-test: passed")
            .wait(r"^\[one\] control: \d+ ticks")
            .quick(),
        refused("payload-damaged")
            .bundle(Bundle::Changed(|bundle| flip(bundle, b"lateness")))
            .wait("(?i)sha-?256|digest|damaged"),
        // What a kernel says of itself is damaged: still its own partition's trouble alone.
        case("kernel-header-damaged", "boot")
            .pi()
            .linux("linux", &[1], "128M")
            .guest("control", "control-loop", &[0], "4M")
            .bundle(Bundle::Changed(|bundle| flip(bundle, b"\0\0\0\0AR")))
            .wait("partition linux: not started: the kernel does not match its SHA-256")
            .wait(r"^\[control\] control: \d+ ticks"),
        case("cpus-lacking", "boot")
            .guest("control", "control-loop", &[3], "4M")
            .entry(Entry::With(&["-smp", "2"]))
            .wait("the bundle does not fit this board: partition control: CPU 3 does not exist"),
        case("memory-lacking", "boot")
            .guest("control", "control-loop", &[0], "900M")
            .entry(Entry::With(&["-m", "512"]))
            .wait("control.*900 MiB"),
        refused("entered-at-el1")
            .virt_alone()
            .entry(Entry::With(&["-machine", "virtualization=off"]))
            .wait("entered at EL1, but it needs EL2"),
        refused("entered-at-el3")
            .virt_alone()
            .entry(Entry::El3)
            .wait("entered at EL3, but it needs EL2"),
    ]
}

/// Bundles that no checker let through: their plan has its digest, and asks for devices that cannot be had.
fn forged() -> Vec<Case> {
    let pair = |name| {
        case(name, "boot")
            .guest("one", "control-loop", &[0], "4M")
            .with("devices = [\"/pl061@9030000\"]")
            .guest("two", "control-loop", &[1], "4M")
            .with("devices = [\"/pl031@9010000\"]")
    };
    vec![
        pair("device-twice")
            .bundle(Bundle::Changed(|bundle| {
                forge(bundle, b"/pl031@9010000", b"/pl061@9030000")
            }))
            .wait("device /pl061@9030000 for partition 1: it is partition 0's too"),
        pair("device-of-the-hypervisor")
            .bundle(Bundle::Changed(|bundle| {
                forge(bundle, b"/pl031@9010000", b"/pl011@9000000")
            }))
            .wait("device /pl011@9000000 for partition 1: the hypervisor needs it itself"),
        case("device-with-dma", "boot")
            .guest("one", "control-loop", &[0], "4M")
            .with("devices = [\"/fw-cfg@9020000\"]")
            .with("dma = \"unconfined\"")
            .bundle(Bundle::Changed(|bundle| {
                forge(bundle, b"dma-unconfined", b"dma-unconfine_")
            }))
            .wait("device /fw-cfg@9020000 for partition 0: it may write memory by itself"),
    ]
}

/// Replaces the first `from` in a bundle's plan by `to`, of the same length, and gives the plan its digest again.
fn forge(bundle: &mut [u8], from: &[u8], to: &[u8]) {
    let find = |bundle: &[u8], what: &[u8]| {
        let found = bundle.windows(what.len()).position(|window| window == what);
        found.expect("the bundle has it")
    };
    let old = digest(bundle).expect("a bundle");
    let seal = find(bundle, &old);
    let at = find(bundle, from);
    bundle[at..at + to.len()].copy_from_slice(to);
    let new = digest(bundle).expect("a bundle still");
    bundle[seal..seal + new.len()].copy_from_slice(&new);
}

/// Damages the byte behind the first `mark`.
pub fn flip(bundle: &mut [u8], mark: &[u8]) {
    let found = bundle.windows(mark.len()).position(|window| window == mark);
    if let Some(byte) = found.and_then(|at| bundle.get_mut(at + mark.len())) {
        *byte ^= 0xff;
    }
}
