//! The hypervisor image: everything is in the library, this links it.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "bulkhead runs at EL2: build it with `cargo xtask build`, run it with `./scripts/run`"
    );
    std::process::exit(2);
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    bulkhead::program::fault::panic(info)
}
