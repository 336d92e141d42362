//! GICv2 with the virtualization extensions (Arm IHI 0048B).
//!
//! Bit 0 of GICD_CTLR and GICC_CTLR enables the group our interrupts are in. With the Security Extensions EL2 has the
//! non-secure view: the bit is group 1's, firmware has put the interrupts there, GICD_IGROUPR ignores writes and priorities
//! are halved. Without them (QEMU) there is one view and the bit is group 0's: writing zero to GICD_IGROUPR puts the
//! interrupts there whatever firmware did. So the same writes serve both.

use super::{
    Frame, GICD_ISENABLER, Interface, MAX_LIST_REGISTERS, PRIORITY, PRIORITY_MASK_ALL, name,
    set_name, set_trigger, words_of,
};
use crate::arm::list_register::GicVersion;
use crate::words::{CpuId, Mpidr, Pa, Range, lower_half};
use aarch64_cpu::asm::barrier;

const GICD_CTLR: usize = 0x000;
const GICD_IGROUPR: usize = 0x080;
const GICD_ICENABLER: usize = 0x180;
const GICD_ICPENDR: usize = 0x280;
const GICD_ICACTIVER: usize = 0x380;
const GICD_IPRIORITYR: usize = 0x400;
const GICD_ITARGETSR: usize = 0x800;
const GICD_ICFGR: usize = 0xc00;
const GICD_SGIR: usize = 0xf00;
/// GICD_SGIR.CPUTargetList.
const SGIR_TARGETS: u32 = 16;

const GICC_CTLR: usize = 0x000;
const GICC_PMR: usize = 0x004;
const GICC_BPR: usize = 0x008;
const GICC_IAR: usize = 0x00c;
const GICC_EOIR: usize = 0x010;
const GICC_HPPIR: usize = 0x018;
const GICC_APR: usize = 0x0d0;
const GICC_DIR: usize = 0x1000;
/// EOImode for the view EL2 has (EOImodeNS in the non-secure one).
const GICC_CTLR_EOIMODE: u32 = 1 << 9;
const GICC_CTLR_ENABLE: u32 = 1;

const GICH_HCR: usize = 0x000;
const GICH_VTR: usize = 0x004;
const GICH_VMCR: usize = 0x008;
/// Which list registers ended with an EOI that asked for maintenance.
pub const GICH_EISR0: usize = 0x020;
const GICH_ELRSR0: usize = 0x030;
const GICH_APR: usize = 0x0f0;
/// The first list register.
pub const GICH_LR: usize = 0x100;
/// GICH_HCR.En.
const GICH_HCR_ENABLE: u32 = 1;
/// GICH_VMCR with both groups on and every priority admitted.
const GICH_VMCR_OPEN: u32 = 0b11 | 0x1f << 27;
/// GICH_LR: HW, pending.
const GICH_LR_HARDWARE_PENDING: u32 = 1 << 31 | 1 << 28;

const GICV_IAR: usize = 0x00c;
const GICV_EOIR: usize = 0x010;
/// INTID field of IAR and HPPIR.
const INTID: u32 = 0x3ff;

/// A GICv2.
#[derive(Clone, Copy, Debug)]
pub struct V2 {
    cpu_interface: Frame<0x2000>,
    hypervisor: Frame<0x200>,
    distributor: Frame<0x1000>,
    virtual_cpu: Frame<0x1000>,
    list_registers: usize,
    priority_bits: u8,
}

impl V2 {
    /// Takes the four frames; `None` if one is too small.
    ///
    /// # Safety
    /// They are a GICv2's frames as the board's tree names them, mapped as device memory, and nothing else drives it.
    #[must_use]
    pub unsafe fn new(
        distributor: Range,
        cpu_interface: Range,
        hypervisor: Range,
        virtual_cpu: Range,
    ) -> Option<Self> {
        // SAFETY: by this function's contract; so the other three.
        let distributor = unsafe { Frame::new(distributor) }?;
        // SAFETY: as above.
        let cpu_interface = unsafe { Frame::new(cpu_interface) }?;
        // SAFETY: as above.
        let hypervisor = unsafe { Frame::new(hypervisor) }?;
        // SAFETY: as above.
        let virtual_cpu = unsafe { Frame::new(virtual_cpu) }?;
        let vtr = hypervisor.read(GICH_VTR);
        Some(Self {
            distributor,
            cpu_interface,
            hypervisor,
            virtual_cpu,
            list_registers: ((vtr & 0x3f) as usize + 1).min(MAX_LIST_REGISTERS),
            priority_bits: (vtr >> 29 & 0x7) as u8 + 1,
        })
    }

