//! stub
#![allow(missing_docs)]
pub struct Syndrome(pub u64);
