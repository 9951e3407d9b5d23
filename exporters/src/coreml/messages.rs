//! The part of CoreML's protobuf schema that an ML Program needs: message definitions, nothing else.
//!
//! Written by hand from the published `Model.proto`, `FeatureTypes.proto` and `MIL.proto`; the numbers are the schema's
//! field numbers. Maps are `BTreeMap`s, so that a model always encodes to the same bytes. Fields that vitc neither
//! writes nor needs to understand are left out and skipped when a file is decoded.

use prost::{Enumeration, Message, Oneof};
use std::collections::BTreeMap;

// ---- Model.proto, FeatureTypes.proto ------------------------------------------------------------------------------

/// A model file.
#[derive(Clone, PartialEq, Message)]
pub struct Model {
    /// Version of the schema; decides which systems load the file.
    #[prost(int32, tag = "1")]
    pub specification_version: i32,
    /// Interface and metadata.
    #[prost(message, optional, tag = "2")]
    pub description: Option<ModelDescription>,
    /// The model itself.
    #[prost(oneof = "model::Kind", tags = "500, 502")]
    pub kind: Option<model::Kind>,
}

/// Parts of [`Model`].
pub mod model {
    use super::*;

    /// Which kind of model a file holds.
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Kind {
        /// A layer list of the older format, kept as bytes: recognised, so that the error can name it.
        #[prost(bytes, tag = "500")]
        NeuralNetwork(Vec<u8>),
        /// An ML Program.
        #[prost(message, tag = "502")]
        Program(Program),
    }
}

/// Interface and metadata of a model.
#[derive(Clone, PartialEq, Message)]
pub struct ModelDescription {
    /// Inputs.
    #[prost(message, repeated, tag = "1")]
    pub input: Vec<FeatureDescription>,
    /// Outputs.
    #[prost(message, repeated, tag = "10")]
    pub output: Vec<FeatureDescription>,
    /// A classifier's output that holds the label.
    #[prost(string, tag = "11")]
    pub predicted_feature_name: String,
    /// A classifier's output that holds the probabilities.
    #[prost(string, tag = "12")]
    pub predicted_probabilities_name: String,
    /// Who, what and under which licence.
    #[prost(message, optional, tag = "100")]
    pub metadata: Option<Metadata>,
}

/// One input or output.
#[derive(Clone, PartialEq, Message)]
pub struct FeatureDescription {
    /// Name; equal to the name in the program.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Prose shown by Xcode.
    #[prost(string, tag = "2")]
    pub short_description: String,
    /// Type.
    #[prost(message, optional, tag = "3")]
    pub r#type: Option<FeatureType>,
}

/// Metadata of a model.
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    /// Prose shown by Xcode.
    #[prost(string, tag = "1")]
    pub short_description: String,
    /// Version of the model.
    #[prost(string, tag = "2")]
    pub version_string: String,
    /// Author.
    #[prost(string, tag = "3")]
    pub author: String,
    /// Licence.
    #[prost(string, tag = "4")]
    pub license: String,
    /// Anything else.
    #[prost(btree_map = "string, string", tag = "100")]
    pub user_defined: BTreeMap<String, String>,
}

/// Type of an input or output.
#[derive(Clone, PartialEq, Message)]
pub struct FeatureType {
    /// The type.
    #[prost(oneof = "feature_type::Kind", tags = "1, 3, 4, 5, 6")]
    pub kind: Option<feature_type::Kind>,
}

/// Parts of [`FeatureType`].
pub mod feature_type {
    use super::*;

    /// The types that a vision model's interface uses.
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Kind {
        /// An integer.
        #[prost(message, tag = "1")]
        Int64(Empty),
        /// A string.
        #[prost(message, tag = "3")]
        String(Empty),
        /// An image.
        #[prost(message, tag = "4")]
        Image(ImageFeatureType),
        /// A dense array.
        #[prost(message, tag = "5")]
        MultiArray(ArrayFeatureType),
        /// A map from label to number.
        #[prost(message, tag = "6")]
        Dictionary(DictionaryFeatureType),
    }
}

/// A message without fields whose presence is the information.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Empty {}

