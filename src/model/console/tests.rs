//! Holds the multiplexer to its rules on single scripts; [`schedules`] has the protocol between cores.

mod schedules;

use super::*;
use proptest::prelude::*;

const LINUX: Speaker = Speaker::partition(PartitionId::new(0));
const CONTROL: Speaker = Speaker::partition(PartitionId::new(1));
const SENSOR: Speaker = Speaker::partition(PartitionId::new(2));
const LOG: Speaker = Speaker::HYPERVISOR;

fn console() -> Box<Console> {
    let console = Box::new(Console::default());
    console.name(LINUX, "linux");
    console.name(CONTROL, "control");
    console.name(SENSOR, "sensor");
    console.name(LOG, "bulkhead");
    console
}

fn push(console: &Console, speaker: Speaker, text: &str) {
    for byte in text.bytes() {
        assert!(console.ring(speaker).push(byte));
    }
}

/// A time when every line rests.
const LATE: Milliseconds = 1000;

/// Serves `speaker` and all who are kicked until nobody is, each as often as it waits for a line to rest; gives what the
/// terminal got.
fn settle(console: &Console, speaker: Speaker) -> String {
    let (output, again) = settle_at(console, speaker, 0);
    if again.is_empty() {
        return output;
    }
    let late = again
        .into_iter()
        .map(|(speaker, _)| settle_at(console, speaker, LATE).0);
    late.fold(output, |output, more| output + &more)
}

/// As [`settle`], at one time: also gives who is to be served again, and when.
fn settle_at(
    console: &Console,
    speaker: Speaker,
    now: Milliseconds,
) -> (String, Vec<(Speaker, Milliseconds)>) {
    let mut output = Vec::new();
    let mut pending = vec![speaker];
    let mut waiting = Vec::new();
    let mut rounds = 0;
    while let Some(next) = pending.pop() {
        let served = console.serve(next, now, |bytes| {
            output.extend(bytes);
            bytes.len()
        });
        assert!(!served.blocked);
        waiting.extend(served.again.map(|at| (next, at)));
        pending.extend(served.kick.iter());
        rounds += 1;
        assert!(rounds < 1000, "nobody comes to an end");
    }
    (String::from_utf8(output).unwrap(), waiting)
}

fn say(console: &Console, speaker: Speaker, text: &str) -> String {
    push(console, speaker, text);
    settle(console, speaker)
}

#[test]
fn every_line_is_tagged_and_ends_in_crlf() {
    let console = console();
    assert_eq!(
        say(&console, LINUX, "one\ntwo\r\n"),
        "[linux] one\r\n[linux] two\r\n"
    );
    assert_eq!(
        say(&console, CONTROL, "three\n\n"),
        "[control] three\r\n[control] \r\n"
    );
    assert_eq!(say(&console, LOG, "four\n"), "[bulkhead] four\r\n");
}

#[test]
fn the_focus_is_shown_at_once_others_by_lines() {
    let console = console();
    assert_eq!(say(&console, LINUX, "~ # "), "[linux] ~ # ");
    assert_eq!(say(&console, LINUX, "ls"), "ls");
    assert_eq!(say(&console, LINUX, "\r\n"), "\r\n");
    assert_eq!(say(&console, CONTROL, "half"), "");
    assert_eq!(
        say(&console, CONTROL, " whole\n"),
        "[control] half whole\r\n"
    );
}

#[test]
fn a_prompt_is_put_back_after_anothers_line() {
    let console = console();
    say(&console, LINUX, "~ # l");
    assert_eq!(
        say(&console, CONTROL, "a\nb\n"),
        "\r\n[control] a\r\n[control] b\r\n[linux] ~ # l"
    );
    assert_eq!(say(&console, LINUX, "s\n"), "s\r\n");
    assert_eq!(say(&console, CONTROL, "c\n"), "[control] c\r\n");
}

