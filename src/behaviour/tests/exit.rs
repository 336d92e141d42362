//! Every synchronous exit ends in something the architecture has (hypercalls.md, section 5).

use super::super::exit::Next;
use super::super::lifecycle::Reason;
use super::super::partition::Counter;
use super::super::testing::{Bench, EL0T, KERNEL, VECTOR};

const IL: u64 = 1 << 25;
/// ESR_EL1: unknown reason.
const UNDEFINED: u64 = IL;

fn class(number: u64) -> u64 {
    number << 26 | IL
}

fn count(bench: &Bench, counter: Counter) -> u64 {
    bench.partition.vcpus[0]
        .statistics
        .get(counter as usize)
        .unwrap()
}

#[test]
fn classes_nobody_handles_are_undefined_in_the_guest() {
    // All but WFx, HVC, SMC, system registers, and aborts from below.
    let handled = [0x01, 0x16, 0x17, 0x18, 0x20, 0x24];
    for number in (0..64).filter(|number| !handled.contains(number)) {
        let mut bench = Bench::v3(1);
        let before = bench.registers;
        assert_eq!(bench.exit(class(number), 0), Next::Resume);
        assert_eq!(bench.registers.x, before.x);
        assert_eq!(bench.registers.pc, VECTOR);
        let [exception] = bench.machine.injected[..] else {
            panic!("class {number:#x}: {:?}", bench.machine.injected);
        };
        assert_eq!((exception.esr, exception.far), (UNDEFINED, None));
    }
}

#[test]
fn an_hvc_goes_on_behind_itself_and_a_trapped_smc_is_skipped() {
    for (number, further) in [(0x16, 0), (0x17, 4)] {
        let mut bench = Bench::v3(1);
        bench.registers.x[0] = 0x8400_0000;
        let pc = bench.registers.pc;
        assert_eq!(bench.exit(class(number), 0), Next::Resume);
        assert_eq!(bench.registers.x[0], 0x1_0001);
        assert_eq!(bench.registers.pc, pc + further);
        assert!(bench.machine.injected.is_empty());
    }
}

#[test]
fn an_hvc_with_an_immediate_is_not_supported_and_changes_nothing_else() {
    for immediate in [1, 0x1234, 0xffff] {
        let mut bench = Bench::v3(1);
        bench.registers.x = [0x8400_0000; 31];
        let mut expected = bench.registers;
        expected.x[0] = u64::MAX;
        assert_eq!(bench.exit(class(0x16) | immediate, 0), Next::Resume);
        assert_eq!(bench.registers, expected);
    }
}

#[test]
fn an_smc_with_an_immediate_is_undefined() {
    let mut bench = Bench::v3(1);
    bench.registers.x[0] = 0x8400_0000;
    bench.exit(class(0x17) | 1, 0);
    assert_eq!(bench.machine.injected[0].esr, UNDEFINED);
    assert_eq!(bench.registers.x[0], 0x8400_0000);
}

#[test]
fn a_trapped_wait_is_done() {
    for kind in 0..4 {
        let mut bench = Bench::v3(1);
        let pc = bench.registers.pc;
        assert_eq!(bench.exit(class(0x01) | kind, 0), Next::Standby);
        assert_eq!(bench.registers.pc, pc + 4);
    }
}

#[test]
fn a_fetch_from_nowhere_is_an_instruction_abort() {
    for (pstate, number) in [(0x3c5, 0x21), (0x3c4, 0x21), (EL0T, 0x20), (0x10, 0x20)] {
        let mut bench = Bench::v3(1);
        bench.registers.pstate = pstate;
        assert_eq!(bench.exit(class(0x20) | 7, 0x0900_0000), Next::Resume);
        let exception = bench.machine.injected[0];
        assert_eq!(exception.esr, class(number) | 0x10);
        assert_eq!(exception.far, Some(KERNEL + 0x0900_0000));
    }
}

#[test]
fn a_vector_that_faults_on_itself_stops_the_partition() {
    for esr in [
        class(0x20) | 7, // its first instruction cannot be fetched
        class(0x24) | 7, // or loads from nowhere
        class(0x19),     // or is UNDEFINED
    ] {
        let mut bench = Bench::v3(1);
        assert_eq!(bench.exit(esr, 0x0f80_0000), Next::Resume);
        assert_eq!(bench.registers.pc, VECTOR);
        assert_eq!(
            bench.exit(esr, 0x0f80_0000),
            Next::Stop(Reason::Crash),
            "{esr:#x}"
        );
    }
}

#[test]
fn a_vector_that_faults_on_itself_behind_its_first_instruction_stops_the_partition() {
    for esr in [class(0x20) | 7, class(0x24) | 7, class(0x19)] {
        let mut bench = Bench::v3(1);
        let mut exits = 0;
        loop {
            exits += 1;
            match bench.exit(esr, 0x0f80_0000) {
                // What the guest executes of its vector before it faults again.
                Next::Resume => bench.registers.pc = VECTOR + 0x10,
                next => {
                    assert_eq!(next, Next::Stop(Reason::Crash), "{esr:#x}");
                    break;
                }
            }
        }
        // The exception, the first out of the vector, and eight that repeat it.
        assert_eq!(exits, 1 + 1 + 8, "{esr:#x}");
    }
}

#[test]
fn exits_are_counted_by_their_cause() {
    let mut bench = Bench::v3(1);
    for (esr, ipa, counter) in [
        (class(0x16), 0, Counter::Hvc),
        (class(0x17), 0, Counter::Smc),
        (class(0x01), 0, Counter::Wfx),
        (class(0x18) | 1 << 22, 0, Counter::SystemRegister),
        (
            class(0x24) | 1 << 24 | 2 << 22 | 7,
            0x0900_0018,
            Counter::Mmio,
        ),
        (class(0x24) | 1 << 24 | 2 << 22 | 7, 0, Counter::Stage2Fault),
        (class(0x20) | 7, 0, Counter::Stage2Fault),
    ] {
        let before = count(&bench, counter);
        bench.exit(esr, ipa);
        assert_eq!(count(&bench, counter), before + 1, "{esr:#x}");
    }
    assert_eq!(count(&bench, Counter::Mmio), 1);
    assert_eq!(count(&bench, Counter::Stage2Fault), 2);
}
