//! A bundle's nodes: sound structure, bounded number and depth, properties by type.

use super::{BundleError, BundleProblem, NodePath};
use crate::words::limits::{MAX_CHANNELS, MAX_PARTITIONS};
use crate::words::{FlatNode, FlatTree};

/// Levels below the root: `partitions`, a partition, its kernel.
pub(super) const MAX_DEPTH: usize = 3;
/// The root, `partitions`, `channels`, and a partition with two payloads each.
const MAX_NODES: usize = 3 + 3 * MAX_PARTITIONS + MAX_CHANNELS;
/// Longest name of a partition or channel: what the console prefixes lines with.
const MAX_LABEL: usize = 31;
/// Bytes of a cell.
const CELL: usize = size_of::<u32>();

/// The root of a sound bundle; what lies past `totalsize` is ignored.
pub(super) fn root(bundle: &[u8]) -> Result<FlatNode<'_>, BundleError> {
    let (tree, shape) = FlatTree::read(bundle).ok_or_else(|| at_root(BundleProblem::Damaged))?;
    if shape.depth > MAX_DEPTH {
        return Err(at_root(BundleProblem::TooDeep(MAX_DEPTH)));
    }
    if shape.nodes > MAX_NODES {
        return Err(at_root(BundleProblem::TooManyNodes(MAX_NODES)));
    }
    Ok(tree.root())
}

/// The root's error.
pub(super) fn at_root(problem: BundleProblem) -> BundleError {
    BundleError {
        node: NodePath::from("/"),
        problem,
    }
}

/// A node, and its path for errors.
#[derive(Clone, Copy)]
pub(super) struct Place<'b> {
    pub(super) node: FlatNode<'b>,
    pub(super) path: NodePath,
}

impl<'b> Place<'b> {
    /// The bundle's root.
    pub(super) fn root(node: FlatNode<'b>) -> Self {
        Self {
            node,
            path: NodePath::from("/"),
        }
    }

    /// The nodes below.
    pub(super) fn children(&self) -> impl Iterator<Item = Self> + use<'b> {
        let place = *self;
        self.node.children().map(move |node| place.at(node))
    }

    /// `node`, which is one below.
    fn at(&self, node: FlatNode<'b>) -> Self {
        let mut path = self.path;
        if path.as_str() != "/" {
            path.push("/");
        }
        path.push(node.name());
        Self { node, path }
    }

    /// The node below called `wanted`.
    pub(super) fn child(&self, wanted: &str) -> Option<Self> {
        let mut nodes = self.node.children();
        let node = nodes.find(|child| child.is_called(wanted))?;
        Some(self.at(node))
    }

    /// This node's error.
    pub(super) fn error(&self, problem: BundleProblem) -> BundleError {
        BundleError {
            node: self.path,
            problem,
        }
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

    /// A property of `N` bytes.
    pub(super) fn array<const N: usize>(&self, name: &'static str) -> Result<[u8; N], BundleError> {
        self.needed(name)?;
        self.bytes(name)?.ok_or_else(|| self.malformed(name))
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

    /// One string.
    pub(super) fn string(&self, name: &'static str) -> Result<&'b str, BundleError> {
        self.needed(name)?;
        let mut strings = self.strings(name)?;
        match (strings.next(), strings.next()) {
            (Some(string), None) => Ok(string),
            _ => Err(self.malformed(name)),
        }
    }

    /// A list of strings, empty if the node has none.
    pub(super) fn strings(
        &self,
        name: &'static str,
    ) -> Result<impl Iterator<Item = &'b str> + use<'b>, BundleError> {
        let text = match self.value(name) {
            None => None,
            Some(value) => {
                let text = core::str::from_utf8(value).ok();
                let text = text.and_then(|text| text.strip_suffix('\0'));
                Some(text.ok_or_else(|| self.malformed(name))?)
            }
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
