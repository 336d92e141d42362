//! Channels: CHANNEL_INFO and CHANNEL_NOTIFY, the memory's rights, doorbells by call and by page.

use bulkhead_rt::abi::bulkhead as id;
use bulkhead_rt::abi::layout::{CHANNEL_BASE, RAM_BASE};
use bulkhead_rt::gic::Gic;
use bulkhead_rt::hypervisor::{self, Channel};
use bulkhead_rt::mmu::{self, descriptor};
use bulkhead_rt::test::environment::Environment;
use bulkhead_rt::test::trap::{self, Fault, class};
use bulkhead_rt::test::{poll, smp};
use bulkhead_rt::{mmio, timer};

use crate::peer::{reply, request, what};
use crate::suite::{Finding, Suite, expect, own as own_call};

const INFO: &str = "ABI 3 CHANNEL_INFO";
const NOTIFY: &str = "ABI 3 CHANNEL_NOTIFY";
const MEMORY: &str = "ABI 4 channels";
const ABORTS: &str = "ABI 5 What a guest may do wrong";

/// Bytes of a page, and of the doorbell's.
const PAGE: u64 = 4096;
/// Fault status: synchronous external abort.
const EXTERNAL: u64 = 0x10;
/// Not executable.
const NEVER: u64 = descriptor::PXN | descriptor::UXN;
/// How the suite maps channels: as the peer does, but writable even where only stage 2 forbids it.
const CACHED: u64 = descriptor::NORMAL | descriptor::INNER_SHAREABLE | descriptor::ACCESSED | NEVER;
/// Where the suite expects its two-way channel, and the one it only reads.
const TALK: u64 = 0;
const HEAR: u64 = 1;

/// Checks the calls and what they stand for.
pub fn run(suite: &mut Suite) {
    suite.own(
        INFO,
        "an index past the last end is DENIED, by either call",
        |_| {
            [count(), count() + 1, 1 << 32, u64::MAX]
                .into_iter()
                .try_for_each(|index| {
                    expect(index, own(id::CHANNEL_INFO, &[index]), id::DENIED)?;
                    expect(index, own(id::CHANNEL_NOTIFY, &[index]), id::DENIED)
                })
        },
    );
    suite.own(
        INFO,
        "memory and doorbells lie page by page from the channels' base up, in order",
        |_| places(),
    );
    suite.own(INFO, "each doorbell is an SPI of its own", |_| doorbells());
    if !suite.environment.bulkhead || count() < 2 {
        suite.skip(NOTIFY, "doorbells and shared memory", "no peer");
        return;
    }
    suite.own(MEMORY, "every end can be mapped cached", |_| {
        all().try_for_each(|(index, channel)| {
            expect(
                index,
                mmu::map_shared(channel.base, channel.size, CACHED),
                true,
            )
        })
    });
    // A request that was there before the peer is taken for one of its former life.
    suite.own(MEMORY, "the partition at the other end comes up", |_| {
        expect(
            0u64,
            timer::wait_until(smp::PATIENCE, || started() > 0),
            true,
        )
    });
    memory(suite);
    rings(suite);
}

/// The code of a call.
fn own(function: u32, arguments: &[u64]) -> i64 {
    own_call(function, arguments).0
}

fn count() -> u64 {
    (0..)
        .take_while(|index| hypervisor::channel(*index).is_ok())
        .count() as u64
}

fn all() -> impl Iterator<Item = (u64, Channel)> {
    (0..count()).filter_map(|index| Some((index, hypervisor::channel(index).ok()?)))
}

fn places() -> Finding {
    let mut next = CHANNEL_BASE;
    for (index, channel) in all() {
        expect(index, channel.base, next)?;
        expect(index, channel.size > 0 && channel.size % PAGE == 0, true)?;
        next = channel.base + channel.size + PAGE;
        expect(index, next <= RAM_BASE, true)?;
    }
    Ok(())
}

fn doorbells() -> Finding {
    for (index, channel) in all() {
        expect(index, (32..1020).contains(&channel.doorbell), true)?;
        let alike = all().filter(|(_, other)| other.doorbell == channel.doorbell);
        expect(index, alike.count() as u64, 1)?;
    }
    Ok(())
}

/// The channel to talk to the peer by.
pub fn talk() -> Option<Channel> {
    hypervisor::channel(TALK).ok()
}

/// Address of a 64-bit word of a channel.
fn word(channel: &Channel, index: u64) -> u64 {
    channel.base + index * 8
}

/// A request that is under way.
pub struct Pending {
    talk: Channel,
    number: u64,
}

/// Whether the peer says that a request is done.
pub fn is_done(pending: &Pending) -> bool {
    mmio::read64(word(&pending.talk, reply::NUMBER)) == pending.number
}

/// Writes a request, and rings the peer by call and by page in turn.
pub fn ask(what: u64, argument: u64) -> Option<Pending> {
    let talk = talk()?;
    let number = mmio::read64(word(&talk, request::NUMBER)) + 1;
    mmio::write64(word(&talk, request::WHAT), what);
    mmio::write64(word(&talk, request::ARGUMENT), argument);
    mmio::write64(word(&talk, request::NUMBER), number);
    bulkhead_rt::cpu::data_barrier();
    if number.is_multiple_of(2) {
        hypervisor::notify(TALK).ok()?;
    } else {
        mmio::write32(talk.base + talk.size, 1);
    }
    Some(Pending { talk, number })
}

