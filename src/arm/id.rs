//! stub
#![allow(missing_docs)]
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFeatures { pub pan: bool, pub ssbs: bool, pub spe: bool, pub trf: bool, pub pmu: u8, pub pauth: bool, pub lor: bool, pub ras: bool, pub csv2_2: bool, pub mte: bool, pub hcx: bool, pub fgt: bool, pub mpam: bool, pub breakpoints: u8, pub watchpoints: u8 }
pub fn features(_read: impl Fn(u8,u8)->u64) -> HostFeatures { HostFeatures{breakpoints:6, watchpoints:4, pmu:1, ..Default::default()} }
