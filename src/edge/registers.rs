//! System registers aarch64-cpu does not have, or not by run-time choice: one instruction each.
//!
//! Everything else goes through aarch64-cpu. Its writes are `asm!(nomem)`, so the compiler may move stores across
//! them (`../shared/dependencies.md`): whatever publishes memory puts a `dsb` of the crate, which is a compiler
//! barrier, before the write. The macros here are barriers themselves.

/// Reads the system register with this assembler name (`s3_op1_cn_cm_op2` for those newer than the base architecture),
/// which may be put together with `concat!`.
#[macro_export]
macro_rules! read_register {
    (concat!($($part:literal),+)) => { $crate::read_register!(@ $($part),+) };
    ($name:literal) => { $crate::read_register!(@ $name) };
    (@ $($part:literal),+) => {{
        let value: u64;
        // SAFETY: reading a system register changes no memory; the callers name registers that exist at EL2 on the
        // core, checked against its ID registers where they are optional.
        unsafe {
            ::core::arch::asm!(concat!("mrs {}, ", $($part),+), out(reg) value, options(nostack, preserves_flags))
        };
        value
    }};
}

/// Writes the system register with this assembler name, which may be put together with `concat!`.
#[macro_export]
macro_rules! write_register {
    (concat!($($part:literal),+), $value:expr) => { $crate::write_register!(@ $($part),+; $value) };
    ($name:literal, $value:expr) => { $crate::write_register!(@ $name; $value) };
    (@ $($part:literal),+; $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: none of the registers written this way changes how EL2 itself translates or executes: they belong
        // to the levels below, to the interrupt controller or to timers, or are EL2's own TPIDR.
        unsafe {
            ::core::arch::asm!(concat!("msr ", $($part),+, ", {}"), in(reg) value, options(nostack, preserves_flags))
        };
    }};
}
