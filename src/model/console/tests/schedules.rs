//! The protocol between cores on every interleaving.

use super::*;

/// A board of cores, a UART and a kick each, whose next action is chosen from outside.
struct Board<'a> {
    console: &'a Console,
    cores: Vec<Core<'a>>,
    fifo: usize,
    room: usize,
    unmasked: bool,
    now: Milliseconds,
    output: Vec<u8>,
}

struct Core<'a> {
    speaker: Speaker,
    script: std::collections::VecDeque<u8>,
    /// Pushed something and has not called `serve` for it yet.
    owes: bool,
    kicked: bool,
    /// When its timer expires.
    timer: Option<Milliseconds>,
    service: Option<Service<'a>>,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Core(usize),
    /// The UART sends what it holds.
    Drain,
    TransmitInterrupt,
    /// Time passes until the timer of a core expires.
    Timer(usize),
}

impl<'a> Board<'a> {
    fn new(console: &'a Console, scripts: &[(Speaker, &str)], fifo: usize) -> Self {
        let cores = scripts
            .iter()
            .map(|(speaker, text)| Core {
                speaker: *speaker,
                script: text.bytes().collect(),
                owes: false,
                kicked: false,
                timer: None,
                service: None,
            })
            .collect();
        Self {
            console,
            cores,
            fifo,
            room: fifo,
            unmasked: false,
            now: 0,
            output: Vec::new(),
        }
    }

    fn actions(&self) -> Vec<Action> {
        let mut actions: Vec<Action> = (0..self.cores.len())
            .filter(|index| {
                let core = &self.cores[*index];
                core.service.is_some() || core.kicked || core.owes || !core.script.is_empty()
            })
            .map(Action::Core)
            .collect();
        // A core takes its timer's interrupt when it is done with what it does.
        let expires = |core: &Core<'_>| core.timer.is_some() && core.service.is_none();
        let timers = (0..self.cores.len()).filter(|index| expires(&self.cores[*index]));
        actions.extend(timers.map(Action::Timer));
        if self.room < self.fifo {
            actions.push(Action::Drain);
        }
        if self.unmasked && self.room > 0 {
            actions.push(Action::TransmitInterrupt);
        }
        actions
    }

    /// All that what happens from here on depends on, and the terminal's line.
    fn state(&self) -> String {
        use std::fmt::Write;
        let (console, now) = (self.console, self.now);
        let mut state = String::new();
        for core in &self.cores {
            let stage = core.service.as_ref().map(|service| {
                let stage = match &service.stage {
                    Stage::Announce => "announce".to_string(),
                    Stage::Try => "try".to_string(),
                    Stage::Pump(mux) => format!("pump {:?}", mux.aged(now)),
                    Stage::Unlock(mux, pumped) => {
                        format!("unlock {:?} {:?}", mux.aged(now), aged(pumped, now))
                    }
                    Stage::Collect(pumped) => format!("collect {:?}", aged(pumped, now)),
                    Stage::Done => "done".to_string(),
                };
                let served = service.served;
                let again = served.again.map(|at| at.saturating_sub(now));
                let (kick, blocked) = (served.kick, served.blocked);
                (stage, kick, blocked, again, now - service.now)
            });
            let ring = console.ring(core.speaker).len();
            let timer = core.timer.map(|at| at.saturating_sub(now));
            let rest = (core.script.len(), core.owes, core.kicked, ring, timer);
            write!(state, "{stage:?} {rest:?}; ").unwrap();
        }
        if let Some(mux) = console.mux.try_lock() {
            write!(state, "{:?}", mux.aged(now)).unwrap();
        }
        let waiters = (&console.busy, &console.blocked);
        let open_line = self.output.rsplit(|byte| *byte == b'\n').next();
        let uart = (self.room, self.unmasked, open_line);
        write!(state, "{waiters:?} {uart:?}").unwrap();
        state
    }

