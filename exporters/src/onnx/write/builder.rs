//! The graph message as it grows: names, constants and nodes. Which operator says a node is decided in [`super::ops`].
//!
//! Invariants. Value names are unique, a constant that nothing reads is not emitted, and equal small arrays (shapes, axes,
//! bounds) are one initializer. Each value between input and result has its complete type in `value_info`.

use crate::onnx::messages::{self as onnx, Attribute, attribute_kind, data_type};
use half::f16;
use prost::bytes::Bytes;
use std::collections::{HashMap, HashSet};
use vitc_ir::{DType, Dim, Generator, Graph, Node, NodeId, Op, Real, Shape, Type, Value};

/// Operator, operands and attributes of an ONNX node.
pub(super) struct Spelling {
    /// Operator.
    pub(super) op: &'static str,
    /// Names of the operands; empty for one that is left out.
    pub(super) inputs: Vec<String>,
    /// Attributes.
    pub(super) attributes: Vec<Attribute>,
}

impl Spelling {
    pub(super) fn new(op: &'static str, inputs: Vec<String>) -> Self {
        Spelling { op, inputs, attributes: Vec::new() }
    }

    fn attribute(mut self, name: &str, kind: i32, value: Attribute) -> Self {
        self.attributes.push(Attribute { name: name.into(), kind, ..value });
        self
    }

    pub(super) fn int(self, name: &str, i: i64) -> Self {
        self.attribute(name, attribute_kind::INT, Attribute { i: Some(i), ..Default::default() })
    }

    pub(super) fn float(self, name: &str, f: Real) -> Self {
        self.attribute(name, attribute_kind::FLOAT, Attribute { f: Some(f.0 as f32), ..Default::default() })
    }

    pub(super) fn string(self, name: &str, s: &'static str) -> Self {
        let s = Some(Bytes::from_static(s.as_bytes()));
        self.attribute(name, attribute_kind::STRING, Attribute { s, ..Default::default() })
    }

    pub(super) fn ints(self, name: &str, ints: &[usize]) -> Self {
        let ints = ints.iter().map(|&i| i as i64).collect();
        self.attribute(name, attribute_kind::INTS, Attribute { ints, ..Default::default() })
    }
}

/// A constant whose elements come from the evaluator while the file is written.
pub(super) struct Streamed {
    /// The constant.
    pub(super) value: Value,
    /// The initializers that hold it, without elements: more than one if nodes read it under different shapes.
    pub(super) tensors: Vec<onnx::Tensor>,
    /// Bytes of the elements as written.
    pub(super) bytes: u64,
}

/// Element type code. Integers are 64 bits wide in ONNX's indices, shapes and axes, so all of them are.
pub(super) fn elem_type(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => data_type::FLOAT,
        DType::F16 => data_type::FLOAT16,
        DType::I32 | DType::I64 => data_type::INT64,
        DType::I8 => data_type::INT8,
        DType::U8 => data_type::UINT8,
        DType::I4 => data_type::INT4,
        DType::U4 => data_type::UINT4,
        DType::Bool => data_type::BOOL,
    }
}

/// Bytes of so many elements as written.
pub(super) fn bytes_of(dtype: DType, elements: usize) -> usize {
    match dtype {
        DType::I32 => DType::I64.bytes_of(elements),
        dtype => dtype.bytes_of(elements),
    }
}

/// Name and type of a value. `k·B` is named after its formula: equal names are equal numbers.
fn value_info(name: &str, ty: &Type) -> onnx::ValueInfo {
    let dim = |d: &Dim| match d {
        Dim::Fixed(n) => onnx::Dim { dim_value: Some(*n as i64), dim_param: None },
        Dim::Batch(1) => onnx::Dim { dim_value: None, dim_param: Some("batch".into()) },
        Dim::Batch(k) => onnx::Dim { dim_value: None, dim_param: Some(format!("{k}*batch")) },
    };
    let shape = onnx::Shape { dim: ty.shape.0.iter().map(dim).collect() };
    let tensor_type = onnx::TensorType { elem_type: elem_type(ty.dtype), shape: Some(shape) };
    onnx::ValueInfo { name: name.into(), r#type: Some(onnx::Type { tensor_type: Some(tensor_type) }) }
}

/// A port with other elements.
fn with_elem(mut info: onnx::ValueInfo, elem: i32) -> onnx::ValueInfo {
    if let Some(tensor) = info.r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut()) {
        tensor.elem_type = elem;
    }
    info
}

