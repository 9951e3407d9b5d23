//! The graph as a MIL program: names, constants and operations as messages.
//!
//! Invariants: operations are in topological order and every value has one name; a `const` stands right before its
//! first user; block outputs are results of operations, so an input or constant that is an output goes through
//! `identity`.

use super::mil::{Mil, Operand, Param};
use super::names::{Unique, is_identifier};
use super::ops::{not_lowered, spell};
use super::types::data_type;
use crate::ExportError;
use crate::coreml::messages::{
    Argument, Binding, Block, DataType, DictionaryType, Dimension, Function, ListType, ListValue, NamedValueType,
    Operation, Program, TensorType, TensorValue, Value as MilValue, ValueType,
};
use crate::coreml::messages::{binding, dimension, tensor_value, value, value_type};
use crate::coreml::{CLASS_LABEL, CLASS_PROBABILITIES, Interface, Release};
use half::f16;
use std::collections::{BTreeMap, HashMap};
use vitc_ir::{DType, Graph, Op, Type, Value};

/// A tensor type.
fn tensor(data_type: DataType, dims: &[usize]) -> ValueType {
    let constant = |&d: &usize| dimension::Kind::Constant(dimension::Constant { size: d as u64 });
    let dimensions: Vec<Dimension> = dims.iter().map(|d| Dimension { kind: Some(constant(d)) }).collect();
    let tensor = TensorType { data_type: data_type.into(), rank: dims.len() as i64, dimensions };
    ValueType { kind: Some(value_type::Kind::Tensor(tensor)) }
}

/// The type of a value whose shape does not depend on the batch.
pub(super) fn value_type(ty: &Type) -> ValueType {
    tensor(data_type(ty.dtype), &ty.shape.at(1))
}

fn immediate(ty: ValueType, elements: tensor_value::Kind) -> MilValue {
    let kind = value::immediate::Kind::Tensor(TensorValue { kind: Some(elements) });
    MilValue { r#type: Some(ty), kind: Some(value::Kind::Immediate(value::Immediate { kind: Some(kind) })) }
}

fn string(text: &str) -> MilValue {
    let values = vec![text.to_string()];
    immediate(tensor(DataType::String, &[]), tensor_value::Kind::Strings(tensor_value::Strings { values }))
}

/// The elements of a constant in place. Each element type has its own member; half precision goes as bytes.
pub(super) fn elements(dtype: DType, bytes: &[u8]) -> value::Kind {
    let kind = match dtype {
        DType::F32 => {
            let values = bytes.as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c)).collect();
            tensor_value::Kind::Floats(tensor_value::Floats { values })
        }
        DType::I32 => {
            let values = bytes.as_chunks::<4>().0.iter().map(|c| i32::from_le_bytes(*c)).collect();
            tensor_value::Kind::Ints(tensor_value::Ints { values })
        }
        DType::I64 => {
            let values = bytes.as_chunks::<8>().0.iter().map(|c| i64::from_le_bytes(*c)).collect();
            tensor_value::Kind::LongInts(tensor_value::LongInts { values })
        }
        DType::Bool => {
            let values = bytes.iter().map(|&b| b != 0).collect();
            tensor_value::Kind::Bools(tensor_value::Bools { values })
        }
        DType::F16 | DType::I8 | DType::U8 | DType::I4 | DType::U4 => {
            tensor_value::Kind::Bytes(tensor_value::Bytes { values: bytes.to_vec() })
        }
    };
    let kind = value::immediate::Kind::Tensor(TensorValue { kind: Some(kind) });
    value::Kind::Immediate(value::Immediate { kind: Some(kind) })
}

