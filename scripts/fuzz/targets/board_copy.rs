#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bulkhead::properties::check("board_copy", bytes));
