//! A core, its guest and its partition in memory, for the tests of this layer.
#![allow(
    clippy::cast_possible_truncation,
    reason = "numbers in tests are small"
)]

use super::channel::Link;
use super::crash::Crashes;
use super::exit::{self, Exit, Next};
use super::heartbeat::Heartbeat;
use super::here::Here;
use super::hypercall;
use super::lifecycle::Life;
use super::machine::{BoardEnd, Exception, Machine, Taken, Workaround};
use super::partition::{Partition, Statistics, Vcpu};
use crate::arm::id::{IdRegister, Rights};
use crate::arm::list_register::ListRegister;
use crate::arm::registers::Registers;
use crate::model::bundle::{Format, OnCrash, Payload, Plan};
use crate::model::console::{Console, Speaker};
use crate::model::image::Layout;
use crate::model::pl011::Pl011;
use crate::model::placement::{End, Extent};
use crate::model::portions::Portions;
use crate::model::power::{Power, Start};
use crate::model::quiesce::Quiesce;
use crate::model::translation::Tree;
use crate::model::vgic::{
    Config, Deactivation, DirectTable, Effect, Effects, Filled, GicVersion, Source, Vgic,
};
use crate::model::watch::Repeats;
use crate::words::limits::MAX_PARTITIONS;
use crate::words::{CpuId, Ipa, Pa, PartitionId, Range, Va, VcpuId};
use arrayvec::ArrayVec;
use spin::Once;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

/// First byte of the test partition's RAM and its bytes, in two halves with a hole between them on the board.
pub const RAM: u64 = 0x4000_0000;
pub const RAM_SIZE: u64 = 0x40_0000;
pub const HALF: u64 = RAM_SIZE / 2;
pub const FIRST_HALF: u64 = 0x8000_0000;
pub const SECOND_HALF: u64 = 0x9000_0000;
/// The guest's virtual addresses of its RAM and devices lie this much above the intermediate physical ones.
pub const KERNEL: u64 = 0xffff_0000_0000_0000;
/// Where the fake core goes on after an injected exception.
pub const VECTOR: u64 = 0x4030_0200;
/// EL1h with DAIF masked.
pub const EL1H: u64 = 0x3c5;
/// EL0t.
pub const EL0T: u64 = 0;
/// Where the test partition's first channel lies.
pub const CHANNELS: u64 = 0x0a10_0000;
/// Ticks of the fake counter in a second.
pub const FREQUENCY: u64 = 62_500_000;
/// Identifier of the test partition.
pub const ID: u8 = 3;

/// The core the behaviour believes to run on: list registers in an array, RAM in a map, everything else noted.
pub struct Fake {
    pub list_registers: Vec<ListRegister>,
    pub memory: HashMap<u64, u32>,
    pub stack_pointer: u64,
    pub rights: Rights,
    pub csv2: u64,
    pub ssbs: u64,
    /// What firmware says of each workaround, in their order.
    pub firmware: [i64; 3],
    /// What it was asked to do.
    pub worked_around: Vec<(Workaround, bool)>,
    pub injected: Vec<Exception>,
    /// ELR_EL1.
    pub exception_link: u64,
    pub kicked: Vec<CpuId>,
    pub effects: Vec<Effect>,
    pub set_way: Vec<u64>,
    /// In how many parts maintenance by set and way is done.
    pub set_way_parts: usize,
    /// Whether the guest's data is big-endian.
    pub big_endian: bool,
    pub printed: usize,
    pub took_input: usize,
    pub fetched: Cell<usize>,
    /// What the source of random numbers gives, from the last to the first; none: there is no source.
    pub entropy: Option<Vec<u64>>,
    pub counter: u64,
    pub timer: Option<u64>,
    /// How the board was to end: it goes on, as one without a way to end.
    pub ended: Vec<BoardEnd>,
}

impl Fake {
    /// A core with nothing pending and no instructions in RAM.
    pub fn new(version: GicVersion) -> Self {
        Self {
            list_registers: Vec::new(),
            memory: HashMap::new(),
            stack_pointer: 0,
            rights: Rights {
                gic_system_registers: version == GicVersion::V3,
                performance_monitors: true,
                self_hosted_debug: true,
            },
            csv2: 0,
            ssbs: 0,
            firmware: [-1; 3],
            worked_around: Vec::new(),
            injected: Vec::new(),
            exception_link: 0,
            kicked: Vec::new(),
            effects: Vec::new(),
            set_way: Vec::new(),
            set_way_parts: 1,
            big_endian: false,
            printed: 0,
            took_input: 0,
            fetched: Cell::new(0),
            entropy: None,
            counter: 0,
            timer: None,
            ended: Vec::new(),
        }
    }
}

