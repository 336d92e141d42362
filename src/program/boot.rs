//! Boot order: the tree, EL2's tables, the console, the bundle, the partitions, the other cores.

use super::fault::{halt, refuse, wrong_level};
use super::log;
use super::state::{self, Host};
use super::system;
use super::{core as loops, partitions, power, selftest, tables};
use crate::arm::list_register::GicVersion;
use crate::edge::boot::{self, Regime};
use crate::edge::firmware;
use crate::edge::gic::HostGic;
use crate::edge::{core as cores, init, takeover, uart};
use crate::model::board::{self, Board, CpuStart, Gic, UartKind};
use crate::model::bundle::{self, System};
use crate::model::console::Speaker;
use crate::model::recorder::Recorder;
use crate::words::{CpuId, Mpidr, Pa, Range};
use aarch64_cpu::asm::wfi;
use core::sync::atomic::Ordering;

/// The exception level the image is made for.
const EL2: u64 = 2;

/// The boot core, from boot.S: `tree` is what firmware put in x0, `level` the exception level. The MMU is off.
pub extern "C" fn primary(tree: u64, level: u64) -> ! {
    if level == EL2 {
        cores::claim_for_boot();
    }
    state::CONSOLE.open();
    state::RECORDERS.iter().for_each(Recorder::open);
    let Some(bytes) = takeover::device_tree(Pa::new(tree)) else {
        mute()
    };
    let board = Board::read(bytes);
    let console = match &board {
        Ok(board) => board.console,
        Err(_) => board::console(bytes),
    };
    if let Some(console) = console {
        system::EMERGENCY.set(kind_of(console.kind), console.registers);
    }
    if level != EL2 {
        wrong_level(level);
    }
    let board = match &board {
        Ok(board) => board,
        Err(error) => refuse(format_args!("the board's device tree: {error}")),
    };
    if init::features().e2h_fixed {
        refuse(format_args!(
            "this CPU's EL2 is always a host's (HCR_EL2.E2H cannot be cleared)"
        ));
    }
    let tree = Range::new(Pa::new(tree), bytes.len() as u64).unwrap_or_default();
    let regime = translate(board, tree);
    start(board, bytes, tree, regime)
}

/// Without a device tree there is no console to say so on.
fn mute() -> ! {
    loop {
        wfi();
    }
}

/// Builds EL2's tables and turns the MMU on.
fn translate(board: &Board<'_>, tree: Range) -> Regime {
    let Some(mut pages) = takeover::own_tables() else {
        halt(format_args!("booted twice"))
    };
    match tables::build(&mut pages, board, tree, init::pa_bits()) {
        Ok(regime) => {
            takeover::turn_mmu_on(regime);
            regime
        }
        Err(error) => refuse(format_args!("EL2's tables: {error}")),
    }
}

/// Goes on with the MMU on.
fn start(board: &Board<'static>, bytes: &'static [u8], tree: Range, regime: Regime) -> ! {
    let own = init::affinity();
    let Some(cpu) = board.cpus.iter().position(|cpu| cpu.mpidr == own) else {
        refuse(format_args!(
            "the boot core, affinity {:#x}, is not in the device tree",
            own.get()
        ));
    };
    let cpu = CpuId::new(u8::try_from(cpu).unwrap_or(0));
    let features = init::features();
    let controller = match board.gic {
        Gic::V2 { .. } => GicVersion::V2,
        Gic::V3 { .. } => GicVersion::V3,
    };
    init::el2(&features, controller);
    power::open(board.power);
    open_console(board);
    log::info!(
        "Bulkhead {} on {}: {} CPUs, {} MiB of RAM, {}",
        env!("CARGO_PKG_VERSION"),
        board.model,
        board.cpus.len(),
        board.ram.iter().map(|range| range.size()).sum::<u64>() >> 20,
        match board.gic {
            Gic::V2 { .. } => "GICv2",
            Gic::V3 { .. } => "GICv3",
        }
    );
    let host = open_host(board, bytes, cpu, own);
    let Some(ramdisk) = board.initrd else {
        refuse(format_args!(
            "no bundle: the boot loader left no initial ramdisk (/chosen linux,initrd-start)"
        ));
    };
    let mut system = System::default();
    if let Err(error) = system.fill(takeover::ramdisk(ramdisk)) {
        refuse(format_args!("the bundle: {error}"));
    }
    if let Err(error) = bundle::fit(&system, board) {
        refuse(format_args!("the bundle does not fit this board: {error}"));
    }
    let kept = [boot::image(), tree, ramdisk];
    super::audit::AT_EACH_TURN.store(system.audit, Ordering::Relaxed);
    state::SELF_TEST.store(system.selftest, Ordering::Relaxed);
    if let Err(error) = partitions::make(&system, board, host, &kept, regime.ttbr) {
        refuse(format_args!("{error}"));
    }
    if system.selftest {
        selftest::ask(cpu);
    }
    system::choose_console_core();
    start_secondaries(board, regime, cpu);
    boot::continue_on_own_stack(cpu, loops::main)
}

