//! The graph: nodes in topological order, each with one or more typed outputs.
//!
//! Weights are values like any other: arithmetic on them (folding, merging, padding) is a node whose inputs are all constant. Nothing is
//! computed until an artifact is emitted. Constant nodes are hash-consed when they are pushed, so equal constants are one node.

use crate::id::{NodeId, Value};
use crate::index::{self, Index};
use crate::infer::{ShapeError, infer};
use crate::op::Op;
use crate::stage::Stage;
use crate::ty::{DType, Shape, Type};
use std::ops::Deref;
use std::sync::Arc;

/// An operation with its operands, result types and name. Graphs that were copied from each other share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Operands, all earlier in the graph.
    pub inputs: Arc<[Value]>,
    body: Arc<Body>,
}

/// What a [`Node`] is apart from its operands, which another graph may number differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// What is computed.
    pub op: Op,
    /// Types of the outputs.
    pub types: Vec<Type>,
    /// Unique dotted name that follows the architecture (`stages.2.blocks.5.token_mixer.q`).
    pub path: String,
    /// Hashes of the path, and of what is computed.
    hashes: [u64; 2],
}

impl Body {
    /// A leaf is told apart by its type, anything else by its operands.
    fn new(op: Op, types: Vec<Type>, path: String, leaf: bool) -> Body {
        let hashes = [index::hash(&path.as_str()), index::hash(&(&op, if leaf { &types[..] } else { &[] }))];
        Body { op, types, path, hashes }
    }
}

impl Deref for Node {
    type Target = Body;

    fn deref(&self) -> &Body {
        &self.body
    }
}

impl Node {
    /// The same with other operands of the same types.
    pub(crate) fn with_inputs(&self, inputs: Arc<[Value]>) -> Node {
        Node { inputs, body: Arc::clone(&self.body) }
    }

    /// Hash of what the node computes.
    fn content(&self) -> u64 {
        index::hash(&(self.hashes[1], &self.inputs))
    }

    /// The node, to break it on purpose.
    #[cfg(test)]
    pub(crate) fn body_mut(&mut self) -> &mut Body {
        Arc::make_mut(&mut self.body)
    }
}

/// A named result of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Name in the artifact's interface.
    pub name: String,
    /// The value.
    pub value: Value,
}