impl Machine for Fake {
    fn take_list_registers(&mut self, taken: &mut Taken) {
        taken.list_registers.extend(self.list_registers.drain(..));
    }

    fn list_registers_used(&self) -> bool {
        !self.list_registers.is_empty()
    }

    fn put_list_registers(&mut self, filled: &Filled) {
        assert!(
            self.list_registers.is_empty(),
            "a fill follows a fold and finds them empty"
        );
        self.list_registers = filled.lrs.to_vec();
    }

    fn split_eoi(&self) -> bool {
        false
    }

    fn apply(&mut self, effect: &Effect, _: &[CpuId]) {
        self.effects.push(*effect);
    }

    fn physical_pending(&self, _: u8, _: CpuId) -> u32 {
        0
    }

    fn kick(&mut self, cpu: CpuId) {
        self.kicked.push(cpu);
    }

    fn kick_posted(&mut self, cpu: CpuId) {
        self.kicked.push(cpu);
    }

    fn kick_rung(&mut self, cpu: CpuId) {
        self.kicked.push(cpu);
    }

    fn kick_on(&mut self, cpu: CpuId) {
        self.kicked.push(cpu);
    }

    fn list_registers_overflow(&self) -> bool {
        false
    }

    fn list_one(&mut self, value: u64) {
        assert!(self.list_registers.is_empty());
        self.list_registers
            .push(ListRegister::decode(GicVersion::V3, value));
    }

    fn exception_link(&self) -> u64 {
        self.exception_link
    }

    fn inject(&mut self, registers: &mut Registers, exception: Exception) {
        self.injected.push(exception);
        self.exception_link = registers.pc;
        (registers.pc, registers.pstate) = (VECTOR, EL1H);
    }

    fn translate(&self, _: &Registers, address: Va) -> Option<Ipa> {
        address.get().checked_sub(KERNEL).map(Ipa::new)
    }

    fn read_guest(&self, address: Pa) -> Option<u32> {
        assert!(address.is_aligned(4));
        self.fetched.set(self.fetched.get() + 1);
        self.memory.get(&address.get()).copied()
    }

    fn stack_pointer(&self, _: &Registers) -> u64 {
        self.stack_pointer
    }

    fn set_stack_pointer(&mut self, _: &Registers, value: u64) {
        self.stack_pointer = value;
    }

    fn rights(&self) -> Rights {
        self.rights
    }

    fn maintain_set_way(&mut self, argument: u64) -> bool {
        self.set_way.push(argument);
        self.set_way.len() >= self.set_way_parts
    }

    fn is_big_endian(&self, _: &Registers) -> bool {
        self.big_endian
    }

    fn id_register(&self, register: IdRegister) -> u64 {
        match register {
            IdRegister::AA64PFR0 => self.csv2 << 56 | 0x11,
            IdRegister::AA64PFR1 => self.ssbs << 4,
            _ => 0,
        }
    }

    fn take_input(&mut self) {
        self.took_input += 1;
    }

    fn firmware_says(&self, workaround: Workaround) -> i64 {
        self.firmware[workaround as usize]
    }

    fn work_around(&mut self, workaround: Workaround, on: bool) {
        assert_eq!(
            self.firmware_says(workaround),
            0,
            "firmware is called where it said so"
        );
        self.worked_around.push((workaround, on));
    }

    fn has_entropy(&self) -> bool {
        self.entropy.is_some()
    }

    fn entropy(&mut self) -> Option<u64> {
        self.entropy.as_mut()?.pop()
    }

    fn counter(&self) -> u64 {
        self.counter
    }

    fn counter_frequency(&self) -> u64 {
        FREQUENCY
    }

    fn set_timer(&mut self, deadline: Option<u64>) {
        self.timer = deadline;
    }

    fn console_written(&mut self) {
        self.printed += 1;
    }

    fn end_board(&mut self, end: BoardEnd) {
        self.ended.push(end);
    }
}

