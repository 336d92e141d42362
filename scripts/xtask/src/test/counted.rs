//! What the hypervisor costs, counted core by core.

use super::case::{Case, Entry, case};
use super::table::LINUX_SPEAKS;
use super::{counts, storms};

/// The cases.
pub fn cases() -> Vec<Case> {
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
        // Neither does it notice that the others die and start again.
        case("control-beside-restarts", "counted")
            .guest("bad", "guest-tests", &[0, 1], "8M")
            .with("bootargs = \"role=reset starts=100\"")
            .guest("control", "control-loop", &[2], "4M")
            .with("bootargs = \"report=0\"")
            .wait(r"^\[bad\] role: done")
            .forbid("not as after a reset")
            .seconds(400)
            .claim(counts::control_is_left_alone),
        beside_linux("control-beside-linux-restarts", 10),
        // Two seconds each on a quiet machine, most of them for the kernel's SHA-256.
        beside_linux("control-beside-100-linux-restarts", 100).when_named(),
        benchmark("/pl061@9030000"),
        benchmark("/soc/serial@7e201000").pi_alone(),
        // As on a GICv2 that deactivates by hardware. QEMU's would lose an interrupt whose line is high again at its end,
        // which the benchmark's are not.
        Case {
            name: "budgets-by-hardware",
            ..benchmark("/pl061@9030000")
        }
        .gics(&[2])
        .entry(Entry::BelievingGicv2)
        .claim(counts::hardware_ends_interrupts),
        // One partition with one vCPU, as the peers were measured.
        case("boot", "bench")
            .guest("bench", "bench", &[0], "8M")
            .with("bootargs = \"rows=0\"")
            .wait(r"^\[bench\] bench: done")
            .pi()
            .claim(counts::boot_is_short),
        case("linux-exits-seldom", "counted")
            .linux("linux", &[0, 1], "256M")
            .wait(r"^\[linux\] bulkhead: shell ready")
            .seconds(400)
            .claim(counts::linux_exits_seldom)
            .with_guests(),
        // CPU 3's partition is there to be rung.
        case("control-beside-storms", "counted")
            .guest("storm", "storm", &[0, 1], "8M")
            .guest("control", "control-loop", &[2], "4M")
            .with("bootargs = \"report=0\"")
            .guest("other", "bench", &[3], "4M")
            .with("bootargs = \"role=peer\"")
            .with("[[channel]]\nname = \"control\"\nbetween = [\"storm\", \"control\"]\nsize = \"4K\"")
            .with("[[channel]]\nname = \"other\"\nbetween = [\"storm\", \"other\"]\nsize = \"4K\"\nrw = \"both\"")
            .wait(r"^\[storm\] storm: done")
            .seconds(400)
            .claim(storms::stay_bounded),
    ]
}

/// The benchmark, with a device that interrupts.
fn benchmark(device: &str) -> Case {
    case("budgets", "counted")
        .guest("bench", "bench", &[0, 1], "4M")
        .with("heartbeat = \"60s\"")
        .with("capabilities = [\"manage:peer\"]")
        .with(&format!("devices = [\"{device}\"]"))
        .guest("peer", "bench", &[2], "4M")
        .with("bootargs = \"role=peer\"")
        .with("[[channel]]\nname = \"talk\"\nbetween = [\"bench\", \"peer\"]\nsize = \"8K\"\nrw = \"both\"")
        .wait(r"^\[bench\] bench: done")
        .claim(counts::budgets_are_kept)
}

/// The control loop beside an unmodified Linux that is restarted so often. Each life ends as soon as its kernel speaks.
fn beside_linux(name: &'static str, restarts: usize) -> Case {
    case(name, "counted")
        .guest("control", "control-loop", &[2], "4M")
        .with("bootargs = \"report=0\"")
        .early_linux("linux", &[0, 1], "64M")
        .wait(LINUX_SPEAKS)
        .send("\x1d")
        .each_time(restarts, "restart linux\n", LINUX_SPEAKS)
        .lines(r"^\[bulkhead\] partition linux: start \d+$", restarts)
        .seconds(1500)
        .claim(counts::control_is_left_alone)
}