/// An array at the interface.
#[derive(Clone, PartialEq, Message)]
pub struct ArrayFeatureType {
    /// Dimensions.
    #[prost(int64, repeated, tag = "1")]
    pub shape: Vec<i64>,
    /// An [`ArrayDataType`].
    #[prost(enumeration = "ArrayDataType", tag = "2")]
    pub data_type: i32,
}

/// Element types of arrays at the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum ArrayDataType {
    /// Nothing.
    Invalid = 0,
    /// Half precision, from iOS 16.
    Float16 = 65552,
    /// Single precision.
    Float32 = 65568,
    /// Double precision.
    Double = 65600,
    /// 32-bit integer.
    Int32 = 131104,
}

/// An image at the interface.
#[derive(Clone, PartialEq, Message)]
pub struct ImageFeatureType {
    /// Pixels per row.
    #[prost(int64, tag = "1")]
    pub width: i64,
    /// Rows.
    #[prost(int64, tag = "2")]
    pub height: i64,
    /// A [`ColorSpace`].
    #[prost(enumeration = "ColorSpace", tag = "3")]
    pub color_space: i32,
}

/// Channels of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum ColorSpace {
    /// Nothing.
    Invalid = 0,
    /// One channel.
    Grayscale = 10,
    /// Red, green, blue.
    Rgb = 20,
    /// Blue, green, red.
    Bgr = 30,
}

/// A dictionary at the interface.
#[derive(Clone, PartialEq, Message)]
pub struct DictionaryFeatureType {
    /// Type of the keys; the values are doubles.
    #[prost(oneof = "dictionary_feature_type::Key", tags = "1, 2")]
    pub key: Option<dictionary_feature_type::Key>,
}

/// Parts of [`DictionaryFeatureType`].
pub mod dictionary_feature_type {
    use super::*;

    /// Type of the keys.
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Key {
        /// Integers.
        #[prost(message, tag = "1")]
        Int64(Empty),
        /// Strings.
        #[prost(message, tag = "2")]
        String(Empty),
    }
}

// ---- MIL.proto ----------------------------------------------------------------------------------------------------

/// An ML Program.
#[derive(Clone, PartialEq, Message)]
pub struct Program {
    /// Always 1.
    #[prost(int64, tag = "1")]
    pub version: i64,
    /// Functions by name; an ordinary model has `main`.
    #[prost(btree_map = "string, message", tag = "2")]
    pub functions: BTreeMap<String, Function>,
}

/// A function.
#[derive(Clone, PartialEq, Message)]
pub struct Function {
    /// Parameters.
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<NamedValueType>,
    /// Name of the operator set; the key of the block that counts.
    #[prost(string, tag = "2")]
    pub opset: String,
    /// Body per operator set.
    #[prost(btree_map = "string, message", tag = "3")]
    pub block_specializations: BTreeMap<String, Block>,
}

/// A list of operations in topological order.
#[derive(Clone, PartialEq, Message)]
pub struct Block {
    /// Parameters; none in a function's body.
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<NamedValueType>,
    /// Names of the results.
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    /// Operations.
    #[prost(message, repeated, tag = "3")]
    pub operations: Vec<Operation>,
}

/// An operation.
#[derive(Clone, PartialEq, Message)]
pub struct Operation {
    /// Operator.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Operands and parameters by name.
    #[prost(btree_map = "string, message", tag = "2")]
    pub inputs: BTreeMap<String, Argument>,
    /// Results.
    #[prost(message, repeated, tag = "3")]
    pub outputs: Vec<NamedValueType>,
    /// Nested blocks.
    #[prost(message, repeated, tag = "4")]
    pub blocks: Vec<Block>,
    /// `name`, and for a `const` its `val`.
    #[prost(btree_map = "string, message", tag = "5")]
    pub attributes: BTreeMap<String, Value>,
}

/// What is bound to one operand: several values where an operator takes a list.
#[derive(Clone, PartialEq, Message)]
pub struct Argument {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub arguments: Vec<Binding>,
}

/// One bound value.
#[derive(Clone, PartialEq, Message)]
pub struct Binding {
    /// The value.
    #[prost(oneof = "binding::Kind", tags = "1, 2")]
    pub kind: Option<binding::Kind>,
}

