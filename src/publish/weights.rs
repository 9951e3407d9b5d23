//! A model's weights as `.safetensors`: under the architecture's keys, in the types that they were stored in.

use super::files::failed;
use crate::export::Error;
use crate::model::{Model, ModelError};
use crate::place::PlaceError;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use vitc_ir::StoredType;

/// Write every weight that the model's graph asks for.
pub(super) fn write(model: &Model, path: &Path) -> Result<(), Error> {
    let shapes: BTreeMap<&str, Vec<usize>> = model.graph.weights().map(|(key, ty)| (key, ty.shape.at(1))).collect();
    let source = model.weights.weights();
    let stored = |key: &str, shape: &[usize]| {
        let missing = |e: vitc_ir::WeightError| ModelError::Other(e.to_string().into());
        source.weight(key, shape.iter().product()).map_err(missing)
    };
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!({ "format": "pt" }));
    let mut end = 0;
    for (key, shape) in &shapes {
        let found = stored(key, shape)?;
        let start = end;
        end += found.bytes.len();
        let entry = serde_json::json!({ "dtype": letters(found.dtype), "shape": shape, "data_offsets": [start, end] });
        header.insert(key.to_string(), entry);
    }
    let mut header = serde_json::Value::Object(header).to_string();
    // What follows begins at a multiple of 8, as the format asks for.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let io = |e: std::io::Error| -> PlaceError { failed("write the weights", path)(e) };
    let mut file = BufWriter::new(File::create(path).map_err(io)?);
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
    file.write_all(header.as_bytes()).map_err(io)?;
    for (key, shape) in &shapes {
        file.write_all(&stored(key, shape)?.bytes).map_err(io)?;
    }
    file.flush().map_err(io)?;
    Ok(())
}

fn letters(dtype: StoredType) -> &'static str {
    match dtype {
        StoredType::F16 => "F16",
        StoredType::BF16 => "BF16",
        StoredType::F32 => "F32",
        StoredType::F64 => "F64",
        StoredType::I8 => "I8",
        StoredType::U8 => "U8",
    }
}
