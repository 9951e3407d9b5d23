//! What an ONNX file says about itself: interface, operators, sizes, metadata. Takes files of any origin.
//!
//! Invariants. Nothing panics on hostile bytes. The file is walked field by field and only what is reported is kept, so
//! memory follows the report, not what the file claims: texts and entries above [`ITEM_LIMIT`] bytes and more than
//! [`ENTRY_LIMIT`] of them are refused. Weights are never touched: a tensor's elements stay a view of the caller's
//! buffer.

use super::super::messages::{self as onnx, data_type, type_of};
use super::error::{ENTRY_LIMIT, ITEM_LIMIT, ReadError};
use super::wire::{Field, Fields};
use prost::Message;
use prost::bytes::{Buf, Bytes};
use prost::encoding::decode_varint;
use std::collections::{BTreeMap, BTreeSet};

/// An input or result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Type in the text form: `f32[1,3,224,224]`, `f32[batch,1000]`.
    pub ty: String,
}

/// What a file says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Version of the file format.
    pub ir_version: i64,
    /// Version of the standard operators; 0 if not stated.
    pub opset: i64,
    /// Program that wrote the file, with its version.
    pub producer: String,
    /// Text for people.
    pub doc_string: String,
    /// Keys and values, in order.
    pub metadata: Vec<(String, String)>,
    /// Name of the graph.
    pub graph: String,
    /// Inputs that are not constants.
    pub inputs: Vec<Port>,
    /// Results.
    pub outputs: Vec<Port>,
    /// Number of nodes, those of nested graphs not counted.
    pub nodes: usize,
    /// Operators with their number, most frequent first, then by name; other domains as `domain::op`.
    pub op_counts: Vec<(String, usize)>,
    /// Element type of initializers with their number.
    pub element_types: BTreeMap<String, usize>,
    /// Elements of the float initializers.
    pub parameters: u64,
    /// Bytes of the initializers, wherever they lie.
    pub weight_bytes: u64,
    /// Data files that hold initializers, as the file names them.
    pub data_files: BTreeSet<String>,
}

impl Inspection {
    /// True if vitc wrote the file.
    pub fn is_from_vitc(&self) -> bool {
        self.metadata.iter().any(|(key, _)| key == crate::metadata::VERSION_KEY)
    }
}

/// Walk an ONNX file, given as a mapped or loaded buffer.
///
/// # Errors
/// If the bytes are no ONNX model; see [`ReadError`].
pub fn inspect(file: Bytes) -> Result<Inspection, ReadError> {
    let mut found = Inspection::default();
    let mut graph = false;
    let mut version = String::new();
    let mut fields = Fields(file);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Number(v)) => found.ir_version = v as i64,
            (2, Field::Bytes(b)) => found.producer = string(b, "a producer name")?,
            (3, Field::Bytes(b)) => version = string(b, "a producer version")?,
            (6, Field::Bytes(b)) => found.doc_string = string(b, "a description")?,
            (7, Field::Bytes(b)) => {
                graph = true;
                inspect_graph(b, &mut found)?;
            }
            (8, Field::Bytes(b)) => {
                let set: onnx::OperatorSetId = item(b, "an operator set")?;
                if set.domain.is_empty() || set.domain == "ai.onnx" {
                    found.opset = set.version;
                }
            }
            (14, Field::Bytes(b)) => {
                let entry: onnx::StringStringEntry = item(b, "a metadata entry")?;
                found.metadata.push((entry.key, entry.value));
            }
            _ => {}
        }
        entries(found.metadata.len() + found.inputs.len() + found.outputs.len())?;
    }
    if !graph {
        return Err(ReadError::NoGraph);
    }
    if !version.is_empty() {
        found.producer = format!("{} {version}", found.producer);
    }
    Ok(found)
}

