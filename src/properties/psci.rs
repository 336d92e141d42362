//! PSCI calls of all vCPUs of a partition in any order, against the table of DEN0022 section 5 written out once more.

use super::Input;
use crate::behaviour::exit::Next;
use crate::behaviour::testing::{Bench, RAM, RAM_SIZE};
use crate::model::power::{Start, State};
use crate::model::vgic::GicVersion;
use crate::words::VcpuId;
use std::vec::Vec;

/// Most steps of a sequence.
const STEPS: usize = 100;

const SUCCESS: i64 = 0;
const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const DENIED: i64 = -3;
const ALREADY_ON: i64 = -4;
const ON_PENDING: i64 = -5;
const INVALID_ADDRESS: i64 = -9;

/// Bit 30 of a function: arguments are 64 bits wide (DEN0028 table 2-1).
const WIDE: u64 = 1 << 30;
/// The functions that say something of a vCPU, in their 32-bit forms, and one that nobody has.
const FUNCTIONS: [u64; 8] = [
    0x8400_0001, // CPU_SUSPEND
    0x8400_0002, // CPU_OFF
    0x8400_0003, // CPU_ON
    0x8400_0003,
    0x8400_0004, // AFFINITY_INFO
    0x8400_000e, // SYSTEM_SUSPEND
    0x8400_0012, // SYSTEM_RESET2
    0x8400_0013,
];

/// What a vCPU's power is, and where it starts or goes on.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Power {
    Off,
    Pending(Start),
    On,
    Suspended(Start),
}

struct Pair {
    bench: Bench,
    power: Vec<Power>,
}

/// Calls, starts and wake-ups of any vCPU, until the partition stops.
pub fn sequence(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let vcpus = 1 + input.below(4);
    let mut power = std::vec![Power::Off; usize::from(vcpus)];
    power[0] = Power::On;
    let mut pair = Pair {
        bench: Bench::new(GicVersion::V3, vcpus),
        power,
    };
    for _ in 0..STEPS {
        if input.is_empty() || !pair.step(&mut input) {
            return;
        }
        pair.agree();
    }
}

impl Pair {
    /// `false`: the partition stops.
    fn step(&mut self, input: &mut Input<'_>) -> bool {
        let vcpu = input.below(4) % self.power.len() as u8;
        let index = usize::from(vcpu);
        match (input.below(5), self.power[index]) {
            (0, before) => {
                let taken = self.bench.power(index).take_start();
                let expected = match before {
                    Power::Pending(start) => Some(start),
                    _ => None,
                };
                assert_eq!(taken, expected);
                if taken.is_some() {
                    self.power[index] = Power::On;
                }
                true
            }
            (1, before) => {
                let woken = self.bench.power(index).wake();
                let expected = match before {
                    Power::Suspended(start) => Some(start),
                    _ => None,
                };
                assert_eq!(woken, expected);
                if woken.is_some() {
                    self.power[index] = Power::On;
                }
                true
            }
            (_, Power::On) => self.call(vcpu, input),
            _ => true,
        }
    }

    /// A call of a vCPU that is on. `false`: the partition stops.
    fn call(&mut self, vcpu: u8, input: &mut Input<'_>) -> bool {
        let wide = if input.flag() { WIDE } else { 0 };
        let function = input.pick(&FUNCTIONS) | wide;
        let entries = [RAM, RAM + RAM_SIZE - 4, RAM + RAM_SIZE, RAM + 2, 1 << 16];
        let arguments: [u64; 3] = core::array::from_fn(|_| input.number(&entries));
        let mask = if wide == 0 { 0xffff_ffff } else { u64::MAX };
        let seen = arguments.map(|argument| argument & mask);
        self.bench.vcpu = VcpuId::new(vcpu);
        self.bench.machine.kicked.clear();
        let (results, next) = self.bench.call(function, &arguments);
        let (code, expected) = self.expected(vcpu, function & !WIDE, wide != 0, seen);
        let context = (vcpu, function, arguments);
        assert_eq!(next, expected, "{context:x?}");
        if code == NOT_SUPPORTED {
            // What nobody knows leaves the other registers alone.
            assert_eq!(results[0], code.cast_unsigned());
        } else if !matches!(next, Next::Off | Next::Stop(_)) {
            assert_eq!(results, [code.cast_unsigned(), 0, 0, 0], "{context:x?}");
        }
        let own = usize::from(vcpu);
        match next {
            Next::Off => {
                self.bench.power(own).switch_off();
                self.power[own] = Power::Off;
            }
            Next::Suspend(start) => {
                self.bench.power(own).suspend(start);
                self.power[own] = Power::Suspended(start);
            }
            Next::Stop(_) => return false,
            Next::Resume | Next::Standby => {}
        }
        true
    }