/// A partition, its console, and the core of one of its vCPUs.
pub struct Bench {
    pub partition: Box<Partition<'static>>,
    /// The others, by identifier.
    pub others: Vec<Once<Partition<'static>>>,
    pub console: Box<Console>,
    pub machine: Fake,
    pub registers: Registers,
    pub vcpu: VcpuId,
}

impl Bench {
    /// A partition of `vcpus` vCPUs of which 0 is on, and its core.
    pub fn new(version: GicVersion, vcpus: u8) -> Self {
        let partition = Box::new(partition(version, vcpus));
        let mut effects = Effects::new(&partition.direct);
        partition.interrupts.lock().reset(&mut effects);
        partition.life.start();
        partition.life.run();
        switch_on(&partition.vcpus[0].power);
        Self {
            partition,
            others: (0..MAX_PARTITIONS).map(|_| Once::new()).collect(),
            console: Box::new(Console::default()),
            machine: Fake::new(version),
            registers: Registers {
                pc: KERNEL + RAM + 0x1000,
                pstate: EL1H,
                ..Registers::new()
            },
            vcpu: VcpuId::new(0),
        }
    }

    /// Adds a running partition with this identifier, of one vCPU, on CPU 0.
    pub fn neighbour(&mut self, id: u8) -> &Partition<'static> {
        let mut other = partition(self.partition.gic_version, 1);
        other.plan.id = PartitionId::new(id);
        other.cpus[0] = CpuId::new(0);
        other.vcpus[0].cpu = CpuId::new(0);
        other.life.start();
        other.life.run();
        self.others[usize::from(id)] = Once::initialized(other);
        self.others[usize::from(id)].get().unwrap()
    }

    /// Adds a channel of two pages to the neighbour `id`, the test partition's first end or its second.
    pub fn channel(&mut self, id: u8, first: bool) {
        let index = self.partition.channels.len() as u64;
        let intid = 256 + u16::try_from(index).unwrap();
        let end = |id, writable| End {
            partition: PartitionId::new(id),
            ipa: Ipa::new(CHANNELS + index * 0x3000),
            intid,
            writable,
        };
        let ends = if first {
            [end(ID, true), end(id, false)]
        } else {
            [end(id, true), end(ID, false)]
        };
        let range = Range::new(Pa::new(0xa000_0000), 0x2000).unwrap();
        let link: &'static Link<'static> = Box::leak(Box::new(Link::new("x", range, ends)));
        let port = link.port(PartitionId::new(ID)).unwrap();
        self.partition.channels.push(port);
        for other in [
            &*self.partition,
            self.others[usize::from(id)].get().unwrap(),
        ] {
            other.interrupts.lock().own(intid, Source::Edge);
        }
    }

    pub fn v3(vcpus: u8) -> Self {
        Self::new(GicVersion::V3, vcpus)
    }

    pub fn power(&self, vcpu: usize) -> &Power {
        &self.partition.vcpus[vcpu].power
    }

    /// What the guest has printed and nobody has shown yet.
    pub fn output(&self) -> Vec<u8> {
        let ring = self.console.ring(Speaker::partition(PartitionId::new(ID)));
        std::iter::from_fn(|| ring.pop()).collect()
    }

    /// Types `bytes` as far as there is room; gives how many.
    pub fn type_in(&self, bytes: &[u8]) -> usize {
        let input = self.console.input(PartitionId::new(ID)).unwrap();
        bytes.iter().take_while(|byte| input.push(**byte)).count()
    }

    /// Does something as the vCPU on its core.
    pub fn on_core<R>(
        &mut self,
        operation: impl FnOnce(&Here<'_, '_>, &Console, &mut Fake, &mut Registers) -> R,
    ) -> R {
        let others: Vec<_> = self.others.iter().map(Once::get).collect();
        let here = Here {
            partition: &self.partition,
            vcpu: self.vcpu,
            partitions: &others,
        };
        operation(&here, &self.console, &mut self.machine, &mut self.registers)
    }

    /// Calls `function` with `arguments` in X1 and up; gives X0 to X3 and what the vCPU does next.
    pub fn call(&mut self, function: u64, arguments: &[u64]) -> ([u64; 4], Next) {
        self.registers.x[0] = function;
        self.registers.x[1..8].fill(0);
        self.registers.x[1..=arguments.len()].copy_from_slice(arguments);
        let next = self.on_core(hypercall::answer);
        let x = &self.registers.x;
        ([x[0], x[1], x[2], x[3]], next)
    }

    /// Exits with this syndrome for the access to `ipa` at its kernel address.
    pub fn exit(&mut self, esr: u64, ipa: u64) -> Next {
        self.exit_at(esr, KERNEL.wrapping_add(ipa), ipa)
    }

    /// Exits with this syndrome and addresses.
    pub fn exit_at(&mut self, esr: u64, far: u64, ipa: u64) -> Next {
        // HPFAR_EL2.FIPA, bits 43:4, is bits 51:12 of the address.
        let hpfar = ipa >> 12 << 4;
        let exit = Exit { esr, far, hpfar };
        self.on_core(|here, console, machine, registers| {
            exit::synchronous(here, console, machine, registers, &exit)
        })
    }

    /// Puts an instruction where the PC points.
    pub fn instruction(&mut self, word: u32) {
        let offset = self.registers.pc - KERNEL - RAM;
        let address = if offset < HALF {
            FIRST_HALF + offset
        } else {
            SECOND_HALF + (offset - HALF)
        };
        self.machine.memory.insert(address, word);
    }
}