/// An array that the exporter writes out itself: element type, shape, elements.
type Array = (i32, Vec<i64>, Vec<u8>);

/// Constants up to this many elements that one number fills are written out, so that equal ones are one initializer.
const FILL_LIMIT: usize = 4096;

/// Grows the graph message.
pub(super) struct Builder<'g> {
    /// The graph that is exported.
    pub(super) graph: &'g Graph,
    /// Its operator set.
    pub(super) opset: u32,
    /// The message so far.
    pub(super) message: onnx::Graph,
    /// Its large constants, in order of first use.
    pub(super) streamed: Vec<Streamed>,
    /// Names of run-time values.
    names: HashMap<Value, String>,
    /// Names of constants, by value and the shape they are read under.
    constants: HashMap<(Value, Vec<i64>), String>,
    /// Place in `streamed`.
    places: HashMap<Value, usize>,
    arrays: HashMap<Array, String>,
    value_names: HashSet<String>,
    node_names: HashSet<String>,
    /// Results that no node of their own produces: interface name, value, and what elements it becomes.
    copies: Vec<(String, Value, Option<i32>)>,
}

impl<'g> Builder<'g> {
    /// Only the interface so far. Ports of these names have whole numbers of 32 bits, and a cast between them and the graph.
    pub(super) fn new(graph: &'g Graph, opset: u32, int32: &[String]) -> Self {
        let narrow = |name: &String, ty: &Type| ty.dtype == DType::I32 && int32.contains(name);
        let mut narrowed = Vec::new();
        let mut b = Builder {
            graph,
            opset,
            message: onnx::Graph { name: graph.name.clone(), ..onnx::Graph::default() },
            streamed: Vec::new(),
            names: HashMap::new(),
            constants: HashMap::new(),
            places: HashMap::new(),
            arrays: HashMap::new(),
            value_names: HashSet::new(),
            node_names: HashSet::new(),
            copies: Vec::new(),
        };
        // Interface names come first, so that nothing inside the graph can take them.
        for (id, node) in graph.inputs() {
            let name = unused(&mut b.value_names, &node.path);
            let ty = &node.types[0];
            if narrow(&name, ty) {
                b.message.input.push(with_elem(value_info(&name, ty), data_type::INT32));
                narrowed.push((id, name));
            } else {
                b.message.input.push(value_info(&name, ty));
                b.names.insert(id.into(), name);
            }
        }
        for output in &graph.outputs {
            let name = unused(&mut b.value_names, &output.name);
            let (info, value) = (value_info(&name, graph.ty(output.value)), graph.stored(output.value));
            if narrow(&name, graph.ty(output.value)) {
                b.message.output.push(with_elem(info, data_type::INT32));
                b.copies.push((name, value, Some(data_type::INT32)));
                continue;
            }
            b.message.output.push(info);
            if graph.is_constant(value) || b.names.contains_key(&value) {
                b.copies.push((name, value, None));
            } else {
                b.names.insert(value, name);
            }
        }
        for (id, input) in narrowed {
            let wide = unused(&mut b.value_names, &format!("{input}.int64"));
            b.message.value_info.push(value_info(&wide, &graph.node(id).types[0]));
            b.names.insert(id.into(), wide.clone());
            b.copy(input, wide, Some(data_type::INT64));
        }
        b
    }

