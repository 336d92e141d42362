//! The rows of the benchmark: what each may take, what is held of it, and what the best peer needs.
//!
//! Targets and peers are those of performance.md. A row that does not meet its target yet is held where it is: `held` may
//! only ever be lowered, until it is the target.

use super::figures::Figures;

/// The row of everything before the first instruction of a guest.
pub const BOOT: u64 = 49;

/// Instructions, and whose.
pub type Peer = (u64, &'static str);

/// A row of `guests/bench`: all figures are instructions at EL2, on all cores together.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The id of its windows.
    pub id: u64,
    /// Its name in the guest.
    pub name: &'static str,
    /// The target, on a GICv3 and on a GICv2.
    target: Option<[u64; 2]>,
    /// What it may take today, on a GICv3 and on QEMU's GICv2; 0 where it is not measured.
    held: [u64; 2],
    /// Whether work on much memory (copy, hash, zero, clean) is left out.
    pub is_apart: bool,
    /// Whether other cores have a part in it. Else a core that has no exit in a window does something of its own there, such
    /// as the console.
    pub is_shared: bool,
    /// The best peer's, and its name, on a GICv3 and on a GICv2.
    peer: Option<[Peer; 2]>,
}

const fn row(id: u64, name: &'static str, held: [u64; 2]) -> Row {
    Row {
        id,
        name,
        target: None,
        held,
        is_apart: false,
        is_shared: false,
        peer: None,
    }
}

impl Row {
    const fn target(self, gicv3: u64, gicv2: u64) -> Self {
        Self {
            target: Some([gicv3, gicv2]),
            ..self
        }
    }

    const fn apart(self) -> Self {
        Self {
            is_apart: true,
            ..self
        }
    }

    const fn shared(self) -> Self {
        Self {
            is_shared: true,
            ..self
        }
    }

    const fn peer(self, instructions: u64, name: &'static str) -> Self {
        Self {
            peer: Some([(instructions, name); 2]),
            ..self
        }
    }

    /// The best peer's on a GICv2 is another.
    const fn gicv2(self, instructions: u64, name: &'static str) -> Self {
        let peer = match self.peer {
            Some([gicv3, _]) => Some([gicv3, (instructions, name)]),
            None => None,
        };
        Self { peer, ..self }
    }

    /// The best peer's.
    pub fn peer_on(&self, gic: u8) -> Option<Peer> {
        self.peer.map(|peer| peer[usize::from(gic == 2)])
    }

    /// What it may take at most one day.
    pub fn goal(&self, gic: u8) -> Option<u64> {
        self.target.map(|target| target[usize::from(gic == 2)])
    }

    /// What it may take at most today; 0 where it is not measured.
    pub fn held(&self, gic: u8) -> u64 {
        self.held[usize::from(gic == 2)]
    }

    /// At most half of the best peer's.
    pub fn half(&self, gic: u8) -> Option<u64> {
        self.peer_on(gic).map(|(instructions, _)| instructions / 2)
    }
}

