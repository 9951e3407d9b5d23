//! The body of the function as it is read: what each name stands for, and the graph that grows.

use super::error::{ReadError, invalid};
use super::values::{Constant, Elements, constant, graph_type, indices};
use super::weights::{PackageWeights, Source};
use crate::coreml::blob::BlobType;
use crate::coreml::messages;
use std::collections::HashMap;
use vitc_ir::{DType, Graph, Op, Output, Shape, StoredType, Type, Value};

/// What a name of the program stands for.
#[derive(Debug)]
pub(super) enum Bound {
    /// A value of the graph.
    Value(Value),
    /// A constant, and its leaf once something reads it as a value.
    Constant(Constant, Option<Value>),
    /// An output of `classify`, whose probabilities these are.
    Class(Value),
}

/// The body of the function as it is read.
pub(super) struct Body<'a> {
    /// The graph.
    pub(super) graph: &'a mut Graph,
    weights: &'a mut PackageWeights,
    /// What names stand for.
    pub(super) bound: HashMap<String, Bound>,
    /// Labels, if there was a `classify`.
    pub(super) classes: Option<Vec<String>>,
    /// iOS version of the program.
    pub(super) ios: u32,
    /// Compressed constants that were read as numbers.
    pub(super) decoded: usize,
    /// The program has to be one that vitc writes: no input is left out, no other operation used.
    pub(super) strict: bool,
}

fn identifier(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '@';
    match !name.is_empty() && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true => Ok(name.to_string()),
        false => Err(format!("{name:?} is no name")),
    }
}

impl<'a> Body<'a> {
    pub(super) fn new(graph: &'a mut Graph, weights: &'a mut PackageWeights, ios: u32, strict: bool) -> Self {
        Body { graph, weights, bound: HashMap::new(), classes: None, decoded: 0, ios, strict }
    }

    /// The weight file; empty if there is none.
    pub(super) fn weight_file(&self) -> &[u8] {
        self.weights.bytes()
    }

    /// Let a name stand for something.
    pub(super) fn bind(&mut self, name: &str, bound: Bound) -> Result<(), String> {
        match self.bound.insert(identifier(name)?, bound) {
            None => Ok(()),
            Some(_) => Err(format!("{name} is defined twice")),
        }
    }

    /// An input of the function.
    pub(super) fn input(&mut self, input: &messages::NamedValueType) -> Result<(), ReadError> {
        let mut add = || {
            let ty = graph_type(input.r#type.as_ref())?;
            let name = identifier(&input.name)?;
            let value = self.graph.push_leaf(Op::Input, ty, &name).map_err(|e| e.to_string())?;
            self.bind(&name, Bound::Value(value))
        };
        add().map_err(|what: String| invalid("model.mlmodel", format!("input {:?}: {what}", input.name)))
    }

    /// Results of the block. A classifier's two outputs are one result: its probabilities.
    pub(super) fn outputs(&mut self, names: &[String]) -> Result<Vec<Output>, ReadError> {
        let bad = |what: String| invalid("model.mlmodel", what);
        let mut outputs = Vec::new();
        for name in names {
            match self.bound.get(name) {
                Some(Bound::Value(value)) => outputs.push(Output { name: name.clone(), value: *value }),
                Some(Bound::Class(value)) => {
                    outputs.retain(|o: &Output| o.value != *value);
                    outputs.push(Output { name: name.clone(), value: *value });
                }
                Some(Bound::Constant(..)) => return Err(bad(format!("the output {name} is a constant"))),
                None => return Err(bad(format!("the output {name} does not exist"))),
            }
        }
        if outputs.is_empty() {
            return Err(bad("the program has no output".into()));
        }
        Ok(outputs)
    }

    /// A constant of the program.
    pub(super) fn constant(&mut self, operation: &messages::Operation) -> Result<(), String> {
        let val = operation.attributes.get("val").ok_or("has no val")?;
        let [output] = operation.outputs.as_slice() else { return Err("has not one result".into()) };
        if output.r#type != val.r#type {
            return Err("declares another type than its value has".into());
        }
        let value = constant(val, self.weights.bytes())?;
        self.bind(&output.name, Bound::Constant(value, None))
    }

