//! stub
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFeatures { pub spe: bool, pub trf: bool, pub pmu: u8, pub pauth: bool, pub lor: bool, pub ras: bool, pub csv2_2: bool, pub mte: bool, pub hcx: bool, pub fgt: bool, pub mpam: bool, pub breakpoints: u8, pub watchpoints: u8 }