/// Every row, in the order of performance.md's table, then what it does not have.
pub const ROWS: &[Row] = &[
    row(1, "hvc-psci-version", [40, 40])
        .target(40, 40)
        .peer(150, "hvisor"),
    row(2, "smc-psci-version", [41, 41])
        .target(90, 90)
        .peer(125, "hvisor"),
    row(3, "hvc-smccc-version", [40, 40])
        .target(40, 40)
        .peer(150, "hvisor"),
    row(4, "hvc-psci-features", [40, 40]).target(40, 40),
    row(5, "hvc-unknown", [90, 90]).target(90, 90),
    row(22, "hvc-features", [40, 40]).target(40, 40),
    row(23, "hvc-heartbeat", [40, 40]).target(40, 40),
    row(6, "gicd-typer-read", [110, 110])
        .target(110, 110)
        .peer(225, "Bao"),
    row(7, "gicd-isenabler1-read", [110, 110])
        .target(110, 110)
        .peer(676, "Xen"),
    row(8, "isenabler0-write", [150, 150])
        .target(150, 150)
        .peer(358, "hvisor"),
    row(9, "isenabler0-write-all", [150, 150])
        .target(150, 150)
        .peer(358, "hvisor"),
    row(10, "icenabler0-write-one", [150, 150])
        .target(150, 150)
        .peer(358, "hvisor"),
    row(14, "sgi-to-self", [100, 100])
        .target(100, 100)
        .peer(332, "hvisor")
        .gicv2(882, "Bao"),
    // QEMU's GICv2 does not deactivate by hardware as it should (platforms.md, trap 1), and 65 are the target of one that
    // does: the test of the paths by hardware holds it. Here a second exit ends the interrupt, for 26 more.
    row(15, "virtual-timer", [60, 81])
        .target(60, 91)
        .peer(199, "Bao")
        .gicv2(204, "Bao"),
    row(16, "virtual-timer-from-wfi", [60, 81])
        .target(60, 91)
        .peer(199, "Bao")
        .gicv2(204, "Bao"),
    row(17, "physical-timer", [60, 81]).target(60, 91),
    row(21, "device-interrupt", [60, 91])
        .target(60, 91)
        .peer(204, "Bao"),
    row(18, "ipi", [150, 170])
        .shared()
        .target(150, 170)
        .peer(339, "hvisor")
        .gicv2(882, "Bao"),
    row(19, "ipi-round-trip", [300, 340])
        .shared()
        .target(300, 340)
        .peer(678, "hvisor")
        .gicv2(1764, "Bao"),
    // From the call to the target's first instructions; the target, off before, is done with its CPU_OFF.
    row(20, "cpu-on", [330, 325])
        .shared()
        .target(400, 400)
        .peer(965, "hvisor"),
    // All that a core does of it, the reset for the next CPU_ON included, until it waits for that.
    row(34, "cpu-off", [1_175, 1_155]).shared(),
    row(24, "doorbell", [200, 200])
        .shared()
        .target(200, 200)
        .peer(1302, "Bao"),
    row(25, "doorbell-by-page", [200, 200])
        .shared()
        .target(200, 200)
        .peer(1302, "Bao"),
    row(26, "doorbell-round-trip", [400, 400])
        .shared()
        .target(400, 400)
        .peer(2604, "Bao"),
    row(27, "channel-4k", [400, 400]).shared().target(400, 400),
    row(28, "console-byte", [1_215, 1_215]),
    row(29, "console-64-bytes", [78_100, 78_100]),
    row(30, "console-call-48", [3_960, 3_960]),
    row(31, "load-without-syndrome", [1_090, 1_090]),
    row(32, "more-than-list-registers", [5_380, 5_680]),
    row(33, "restart", [32_200, 33_100]).apart().shared(),
    row(BOOT, "boot", [136_800, 205_200])
        .target(60_080, 60_080)
        .peer(380_000, "Bao")
        .apart(),
    row(11, "uart-flags-read", [680, 680]),
    row(12, "uart-register-write", [697, 697]),
    row(13, "id-register-read", [1_120, 1_120]),
];

/// The row called `name`, or of that number.
pub fn find(name: &str) -> Option<&'static Row> {
    let number = name.parse().ok();
    ROWS.iter()
        .find(|row| row.name == name || Some(row.id) == number)
}

/// What is to be said of a row's figures: how they stand to what is held, the target and the best peer.
pub fn judge(row: &Row, gic: u8, figures: &Figures) -> String {
    let most = figures.el2.max;
    let mut text = format!("{most} instructions of {}", row.held(gic));
    text += &match row.goal(gic) {
        Some(goal) if most > goal => format!("; target {goal} missed by {}", most - goal),
        Some(goal) => format!("; target {goal} met"),
        None => String::new(),
    };
    if let (Some(half), Some((_, peer))) = (row.half(gic), row.peer_on(gic))
        && most > half
    {
        text += &format!("; half of {peer}'s, {half}, missed by {}", most - half);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_held_above_what_it_is_named_for_twice() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(
                ROWS[..index]
                    .iter()
                    .all(|other| other.id != row.id && other.name != row.name),
                "{}",
                row.name
            );
        }
    }
}
