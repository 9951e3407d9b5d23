//! Writing a file: the messages first, then each large constant as it comes out of the evaluator.
//!
//! Invariants. The bytes depend on nothing but the arguments. No constant is held: its length is known from its type,
//! so the enclosing lengths are written before it is computed, and its bytes go straight through. A failure leaves a
//! torn file behind; the caller writes to a temporary one.

mod builder;
mod codes;
mod ops;
mod plan;
mod text;

pub use text::text;

use super::messages as onnx;
use crate::metadata::Metadata;
use crate::{ExportError, Summary};
use builder::Streamed;
use plan::Plan;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use std::io::{BufWriter, Write};
use vitc_ir::eval::{self, Numbers, StreamError};
use vitc_ir::{DType, Graph, Target, Value};

/// Largest protobuf message that every reader takes.
pub const INLINE_LIMIT: u64 = i32::MAX as u64;

/// Constants below this many bytes stay in the model file when the others lie in a data file: shape inference reads
/// them.
const EXTERNAL_FROM: u64 = 1024;

/// Alignment of constants in a data file.
const ALIGNMENT: u64 = 64;

/// Bytes that are gathered before they are written; what is larger goes straight through.
const BUFFER: usize = 1 << 20;

/// Field numbers that the hand-written framing uses.
const GRAPH: u32 = 7;
const INITIALIZER: u32 = 5;
const RAW_DATA: u32 = 9;

/// A data file beside the model file.
pub struct DataFile<'a> {
    /// Its name, relative to the model file.
    pub location: &'a str,
    /// Its bytes go here.
    pub out: &'a mut dyn Write,
}

/// Write `graph` as one file.
///
/// # Errors
/// If a node has no spelling, the target is not ONNX of opset 11 to 23, the file would exceed [`INLINE_LIMIT`], a
/// constant cannot be had or is not finite, or writing fails.
pub fn write<'a>(
    graph: &'a Graph,
    numbers: impl Into<Numbers<'a>>,
    target: &Target,
    metadata: &Metadata,
    out: &mut dyn Write,
) -> Result<Summary, ExportError> {
    emit(graph, numbers.into(), target, metadata, out, None)
}

/// Write `graph` as a model file and a data file, which holds the large constants. Readers find the data file by its
/// name beside the model file.
///
/// # Errors
/// As [`write`]; the limit holds for the model file alone.
pub fn write_external<'a>(
    graph: &'a Graph,
    numbers: impl Into<Numbers<'a>>,
    target: &Target,
    metadata: &Metadata,
    out: &mut dyn Write,
    data: DataFile<'_>,
) -> Result<Summary, ExportError> {
    emit(graph, numbers.into(), target, metadata, out, Some(data))
}

/// Bytes of the file that [`write`] would make.
///
/// # Errors
/// As [`write`], without those of constants and of writing.
pub fn size_of(graph: &Graph, target: &Target, metadata: &Metadata) -> Result<u64, ExportError> {
    let plan = Plan::new(graph, target, metadata)?;
    Ok(frame(&plan).0)
}