#[test]
fn control_sequences_of_a_prompt_are_not_sent_again() {
    let console = console();
    // BusyBox ash asks the terminal where its cursor is, each time it prompts.
    let prompt = "/ # \x1b[6n";
    assert_eq!(say(&console, LINUX, prompt), format!("[linux] {prompt}"));
    assert_eq!(
        say(&console, CONTROL, "a\n"),
        "\r\n[control] a\r\n[linux] / # "
    );
    assert_eq!(
        say(&console, LINUX, "\x1b[1ml\0s\x1b[0m"),
        "\x1b[1mls\x1b[0m"
    );
    assert_eq!(
        say(&console, CONTROL, "b\n"),
        "\r\n[control] b\r\n[linux] / # ls"
    );
    assert_eq!(say(&console, LINUX, "\n\x1b]0;t"), "\r\n[linux] \x1b]0;t");
    assert_eq!(say(&console, LINUX, "\nx\n"), "\r\n[linux] x\r\n");
    say(&console, LINUX, "y");
    assert_eq!(
        say(&console, CONTROL, "c\n"),
        "\r\n[control] c\r\n[linux] y",
        "a sequence left open ends with its line"
    );
}

/// Serves `speaker` once, at `now`.
fn serve(console: &Console, speaker: Speaker, now: Milliseconds) -> (String, Served) {
    let mut output = Vec::new();
    let served = console.serve(speaker, now, |bytes| {
        output.extend(bytes);
        bytes.len()
    });
    (String::from_utf8(output).unwrap(), served)
}

#[test]
fn a_line_printed_byte_by_byte_is_not_broken_into() {
    let console = console();
    let mut output = String::new();
    push(&console, CONTROL, "tick\n");
    for (index, letter) in "a line of the log".chars().enumerate() {
        push(&console, LINUX, &letter.to_string());
        let now = index as Milliseconds;
        output += &serve(&console, LINUX, now).0;
        let (nothing, served) = serve(&console, CONTROL, now);
        assert_eq!(nothing, "");
        assert_eq!(
            served.again,
            Some(now + 20),
            "it comes back when the line rests"
        );
    }
    assert_eq!(output, "[linux] a line of the log");
    push(&console, LINUX, "\n");
    let (end, served) = serve(&console, LINUX, 17);
    assert_eq!(end, "\r\n");
    assert!(
        served.kick.contains(CONTROL),
        "whoever ends the line serves who waits"
    );
    assert_eq!(serve(&console, CONTROL, 17).0, "[control] tick\r\n");
}

#[test]
fn a_line_that_rests_is_broken_into() {
    let console = console();
    push(&console, LINUX, "# ");
    assert_eq!(serve(&console, LINUX, 100).0, "[linux] # ");
    push(&console, CONTROL, "tick\n");
    assert_eq!(serve(&console, CONTROL, 119).1.again, Some(120));
    let shown = "\r\n[control] tick\r\n[linux] # ";
    assert_eq!(serve(&console, CONTROL, 120).0, shown);
    push(&console, CONTROL, "tick\n");
    assert_eq!(
        serve(&console, CONTROL, 120).0,
        shown,
        "a prompt put back rests at once"
    );
}

#[test]
fn a_line_without_end_is_broken_into_after_a_while() {
    let console = console();
    push(&console, CONTROL, "tick\n");
    for now in 0..200 {
        push(&console, LINUX, ".");
        let _ = serve(&console, LINUX, now);
        assert_eq!(serve(&console, CONTROL, now).0, "");
    }
    let (shown, _) = serve(&console, CONTROL, 200);
    assert!(
        shown.starts_with("\r\n[control] tick\r\n[linux] ..."),
        "{shown}"
    );
}

#[test]
fn a_clock_read_before_anothers_call_does_no_harm() {
    let console = console();
    push(&console, LINUX, "# ");
    let _ = serve(&console, LINUX, 100);
    push(&console, CONTROL, "tick\n");
    assert_eq!(serve(&console, CONTROL, 50).1.again, Some(120));
    push(&console, LINUX, "x");
    let _ = serve(&console, LINUX, 40);
    assert!(serve(&console, CONTROL, 120).0.contains("tick"));
}

