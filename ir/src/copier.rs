//! How a pass makes its graph: by walking the old one.

use crate::graph::{Graph, Output};
use crate::id::{NodeId, Value};
use crate::infer::ShapeError;
use crate::stage::Stage;

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
    /// # Errors
    /// If the value's node was neither copied nor replaced yet.
    pub fn get(&self, old: Value) -> Result<Value, ShapeError> {
        self.map[self.place(old)].ok_or_else(|| self.old.unfit(old, "is read before it is made".into()))
    }

    /// Declare what stands for an old value.
    pub fn set(&mut self, old: Value, new: Value) {
        let place = self.place(old);
        self.map[place] = Some(new);
    }

    /// The new operands of an old node.
    ///
    /// # Errors
    /// If one is not there yet.
    pub fn inputs(&self, id: NodeId) -> Result<Vec<Value>, ShapeError> {
        self.old.node(id).inputs.iter().map(|&v| self.get(v)).collect()
    }

    /// The new value of an old constant, copied with everything it is made of if it was not visited yet.
    ///
    /// # Errors
    /// If it is no constant, and not there yet.
    pub fn constant(&mut self, old: Value) -> Result<Value, ShapeError> {
        let mut open = vec![old];
        while let Some(&value) = open.last() {
            let missing = |v: &Value| self.map[self.place(*v)].is_none();
            if missing(&value) && self.old.is_constant(value) {
                let made = open.len();
                open.extend(self.old.node(value.node).inputs.iter().rev().filter(|v| missing(v)));
                if open.len() > made {
                    continue;
                }
            }
            self.node(value.node)?;
            open.pop();
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
    /// # Errors
    /// If the operator does not accept the new operands: the pass replaced a value by one of another shape.
    pub fn node(&mut self, id: NodeId) -> Result<NodeId, ShapeError> {
        if self.is_done(id) {
            return Ok(self.get(id.into())?.node);
        }
        let node = self.old.node(id);
        let inputs = self.inputs(id)?;
        let moved = inputs[..] != node.inputs[..];
        let copied = if moved { None } else { self.new.append_copy(id, node, self.old.is_constant(id.into())) };
        let new = if let Some(new) = copied {
            new
        } else if inputs.iter().zip(node.inputs.iter()).all(|(&new, &old)| self.new.ty(new) == self.old.ty(old)) {
            self.new.insert_node(node.with_inputs(inputs.into()))
        } else {
            self.new.push(node.op.clone(), &inputs, &node.path)?
        };
        for index in 0..node.types.len() as u32 {
            self.set(Value { node: id, index }, Value { node: new, index });
        }
        Ok(new)
    }

    /// Map the outputs and return the new graph.
    ///
    /// # Errors
    /// If one is not there.
    pub fn finish(mut self) -> Result<Graph, ShapeError> {
        let outputs = self.old.outputs.iter();
        let outputs = outputs.map(|o| Ok(Output { name: o.name.clone(), value: self.get(o.value)? }));
        self.new.outputs = outputs.collect::<Result<_, ShapeError>>()?;
        Ok(self.new)
    }
}
