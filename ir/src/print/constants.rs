//! Which constants get a line of their own, what they are called, and how the others are nested.

use super::{Quoted, WIDTH, call, joined, named};
use crate::batch_norm;
use crate::graph::Graph;
use crate::id::{NodeId, Value};
use crate::op::Op;
use crate::ty::Type;
use crate::words::role;
use std::collections::{HashMap, HashSet};

/// Expressions inside each other, at most: deeper ones continue on a line of their own.
const NESTED: usize = 16;

/// A name longer than this is not made any longer.
const LONG: usize = 256;

/// Constants with their names, operands before readers.
pub(super) type Definitions = Vec<(NodeId, String)>;

/// Who reads a constant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Nobody,
    One(NodeId),
    Several,
}

/// The constants of a graph on their way into its text.
pub(super) struct Constants<'g> {
    graph: &'g Graph,
    /// Operands that each node is. By node.
    reads: Vec<usize>,
    /// Constants that are read by more than one constant expression, or are too deep to nest further. By node.
    cut: Vec<bool>,
    /// Nodes that run and read it, through whatever constants. By node.
    reader: Vec<Reader>,
    /// Names of constants that several lines read.
    shared: HashMap<NodeId, String>,
    taken: HashSet<String>,
    /// Names of constants of the line at hand.
    own: HashMap<NodeId, String>,
}

/// An operator as it is written.
struct Written {
    word: &'static str,
    /// Operands, each with what it is to the operator.
    operands: Vec<(Value, String)>,
    /// A whole BatchNorm instead of operands.
    norm: Option<String>,
    attributes: Vec<String>,
}

impl<'g> Constants<'g> {
    pub(super) fn of(graph: &'g Graph) -> Self {
        let n = graph.len();
        let (shared, taken, own) = Default::default();
        let mut reads = vec![0; n];
        graph.nodes().flat_map(|(_, n)| n.inputs.iter()).for_each(|v| reads[v.node.0 as usize] += 1);
        graph.outputs.iter().for_each(|o| reads[o.value.node.0 as usize] += 1);
        let mut this =
            Constants { graph, reads, cut: vec![false; n], reader: vec![Reader::Nobody; n], shared, taken, own };
        this.find_readers();
        this.find_cuts();
        this
    }

    /// From the last node to the first: operands come before their readers.
    fn find_readers(&mut self) {
        let graph = self.graph;
        for output in &graph.outputs {
            self.reader[output.value.node.0 as usize] = Reader::Several;
        }
        for (id, node) in graph.nodes().rev() {
            let constant = graph.is_constant(id.into());
            if constant && self.reads[id.0 as usize] == 0 {
                self.reader[id.0 as usize] = Reader::Several;
            }
            let reader = if constant { self.reader[id.0 as usize] } else { Reader::One(id) };
            if reader == Reader::Nobody {
                continue;
            }
            for v in if constant { self.operands(id) } else { node.inputs.to_vec() } {
                let known = &mut self.reader[v.node.0 as usize];
                *known = if *known == Reader::Nobody || *known == reader { reader } else { Reader::Several };
            }
        }
    }

    /// From the first node to the last.
    fn find_cuts(&mut self) {
        let graph = self.graph;
        let mut reads = vec![0_usize; graph.len()];
        let visible = |this: &Self, id: NodeId| this.reader[id.0 as usize] != Reader::Nobody;
        for (id, node) in graph.nodes() {
            if !graph.is_constant(id.into()) {
                node.inputs.iter().for_each(|v| reads[v.node.0 as usize] += 1);
            } else if visible(self, id) {
                self.operands(id).iter().for_each(|v| reads[v.node.0 as usize] += 1);
            }
        }
        graph.outputs.iter().for_each(|o| reads[o.value.node.0 as usize] += 1);
        let mut depth = vec![0_usize; graph.len()];
        for (id, node) in graph.nodes() {
            if !graph.is_constant(id.into()) || !visible(self, id) || node.inputs.is_empty() {
                continue;
            }
            let operands = self.operands(id);
            let below = operands.iter().map(|v| depth[v.node.0 as usize]).max().unwrap_or(0);
            // What is short is written again.
            let short = operands.iter().all(|&v| self.is_leaf(v.node));
            let cut = reads[id.0 as usize] > 1 && !short || below == NESTED;
            self.cut[id.0 as usize] = cut;
            depth[id.0 as usize] = if cut { 0 } else { below + 1 };
        }
    }