#[test]
#[cfg_attr(
    miri,
    ignore = "wants a ring of its real size, which takes an interpreter long"
)]
fn a_prompt_too_long_to_be_put_back_keeps_its_tag() {
    let console = console();
    say(&console, LINUX, &"x".repeat(1000));
    let shown = say(&console, LOG, "a\n");
    assert!(
        shown.starts_with("\r\n[bulkhead] a\r\n[linux] x"),
        "{shown}"
    );
    assert!(shown.len() < 400);
}

#[test]
fn long_lines_out_of_focus_come_in_pieces() {
    let console = console();
    let piece = "x".repeat(240);
    assert_eq!(
        say(&console, CONTROL, &piece),
        format!("[control] {piece}\r\n")
    );
    assert_eq!(
        say(&console, CONTROL, "\r\n"),
        "",
        "the end of the line the pieces made"
    );
    assert_eq!(say(&console, CONTROL, &"y".repeat(239)), "");
    assert_eq!(
        say(&console, CONTROL, "\n"),
        format!("[control] {}\r\n", "y".repeat(239))
    );
    let long = "z".repeat(500);
    assert_eq!(
        say(&console, CONTROL, &format!("{long}\n")),
        format!(
            "[control] {}\r\n[control] {}\r\n[control] {}\r\n",
            &long[..240],
            &long[..240],
            &long[..20]
        )
    );
}

#[test]
fn a_lone_carriage_return_keeps_the_tag() {
    let console = console();
    assert_eq!(
        say(&console, LINUX, "10%\r20%\r\n"),
        "[linux] 10%\r[linux] 20%\r\n"
    );
    assert_eq!(
        say(&console, CONTROL, "\rx\n\ry\n"),
        "[control] x\r\n[control] y\r\n"
    );
}

#[test]
fn escape_sequences_pass_and_nul_does_not() {
    let console = console();
    assert_eq!(say(&console, LINUX, "\0\x1b[1mx\0"), "[linux] \x1b[1mx");
    assert_eq!(
        say(&console, CONTROL, "\0\0\x1b[2mx\n"),
        "\r\n[control] \x1b[2mx\r\n[linux] x"
    );
}

#[test]
fn losing_the_focus_ends_the_line_and_gaining_it_shows_what_was_held() {
    let console = console();
    say(&console, LINUX, "~ # ");
    say(&console, CONTROL, "> ");
    console.set_focus(PartitionId::new(1));
    assert_eq!(settle(&console, CONTROL), "\r\n[control] > ");
    assert_eq!(say(&console, LINUX, "x"), "");
    assert_eq!(
        say(&console, LINUX, "y\n"),
        "\r\n[linux] xy\r\n[control] > "
    );
}

#[test]
fn a_stopped_partition_leaves_no_open_line_and_no_output() {
    let console = console();
    say(&console, LINUX, "Kernel panic");
    console.release(LINUX);
    assert_eq!(settle(&console, LINUX), "\r\n");
    assert_eq!(
        say(&console, LOG, "linux: stopped\n"),
        "[bulkhead] linux: stopped\r\n"
    );
    push(&console, CONTROL, "cut off");
    console.release(CONTROL);
    assert_eq!(settle(&console, CONTROL), "[control] cut off\r\n");
    assert_eq!(
        say(&console, CONTROL, "again"),
        "",
        "running again, lines are whole again"
    );
}

#[test]
fn the_last_words_of_the_focus_end_their_line() {
    let console = console();
    push(&console, LINUX, "oops");
    console.release(LINUX);
    assert_eq!(settle(&console, LINUX), "[linux] oops\r\n");
}

