//! Who takes nodes of a device tree, one after another: what reads one tree need not know what writes another.

/// Takes nodes, depth first.
pub trait Nodes {
    /// Opens a node called `name`, at the place `at` if it has one: `name@at`.
    fn begin(&mut self, name: &str, at: Option<u64>);
    /// Adds a property to the node opened last, before any child of it.
    fn property(&mut self, name: &str, value: &[u8]);
    /// Adds a property of 32-bit cells.
    fn cells(&mut self, name: &str, cells: &[u32]);
    /// Closes the node opened last.
    fn end(&mut self);
}
