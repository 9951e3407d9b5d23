//! One node of a graph by itself: its run-time operands come in, its constants are given.

use super::program::Program;
use super::session::{Request, RunError, Session};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use vitc_ir::{DType, Graph, NodeId, Op, Output, Stored, StoredType, Value, WeightError, Weights};

/// A node, ready to run.
pub struct Alone {
    session: Session,
    /// The operand that each input is.
    slots: Vec<usize>,
    results: usize,
}

/// Constants by the name of their leaf.
struct Given(HashMap<String, Arc<Vec<f64>>>);

impl Weights for Given {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let data = self.0.get(key).filter(|data| data.len() == elements);
        let data = data.ok_or_else(|| WeightError { key: key.into(), what: "has another size".into() })?;
        let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        Ok(Stored { dtype: StoredType::F64, bytes: Cow::Owned(bytes) })
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
        let failed = |what: String| RunError { what };
        let node = graph.node(id);
        let single = |v: &Value| graph.ty(*v).dtype == DType::F32;
        if !node.inputs.iter().all(single) || node.types.iter().any(|t| t.dtype != DType::F32) {
            return Err(failed(format!("{} has values that are no f32", node.path)));
        }
        let mut alone = Graph::new("alone", graph.stage);
        let (mut slots, mut given, mut operands) = (Vec::new(), HashMap::new(), Vec::new());
        for (slot, &v) in node.inputs.iter().enumerate() {
            let name = format!("operand{slot}");
            let op = match constants.get(&slot) {
                Some(data) => {
                    given.insert(name.clone(), Arc::clone(data));
                    Op::Weight { key: name.clone() }
                }
                None => {
                    slots.push(slot);
                    Op::Input
                }
            };
            operands.push(alone.push_leaf(op, graph.ty(v).clone(), &name).map_err(|e| failed(e.to_string()))?);
        }
        let made = alone.push(node.op.clone(), &operands, "result").map_err(|e| failed(e.to_string()))?;
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
