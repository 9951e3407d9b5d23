//! The part of ONNX's protobuf schema that efficient vision transformers need, as prost messages.
//!
//! Invariant: the field numbers are those of `onnx.proto`, whose compatibility promise freezes them. Scalars whose zero
//! is meaningful (`axis = 0`, `keepdims = 0`) are optional, so that they are written. Fields that vitc neither writes
//! nor reads are left out: decoding skips them. `raw_data` is [`Bytes`], a view of the caller's buffer, so decoding a
//! mapped file does not copy weights.

use prost::Message;
use prost::bytes::Bytes;

/// Element type codes of [`Tensor::data_type`] and [`TensorType::elem_type`].
pub mod data_type {
    /// 32-bit float.
    pub const FLOAT: i32 = 1;
    /// 8-bit unsigned integer.
    pub const UINT8: i32 = 2;
    /// 8-bit signed integer.
    pub const INT8: i32 = 3;
    /// 32-bit signed integer.
    pub const INT32: i32 = 6;
    /// 64-bit signed integer.
    pub const INT64: i32 = 7;
    /// Truth value.
    pub const BOOL: i32 = 9;
    /// 16-bit float.
    pub const FLOAT16: i32 = 10;
    /// 4-bit unsigned integer, from opset 21.
    pub const UINT4: i32 = 21;
    /// 4-bit signed integer, from opset 21.
    pub const INT4: i32 = 22;

    /// Short name (`f32`) and bits per element of a code, as the format defines them; `None` if it does not.
    pub fn describe(code: i32) -> Option<(&'static str, u64)> {
        Some(match code {
            1 => ("f32", 32),
            2 => ("u8", 8),
            3 => ("i8", 8),
            4 => ("u16", 16),
            5 => ("i16", 16),
            6 => ("i32", 32),
            7 => ("i64", 64),
            9 => ("bool", 8),
            10 => ("f16", 16),
            11 => ("f64", 64),
            12 => ("u32", 32),
            13 => ("u64", 64),
            16 => ("bf16", 16),
            17..=20 => ("f8", 8),
            21 => ("u4", 4),
            22 => ("i4", 4),
            23 => ("f4", 4),
            _ => return None,
        })
    }

    /// The short name alone, `?` for a code that the format does not define.
    pub(crate) fn word(code: i32) -> &'static str {
        describe(code).map_or("?", |(word, _)| word)
    }
}

/// Kind codes of [`Attribute::kind`].
pub mod attribute_kind {
    /// One float in `f`.
    pub const FLOAT: i32 = 1;
    /// One integer in `i`.
    pub const INT: i32 = 2;
    /// One string in `s`.
    pub const STRING: i32 = 3;
    /// Integers in `ints`.
    pub const INTS: i32 = 7;
}

/// `ModelProto`: the file.
#[derive(Clone, PartialEq, Message)]
pub struct Model {
    /// Version of the file format.
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    /// Program that wrote the file.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// Its version.
    #[prost(string, tag = "3")]
    pub producer_version: String,
    /// Text for people.
    #[prost(string, tag = "6")]
    pub doc_string: String,
    /// The computation.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    /// Operator sets.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetId>,
    /// Keys and values.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntry>,
}

/// `OperatorSetIdProto`: an operator set and its version.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetId {
    /// Empty for the standard operators.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Version.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// `StringStringEntryProto`: a key and a value.
#[derive(Clone, PartialEq, Message)]
pub struct StringStringEntry {
    /// Key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `GraphProto`: nodes in topological order, with interface and constants.
#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    /// Nodes.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    /// Name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Constants.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    /// Inputs.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    /// Results.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
    /// Types of the values in between.
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfo>,
}

/// `NodeProto`: one operation.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    /// Names of the operands; an empty name is an operand left out.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of the results.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Operator.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Attributes.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
    /// Operator set; empty for the standard operators.
    #[prost(string, tag = "7")]
    pub domain: String,
}

/// `AttributeProto`: a named constant of a node.
#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value if `kind` is FLOAT.
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    /// Value if `kind` is INT.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// Value if `kind` is STRING.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub s: Option<Bytes>,
    /// Value if `kind` is INTS.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Which of the values holds: see [`attribute_kind`].
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

/// `TensorProto`: a constant.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// Shape; empty for a scalar.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// Element type: see [`data_type`].
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Name.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Elements, row-major, little-endian; empty if they lie elsewhere.
    #[prost(bytes = "bytes", tag = "9")]
    pub raw_data: Bytes,
    /// Where the elements lie if `data_location` is 1: `location`, `offset`, `length`.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntry>,
    /// 0: in this message; 1: in another file.
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

/// `ValueInfoProto`: name and type of a value.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfo {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Type.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<Type>,
}

/// `TypeProto`, of which only tensors are used.
#[derive(Clone, PartialEq, Message)]
pub struct Type {
    /// A dense tensor.
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorType>,
}

/// `TypeProto.Tensor`: element type and shape.
#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    /// Element type: see [`data_type`].
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    /// Shape; absent if unknown.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

/// `TensorShapeProto`: dimensions, outermost first.
#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    /// Dimensions.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dim>,
}

/// `TensorShapeProto.Dimension`: a number, a name, or neither if unknown.
#[derive(Clone, PartialEq, Message)]
pub struct Dim {
    /// The number.
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
    /// The name of a number that is known when the model runs.
    #[prost(string, optional, tag = "2")]
    pub dim_param: Option<String>,
}

/// The type of a value in short: `f32[1,3,224,224]`, `f32[batch,1000]`; `?` for what is unknown.
pub(crate) fn type_of(info: &ValueInfo) -> String {
    let Some(tensor) = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else { return "?".into() };
    let dim = |d: &Dim| match (&d.dim_value, &d.dim_param) {
        (Some(value), _) => value.to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => "?".into(),
    };
    match &tensor.shape {
        Some(shape) => {
            format!(
                "{}[{}]",
                data_type::word(tensor.elem_type),
                shape.dim.iter().map(dim).collect::<Vec<_>>().join(",")
            )
        }
        None => format!("{}[…]", data_type::word(tensor.elem_type)),
    }
}
