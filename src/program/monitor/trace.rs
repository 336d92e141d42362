//! `trace`: the flight recorders, line by line, as fast as the console takes them.

use super::{print, prompt, say};
use crate::edge::init;
use crate::model::console::Speaker;
use crate::model::recorder::{Deed, TRAIL_EVENTS};
use crate::program::state::{self, CONSOLE, RECORDERS, assignment, partitions};
use crate::program::system;
use crate::words::CpuId;
use crate::words::limits::{LINE, MAX_CPUS};
use arrayvec::ArrayString;
use core::fmt::Write;
use spin::mutex::SpinMutex;

/// Room in the monitor's ring for one more line.
const ROOM: u32 = 256;

/// A dump under way.
struct Dump {
    core: usize,
    /// The next event of the core.
    next: u64,
    /// The event each core comes to: what happens during the dump is not part of it.
    ends: [u64; MAX_CPUS],
    /// The next place in the trails of the core under way, one trail after the other.
    short: usize,
}

static DUMP: SpinMutex<Option<Dump>> = SpinMutex::new(None);

/// Begins to show every event that is there.
pub fn begin() {
    say!("trace frequency {}", init::counter_frequency());
    for partition in partitions() {
        say!(
            "trace partition {} {}",
            partition.plan.id,
            partition.plan.name
        );
    }
    let mut ends = [0; MAX_CPUS];
    for (end, recorder) in ends.iter_mut().zip(RECORDERS) {
        *end = recorder.written();
    }
    *DUMP.lock() = Some(Dump {
        core: 0,
        next: 0,
        ends,
        short: 0,
    });
    go_on();
}

/// Shows as many events as the monitor's ring has room for.
pub fn go_on() {
    let Some(mut dump) = DUMP.try_lock() else {
        return;
    };
    let ring = CONSOLE.ring(Speaker::MONITOR);
    while let Some(under_way) = dump.as_mut() {
        while ring.space() > ROOM {
            if !under_way.line() {
                *dump = None;
                print(&mut b"trace end\n".iter().copied());
                prompt();
                break;
            }
        }
        system::serve(Speaker::MONITOR);
        if !ring.is_empty() {
            return;
        }
    }
}

impl Dump {
    /// Shows an event of the core's short path; `false` if there is none left. (Those of one kind come in no order.)
    fn short_line(&mut self) -> bool {
        let core = CpuId::new(u8::try_from(self.core).unwrap_or(u8::MAX));
        let Some((partition, vcpu)) = assignment(core) else {
            return false;
        };
        while let Some(deed) = Deed::ALL.get(self.short / TRAIL_EVENTS) {
            let place = self.short % TRAIL_EVENTS;
            self.short += 1;
            let Some(event) = state::trails(core).of(*deed).get(place, init::counter) else {
                continue;
            };
            let mut line: ArrayString<LINE> = ArrayString::new();
            let (id, code) = (partition.plan.id, deed.code());
            let _ = writeln!(
                line,
                "trace short {core} {} {id} {vcpu} {code} {:x}",
                event.at, event.detail
            );
            print(&mut line.bytes());
            return true;
        }
        false
    }

    /// Shows an event; `false` if there is none left.
    fn line(&mut self) -> bool {
        while let (Some(recorder), Some(end)) = (RECORDERS.get(self.core), self.ends.get(self.core))
        {
            self.next = self.next.max(recorder.oldest());
            if self.next >= *end {
                if self.short_line() {
                    return true;
                }
                (self.core, self.next, self.short) = (self.core + 1, 0, 0);
                continue;
            }
            let event = recorder.get(self.next);
            self.next += 1;
            let Some(event) = event else { continue };
            let mut line: ArrayString<LINE> = ArrayString::new();
            let _ = writeln!(
                line,
                "trace {} {} {} {} {} {} {:x} {:x}",
                self.core,
                event.at,
                event.took,
                event.what.code(),
                event.partition,
                event.vcpu,
                event.pc,
                event.detail
            );
            print(&mut line.bytes());
            return true;
        }
        false
    }
}
