#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bulkhead::properties::check("vgic_late", bytes));
