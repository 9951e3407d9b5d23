//! Statements to nodes: names and words are looked up, types checked.

use super::error::{ParseError, Result};
use super::expression::{Call, Expression};
use super::statement::Statement;
use crate::batch_norm::Affine;
use crate::graph::{Graph, Output};
use crate::id::{NodeId, Value};
use crate::op::Op;
use crate::ty::Type;
use crate::words::role;
use std::collections::{HashMap, HashSet};

/// A name longer than this does not go into the names of what is nested below it, so that those stay in proportion to the text.
const LONG: usize = 256;

pub(super) struct Builder<'g> {
    graph: &'g mut Graph,
    /// Paths of all `%` lines: everything else keeps off them.
    values: HashSet<String>,
    /// Names of all `@` lines that are not indented.
    constants: HashSet<String>,
    /// Nodes by their name, with its sign.
    defined: HashMap<(char, String), NodeId>,
    /// Constants of the line at hand.
    local: HashMap<String, NodeId>,
}

impl<'g> Builder<'g> {
    pub(super) fn new(graph: &'g mut Graph) -> Self {
        let (values, constants) = Default::default();
        Builder { graph, values, constants, defined: HashMap::new(), local: HashMap::new() }
    }

    /// Note the names of all lines.
    pub(super) fn declare(&mut self, statements: &[Statement]) -> Result<()> {
        for s in statements {
            let names = if s.constant { &mut self.constants } else { &mut self.values };
            if !names.insert(s.path.clone()) {
                return Err(ParseError::new(s.line, format!("{}{} is defined twice", s.sign(), s.path)));
            }
        }
        Ok(())
    }

    /// Append the nodes of a line.
    pub(super) fn define(&mut self, mut s: Statement) -> Result<()> {
        self.local.clear();
        for constant in std::mem::take(&mut s.constants) {
            let (line, name, path) = (constant.line, constant.path.clone(), below(&s.path, &constant.path));
            let node = self.statement(constant, &path)?;
            if self.local.insert(name.clone(), node).is_some() {
                return Err(ParseError::new(line, format!("@{name} is defined twice")));
            }
        }
        let (sign, name) = (s.sign(), s.path.clone());
        let node = self.statement(s, &name)?;
        self.defined.insert((sign, name), node);
        Ok(())
    }

    fn statement(&mut self, s: Statement, path: &str) -> Result<NodeId> {
        let Statement { line, types, call, .. } = s;
        let sign = if s.constant { '@' } else { '%' };
        let (word, name) = (call.word, s.path);
        let path = if self.values.contains(path) && s.constant { self.free(path) } else { path.to_string() };
        let node = self.call(call, types.first(), &path)?;
        let made = self.graph.node(node);
        if made.types != types {
            let list = |types: &[Type]| types.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", ");
            let what = format!("{sign}{name} is declared {}, but {word} gives {}", list(&types), list(&made.types));
            return Err(ParseError::new(line, what));
        }
        if s.constant && !self.graph.is_constant(node.into()) {
            return Err(ParseError::new(
                line,
                format!("@{name} depends on an input: write it as a line of its own, %{name}"),
            ));
        }
        Ok(node)
    }

    /// Append an operator, its operands before it.
    fn call(&mut self, call: Call, ty: Option<&Type>, path: &str) -> Result<NodeId> {
        let Call { line, word, operands, attributes, .. } = call;
        let fail = |what: String| ParseError::new(line, what);
        if let Some(affine) = Affine::of_word(word) {
            let eps = attributes.only_eps()?;
            let roles = affine.roles().iter().copied().chain(std::iter::repeat("x"));
            let operands = operands.into_iter().zip(roles);
            let inputs =
                operands.map(|(o, role)| self.value(line, o, &below(path, role))).collect::<Result<Vec<_>>>()?;
            return affine.push(self.graph, eps, &inputs, path).map(|v| v.node).map_err(|e| fail(e.to_string()));
        }
        let op = attributes.operator(ty)?;
        if op == Op::Input || op.is_constant_leaf() {
            if !operands.is_empty() {
                return Err(fail(format!("{word} takes no operands")));
            }
            let ty = ty.ok_or_else(|| fail(format!("expected the type of `{word}` behind it")))?;
            return match self.graph.push_leaf(op, ty.clone(), path) {
                Ok(value) => Ok(value.node),
                Err(e) => Err(fail(e.to_string())),
            };
        }
        let mut inputs = Vec::with_capacity(operands.len());
        for (i, operand) in operands.into_iter().enumerate() {
            let mut slot = i;
            if op.is_chain() && i > 1 {
                let left = self.free(&below(path, &role(&op, 0)));
                inputs = vec![self.graph.push(op.clone(), &inputs, &left).map_err(|e| fail(e.to_string()))?.into()];
                slot = 1;
            }
            inputs.push(self.value(line, operand, &below(path, &role(&op, slot)))?);
        }
        self.graph.push(op, &inputs, path).map_err(|e| fail(e.to_string()))
    }

    /// The value of an expression. What has no name of its own gets `path`, a weight its key.
    fn value(&mut self, line: usize, expression: Expression, path: &str) -> Result<Value> {
        let fail = |what: String| Err(ParseError::new(line, what));
        match expression {
            Expression::Value { name, index } => match self.defined.get(&('%', name.clone())) {
                Some(&node) => self.output(line, node, index, &format!("%{name}")),
                None => fail(format!("%{name} is not defined above")),
            },
            Expression::Constant { name, index } => {
                let known = self.local.get(&name).or_else(|| self.defined.get(&('@', name.clone())));
                match known {
                    Some(&node) => self.output(line, node, index, &format!("@{name}")),
                    None => fail(format!("@{name} is not defined")),
                }
            }
            Expression::Leaf { op, ty } => {
                let path = match &op {
                    Op::Weight { key } => self.free(key),
                    _ => self.free(path),
                };
                self.graph.push_leaf(op, ty, &path).or_else(|e| fail(e.to_string()))
            }
            Expression::Call(mut call) => {
                let (line, word, index, ty) = (call.line, call.word, call.index, call.ty.take());
                let path = self.free(path);
                let node = self.call(call, ty.as_ref(), &path)?;
                let value = self.output(line, node, index, word)?;
                let made = self.graph.ty(value);
                match ty {
                    Some(ty) if *made != ty => fail(format!("{word} is declared {ty}, but gives {made}")),
                    _ => Ok(value),
                }
            }
        }
    }

    fn output(&self, line: usize, node: NodeId, index: u32, name: &str) -> Result<Value> {
        if index as usize >= self.graph.node(node).types.len() {
            return Err(ParseError::new(line, format!("{name} has no output {index}")));
        }
        Ok(Value { node, index })
    }

    /// A path that no line has.
    fn free(&self, path: &str) -> String {
        let mut free = path.to_string();
        while self.values.contains(&free) || self.constants.contains(&free) {
            free.push_str(".c");
        }
        free
    }

    /// Name the graph's outputs.
    pub(super) fn outputs(&mut self, line: usize, outputs: Vec<(String, Expression)>) -> Result<()> {
        self.local.clear();
        for (name, expression) in outputs {
            let value = self.value(line, expression, &name)?;
            self.graph.outputs.push(Output { name, value });
        }
        Ok(())
    }
}

impl Statement<'_> {
    fn sign(&self) -> char {
        if self.constant { '@' } else { '%' }
    }
}

/// Name of what stands below `reader` as its `role`.
fn below(reader: &str, role: &str) -> String {
    if reader.len() > LONG { role.to_string() } else { format!("{reader}.{role}") }
}
