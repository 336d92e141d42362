//! GICv3 (Arm IHI 0069H). arm-gic brings the distributor and redistributors up; what it lacks is here: word-wise
//! enables, active state, routing by core, list registers.

use super::{
    Frame, GICD_ISENABLER, Interface, MAX_LIST_REGISTERS, PRIORITY_MASK_ALL, name, set_name,
    set_trigger, words_of,
};
use crate::arm::list_register::GicVersion;
use crate::words::limits::MAX_CPUS;
use crate::words::{CpuId, Mpidr, Range, lower_half};
use aarch64_cpu::asm::barrier;
use arm_gic::UniqueMmioPointer;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicDistributor, GicRedistributor};
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

const GICD_CTLR: usize = 0x0000;
const GICD_ICENABLER: usize = 0x0180;
const GICD_ICPENDR: usize = 0x0280;
const GICD_ICACTIVER: usize = 0x0380;
const GICD_ICFGR: usize = 0x0c00;
const GICD_IROUTER: usize = 0x6000;
/// GICD_IROUTER.Interrupt_Routing_Mode: to any core.
const IROUTER_ANY: u64 = 1 << 31;
/// GICD_CTLR.RWP, GICR_CTLR.RWP is bit 3.
const GICD_CTLR_PENDING: u32 = 1 << 31;

const GICR_CTLR: usize = 0x0000;
const GICR_TYPER: usize = 0x0008;
const GICR_CTLR_PENDING: u32 = 1 << 3;
/// GICR_TYPER.Last.
const GICR_TYPER_LAST: u32 = 1 << 4;
/// The SGI frame of a redistributor.
const GICR_SGI: usize = 0x1_0000;

/// ICC_SRE_EL2: system registers on, legacy bypass off, EL1 may use its own.
const ICC_SRE_EL2_ON: u64 = 0b1111;
/// ICC_SRE_EL1: system registers on, legacy bypass off.
const ICC_SRE_EL1_ON: u64 = 0b111;
/// ICC_CTLR_EL1.EOImode.
const ICC_CTLR_EOIMODE: u64 = 1 << 1;
/// ICH_HCR_EL2.En.
const ICH_HCR_ENABLE: u32 = 1;

/// Most looks at a register-write-pending bit before going on.
const LOOKS: u32 = 1_000_000;

/// Where each core's redistributor is.
static REDISTRIBUTORS: [AtomicUsize; MAX_CPUS] = [const { AtomicUsize::new(0) }; MAX_CPUS];

/// A GICv3.
#[derive(Clone, Copy, Debug)]
pub struct V3 {
    distributor: Frame<0x1_0000>,
    list_registers: usize,
    priority_bits: u8,
}

impl V3 {
    /// Takes the distributor, and finds the redistributors of `cpus` in `regions`; `stride` bytes lie between two.
    /// `None` if a CPU has none.
    ///
    /// # Safety
    /// The ranges are a GICv3's as the board's tree names them, mapped as device memory, and nothing else drives it.
    pub unsafe fn new(
        distributor: Range,
        regions: &[Range],
        stride: u64,
        cpus: impl Iterator<Item = Mpidr>,
    ) -> Option<Self> {
        crate::write_register!("s3_4_c12_c9_5", ICC_SRE_EL2_ON);
        barrier::isb(barrier::SY);
        for (index, mpidr) in cpus.enumerate() {
            let at = regions
                .iter()
                .find_map(|region| find(*region, stride, mpidr))?;
            REDISTRIBUTORS.get(index)?.store(at, Ordering::Release);
        }
        let vtr = crate::read_register!("ich_vtr_el2");
        // SAFETY: by this function's contract.
        let distributor = unsafe { Frame::new(distributor) }?;
        Some(Self {
            distributor,
            list_registers: ((vtr & 0x1f) as usize + 1).min(MAX_LIST_REGISTERS),
            priority_bits: (vtr >> 29 & 0x7) as u8 + 1,
        })
    }

    pub(super) fn start_distributor(&self) {
        let gicd = self.distributor;
        gicd.write(GICD_CTLR, 0);
        self.wait();
        if let Some(registers) = NonNull::new(gicd.base.get() as *mut Gicd) {
            // SAFETY: the frame is the distributor's, by the contract of `new`, and only this core runs.
            let registers = unsafe { UniqueMmioPointer::new(registers) };
            // Affinity routing on; every SPI non-secure group 1, level-sensitive, at arm-gic's priority, 0x80.
            GicDistributor::new(registers).configure_default_settings();
        }
        for word in 1..words_of(gicd) as usize {
            gicd.write(GICD_ICENABLER + 4 * word, u32::MAX);
            gicd.write(GICD_ICPENDR + 4 * word, u32::MAX);
            gicd.write(GICD_ICACTIVER + 4 * word, u32::MAX);
        }
        self.wait();
    }

