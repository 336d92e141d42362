//! The emulator tests. The folder's documentation says how to add one.

use super::case::{Bundle, Case, case};
use super::counts;

/// The CPU models that matter: in-order, out-of-order, and everything QEMU knows.
const EVERY_CPU: &[&str] = &["cortex-a53", "cortex-a72", "max"];

/// Every emulator test.
pub fn cases() -> Vec<Case> {
    let mut cases = systems();
    cases.extend(guests());
    cases.extend(neighbours());
    cases.extend(boot());
    cases.extend(counted());
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
        // No Debian kernel has uio_pdrv_genirq; /dev/mem reaches the same memory and doorbell, but no interrupt.
        case("linux-channel", "systems")
            .pi()
            .linux("linux", &[0, 1], "256M")
            .guest("peer", "conformance", &[2], "4M")
            .with("bootargs = \"role=peer\"")
            .with("[[channel]]\nname = \"talk\"\nbetween = [\"linux\", \"peer\"]\nsize = \"8K\"\nrw = \"both\"")
            .with("[[channel]]\nname = \"hear\"\nbetween = [\"peer\", \"linux\"]\nsize = \"4K\"")
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
        beside("spin", "spin"),
        beside("fault-loop", "fault-loop"),
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
    ]
}

/// What the hypervisor costs, counted core by core.
fn counted() -> Vec<Case> {
    vec![
        // The loop that floods is Linux's; its console is the slowest thing there is.
        case("control-is-left-alone", "counted")
            .linux("linux", &[0, 1], "256M")
            .guest("control", "control-loop", &[2], "4M")
            .with("bootargs = \"report=0\"")
            .wait(r"^\[linux\] bulkhead: shell ready")
            .send("n=0; while [ $n -lt 300 ]; do echo flood $n; n=$((n + 1)); done; echo flood over\n")
            .wait(r"^\[linux\] flood over")
            .seconds(400)
            .claim(counts::control_is_left_alone),
        case("budgets", "counted")
            .guest("bench", "bench", &[0, 1], "4M")
            .wait(r"^\[bench\] bench: done")
            .claim(counts::budgets_are_kept),
        case("linux-exits-seldom", "counted")
            .linux("linux", &[0, 1], "256M")
            .wait(r"^\[linux\] bulkhead: shell ready")
            .seconds(400)
            .claim(counts::linux_exits_seldom),
    ]
}

/// What the Raspberry Pi 4 alone has.
fn pi() -> Vec<Case> {
    vec![
        case("demo", "systems")
            .manifest("platform/rpi4/demo.toml", 4)
            .pi_alone()
            .wait(r"^\[control\] control: sensor at .* [1-9]\d* doorbells")
            .wait(r"^\[linux\] bulkhead: shell ready")
            .wait(r"^\[linux\] # $")
            .send("echo $((6 * 7)) is the answer\n")
            .wait(r"^\[linux\] 42 is the answer")
            .wait(r"^\[control\] ")
            .quick(),
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
        refused("payload-damaged")
            .bundle(Bundle::Changed(|bundle| flip(bundle, b"lateness")))
            .wait("(?i)sha-?256|digest|damaged"),
    ]
}

/// Damages the byte behind the first `mark`.
fn flip(bundle: &mut [u8], mark: &[u8]) {
    let found = bundle.windows(mark.len()).position(|window| window == mark);
    if let Some(byte) = found.and_then(|at| bundle.get_mut(at + mark.len())) {
        *byte ^= 0xff;
    }
}