/// Brings a vCPU from off to on.
pub fn switch_on(power: &Power) {
    power.switch_on(Start::default()).unwrap();
    power.take_start().unwrap();
}

fn partition(version: GicVersion, vcpus: u8) -> Partition<'static> {
    let cpus: ArrayVec<_, _> = (0..vcpus).map(|vcpu| CpuId::new(7 - vcpu)).collect();
    let vcpu = |cpu: &CpuId| Vcpu {
        cpu: *cpu,
        power: Power::new(),
        statistics: Statistics::new(Box::leak(Box::default())),
        repeats: Repeats::new(),
    };
    let extent = |base: u64, ipa: u64| Extent {
        range: Range::new(Pa::new(base), HALF).unwrap(),
        ipa: Ipa::new(ipa),
    };
    Partition {
        plan: plan(cpus.clone()),
        layout: Some(Layout {
            entry: Ipa::new(RAM),
            pieces: ArrayVec::new(),
            dtb: Ipa::new(RAM),
            dtb_room: 0,
            initrd: None,
        }),
        extents: [extent(FIRST_HALF, RAM), extent(SECOND_HALF, RAM + HALF)]
            .into_iter()
            .collect(),
        share: crate::model::share::Share::default(),
        stage2: Tree::new_stage2(Pa::new(0x7000_0000), 40),
        tables: [crate::words::Range::default(); 2],
        blank: crate::words::Range::default(),
        vcpus: cpus.iter().map(vcpu).collect(),
        cpus,
        gic_version: version,
        interrupts: spin::mutex::SpinMutex::new(interrupts(version, vcpus)),
        direct: DirectTable::new(),
        quiesce: Quiesce::new(),
        uart: spin::mutex::SpinMutex::new(Pl011::new()),
        loading: Portions::new(),
        channels: ArrayVec::new(),
        heartbeat: Heartbeat::new(),
        life: Life::new(),
        crashes: spin::mutex::SpinMutex::new(Crashes::new()),
        pmu: None,
        counter_offset: AtomicU64::new(0),
        give_up: || panic!("gave up"),
    }
}

fn plan(cpus: ArrayVec<CpuId, { crate::words::limits::MAX_VCPUS }>) -> Plan<'static> {
    Plan {
        id: PartitionId::new(ID),
        name: "test",
        cpus,
        memory: RAM_SIZE,
        kernel: Payload {
            data: &[],
            sha256: [0; 32],
        },
        format: Format::Raw,
        initrd: None,
        bootargs: "",
        load: None,
        dtb: None,
        on_crash: OnCrash::Stop,
        heartbeat_ms: None,
        manage: 0,
        observe: false,
        devices: ArrayVec::new(),
        dma_unconfined: false,
    }
}

fn interrupts(version: GicVersion, vcpus: u8) -> Vgic {
    let mut vgic = Vgic::new(&Config {
        version,
        vcpus,
        list_registers: 4,
        priority_bits: 5,
        deactivation: Deactivation::Hardware,
    });
    vgic.own(27, Source::Physical { edge: false });
    vgic.own(33, Source::Level);
    vgic
}
