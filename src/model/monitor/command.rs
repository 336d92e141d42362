//! What a line asks for.

use crate::words::Text;

/// The name of a partition, or its number, as typed.
pub type Name = Text<32>;

/// What `help` prints.
pub const HELP: &[&str] = &[
    "list                      the partitions and what they do",
    "focus NAME                the keyboard and the prompt to NAME, its last output again (also Ctrl-] and a digit); `focus monitor` stays here",
    "start|stop|restart NAME   its life; a start is cold",
    "pause|resume NAME         holds its CPUs where they are, lets them go on",
    "crashes NAME              its last four crashes, in words",
    "stats [NAME]              exits by cause and per second since the last look, interrupts",
    "memory                    whose RAM lies where",
    "audit                     proves from the tables that nobody can reach what is another's",
    "irqs                      whose interrupts are in which state",
    "log                       what the hypervisor said last",
    "trace                     the flight recorders, for `cargo xtask trace`",
    "help                      this; an empty line leaves the monitor",
];

/// What to do with a partition's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Starts it.
    Start,
    /// Stops it.
    Stop,
    /// Stops it and starts it again.
    Restart,
    /// Holds it.
    Pause,
    /// Lets it go on.
    Resume,
}

/// A command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// `list`.
    List,
    /// `focus NAME`.
    Focus(Name),
    /// `start NAME` and so on.
    Life(Order, Name),
    /// `crashes NAME`.
    Crashes(Name),
    /// `stats [NAME]`.
    Stats(Option<Name>),
    /// `memory`.
    Memory,
    /// `audit`.
    Audit,
    /// `irqs`.
    Interrupts,
    /// `log`.
    Log,
    /// `trace`.
    Trace,
    /// `fault KIND`: the hypervisor fails on purpose, in systems whose manifest asks for its self-test.
    Fault(Name),
    /// `help`.
    Help,
}

/// Why a line is no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unknown {
    /// No such command.
    Command(Name),
    /// It needs a partition's name.
    NeedsName,
    /// It takes no more words.
    TooMany,
}

/// Reads a line.
///
/// # Errors
/// [`Unknown`]; a line of blanks is an unknown command without a name.
pub fn parse(line: &str) -> Result<Command, Unknown> {
    let mut words = line.split_ascii_whitespace();
    let word = words.next().unwrap_or_default();
    let name = words.next().map(Name::from);
    if words.next().is_some() {
        return Err(Unknown::TooMany);
    }
    let needed = || name.ok_or(Unknown::NeedsName);
    let alone = |command| match name {
        None => Ok(command),
        Some(_) => Err(Unknown::TooMany),
    };
    let life = |order| Ok(Command::Life(order, needed()?));
    match word {
        "list" => alone(Command::List),
        "focus" => Ok(Command::Focus(needed()?)),
        "start" => life(Order::Start),
        "stop" => life(Order::Stop),
        "restart" => life(Order::Restart),
        "pause" => life(Order::Pause),
        "resume" => life(Order::Resume),
        "crashes" => Ok(Command::Crashes(needed()?)),
        "stats" => Ok(Command::Stats(name)),
        "memory" => alone(Command::Memory),
        "audit" => alone(Command::Audit),
        "irqs" => alone(Command::Interrupts),
        "log" => alone(Command::Log),
        "trace" => alone(Command::Trace),
        "fault" => Ok(Command::Fault(needed()?)),
        "help" | "?" => alone(Command::Help),
        other => Err(Unknown::Command(Name::from(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_help_is_one() {
        for line in HELP {
            let usage = line.split("  ").next().unwrap();
            let words = usage.split_whitespace().next().unwrap();
            let argument = if usage.contains(" NAME") {
                " linux"
            } else {
                ""
            };
            for word in words.split('|') {
                assert!(parse(&format!("{word}{argument}")).is_ok(), "{word}");
            }
        }
    }

    #[test]
    fn a_command_names_its_partition() {
        let linux = Name::from("linux");
        assert_eq!(
            parse(" restart  linux "),
            Ok(Command::Life(Order::Restart, linux))
        );
        assert_eq!(parse("stats"), Ok(Command::Stats(None)));
        assert_eq!(parse("stats linux"), Ok(Command::Stats(Some(linux))));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        assert_eq!(parse("stop"), Err(Unknown::NeedsName));
        assert_eq!(parse("list linux"), Err(Unknown::TooMany));
        assert_eq!(parse("stop a b"), Err(Unknown::TooMany));
        assert_eq!(parse("lsit"), Err(Unknown::Command(Name::from("lsit"))));
        assert_eq!(parse("  "), Err(Unknown::Command(Name::new())));
    }
}
