//! Writing a graph as an ONNX model for tract: the reference of a check, and packages that were read back.
//!
//! Invariants: independent of `vitc-passes` and of the exporters, so that a mistake there cannot hide here; operators are spelled from their formulas in
//! [`vitc_ir::Op`], where it can be with other operators than the exporter takes. Nothing is folded. The last operation of a spelling gives the
//! node's value its name; parts have [`PART`] in theirs. Where a node has f16 values its parts are computed in f32 and the result is rounded once, as the node
//! itself would. The symbolic batch becomes a number. High-level operators were expanded before.

mod formulas;
mod ops;
mod step;
#[cfg(test)]
mod tests;

use super::cut::Piece;
use std::collections::{HashMap, HashSet};
use step::Step;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use vitc_ir::eval;
use vitc_ir::{DType, Graph, Node, NodeId, Op, Output, Type, Value, Weights};

/// In the name of every value that is a part of a node's spelling.
pub(crate) const PART: &str = ".spelled.";

/// Operator set: all that is needed exists, and reductions of a mean take their axes as an attribute.
const OPSET: i64 = 13;

/// The model that computes `graph`, or a piece of it, at a batch of `batch`.
///
/// # Errors
/// If the graph holds a high-level operator, or a constant cannot be computed.
pub(super) fn write(
    graph: &Graph,
    weights: &dyn Weights,
    batch: usize,
    piece: Option<&Piece>,
) -> Result<pb::ModelProto, String> {
    let named = |name: &str| graph.find(name).map(Value::from).ok_or_else(|| format!("there is no value {name}"));
    let start = piece.and_then(|p| p.from.as_ref()).map(|(name, _)| named(name)).transpose()?;
    let end = piece.and_then(|p| p.to.as_ref());
    let end = end.map(|name| Ok::<_, String>(Output { name: name.clone(), value: named(name)? })).transpose()?;
    let results = end.as_ref().map_or(&graph.outputs[..], std::slice::from_ref);

    let mut writer = Writer::new(graph, batch);
    let wanted = wanted(graph, start, results);
    for (id, node) in graph.nodes() {
        if start == Some(id.into()) || start.is_none() && node.op == Op::Input {
            writer.input(id.into());
        }
    }
    writer.results(results);
    for (id, node) in graph.run_time_nodes().filter(|(id, _)| wanted.contains(id) && start != Some((*id).into())) {
        writer.node(id, node).map_err(|what| format!("{} ({}): {what}", node.path, node.op.word()))?;
    }
    writer.copies(results);
    writer.finish(weights)
}

/// The nodes that results depend on, back to where the model starts.
fn wanted(graph: &Graph, start: Option<Value>, results: &[Output]) -> HashSet<NodeId> {
    let mut wanted = HashSet::new();
    let mut stack: Vec<Value> = results.iter().map(|o| o.value).collect();
    while let Some(v) = stack.pop() {
        if Some(v) != start && !graph.is_constant(v) && graph.op(v) != &Op::Input && wanted.insert(v.node) {
            stack.extend(graph.producer(v).inputs.iter());
        }
    }
    wanted
}

/// Element type code. Indices are 64 bits wide in ONNX, so all integers are.
fn element(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::Float,
        DType::F16 => DataType::Float16,
        DType::I32 => DataType::Int64,
    }
}

/// Grows the model.
struct Writer<'g> {
    graph: &'g Graph,
    batch: usize,
    message: pb::GraphProto,
    /// Names of values that have one.
    names: HashMap<Value, String>,
    taken: HashSet<String>,
    /// Constants in the order of their initializers, which have no elements yet, and the places of those.
    constants: Vec<(Value, usize)>,
}

impl<'g> Writer<'g> {
    fn new(graph: &'g Graph, batch: usize) -> Self {
        let message = pb::GraphProto { name: graph.name.clone(), ..Default::default() };
        Writer { graph, batch, message, names: HashMap::new(), taken: HashSet::new(), constants: Vec::new() }
    }

    /// `wanted`, or with a number behind it if that is taken.
    fn unused(&mut self, wanted: &str) -> String {
        let numbered = (2..).map(|n| format!("{wanted}_{n}"));
        let name = std::iter::once(wanted.to_string()).chain(numbered).find(|name| !self.taken.contains(name));
        let name = name.unwrap_or_default();
        self.taken.insert(name.clone());
        name
    }