    /// Append a node whose results must be what the program declares.
    pub(super) fn push(
        &mut self,
        op: Op,
        inputs: &[Value],
        outputs: &[messages::NamedValueType],
    ) -> Result<(), String> {
        let declared: Vec<Type> = outputs.iter().map(|o| graph_type(o.r#type.as_ref())).collect::<Result<_, _>>()?;
        let first = outputs.first().ok_or("has no result")?;
        // A node that exists already is returned for a constant one, so its types are compared, not its identity.
        let path = identifier(&first.name)?;
        let node = self.graph.push(op, inputs, &path).map_err(|e| e.to_string())?;
        if self.graph.node(node).types != declared {
            let found: Vec<String> = self.graph.node(node).types.iter().map(Type::to_string).collect();
            let said: Vec<String> = declared.iter().map(Type::to_string).collect();
            return Err(format!("declares {}, but computes {}", said.join(", "), found.join(", ")));
        }
        for (index, output) in outputs.iter().enumerate() {
            self.bind(&output.name, Bound::Value(Value { node, index: index as u32 }))?;
        }
        Ok(())
    }

    /// A constant that is not folded into what reads it.
    pub(super) fn keep(&mut self, constant: Value) -> Result<Value, String> {
        // A dot stands in no name of a program, so this path is free.
        let path = format!("{}.kept", self.graph.producer(constant).path);
        Ok(self.graph.push(Op::Keep, &[constant], &path).map_err(|e| e.to_string())?.into())
    }

    /// The leaf of a constant: a literal where it is small, else a weight. Weights are f32; another type is a cast
    /// behind it.
    pub(super) fn leaf(&mut self, name: &str) -> Result<Value, String> {
        let constant = match self.bound.get(name) {
            Some(Bound::Value(value)) => return Ok(*value),
            Some(Bound::Constant(_, Some(value))) => return Ok(*value),
            Some(Bound::Constant(constant, None)) => constant.clone(),
            Some(Bound::Class(_)) => return Err(format!("{name} is a label, not a value")),
            None => return Err(format!("{name} is used before it is defined")),
        };
        let value = self.leaf_of(&constant, name)?;
        if let Some(Bound::Constant(_, leaf)) = self.bound.get_mut(name) {
            *leaf = Some(value);
        }
        Ok(value)
    }

    /// A constant that stands in place in an operation, as a value.
    pub(super) fn in_place(&mut self, val: &messages::Value, name: &str) -> Result<Value, String> {
        let constant = constant(val, self.weights.bytes())?;
        self.leaf_of(&constant, name)
    }

    /// The leaf of a constant under a name of its own.
    fn leaf_of(&mut self, constant: &Constant, name: &str) -> Result<Value, String> {
        let dtype = constant.dtype.ok_or_else(|| format!("{name} is not a number"))?;
        let mut shape = Shape::fixed(&constant.dims);
        if let Some(values) = constant.literal() {
            let leaf = Op::Literal { values };
            return self.graph.push_leaf(leaf, Type::new(dtype, shape), name).map_err(|e| e.to_string());
        }
        let mapped = |dtype| match constant.elements {
            Elements::Blob { start, len, .. } => Source::Mapped { start, len, dtype },
            _ => Source::Held { bytes: Vec::new(), dtype },
        };
        let data =
            |start: usize, len: usize| self.weights.bytes().get(start..start + len).ok_or("lies outside weight.bin");
        let source = match constant.elements {
            Elements::Blob { dtype: BlobType::Float16, .. } => mapped(StoredType::F16),
            Elements::Blob { dtype: BlobType::Float32, .. } => mapped(StoredType::F32),
            Elements::Blob { dtype: BlobType::Int8, .. } => mapped(StoredType::I8),
            Elements::Blob { dtype: BlobType::Uint8, .. } => mapped(StoredType::U8),
            Elements::Blob { start, len, dtype: BlobType::Int32 } => {
                let bytes = indices(data(start, len)?.as_chunks::<4>().0.iter().map(|&w| i32::from_le_bytes(w)))?;
                Source::Held { bytes, dtype: StoredType::F32 }
            }
            Elements::Blob { start, len, dtype: BlobType::Int4 } => {
                let halves = data(start, len)?.iter().flat_map(|&b| [(b << 4) as i8 >> 4, b as i8 >> 4]);
                let bytes = halves.take(shape.elements()).map(|code| code as u8).collect();
                Source::Held { bytes, dtype: StoredType::I8 }
            }
            Elements::Blob { len, dtype: BlobType::Packed(_), .. } => {
                shape = Shape::fixed(&[len]);
                mapped(StoredType::U8)
            }
            _ => {
                let (bytes, dtype) = constant.stored()?;
                Source::Held { bytes, dtype }
            }
        };
        // A dot stands in no name of a program, so these paths are free.
        let path = if dtype == DType::F32 { name.to_string() } else { format!("{name}.stored") };
        let weight = Op::Weight { key: name.to_string() };
        let weight = self.graph.push_leaf(weight, Type::new(DType::F32, shape), &path).map_err(|e| e.to_string())?;
        self.weights.sources.insert(name.to_string(), source);
        match dtype {
            DType::F32 => Ok(weight),
            to => Ok(self.graph.push(Op::Cast { to }, &[weight], name).map_err(|e| e.to_string())?.into()),
        }
    }
}
