//! Decodes types and constants. Every size is checked here, before anything is computed with it.

use crate::coreml::blob::{self, BlobType};
use crate::coreml::messages::{self, DataType, dimension, tensor_value, value, value_type};
use half::f16;
use std::sync::Arc;
use vitc_ir::packed::unpacked;
use vitc_ir::{DType, Real, Shape, StoredType, Type};

/// Values have at most this many elements: products of sizes cannot overflow.
const ELEMENT_LIMIT: usize = 1 << 40;

/// The elements of a constant.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Elements {
    /// Truth values.
    Bools(Vec<bool>),
    /// Integers.
    Ints(Vec<i32>),
    /// Floats of either type.
    Floats(Vec<f64>),
    /// What a compressed constant stands for.
    Decoded(Arc<Vec<f32>>),
    /// A string.
    Text(String),
    /// A record of the weight file: its place in the file.
    Blob { start: usize, len: usize, dtype: BlobType },
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Constant {
    /// Sizes; empty for a scalar.
    pub(super) dims: Vec<usize>,
    /// Element type, if the graph has it.
    pub(super) dtype: Option<DType>,
    /// The elements, as many as the sizes say.
    pub(super) elements: Elements,
}

/// The product of sizes, if it stays in bounds.
pub(super) fn volume(dims: &[usize]) -> Result<usize, String> {
    let product = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    product.filter(|&n| n <= ELEMENT_LIMIT).ok_or_else(|| format!("a value of shape {dims:?} is too large"))
}

/// Values have at most so many dimensions.
const RANK: i64 = 5;

/// Tables of weights have two more, for entries and their elements.
const TABLE_RANK: i64 = RANK + 2;

/// Element type and sizes of a tensor type.
fn tensor(ty: Option<&messages::ValueType>, most: i64) -> Result<(DataType, Vec<usize>), String> {
    let Some(value_type::Kind::Tensor(t)) = ty.and_then(|t| t.kind.as_ref()) else {
        return Err("has no tensor type".into());
    };
    if t.rank != t.dimensions.len() as i64 || t.rank > most {
        return Err(format!("rank {} with {} dimensions; at most {most} are allowed", t.rank, t.dimensions.len()));
    }
    let size = |d: &messages::Dimension| match d.kind {
        Some(dimension::Kind::Constant(c)) if (1..=i32::MAX as u64).contains(&c.size) => Ok(c.size as usize),
        Some(dimension::Kind::Constant(c)) => Err(format!("a dimension of {}", c.size)),
        Some(dimension::Kind::Unknown(_)) | None => Err("a dimension that is not known".to_string()),
    };
    let dims = t.dimensions.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    volume(&dims)?;
    let data_type = DataType::try_from(t.data_type).map_err(|_| format!("element type {}", t.data_type))?;
    Ok((data_type, dims))
}

fn dtype(data_type: DataType) -> Option<DType> {
    match data_type {
        DataType::Float16 => Some(DType::F16),
        DataType::Float32 => Some(DType::F32),
        DataType::Int32 => Some(DType::I32),
        DataType::Bool => Some(DType::Bool),
        DataType::Int8 => Some(DType::I8),
        DataType::Int4 => Some(DType::I4),
        // Packed codes are bytes in the graph.
        DataType::Uint8 | DataType::Uint1 | DataType::Uint2 | DataType::Uint3 | DataType::Uint4 | DataType::Uint6 => {
            Some(DType::U8)
        }
        DataType::Unused | DataType::String | DataType::Float64 | DataType::Int64 | DataType::Uint32 => None,
    }
}

/// The type of a value that the graph can hold.
pub(super) fn graph_type(ty: Option<&messages::ValueType>) -> Result<Type, String> {
    let (data_type, dims) = tensor(ty, RANK)?;
    let value = dtype(data_type).filter(|_| !matches!(data_type, DataType::Int4 | DataType::Uint1 | DataType::Uint2));
    let value = value.filter(|_| !matches!(data_type, DataType::Uint3 | DataType::Uint4 | DataType::Uint6));
    let dtype = value.ok_or_else(|| format!("a value of type {data_type:?}"))?;
    Ok(Type::new(dtype, Shape::fixed(&dims)))
}