    /// Operands as they are written.
    fn operands(&self, id: NodeId) -> Vec<Value> {
        self.written(id).operands.into_iter().map(|(v, _)| v).collect()
    }

    fn is_leaf(&self, id: NodeId) -> bool {
        self.graph.node(id).inputs.is_empty()
    }

    fn written(&self, id: NodeId) -> Written {
        let (graph, node) = (self.graph, self.graph.node(id));
        if let Some((affine, operands, eps)) = batch_norm::recognised(graph, id.into()) {
            let (word, attributes) = (affine.word(), vec![format!("eps={eps}")]);
            if let Some((key, ty)) = batch_norm::whole(graph, &operands, affine.keys()) {
                return Written { word, operands: vec![], norm: Some(whole_norm(key, ty)), attributes };
            }
            let operands = operands.into_iter().zip(affine.roles().iter().map(|r| r.to_string())).collect();
            return Written { word, operands, norm: None, attributes };
        }
        let operands = self.chain(id).into_iter().enumerate();
        let operands =
            operands.map(|(i, v)| (v, role(&node.op, if node.op.is_chain() { i.min(1) } else { i }))).collect();
        Written { word: node.op.word(), operands, norm: None, attributes: node.op.attributes() }
    }

    /// Operands of a node, with those of its left operand in that one's place where both are sums or products and nothing else reads it.
    fn chain(&self, id: NodeId) -> Vec<Value> {
        let graph = self.graph;
        let node = graph.node(id);
        let mut operands = node.inputs.to_vec();
        if !node.op.is_chain() {
            return operands;
        }
        let mut later = Vec::new();
        while let &[left, right] = &operands[..]
            && *graph.op(left) == node.op
            && graph.is_constant(left)
            && self.reads[left.node.0 as usize] == 1
        {
            later.push(right);
            operands = graph.producer(left).inputs.to_vec();
        }
        operands.extend(later.into_iter().rev());
        operands
    }

    /// Name the constants that a node which runs reads: those that others read too, and those of it alone.
    pub(super) fn read_by(&mut self, id: NodeId) -> (Definitions, Definitions) {
        self.own.clear();
        let node = self.graph.node(id);
        let (mut shared, mut own) = Default::default();
        for (i, v) in node.inputs.iter().enumerate() {
            self.name(v.node, true, &node.path, &role(&node.op, i), &mut shared, &mut own);
        }
        (shared, own)
    }

    /// Name the constants that only the model's outputs read, and those that nobody does.
    pub(super) fn returned(&mut self) -> Definitions {
        self.own.clear();
        let graph = self.graph;
        let (mut shared, mut own) = Default::default();
        for output in &graph.outputs {
            self.name(output.value.node, false, &output.name, "y", &mut shared, &mut own);
        }
        for (id, node) in graph.nodes().filter(|(id, _)| graph.is_constant((*id).into())) {
            if self.reads[id.0 as usize] == 0 && !matches!(node.op, Op::Weight { .. } | Op::Literal { .. }) {
                self.name(id, false, &node.path, "", &mut shared, &mut own);
                if !self.shared.contains_key(&id) {
                    let name = self.free(node.path.clone());
                    self.shared.insert(id, name.clone());
                    shared.push((id, name));
                }
            }
        }
        shared
    }

