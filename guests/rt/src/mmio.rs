//! Device registers by address, each access one load or store of its width.

macro_rules! accessors {
    ($read:ident, $write:ident, $type:ty, $register:literal, $load:literal, $store:literal) => {
        #[doc = concat!("Reads a device register of type `", stringify!($type), "`.")]
        ///
        /// The address must be a device's, not the guest's own memory.
        pub fn $read(address: u64) -> $type {
            let value: $type;
            // SAFETY: a device register is not memory that Rust owns; a bad address traps.
            unsafe {
                core::arch::asm!(
                    concat!($load, " {0:", $register, "}, [{1}]"),
                    out(reg) value, in(reg) address, options(nostack, preserves_flags)
                );
            }
            value
        }

        #[doc = concat!("Writes a device register of type `", stringify!($type), "`.")]
        ///
        /// The address must be a device's, not the guest's own memory.
        pub fn $write(address: u64, value: $type) {
            // SAFETY: a device register is not memory that Rust owns; a bad address traps.
            unsafe {
                core::arch::asm!(
                    concat!($store, " {0:", $register, "}, [{1}]"),
                    in(reg) value, in(reg) address, options(nostack, preserves_flags)
                );
            }
        }
    };
}

accessors!(read8, write8, u8, "w", "ldrb", "strb");
accessors!(read16, write16, u16, "w", "ldrh", "strh");
accessors!(read32, write32, u32, "w", "ldr", "str");
accessors!(read64, write64, u64, "x", "ldr", "str");
