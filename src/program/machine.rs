//! The calling core as behaviour sees it.

use super::log;
use super::state::{self, Host};
use super::{power, system};
use crate::arm::id::{self, HostFeatures, IdRegister, Rights};
use crate::arm::list_register::{GicVersion, InterfaceControl, ListRegister};
use crate::arm::registers::Registers;
use crate::arm::syndrome::{Kind, PstateFeatures, enter_el1};
use crate::behaviour::machine::{BoardEnd, Exception, Machine, Taken, Workaround};
use crate::behaviour::partition::Partition;
use crate::edge::gic::{POSTED, RUNG, START};
use crate::edge::{cache, firmware, guest, init, takeover, timer};
use crate::model::vgic::{DirectTable, Effect, Filled, Private};
use crate::words::{CpuId, Ipa, Pa, Range, Va, VcpuId};

/// ICH_HCR_EL2.TDIR: ICC_DIR_EL1 traps.
const TRAP_DEACTIVATE: u32 = 1 << 14;

/// Bytes of RAM a core writes back before it looks for interrupts again.
const MAINTAINED_AT_ONCE: u64 = 1 << 20;

/// A core and its guest's hardware.
#[derive(Clone, Copy, Debug)]
pub struct Hardware {
    /// The board.
    pub host: &'static Host,
    /// What the core has.
    pub features: HostFeatures,
    /// What firmware says of the workarounds on this core.
    pub workarounds: [i32; 3],
    /// The partition whose vCPU runs here.
    pub partition: &'static Partition<'static>,
    /// The core's number.
    pub cpu: CpuId,
    /// What may be injected directly: nothing at all while the last fill left interrupts out.
    pub direct: &'static DirectTable,
    /// The same, of the vCPU's private interrupts.
    pub private: Private<'static>,
    /// Whether the last fill left interrupts out.
    pub overflow: bool,
    /// The vCPU's number.
    pub vcpu: VcpuId,
    /// What the short path put into GICH_LR0, a physical interrupt, if nobody has looked at that since; or 0.
    pub listed: u32,
    /// How much of the partition's RAM was written back for the set/way instruction the guest is at.
    pub maintained: u64,
}

impl Hardware {
    fn version(&self) -> GicVersion {
        self.partition.gic_version
    }

    /// Which of the core's list registers are in use.
    fn used(&self) -> u32 {
        let gic = &self.host.gic;
        !gic.empty_list_registers() & (u32::MAX >> (32 - gic.list_registers().clamp(1, 32)))
    }

    fn physical_of(&self, vcpu: VcpuId, cpus: &[CpuId]) -> CpuId {
        cpus.get(vcpu.index()).copied().unwrap_or(self.cpu)
    }
}

impl Machine for Hardware {
    fn take_list_registers(&mut self, taken: &mut Taken) {
        let gic = &self.host.gic;
        self.listed = 0;
        let mut left = self.used();
        while left != 0 {
            let index = left.trailing_zeros() as usize;
            left &= left - 1;
            let raw = gic.read_list_register(index);
            let _ = taken
                .list_registers
                .try_push(ListRegister::decode(self.version(), raw));
            gic.write_list_register(index, 0);
        }
        // A list register that ended with an EOI notice is empty, but its notice stands until it is cleared.
        let mut ended = gic.ended_list_registers();
        while ended != 0 {
            let index = ended.trailing_zeros() as usize;
            ended &= ended - 1;
            gic.write_list_register(index, 0);
        }
        let control = gic.read_control();
        // With EOImode 1 only a deactivation counts, which TDIR keeps from the hardware while one could. QEMU's GICv3 counts
        // mere priority drops too (platforms.md).
        taken.eoi_count = match InterfaceControl::eoi_count(control) {
            0 => 0,
            _ if gic.guest_splits_eoi() => 0,
            count => count,
        };
    }

    fn list_one(&mut self, value: u64) {
        self.host.gic.write_list_register(0, value);
    }

    fn list_registers_overflow(&self) -> bool {
        self.overflow
    }

    fn list_registers_used(&self) -> bool {
        self.used() != 0
    }

