//! How nodes and values are named inside a graph: by number.

/// Index of a node in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// One output of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    /// The producing node.
    pub node: NodeId,
    /// Which of its outputs.
    pub index: u32,
}

impl From<NodeId> for Value {
    /// The node's first output.
    fn from(node: NodeId) -> Self {
        Value { node, index: 0 }
    }
}
