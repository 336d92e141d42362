//! Each cause of a crash (hypercalls.md sections 3 and 5; `behaviour::crash::Cause`), by a guest that does it.
//!
//! | cause | case | how | policy |
//! |---|---|---|---|
//! | exception loop | `crash-fetch` | vectors where nothing is: each fetch comes to EL2 | restart |
//! | | `crash-stack` | a stack where nothing is: a store of the vector comes to EL2 | notify |
//! | | `crash-undefined` | the vector's first instruction is one that EL2 makes UNDEFINED | stop |
//! | | `crash-silent` | vectors that may not be executed: nothing comes to EL2 | restart |
//! | missed heartbeat | `crash-heartbeat` | it asks for one and never comes back | restart |
//! | SError | `crash-serror` | see `serror` | restart |
//! | damaged payload | `crash-load` | its kernel has another byte than was signed | stays down |
//! | EL2's own failure | `crash-hypervisor` | the monitor asks for a panic on its core | stays down for good |
//!
//! Beside it a partition that observes goes on taking its timer's interrupts and reads the record through CRASH_RECORD;
//! the words are the log's.

use super::case::{Bundle, Case, case};
use super::table::flip;

/// The one beside it does not notice.
const GOES_ON: &str = r"^\[t\] observer: 20 more interrupts$";

/// A partition `bad` that runs `kernel` with `lines` more in its manifest, beside one that observes.
fn crash(name: &'static str, kernel: &str, lines: &str) -> Case {
    case(name, "lifecycle")
        .pi()
        // The monitor may make EL2 fail.
        .with("selftest = true")
        .guest("bad", kernel, &[1], "8M")
        .with(lines)
        .guest("t", "guest-tests", &[0], "8M")
        .with("bootargs = \"role=observer of=0\"\ncapabilities = [\"observe\"]")
        .forbid("observer: (LOST|DENIED)")
}

fn role(name: &'static str, role: &str, policy: &str) -> Case {
    let lines = format!("bootargs = \"role={role}\"\non_crash = {policy}");
    crash(name, "guest-tests", &lines)
}

/// Once more, and no further.
const ONCE: &str = "{ restart = 1 }";

