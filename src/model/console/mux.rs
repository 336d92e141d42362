//! Who may speak, and what the UART gets: tags, line ends, whole lines, the prompt put back.
//!
//! Invariant: bytes of two speakers never share a line of output, and every line begins with its speaker's tag.

use super::plain::{Plain, is_graphic};
use super::{Milliseconds, Ring, SPEAKERS, Speaker, Speakers};
use arrayvec::ArrayVec;

/// Bytes of a line after which a speaker out of focus must end it.
pub const PIECE: usize = 240;
/// Bytes a speaker may take from its ring before others have their turn.
pub const QUANTUM: usize = 256;
/// Bytes of a name a tag shows.
const NAME: usize = 32;
/// Bytes of a tag: the name in brackets and a space.
const TAG: usize = NAME + 3;
/// Bytes of an unfinished line that can be shown again.
const SHOWN: usize = PIECE + TAG;
/// What is staged at most: a line shown again; the text of a quantum and a line's end; or the ends of two lines, a carriage
/// return, a tag and a byte.
const STAGED: usize = SHOWN + 8;
const _: () = assert!(STAGED >= QUANTUM + 2 && QUANTUM >= PIECE);

/// How long the focus must have been silent within its line before others break in: a guest that prints byte by byte
/// takes far less from one to the next.
pub const GRACE: Milliseconds = 20;
/// How long the focus may keep others waiting with a line it goes on with and does not end.
pub const PATIENCE: Milliseconds = 200;

/// Where the output stands.
///
/// | state | who may go on | to |
/// |---|---|---|
/// | `Closed` | the focus with a byte; others with a piece | `Partial`; `Whole` |
/// | `Partial` | its speaker; others with a piece once it rests; nobody else | `Closed` at the line's end; `Whole` |
/// | `Whole` | its speaker | `Closed` when the piece is out |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Line {
    /// At the start of a line.
    Closed = 0,
    /// In a line of the focus, shown as it comes.
    Partial {
        speaker: Speaker,
        /// When others may break in: [`GRACE`] after its last byte, [`PATIENCE`] after its first; none: at once.
        rests: Option<Rest>,
    },
    /// In a piece that lies in its speaker's ring completely.
    Whole { speaker: Speaker, left: usize },
}

/// When an unfinished line rests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rest {
    begun: Milliseconds,
    spoke: Milliseconds,
}

impl Rest {
    const fn at(self) -> Milliseconds {
        let silent = self.spoke.saturating_add(GRACE);
        let long = self.begun.saturating_add(PATIENCE);
        if silent < long { silent } else { long }
    }
}

/// How far [`Mux::pump`] came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The speaker has nothing showable.
    Idle,
    /// The UART is full.
    Blocked,
    /// The quantum is used up, and nobody else waits.
    More,
    /// Another's line is open, or it is another's turn: the speaker is kicked when it may go on.
    Parked,
}

/// What [`Mux::pump`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Pumped {
    /// How far it came.
    pub state: State,
    /// The speaker whose turn it is now.
    pub kick: Speakers,
    /// Somebody waits for a line to rest: the speaker has to be served again at this time.
    pub again: Option<Milliseconds>,
}

/// What a speaker left behind.
#[derive(Clone, Debug)]
struct Voice {
    /// What its lines begin with.
    tag: ArrayVec<u8, TAG>,
    /// A carriage return has been taken and not been shown.
    carriage_return: bool,
    /// Bytes of the ring that are known not to end a line.
    scanned: usize,
    /// Its partition has stopped: what is there is all there will be of the line.
    ended: bool,
    /// Its last piece ended without a line end: one that follows is not a line of its own.
    cut: bool,
}

impl Voice {
    const fn new() -> Self {
        Self {
            tag: ArrayVec::new_const(),
            carriage_return: false,
            scanned: 0,
            ended: false,
            cut: false,
        }
    }
}