    /// One value under another name, and as these elements if they are others.
    fn copy(&mut self, from: String, to: String, elem: Option<i32>) {
        let name = unused(&mut self.node_names, &to);
        let spelling = match elem {
            Some(elem) => Spelling::new("Cast", vec![from]).int("to", i64::from(elem)),
            None => Spelling::new("Identity", vec![from]),
        };
        let (op_type, input, attribute) = (spelling.op.into(), spelling.inputs, spelling.attributes);
        let output = vec![to];
        self.message.node.push(onnx::Node { input, output, name, op_type, attribute, domain: String::new() });
    }

    /// Append one node, which `spelling` says.
    pub(super) fn node(&mut self, id: NodeId, node: &Node, spelling: Spelling) {
        let mut output = Vec::with_capacity(node.types.len());
        for (index, ty) in node.types.iter().enumerate() {
            let value = Value { node: id, index: index as u32 };
            if let Some(name) = self.names.get(&value) {
                output.push(name.clone());
                continue;
            }
            let name = unused(&mut self.value_names, &self.graph.value_name(value));
            self.message.value_info.push(value_info(&name, ty));
            self.names.insert(value, name.clone());
            output.push(name);
        }
        let name = unused(&mut self.node_names, &node.path);
        let (op_type, input, attribute) = (spelling.op.into(), spelling.inputs, spelling.attributes);
        self.message.node.push(onnx::Node { input, output, name, op_type, attribute, domain: String::new() });
    }

    /// Append the copies behind results that are an input, a constant or another result.
    pub(super) fn results(&mut self) {
        for (result, value, elem) in std::mem::take(&mut self.copies) {
            let from = self.read(value);
            self.copy(from, result, elem);
        }
    }

    /// The name under which a node reads a value; a constant becomes an initializer.
    pub(super) fn read(&mut self, value: Value) -> String {
        let value = self.graph.stored(value);
        match self.names.get(&value) {
            Some(name) => name.clone(),
            None => self.read_as(value, &self.graph.shape(value).clone()),
        }
    }

    /// The names under which a node reads its operands.
    pub(super) fn read_all(&mut self, values: &[Value]) -> Vec<String> {
        values.iter().map(|&v| self.read(v)).collect()
    }

    /// The name of a constant under a shape with the same number of elements.
    pub(super) fn read_as(&mut self, value: Value, shape: &Shape) -> String {
        let value = self.graph.stored(value);
        let dims: Vec<i64> = shape.0.iter().map(|d| d.at(1) as i64).collect();
        let key = (value, dims);
        if let Some(name) = self.constants.get(&key) {
            return name.clone();
        }
        let name = self.constant(value, shape, &key.1);
        self.constants.insert(key, name.clone());
        name
    }

    fn constant(&mut self, value: Value, shape: &Shape, dims: &[i64]) -> String {
        let ty = self.graph.ty(value);
        let small = match self.graph.op(value) {
            Op::Literal { values } => encode(values, ty.dtype),
            Op::Generate(Generator::Fill { value }) if ty.shape.elements() <= FILL_LIMIT => {
                encode(&vec![*value; ty.shape.elements()], ty.dtype)
            }
            _ => None,
        };
        let mut wanted = self.graph.value_name(value);
        if shape != self.graph.shape(value) {
            wanted = format!("{wanted}_as_{}", joined(dims));
        }
        if let Some(bytes) = small {
            return self.array((elem_type(ty.dtype), dims.to_vec(), bytes), &wanted);
        }
        let name = unused(&mut self.value_names, &wanted);
        let data_type = elem_type(ty.dtype);
        let tensor = onnx::Tensor { dims: dims.to_vec(), data_type, name: name.clone(), ..Default::default() };
        let bytes = bytes_of(ty.dtype, ty.shape.elements()) as u64;
        let place = *self.places.entry(value).or_insert_with(|| {
            self.streamed.push(Streamed { value, tensors: Vec::new(), bytes });
            self.streamed.len() - 1
        });
        self.streamed[place].tensors.push(tensor);
        name
    }