    pub(super) fn start_core(&self, cpu: CpuId, mpidr: Mpidr) {
        set_name(cpu, mpidr.get());
        let Some(gicr) = redistributor(cpu) else {
            return;
        };
        if let Some(registers) = NonNull::new(gicr.base.get() as *mut GicrSgi) {
            // SAFETY: the frames are this core's redistributor, which no other core drives before it is up.
            let registers = unsafe { UniqueMmioPointer::new(registers) };
            let mut redistributor = GicRedistributor::new(registers);
            // The only error is that it is awake already.
            let _ = redistributor.mark_core_awake();
            // Private interrupts disabled, non-secure group 1, level-sensitive, at arm-gic's priority, 0x80.
            redistributor.configure_default_settings();
        }
        gicr.write(GICR_SGI + GICD_ICPENDR, u32::MAX);
        gicr.write(GICR_SGI + GICD_ICACTIVER, u32::MAX);
        crate::write_register!("s3_4_c12_c9_5", ICC_SRE_EL2_ON);
        barrier::isb(barrier::SY);
        crate::write_register!("icc_ctlr_el1", ICC_CTLR_EOIMODE);
        crate::write_register!("icc_bpr1_el1", 0);
        GicCpuInterface::set_priority_mask(PRIORITY_MASK_ALL);
        GicCpuInterface::enable_group1(true);
        barrier::isb(barrier::SY);
    }

    pub(super) fn stop_core(&self) {
        GicCpuInterface::enable_group1(false);
        barrier::isb(barrier::SY);
    }

    pub(super) fn reset_virtual(&self) {
        for index in 0..self.list_registers {
            SystemRegisters.write_list_register(index, 0);
        }
        crate::write_register!("icc_sre_el1", ICC_SRE_EL1_ON);
        crate::write_register!("ich_vmcr_el2", 0);
        crate::write_register!("ich_ap0r0_el2", 0);
        crate::write_register!("ich_ap1r0_el2", 0);
        // The further active-priority registers exist with 6 and 7 preemption bits (12.4.1).
        let preemption_bits = (crate::read_register!("ich_vtr_el2") >> 26 & 0x7) + 1;
        if preemption_bits >= 6 {
            crate::write_register!("ich_ap0r1_el2", 0);
            crate::write_register!("ich_ap1r1_el2", 0);
        }
        if preemption_bits >= 7 {
            crate::write_register!("ich_ap0r2_el2", 0);
            crate::write_register!("ich_ap0r3_el2", 0);
            crate::write_register!("ich_ap1r2_el2", 0);
            crate::write_register!("ich_ap1r3_el2", 0);
        }
        crate::write_register!("ich_hcr_el2", u64::from(ICH_HCR_ENABLE));
        barrier::isb(barrier::SY);
    }

    fn wait(&self) {
        let _ = (0..LOOKS).any(|_| self.distributor.read(GICD_CTLR) & GICD_CTLR_PENDING == 0);
    }

    pub(super) fn enable(&self, word: u32, mask: u32, cpu: CpuId) {
        self.write_bits(GICD_ISENABLER, word, mask, cpu);
    }

    pub(super) fn disable(&self, word: u32, mask: u32, cpu: CpuId) {
        self.write_bits(GICD_ICENABLER, word, mask, cpu);
        match redistributor(cpu) {
            Some(gicr) if word == 0 => wait_for_redistributor(gicr),
            _ => self.wait(),
        }
    }

    pub(super) fn clear_pending(&self, word: u32, mask: u32, cpu: CpuId) {
        self.write_bits(GICD_ICPENDR, word, mask, cpu);
    }

    pub(super) fn clear_active(&self, word: u32, mask: u32, cpu: CpuId) {
        self.write_bits(GICD_ICACTIVER, word, mask, cpu);
    }

    pub(super) fn pending(&self, word: u32, cpu: CpuId) -> u32 {
        match redistributor(cpu) {
            Some(gicr) if word == 0 => gicr.read(GICR_SGI + GICD_ICPENDR),
            _ => self.distributor.read(GICD_ICPENDR + 4 * word as usize),
        }
    }

    pub(super) fn words(&self) -> u32 {
        words_of(self.distributor)
    }

    pub(super) fn enabled_shared(&self, word: u32) -> u32 {
        self.distributor.read(GICD_ISENABLER + 4 * word as usize)
    }

    pub(super) fn goes_to(&self, intid: u32, cpu: CpuId) -> bool {
        let route = self.distributor.read64(GICD_IROUTER + 8 * intid as usize);
        route & IROUTER_ANY != 0 || route & Mpidr::MASK == name(cpu)
    }

    /// Writes word `word` of a bank of bit registers; word 0 is in `cpu`'s redistributor. (The distributor ignores its own.)
    #[inline(always)]
    fn write_bits(&self, bank: usize, word: u32, mask: u32, cpu: CpuId) {
        match redistributor(cpu) {
            Some(gicr) if word == 0 => gicr.write(GICR_SGI + bank, mask),
            _ => self.distributor.write(bank + 4 * word as usize, mask),
        }
    }

    pub(super) fn read_virtual_control(&self) -> u32 {
        lower_half(crate::read_register!("ich_vmcr_el2"))
    }