/// Every cause.
pub fn cases() -> Vec<Case> {
    vec![
        role("crash-fetch", "fault-exit", ONCE)
            .meet(&[
                r"partition bad: crashed; starts again$",
                r"partition bad: exception loop, its vector faults on itself: instruction abort, translation fault level \d, fetch from 0x0f80_0200, which is no memory of this partition; pc 0x0f80_0200$",
                r"^\[t\] observer: cause 1, vCPU 0, start 1, [1-8] exits$",
                r"^\[t\] observer: class 0x20, pc 0xf800200, from vbar 0x200, pstate 0x\w*5$",
                r"^\[t\] observer: far 0xf800200, ipa 0xf800200$",
            ])
            .meet(&[
                r"partition bad: crashed; stays down$",
                r"^\[t\] observer: cause 1, vCPU 0, start 2, ",
                GOES_ON,
            ])
            .quick(),
        role("crash-stack", "fault-stack", "\"notify\"")
            .with("[[channel]]\nname = \"end\"\nbetween = [\"bad\", \"t\"]\nsize = \"4K\"")
            .meet(&[
                r"partition bad: crashed; stays down$",
                r"partition bad: exception loop, its vector faults on itself: data abort, translation fault level \d, write to 0x0f8\w_\w{4}, which is no memory of this partition; pc 0x40\w{2}_\w{4}$",
                r"^\[t\] observer: cause 1, vCPU 0, start 1, ",
                r"^\[t\] observer: class 0x24, pc 0x40\w{6}, from vbar 0x204, ",
                r"^\[t\] observer: the doorbell rings$",
                GOES_ON,
            ]),
        role("crash-undefined", "fault-undefined", "\"stop\"")
            .meet(&[
                r"partition bad: crashed; stays down$",
                r"partition bad: exception loop, its vector faults on itself: SMC; pc 0x40\w{2}_\w{4}$",
                r"^\[t\] observer: cause 1, vCPU 0, start 1, ",
                r"^\[t\] observer: class 0x17, pc 0x40\w{6}, from vbar 0x200, ",
                GOES_ON,
            ]),
        // Found by its silence, after a while.
        role("crash-silent", "fault-loop", ONCE)
            .meet(&[
                r"partition bad: crashed; starts again$",
                r"partition bad: exception loop, its vector faults on itself: instruction abort, permission fault level \d, fetch from virtual address 0x0f80_0200; pc 0x0f80_0200$",
                r"^\[t\] observer: cause 1, vCPU 0, start 1, ",
                r"^\[t\] observer: class 0x21, pc 0xf800200, from vbar 0x200, ",
            ])
            .meet(&[
                r"partition bad: crashed; stays down$",
                r"^\[t\] observer: cause 1, vCPU 0, start 2, ",
                GOES_ON,
            ]),
        crash(
            "crash-heartbeat",
            "guest-tests",
            &format!("bootargs = \"role=fault-silent heartbeat=200\"\nheartbeat = \"1s\"\non_crash = {ONCE}"),
        )
            .meet(&[
                r"partition bad: missed its heartbeat; starts again$",
                r"partition bad: missed its heartbeat; pc 0x40\w{2}_\w{4}$",
                r"^\[t\] observer: cause 2, vCPU 0, start 1, ",
                r"^\[t\] observer: class 0x0, pc 0x40\w{6}, ",
            ])
            .meet(&[
                r"partition bad: missed its heartbeat; stays down$",
                r"^\[t\] observer: cause 2, vCPU 0, start 2, ",
                GOES_ON,
            ]),
        role("crash-serror", "calls", ONCE)
            .wait(r"^\[bad\] # role calls")
            .system_error(1)
            .meet(&[
                r"partition bad: crashed; starts again$",
                r"partition bad: SError, a RAM error or an access that failed late: ESR 0xbe000011; pc 0x40\w{2}_\w{4}$",
                r"^\[t\] observer: cause 3, vCPU 0, start 1, [1-8] exits$",
                r"^\[t\] observer: class 0x2f, pc 0x40\w{6}, ",
                r"^\[bad\] # role calls",
                GOES_ON,
            ]),
        crash("crash-load", "control-loop", &format!("on_crash = {ONCE}"))
            .bundle(Bundle::Changed(|bundle| flip(bundle, b"lateness")))
            .meet(&[
                r"partition bad: not started: .* SHA-256",
                r"^\[t\] observer: cause 4, vCPU 0, start 0, 0 exits$",
                GOES_ON,
            ])
            .send("\x1dcrashes bad\n")
            .wait(r"^\[monitor\] not loaded: a payload is damaged"),
        role("crash-hypervisor", "spin", ONCE)
            .allow_fault()
            .wait(r"^\[bad\] # role spin")
            .send("\x1dfault panic@bad\n")
            .meet(&[
                r"core 1: PANIC src/program/fault.rs:\d+: asked to",
                r"^\[t\] observer: cause 5, vCPU 0, start 1, ",
                GOES_ON,
            ])
            .send("list\n")
            .wait(r"^\[monitor\] 0  bad +crashed .* 1 +1 crashed$"),
        // It fails with every lock others may want: those of its partition give themselves up, everybody else goes on.
        case("dies-with-locks", "lifecycle")
            .pi()
            .with("selftest = true")
            .guest("bad", "guest-tests", &[1, 2], "8M")
            .with("bootargs = \"role=spin\"")
            .guest("t", "guest-tests", &[0], "8M")
            .with("bootargs = \"role=observer of=0\"\ncapabilities = [\"observe\"]")
            .with("[[channel]]\nname = \"end\"\nbetween = [\"bad\", \"t\"]\nsize = \"4K\"")
            .forbid("observer: (LOST|DENIED)")
            .allow_fault()
            .meet(&[r"^\[bad\] # role spin", r"observer: 50 interrupts"])
            .send("\x1dfault locked@bad\n")
            .wait(r"core 1: PANIC src/program/system.rs:\d+: asked to, with locks")
            .meet(&[
                r"core 2: given up: it waits for another of its partition",
                r"observer: \w*[1-9]\w*00 interrupts",
            ])
            .send("list\n")
            .wait(r"^\[monitor\] 0  bad +crashed")
            .send("restart t\n")
            .wait(r"^\[bulkhead\] partition t: start 2$")
            .wait(r"observer: 100 interrupts"),
    ]
}