    fn kick(&mut self, speakers: Speakers) {
        for speaker in speakers.iter() {
            let mut cores = self.cores.iter_mut();
            if let Some(core) = cores.find(|core| core.speaker == speaker) {
                core.kicked = true;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Core(index) => self.run(index),
            Action::Drain => self.room = self.fifo,
            Action::Timer(index) => {
                let core = &mut self.cores[index];
                core.kicked = true;
                self.now = self.now.max(core.timer.take().unwrap_or(0));
            }
            Action::TransmitInterrupt => {
                self.unmasked = false;
                let kick = self.console.unblock();
                self.kick(kick);
            }
        }
    }

    fn run(&mut self, index: usize) {
        let Self {
            room, output, now, ..
        } = self;
        let core = &mut self.cores[index];
        let Some(service) = &mut core.service else {
            if core.owes || core.kicked {
                (core.owes, core.kicked) = (false, false);
                core.service = Some(Service::new(self.console, core.speaker, *now));
            } else {
                // Up to a line at once: the steps in between change nothing for the others.
                while let Some(byte) = core.script.pop_front() {
                    assert!(self.console.ring(core.speaker).push(byte));
                    if byte == b'\n' {
                        break;
                    }
                }
                core.owes = true;
            }
            return;
        };
        let mut out = |bytes: &[u8]| {
            let taken = &bytes[..bytes.len().min(*room)];
            *room -= taken.len();
            output.extend(taken);
            taken.len()
        };
        if service.step(&mut out) {
            return;
        }
        let served = service.served;
        core.service = None;
        core.timer = [core.timer, served.again].into_iter().flatten().min();
        self.unmasked |= served.blocked;
        self.kick(served.kick);
    }
}

/// How far a call came, its time as what is left until then.
fn aged(pumped: &Pumped, now: Milliseconds) -> Pumped {
    let again = pumped.again.map(|at| at.saturating_sub(now));
    Pumped { again, ..*pumped }
}

/// Runs one schedule from rest: `choose` picks among so many actions of a board in that state, or gives up.
fn run(
    console: &Console,
    scripts: &[(Speaker, &str)],
    fifo: usize,
    mut choose: impl FnMut(usize, &Board<'_>) -> Option<usize>,
) -> Option<String> {
    let mut board = Board::new(console, scripts, fifo);
    for _ in 0..100_000 {
        let actions = board.actions();
        if actions.is_empty() {
            for (speaker, _) in scripts {
                assert!(
                    console.ring(*speaker).is_empty(),
                    "{speaker:?} was left behind"
                );
            }
            return Some(String::from_utf8(board.output).unwrap());
        }
        let chosen = choose(actions.len(), &board)?;
        board.act(actions[chosen]);
    }
    panic!("the board does not come to rest");
}

/// Puts a console back to where [`console`] left it.
fn reset(console: &Console) {
    let mut mux = console.mux.lock();
    let names = mux.clone();
    *mux = Mux::new();
    mux.take_names(names);
    let _ = (console.busy.take(), console.blocked.take());
    for ring in &console.rings.outputs {
        while ring.pop().is_some() {}
    }
}

/// Every line of `output` is a tag and text; gives the lines of each tag, repeated beginnings removed.
fn lines_of<'a>(output: &'a str, tag: &str) -> Vec<&'a str> {
    let mut lines: Vec<&str> = Vec::new();
    for line in output.split("\r\n") {
        assert!(
            line.is_empty() || line.starts_with('['),
            "untagged: {line:?} in {output:?}"
        );
        assert_eq!(
            line.matches('[').count(),
            usize::from(!line.is_empty()),
            "mixed: {line:?}"
        );
        if let Some(text) = line.strip_prefix(tag) {
            match lines.last_mut() {
                Some(last) if text.starts_with(*last) => *last = text,
                _ => lines.push(text),
            }
        }
    }
    lines
}