#[test]
fn a_line_stuck_in_the_uart_is_ended_when_its_partition_stops() {
    let console = console();
    push(&console, CONTROL, "abcdef\nnext\n");
    let mut output = Vec::new();
    let served = console.serve(CONTROL, 0, |bytes| {
        let room = "[control] abc".len() - output.len();
        let taken = &bytes[..room.min(bytes.len())];
        output.extend(taken);
        taken.len()
    });
    assert!(served.blocked);
    assert_eq!(console.unblock(), Speakers::only(CONTROL));
    console.release(CONTROL);
    let mut output = String::from_utf8(output).unwrap();
    output += &settle(&console, LOG);
    assert_eq!(
        output, "[control] abcd\r\n",
        "the byte under way and no more"
    );
    assert_eq!(
        settle(&console, CONTROL),
        "[control] ef\r\n[control] next\r\n"
    );
}

#[test]
fn a_ring_that_was_cleared_says_nothing_of_what_was_in_its_memory() {
    let ring = ByteRing::<8>::new();
    ring.push_all(b"before");
    ring.skip(4);
    ring.clear();
    assert!(ring.is_empty() && !ring.has_wrapped());
    assert_eq!((ring.pop(), ring.said().next()), (None, None));
    ring.push_all(b"new");
    ring.skip(2);
    assert_eq!(ring.said().collect::<Vec<u8>>(), b"ne");
}

#[test]
fn a_console_that_was_opened_says_nothing_of_what_was_in_its_memory() {
    let console = console();
    push(&console, LINUX, "before");
    let typed = console.input(PartitionId::new(0)).unwrap();
    assert!(typed.push(b'x'));
    console.open();
    assert_eq!(settle(&console, LINUX), "");
    assert_eq!(typed.pop(), None);
    assert!(console.ring(LINUX).said().next().is_none());
}

#[test]
fn a_full_ring_refuses_and_loses_nothing() {
    let ring = ByteRing::<8>::new();
    for byte in 1..=8 {
        assert!(ring.push(byte));
    }
    assert!(!ring.push(9));
    assert_eq!((ring.len(), ring.space()), (8, 0));
    assert_eq!(ring.pop(), Some(1));
    assert_eq!(ring.waiting(6..7).next(), Some(8));
    assert_eq!(ring.waiting(7..8).next(), None);
    assert!(ring.push(9));
    assert_eq!(ring.history().collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8, 9]);
    while ring.pop().is_some() {}
    assert!(ring.is_empty());
    assert_eq!(ring.history().count(), 8, "taken bytes stay readable");
}

#[test]
fn a_ring_takes_of_many_bytes_what_it_has_room_for() {
    let ring = ByteRing::<8>::new();
    assert_eq!(ring.push_all(&[1, 2, 3, 4, 5, 6]), 6);
    ring.skip(4);
    assert_eq!(ring.push_all(&[7, 8, 9, 10, 11, 12, 13]), 6);
    assert_eq!(ring.push_all(&[13]), 0);
    let all = [5, 6, 7, 8, 9, 10, 11, 12];
    assert_eq!(ring.waiting(0..100).collect::<Vec<_>>(), all);
    assert_eq!(ring.waiting(2..5).collect::<Vec<_>>(), all[2..5]);
    ring.skip(8);
    assert!(ring.is_empty());
}

/// What the terminal gets if `speaker` says `text`, so many bytes at once, to a UART that takes so many at once; and a line of
/// the log behind it.
fn shown_by_pieces(speaker: Speaker, text: &[u8], said: usize, taken: usize) -> Vec<u8> {
    let console = console();
    let mut output = Vec::new();
    let mut say = |speaker: Speaker, piece: &[u8], now| {
        assert_eq!(console.ring(speaker).push_all(piece), piece.len());
        loop {
            let mut room = taken;
            let served = console.serve(speaker, now, |bytes| {
                let given = &bytes[..bytes.len().min(room)];
                room -= given.len();
                output.extend(given);
                given.len()
            });
            if !served.blocked && !served.kick.contains(speaker) {
                break;
            }
            let _ = console.unblock();
        }
    };
    text.chunks(said).for_each(|piece| say(speaker, piece, 0));
    say(LOG, b"log\n", LATE);
    output
}