    fn info(&self, name: &str, ty: &Type) -> pb::ValueInfoProto {
        use pb::tensor_shape_proto::{Dimension, dimension};
        let dim = |n: usize| Dimension { value: Some(dimension::Value::DimValue(n as i64)), ..Default::default() };
        let shape = pb::TensorShapeProto { dim: ty.shape.at(self.batch).into_iter().map(dim).collect() };
        let tensor = pb::type_proto::Tensor { elem_type: element(ty.dtype) as i32, shape: Some(shape) };
        let ty = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
        pb::ValueInfoProto { name: name.into(), r#type: Some(ty), ..Default::default() }
    }

    /// Where the model starts.
    fn input(&mut self, value: Value) {
        let name = self.unused(&self.graph.value_name(value));
        let info = self.info(&name, self.graph.ty(value));
        self.message.input.push(info);
        self.names.insert(value, name);
    }

    /// Declare the results. A value that is computed at run time takes the name of its first.
    fn results(&mut self, results: &[Output]) {
        for result in results {
            self.taken.insert(result.name.clone());
            let info = self.info(&result.name, self.graph.ty(result.value));
            self.message.output.push(info);
            if !self.graph.is_constant(result.value) {
                self.names.entry(result.value).or_insert_with(|| result.name.clone());
            }
        }
    }

    /// Copies of what has another name than the result that it is.
    fn copies(&mut self, results: &[Output]) {
        for result in results {
            let from = self.read(result.value);
            if from != result.name {
                self.emit(Step::new("Identity", [from]), result.name.clone());
            }
        }
    }

    /// The name of a value; a constant becomes an initializer.
    fn read(&mut self, value: Value) -> String {
        let value = self.graph.stored(value);
        if let Some(name) = self.names.get(&value) {
            return name.clone();
        }
        let name = self.unused(&self.graph.value_name(value));
        self.names.insert(value, name.clone());
        if self.graph.is_constant(value) {
            let ty = self.graph.ty(value);
            self.constants.push((value, self.message.initializer.len()));
            self.initializer(&name, element(ty.dtype), &ty.shape.at(self.batch), Vec::new());
        }
        name
    }

    fn initializer(&mut self, name: &str, element: DataType, dims: &[usize], raw_data: Vec<u8>) {
        let dims = dims.iter().map(|&d| d as i64).collect();
        let tensor =
            pb::TensorProto { name: name.into(), data_type: element as i32, dims, raw_data, ..Default::default() };
        self.message.initializer.push(tensor);
    }

    fn emit(&mut self, step: Step, output: String) {
        self.message.node.push(pb::NodeProto {
            op_type: step.op.into(),
            name: output.clone(),
            input: step.inputs,
            output: vec![output],
            attribute: step.attributes,
            ..Default::default()
        });
    }

    /// Spell one node.
    fn node(&mut self, id: NodeId, node: &Node) -> Result<(), String> {
        for index in 0..node.types.len() as u32 {
            let value = Value { node: id, index };
            let name = self.read(value);
            let mut parts = Parts { writer: self, node, wide: false };
            let mut step = ops::spell(&mut parts, index as usize)?;
            if parts.wide {
                let result = parts.push(step);
                step = Step::new("Cast", [result]).int("to", DataType::Float16 as i64);
            }
            self.emit(step, name);
        }
        Ok(())
    }

    /// The model with the elements of its constants.
    fn finish(mut self, weights: &dyn Weights) -> Result<pb::ModelProto, String> {
        let values: Vec<Value> = self.constants.iter().map(|&(value, _)| value).collect();
        let mut sink = |index: usize, _: usize, piece: &[u8]| {
            let (value, place) = self.constants[index];
            let raw_data = &mut self.message.initializer[place].raw_data;
            match self.graph.ty(value).dtype {
                DType::F32 | DType::F16 => raw_data.extend_from_slice(piece),
                DType::I32 => raw_data.extend(piece.chunks_exact(4).flat_map(|b| {
                    let number = i32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                    i64::from(number).to_le_bytes()
                })),
            }
            Ok::<(), String>(())
        };
        eval::stream(self.graph, weights, &values, &mut sink).map_err(|e| e.to_string())?;
        let opset_import = vec![pb::OperatorSetIdProto { version: OPSET, ..Default::default() }];
        Ok(pb::ModelProto { ir_version: 8, opset_import, graph: Some(self.message), ..Default::default() })
    }
}

/// The parts of one node's spelling.
struct Parts<'w, 'g> {
    writer: &'w mut Writer<'g>,
    node: &'w Node,
    /// Operands of f16 were widened, so the result is to be rounded.
    wide: bool,
}

impl Parts<'_, '_> {
    /// Type of an operand.
    fn ty(&self, operand: usize) -> &Type {
        self.writer.graph.ty(self.node.inputs[operand])
    }

    /// Dimensions of an operand.
    fn dims(&self, operand: usize) -> Vec<usize> {
        self.ty(operand).shape.at(self.writer.batch)
    }

    /// Dimensions of a result.
    fn result(&self, index: usize) -> Vec<usize> {
        self.node.types[index].shape.at(self.writer.batch)
    }

    /// An operand as it is.
    fn read(&mut self, operand: usize) -> String {
        self.writer.read(self.node.inputs[operand])
    }

    /// An operand in f32. The node's result is rounded then.
    fn wide(&mut self, operand: usize) -> String {
        let name = self.read(operand);
        if self.ty(operand).dtype != DType::F16 {
            return name;
        }
        self.wide = true;
        self.push(Step::new("Cast", [name]).int("to", DataType::Float as i64))
    }

    /// A part, named by its operator.
    fn push(&mut self, step: Step) -> String {
        let name = self.writer.unused(&format!("{}{PART}{}", self.node.path, step.op.to_lowercase()));
        self.writer.emit(step, name.clone());
        name
    }

    /// A constant of the spelling, in f32.
    fn floats(&mut self, dims: &[usize], values: &[f64]) -> String {
        let name = self.writer.unused(&format!("{}{PART}floats", self.node.path));
        let bytes = values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
        self.writer.initializer(&name, DataType::Float, dims, bytes);
        name
    }

    /// A vector of sizes, axes or places.
    fn integers(&mut self, values: impl IntoIterator<Item = usize>) -> String {
        let name = self.writer.unused(&format!("{}{PART}integers", self.node.path));
        let bytes: Vec<u8> = values.into_iter().flat_map(|v| (v as i64).to_le_bytes()).collect();
        self.writer.initializer(&name, DataType::Int64, &[bytes.len() / 8], bytes);
        name
    }
}
