//! The model under construction: names, values, constants.

use super::step::Step;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use vitc_ir::eval;
use vitc_ir::{DType, Graph, Output, Type, Value, Weights};

/// Operator set: all that is needed exists, and reductions of a mean take their axes as an attribute.
const OPSET: i64 = 16;

/// Element type code. Indices are 64 bits wide in ONNX, so all integers are.
pub(super) fn element(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::Float,
        DType::F16 => DataType::Float16,
        DType::I32 | DType::I64 => DataType::Int64,
        DType::I8 => DataType::Int8,
        DType::U8 => DataType::Uint8,
        DType::I4 => DataType::Int4,
        DType::U4 => DataType::Uint4,
        DType::Bool => DataType::Bool,
    }
}

/// Grows the model.
pub(super) struct Writer<'g> {
    pub(super) graph: &'g Graph,
    pub(super) batch: usize,
    message: pb::GraphProto,
    /// Names of values that have one.
    names: HashMap<Value, String>,
    taken: HashSet<String>,
    /// Constants in the order of their initializers, which have no elements yet, and the places of those.
    constants: Vec<(Value, usize)>,
}

impl<'g> Writer<'g> {
    pub(super) fn new(graph: &'g Graph, batch: usize) -> Self {
        let message = pb::GraphProto { name: graph.name.clone(), ..Default::default() };
        Writer { graph, batch, message, names: HashMap::new(), taken: HashSet::new(), constants: Vec::new() }
    }

    /// `wanted`, or with a number behind it if that is taken.
    pub(super) fn unused(&mut self, wanted: &str) -> String {
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
    pub(super) fn input(&mut self, value: Value) {
        let name = self.unused(&self.graph.value_name(value));
        let info = self.info(&name, self.graph.ty(value));
        self.message.input.push(info);
        self.names.insert(value, name);
    }

    /// Declare the results. A value that is computed at run time takes the name of its first.
    pub(super) fn results(&mut self, results: &[Output]) {
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
    pub(super) fn copies(&mut self, results: &[Output]) {
        for result in results {
            let from = self.read(result.value);
            if from != result.name {
                self.emit(Step::new("Identity", [from]), result.name.clone());
            }
        }
    }

    /// The name of a value; a constant becomes an initializer.
    pub(super) fn read(&mut self, value: Value) -> String {
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

    pub(super) fn initializer(&mut self, name: &str, element: DataType, dims: &[usize], raw_data: Vec<u8>) {
        let dims = dims.iter().map(|&d| d as i64).collect();
        let tensor =
            pb::TensorProto { name: name.into(), data_type: element as i32, dims, raw_data, ..Default::default() };
        self.message.initializer.push(tensor);
    }

    pub(super) fn emit(&mut self, step: Step, output: String) {
        let [wanted, results] = step.wanted;
        let name = |i: usize| if i == wanted { output.clone() } else { self.unused(&format!("{output}.other")) };
        let outputs: Vec<String> = (0..results).map(name).collect();
        self.message.node.push(pb::NodeProto {
            op_type: step.op.into(),
            name: output,
            input: step.inputs,
            output: outputs,
            attribute: step.attributes,
            ..Default::default()
        });
    }

    /// The model with the elements of its constants.
    pub(super) fn finish(mut self, weights: &dyn Weights) -> Result<pb::ModelProto, String> {
        let values: Vec<Value> = self.constants.iter().map(|&(value, _)| value).collect();
        let mut sink = |index: usize, _: usize, piece: &[u8]| {
            let (value, place) = self.constants[index];
            let raw_data = &mut self.message.initializer[place].raw_data;
            if raw_data.is_empty() {
                raw_data.reserve_exact(self.graph.ty(value).dtype.bytes_of(self.graph.shape(value).elements()));
            }
            match self.graph.ty(value).dtype {
                DType::F32 | DType::F16 | DType::I64 | DType::I8 | DType::U8 | DType::I4 | DType::U4 | DType::Bool => {
                    raw_data.extend_from_slice(piece)
                }
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
