//! `.safetensors`: a JSON header and the tensors behind it, read in place.

use super::contents::{Contents, MAX_KEY, MAX_TENSORS};
use super::error::{CheckpointError, shortened};
use super::tensor::{ElementType, TensorInfo};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use vitc_ir::StoredType;

/// Largest JSON header that is believed; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// True if the bytes look like this format: a plausible header length and a JSON object behind it.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    bytes.len() >= 9 && bytes[8] == b'{' && bytes[..4] != *b"PK\x03\x04"
}

/// The tensors of file number `file`.
pub(super) fn read(bytes: &[u8], file: usize) -> Result<Contents, CheckpointError> {
    let Some((length, behind)) = bytes.split_first_chunk() else {
        return Err(CheckpointError::damaged("safetensors header", "the file ends before it"));
    };
    let (length, room) = (u64::from_le_bytes(*length), behind.len() as u64);
    if length > MAX_HEADER || length > room {
        let why = format!("the header claims {length} bytes, the file has {room} behind its first 8");
        return Err(CheckpointError::damaged("safetensors header", why));
    }
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| match e {
        SafeTensorError::MetadataIncompleteBuffer => CheckpointError::damaged(
            "safetensors data",
            format!("the header describes another amount of data than the {} bytes that follow it", room - length),
        ),
        e => CheckpointError::damaged("safetensors header", shortened(&e.to_string())),
    })?;
    let mut contents = Contents { document: metadata.metadata().as_ref().map(document), ..Contents::default() };
    for (key, info) in metadata.tensors() {
        if key.len() > MAX_KEY || contents.tensors.len() >= MAX_TENSORS {
            return Err(CheckpointError::damaged("safetensors header", "it holds absurdly long or many names"));
        }
        let Some(dtype) = element_type(info.dtype) else {
            contents.skipped.push((key, format!("{:?}", info.dtype)));
            continue;
        };
        let base = 8 + header;
        let storage = base + info.data_offsets.0..base + info.data_offsets.1;
        let tensor = TensorInfo::new(&key, dtype, info.shape.clone(), file, &storage, 0, None)?;
        contents.tensors.insert(key, tensor);
    }
    Ok(contents)
}

/// The header's free texts, those that are JSON read as such.
fn document(texts: &std::collections::HashMap<String, String>) -> serde_json::Value {
    let value = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text.as_str()));
    serde_json::Value::Object(texts.iter().map(|(name, text)| (name.clone(), value(text))).collect())
}

fn element_type(dtype: Dtype) -> Option<ElementType> {
    Some(match dtype {
        Dtype::F16 => ElementType::Float(StoredType::F16),
        Dtype::BF16 => ElementType::Float(StoredType::BF16),
        Dtype::F32 => ElementType::Float(StoredType::F32),
        Dtype::F64 => ElementType::Float(StoredType::F64),
        Dtype::I8 => ElementType::Int(1),
        Dtype::I16 => ElementType::Int(2),
        Dtype::I32 => ElementType::Int(4),
        Dtype::I64 => ElementType::Int(8),
        Dtype::U8 => ElementType::Uint(1),
        Dtype::U16 => ElementType::Uint(2),
        Dtype::U32 => ElementType::Uint(4),
        Dtype::U64 => ElementType::Uint(8),
        Dtype::BOOL => ElementType::Bool,
        Dtype::F8_E4M3 | Dtype::F8_E5M2 => ElementType::Float8,
        Dtype::C64 => ElementType::Complex(8),
        _ => return None,
    })
}