/// Parts of [`Binding`].
pub mod binding {
    use super::*;

    /// A name or a value in place.
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Kind {
        /// Name of an earlier value.
        #[prost(string, tag = "1")]
        Name(String),
        /// A value.
        #[prost(message, tag = "2")]
        Value(Value),
    }
}

/// A name with its type.
#[derive(Clone, PartialEq, Message)]
pub struct NamedValueType {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Type.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<ValueType>,
}

/// Type of a value.
#[derive(Clone, PartialEq, Message)]
pub struct ValueType {
    /// The type.
    #[prost(oneof = "value_type::Kind", tags = "1, 2, 4")]
    pub kind: Option<value_type::Kind>,
}

/// Parts of [`ValueType`].
pub mod value_type {
    use super::*;

    /// The types that vitc's programs use.
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Kind {
        /// A tensor.
        #[prost(message, tag = "1")]
        Tensor(TensorType),
        /// A list.
        #[prost(message, tag = "2")]
        List(Box<ListType>),
        /// A dictionary.
        #[prost(message, tag = "4")]
        Dictionary(Box<DictionaryType>),
    }
}

/// Type of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    /// Element type.
    #[prost(enumeration = "DataType", tag = "1")]
    pub data_type: i32,
    /// Number of dimensions.
    #[prost(int64, tag = "2")]
    pub rank: i64,
    /// The dimensions, `rank` of them.
    #[prost(message, repeated, tag = "3")]
    pub dimensions: Vec<Dimension>,
}

/// Type of a list.
#[derive(Clone, PartialEq, Message)]
pub struct ListType {
    /// Type of the elements.
    #[prost(message, optional, tag = "1")]
    pub r#type: Option<ValueType>,
    /// Number of elements.
    #[prost(message, optional, tag = "2")]
    pub length: Option<Dimension>,
}

/// Type of a dictionary.
#[derive(Clone, PartialEq, Message)]
pub struct DictionaryType {
    /// Type of the keys.
    #[prost(message, optional, tag = "1")]
    pub key_type: Option<ValueType>,
    /// Type of the values.
    #[prost(message, optional, tag = "2")]
    pub value_type: Option<ValueType>,
}

/// A dimension.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// The dimension.
    #[prost(oneof = "dimension::Kind", tags = "1, 2")]
    pub kind: Option<dimension::Kind>,
}

/// Parts of [`Dimension`].
pub mod dimension {
    use super::*;

    /// Known or not.
    #[derive(Clone, Copy, PartialEq, Oneof)]
    pub enum Kind {
        /// A number.
        #[prost(message, tag = "1")]
        Constant(Constant),
        /// Known at run time only.
        #[prost(message, tag = "2")]
        Unknown(Empty),
    }

    /// A number.
    #[derive(Clone, Copy, PartialEq, Message)]
    pub struct Constant {
        /// The number.
        #[prost(uint64, tag = "1")]
        pub size: u64,
    }
}

/// A constant value.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Type.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<ValueType>,
    /// Where the elements are.
    #[prost(oneof = "value::Kind", tags = "3, 5")]
    pub kind: Option<value::Kind>,
}

/// Parts of [`Value`].
pub mod value {
    use super::*;

    /// Where the elements are.
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Kind {
        /// Here.
        #[prost(message, tag = "3")]
        Immediate(Immediate),
        /// In a file of the package.
        #[prost(message, tag = "5")]
        BlobFile(BlobFile),
    }

    /// A value in place.
    #[derive(Clone, PartialEq, Message)]
    pub struct Immediate {
        /// The value.
        #[prost(oneof = "immediate::Kind", tags = "1, 3")]
        pub kind: Option<immediate::Kind>,
    }

    /// Parts of [`Immediate`].
    pub mod immediate {
        use super::super::*;

        /// A tensor or a list.
        #[derive(Clone, PartialEq, Oneof)]
        pub enum Kind {
            /// A tensor's elements.
            #[prost(message, tag = "1")]
            Tensor(TensorValue),
            /// A list's elements.
            #[prost(message, tag = "3")]
            List(ListValue),
        }
    }