/// Element type and sizes that are declared for a constant, tables among them.
pub(super) fn declared(ty: Option<&messages::ValueType>) -> Result<(DType, Vec<usize>), String> {
    let (data_type, dims) = tensor(ty, TABLE_RANK)?;
    let dtype = dtype(data_type).ok_or_else(|| format!("a value of type {data_type:?}"))?;
    Ok((dtype, dims))
}

/// True for a rank-0 string, the type of a label.
pub(super) fn is_text(ty: Option<&messages::ValueType>) -> bool {
    tensor(ty, RANK).is_ok_and(|(data_type, dims)| data_type == DataType::String && dims.is_empty())
}

/// A scalar string.
pub(super) fn text(value: &messages::Value) -> Result<String, String> {
    match constant(value, &[])?.elements {
        Elements::Text(text) => Ok(text),
        _ => Err("is not a string".into()),
    }
}

/// The strings of a list.
pub(super) fn texts(value: &messages::Value) -> Result<Vec<String>, String> {
    let Some(value::Kind::Immediate(i)) = &value.kind else { return Err("is not in place".into()) };
    let Some(value::immediate::Kind::List(list)) = &i.kind else { return Err("is not a list".into()) };
    list.values.iter().map(text).collect()
}

/// A constant: its declared type, with elements of exactly that type and number.
pub(super) fn constant(value: &messages::Value, weight_file: &[u8]) -> Result<Constant, String> {
    let (data_type, dims) = tensor(value.r#type.as_ref(), TABLE_RANK)?;
    let count = volume(&dims)?;
    let elements = match &value.kind {
        Some(value::Kind::BlobFile(file)) => {
            if file.file_name != "@model_path/weights/weight.bin" {
                return Err(format!("refers to the file {:?}", file.file_name));
            }
            let record = blob::record(weight_file, file.offset).map_err(|e| format!("weight.bin: {e}"))?;
            let wanted = match data_type {
                DataType::Float16 => BlobType::Float16,
                DataType::Float32 => BlobType::Float32,
                DataType::Int32 => BlobType::Int32,
                DataType::Int8 => BlobType::Int8,
                DataType::Uint8 => BlobType::Uint8,
                DataType::Int4 => BlobType::Int4,
                DataType::Uint1 => BlobType::Packed(1),
                DataType::Uint2 => BlobType::Packed(2),
                DataType::Uint3 => BlobType::Packed(3),
                DataType::Uint4 => BlobType::Packed(4),
                DataType::Uint6 => BlobType::Packed(6),
                other => return Err(format!("elements of type {other:?} in weight.bin")),
            };
            if record.dtype != wanted || Some(record.len) != wanted.bytes_of(count) {
                return Err(format!(
                    "{count} elements of {data_type:?}, weight.bin has {} bytes of {:?}",
                    record.len, record.dtype
                ));
            }
            Elements::Blob { start: record.start, len: record.len, dtype: record.dtype }
        }
        Some(value::Kind::Immediate(i)) => {
            let Some(value::immediate::Kind::Tensor(tensor)) = &i.kind else { return Err("is not a tensor".into()) };
            immediate(data_type, tensor.kind.as_ref(), count)?
        }
        None => return Err("has no value".into()),
    };
    Ok(Constant { dims, dtype: dtype(data_type), elements })
}

/// Elements in place. Which member holds them is fixed by the element type.
fn immediate(data_type: DataType, kind: Option<&tensor_value::Kind>, count: usize) -> Result<Elements, String> {
    use tensor_value::Kind;
    let (elements, found) = match (data_type, kind) {
        (DataType::Bool, Some(Kind::Bools(b))) => (Elements::Bools(b.values.clone()), b.values.len()),
        (DataType::Int32, Some(Kind::Ints(i))) => (Elements::Ints(i.values.clone()), i.values.len()),
        (DataType::Float32, Some(Kind::Floats(f))) => {
            (Elements::Floats(f.values.iter().map(|&x| f64::from(x)).collect()), f.values.len())
        }
        (DataType::Float16, Some(Kind::Bytes(b))) => {
            let (pairs, rest) = b.values.as_chunks::<2>();
            if !rest.is_empty() {
                return Err("half precision elements are cut off".into());
            }
            (Elements::Floats(pairs.iter().map(|&p| f16::from_le_bytes(p).to_f64()).collect()), pairs.len())
        }
        (DataType::Int8, Some(Kind::Bytes(b))) => {
            (Elements::Ints(b.values.iter().map(|&b| i32::from(b as i8)).collect()), b.values.len())
        }
        (DataType::Uint8, Some(Kind::Bytes(b))) => {
            (Elements::Ints(b.values.iter().map(|&b| i32::from(b)).collect()), b.values.len())
        }
        (
            DataType::Int4 | DataType::Uint1 | DataType::Uint2 | DataType::Uint3 | DataType::Uint4 | DataType::Uint6,
            Some(Kind::Bytes(b)),
        ) => {
            let (bits, signed) = match data_type {
                DataType::Uint1 => (1, false),
                DataType::Uint2 => (2, false),
                DataType::Uint3 => (3, false),
                DataType::Uint6 => (6, false),
                other => (4, other == DataType::Int4),
            };
            if Some(b.values.len()) != count.checked_mul(bits).map(|n| n.div_ceil(8)) {
                return Err(format!("{} bytes for {count} elements of {bits} bits", b.values.len()));
            }
            let code = |&c: &u8| if signed { i32::from((c << 4) as i8 >> 4) } else { i32::from(c) };
            (Elements::Ints(unpacked(&b.values, bits, count).iter().map(code).collect()), count)
        }
        (DataType::Uint32, Some(Kind::Bytes(b))) => {
            let (words, rest) = b.values.as_chunks::<4>();
            let word = |w: &[u8; 4]| i32::try_from(u32::from_le_bytes(*w)).map_err(|_| "a size is too large");
            let ints = words.iter().map(word).collect::<Result<Vec<_>, _>>()?;
            let count = if rest.is_empty() { ints.len() } else { usize::MAX };
            (Elements::Ints(ints), count)
        }
        (DataType::String, Some(Kind::Strings(s))) => match s.values.as_slice() {
            [text] => (Elements::Text(text.clone()), 1),
            other => return Err(format!("{} strings instead of one", other.len())),
        },
        (other, _) => return Err(format!("elements of {other:?} are not where that type keeps them")),
    };
    if found != count {
        return Err(format!("{found} elements instead of {count}"));
    }
    Ok(elements)
}

impl Constant {
    /// The elements in place as numbers, if they are few enough for a literal.
    pub(super) fn literal(&self) -> Option<Vec<Real>> {
        let values: Vec<Real> = match &self.elements {
            Elements::Ints(i) if i.len() < 64 => i.iter().map(|&x| Real(f64::from(x))).collect(),
            Elements::Floats(f) if f.len() < 64 => f.iter().map(|&x| Real(x)).collect(),
            Elements::Decoded(f) if f.len() < 64 => f.iter().map(|&x| Real(f64::from(x))).collect(),
            Elements::Bools(b) if b.len() < 64 => b.iter().map(|&t| Real(f64::from(u8::from(t)))).collect(),
            _ => return None,
        };
        Some(values)
    }

    /// The elements in place in a form that a weight can be stored in. Integers go as f32, which holds indices below
    /// 2^24 exactly.
    pub(super) fn stored(&self) -> Result<(Vec<u8>, StoredType), String> {
        match &self.elements {
            Elements::Floats(f) => Ok((f.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect(), StoredType::F32)),
            Elements::Decoded(f) => Ok((f.iter().flat_map(|x| x.to_le_bytes()).collect(), StoredType::F32)),
            Elements::Ints(i) => Ok((indices(i.iter().copied())?, StoredType::F32)),
            Elements::Bools(b) => {
                let bytes = b.iter().flat_map(|&t| f32::from(u8::from(t)).to_le_bytes()).collect();
                Ok((bytes, StoredType::F32))
            }
            Elements::Text(_) | Elements::Blob { .. } => Err("is not a number in place".into()),
        }
    }
}

/// Indices as f32 elements.
pub(super) fn indices(values: impl Iterator<Item = i32>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for i in values {
        if i.unsigned_abs() > 1 << 24 {
            return Err(format!("the index {i} is too large"));
        }
        bytes.extend((i as f32).to_le_bytes());
    }
    Ok(bytes)
}