fn emit(
    graph: &Graph,
    numbers: Numbers<'_>,
    target: &Target,
    metadata: &Metadata,
    out: &mut dyn Write,
    data: Option<DataFile<'_>>,
) -> Result<Summary, ExportError> {
    let mut plan = Plan::new(graph, target, metadata)?;
    let end = data.as_ref().map_or(0, |d| place(&mut plan.streamed, d.location));
    let (bytes, header) = frame(&plan);
    if bytes > INLINE_LIMIT {
        let remedy = "write the weights to a data file";
        return Err(ExportError::TooLarge { bytes, limit: INLINE_LIMIT, remedy });
    }
    let mut out = BufWriter::with_capacity(BUFFER, out);
    let mut data = data.map(|d| BufWriter::with_capacity(BUFFER, d.out));
    out.write_all(&header)?;
    let values: Vec<Value> = plan.streamed.iter().map(|s| s.value).collect();
    let mut written: u64 = 0;
    let (mut wide, mut whole) = (Vec::new(), Vec::new());
    let mut sink = |index: usize, at: usize, piece: &[u8]| -> std::io::Result<()> {
        let constant = &plan.streamed[index];
        let piece = match graph.ty(constant.value).dtype {
            DType::F32 | DType::F16 | DType::I64 | DType::I8 | DType::U8 | DType::I4 | DType::U4 | DType::Bool => piece,
            DType::I32 => {
                widen(piece, &mut wide);
                &wide
            }
        };
        let tensors = &constant.tensors;
        if let Some(data) = data.as_mut().filter(|_| tensors.iter().any(is_external)) {
            if at == 0 {
                for tensor in tensors {
                    out.write_all(&head(tensor, constant.bytes))?;
                }
                let gap = written.next_multiple_of(ALIGNMENT) - written;
                data.write_all(&[0; ALIGNMENT as usize][..gap as usize])?;
                written += gap + constant.bytes;
            }
            return data.write_all(piece);
        }
        if let [tensor] = &tensors[..] {
            if at == 0 {
                out.write_all(&head(tensor, constant.bytes))?;
            }
            return out.write_all(piece);
        }
        // The same elements again and again need all of them.
        whole.extend_from_slice(piece);
        if whole.len() as u64 == constant.bytes {
            for tensor in tensors {
                out.write_all(&head(tensor, constant.bytes))?;
                out.write_all(&whole)?;
            }
            whole.clear();
        }
        Ok(())
    };
    let report = eval::stream(graph, numbers, &values, &mut sink).map_err(|e| match e {
        StreamError::Eval(e) => ExportError::Constant(e),
        StreamError::Sink(e) => ExportError::Io(e),
    })?;
    out.flush()?;
    if let Some(mut data) = data {
        data.flush()?;
    }
    Ok(plan.summary(bytes + end, report.constants))
}

/// Let the large constants point into the data file; its length.
fn place(streamed: &mut [Streamed], location: &str) -> u64 {
    let mut end: u64 = 0;
    for constant in streamed.iter_mut().filter(|c| c.bytes >= EXTERNAL_FROM) {
        let offset = end.next_multiple_of(ALIGNMENT);
        end = offset + constant.bytes;
        for tensor in &mut constant.tensors {
            let entry = |key: &str, value: String| onnx::StringStringEntry { key: key.into(), value };
            tensor.data_location = 1;
            tensor.external_data = vec![
                entry("location", location.into()),
                entry("offset", offset.to_string()),
                entry("length", constant.bytes.to_string()),
            ];
        }
    }
    end
}

fn is_external(tensor: &onnx::Tensor) -> bool {
    tensor.data_location != 0
}

/// Length of an initializer's message, whose elements are not in `tensor`.
fn tensor_len(tensor: &onnx::Tensor, bytes: u64) -> u64 {
    let head = tensor.encoded_len() as u64;
    if is_external(tensor) {
        return head;
    }
    head + key_len(RAW_DATA) as u64 + encoded_len_varint(bytes) as u64 + bytes
}

/// What stands before the elements of an initializer, or all of it if they lie elsewhere.
fn head(tensor: &onnx::Tensor, bytes: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(128);
    encode_key(INITIALIZER, WireType::LengthDelimited, &mut head);
    encode_varint(tensor_len(tensor, bytes), &mut head);
    tensor.encode_raw(&mut head);
    if !is_external(tensor) {
        encode_key(RAW_DATA, WireType::LengthDelimited, &mut head);
        encode_varint(bytes, &mut head);
    }
    head
}

/// Length of the file, and what stands before the streamed constants: the model with an open graph message that they
/// complete.
fn frame(plan: &Plan) -> (u64, Vec<u8>) {
    let lengths = plan.streamed.iter().flat_map(|c| c.tensors.iter().map(|t| tensor_len(t, c.bytes)));
    let constants: u64 = lengths.map(|len| key_len(INITIALIZER) as u64 + encoded_len_varint(len) as u64 + len).sum();
    let mut header = plan.model.encode_to_vec();
    encode_key(GRAPH, WireType::LengthDelimited, &mut header);
    encode_varint(plan.graph.encoded_len() as u64 + constants, &mut header);
    plan.graph.encode_raw(&mut header);
    (header.len() as u64 + constants, header)
}

/// 32-bit little-endian integers as 64-bit ones.
fn widen(bytes: &[u8], wide: &mut Vec<u8>) {
    let (elements, _) = bytes.as_chunks::<4>();
    wide.clear();
    wide.extend(elements.iter().flat_map(|&e| i64::from(i32::from_le_bytes(e)).to_le_bytes()));
}
