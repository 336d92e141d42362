//! The host tool.
mod manifest; mod report; mod board; mod qemu; mod debian; mod cpio; mod initramfs; mod elf; mod build; mod payload; mod progress; mod workspace; mod check; mod bundle;
fn main() {}
