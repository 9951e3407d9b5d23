//! Where the elements of each constant stand: small ones in the attribute table, large ones in the resource section, those of several functions
//! that are one expression once.

use super::function::Function;
use super::program::{Blob, Elements};
use crate::ExportError;
use std::collections::{HashMap, HashSet};
use vitc_ir::eval::{self, ConstantStats, StreamError};
use vitc_ir::{Graph, Node, Op, Stored, Type, Value, cost};

/// Constants of fewer bytes stand in the attribute table, as the vendor's own tools have it.
const INLINE_BELOW: usize = 1024;

/// The constants of a program.
pub(super) struct Constants {
    /// Per function: where the elements of each constant stand.
    pub(super) elements: Vec<HashMap<Value, Elements>>,
    /// What the resource section holds, in order.
    pub(super) blobs: Vec<Blob>,
    /// For each blob the function and the constant that it is.
    pub(super) sources: Vec<(usize, Value)>,
    /// What rounding did to the small ones.
    pub(super) stats: Vec<(String, ConstantStats)>,
}

impl Constants {
    /// Place the constants of these functions and compute the small ones.
    ///
    /// # Errors
    /// If a constant cannot be had or is not finite.
    pub(super) fn new(functions: &[Function<'_>]) -> Result<Constants, ExportError> {
        let mut constants =
            Constants { elements: Vec::new(), blobs: Vec::new(), sources: Vec::new(), stats: Vec::new() };
        let mut expressions = Expressions { functions, numbers: HashMap::new(), contents: HashMap::new() };
        let (mut placed, mut keys) = (HashMap::new(), HashSet::new());
        for (number, function) in functions.iter().enumerate() {
            let graph = function.graph;
            let mut own = HashMap::new();
            let mut small = Vec::new();
            let packed = packed(graph);
            for value in cost::emitted_constants(graph) {
                let expression = expressions.number(number, value)?;
                if let Some(elements) = placed.get(&expression) {
                    own.insert(value, Elements::clone(elements));
                } else if graph.ty(value).bytes() < INLINE_BELOW && !packed.contains(&value) {
                    small.push((value, expression));
                } else {
                    let elements = Elements::Resource(constants.blobs.len());
                    let bytes = graph.ty(value).bytes() as u64;
                    let key = free(&mut keys, graph.value_name(value));
                    constants.blobs.push(Blob { key, bytes });
                    constants.sources.push((number, value));
                    placed.insert(expression, elements.clone());
                    own.insert(value, elements);
                }
            }
            for ((value, expression), (bytes, stats)) in small.iter().zip(computed(function, &small)?) {
                let elements = inline(bytes, graph.ty(*value));
                placed.insert(*expression, elements.clone());
                own.insert(*value, elements);
                constants.stats.push((graph.value_name(*value), stats));
            }
            constants.elements.push(own);
        }
        Ok(constants)
    }
}

/// Codes of few bits, which have a byte each in the attribute table and share bytes in the resource section: all stand there.
fn packed(graph: &Graph) -> HashSet<Value> {
    let codes = graph.run_time_nodes().filter(|(_, n)| matches!(n.op, Op::Lookup { .. } | Op::Dequantize));
    let codes = codes.map(|(_, n)| (graph.stored(n.inputs[0]), &n.op));
    codes.filter(|(v, op)| matches!(op, Op::Lookup { .. }) || graph.ty(*v).dtype.bits() < 8).map(|(v, _)| v).collect()
}

/// A key that no other blob has.
fn free(taken: &mut HashSet<String>, name: String) -> String {
    let mut key = name.clone();
    let mut number = 1;
    while !taken.insert(key.clone()) {
        number += 1;
        key = format!("{name}_{number}");
    }
    key
}

/// Bytes of small constants, and what rounding did to them.
fn computed(
    function: &Function<'_>,
    small: &[(Value, (u32, u32))],
) -> Result<Vec<(Vec<u8>, ConstantStats)>, ExportError> {
    let values: Vec<Value> = small.iter().map(|(v, _)| *v).collect();
    let mut bytes = vec![Vec::new(); values.len()];
    let mut sink = |i: usize, _: usize, piece: &[u8]| -> Result<(), std::convert::Infallible> {
        bytes[i].extend_from_slice(piece);
        Ok(())
    };
    let report = eval::stream(function.graph, function.numbers, &values, &mut sink).map_err(|e| match e {
        StreamError::Eval(e) => ExportError::Constant(e),
        StreamError::Sink(never) => match never {},
    })?;
    Ok(bytes.into_iter().zip(report.constants).collect())
}

/// Elements in the attribute table: one, if all are equal.
fn inline(bytes: Vec<u8>, ty: &Type) -> Elements {
    let size = ty.dtype.bytes_of(1);
    let splat = bytes.len() >= size && bytes.chunks(size).all(|c| c == &bytes[..size]);
    Elements::Inline { bytes: if splat { bytes[..size].to_vec() } else { bytes }, splat }
}

/// An operator with the numbers of its operands and which of their outputs they are (a weight's is that of its content), and its types.
type Expression = (Op, Vec<(u32, u32)>, Vec<Type>);

/// Numbers the constant expressions of several functions: equal ones alike.
struct Expressions<'f, 'a> {
    functions: &'f [Function<'a>],
    numbers: HashMap<Expression, u32>,
    /// By weight: the functions in which it has a content of its own.
    contents: HashMap<String, Vec<usize>>,
}

impl Expressions<'_, '_> {
    fn number(&mut self, function: usize, value: Value) -> Result<(u32, u32), ExportError> {
        let graph = self.functions[function].graph;
        // Operands first, without recursion: expressions can be deep.
        let mut known: HashMap<vitc_ir::NodeId, u32> = HashMap::new();
        let mut open = vec![value.node];
        while let Some(&id) = open.last() {
            let node = graph.node(id);
            let missing: Vec<_> = node.inputs.iter().map(|v| v.node).filter(|n| !known.contains_key(n)).collect();
            if !missing.is_empty() {
                open.extend(missing);
                continue;
            }
            open.pop();
            let operands = match &node.op {
                Op::Weight { key } => vec![(self.content(function, node, key)?, 0)],
                _ => node.inputs.iter().map(|v| (known[&v.node], v.index)).collect(),
            };
            let next = self.numbers.len() as u32;
            let number = *self.numbers.entry((node.op.clone(), operands, node.types.clone())).or_insert(next);
            known.insert(id, number);
        }
        Ok((known[&value.node], value.index))
    }

    /// Which of the contents that a weight has in the functions so far this function's is. Models of two sizes may hold other numbers under one name.
    fn content(&mut self, function: usize, node: &Node, key: &str) -> Result<u32, ExportError> {
        let elements = node.types[0].shape.elements();
        let stored = |f: usize| self.functions[f].numbers.weights.weight(key, elements);
        let known = self.contents.get(key).map(Vec::as_slice).unwrap_or_default();
        let mut found = known.iter().position(|&f| f == function);
        if found.is_none() && !known.is_empty() {
            let fail = |source| ExportError::Constant(eval::EvalError::Weight { path: node.path.clone(), source });
            let own = stored(function).map_err(fail)?;
            // A weight of another size under this name is another content.
            let same = |s: &Stored<'_>| s.dtype == own.dtype && s.bytes == own.bytes;
            found = known.iter().position(|&f| stored(f).is_ok_and(|s| same(&s)));
        }
        let number = found.unwrap_or(known.len());
        if found.is_none() {
            self.contents.entry(key.to_string()).or_default().push(function);
        }
        Ok(number as u32)
    }
}
