//! What an operation of a program is made of, before it is written.

use crate::coreml::messages::DataType;
use half::f16;
use vitc_ir::{DType, Graph, Node, Op, Shape, Type, Value};

/// A parameter that becomes a `const` operation.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Param {
    /// A truth value.
    Bool(bool),
    /// A vector of truth values.
    Bools(Vec<bool>),
    /// An integer.
    Int(i32),
    /// A vector of integers.
    Ints(Vec<i32>),
    /// A string.
    Str(&'static str),
    /// A float of this element type.
    Float(DType, f64),
    /// So many zeros of this element type.
    Zeros(DType, usize),
    /// The number 0 of this element type.
    Zero(DType),
    /// A vector of unsigned integers.
    Sizes(Vec<u32>),
}

/// What an input of an operation is bound to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    /// A value of the graph.
    Value(Value),
    /// Several values of the graph.
    Values(Vec<Value>),
    /// The result of the operation before, where a node needs two.
    Previous,
    /// A constant of the operation's own.
    Param(Param),
    /// A stored value of the graph as a constant of this type, which takes the same bytes.
    As(Value, DataType, Vec<usize>),
}

/// An operation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mil {
    /// Operator.
    pub(super) op: &'static str,
    /// Inputs by name.
    pub(super) inputs: Vec<(&'static str, Operand)>,
    /// Constants that stand in place, by name.
    pub(super) attributes: Vec<(&'static str, Operand)>,
    /// Result, if it is not the node's: a step on the way to it.
    pub(super) step: Option<Type>,
    /// First iOS version that has it in this form, and what in it asks for that.
    pub(super) since: (u32, &'static str),
}

impl Mil {
    pub(super) fn new(op: &'static str, x: Value) -> Self {
        Mil { inputs: vec![("x", Operand::Value(x))], ..Mil::of(op) }
    }

    pub(super) fn of(op: &'static str) -> Self {
        Mil { op, inputs: Vec::new(), attributes: Vec::new(), step: None, since: (15, "") }
    }

    pub(super) fn value(mut self, name: &'static str, value: Value) -> Self {
        self.inputs.push((name, Operand::Value(value)));
        self
    }

    pub(super) fn param(mut self, name: &'static str, param: Param) -> Self {
        self.inputs.push((name, Operand::Param(param)));
        self
    }

    pub(super) fn attribute(mut self, name: &'static str, operand: Operand) -> Self {
        self.attributes.push((name, operand));
        self
    }

    pub(super) fn since(mut self, ios: u32, what: &'static str) -> Self {
        if ios > self.since.0 {
            self.since = (ios, what);
        }
        self
    }
}

/// MIL's name of an element type.
pub(super) fn dtype_word(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "fp32",
        DType::F16 => "fp16",
        DType::I32 => "int32",
        DType::I64 => "int64",
        DType::I8 => "int8",
        DType::U8 => "uint8",
        DType::I4 => "int4",
        DType::U4 => "uint4",
        DType::Bool => "bool",
    }
}

pub(super) fn int(n: usize) -> Result<i32, String> {
    i32::try_from(n).map_err(|_| format!("{n} does not fit in 32 bits"))
}

pub(super) fn ints(values: impl IntoIterator<Item = usize>) -> Result<Param, String> {
    values.into_iter().map(int).collect::<Result<_, _>>().map(Param::Ints)
}

pub(super) fn dims(shape: &Shape) -> Result<Param, String> {
    ints(shape.as_fixed().ok_or("the shape depends on the batch")?)
}

/// A number as the operand's element type holds it.
pub(super) fn stored(dtype: DType, x: f64) -> f64 {
    if dtype == DType::F16 { f64::from(f16::from_f64(x)) } else { f64::from(x as f32) }
}

/// A node and its first operand.
pub(super) struct Reader<'g> {
    pub(super) graph: &'g Graph,
    pub(super) node: &'g Node,
    pub(super) x: Value,
}

impl Reader<'_> {
    pub(super) fn shape(&self, slot: usize) -> &Shape {
        self.graph.shape(self.node.inputs[slot])
    }

    pub(super) fn dtype(&self, slot: usize) -> DType {
        self.graph.ty(self.node.inputs[slot]).dtype
    }

    /// An operation on the first operand.
    pub(super) fn on_x(&self, op: &'static str) -> Mil {
        Mil::new(op, self.x)
    }

    /// What an operation takes only as a constant.
    pub(super) fn constant(&self, slot: usize, what: &str) -> Result<(), String> {
        let value = self.node.inputs[slot];
        // What a table or a scale makes of stored codes is a constant to the system.
        let decoded = matches!(self.graph.op(value), Op::Dequantize | Op::Lookup { .. });
        let stored = |v: Value| self.graph.is_stored(v);
        match stored(value) || decoded && self.graph.producer(value).inputs.iter().all(|&v| stored(v)) {
            true => Ok(()),
            false => Err(format!("{what} must be a constant")),
        }
    }
}
