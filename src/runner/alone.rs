//! One node of a graph by itself: its run-time operands come in, its constants are given.

use super::program::Program;
use super::session::{Request, RunError, Session};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use vitc_ir::{DType, Graph, NodeId, Op, Output, Stored, StoredType, Value, WeightError, Weights, eval};

/// A node, ready to run.
pub struct Alone {
    session: Session,
    /// The operand that each input is.
    slots: Vec<usize>,
    results: usize,
}

/// The bytes of constants in single precision, by operand.
type Singles = HashMap<usize, Vec<u8>>;

/// Constants by the name of their leaf.
struct Given<'a>(HashMap<String, &'a [u8]>);

impl Weights for Given<'_> {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let bytes = self.0.get(key).filter(|bytes| bytes.len() == 4 * elements);
        let bytes = bytes.ok_or_else(|| WeightError { key: key.into(), what: "has another size".into() })?;
        Ok(Stored { dtype: StoredType::F32, bytes: Cow::Borrowed(bytes) })
    }
}

impl Alone {
    /// A node at a batch, with these constants at its operands; the others come in.
    ///
    /// # Errors
    /// If it has values that are no f32, or tract does not know or accept it.
    pub fn of(
        graph: &Graph,
        id: NodeId,
        constants: &HashMap<usize, Arc<Vec<f64>>>,
        batch: usize,
    ) -> Result<Alone, RunError> {
        are_single(graph, id)?;
        let single = |data: &[f64]| data.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect();
        let singles: Singles = constants.iter().map(|(&slot, data)| (slot, single(data))).collect();
        Alone::given(graph, id, &singles, batch)
    }

    /// A node at a batch, with the graph's own constants, and the largest magnitude of these.
    ///
    /// # Errors
    /// As for [`Alone::of`], or if a constant cannot be computed or is not finite.
    pub fn stored(graph: &Graph, id: NodeId, weights: &dyn Weights, batch: usize) -> Result<(Alone, f64), RunError> {
        are_single(graph, id)?;
        let (slots, values) = constant_operands(graph, id);
        let mut bytes: Vec<Vec<u8>> =
            values.iter().map(|&v| Vec::with_capacity(4 * graph.shape(v).elements())).collect();
        let mut sink = |index: usize, _: usize, piece: &[u8]| {
            bytes[index].extend_from_slice(piece);
            Ok::<(), String>(())
        };
        let report = eval::stream(graph, weights, &values, &mut sink).map_err(|e| RunError { what: e.to_string() })?;
        let singles: Singles = slots.into_iter().zip(bytes).collect();
        Ok((Alone::given(graph, id, &singles, batch)?, report.total().max_before))
    }

    fn given(graph: &Graph, id: NodeId, singles: &Singles, batch: usize) -> Result<Alone, RunError> {
        let node = graph.node(id);
        let failed = |e: &dyn std::fmt::Display| RunError { what: e.to_string() };
        let mut alone = Graph::new("alone", graph.stage);
        let (mut slots, mut given, mut operands) = (Vec::new(), HashMap::new(), Vec::new());
        for (slot, &v) in node.inputs.iter().enumerate() {
            let name = format!("operand{slot}");
            let op = match singles.get(&slot) {
                Some(bytes) => {
                    given.insert(name.clone(), &bytes[..]);
                    Op::Weight { key: name.clone() }
                }
                None => {
                    slots.push(slot);
                    Op::Input
                }
            };
            operands.push(alone.push_leaf(op, graph.ty(v).clone(), &name).map_err(|e| failed(&e))?);
        }
        let made = alone.push(node.op.clone(), &operands, "result").map_err(|e| failed(&e))?;
        let results = node.types.len();
        alone.outputs = (0..results as u32)
            .map(|index| Output { name: format!("result{index}"), value: Value { node: made, index } })
            .collect();
        let given = Given(given);
        let session = Program::of_graph(&alone, &given).load(Request::outputs(batch))?;
        Ok(Alone { session, slots, results })
    }

    /// The results, row-major, from the operands that are not constant, by their number.
    ///
    /// # Errors
    /// If an operand is missing or of another size, or the operator fails.
    pub fn run<'d>(&self, operand: impl Fn(usize) -> Option<&'d [f32]>) -> Result<Vec<Vec<f32>>, RunError> {
        let missing = |slot: usize| RunError { what: format!("operand {slot} is missing") };
        let given = self.slots.iter().map(|&slot| operand(slot).ok_or_else(|| missing(slot)));
        let found = self.session.run_in_order(&given.collect::<Result<Vec<_>, _>>()?)?;
        if found.len() != self.results {
            return Err(RunError { what: format!("{} results are due, found {}", self.results, found.len()) });
        }
        Ok(found.into_iter().map(|named| named.data).collect())
    }
}

/// The operands of a node that are constant, by number, and their values.
pub fn constant_operands(graph: &Graph, id: NodeId) -> (Vec<usize>, Vec<Value>) {
    let stored = graph.node(id).inputs.iter().map(|&v| graph.stored(v)).enumerate();
    stored.filter(|(_, v)| graph.is_constant(*v)).unzip()
}

/// Refuse a node with values that are no f32.
fn are_single(graph: &Graph, id: NodeId) -> Result<(), RunError> {
    let node = graph.node(id);
    let single = |v: &Value| graph.ty(*v).dtype == DType::F32;
    if node.inputs.iter().all(single) && node.types.iter().all(|t| t.dtype == DType::F32) {
        return Ok(());
    }
    Err(RunError { what: format!("{} has values that are no f32", node.path) })
}