/// The multiplexer, under the console lock.
#[derive(Clone, Debug)]
pub struct Mux {
    voices: [Voice; SPEAKERS],
    line: Line,
    /// The terminal's line has its tag.
    begun: bool,
    /// The unfinished line of the focus as the terminal has it, tag included.
    shown: ArrayVec<u8, SHOWN>,
    /// Which bytes of the line are text, which alone is shown again.
    plain: Plain,
    /// The time of the call under way.
    now: Milliseconds,
    /// `shown` is to be shown again when the others are done.
    resume: Option<Speaker>,
    /// Bytes decided on, the UART did not take yet.
    staged: ArrayVec<u8, STAGED>,
    sent: usize,
    parked: Speakers,
}

impl Default for Mux {
    fn default() -> Self {
        Self::new()
    }
}

/// What one look for work found.
enum Step {
    /// Bytes taken from the ring; whether a line or piece is complete.
    Took {
        line_ends: bool,
    },
    Nothing,
    NotYet,
}

impl Mux {
    /// At the start of a line, nobody named.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            voices: [const { Voice::new() }; SPEAKERS],
            line: Line::Closed,
            begun: false,
            shown: ArrayVec::new_const(),
            plain: Plain::Text,
            now: 0,
            resume: None,
            staged: ArrayVec::new_const(),
            sent: 0,
            parked: Speakers::NONE,
        }
    }

    /// Names `speaker`: the first [`NAME`] bytes, unprintable ones as `?`.
    pub fn set_name(&mut self, speaker: Speaker, name: &str) {
        let printable = |byte: u8| if byte.is_ascii_graphic() { byte } else { b'?' };
        if let Some(voice) = self.voices.get_mut(speaker.index()) {
            let name = name.bytes().take(NAME).map(printable);
            voice.tag = b"[".iter().copied().chain(name).chain(*b"] ").collect();
        }
    }

    /// Ends the line `speaker` may have open, and makes the rest of its ring showable.
    pub fn release(&mut self, speaker: Speaker) {
        let open = match self.line {
            Line::Closed => false,
            Line::Partial { speaker: owner, .. } | Line::Whole { speaker: owner, .. } => {
                owner == speaker
            }
        };
        if open {
            self.close();
        }
        if self.resume == Some(speaker) {
            self.resume = None;
        }
        if let Some(voice) = self.voices.get_mut(speaker.index()) {
            voice.ended = true;
        }
    }

    /// Moves bytes of `me`, whose ring is `ring`, to `out` until there are none, `out` takes no more, or the quantum is
    /// used up at the end of a line. `out` gives how many it took. `now` is the time.
    pub fn pump(
        &mut self,
        me: Speaker,
        focus: Speaker,
        now: Milliseconds,
        ring: &Ring,
        out: &mut impl FnMut(&[u8]) -> usize,
    ) -> Pumped {
        self.now = now;
        let state = self.advance(me, focus, ring, out);
        self.hand_over(me, state, out)
    }

    fn advance(
        &mut self,
        me: Speaker,
        focus: Speaker,
        ring: &Ring,
        out: &mut impl FnMut(&[u8]) -> usize,
    ) -> State {
        if !self.flush(out) {
            return State::Blocked;
        }
        self.follow_focus(focus);
        let mut taken = 0;
        loop {
            // The byte that uses up the quantum, or ends the piece, is for the step.
            let most = (QUANTUM - 1).saturating_sub(taken);
            let Some(passed) = self.pass_text(me, ring, most, out) else {
                return State::Blocked;
            };
            taken += passed;
            let step = self.step(me, focus, ring);
            if !self.flush(out) {
                return State::Blocked;
            }
            match step {
                Step::Took { line_ends } => {
                    taken += 1;
                    let in_piece = matches!(self.line, Line::Whole { .. });
                    if taken >= QUANTUM && !in_piece
                        || line_ends && !self.parked.without(Speakers::only(me)).is_empty()
                    {
                        return State::More;
                    }
                }
                Step::Nothing => return State::Idle,
                Step::NotYet => return State::Parked,
            }
        }
    }

    /// When others may speak: now, later, or when the one who speaks has ended (`None`).
    fn open_at(&self) -> Option<Milliseconds> {
        match self.line {
            Line::Closed => Some(self.now),
            Line::Partial { rests, .. } => Some(rests.map_or(self.now, Rest::at)),
            Line::Whole { .. } => None,
        }
    }

    fn is_open(&self) -> bool {
        self.open_at().is_some_and(|at| at <= self.now)
    }

    /// Decides whose turn it is, and puts the prompt back if it is nobody's.
    fn hand_over(
        &mut self,
        me: Speaker,
        state: State,
        out: &mut impl FnMut(&[u8]) -> usize,
    ) -> Pumped {
        let mine = Speakers::only(me);
        let pumped = |state, kick| Pumped {
            state,
            kick,
            again: None,
        };
        match state {
            State::Blocked => return pumped(state, Speakers::NONE),
            State::Parked => self.parked = self.parked.with(mine),
            State::Idle | State::More => self.parked = self.parked.without(mine),
        }
        let open_at = self.open_at();
        if state == State::Parked || open_at.is_none_or(|at| at > self.now) {
            // Behind an unfinished line: whoever parks, and whoever leaves such a line to those parked, comes again.
            let again = open_at.filter(|_| !self.parked.is_empty());
            let kick = Speakers::NONE;
            return Pumped { state, kick, again };
        }
        if let Some(next) = self.parked.next_after(me) {
            let kick = Speakers::only(next);
            self.parked = self.parked.without(kick);
            if state == State::More {
                self.parked = self.parked.with(mine);
                return pumped(State::Parked, kick);
            }
            return pumped(state, kick);
        }
        if state == State::Idle && self.line == Line::Closed {
            self.show_again();
            if !self.flush(out) {
                return pumped(State::Blocked, Speakers::NONE);
            }
        }
        pumped(state, Speakers::NONE)
    }

    /// Ends a line that was shown as it came when its speaker has lost the focus.
    fn follow_focus(&mut self, focus: Speaker) {
        if matches!(self.line, Line::Partial { speaker, .. } if speaker != focus) {
            self.close();
        }
        if self.resume.is_some_and(|speaker| speaker != focus) {
            self.resume = None;
        }
    }

    /// Passes on what `me` has of text in the middle of its line, at most `most` bytes, as steps would do one by one; gives
    /// how many, or none if the UART is full.
    fn pass_text(
        &mut self,
        me: Speaker,
        ring: &Ring,
        most: usize,
        out: &mut impl FnMut(&[u8]) -> usize,
    ) -> Option<usize> {
        let voice = self.voices.get(me.index());
        let most = match self.line {
            _ if !self.begun || voice.is_none_or(|voice| voice.carriage_return) => 0,
            Line::Whole { speaker, left } if speaker == me => left.saturating_sub(1),
            Line::Partial { speaker, .. } if speaker == me && self.plain == Plain::Text => {
                most.min(self.shown.remaining_capacity())
            }
            _ => 0,
        };
        if most == 0 {
            return Some(0);
        }
        // Nothing is staged here: what ends a line, or shows it again, has been flushed by now.
        let text = ring.waiting(0..most).take_while(|byte| is_graphic(*byte));
        self.staged.extend(text);
        if self.staged.is_empty() {
            return Some(0);
        }
        self.sent = out(&self.staged);
        // As a step leaves it: the byte under way is taken, those behind it are not.
        self.staged.truncate(self.sent + 1);
        let passed = self.staged.len();
        ring.skip(passed);
        if let Line::Whole { left, .. } = &mut self.line {
            *left = left.saturating_sub(passed);
        } else {
            let _ = self.shown.try_extend_from_slice(&self.staged);
            self.spoke(me);
        }
        self.is_flushed().then_some(passed)
    }

    /// Takes the next byte of `me`, if it may speak and has one.
    fn step(&mut self, me: Speaker, focus: Speaker, ring: &Ring) -> Step {
        match self.line {
            Line::Whole { speaker, left } if speaker == me => self.continue_piece(me, left, ring),
            Line::Partial { speaker, .. } if speaker == me => self.continue_line(me, ring),
            Line::Closed if me == focus => self.continue_line(me, ring),
            _ if !self.is_open() => self.wait_with(me, focus, ring),
            Line::Closed | Line::Partial { .. } | Line::Whole { .. } => self.begin_piece(me, ring),
        }
    }

    /// Waits for another's line if there is anything to say afterwards.
    fn wait_with(&mut self, me: Speaker, focus: Speaker, ring: &Ring) -> Step {
        let showable = if me == focus {
            !ring.is_empty()
        } else {
            self.piece(me, ring).is_some()
        };
        if showable {
            Step::NotYet
        } else {
            Step::Nothing
        }
    }

    /// Begins a piece, breaking into the resting line of the focus if there is one.
    fn begin_piece(&mut self, me: Speaker, ring: &Ring) -> Step {
        let Some(left) = self.piece(me, ring) else {
            if ring.is_empty() {
                self.forget_end(me);
            }
            return Step::Nothing;
        };
        if let Line::Partial { speaker, .. } = self.line {
            self.close();
            self.resume = Some(speaker);
        }
        if let Some(voice) = self.voices.get_mut(me.index()) {
            voice.scanned = 0;
        }
        self.line = Line::Whole { speaker: me, left };
        Step::Took { line_ends: false }
    }

    /// Gives the length of the piece at the front of the ring: a line, [`PIECE`] bytes of one, or all a stopped
    /// partition has left.
    fn piece(&mut self, me: Speaker, ring: &Ring) -> Option<usize> {
        let voice = self.voices.get_mut(me.index())?;
        let mut scanned = voice.scanned;
        for byte in ring.waiting(scanned..PIECE) {
            if byte == b'\n' {
                return Some(scanned + 1);
            }
            scanned += 1;
        }
        voice.scanned = scanned;
        (scanned >= PIECE || voice.ended && scanned > 0).then_some(scanned)
    }

    /// Takes a byte of the piece that is out in part.
    fn continue_piece(&mut self, me: Speaker, left: usize, ring: &Ring) -> Step {
        let left = left.saturating_sub(1);
        self.line = Line::Whole { speaker: me, left };
        let mut line_ends = ring.pop().is_some_and(|byte| self.show(me, byte));
        if left == 0 {
            if self.begun {
                self.close();
                self.voice(me, |voice| voice.cut = true);
            }
            self.line = Line::Closed;
            line_ends = true;
        }
        Step::Took { line_ends }
    }

    /// Takes a byte of the focus, which is shown as it comes.
    fn continue_line(&mut self, me: Speaker, ring: &Ring) -> Step {
        if ring.is_empty() {
            if self.forget_end(me) && self.line != Line::Closed {
                self.close();
                self.shown.clear();
            }
            return Step::Nothing;
        }
        if self.resume.is_some() {
            self.show_again();
            return Step::Took { line_ends: false };
        }
        self.voice(me, |voice| voice.scanned = 0);
        let line_ends = ring.pop().is_some_and(|byte| self.show(me, byte));
        if self.begun {
            self.spoke(me);
        }
        Step::Took { line_ends }
    }

    /// Notes that `me`, which is in focus, has gone on with its line.
    fn spoke(&mut self, me: Speaker) {
        let spoke = self.now;
        let begun = match self.line {
            Line::Partial {
                rests: Some(rest), ..
            } => rest.begun,
            _ => spoke,
        };
        let rests = Some(Rest { begun, spoke });
        self.line = Line::Partial { speaker: me, rests };
    }

    /// The ring of `me` is empty: gives whether that is a stopped partition's last byte, once.
    fn forget_end(&mut self, me: Speaker) -> bool {
        let voice = self.voices.get_mut(me.index());
        voice.is_some_and(|voice| core::mem::take(&mut voice.ended))
    }

    /// Stages what one byte of `me` becomes: NUL nothing, a line end CR LF, a lone carriage return itself and the tag
    /// anew, the first byte of a line the tag and itself. Gives whether the line has ended.
    fn show(&mut self, me: Speaker, byte: u8) -> bool {
        let Some(voice) = self.voices.get_mut(me.index()) else {
            return false;
        };
        match byte {
            0 => return false,
            b'\r' => {
                voice.carriage_return = true;
                return false;
            }
            _ => {}
        }
        let returned = core::mem::take(&mut voice.carriage_return);
        let cut = core::mem::take(&mut voice.cut);
        let first = !self.begun;
        if byte == b'\n' {
            if cut && first {
                return false;
            }
            if first {
                self.stage_tag(me);
            }
            self.close();
            return true;
        }
        if returned && !first {
            self.stage(b"\r");
        }
        if first || returned {
            self.stage_tag(me);
        }
        self.stage(&[byte]);
        self.remember(me, byte, first || returned);
        false
    }

    /// Keeps the text of what the focus has shown of its line, from its tag on; only the tag if that grows too long.
    fn remember(&mut self, me: Speaker, byte: u8, anew: bool) {
        if matches!(self.line, Line::Whole { .. }) {
            return;
        }
        if self.line == Line::Closed {
            self.plain = Plain::Text;
        }
        if anew || self.shown.is_full() {
            self.shown.clear();
            if let Some(voice) = self.voices.get(me.index()) {
                let _ = self.shown.try_extend_from_slice(&voice.tag);
            }
        }
        if self.plain.keeps(byte) {
            let _ = self.shown.try_push(byte);
        }
    }

    /// Shows the line of the focus again that others have broken into.
    fn show_again(&mut self) {
        if let Some(speaker) = self.resume.take() {
            let shown = self.shown.clone();
            self.stage(&shown);
            self.begun = true;
            self.line = Line::Partial {
                speaker,
                rests: None,
            };
        }
    }

    /// Ends the terminal's line.
    fn close(&mut self) {
        self.stage(b"\r\n");
        self.begun = false;
        self.line = Line::Closed;
    }

    fn stage_tag(&mut self, me: Speaker) {
        if let Some(voice) = self.voices.get(me.index()) {
            let _ = self.staged.try_extend_from_slice(&voice.tag);
        }
        self.begun = true;
    }

    /// Puts bytes behind what the UART is to get. There is always room: see [`STAGED`].
    fn stage(&mut self, bytes: &[u8]) {
        let _ = self.staged.try_extend_from_slice(bytes);
    }

    /// Gives the staged bytes to the UART; gives whether it took them all.
    #[inline(always)]
    fn flush(&mut self, out: &mut impl FnMut(&[u8]) -> usize) -> bool {
        if let Some(rest) = self.staged.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += out(rest);
        }
        self.is_flushed()
    }

    /// Whether the UART has taken all that was staged.
    fn is_flushed(&mut self) -> bool {
        let all = self.sent >= self.staged.len();
        if all {
            self.staged.clear();
            self.sent = 0;
        }
        all
    }

    fn voice(&mut self, me: Speaker, change: impl FnOnce(&mut Voice)) {
        if let Some(voice) = self.voices.get_mut(me.index()) {
            change(voice);
        }
    }

    /// The same with times as ages: what happens next depends on nothing else of them.
    #[cfg(test)]
    pub(super) fn aged(&self, now: Milliseconds) -> Self {
        let mut aged = self.clone();
        aged.now = 0;
        if let Line::Partial {
            rests: Some(rest), ..
        } = &mut aged.line
        {
            rest.begun = now.saturating_sub(rest.begun).min(PATIENCE);
            rest.spoke = now.saturating_sub(rest.spoke).min(GRACE);
        }
        aged
    }

    #[cfg(test)]
    pub(super) fn take_names(&mut self, other: Self) {
        for (voice, old) in self.voices.iter_mut().zip(other.voices) {
            voice.tag = old.tag;
        }
    }
}
