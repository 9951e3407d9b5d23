//! How a pass makes its graph: by walking the old one.

use crate::graph::{Graph, Output, Stage};
use crate::id::{NodeId, Value};

/// Builds a new graph by walking an old one: what a pass is made of.
///
/// A pass visits the old nodes in order and for each either copies it or pushes something else and declares what stands for the old outputs.
#[derive(Debug)]
pub struct Copier<'a> {
    /// The graph that is read.
    pub old: &'a Graph,
    /// The graph that grows.
    pub new: Graph,
    /// Where the outputs of each old node begin in `map`.
    first: Vec<usize>,
    map: Vec<Option<Value>>,
}

impl<'a> Copier<'a> {
    /// Start with an empty new graph of the same name.
    pub fn new(old: &'a Graph, stage: Stage) -> Self {
        let mut outputs = 0;
        let mut first = Vec::with_capacity(old.len());
        for (_, node) in old.nodes() {
            first.push(outputs);
            outputs += node.types.len();
        }
        Copier { old, new: Graph::new(old.name.clone(), stage), first, map: vec![None; outputs] }
    }

    fn place(&self, old: Value) -> usize {
        self.first[old.node.0 as usize] + old.index as usize
    }

    /// What stands for an old value in the new graph.
    ///
    /// # Panics
    /// If the value's node was neither copied nor replaced yet.
    pub fn get(&self, old: Value) -> Value {
        self.map[self.place(old)].expect("operands are visited before their users")
    }

    /// Declare what stands for an old value.
    pub fn set(&mut self, old: Value, new: Value) {
        let place = self.place(old);
        self.map[place] = Some(new);
    }

    /// The new operands of an old node.
    pub fn inputs(&self, id: NodeId) -> Vec<Value> {
        self.old.node(id).inputs.iter().map(|&v| self.get(v)).collect()
    }

    /// The new value of an old constant, copied with everything it is made of if it was not visited yet.
    pub fn constant(&mut self, old: Value) -> Value {
        if self.map[self.place(old)].is_none() {
            assert!(self.old.is_constant(old), "only constants can be copied ahead of their turn");
            for &input in self.old.node(old.node).inputs.iter() {
                self.constant(input);
            }
            self.node(old.node);
        }
        self.get(old)
    }

    /// True if the node's outputs are declared already.
    pub fn is_done(&self, id: NodeId) -> bool {
        let first = self.place(id.into());
        self.map[first..first + self.old.node(id).types.len()].iter().all(Option::is_some)
    }

    /// Copy a node with its path and declare its outputs; nothing happens if they are declared already. Result types are inferred
    /// again where an operand's type changed.
    ///
    /// # Panics
    /// If the operator does not accept the new operands: the pass replaced a value by one of another shape.
    pub fn node(&mut self, id: NodeId) -> NodeId {
        if self.is_done(id) {
            return self.get(id.into()).node;
        }
        let node = self.old.node(id);
        let moved = node.inputs.iter().any(|&v| self.get(v) != v);
        let copied = if moved { None } else { self.new.append_copy(id, node, self.old.is_constant(id.into())) };
        let new = if let Some(new) = copied {
            new
        } else if node.inputs.iter().all(|&v| self.new.ty(self.get(v)) == self.old.ty(v)) {
            self.new.insert_node(node.with_inputs(self.inputs(id).into()))
        } else {
            self.new.push(node.op.clone(), &self.inputs(id), &node.path).unwrap_or_else(|e| panic!("{e}"))
        };
        for index in 0..node.types.len() as u32 {
            self.set(Value { node: id, index }, Value { node: new, index });
        }
        new
    }

    /// Map the outputs and return the new graph.
    pub fn finish(mut self) -> Graph {
        let outputs = self.old.outputs.iter();
        self.new.outputs = outputs.map(|o| Output { name: o.name.clone(), value: self.get(o.value) }).collect();
        self.new
    }
}
