//! Compressed constants of other writers' packages, as the numbers that the system makes of them when it loads the program.
//!
//! What is made of a record of the weight file has at most 32 times its bytes: codes have one bit or more.

use super::body::{Body, Bound};
use super::values::{Constant, Elements, declared, volume};
use crate::coreml::blob::BlobType;
use crate::coreml::messages::{self, binding};
use half::f16;
use std::sync::Arc;
use vitc_ir::DType;
use vitc_ir::packed::unpacked;

/// Numbers in an order.
struct Array {
    dims: Vec<usize>,
    numbers: Vec<f32>,
}

/// What the operands of one kind of operation stand for.
type Decode = fn(&Operands<'_, '_>) -> Result<Array, String>;

/// Bind what a compressed constant stands for; `None` for another operation.
pub(super) fn constant(body: &mut Body<'_>, operation: &messages::Operation) -> Option<Result<(), String>> {
    let (decode, inputs): (Decode, &[&str]) = match operation.r#type.as_str() {
        "constexpr_affine_dequantize" => (affine, &[]),
        "constexpr_blockwise_shift_scale" => (blocks, &["data", "scale", "offset"]),
        "constexpr_lut_to_dense" => (lookup, &["indices", "lut", "vector_axis"]),
        "constexpr_sparse_to_dense" => (sparse, &["nonzero_data", "mask"]),
        "constexpr_cast" => (cast, &[]),
        _ => return None,
    };
    Some(bind(body, operation, decode, inputs))
}

fn bind(body: &mut Body<'_>, operation: &messages::Operation, decode: Decode, inputs: &[&str]) -> Result<(), String> {
    let [output] = operation.outputs.as_slice() else { return Err("has not one result".into()) };
    if let Some(other) = operation.inputs.keys().find(|name| !inputs.contains(&name.as_str())) {
        return Err(format!("the input {other} is not read"));
    }
    let (dtype, dims) = declared(output.r#type.as_ref())?;
    let Array { dims: found, mut numbers } = decode(&Operands { body, operation })?;
    if found != dims || volume(&dims)? != numbers.len() {
        return Err(format!("declares {dims:?}, but holds {found:?}"));
    }
    match dtype {
        DType::F32 => {}
        DType::F16 => numbers.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
        other => return Err(format!("gives {other}")),
    }
    body.decoded += 1;
    let elements = Elements::Decoded(Arc::new(numbers));
    body.bind(&output.name, Bound::Constant(Constant { dims, dtype: Some(dtype), elements }, None))
}

/// What a compressed constant is made of: attributes before iOS 18, inputs from there on.
struct Operands<'b, 'a> {
    body: &'b Body<'a>,
    operation: &'b messages::Operation,
}

impl Operands<'_, '_> {
    fn optional(&self, name: &str) -> Result<Option<Array>, String> {
        let array = |constant: &Constant| array(constant, self.body.weight_file()).map_err(|e| format!("{name}: {e}"));
        let held = |value| super::values::constant(value, self.body.weight_file()).map_err(|e| format!("{name}: {e}"));
        if let Some(value) = self.operation.attributes.get(name) {
            return array(&held(value)?).map(Some);
        }
        let Some(argument) = self.operation.inputs.get(name) else { return Ok(None) };
        match argument.arguments.as_slice() {
            [messages::Binding { kind: Some(binding::Kind::Value(value)) }] => array(&held(value)?).map(Some),
            [messages::Binding { kind: Some(binding::Kind::Name(other)) }] => match self.body.bound.get(other) {
                Some(Bound::Constant(constant, _)) => array(constant).map(Some),
                _ => Err(format!("{name} is not a constant")),
            },
            _ => Err(format!("{name} is not one value")),
        }
    }

    fn needed(&self, name: &str) -> Result<Array, String> {
        self.optional(name)?.ok_or_else(|| format!("{name} is missing"))
    }

    /// Sizes in a vector.
    fn sizes(&self, name: &str) -> Result<Vec<usize>, String> {
        let sizes: Vec<usize> = self.needed(name)?.numbers.iter().map(|&n| n as usize).collect();
        volume(&sizes)?;
        Ok(sizes)
    }
}

/// A constant's elements as numbers.
fn array(constant: &Constant, file: &[u8]) -> Result<Array, String> {
    let count = volume(&constant.dims)?;
    let numbers = match &constant.elements {
        Elements::Bools(all) => all.iter().map(|&t| f32::from(u8::from(t))).collect(),
        Elements::Ints(all) => all.iter().map(|&i| i as f32).collect(),
        Elements::Floats(all) => all.iter().map(|&x| x as f32).collect(),
        Elements::Decoded(all) => all.to_vec(),
        Elements::Text(_) => return Err("is a text".into()),
        Elements::Blob { start, len, dtype } => {
            let bytes = file.get(*start..start + len).ok_or("lies outside weight.bin")?;
            record(bytes, *dtype, count)
        }
    };
    match numbers.len() == count {
        true => Ok(Array { dims: constant.dims.clone(), numbers }),
        false => Err(format!("has {} elements instead of {count}", numbers.len())),
    }
}

/// Elements of a record of the weight file.
fn record(bytes: &[u8], dtype: BlobType, count: usize) -> Vec<f32> {
    match dtype {
        BlobType::Float16 => bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
        BlobType::Float32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        BlobType::Int32 => bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b) as f32).collect(),
        BlobType::Int8 => bytes.iter().map(|&b| f32::from(b as i8)).collect(),
        BlobType::Uint8 => bytes.iter().map(|&b| f32::from(b)).collect(),
        BlobType::Int4 => unpacked(bytes, 4, count).iter().map(|&b| f32::from((b << 4) as i8 >> 4)).collect(),
        BlobType::Packed(bits) => unpacked(bytes, bits.into(), count).iter().map(|&b| f32::from(b)).collect(),
    }
}