    fn put_list_registers(&mut self, filled: &Filled) {
        for (index, list_register) in filled.lrs.iter().enumerate() {
            self.host
                .gic
                .write_list_register(index, list_register.encode(self.version()));
        }
        self.overflow = filled.overflow;
        self.direct = if filled.overflow {
            &state::NOTHING
        } else {
            &self.partition.direct
        };
        self.private = self.direct.private(self.vcpu);
        // With an active interrupt evicted, its deactivation must be seen.
        let trap = if filled.evicted && self.version() == GicVersion::V3 {
            TRAP_DEACTIVATE
        } else {
            0
        };
        self.host.gic.write_control(filled.control().bits() | trap);
    }

    fn split_eoi(&self) -> bool {
        self.host.gic.guest_splits_eoi()
    }

    fn apply(&mut self, effect: &Effect, cpus: &[CpuId]) {
        let gic = &self.host.gic;
        match *effect {
            Effect::Enable { vcpu, word, mask } => {
                gic.enable(word.into(), mask, self.physical_of(vcpu, cpus))
            }
            Effect::Disable { vcpu, word, mask } => {
                gic.disable(word.into(), mask, self.physical_of(vcpu, cpus))
            }
            Effect::Deactivate { vcpu, word, mask } => {
                gic.clear_active(word.into(), mask, self.physical_of(vcpu, cpus));
            }
            Effect::ClearPending { vcpu, word, mask } => {
                gic.clear_pending(word.into(), mask, self.physical_of(vcpu, cpus));
            }
            Effect::Reset { vcpu, word, mask } => {
                let cpu = self.physical_of(vcpu, cpus);
                gic.disable(word.into(), mask, cpu);
                gic.clear_pending(word.into(), mask, cpu);
                gic.clear_active(word.into(), mask, cpu);
                if word > 0
                    && let Some(first) = cpus.first()
                {
                    for_each_interrupt(word, mask, |intid| gic.route(intid, *first));
                }
            }
            Effect::Trigger { word, mask, edge } => for_each_interrupt(word, mask, |intid| {
                gic.trigger(intid, edge >> (intid % 32) & 1 == 1, self.cpu);
            }),
            Effect::Route { intid, vcpu } => gic.route(intid.into(), self.physical_of(vcpu, cpus)),
        }
    }

    fn physical_pending(&self, word: u8, cpu: CpuId) -> u32 {
        self.host.gic.pending(word.into(), cpu)
    }

    fn kick(&mut self, cpu: CpuId) {
        self.host.gic.kick(cpu);
    }

    fn kick_posted(&mut self, cpu: CpuId) {
        self.host.gic.send(cpu, POSTED);
    }

    #[inline(always)]
    fn kick_rung(&mut self, cpu: CpuId) {
        self.host.gic.send(cpu, RUNG);
    }

    fn kick_on(&mut self, cpu: CpuId) {
        self.host.gic.send(cpu, START);
    }

    fn exception_link(&self) -> u64 {
        guest::exception_link()
    }

    fn inject(&mut self, registers: &mut Registers, exception: Exception) {
        let features = PstateFeatures {
            privileged_access_never: self.features.privileged_access_never,
            speculative_store_bypass: self.features.speculative_store_bypass,
            memory_tagging: self.features.mte,
        };
        guest::set_exception(registers, exception.esr, exception.far);
        let (sctlr, vbar) = guest::exception_controls();
        let entry = enter_el1(registers.pstate, sctlr, vbar, Kind::Synchronous, features);
        (registers.pc, registers.pstate) = (entry.pc, entry.pstate);
    }

    fn translate(&self, registers: &Registers, address: Va) -> Option<Ipa> {
        guest::translate(address, registers.is_el0())
    }

    fn read_guest(&self, address: Pa) -> Option<u32> {
        let extents = &self.partition.extents;
        let word = Range::new(address, 4)?;
        let extent = extents.iter().find(|extent| extent.range.contains(word))?;
        takeover::guest_ram(extent.range).read_u32(address)
    }