/// Takes the console's UART, and names the speakers.
fn open_console(board: &Board<'_>) {
    if let Some(console) = board.console {
        let mut uart = takeover::uart(kind_of(console.kind), console.registers);
        if let Some(uart) = &mut uart {
            uart.set_interrupts(true, false);
        }
        if let Some(mut place) = state::UART.lock() {
            *place = uart;
        }
    }
    state::CONSOLE.name(Speaker::HYPERVISOR, "bulkhead");
    state::CONSOLE.name(Speaker::MONITOR, "monitor");
    system::open_log();
}

/// The driver a console needs.
const fn kind_of(kind: UartKind) -> uart::Kind {
    match kind {
        UartKind::Pl011 => uart::Kind::Pl011,
        UartKind::MiniUart => uart::Kind::Mini,
    }
}

/// Opens the interrupt controller, and writes down what every core needs to know.
fn open_host(board: &Board<'_>, tree: &'static [u8], cpu: CpuId, own: Mpidr) -> &'static Host {
    let affinities = board.cpus.iter().map(|cpu| cpu.mpidr);
    let (gic, maintenance) = match &board.gic {
        Gic::V2 {
            distributor,
            cpu_interface,
            hypervisor,
            virtual_cpu,
            maintenance,
        } => (
            takeover::gic_v2(*distributor, *cpu_interface, *hypervisor, *virtual_cpu),
            *maintenance,
        ),
        Gic::V3 {
            distributor,
            redistributors,
            stride,
            maintenance,
        } => (
            takeover::gic_v3(*distributor, redistributors, *stride, affinities.clone()),
            *maintenance,
        ),
    };
    let Some(mut gic) = gic else {
        refuse(format_args!(
            "the interrupt controller: its registers are too few, or a CPU has no redistributor"
        ))
    };
    if let Some(most) = board.list_registers() {
        gic.limit_list_registers(most);
    }
    gic.start_distributor();
    gic.start_core(cpu, own);
    let hardware_deactivation = match gic {
        HostGic::V2(gic) => gic.hardware_deactivation_works(board.timer.hyp, cpu),
        HostGic::V3(_) => true,
    };
    let firmware = board.psci.map(power::conduit);
    state::HOST.call_once(|| Host {
        gic,
        hardware_deactivation,
        cpus: affinities.collect(),
        firmware,
        maintenance,
        timer: board.timer.hyp,
        uart: board.console.and_then(|console| console.intid),
        tree,
    })
}

/// Starts every other core by the tree's method. One that does not come is named; its partition does not start.
fn start_secondaries(board: &Board<'_>, regime: Regime, own: CpuId) {
    takeover::prepare_secondaries(regime, board.cpus.iter().map(|cpu| cpu.mpidr));
    let entry = boot::secondary_entry_point();
    for (index, cpu) in board.cpus.iter().enumerate() {
        if index == own.index() {
            continue;
        }
        match (cpu.start, board.psci.map(power::conduit)) {
            (CpuStart::Psci, Some(conduit)) => {
                if let Err(error) = firmware::cpu_on(conduit, cpu.mpidr, entry) {
                    log::warn!("CPU {index} does not start: PSCI says {error}");
                    missing(index, own);
                }
            }
            (CpuStart::SpinTable { release }, _) => {
                takeover::release_from_spin_table(release, entry)
            }
            (CpuStart::Psci | CpuStart::Unknown, _) => {
                log::warn!("CPU {index} cannot be started: its enable-method is not known");
                missing(index, own);
            }
        }
    }
}

/// CPU `index` does not come: the boot core, `own`, has the console in its stead, and a partition it leads has failed.
fn missing(index: usize, own: CpuId) {
    let cpu = CpuId::new(u8::try_from(index).unwrap_or(u8::MAX));
    if system::console_core() == cpu {
        system::set_console_core(own);
    }
    if let Some((partition, vcpu)) = state::assignment(cpu)
        && vcpu.get() == 0
    {
        partition.life.fail();
        log::warn!(
            "partition {} does not start: it has no CPU",
            partition.plan.name
        );
    }
}

/// A secondary core, from boot.S, with the MMU on and on its own stack.
pub extern "C" fn secondary(cpu: u64) -> ! {
    loops::main(cpu)
}