/// A model.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Name of the model (`efficientformerv2-s0`).
    pub name: String,
    /// Which operators are legal.
    pub stage: Stage,
    /// Results.
    pub outputs: Vec<Output>,
    nodes: Vec<Node>,
    constant: Vec<bool>,
    /// Number of nodes that the indices hold. A copy that differs in nothing needs none, so they are filled when a node is first looked for.
    indexed: usize,
    /// Every node, by its path.
    paths: Index,
    /// Constant nodes, by what they compute.
    interned: Index,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>, stage: Stage) -> Self {
        Graph {
            name: name.into(),
            stage,
            outputs: Vec::new(),
            nodes: Vec::new(),
            constant: Vec::new(),
            indexed: 0,
            paths: Index::default(),
            interned: Index::default(),
        }
    }

    /// All nodes, operands before users.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (NodeId, &Node)> + DoubleEndedIterator {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId(i as u32), n))
    }

    /// Number of nodes, constants included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True if there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The node that produces a value.
    pub fn producer(&self, value: Value) -> &Node {
        self.node(value.node)
    }

    /// The operator that produces a value.
    pub fn op(&self, value: Value) -> &Op {
        &self.producer(value).op
    }

    /// Type of a value.
    pub fn ty(&self, value: Value) -> &Type {
        &self.producer(value).types[value.index as usize]
    }

    /// Shape of a value.
    pub fn shape(&self, value: Value) -> &Shape {
        &self.ty(value).shape
    }

    /// The sizes of a value that does not depend on the batch.
    ///
    /// # Errors
    /// If it does.
    pub fn fixed(&self, value: Value) -> Result<Vec<usize>, ShapeError> {
        self.shape(value).as_fixed().ok_or_else(|| self.unfit(value, "depends on the batch".into()))
    }

    /// An error about a value.
    pub fn unfit(&self, value: Value, what: String) -> ShapeError {
        let node = self.producer(value);
        ShapeError { path: node.path.clone(), op: node.op.word(), what }
    }

    /// True if the value depends neither on an input of the model nor on one that is kept as it is.
    pub fn is_constant(&self, value: Value) -> bool {
        self.constant[value.node.0 as usize]
    }

    /// What stands for a value in an artifact: behind barriers, what they keep.
    pub fn stored(&self, value: Value) -> Value {
        let mut value = value;
        while *self.op(value) == Op::Keep {
            value = self.producer(value).inputs[0];
        }
        value
    }

    /// True if a value stands in an artifact as a constant: it is one, or keeps one.
    pub fn is_stored(&self, value: Value) -> bool {
        self.is_constant(self.stored(value))
    }

    /// Inputs of the model, in order.
    pub fn inputs(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes().filter(|(_, n)| n.op == Op::Input)
    }

    /// Nodes that run in the artifact: neither constant, nor an input, nor a barrier.
    pub fn run_time_nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes().filter(|(id, n)| !self.constant[id.0 as usize] && n.op != Op::Input && n.op != Op::Keep)
    }

    /// The node with this path.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        let later = || self.nodes[self.indexed..].iter().position(|n| n.path == path);
        self.paths
            .find(index::hash(&path), |id| self.node(id).path == path)
            .or_else(|| later().map(|at| NodeId((self.indexed + at) as u32)))
    }

    /// Name of a value in the text form and in artifacts: the node's path, with `:i` behind it for outputs after the first.
    pub fn value_name(&self, value: Value) -> String {
        let path = &self.producer(value).path;
        if value.index == 0 { path.clone() } else { format!("{path}:{}", value.index) }
    }

    /// Append a leaf: an input, weight, literal or generator of type `ty`.
    ///
    /// # Errors
    /// If the type does not fit the leaf.
    pub fn push_leaf(&mut self, op: Op, ty: Type, path: &str) -> Result<Value, ShapeError> {
        crate::infer::check_leaf(&op, &ty).map_err(|e| e.at(path))?;
        Ok(self.insert(op, Vec::new(), vec![ty], path).into())
    }

    /// Append a node; its result types follow from the operator. A constant node that exists already is returned instead.
    /// A path that is taken gets the suffix `_2`, `_3`, …
    ///
    /// # Errors
    /// If the operand types do not fit the operator; the error names `path`.
    pub fn push(&mut self, op: Op, inputs: &[Value], path: &str) -> Result<NodeId, ShapeError> {
        let types: Vec<&Type> = inputs.iter().map(|&v| self.ty(v)).collect();
        let results = infer(&op, &types).map_err(|e| e.at(path))?;
        Ok(self.insert(op, inputs.to_vec(), results, path))
    }

    fn insert(&mut self, op: Op, inputs: Vec<Value>, types: Vec<Type>, path: &str) -> NodeId {
        let leaf = inputs.is_empty();
        self.insert_node(Node { inputs: inputs.into(), body: Arc::new(Body::new(op, types, path.to_string(), leaf)) })
    }

    /// Append a node of another graph as node `id`, if every node so far was appended so: nothing was made anew, nothing renamed, and the node's path
    /// and content are known to be its alone.
    pub(crate) fn append_copy(&mut self, id: NodeId, node: &Node, constant: bool) -> Option<NodeId> {
        (self.indexed == 0 && self.len() == id.0 as usize).then(|| self.append(node.clone(), constant))
    }

    /// Append a node, unless it is a constant that exists already.
    pub(crate) fn insert_node(&mut self, mut node: Node) -> NodeId {
        self.catch_up();
        let constant = match node.op {
            _ if node.inputs.is_empty() => node.op.is_constant_leaf(),
            Op::Keep => false,
            // As many copies of a constant as the batch has items are made when the batch is known.
            _ => node.inputs.iter().all(|&v| self.is_constant(v)) && !node.types.iter().any(|t| t.shape.has_batch()),
        };
        if constant {
            let equal = |id| {
                let known = self.node(id);
                known.op == node.op && known.inputs == node.inputs && known.types == node.types
            };
            if let Some(known) = self.interned.find(node.content(), equal) {
                return known;
            }
        }
        if self.find(&node.path).is_some() {
            let path = self.free_path(&node.path);
            node.body = Arc::new(Body::new(node.op.clone(), node.types.clone(), path, node.inputs.is_empty()));
        }
        let id = self.append(node, constant);
        self.catch_up();
        id
    }

    /// Append a node that is not there yet, under a path that is free.
    fn append(&mut self, node: Node, constant: bool) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        self.constant.push(constant);
        id
    }

    /// Fill the indices.
    fn catch_up(&mut self) {
        if self.indexed == 0 {
            self.paths.reserve(self.nodes.len());
            self.interned.reserve(self.nodes.len());
        }
        for at in self.indexed..self.nodes.len() {
            let (node, id) = (&self.nodes[at], NodeId(at as u32));
            self.paths.insert(node.hashes[0], id);
            if self.constant[at] {
                self.interned.insert(node.content(), id);
            }
        }
        self.indexed = self.nodes.len();
    }

    /// Take the path off a node that is about to be replaced, so that its replacement can bear it.
    pub fn release_path(&mut self, id: NodeId) -> String {
        self.catch_up();
        let free = self.free_path(&format!("{}.replaced", self.node(id).path));
        self.rename(id, &free)
    }

    /// Give a node another path and return the one it had. A path that is taken gets a suffix, as in [`Graph::push`].
    pub fn rename(&mut self, id: NodeId, path: &str) -> String {
        self.catch_up();
        self.paths.remove(self.node(id).hashes[0], id);
        let new = self.free_path(path);
        let body = Arc::make_mut(&mut self.nodes[id.0 as usize].body);
        let old = std::mem::replace(&mut body.path, new);
        body.hashes[0] = index::hash(&body.path.as_str());
        self.paths.insert(body.hashes[0], id);
        old
    }

    /// The nodes, to break a graph on purpose.
    #[cfg(test)]
    pub(crate) fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    fn free_path(&self, path: &str) -> String {
        if self.find(path).is_none() {
            return path.to_string();
        }
        (2..).map(|i| format!("{path}_{i}")).find(|p| self.find(p).is_none()).expect("the naturals do not end")
    }

    /// The graph without nodes that no output needs. Inputs of the model stay.
    pub fn pruned(self) -> Graph {
        let mut live = vec![false; self.nodes.len()];
        let mut stack: Vec<NodeId> = self.inputs().map(|(id, _)| id).collect();
        stack.extend(self.outputs.iter().map(|o| o.value.node));
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut live[id.0 as usize], true) {
                stack.extend(self.node(id).inputs.iter().map(|v| v.node));
            }
        }
        if live.iter().all(|&l| l) {
            return self;
        }
        let mut kept = Graph::new(self.name, self.stage);
        let mut ids = vec![NodeId(0); live.len()];
        let now = |ids: &[NodeId], v: Value| Value { node: ids[v.node.0 as usize], ..v };
        for (old, (mut node, constant)) in self.nodes.into_iter().zip(self.constant).enumerate() {
            if live[old] {
                if node.inputs.iter().any(|v| ids[v.node.0 as usize] != v.node) {
                    node.inputs = node.inputs.iter().map(|&v| now(&ids, v)).collect();
                }
                ids[old] = kept.append(node, constant);
            }
        }
        kept.outputs = self.outputs.into_iter().map(|o| Output { value: now(&ids, o.value), ..o }).collect();
        kept
    }

    /// Weights that the graph asks for: key and type, each once, in order of first use.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &Type)> {
        self.nodes.iter().filter_map(|n| match &n.op {
            Op::Weight { key } => Some((key.as_str(), &n.types[0])),
            _ => None,
        })
    }

    /// Element type that the model computes in: f16 if any run-time float value has it, else f32.
    pub fn precision(&self) -> DType {
        let half = self.run_time_nodes().any(|(_, n)| n.types.iter().any(|t| t.dtype == DType::F16));
        if half { DType::F16 } else { DType::F32 }
    }
}
