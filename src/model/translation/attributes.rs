//! Leaf attributes: what kind of memory, and who may do what with it.

/// What kind of memory a range is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// RAM: write-back, inner shareable.
    Normal,
    /// Registers: device-nGnRE.
    Device,
}

/// What may be done with a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
    /// Read and execute.
    ReadExecute,
    /// Read, write and execute: a guest's RAM only; EL2 itself has no such range.
    All,
}

/// Access flag (D8.5.1).
const ACCESSED: u64 = 1 << 10;
/// Inner shareable (D8.6.2).
const INNER_SHAREABLE: u64 = 0b11 << 8;
/// Stage 2 MemAttr: normal, inner and outer write-back (D8.6.5).
const STAGE2_NORMAL: u64 = 0b1111 << 2;
/// Stage 2 MemAttr: device-nGnRE.
const STAGE2_DEVICE: u64 = 0b0001 << 2;
/// Stage 2 S2AP: read (D8.4.2).
const STAGE2_READ: u64 = 0b01 << 6;
/// Stage 2 S2AP: write.
const STAGE2_WRITE: u64 = 0b10 << 6;
/// Stage 2 XN[1:0] = 0b10: never executable, with FEAT_XNX or without.
const STAGE2_EXECUTE_NEVER: u64 = 0b10 << 53;
/// EL2 stage 1 AP\[1\], RES1 in a regime with one privilege level (D8.4.1).
const EL2_AP1: u64 = 1 << 6;
/// EL2 stage 1 AP\[2\]: read-only.
const EL2_READ_ONLY: u64 = 1 << 7;
/// EL2 stage 1 XN.
const EL2_EXECUTE_NEVER: u64 = 1 << 54;

/// Attributes of a stage-2 leaf.
#[must_use]
pub const fn stage2_leaf(memory: Memory, access: Access) -> u64 {
    let kind = match memory {
        Memory::Normal => STAGE2_NORMAL | INNER_SHAREABLE,
        Memory::Device => STAGE2_DEVICE,
    };
    let rights = match access {
        Access::ReadOnly => STAGE2_READ | STAGE2_EXECUTE_NEVER,
        Access::ReadWrite => STAGE2_READ | STAGE2_WRITE | STAGE2_EXECUTE_NEVER,
        Access::ReadExecute => STAGE2_READ,
        Access::All => STAGE2_READ | STAGE2_WRITE,
    };
    ACCESSED | kind | rights
}

/// Attributes of a leaf of EL2's own tables. `Access::All` is given as read-write: nothing of EL2's is both writable
/// and executable.
#[must_use]
pub const fn el2_leaf(memory: Memory, access: Access) -> u64 {
    let kind = match memory {
        Memory::Normal => crate::arm::control::MAIR_NORMAL << 2 | INNER_SHAREABLE,
        Memory::Device => crate::arm::control::MAIR_DEVICE << 2,
    };
    let rights = match access {
        Access::ReadOnly => EL2_READ_ONLY | EL2_EXECUTE_NEVER,
        Access::ReadWrite | Access::All => EL2_EXECUTE_NEVER,
        Access::ReadExecute => EL2_READ_ONLY,
    };
    ACCESSED | EL2_AP1 | kind | rights
}
