//! List registers: how EL2 hands virtual interrupts to a core's virtual CPU interface.
//!
//! [`ListRegister`] is one format for both controllers, laid out as ICH_LR<n>_EL2 (GICv3, IHI 0069 12.4.8);
//! [`ListRegister::encode`] and [`ListRegister::decode`] translate to and from GICH_LR<n> (GICv2, IHI 0048 5.3.10).
//! Also the few bits of ICH_HCR/GICH_HCR, ICH_VTR/GICH_VTR, EISR and ELRSR that go with them; data only.

/// Which register front end a controller has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GicVersion {
    /// GICv2: memory-mapped CPU interface, GICH and GICV frames.
    V2,
    /// GICv3 (or 4): redistributors and system registers.
    V3,
}

/// State of a list register's interrupt (ICH_LR<n>_EL2.State).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No interrupt: never written, or finished by the guest.
    Invalid,
    /// Waits for the guest to acknowledge it.
    Pending,
    /// Acknowledged, not yet deactivated.
    Active,
    /// Acknowledged, and pending once more; only for interrupts without HW.
    PendingActive,
}

impl State {
    /// Whether the pending half is set.
    #[must_use]
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Pending | Self::PendingActive)
    }

    /// Whether the active half is set.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::PendingActive)
    }

    const fn bits(self) -> u64 {
        match self {
            Self::Invalid => 0,
            Self::Pending => 1,
            Self::Active => 2,
            Self::PendingActive => 3,
        }
    }

    const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Invalid,
            1 => Self::Pending,
            2 => Self::Active,
            _ => Self::PendingActive,
        }
    }
}

/// One list register's value, in ICH_LR<n>_EL2's layout.
///
/// Without HW, bits 34:32 hold GICv2's source CPU of an SGI, where GICv3 has zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct ListRegister(u64);

/// ICH_LR<n>_EL2.State.
const STATE_SHIFT: u32 = 62;
/// ICH_LR<n>_EL2.HW.
const HARDWARE: u64 = 1 << 61;
/// ICH_LR<n>_EL2.Group.
const GROUP1: u64 = 1 << 60;
/// ICH_LR<n>_EL2.Priority.
const PRIORITY_SHIFT: u32 = 48;
/// ICH_LR<n>_EL2.pINTID: 10 of its 13 bits, as no physical INTID above 1019 is handed through.
const PHYSICAL_SHIFT: u32 = 32;
/// ICH_LR<n>_EL2.EOI, bit 41, when HW is zero.
const EOI: u64 = 1 << 41;
/// INTIDs of SGIs, PPIs and SPIs: the VirtualID of both formats.
pub const INTID_MASK: u64 = 0x3ff;
/// GICH_LR<n>.CPUID: three bits.
const SOURCE_MASK: u64 = 7;

/// GICH_LR<n>.HW.
const V2_HARDWARE: u64 = 1 << 31;
/// GICH_LR<n>.Grp1.
const V2_GROUP1: u64 = 1 << 30;
/// GICH_LR<n>.State.
const V2_STATE_SHIFT: u32 = 28;
/// GICH_LR<n>.Priority: the upper five bits of a priority.
const V2_PRIORITY_SHIFT: u32 = 23;
/// GICH_LR<n>.PhysicalID; the source CPU of an SGI when HW is zero.
const V2_PHYSICAL_SHIFT: u32 = 10;
/// GICH_LR<n>'s EOI bit, when HW is zero.
pub const V2_EOI: u64 = 1 << 19;

impl ListRegister {
    /// `value`, an SGI in GICH_LR<n>'s format, with `source` as the CPU it comes from (bits 12:10, IHI 0048B 5.3.11).
    #[must_use]
    #[inline(always)]
    pub const fn v2_from(value: u64, source: u32) -> u64 {
        value & !(0b111 << 10) | (source as u64 & 0b111) << 10
    }

    /// The interrupt `intid` in `state`, with its `priority` and group, no EOI notice and no physical interrupt behind it.
    #[must_use]
    pub const fn new(intid: u16, state: State, priority: u8, group1: bool) -> Self {
        let group = if group1 { GROUP1 } else { 0 };
        Self(
            (state.bits() << STATE_SHIFT)
                | group
                | ((priority as u64) << PRIORITY_SHIFT)
                | (intid as u64 & INTID_MASK),
        )
    }

    /// The same, deactivating the physical interrupt of the same INTID with the virtual one (HW=1, pINTID).
    #[must_use]
    pub const fn with_hardware(self) -> Self {
        let physical = (self.0 & INTID_MASK) << PHYSICAL_SHIFT;
        Self((self.0 & !(INTID_MASK << PHYSICAL_SHIFT)) | HARDWARE | physical)
    }