    /// A record of a blob file.
    #[derive(Clone, PartialEq, Message)]
    pub struct BlobFile {
        /// The file.
        #[prost(string, tag = "1")]
        pub file_name: String,
        /// Offset of the record's metadata.
        #[prost(uint64, tag = "2")]
        pub offset: u64,
    }
}

/// Elements of a list.
#[derive(Clone, PartialEq, Message)]
pub struct ListValue {
    /// The elements.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// Elements of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorValue {
    /// The elements.
    #[prost(oneof = "tensor_value::Kind", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub kind: Option<tensor_value::Kind>,
}

/// Parts of [`TensorValue`].
pub mod tensor_value {
    use super::*;

    /// Which member holds the elements depends on the element type alone.
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Kind {
        /// FLOAT32.
        #[prost(message, tag = "1")]
        Floats(Floats),
        /// INT32 and the 16-bit integers, widened.
        #[prost(message, tag = "2")]
        Ints(Ints),
        /// BOOL.
        #[prost(message, tag = "3")]
        Bools(Bools),
        /// STRING.
        #[prost(message, tag = "4")]
        Strings(Strings),
        /// INT64: class labels only.
        #[prost(message, tag = "5")]
        LongInts(LongInts),
        /// FLOAT64.
        #[prost(message, tag = "6")]
        Doubles(Doubles),
        /// FLOAT16 and the remaining types, little-endian.
        #[prost(message, tag = "7")]
        Bytes(Bytes),
    }

    /// FLOAT32 elements.
    #[derive(Clone, PartialEq, Message)]
    pub struct Floats {
        /// The elements.
        #[prost(float, repeated, tag = "1")]
        pub values: Vec<f32>,
    }

    /// INT32 elements.
    #[derive(Clone, PartialEq, Message)]
    pub struct Ints {
        /// The elements.
        #[prost(int32, repeated, tag = "1")]
        pub values: Vec<i32>,
    }

    /// BOOL elements.
    #[derive(Clone, PartialEq, Message)]
    pub struct Bools {
        /// The elements.
        #[prost(bool, repeated, tag = "1")]
        pub values: Vec<bool>,
    }

    /// STRING elements.
    #[derive(Clone, PartialEq, Message)]
    pub struct Strings {
        /// The elements.
        #[prost(string, repeated, tag = "1")]
        pub values: Vec<String>,
    }

    /// INT64 elements.
    #[derive(Clone, PartialEq, Message)]
    pub struct LongInts {
        /// The elements.
        #[prost(int64, repeated, tag = "1")]
        pub values: Vec<i64>,
    }

    /// FLOAT64 elements.
    #[derive(Clone, PartialEq, Message)]
    pub struct Doubles {
        /// The elements.
        #[prost(double, repeated, tag = "1")]
        pub values: Vec<f64>,
    }

    /// Raw elements.
    #[derive(Clone, PartialEq, Message)]
    pub struct Bytes {
        /// The elements.
        #[prost(bytes = "vec", tag = "1")]
        pub values: Vec<u8>,
    }
}

/// Element types of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum DataType {
    /// Nothing.
    Unused = 0,
    /// Truth value.
    Bool = 1,
    /// String.
    String = 2,
    /// Half precision.
    Float16 = 10,
    /// Single precision.
    Float32 = 11,
    /// Double precision.
    Float64 = 12,
    /// 8-bit integer.
    Int8 = 21,
    /// 32-bit integer.
    Int32 = 23,
    /// 64-bit integer.
    Int64 = 24,
    /// 4-bit integer.
    Int4 = 25,
    /// 8-bit unsigned integer.
    Uint8 = 31,
    /// 32-bit unsigned integer.
    Uint32 = 33,
    /// 4-bit unsigned integer.
    Uint4 = 35,
    /// 2-bit unsigned integer.
    Uint2 = 36,
    /// 1-bit unsigned integer.
    Uint1 = 37,
    /// 6-bit unsigned integer.
    Uint6 = 38,
    /// 3-bit unsigned integer.
    Uint3 = 39,
}