/// Asks, and waits until the peer says that it is done.
pub fn request(what: u64, argument: u64) -> bool {
    ask(what, argument)
        .is_some_and(|pending| timer::wait_until(smp::PATIENCE, || is_done(&pending)))
}

/// Word of the two-way channel that only the suite writes, and nobody else reads.
const MARK: u64 = 12;

/// Leaves a mark in the two-way channel.
pub fn mark(value: u64) -> bool {
    talk()
        .map(|talk| mmio::write64(word(&talk, MARK), value))
        .is_some()
}

/// Reads the mark.
pub fn marked() -> u64 {
    talk().map_or(0, |talk| mmio::read64(word(&talk, MARK)))
}

/// How often the peer has started.
fn started() -> u64 {
    talk().map_or(0, |talk| mmio::read64(word(&talk, reply::STARTS)))
}

/// Waits until the peer has started `starts` times.
pub fn wait_started(starts: u64) -> bool {
    timer::wait_until(smp::PATIENCE, || started() == starts)
}

/// Whether `doing` takes one data abort, an external one.
pub fn aborts(doing: impl FnOnce()) -> bool {
    let (_, fault) = trap::catch(doing);
    fault.is_some_and(|fault: Fault| fault.class() == class::DATA && fault.status() == EXTERNAL)
}

fn memory(suite: &mut Suite) {
    suite.own(
        MEMORY,
        "what the peer writes is read, and the other way round",
        |_| {
            let hear = hypervisor::channel(HEAR);
            for value in [0x0123_4567_89ab_cdef, u64::MAX, 0] {
                expect(value, request(what::WRITE, value), true)?;
                let read = hear.map_or(!value, |hear| mmio::read64(hear.base));
                expect(value, read, value)?;
            }
            Ok(())
        },
    );
    suite.own(MEMORY, "memory is zero where nobody has written", |_| {
        all().try_for_each(|(index, channel)| {
            let mut words = (16..channel.size / 8).map(|index| mmio::read64(word(&channel, index)));
            expect(index, words.all(|word| word == 0), true)
        })
    });
    suite.own(INFO, "CHANNEL_INFO says which end may write", |_| {
        let writable = |index| hypervisor::channel(index).is_ok_and(|channel| channel.writable);
        expect(TALK, writable(TALK), true)?;
        expect(HEAR, writable(HEAR), false)
    });
    suite.own(
        ABORTS,
        "a write to the read-only end is an external abort, and writes nothing",
        |_| {
            let Ok(hear) = hypervisor::channel(HEAR) else {
                return expect(HEAR, false, true);
            };
            [0, 8, hear.size - 8].into_iter().try_for_each(|offset| {
                let before = mmio::read64(hear.base + offset);
                expect(
                    offset,
                    aborts(|| mmio::write64(hear.base + offset, 0x55)),
                    true,
                )?;
                expect(offset, mmio::read64(hear.base + offset), before)
            })
        },
    );
    suite.own(
        ABORTS,
        "an access past the last channel's doorbell is an external abort",
        |_| {
            let end = all()
                .map(|(_, channel)| channel.base + channel.size + PAGE)
                .max();
            expect(
                0u64,
                aborts(|| {
                    let _ = mmio::read32(end.unwrap_or(0));
                }),
                true,
            )
        },
    );
    suite.own(
        MEMORY,
        "channel memory is never executed, whatever the guest's own tables allow",
        |_| {
            all().try_for_each(|(index, channel)| {
                let last = channel.base + channel.size - PAGE;
                expect(index, mmu::map_shared(last, PAGE, CACHED & !NEVER), true)?;
                let (_, fault) = trap::catch(|| trap::execute(last));
                let found = fault.map(|fault| (fault.class(), fault.status()));
                expect(index, found == Some((class::FETCH, EXTERNAL)), true)
            })
        },
    );
    doorbell_page(suite);
}

fn doorbell_page(suite: &mut Suite) {
    let page = || talk().map_or(0, |talk| talk.base + talk.size);
    suite.own(
        MEMORY,
        "a doorbell's page reads as zero, and its other words ignore writes",
        move |_| {
            [0, 4, PAGE - 4].into_iter().try_for_each(|offset| {
                if offset != 0 {
                    mmio::write32(page() + offset, u32::MAX);
                }
                expect(offset, u64::from(mmio::read32(page() + offset)), 0)
            })
        },
    );
    suite.own(
        ABORTS,
        "a doorbell has no width but 32 bits: others are external aborts",
        move |_| {
            let address = page();
            let widths: [(u64, fn(u64)); 6] = [
                (1, |at| mmio::write8(at, 1)),
                (2, |at| mmio::write16(at, 1)),
                (8, |at| mmio::write64(at, 1)),
                (0x11, |at| {
                    let _ = mmio::read8(at);
                }),
                (0x12, |at| {
                    let _ = mmio::read16(at);
                }),
                (0x18, |at| {
                    let _ = mmio::read64(at);
                }),
            ];
            widths
                .into_iter()
                .try_for_each(|(width, access)| expect(width, aborts(|| access(address)), true))
        },
    );
}