    /// The same, with a maintenance interrupt once it is invalid; only without HW.
    #[must_use]
    pub const fn with_eoi(self) -> Self {
        Self(self.0 | EOI)
    }

    /// The same, as an SGI sent by CPU `source` (GICv2).
    #[must_use]
    pub const fn with_source(self, source: u8) -> Self {
        Self(self.0 | ((source as u64 & SOURCE_MASK) << PHYSICAL_SHIFT))
    }

    /// The same, as if sent by CPU 0.
    #[must_use]
    pub const fn without_source(self) -> Self {
        Self(self.0 & !(SOURCE_MASK << PHYSICAL_SHIFT))
    }

    /// The same in another state.
    #[must_use]
    pub const fn with_state(self, state: State) -> Self {
        Self((self.0 & !(3 << STATE_SHIFT)) | (state.bits() << STATE_SHIFT))
    }

    /// The virtual interrupt's INTID, 0..=1023.
    #[must_use]
    pub const fn intid(self) -> u16 {
        low16(self.0 & INTID_MASK)
    }

    /// What the interrupt is in.
    #[must_use]
    pub const fn state(self) -> State {
        State::from_bits(self.0 >> STATE_SHIFT)
    }

    /// Whether a physical interrupt is deactivated with this one.
    #[must_use]
    pub const fn is_hardware(self) -> bool {
        self.0 & HARDWARE != 0
    }

    /// Whether the end of this interrupt raises the maintenance interrupt.
    #[must_use]
    pub const fn has_eoi(self) -> bool {
        !self.is_hardware() && self.0 & EOI != 0
    }

    /// Group 1 if true, else group 0.
    #[must_use]
    pub const fn is_group1(self) -> bool {
        self.0 & GROUP1 != 0
    }

    /// The priority, in the upper bits of the byte as in GICD_IPRIORITYR.
    #[must_use]
    pub const fn priority(self) -> u8 {
        low8(self.0 >> PRIORITY_SHIFT)
    }

    /// The CPU that sent this SGI (GICv2); zero otherwise.
    #[must_use]
    pub const fn source(self) -> u8 {
        if self.is_hardware() {
            0
        } else {
            low8((self.0 >> PHYSICAL_SHIFT) & SOURCE_MASK)
        }
    }

    /// The value as this version's register takes it: ICH_LR<n>_EL2, or GICH_LR<n> in the lower half.
    #[must_use]
    pub const fn encode(self, version: GicVersion) -> u64 {
        match version {
            GicVersion::V3 => self.0,
            GicVersion::V2 => self.to_v2(),
        }
    }

    /// Reads what this version's register held.
    #[must_use]
    pub const fn decode(version: GicVersion, raw: u64) -> Self {
        match version {
            GicVersion::V3 => Self(raw),
            GicVersion::V2 => Self::from_v2(raw),
        }
    }

    const fn to_v2(self) -> u64 {
        let mut raw = (self.0 & INTID_MASK)
            | (self.state().bits() << V2_STATE_SHIFT)
            | ((self.priority() as u64 >> 3) << V2_PRIORITY_SHIFT);
        if self.is_group1() {
            raw |= V2_GROUP1;
        }
        if self.is_hardware() {
            raw |= V2_HARDWARE | (((self.0 >> PHYSICAL_SHIFT) & INTID_MASK) << V2_PHYSICAL_SHIFT);
        } else {
            raw |= (self.source() as u64) << V2_PHYSICAL_SHIFT;
            if self.has_eoi() {
                raw |= V2_EOI;
            }
        }
        raw
    }

    const fn from_v2(raw: u64) -> Self {
        let mut value = (raw & INTID_MASK)
            | (((raw >> V2_STATE_SHIFT) & 3) << STATE_SHIFT)
            | ((((raw >> V2_PRIORITY_SHIFT) & 0x1f) << 3) << PRIORITY_SHIFT);
        if raw & V2_GROUP1 != 0 {
            value |= GROUP1;
        }
        if raw & V2_HARDWARE != 0 {
            value |= HARDWARE | (((raw >> V2_PHYSICAL_SHIFT) & INTID_MASK) << PHYSICAL_SHIFT);
        } else {
            value |= ((raw >> V2_PHYSICAL_SHIFT) & SOURCE_MASK) << PHYSICAL_SHIFT;
            if raw & V2_EOI != 0 {
                value |= EOI;
            }
        }
        Self(value)
    }
}

