//! Names the linker script of the hypervisor's image, and what makes the image small: functions of the same code are one
//! (`--icf`), and its relocations are bits (RELR, which boot.S reads).

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed={root}/linker/hypervisor.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=-T{root}/linker/hypervisor.ld");
        println!("cargo:rustc-link-arg-bins=--icf=all");
        println!("cargo:rustc-link-arg-bins=--pack-dyn-relocs=relr");
    }
}