    fn stack_pointer(&self, registers: &Registers) -> u64 {
        guest::stack_pointer(uses_sp_el1(registers))
    }

    fn set_stack_pointer(&mut self, registers: &Registers, value: u64) {
        guest::set_stack_pointer(uses_sp_el1(registers), value);
    }

    fn rights(&self) -> Rights {
        Rights {
            gic_system_registers: self.version() == GicVersion::V3,
            performance_monitors: true,
            self_hosted_debug: true,
        }
    }

    fn maintain_set_way(&mut self, argument: u64) -> bool {
        // The first level is the core's own, and the guest's with it: done as asked, but cleaned as well as invalidated.
        // Levels below hold other partitions' lines too. A guest walks all sets and ways of one; what it wants of
        // that, its own RAM written back, is done by address at the first of them.
        let level = argument >> 1 & 0b111;
        let set_and_way = argument >> 4;
        if level == 0 {
            cache::clean_and_invalidate_set_way(argument);
        } else if set_and_way == 0 {
            return self.maintain_part();
        }
        true
    }

    fn is_big_endian(&self, registers: &Registers) -> bool {
        guest::is_big_endian(registers.is_el0())
    }

    fn id_register(&self, register: IdRegister) -> u64 {
        id::filter(register, guest::id_register(register), self.rights())
    }

    fn take_input(&mut self) {
        system::uart_interrupt();
    }

    fn firmware_says(&self, workaround: Workaround) -> i64 {
        let [targets, bypass, history] = self.workarounds;
        i64::from(match workaround {
            Workaround::BranchTargets => targets,
            Workaround::StoreBypass => bypass,
            Workaround::BranchHistory => history,
        })
    }

    fn work_around(&mut self, workaround: Workaround, on: bool) {
        match workaround {
            Workaround::BranchTargets => firmware::clear_branch_targets(),
            Workaround::StoreBypass => firmware::stop_store_bypass(on),
            Workaround::BranchHistory => firmware::clear_branch_history(),
        }
    }

    fn has_entropy(&self) -> bool {
        self.features.random_numbers
    }

    fn entropy(&mut self) -> Option<u64> {
        guest::entropy()
    }

    fn counter(&self) -> u64 {
        init::counter()
    }

    fn counter_frequency(&self) -> u64 {
        init::counter_frequency()
    }

    fn set_timer(&mut self, deadline: Option<u64>) {
        // Others have put things off to the same timer: it is only ever set to an earlier time, and whoever it fires for
        // too early sets it again.
        if let Some(deadline) = deadline {
            timer::set_counter(deadline);
        }
    }

    fn console_written(&mut self) {
        system::serve_partition(self.partition.plan.id);
    }

    fn end_board(&mut self, end: BoardEnd) {
        if !power::is_known() {
            return;
        }
        let what = match end {
            BoardEnd::Off => "off",
            BoardEnd::Reset => "reset",
        };
        let name = self.partition.plan.name;
        log::info!("partition {name}, the manager, asks: board {what}");
        power::end(end);
    }
}

impl Hardware {
    /// Writes the next part of the partition's RAM back; `false` while more follow.
    fn maintain_part(&mut self) -> bool {
        let mut skip = self.maintained;
        for extent in &self.partition.extents {
            let size = extent.range.size();
            if skip < size {
                let part = MAINTAINED_AT_ONCE.min(size - skip);
                cache::clean_and_invalidate(extent.range.base().get() + skip, part);
                self.maintained += part;
                return false;
            }
            skip -= size;
        }
        self.maintained = 0;
        true
    }
}

/// PSTATE.SP and EL: EL1h alone uses SP_EL1.
const fn uses_sp_el1(registers: &Registers) -> bool {
    registers.pstate & 0b1_1111 == 0b0_0101
}

/// Calls `each` with the INTIDs whose bits `mask` has in `word`.
fn for_each_interrupt(word: u8, mask: u32, mut each: impl FnMut(u32)) {
    let mut left = mask;
    while left != 0 {
        each(u32::from(word) * 32 + left.trailing_zeros());
        left &= left - 1;
    }
}
