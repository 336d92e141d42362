//! A bundle's nodes: sound structure, bounded number and depth, properties by type.

use super::{BundleError, BundleProblem, NodePath};
use crate::words::limits::{MAX_CHANNELS, MAX_PARTITIONS};
use crate::words::{FlatNode, FlatTree};

/// Levels below the root: `partitions`, a partition, its kernel.
const MAX_DEPTH: usize = 3;
/// The root, `partitions`, `channels`, and a partition with two payloads each.
const MAX_NODES: usize = 3 + 3 * MAX_PARTITIONS + MAX_CHANNELS;
/// Longest name of a partition or channel: what the console prefixes lines with.
const MAX_LABEL: usize = 31;
/// Bytes of a cell.
const CELL: usize = size_of::<u32>();

/// The tree of a sound bundle; what lies past `totalsize` is ignored.
pub(super) fn tree(bundle: &[u8]) -> Result<FlatTree<'_>, BundleError> {
    let (tree, shape) = FlatTree::read(bundle).ok_or_else(|| at_root(BundleProblem::Damaged))?;
    if shape.depth > MAX_DEPTH {
        return Err(at_root(BundleProblem::TooDeep(MAX_DEPTH)));
    }
    if shape.nodes > MAX_NODES {
        return Err(at_root(BundleProblem::TooManyNodes(MAX_NODES)));
    }
    Ok(tree)
}

/// The root's error.
pub(super) fn at_root(problem: BundleProblem) -> BundleError {
    BundleError {
        node: NodePath::from("/"),
        problem,
    }
}

/// A node, and the one above it, whose names are the path in an error.
pub(super) struct Place<'p, 'b> {
    pub(super) node: FlatNode<'b>,
    above: Option<&'p Place<'p, 'b>>,
}

impl<'b> Place<'_, 'b> {
    /// The bundle's root.
    pub(super) fn root(tree: FlatTree<'b>) -> Self {
        Self {
            node: tree.root(),
            above: None,
        }
    }

    /// The nodes below.
    pub(super) fn children(&self) -> impl Iterator<Item = Place<'_, 'b>> {
        self.node.children().map(|node| self.at(node))
    }

    /// `node`, which is one below.
    fn at(&self, node: FlatNode<'b>) -> Place<'_, 'b> {
        let above = Some(self);
        Place { node, above }
    }

    /// The node below called `wanted`.
    pub(super) fn child(&self, wanted: &str) -> Option<Place<'_, 'b>> {
        let mut nodes = self.node.children();
        let node = nodes.find(|child| child.is_called(wanted))?;
        Some(self.at(node))
    }

    /// This node's error.
    pub(super) fn error(&self, problem: BundleProblem) -> BundleError {
        BundleError {
            node: self.path(),
            problem,
        }
    }

    fn path(&self) -> NodePath {
        // What is below the root is below its name, which is empty, not its path.
        let above = self.above.filter(|above| above.above.is_some());
        let mut path = above.map_or(NodePath::new(), Self::path);
        path.push("/");
        path.push(self.node.name());
        path
    }

    fn malformed(&self, property: &'static str) -> BundleError {
        self.error(BundleProblem::Malformed(property))
    }

    /// The value of a property, if the node has it.
    pub(super) fn value(&self, name: &str) -> Option<&'b [u8]> {
        self.node.property(name)
    }

    /// Whether the node has a property.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The value of a property it needs.
    pub(super) fn needed(&self, name: &'static str) -> Result<&'b [u8], BundleError> {
        self.value(name)
            .ok_or_else(|| self.error(BundleProblem::Missing(name)))
    }

    /// A property of `N` bytes, if the node has it.
    fn bytes<const N: usize>(&self, name: &'static str) -> Result<Option<[u8; N]>, BundleError> {
        let value = self.value(name).map(<[u8; N]>::try_from).transpose();
        value.map_err(|_| self.malformed(name))
    }

    /// A property of `N` bytes it needs.
    pub(super) fn array<const N: usize>(&self, name: &'static str) -> Result<[u8; N], BundleError> {
        let value = self.needed(name)?.try_into();
        value.map_err(|_| self.malformed(name))
    }

    /// A 32-bit number, if the node has it.
    pub(super) fn word(&self, name: &'static str) -> Result<Option<u32>, BundleError> {
        Ok(self.bytes(name)?.map(u32::from_be_bytes))
    }

    /// A 64-bit number, if the node has it.
    pub(super) fn long(&self, name: &'static str) -> Result<Option<u64>, BundleError> {
        Ok(self.bytes(name)?.map(u64::from_be_bytes))
    }

    /// A list of 32-bit numbers, empty if the node has none.
    pub(super) fn words(
        &self,
        name: &'static str,
    ) -> Result<impl Iterator<Item = u32> + use<'b>, BundleError> {
        let value = self.value(name).unwrap_or_default();
        if !value.len().is_multiple_of(CELL) {
            return Err(self.malformed(name));
        }
        let cells = value.chunks_exact(CELL);
        Ok(cells.map(|cell| {
            cell.iter()
                .fold(0, |word, b| (word << u8::BITS) | u32::from(*b))
        }))
    }

    /// One string it needs.
    pub(super) fn string(&self, name: &'static str) -> Result<&'b str, BundleError> {
        let text = text(self.needed(name)?).filter(|text| !text.as_bytes().contains(&0));
        text.ok_or_else(|| self.malformed(name))
    }

    /// A list of strings, empty if the node has none.
    pub(super) fn strings(
        &self,
        name: &'static str,
    ) -> Result<impl Iterator<Item = &'b str> + use<'b>, BundleError> {
        let text = match self.value(name) {
            None => None,
            Some(value) => Some(text(value).ok_or_else(|| self.malformed(name))?),
        };
        Ok(text.into_iter().flat_map(|text| text.split('\0')))
    }

    /// The name a manifest gave this node.
    pub(super) fn label(&self) -> Result<&'b str, BundleError> {
        let label = self.string("label")?;
        if label.is_empty() || label.len() > MAX_LABEL {
            return Err(self.error(BundleProblem::Label));
        }
        Ok(label)
    }
}

/// Strings with a zero after each, but the last.
fn text(value: &[u8]) -> Option<&str> {
    core::str::from_utf8(value).ok()?.strip_suffix('\0')
}
