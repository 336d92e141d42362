#![no_main]
#![allow(dead_code, reason = "the host tool's files are here for the property alone")]
#[path = "../../xtask/src/manifest/mod.rs"]
mod manifest;
#[path = "../../xtask/src/report.rs"]
mod report;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| manifest::property::holds(bytes));