    /// What DEN0022 says: X0, and what the caller does next.
    fn expected(&mut self, own: u8, function: u64, wide: bool, a: [u64; 3]) -> (i64, Next) {
        let code = |code: i64| (code, Next::Resume);
        let is_entry =
            |entry: u64| (RAM..RAM + RAM_SIZE).contains(&entry) && entry.is_multiple_of(4);
        let start = |entry: u64, context: u64| Start { entry, context };
        match function {
            0x8400_0001 => match a[0] & 0xffff_ffff {
                state if state & !0x0301_ffff != 0 => code(INVALID_PARAMETERS),
                state if state >> 16 & 1 == 0 => (SUCCESS, Next::Standby),
                _ if !is_entry(a[1]) => code(INVALID_ADDRESS),
                _ => (SUCCESS, Next::Suspend(start(a[1], a[2]))),
            },
            0x8400_0002 if !wide => (0, Next::Off),
            0x8400_0003 => code(self.cpu_on(a[0], is_entry(a[1]), start(a[1], a[2]))),
            0x8400_0004 => code(self.affinity_info(a[0], a[1] & 0xffff_ffff)),
            0x8400_000e => {
                let own = usize::from(own);
                let others = || (0..self.power.len()).filter(|other| *other != own);
                match () {
                    () if !is_entry(a[0]) => code(INVALID_ADDRESS),
                    () if others().any(|other| self.power[other] != Power::Off) => code(DENIED),
                    () => (SUCCESS, Next::Suspend(start(a[0], a[1]))),
                }
            }
            0x8400_0012 if a[0] & 0xffff_ffff == 0 => {
                (0, Next::Stop(crate::behaviour::lifecycle::Reason::Reset))
            }
            0x8400_0012 => code(INVALID_PARAMETERS),
            _ => code(NOT_SUPPORTED),
        }
    }

    fn cpu_on(&mut self, target: u64, is_entry: bool, start: Start) -> i64 {
        let kicked = self.bench.machine.kicked.len();
        let power = usize::try_from(target)
            .ok()
            .and_then(|at| self.power.get_mut(at));
        let code = match power {
            None => INVALID_PARAMETERS,
            Some(_) if !is_entry => INVALID_ADDRESS,
            Some(Power::On | Power::Suspended(_)) => ALREADY_ON,
            Some(Power::Pending(_)) => ON_PENDING,
            Some(off) => {
                *off = Power::Pending(start);
                SUCCESS
            }
        };
        assert_eq!(
            kicked,
            usize::from(code == SUCCESS),
            "only a success tells a core"
        );
        code
    }

    /// All vCPUs differ in Aff0 alone.
    fn affinity_info(&self, affinity: u64, level: u64) -> i64 {
        let one = |power: &Power| match power {
            Power::On | Power::Suspended(_) => 0,
            Power::Off => 1,
            Power::Pending(_) => 2,
        };
        // Aff3 is bits 39:32, Aff2 to Aff0 are 23:0.
        let fields = [
            affinity >> 8 & 0xff,
            affinity >> 16 & 0xff,
            affinity >> 32 & 0xff,
        ];
        if level > 3 || affinity & !0xff_00ff_ffff != 0 {
            return INVALID_PARAMETERS;
        }
        // Aff1 is compared at levels 0 and 1, Aff2 up to level 2, Aff3 always.
        let at = usize::try_from(level).unwrap_or(0);
        if fields
            .iter()
            .skip(at.saturating_sub(1))
            .any(|field| *field != 0)
        {
            return INVALID_PARAMETERS;
        }
        if level == 0 {
            let power = usize::try_from(affinity & 0xff)
                .ok()
                .and_then(|at| self.power.get(at));
            return power.map_or(INVALID_PARAMETERS, one);
        }
        let all: Vec<i64> = self.power.iter().map(one).collect();
        [0, 2, 1]
            .into_iter()
            .find(|code| all.contains(code))
            .unwrap_or(1)
    }

    /// The power states are those of the table.
    fn agree(&self) {
        for (index, power) in self.power.iter().enumerate() {
            let expected = match power {
                Power::Off => State::Off,
                Power::Pending(_) => State::OnPending,
                Power::On => State::On,
                Power::Suspended(_) => State::Suspended,
            };
            assert_eq!(self.bench.power(index).state(), expected, "vCPU {index}");
        }
    }
}