/// (codes − zero point)·scale, each one number or one for each index of an axis.
fn affine(of: &Operands<'_, '_>) -> Result<Array, String> {
    let (codes, scale) = (of.needed("quantized_data")?, of.needed("scale")?);
    let (zero, axis) = (of.optional("zero_point")?, of.optional("axis")?);
    let rank = codes.dims.len() as i64;
    let axis = axis.and_then(|a| a.numbers.first().map(|&n| n as i64)).unwrap_or(0);
    let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok();
    let size = axis.and_then(|a| codes.dims.get(a)).copied().ok_or("has an axis that is not there")?;
    let inner: usize = codes.dims.iter().skip(axis.map_or(0, |a| a + 1)).product();
    let along = |numbers: &[f32], i: usize| match numbers {
        [one] => *one,
        all => all[i / inner % size],
    };
    let zero = zero.map_or_else(|| vec![0.0], |z| z.numbers);
    if [&scale.numbers, &zero].iter().any(|n| n.len() != 1 && n.len() != size) {
        return Err(format!("has scales or zero points for other than {size} channels"));
    }
    let one = |(i, q): (usize, &f32)| (q - along(&zero, i)) * along(&scale.numbers, i);
    Ok(Array { numbers: codes.numbers.iter().enumerate().map(one).collect(), dims: codes.dims })
}

/// For each element of `dims`, the place of its block: `parts` blocks along each axis.
fn block_places(dims: &[usize], parts: &[usize]) -> Result<impl Fn(usize) -> usize, String> {
    let fits = dims.len() == parts.len() && dims.iter().zip(parts).all(|(d, &p)| p > 0 && d % p == 0);
    if !fits {
        return Err(format!("has {parts:?} blocks in {dims:?}"));
    }
    let axes: Vec<[usize; 3]> = dims.iter().zip(parts).map(|(&d, &p)| [d, d / p, p]).collect();
    Ok(move |mut i: usize| {
        let (mut place, mut stride) = (0, 1);
        for &[size, block, parts] in axes.iter().rev() {
            place += i % size / block * stride;
            stride *= parts;
            i /= size;
        }
        place
    })
}

/// (codes − offset)·scale, one of each for a block.
fn blocks(of: &Operands<'_, '_>) -> Result<Array, String> {
    let (codes, scale, offset) = (of.needed("data")?, of.needed("scale")?, of.optional("offset")?);
    if offset.as_ref().is_some_and(|o| o.dims != scale.dims) {
        return Err("has offsets of another shape than its scales".into());
    }
    let place = block_places(&codes.dims, &scale.dims)?;
    let one = |(i, q): (usize, &f32)| {
        let block = place(i);
        (q - offset.as_ref().map_or(0.0, |o| o.numbers[block])) * scale.numbers[block]
    };
    let numbers = codes.numbers.iter().enumerate().map(one).collect();
    Ok(Array { numbers, dims: codes.dims.clone() })
}

/// Entries of a table: one for the whole constant, whose codes share bytes, or one for each block.
fn lookup(of: &Operands<'_, '_>) -> Result<Array, String> {
    let (indices, table) = (of.needed("indices")?, of.needed("lut")?);
    let entry = |code: f32, part: usize, entries: usize| {
        let code = Some(code as usize).filter(|&c| c < entries);
        code.map(|c| table.numbers[part * entries + c]).ok_or_else(|| format!("names entries beyond {entries}"))
    };
    if of.operation.attributes.contains_key("lut") {
        let (dims, entries) = (of.sizes("shape")?, table.numbers.len());
        let bits = (1..=8).find(|&bits| 1 << bits == entries).ok_or("has a table of no whole number of bits")?;
        let bytes: Vec<u8> = indices.numbers.iter().map(|&b| b as u8).collect();
        let codes = unpacked(&bytes, bits, volume(&dims)?);
        let numbers = codes.iter().map(|&c| entry(f32::from(c), 0, entries)).collect::<Result<_, _>>()?;
        return Ok(Array { dims, numbers });
    }
    let [parts @ .., entries, 1] = &table.dims[..] else { return Err("has a table of vectors".into()) };
    let place = block_places(&indices.dims, parts)?;
    let one = |(i, &code): (usize, &f32)| entry(code, place(i), *entries);
    let numbers = indices.numbers.iter().enumerate().map(one).collect::<Result<_, _>>()?;
    Ok(Array { dims: indices.dims.clone(), numbers })
}

/// Numbers where a mask has ones, and zeros elsewhere.
fn sparse(of: &Operands<'_, '_>) -> Result<Array, String> {
    let (held, mask) = (of.needed("nonzero_data")?, of.needed("mask")?);
    let (dims, mask) = match of.operation.attributes.contains_key("mask") {
        true => {
            let dims = of.sizes("shape")?;
            let bytes: Vec<u8> = mask.numbers.iter().map(|&b| b as u8).collect();
            let bits = unpacked(&bytes, 1, volume(&dims)?);
            (dims, bits.into_iter().map(f32::from).collect())
        }
        false => (mask.dims, mask.numbers),
    };
    let ones = mask.iter().filter(|&&m| m != 0.0).count();
    if ones != held.numbers.len() {
        return Err(format!("has {} numbers for {ones} places", held.numbers.len()));
    }
    let mut next = held.numbers.iter();
    let numbers = mask.iter().map(|&m| if m != 0.0 { next.next().copied().unwrap_or(0.0) } else { 0.0 }).collect();
    Ok(Array { dims, numbers })
}

fn cast(of: &Operands<'_, '_>) -> Result<Array, String> {
    of.needed("source_val")
}
