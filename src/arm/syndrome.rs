//! stub
pub struct Syndrome(pub u64);
