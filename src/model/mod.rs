//! Layer 2: models. Pure state machines and readers; siblings never import each other.
//!
//! One exception, and no others: `bundle`'s plan is what `placement` and `image` work on, and `bundle::fit` and `share`
//! hold it against `board`'s. They use those types alone.

pub mod board;
pub mod bundle;
pub mod console;
pub mod decode;
pub mod guest_tree;
pub mod image;
pub mod monitor;
pub mod pl011;
pub mod placement;
pub mod portions;
pub mod power;
pub mod quiesce;
pub mod recorder;
pub mod selftest;
pub mod sha256;
pub mod share;
pub mod translation;
pub mod vgic;
pub mod watch;