    pub(super) fn route(&self, intid: u32, cpu: CpuId) {
        self.distributor
            .write64(GICD_IROUTER + 8 * intid as usize, name(cpu));
    }

    pub(super) fn trigger(&self, intid: u32, edge: bool, cpu: CpuId) {
        let register = GICD_ICFGR + 4 * (intid / 16) as usize;
        match redistributor(cpu) {
            Some(gicr) if intid < 32 => set_trigger(gicr, GICR_SGI + register, intid, edge),
            _ => set_trigger(self.distributor, register, intid, edge),
        }
    }

    /// ICC_SGI1R_EL1's value (12.2.20) for the SGI `intid` to the core of this affinity: Aff3, RS, Aff2, INTID, Aff1, target list.
    pub(super) fn order(&self, affinity: u64, intid: u32) -> u64 {
        let (aff0, aff1, aff2, aff3) = (
            affinity & 0xff,
            affinity >> 8 & 0xff,
            affinity >> 16 & 0xff,
            affinity >> 32 & 0xff,
        );
        aff3 << 48
            | aff0 >> 4 << 44
            | aff2 << 32
            | u64::from(intid & 0xf) << 24
            | aff1 << 16
            | 1 << (aff0 & 0xf)
    }

    /// The core's own part, for the short path.
    #[inline(always)]
    #[must_use]
    pub const fn interface(&self) -> SystemRegisters {
        SystemRegisters
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
        macro_rules! read {
            ($($n:literal)*) => {
                match index {
                    $($n => crate::read_register!(concat!("ich_lr", $n, "_el2")),)*
                    _ => 0,
                }
            };
        }
        read!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    }

    pub(super) fn read_control(&self) -> u32 {
        lower_half(crate::read_register!("ich_hcr_el2"))
    }

    pub(super) fn write_control(&self, value: u32) {
        crate::write_register!("ich_hcr_el2", u64::from(value | ICH_HCR_ENABLE));
    }
}

/// The interface of a core to a GICv3: system registers.
#[derive(Clone, Copy, Debug)]
pub struct SystemRegisters;

impl Interface for SystemRegisters {
    /// IAR is the INTID.
    const INTID: u32 = u32::MAX;
    const VERSION: GicVersion = GicVersion::V3;

    #[inline(always)]
    fn acknowledge(self) -> u32 {
        lower_half(crate::read_register!("icc_iar1_el1"))
    }

    #[inline(always)]
    fn drop_priority(self, iar: u32) {
        crate::write_register!("icc_eoir1_el1", u64::from(iar));
    }

    #[inline(always)]
    fn deactivate(self, iar: u32) {
        crate::write_register!("icc_dir_el1", u64::from(iar));
    }

    #[inline(always)]
    fn send(self, order: u64) {
        barrier::dsb(barrier::ISHST);
        // The next exception return or ISB sends it on its way.
        crate::write_register!("icc_sgi1r_el1", order);
    }

    #[inline(always)]
    fn empty_list_registers(self) -> u32 {
        lower_half(crate::read_register!("s3_4_c12_c11_5"))
    }

    #[inline(always)]
    fn ended_list_registers(self) -> u32 {
        lower_half(crate::read_register!("s3_4_c12_c11_3"))
    }

    #[inline(always)]
    fn write_list_register(self, index: usize, value: u64) {
        macro_rules! write {
            ($($n:literal)*) => {
                match index {
                    $($n => crate::write_register!(concat!("ich_lr", $n, "_el2"), value),)*
                    _ => {}
                }
            };
        }
        write!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    }
}

/// A redistributor's RD_base and SGI_base frames.
type Redistributor = Frame<{ 2 * GICR_SGI }>;

/// The redistributor of `cpu`, once it has been found.
fn redistributor(cpu: CpuId) -> Option<Redistributor> {
    let base = REDISTRIBUTORS.get(cpu.index())?.load(Ordering::Acquire);
    NonZeroUsize::new(base).map(|base| Frame { base })
}

fn wait_for_redistributor(gicr: Redistributor) {
    let _ = (0..LOOKS).any(|_| gicr.read(GICR_CTLR) & GICR_CTLR_PENDING == 0);
}

/// Looks for the redistributor of `mpidr` in `region`.
fn find(region: Range, stride: u64, mpidr: Mpidr) -> Option<usize> {
    let base = usize::try_from(region.base().get()).ok()?;
    let stride = usize::try_from(stride).ok()?;
    let frames = usize::try_from(region.size()).ok()? / stride.max(1);
    for index in 0..frames {
        let frame = Redistributor {
            base: NonZeroUsize::new(base + index * stride)?,
        };
        let affinity = u64::from(frame.read(GICR_TYPER + 4));
        let last = frame.read(GICR_TYPER) & GICR_TYPER_LAST != 0;
        // Aff3..Aff0 as four bytes; Mpidr keeps Aff3 in bits 39:32.
        if Mpidr::new(affinity & 0xff_ffff | (affinity >> 24) << 32) == mpidr {
            return Some(frame.base.get());
        }
        if last {
            break;
        }
    }
    None
}
