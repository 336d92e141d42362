//! Layer 2: models. Pure state machines and readers; siblings never import each other.

pub mod board;
pub mod bundle;
pub mod console;
pub mod decode;
pub mod guest_tree;
pub mod image;
pub mod pl011;
pub mod placement;
pub mod power;
pub mod quiesce;
pub mod translation;
pub mod vgic;