proptest! {
    #![proptest_config(crate::words::effort::cases(1000))]
    /// It is the same for the terminal how many bytes come at once, and how many the UART takes.
    #[test]
    fn what_is_shown_does_not_depend_on_how_it_comes(
        text in prop::collection::vec(prop::sample::select(&b"aaaaaaabb \t\x7f\0\r\n\n\x1b[m]\x07\xc3"[..]), 0..400),
        plain in 0_usize..300,
        said in 1_usize..20,
        taken in 1_usize..20,
        focus: bool,
    ) {
        let speaker = if focus { LINUX } else { CONTROL };
        let mut text = text;
        text.splice(0..0, std::iter::repeat_n(b'x', plain.min(ROOM - text.len() - 1)));
        let at_once = shown_by_pieces(speaker, &text, ROOM, ROOM);
        prop_assert_eq!(&shown_by_pieces(speaker, &text, 1, ROOM), &at_once);
        prop_assert_eq!(&shown_by_pieces(speaker, &text, said, taken), &at_once);
    }
}

#[test]
fn commands_follow_the_escape_and_everything_else_passes() {
    let mut escape = Escape::new();
    let mut typed = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| escape.typed(*byte))
            .collect::<Vec<_>>()
    };
    assert_eq!(typed(b"a"), [Typed::Byte(b'a')]);
    assert_eq!(typed(b"\x1d\x1d"), [Typed::Open, Typed::Byte(0x1d)]);
    assert_eq!(
        typed(b"\x1d3"),
        [Typed::Open, Typed::Focus(PartitionId::new(3))]
    );
    assert_eq!(
        typed(b"\x1d\x1dx"),
        [Typed::Open, Typed::Byte(0x1d), Typed::Byte(b'x')]
    );
    assert_eq!(typed(b"\x1dn"), [Typed::Open, Typed::Next]);
    assert_eq!(typed(b"\x1d?"), [Typed::Open, Typed::Help]);
    assert_eq!(typed(b"3"), [Typed::Byte(b'3')]);
    assert_eq!(
        typed(b"\x1d83\x1d"),
        [
            Typed::Open,
            Typed::Monitor(b'8'),
            Typed::Monitor(b'3'),
            Typed::Monitor(0x1d)
        ]
    );
}

#[test]
fn turns_go_round() {
    let three = Speakers::only(LINUX)
        .with(Speakers::only(SENSOR))
        .with(Speakers::only(LOG));
    assert_eq!(three.next_after(LINUX), Some(SENSOR));
    assert_eq!(three.next_after(SENSOR), Some(LOG));
    assert_eq!(three.next_after(LOG), Some(LINUX));
    assert_eq!(Speakers::only(LOG).next_after(LOG), Some(LOG));
    assert_eq!(Speakers::NONE.next_after(LOG), None);
    assert_eq!(three.iter().count(), 3);
}

#[test]
fn what_was_said_is_shown_again_under_its_name_and_what_was_not_is_not() {
    let console = Box::new(Console::default());
    console.name(LINUX, "linux");
    let say = |text: &str| {
        text.bytes()
            .for_each(|byte| assert!(console.ring(LINUX).push(byte)));
    };
    let shown = |speaker| {
        let mut shown = Vec::new();
        let _ = console.serve(speaker, 0, |bytes| {
            shown.extend(bytes);
            bytes.len()
        });
        String::from_utf8(shown).unwrap()
    };
    say("one\ntwo\n");
    shown(LINUX);
    say("three\n");
    console.replay(LINUX, "linux");
    assert_eq!(shown(Speaker::REPLAY), "[linux] one\r\n[linux] two\r\n");
    assert_eq!(shown(LINUX), "[linux] three\r\n");
    for _ in 0..2 * ROOM / 11 {
        say("0123456789\n");
        shown(LINUX);
    }
    console.replay(LINUX, "linux");
    let mut text = String::new();
    while !console.ring(Speaker::REPLAY).is_empty() {
        text += &shown(Speaker::REPLAY);
    }
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() >= ROOM / 11 - 2, "{}", lines.len());
    assert!(
        lines
            .iter()
            .all(|line| ["[linux] 0123456789", "[linux] "].contains(line))
    );
}