/// A way to ring: what the peer is asked for, where its rules are written, and they.
const WAYS: [(u64, &str, [&str; 3]); 2] = [
    (
        what::NOTIFY,
        NOTIFY,
        [
            "a hundred calls one by one are a hundred interrupts",
            "two calls whose doorbell is not taken are one interrupt",
            "many calls whose doorbell is not taken are one interrupt, or one and one more at its end",
        ],
    ),
    (
        what::RING,
        MEMORY,
        [
            "a hundred writes to the doorbell's page one by one are a hundred interrupts",
            "two writes whose doorbell is not taken are one interrupt",
            "many writes whose doorbell is not taken are one interrupt, or one and one more at its end",
        ],
    ),
];

/// Takes what has come of rings, and looks whether that is right.
type Taken = fn(&Gic, u32) -> Finding;

/// Rules for rings while the doorbell is being served: how many there are, and what comes of them.
const WHILE_SERVED: [(&str, u64, Taken); 2] = [
    (
        "a ring while the doorbell is being served is one more interrupt",
        1,
        once,
    ),
    (
        "many rings while the doorbell is being served are one more interrupt, or two",
        7,
        once_or_twice,
    ),
];

fn rings(suite: &mut Suite) {
    suite.own(
        ABORTS,
        "a word written where nothing is, address 0 included, is an external abort and rings nobody",
        |environment| {
            listen(environment, |gic, intid| {
                [0, PAGE, 0].into_iter().try_for_each(|address| {
                    expect(address, request(what::STRAY, address), true)?;
                    once(gic, intid)?;
                    let said = hypervisor::channel(HEAR).map_or(0, |hear| mmio::read64(word(&hear, 1)));
                    expect(address, said, 1)
                })
            })
        },
    );
    for (how, section, [each, two, many]) in WAYS {
        suite.own(section, each, |environment| {
            listen(environment, |gic, intid| {
                (0..100u64).try_for_each(|ring| {
                    expect(ring, request(how, 1), true)?;
                    once(gic, intid)
                })
            })
        });
        suite.own(section, two, |environment| {
            listen(environment, |gic, intid| {
                expect(how, request(how, 2), true)?;
                once(gic, intid)
            })
        });
        // Nobody is told of the later ones, so that no peer can flood a core: whether they came before the doorbell was taken
        // is not known.
        suite.own(section, many, |environment| {
            listen(environment, |gic, intid| {
                expect(how, request(how, 7), true)?;
                once_or_twice(gic, intid)
            })
        });
    }
    for (rule, rings, taken) in WHILE_SERVED {
        suite.own(NOTIFY, rule, |environment| {
            listen(environment, |gic, intid| {
                ring_while_served(gic, rings)?;
                taken(gic, intid)
            })
        });
    }
    suite.own(
        NOTIFY,
        "a ring while the doorbell is disabled waits until it is enabled",
        |environment| {
            listen(environment, |gic, intid| {
                gic.disable(intid);
                expect(0u64, request(what::NOTIFY, 2), true)?;
                expect(1u64, poll::stays_quiet(), true)?;
                gic.enable(intid);
                once(gic, intid)
            })
        },
    );
}

/// Runs `check` with the doorbell of the two-way channel enabled, nothing pending, interrupts masked in PSTATE.
pub fn listen(environment: &Environment, check: impl FnOnce(&Gic, u32) -> Finding) -> Finding {
    let Some(talk) = talk() else {
        return expect(TALK, false, true);
    };
    let gic = &environment.machine.gic;
    gic.enable(talk.doorbell);
    while let Some(interrupt) = gic.acknowledge() {
        gic.end(interrupt);
    }
    let outcome = check(gic, talk.doorbell);
    gic.disable(talk.doorbell);
    outcome
}

/// Has the doorbell rung, takes it, has it rung `rings` times more, and ends it.
fn ring_while_served(gic: &Gic, rings: u64) -> Finding {
    expect(0u64, request(what::NOTIFY, 1), true)?;
    let Some(first) = poll::take(gic) else {
        return expect(1u64, false, true);
    };
    expect(2u64, request(what::NOTIFY, rings), true)?;
    gic.end(first);
    Ok(())
}

/// Takes the doorbell, which must be pending once, or once more when it is ended.
fn once_or_twice(gic: &Gic, intid: u32) -> Finding {
    let taken = poll::serve(gic).map_or(0, u64::from);
    expect(intid, taken, u64::from(intid))?;
    if !poll::stays_quiet() {
        once(gic, intid)?;
    }
    expect(intid, poll::stays_quiet(), true)
}

/// Takes the doorbell, which must be pending once.
pub fn once(gic: &Gic, intid: u32) -> Finding {
    expect(
        intid,
        poll::serve(gic).map_or(0, u64::from),
        u64::from(intid),
    )?;
    expect(intid, poll::signalled(), false)
}