    /// Where the virtual CPU interface lies, which guests get as theirs.
    #[must_use]
    pub fn virtual_interface(&self) -> Pa {
        self.virtual_cpu.base()
    }

    /// The addresses of GICC_DIR and of the GICH registers: what ends an interrupt.
    pub(in crate::edge) fn ending(&self) -> [usize; 2] {
        let dir = self.cpu_interface.address(GICC_DIR);
        [dir, self.hypervisor.address(0)]
    }

    pub(super) fn start_distributor(&self) {
        let gicd = self.distributor;
        gicd.write(GICD_CTLR, 0);
        let words = words_of(gicd) as usize;
        for word in 1..words {
            gicd.write(GICD_ICENABLER + 4 * word, u32::MAX);
            gicd.write(GICD_ICPENDR + 4 * word, u32::MAX);
            gicd.write(GICD_ICACTIVER + 4 * word, u32::MAX);
            gicd.write(GICD_IGROUPR + 4 * word, 0);
        }
        for quad in 8..words * 8 {
            gicd.write(
                GICD_IPRIORITYR + 4 * quad,
                u32::from(PRIORITY) * 0x0101_0101,
            );
        }
        gicd.write(GICD_CTLR, 1);
    }

    pub(super) fn start_core(&self, cpu: CpuId, _: Mpidr) {
        let (gicd, gicc) = (self.distributor, self.cpu_interface);
        // The banked target registers show the reader's own bit; a single-core distributor has none and reads zero.
        let targets = gicd.read(GICD_ITARGETSR);
        let own = (targets | targets >> 8 | targets >> 16 | targets >> 24) & 0xff;
        set_name(cpu, u64::from(own.max(1)));
        gicd.write(GICD_ICENABLER, u32::MAX);
        gicd.write(GICD_ICPENDR, u32::MAX);
        gicd.write(GICD_ICACTIVER, u32::MAX);
        gicd.write(GICD_IGROUPR, 0);
        for quad in 0..8 {
            gicd.write(
                GICD_IPRIORITYR + 4 * quad,
                u32::from(PRIORITY) * 0x0101_0101,
            );
        }
        for register in 0..4 {
            gicc.write(GICC_APR + 4 * register, 0);
        }
        gicc.write(GICC_PMR, PRIORITY_MASK_ALL.into());
        gicc.write(GICC_BPR, 0);
        gicc.write(GICC_CTLR, GICC_CTLR_ENABLE | GICC_CTLR_EOIMODE);
    }

    pub(super) fn stop_core(&self) {
        self.cpu_interface.write(GICC_CTLR, 0);
    }

    pub(super) fn reset_virtual(&self) {
        for index in 0..self.list_registers {
            self.write_list_register(index, 0);
        }
        self.hypervisor.write(GICH_APR, 0);
        self.hypervisor.write(GICH_VMCR, 0);
        self.hypervisor.write(GICH_HCR, GICH_HCR_ENABLE);
    }

    /// Whether a guest's EOI deactivates a level-sensitive physical interrupt through a list register so that it is
    /// signalled again while its line stays high. QEMU's GICv2 forgets to (`../shared/platforms.md`, trap 1).
    ///
    /// Plays the guest on the calling core with the EL2 timer, whose interrupt is `timer`: line high, acknowledged,
    /// injected, ended through GICV; then the distributor must offer it again.
    // Apart, so that a test can give the answer itself.
    #[inline(never)]
    pub fn hardware_deactivation_works(&self, timer: u32, cpu: CpuId) -> bool {
        crate::write_register!("cnthp_cval_el2", 0);
        crate::write_register!("cnthp_ctl_el2", 1);
        barrier::isb(barrier::SY);
        self.enable(0, 1 << timer, cpu);
        let iar = self.wait_for(timer);
        let works = iar.is_some_and(|iar| {
            self.drop_priority(iar);
            self.hypervisor.write(GICH_VMCR, GICH_VMCR_OPEN);
            self.write_list_register(0, u64::from(GICH_LR_HARDWARE_PENDING | timer << 10 | timer));
            let taken = self.virtual_cpu.read(GICV_IAR);
            self.virtual_cpu.write(GICV_EOIR, taken);
            taken & INTID == timer && self.cpu_interface.read(GICC_HPPIR) & INTID == timer
        });
        crate::edge::timer::stop();
        self.disable(0, 1 << timer, cpu);
        self.clear_pending(0, 1 << timer, cpu);
        self.clear_active(0, 1 << timer, cpu);
        self.reset_virtual();
        works
    }

