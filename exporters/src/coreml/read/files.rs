//! The files of a package: found by the manifest, read whole up to a limit, or mapped.

use super::error::{ReadError, invalid};
use crate::coreml::messages::Model;
use memmap2::Mmap;
use prost::Message;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// A manifest is a few hundred bytes.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// A model file holds no weights; the largest programs are a few megabytes.
pub(super) const MODEL_LIMIT: u64 = 256 << 20;

/// The model message of a package.
pub(super) fn model(package: &Path) -> Result<Model, ReadError> {
    decode(&limited(&locate(package)?.0, MODEL_LIMIT)?)
}

/// The model message from its bytes.
pub(super) fn decode(encoded: &[u8]) -> Result<Model, ReadError> {
    Model::decode(encoded).map_err(|e| invalid("model.mlmodel", format!("is not a CoreML model: {e}")))
}

/// A file of at most `limit` bytes.
pub(super) fn limited(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|f| f.take(limit + 1).read_to_end(&mut bytes)).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(io(std::io::Error::other(format!("is larger than {limit} bytes"))));
    }
    Ok(bytes)
}

/// The weight file, if the package has one.
pub(super) fn map(path: &Path) -> Result<Option<Mmap>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_path_buf(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
    };
    if file.metadata().map_err(io)?.len() == 0 {
        return Ok(None);
    }
    // SAFETY: the map is private to this process and only ever read as plain bytes, for which every bit pattern is
    // valid. The one hazard left is another process truncating the file while it is read; that ends this process with a
    // bus error and corrupts nothing.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(&file) }.map_err(io)?;
    Ok(Some(map))
}

/// Path of the model file according to the manifest, and the manifest's size.
pub(super) fn locate(package: &Path) -> Result<(PathBuf, u64), ReadError> {
    let bytes = limited(&package.join("Manifest.json"), MANIFEST_LIMIT)?;
    let bad = |what: String| invalid("Manifest.json", what);
    let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| bad(format!("is not JSON: {e}")))?;
    let root = json.get("rootModelIdentifier").and_then(|v| v.as_str());
    let root = root.ok_or_else(|| bad("has no rootModelIdentifier".into()))?;
    let item = json.get("itemInfoEntries").and_then(|items| items.get(root));
    let path = item.and_then(|i| i.get("path")).and_then(|p| p.as_str());
    let path = Path::new(path.ok_or_else(|| bad(format!("has no item {root} with a path")))?);
    if path.components().any(|c| !matches!(c, Component::Normal(_))) {
        return Err(bad(format!("the path {} leaves the package", path.display())));
    }
    Ok((package.join("Data").join(path), bytes.len() as u64))
}