    /// Name what is cut below `root`, operands first, and `root` itself where it has operands and `named` asks for it.
    fn name(
        &mut self,
        root: NodeId,
        named: bool,
        path: &str,
        slot: &str,
        shared: &mut Definitions,
        own: &mut Definitions,
    ) {
        // Nodes on the way down: their operands, how many were visited, and the length of the place's name before them.
        let mut way: Vec<(NodeId, Written, usize, usize)> = Vec::new();
        let mut place = String::new();
        let mut next = Some((root, slot.to_string()));
        loop {
            if let Some((id, role)) = next.take() {
                let known = self.own.contains_key(&id) || self.shared.contains_key(&id);
                if self.graph.is_constant(id.into()) && !self.is_leaf(id) && !known {
                    let before = place.len();
                    place.push_str(if before == 0 || role.is_empty() { "" } else { "." });
                    place.push_str(&role);
                    way.push((id, self.written(id), 0, before));
                }
            }
            let Some((id, written, visited, before)) = way.last_mut() else { return };
            let (id, before) = (*id, *before);
            if let Some((v, role)) = written.operands.get(*visited) {
                *visited += 1;
                next = Some((v.node, role.clone()));
                continue;
            }
            way.pop();
            if self.cut[id.0 as usize] || named && id == root {
                let is_own = matches!(self.reader[id.0 as usize], Reader::One(_)) || !self.cut[id.0 as usize];
                let count = shared.len() + own.len();
                let place = if place.len() > LONG { format!("+{count}") } else { place.clone() };
                if is_own {
                    self.own.insert(id, place.clone());
                    own.push((id, place));
                } else {
                    let name = self.free(if place.is_empty() { path.to_string() } else { format!("{path}.{place}") });
                    self.shared.insert(id, name.clone());
                    shared.push((id, name));
                }
            }
            place.truncate(before);
        }
    }

    /// A name that no other constant has.
    fn free(&mut self, mut name: String) -> String {
        while !self.taken.insert(name.clone()) {
            name.push('+');
        }
        name
    }

    /// A value where a line that runs reads it.
    pub(super) fn read(&self, value: Value) -> String {
        match self.own.get(&value.node) {
            Some(name) => named('@', name, value.index),
            None => self.operand(value),
        }
    }

    /// A value inside an expression.
    fn operand(&self, value: Value) -> String {
        let node = self.graph.producer(value);
        let own = self.own.get(&value.node).filter(|_| self.cut[value.node.0 as usize]);
        if let Some(name) = own.or_else(|| self.shared.get(&value.node)) {
            return named('@', name, value.index);
        }
        if !self.graph.is_constant(value) {
            return named('%', &node.path, value.index);
        }
        let ty = self.graph.ty(value);
        match &node.op {
            Op::Weight { key } => format!("weight{}:{ty}", Quoted(key)),
            Op::Literal { values } => match &values[..] {
                [x] if *ty == Type::f32(&[]) => x.to_string(),
                [x] if ty.shape.rank() == 0 => format!("{x}:{ty}"),
                _ => format!("literal[{}]:{ty}", joined(",", values)),
            },
            _ => self.flat(&self.written(value.node)) + &self.suffix(value),
        }
    }

    /// `:1` for a later output, and the type where it does not follow from the operands.
    fn suffix(&self, value: Value) -> String {
        let node = self.graph.producer(value);
        let index = if value.index == 0 { String::new() } else { format!(":{}", value.index) };
        let follows =
            !node.inputs.is_empty() && !matches!(node.op, Op::Reshape { .. } | Op::Expand { .. } | Op::Lookup { .. });
        if follows { index } else { format!("{index}:{}", self.graph.ty(value)) }
    }

    /// What stands right of `=` for a constant, on further lines where one is too short.
    pub(super) fn laid_out(&self, id: NodeId, indent: usize) -> String {
        self.broken(&self.written(id), indent)
    }

    fn flat(&self, written: &Written) -> String {
        let operands = written.operands.iter().map(|(v, _)| self.operand(*v)).chain(written.norm.clone());
        call(written.word, &operands.collect::<Vec<_>>(), &written.attributes)
    }

    fn broken(&self, written: &Written, indent: usize) -> String {
        let flat = self.flat(written);
        if indent + flat.chars().count() <= WIDTH || written.operands.is_empty() {
            return flat;
        }
        let indent = indent + 2;
        let lines = written.operands.iter().map(|(v, _)| {
            let flat = self.operand(*v);
            let nested = indent + flat.chars().count() > WIDTH && !self.is_leaf(v.node) && !flat.starts_with('@');
            let text = if nested { self.broken(&self.written(v.node), indent) + &self.suffix(*v) } else { flat };
            format!("\n{:indent$}{text}", "")
        });
        let lines = lines.collect::<Vec<_>>().join(",");
        call(written.word, &[lines], &written.attributes)
    }
}

/// A whole BatchNorm in the place of its parameters.
pub(super) fn whole_norm(key: &str, ty: &Type) -> String {
    format!("bn{}:{ty}", Quoted(key))
}
