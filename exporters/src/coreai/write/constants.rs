//! Where the elements of each constant stand: small ones in the attribute table, large ones in the resource section, those of several functions
//! that are one expression once.

use super::function::Function;
use super::program::{Blob, Elements};
use crate::ExportError;
use std::collections::{HashMap, HashSet};
use vitc_ir::eval::{self, ConstantStats, StreamError};
use vitc_ir::{Graph, Op, Type, Value, cost};

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
        let mut expressions = Expressions::default();
        let (mut placed, mut keys) = (HashMap::new(), HashSet::new());
        for (number, function) in functions.iter().enumerate() {
            let graph = function.graph;
            let mut own = HashMap::new();
            let mut small = Vec::new();
            for value in cost::emitted_constants(graph) {
                let expression = expressions.number(graph, value);
                if let Some(elements) = placed.get(&expression) {
                    own.insert(value, Elements::clone(elements));
                } else if graph.ty(value).bytes() < INLINE_BELOW {
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

/// An operator with the numbers of its operands and which of their outputs they are, and its types.
type Expression = (Op, Vec<(u32, u32)>, Vec<Type>);

/// Numbers the constant expressions of several graphs: equal ones alike.
#[derive(Default)]
struct Expressions {
    numbers: HashMap<Expression, u32>,
}

impl Expressions {
    fn number(&mut self, graph: &Graph, value: Value) -> (u32, u32) {
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
            let operands = node.inputs.iter().map(|v| (known[&v.node], v.index)).collect();
            let next = self.numbers.len() as u32;
            let number = *self.numbers.entry((node.op.clone(), operands, node.types.clone())).or_insert(next);
            known.insert(id, number);
        }
        (known[&value.node], value.index)
    }
}