fn inspect_graph(graph: Bytes, found: &mut Inspection) -> Result<(), ReadError> {
    let mut ops: BTreeMap<String, usize> = BTreeMap::new();
    let mut constants = BTreeSet::new();
    let mut fields = Fields(graph);
    while let Some((number, field)) = fields.next()? {
        let Field::Bytes(bytes) = field else { continue };
        match number {
            1 => {
                *ops.entry(operator(bytes)?).or_insert(0) += 1;
                found.nodes += 1;
            }
            2 => found.graph = string(bytes, "a graph name")?,
            5 => {
                let tensor: onnx::Tensor = tensor(bytes)?;
                count_tensor(&tensor, found);
                constants.insert(tensor.name);
            }
            11 | 12 => {
                let info: onnx::ValueInfo = item(bytes, "an interface entry")?;
                let port = Port { ty: type_of(&info), name: info.name };
                if number == 11 { found.inputs.push(port) } else { found.outputs.push(port) }
            }
            _ => {}
        }
        entries(found.inputs.len() + found.outputs.len() + ops.len() + found.data_files.len())?;
    }
    // Before IR version 4 constants were inputs too.
    found.inputs.retain(|port| !constants.contains(&port.name));
    found.op_counts = ops.into_iter().collect();
    found.op_counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    Ok(())
}

fn entries(count: usize) -> Result<(), ReadError> {
    if count > ENTRY_LIMIT { Err(ReadError::TooMany) } else { Ok(()) }
}

/// The operator of a node, as `domain::op` if it is not a standard one. Attributes, which may hold weights, are
/// skipped.
fn operator(node: Bytes) -> Result<String, ReadError> {
    let (mut op, mut domain) = (String::new(), String::new());
    let mut fields = Fields(node);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (4, Field::Bytes(b)) => op = string(b, "an operator name")?,
            (7, Field::Bytes(b)) => domain = string(b, "an operator domain")?,
            _ => {}
        }
    }
    Ok(if domain.is_empty() || domain == "ai.onnx" { op } else { format!("{domain}::{op}") })
}

/// Add a tensor to the sums. Sizes follow from the declared type, since elements may lie in several fields or another
/// file; absurd shapes saturate.
fn count_tensor(tensor: &onnx::Tensor, found: &mut Inspection) {
    let sizes = tensor.dims.iter().map(|&d| u64::try_from(d).unwrap_or(0));
    let elements = sizes.fold(1, u64::saturating_mul);
    let (word, bits) = data_type::describe(tensor.data_type).unwrap_or(("?", 0));
    *found.element_types.entry(word.into()).or_insert(0) += 1;
    if matches!(word, "f32" | "f16" | "bf16" | "f64") {
        found.parameters = found.parameters.saturating_add(elements);
    }
    found.weight_bytes = found.weight_bytes.saturating_add(elements.saturating_mul(bits).div_ceil(8));
    if tensor.data_location == 1 {
        found.data_files.extend(tensor.external_data.iter().map(|e| e.value.clone()));
    }
}

/// Decode a part that holds no elements.
fn item<M: Message + Default>(bytes: Bytes, what: &'static str) -> Result<M, ReadError> {
    limit(&bytes, what)?;
    Ok(M::decode(bytes)?)
}

/// Decode a tensor without its elements; of the data file entries only the location.
fn tensor(bytes: Bytes) -> Result<onnx::Tensor, ReadError> {
    let mut tensor = onnx::Tensor::default();
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Number(d)) => tensor.dims.push(d as i64),
            (1, Field::Bytes(mut packed)) => {
                limit(&packed, "a tensor's shape")?;
                while packed.has_remaining() {
                    tensor.dims.push(decode_varint(&mut packed)? as i64);
                }
            }
            (2, Field::Number(code)) => tensor.data_type = i32::try_from(code).unwrap_or(0),
            (8, Field::Bytes(b)) => tensor.name = string(b, "a tensor's name")?,
            (13, Field::Bytes(b)) => {
                let entry: onnx::StringStringEntry = item(b, "a data file entry")?;
                if entry.key == "location" {
                    tensor.external_data = vec![entry];
                }
            }
            (14, Field::Number(place)) => tensor.data_location = i32::try_from(place).unwrap_or(0),
            _ => {}
        }
    }
    Ok(tensor)
}

fn string(bytes: Bytes, what: &'static str) -> Result<String, ReadError> {
    limit(&bytes, what)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn limit(bytes: &Bytes, what: &'static str) -> Result<(), ReadError> {
    if bytes.len() > ITEM_LIMIT { Err(ReadError::TooLarge { what, bytes: bytes.len() }) } else { Ok(()) }
}