/// The lower 16 bits.
const fn low16(value: u64) -> u16 {
    let [low, high, ..] = value.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// The lowest byte.
const fn low8(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

bitflags::bitflags! {
    /// ICH_HCR_EL2 (IHI 0069 12.4.5) and GICH_HCR (IHI 0048 5.3.1), which share these positions.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct InterfaceControl: u32 {
        /// En: the virtual CPU interface works.
        const ENABLE = 1 << 0;
        /// UIE: interrupt when at most one list register is valid.
        const UNDERFLOW = 1 << 1;
        /// LRENPIE: interrupt when EOIcount is not zero.
        const ENTRY_NOT_PRESENT = 1 << 2;
        /// NPIE: interrupt when no list register is pending.
        const NO_PENDING = 1 << 3;
        /// TC: traps ICC registers common to both groups, ICC_DIR_EL1 and ICC_SGI1R_EL1 among them (GICv3).
        const TRAP_COMMON = 1 << 10;
        /// TDIR: traps ICC_DIR_EL1 alone, where ICH_VTR_EL2.TDS is one (GICv3).
        const TRAP_DEACTIVATE = 1 << 14;
    }
}

impl InterfaceControl {
    /// EOIcount: ends of interrupts that had no list register, as read from the register's value `raw`.
    #[must_use]
    pub const fn eoi_count(raw: u32) -> u32 {
        raw >> 27
    }
}

/// ICH_VTR_EL2 (IHI 0069 12.4.9) or GICH_VTR (IHI 0048 5.3.2): what the virtual CPU interface has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InterfaceType(u32);

impl InterfaceType {
    /// Takes the register's value.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// Number of list registers, at most the 16 of GICv3; a GICv2 that has more keeps the rest unused.
    #[must_use]
    pub fn list_registers(self) -> u8 {
        low8(u64::from((self.0 & 0x1f).min(15) + 1))
    }

    /// Number of virtual priority bits.
    #[must_use]
    pub fn priority_bits(self) -> u8 {
        low8(u64::from((self.0 >> 29) + 1))
    }

    /// Whether ICC_DIR_EL1 can be trapped alone (TDS, GICv3 only).
    #[must_use]
    pub const fn traps_deactivate(self) -> bool {
        self.0 & 1 << 19 != 0
    }
}

/// The list registers in use, of `count`, when ICH_ELRSR_EL2 or GICH_ELRSR0 reads `empty`.
///
/// One that ended with an EOI notice still due counts as in use.
#[must_use]
pub const fn in_use(empty: u32, count: u8) -> u32 {
    !empty & (((1u64 << (count & 31)) - 1) & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ich_lr_has_the_fields_where_ihi0069_puts_them() {
        let plain = ListRegister::new(27, State::Pending, 0xa0, true);
        assert_eq!(plain.encode(GicVersion::V3), 0x50a0_0000_0000_001b);
        assert_eq!(
            plain.with_hardware().encode(GicVersion::V3),
            0x70a0_001b_0000_001b
        );
        assert_eq!(
            plain.with_eoi().encode(GicVersion::V3),
            0x50a0_0200_0000_001b
        );
    }

    #[test]
    fn gich_lr_has_the_fields_where_ihi0048_puts_them() {
        let plain = ListRegister::new(3, State::Active, 0xa8, false).with_source(5);
        assert_eq!(plain.encode(GicVersion::V2), 0x2a80_1403);
        assert_eq!(plain.with_eoi().encode(GicVersion::V2), 0x2a88_1403);
        let hardware = ListRegister::new(121, State::Pending, 0x80, true).with_hardware();
        assert_eq!(hardware.encode(GicVersion::V2), 0xd801_e479);
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        for state in [
            State::Invalid,
            State::Pending,
            State::Active,
            State::PendingActive,
        ] {
            for lr in [
                ListRegister::new(1019, state, 0xf8, true).with_hardware(),
                ListRegister::new(15, state, 0x08, false)
                    .with_source(7)
                    .with_eoi(),
                ListRegister::new(33, state, 0, true),
            ] {
                for version in [GicVersion::V2, GicVersion::V3] {
                    assert_eq!(ListRegister::decode(version, lr.encode(version)), lr);
                }
                assert_eq!(lr.state(), state);
            }
        }
    }

    #[test]
    fn vtr_of_qemu_virt_reads_as_the_board_notes_say() {
        for raw in [0x9000_0003, 0x90b8_0003] {
            assert_eq!(InterfaceType::new(raw).list_registers(), 4);
            assert_eq!(InterfaceType::new(raw).priority_bits(), 5);
        }
        assert!(InterfaceType::new(0x90b8_0003).traps_deactivate());
        assert!(!InterfaceType::new(0x9000_0003).traps_deactivate());
    }

    #[test]
    fn list_registers_not_empty_are_in_use() {
        assert_eq!(in_use(0b1010, 4), 0b0101);
        assert_eq!(in_use(0, 16), 0xffff);
        assert_eq!(in_use(u32::MAX, 4), 0);
    }
}