    /// Acknowledges `intid` once it is offered, within a bounded number of looks.
    fn wait_for(&self, intid: u32) -> Option<u32> {
        const LOOKS: u32 = 10_000;
        for _ in 0..LOOKS {
            if self.cpu_interface.read(GICC_HPPIR) & INTID == intid {
                return Some(self.acknowledge());
            }
        }
        None
    }

    pub(super) fn enable(&self, word: u32, mask: u32, _: CpuId) {
        self.distributor
            .write(GICD_ISENABLER + 4 * word as usize, mask);
    }

    pub(super) fn disable(&self, word: u32, mask: u32, _: CpuId) {
        self.distributor
            .write(GICD_ICENABLER + 4 * word as usize, mask);
    }

    pub(super) fn clear_pending(&self, word: u32, mask: u32, _: CpuId) {
        self.distributor
            .write(GICD_ICPENDR + 4 * word as usize, mask);
    }

    pub(super) fn clear_active(&self, word: u32, mask: u32, _: CpuId) {
        self.distributor
            .write(GICD_ICACTIVER + 4 * word as usize, mask);
    }

    pub(super) fn pending(&self, word: u32, _: CpuId) -> u32 {
        self.distributor.read(GICD_ICPENDR + 4 * word as usize)
    }

    pub(super) fn words(&self) -> u32 {
        words_of(self.distributor)
    }

    pub(super) fn enabled_shared(&self, word: u32) -> u32 {
        self.distributor.read(GICD_ISENABLER + 4 * word as usize)
    }

    pub(super) fn goes_to(&self, intid: u32, cpu: CpuId) -> bool {
        let targets = self.distributor.read(GICD_ITARGETSR + intid as usize) >> (8 * (intid % 4));
        u64::from(targets) & name(cpu) & 0xff != 0
    }

    pub(super) fn read_virtual_control(&self) -> u32 {
        self.hypervisor.read(GICH_VMCR)
    }

    pub(super) fn route(&self, intid: u32, cpu: CpuId) {
        // By byte: the neighbours in the word may be other partitions', whose cores write them at the same time.
        let [target, ..] = name(cpu).to_le_bytes();
        self.distributor
            .write8(GICD_ITARGETSR + intid as usize, target);
    }

    pub(super) fn trigger(&self, intid: u32, edge: bool, _: CpuId) {
        let register = GICD_ICFGR + 4 * (intid / 16) as usize;
        set_trigger(self.distributor, register, intid, edge);
    }

    /// GICD_SGIR's value for the SGI `intid` to the core of this name.
    pub(super) fn order(&self, name: u64, intid: u32) -> u64 {
        (name & 0xff) << SGIR_TARGETS | u64::from(intid & 0xf)
    }

    /// The core's own part, for the short path.
    #[inline(always)]
    #[must_use]
    pub const fn interface(&self) -> Self {
        *self
    }

    pub(super) fn limit_list_registers(&mut self, most: usize) {
        self.list_registers = self.list_registers.min(most.max(1));
    }

    pub(super) const fn list_registers(&self) -> usize {
        self.list_registers
    }

    pub(super) const fn priority_bits(&self) -> u8 {
        self.priority_bits
    }

    pub(super) fn read_list_register(&self, index: usize) -> u64 {
        u64::from(self.hypervisor.read(GICH_LR + 4 * index))
    }

    pub(super) fn read_control(&self) -> u32 {
        self.hypervisor.read(GICH_HCR)
    }

    pub(super) fn write_control(&self, value: u32) {
        self.hypervisor.write(GICH_HCR, value | GICH_HCR_ENABLE);
    }
}

impl Interface for V2 {
    /// Above the INTID, IAR has an SGI's source.
    const INTID: u32 = INTID;
    const VERSION: GicVersion = GicVersion::V2;

    #[inline(always)]
    fn acknowledge(self) -> u32 {
        self.cpu_interface.read(GICC_IAR)
    }

    #[inline(always)]
    fn drop_priority(self, iar: u32) {
        self.cpu_interface.write(GICC_EOIR, iar);
    }

    #[inline(always)]
    fn deactivate(self, iar: u32) {
        self.cpu_interface.write(GICC_DIR, iar);
    }

    #[inline(always)]
    fn send(self, order: u64) {
        barrier::dsb(barrier::ISHST);
        self.distributor.write(GICD_SGIR, lower_half(order));
    }

    #[inline(always)]
    fn empty_list_registers(self) -> u32 {
        self.hypervisor.read(GICH_ELRSR0)
    }

    #[inline(always)]
    fn ended_list_registers(self) -> u32 {
        self.hypervisor.read(GICH_EISR0)
    }

    #[inline(always)]
    fn write_list_register(self, index: usize, value: u64) {
        self.hypervisor
            .write(GICH_LR + 4 * index, lower_half(value));
    }
}