fn param(param: &Param) -> MilValue {
    match param {
        Param::Bool(b) => {
            immediate(tensor(DataType::Bool, &[]), tensor_value::Kind::Bools(tensor_value::Bools { values: vec![*b] }))
        }
        Param::Bools(b) => {
            let bools = tensor_value::Bools { values: b.clone() };
            immediate(tensor(DataType::Bool, &[b.len()]), tensor_value::Kind::Bools(bools))
        }
        Param::Int(i) => {
            immediate(tensor(DataType::Int32, &[]), tensor_value::Kind::Ints(tensor_value::Ints { values: vec![*i] }))
        }
        Param::Ints(i) => {
            let ints = tensor_value::Ints { values: i.clone() };
            immediate(tensor(DataType::Int32, &[i.len()]), tensor_value::Kind::Ints(ints))
        }
        Param::Str(s) => string(s),
        Param::Zero(dtype) => MilValue {
            r#type: Some(tensor(data_type(*dtype), &[])),
            kind: Some(elements(*dtype, &vec![0; dtype.bytes_of(1)])),
        },
        Param::Sizes(sizes) => {
            let bytes = sizes.iter().flat_map(|s| s.to_le_bytes()).collect();
            let values = tensor_value::Bytes { values: bytes };
            immediate(tensor(DataType::Uint32, &[sizes.len()]), tensor_value::Kind::Bytes(values))
        }
        Param::Zeros(dtype, n) => MilValue {
            r#type: Some(tensor(data_type(*dtype), &[*n])),
            kind: Some(elements(*dtype, &vec![0; dtype.bytes_of(*n)])),
        },
        Param::Float(dtype, x) => {
            let half = *dtype == DType::F16;
            let bytes =
                if half { f16::from_f64(*x).to_le_bytes().to_vec() } else { (*x as f32).to_le_bytes().to_vec() };
            let ty = tensor(data_type(*dtype), &[]);
            MilValue { r#type: Some(ty), kind: Some(elements(*dtype, &bytes)) }
        }
    }
}

fn named(name: &str, ty: ValueType) -> NamedValueType {
    NamedValueType { name: name.to_string(), r#type: Some(ty) }
}

fn binding(name: &str) -> Binding {
    Binding { kind: Some(binding::Kind::Name(name.to_string())) }
}

/// Writes operations one behind the other.
struct Builder<'a> {
    graph: &'a Graph,
    constants: &'a HashMap<Value, value::Kind>,
    values: Unique,
    operations: Unique,
    names: HashMap<Value, String>,
    block: Block,
}

impl Builder<'_> {
    fn operation(&mut self, kind: &str, name: &str, inputs: BTreeMap<String, Argument>, outputs: Vec<NamedValueType>) {
        let attributes = [("name".to_string(), string(name))].into();
        let operation = Operation { r#type: kind.to_string(), inputs, outputs, attributes, ..Operation::default() };
        self.block.operations.push(operation);
    }

    fn constant(&mut self, path: &str, val: MilValue) -> String {
        let (value, operation) = (self.values.fresh(path), self.operations.fresh(path));
        let outputs = vec![named(&value, val.r#type.clone().expect("constants are typed"))];
        self.operation("const", &operation, BTreeMap::new(), outputs);
        let last = self.block.operations.last_mut().expect("it was just pushed");
        last.attributes.insert("val".to_string(), val);
        value
    }

    /// Name of an operand; a constant comes into being here.
    fn operand(&mut self, value: Value) -> String {
        let value = self.graph.stored(value);
        if let Some(name) = self.names.get(&value) {
            return name.clone();
        }
        let kind = self.constants.get(&value).expect("every constant that is read was emitted").clone();
        let val = MilValue { r#type: Some(value_type(self.graph.ty(value))), kind: Some(kind) };
        let name = self.constant(&self.graph.value_name(value), val);
        self.names.insert(value, name.clone());
        name
    }

    /// A stored value as a constant of another type that takes the same bytes.
    fn stored_as(&self, value: Value, data_type: DataType, dims: &[usize]) -> MilValue {
        let kind = self.constants.get(&self.graph.stored(value)).expect("every constant that is read was emitted");
        MilValue { r#type: Some(tensor(data_type, dims)), kind: Some(kind.clone()) }
    }

    /// The constants that stand in place in an operation.
    fn in_place(&self, mil: &Mil) -> Vec<(String, MilValue)> {
        let value = |operand: &Operand| match operand {
            Operand::Param(p) => Some(param(p)),
            Operand::As(v, data_type, dims) => Some(self.stored_as(*v, *data_type, dims)),
            Operand::Value(_) | Operand::Values(_) | Operand::Previous => None,
        };
        mil.attributes.iter().filter_map(|(name, operand)| Some((name.to_string(), value(operand)?))).collect()
    }

    /// One operation with its parameters.
    fn mil(&mut self, mil: &Mil, name: &str, previous: &str, outputs: Vec<NamedValueType>) {
        let mut inputs = BTreeMap::new();
        for (input, operand) in &mil.inputs {
            let names = match operand {
                Operand::Value(v) => vec![self.operand(*v)],
                Operand::Values(vs) => vs.iter().map(|&v| self.operand(v)).collect(),
                Operand::Previous => vec![previous.to_string()],
                Operand::Param(p) => vec![self.constant(&format!("{name}_{input}_0"), param(p))],
                Operand::As(v, data_type, dims) => {
                    let val = self.stored_as(*v, *data_type, dims);
                    vec![self.constant(&format!("{name}_{input}_0"), val)]
                }
            };
            let arguments = names.iter().map(|n| binding(n)).collect();
            inputs.insert(input.to_string(), Argument { arguments });
        }
        let in_place = self.in_place(mil);
        self.operation(mil.op, name, inputs, outputs);
        if let Some(operation) = self.block.operations.last_mut() {
            operation.attributes.extend(in_place);
        }
    }

    /// Append an operation on a single value, of which the graph knows nothing.
    fn after(&mut self, mil: Mil, path: &str, ty: &Type, value: Option<&str>) -> String {
        let operation = self.operations.fresh(path);
        let value = value.map_or_else(|| self.values.fresh(path), str::to_string);
        self.mil(&mil, &operation, "", vec![named(&value, value_type(ty))]);
        value
    }
}

/// The program of a graph. `constants` holds where the elements of every constant are that the graph's operations read.
///
/// # Errors
/// If a node has no spelling, or a name of the interface is not an identifier or not unique.
pub(super) fn program(
    graph: &Graph,
    release: Release,
    interface: &Interface,
    constants: &HashMap<Value, value::Kind>,
) -> Result<Program, ExportError> {
    let block = Block::default();
    let (values, operations) = (Unique::default(), Unique::default());
    let mut b = Builder { graph, constants, values, operations, names: HashMap::new(), block };

    // The interface's names come first: nothing else may take them.
    let labels = interface.labels.as_deref();
    let inputs: Vec<(&str, Value)> = graph.inputs().map(|(id, n)| (n.path.as_str(), id.into())).collect();
    let outputs: Vec<(&str, Value)> = graph.outputs.iter().map(|o| (o.name.as_str(), graph.stored(o.value))).collect();
    let class = labels.map(|_| [CLASS_LABEL, CLASS_PROBABILITIES]).into_iter().flatten();
    for name in inputs.iter().chain(&outputs).map(|&(name, _)| name).chain(class) {
        if !is_identifier(name) {
            return Err(interface_error(format!(
                "{name:?} is no name for an input or output: use letters, digits and _"
            )));
        }
        if !b.values.reserve(name) {
            return Err(interface_error(format!("two inputs or outputs are named {name}")));
        }
    }
    b.names.extend(inputs.iter().map(|&(name, value)| (value, name.to_string())));
    let mut renamed: Vec<(&str, Value)> = Vec::new();
    for &(name, value) in &outputs {
        let plain = graph.is_constant(value) || *graph.op(value) == Op::Input || b.names.contains_key(&value);
        if plain {
            renamed.push((name, value));
        } else {
            b.names.insert(value, name.to_string());
        }
    }

    for (id, node) in graph.run_time_nodes() {
        let steps = spell(graph, node, release.ios).map_err(|why| not_lowered(node, why))?;
        let operation = b.operations.fresh(&node.path);
        let (last, before) = steps.split_last().expect("every node is spelled by at least one operation");
        let mut previous = String::new();
        for step in before {
            let ty = step.step.as_ref().expect("a step on the way has a type");
            let (value, name) = (b.values.fresh(&node.path), b.operations.fresh(&format!("{}.{}", node.path, step.op)));
            b.mil(step, &name, &previous, vec![named(&value, value_type(ty))]);
            previous = value;
        }
        let mut results = Vec::with_capacity(node.types.len());
        for (index, ty) in node.types.iter().enumerate() {
            let value = Value { node: id, index: index as u32 };
            if !b.names.contains_key(&value) {
                let name = b.values.fresh(&graph.value_name(value));
                b.names.insert(value, name);
            }
            results.push(named(&b.names[&value], value_type(ty)));
        }
        b.mil(last, &operation, &previous, results);
    }
    for (name, value) in renamed {
        b.after(Mil::new("identity", value), name, graph.ty(value), Some(name));
    }
    b.block.outputs = outputs.iter().map(|(name, _)| name.to_string()).collect();
    if let Some(labels) = labels {
        classifier(&mut b, labels)?;
    }

    let inputs = inputs.iter().map(|&(name, v)| named(name, value_type(graph.ty(v)))).collect();
    let opset = release.opset.to_string();
    let function = Function { inputs, opset: opset.clone(), block_specializations: [(opset, b.block)].into() };
    Ok(Program { version: 1, functions: [("main".to_string(), function)].into() })
}

/// An error of the interface.
pub(super) fn interface_error(what: String) -> ExportError {
    ExportError::Target { name: "coreml", what }
}

/// `classify` on the graph's probabilities, with the labels in place.
fn classifier(b: &mut Builder<'_>, labels: &[String]) -> Result<(), ExportError> {
    let [output] = b.graph.outputs.as_slice() else {
        return Err(interface_error(format!("a classifier has one output, found {}", b.graph.outputs.len())));
    };
    let (ty, n) = (b.graph.ty(output.value), labels.len());
    if *ty != Type::f32(&[1, n]) {
        return Err(interface_error(format!("{n} labels need probabilities f32[1,{n}], found {ty}")));
    }
    let text = || tensor(DataType::String, &[]);
    let size = dimension::Kind::Constant(dimension::Constant { size: labels.len() as u64 });
    let list = ListType { r#type: Some(text()), length: Some(Dimension { kind: Some(size) }) };
    let values = ListValue { values: labels.iter().map(|l| string(l)).collect() };
    let classes = MilValue {
        r#type: Some(ValueType { kind: Some(value_type::Kind::List(Box::new(list))) }),
        kind: Some(value::Kind::Immediate(value::Immediate { kind: Some(value::immediate::Kind::List(values)) })),
    };
    let dictionary = DictionaryType { key_type: Some(text()), value_type: Some(tensor(DataType::Float64, &[])) };
    let dictionary = ValueType { kind: Some(value_type::Kind::Dictionary(Box::new(dictionary))) };
    let inputs =
        [("probabilities", binding::Kind::Name(output.name.clone())), ("classes", binding::Kind::Value(classes))]
            .into_iter()
            .map(|(name, kind)| (name.to_string(), Argument { arguments: vec![Binding { kind: Some(kind) }] }))
            .collect();
    let operation = b.operations.fresh("classify");
    b.operation(
        "classify",
        &operation,
        inputs,
        vec![named(CLASS_LABEL, text()), named(CLASS_PROBABILITIES, dictionary)],
    );
    b.block.outputs = vec![CLASS_LABEL.to_string(), CLASS_PROBABILITIES.to_string()];
    Ok(())
}