    fn array(&mut self, array: Array, wanted: &str) -> String {
        if let Some(name) = self.arrays.get(&array) {
            return name.clone();
        }
        let name = unused(&mut self.value_names, wanted);
        let (data_type, dims, bytes) = array.clone();
        let raw_data = Bytes::from(bytes);
        self.message.initializer.push(onnx::Tensor {
            dims,
            data_type,
            name: name.clone(),
            raw_data,
            ..Default::default()
        });
        self.arrays.insert(array, name.clone());
        name
    }

    /// A vector of 64-bit integers: axes, sizes, bounds of slices.
    pub(super) fn ints(&mut self, values: impl IntoIterator<Item = usize>) -> String {
        self.int64("ints", values.into_iter().map(|v| v as i64).collect())
    }

    /// A shape as `Reshape` takes it; the batch, if symbolic, is the one size that is inferred.
    pub(super) fn shape(&mut self, shape: &Shape) -> String {
        self.int64("shape", shape.0.iter().map(|d| d.fixed().map_or(-1, |n| n as i64)).collect())
    }

    fn int64(&mut self, prefix: &str, values: Vec<i64>) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.array((data_type::INT64, vec![values.len() as i64], bytes), &format!("{prefix}_{}", joined(&values)))
    }

    /// A vector of floats in f32, whatever the model computes in.
    pub(super) fn floats(&mut self, values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let text: Vec<String> = values.iter().map(f32::to_string).collect();
        let wanted = format!("floats_{}", text.join("x"));
        self.array((data_type::FLOAT, vec![values.len() as i64], bytes), &wanted)
    }

    /// A scalar, or the reason why its element type does not hold it.
    pub(super) fn scalar(&mut self, value: Real, dtype: DType) -> Result<String, String> {
        let bytes = encode(&[value], dtype).ok_or_else(|| format!("{value} is out of the range of {dtype}"))?;
        Ok(self.array((elem_type(dtype), Vec::new(), bytes), &format!("const_{value}")))
    }

    /// An array of ones.
    pub(super) fn ones(&mut self, dtype: DType, dims: &[usize]) -> String {
        let ones = vec![Real(1.0); dims.iter().product()];
        let bytes = encode(&ones, dtype).expect("every element type holds 1");
        let dims: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
        self.array((elem_type(dtype), dims.clone(), bytes), &format!("ones_{}", joined(&dims)))
    }
}

/// Little-endian elements, rounded once; `None` if one of them is out of the element type's range.
fn encode(values: &[Real], dtype: DType) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(bytes_of(dtype, values.len()));
    for &Real(v) in values {
        match dtype {
            DType::F32 => bytes.extend_from_slice(&Some(v as f32).filter(|x| x.is_finite())?.to_le_bytes()),
            DType::F16 => bytes.extend_from_slice(&Some(f16::from_f64(v)).filter(|x| x.is_finite())?.to_le_bytes()),
            DType::I32 | DType::I64 => {
                bytes.extend_from_slice(&Some(v as i64).filter(|&x| x as f64 == v)?.to_le_bytes());
            }
            DType::I8 => bytes.extend_from_slice(&Some(v as i8).filter(|&x| f64::from(x) == v)?.to_le_bytes()),
            DType::U8 => bytes.push(Some(v as u8).filter(|&x| f64::from(x) == v)?),
            DType::Bool => bytes.push(u8::from(v != 0.0)),
            // The evaluator packs them.
            DType::I4 | DType::U4 => return None,
        }
    }
    Some(bytes)
}

/// `1x8x49x49`, with `B` for the inferred size.
fn joined(values: &[i64]) -> String {
    let text = |&v: &i64| if v < 0 { "B".to_string() } else { v.to_string() };
    values.iter().map(text).collect::<Vec<_>>().join("x")
}

/// `wanted`, or with the first free suffix `_2`, `_3`, …; taken from now on.
fn unused(taken: &mut HashSet<String>, wanted: &str) -> String {
    let mut name = wanted.to_string();
    let mut suffix = 2;
    while !taken.insert(name.clone()) {
        name = format!("{wanted}_{suffix}");
        suffix += 1;
    }
    name
}