/// Tries every schedule, depth first, leaving one where it reaches a state already seen; gives how many states.
fn explore(scripts: &[(Speaker, &str)], fifo: usize, check: impl Fn(&str)) -> usize {
    let console = console();
    let mut seen = std::collections::HashSet::new();
    let mut path: Vec<(usize, usize)> = Vec::new();
    loop {
        reset(&console);
        let mut depth = 0;
        let output = run(&console, scripts, fifo, |choices, board| {
            if depth == path.len() {
                if !seen.insert(board.state()) {
                    return None;
                }
                path.push((0, choices));
            }
            depth += 1;
            Some(path[depth - 1].0)
        });
        if let Some(output) = output {
            check(&output);
        }
        while path
            .last()
            .is_some_and(|(chosen, choices)| chosen + 1 == *choices)
        {
            path.pop();
        }
        let Some(last) = path.last_mut() else {
            return seen.len();
        };
        last.0 += 1;
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "thousands of schedules take an interpreter hours; random_schedules_lose_and_mix_nothing is one of them"
)]
fn no_schedule_of_two_speakers_leaves_output_behind() {
    let scripts = [(LINUX, "p"), (CONTROL, "x\n")];
    for fifo in [usize::MAX, 12, 40] {
        let states = explore(&scripts, fifo, |output| {
            assert_eq!(lines_of(output, "[linux] "), ["p"]);
            assert_eq!(lines_of(output, "[control] "), ["x"]);
            assert!(
                output.ends_with("[linux] p"),
                "the prompt is back: {output:?}"
            );
        });
        assert!(states > 100, "{states} states");
    }
}

#[test]
#[cfg_attr(
    miri,
    ignore = "thousands of schedules take an interpreter hours; random_schedules_lose_and_mix_nothing is one of them"
)]
fn no_schedule_of_three_speakers_leaves_output_behind() {
    let scripts = [(LINUX, "p"), (CONTROL, "x\n"), (SENSOR, "y\n")];
    let states = explore(&scripts, usize::MAX, |output| {
        assert_eq!(lines_of(output, "[linux] "), ["p"]);
        assert_eq!(lines_of(output, "[control] "), ["x"]);
        assert_eq!(lines_of(output, "[sensor] "), ["y"]);
        assert!(
            output.ends_with("[linux] p"),
            "the prompt is back: {output:?}"
        );
    });
    assert!(states > 1000, "{states} states");
}

#[test]
#[cfg_attr(
    miri,
    ignore = "thousands of schedules take an interpreter hours; random_schedules_lose_and_mix_nothing is one of them"
)]
fn two_cores_of_one_partition_share_its_output() {
    let scripts = [(CONTROL, "x\n"), (CONTROL, "y\n")];
    let states = explore(&scripts, 15, |output| {
        assert_eq!(lines_of(output, "[control] ").len(), 2);
    });
    assert!(states > 100, "{states} states");
}

proptest! {
    #![proptest_config(crate::words::effort::cases(3000))]
    /// Any schedule of four speakers: nothing lost, nothing mixed, each in order.
    #[test]
    fn random_schedules_lose_and_mix_nothing(seed: u64, fifo in 1_usize..40) {
        let scripts = [
            (LINUX, "a1\nbb2\n# "),
            (CONTROL, "c1\nc2\nc3\n"),
            (SENSOR, "s1\ns2\n"),
            (LOG, "l1\nl2\n"),
        ];
        let mut random = seed | 1;
        let output = run(&console(), &scripts, fifo, |choices, _| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            Some(usize::try_from(random >> 33).unwrap() % choices)
        })
        .unwrap();
        prop_assert_eq!(lines_of(&output, "[linux] "), ["a1", "bb2", "# "]);
        prop_assert_eq!(lines_of(&output, "[control] "), ["c1", "c2", "c3"]);
        prop_assert_eq!(lines_of(&output, "[sensor] "), ["s1", "s2"]);
        prop_assert_eq!(lines_of(&output, "[bulkhead] "), ["l1", "l2"]);
        prop_assert!(output.ends_with("[linux] # "));
    }
}
