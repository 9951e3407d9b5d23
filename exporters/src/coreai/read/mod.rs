//! Reads an asset back into graphs, from its bytes alone.
//!
//! Independent of the writer on purpose: it decodes names, orders and kinds by the format, so that the check compares two views of the file. A
//! composite is read by its body, as systems without a replacement run it, and the body must be what the declaration promises.
//!
//! The bytes are untrusted. Invariants: no panic; memory is bounded by the size of the program's file, whose constants stay mapped; every size is
//! checked before anything is computed with it; what the program declares about a result must be what the shape rules say.

mod attributes;
mod body;
mod codes;
mod composites;
mod container;
mod cursor;
mod header;
mod promise;
mod weights;

use super::{METADATA, PROGRAM};
use body::Function as Decoded;
use container::{Container, region};
use header::Header;
use memmap2::Mmap;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use vitc_ir::Graph;
pub use weights::AssetWeights;
use weights::Source;

/// What an asset says about itself is a few kilobytes.
const METADATA_LIMIT: u64 = 1 << 24;

/// Why an asset cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file of the asset cannot be opened or read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The asset is damaged, or holds something that vitc neither writes nor reads.
    #[error("{file}: {what}")]
    Invalid {
        /// The file of the asset.
        file: &'static str,
        /// What is wrong.
        what: String,
    },
}

/// An asset as it lies on disk.
#[derive(Debug)]
pub struct Asset {
    /// Its functions by name, in the file's order.
    pub functions: Vec<(String, Graph)>,
    /// Whether the functions take a picture: 8-bit RGB, of the size of their input `[1,3,H,W]`, which holds 0..255.
    pub picture: bool,
    /// Their constants.
    pub weights: AssetWeights,
    /// Metadata entries; `author`, `license` and `description` among them.
    pub metadata: BTreeMap<String, String>,
    /// Operations by kind with their number, constants not counted, most frequent first.
    pub op_counts: Vec<(String, usize)>,
    /// Bytes of all files together.
    pub bytes: u64,
}

impl Asset {
    /// The function that is meant where none is named: `main`, or the first.
    pub fn main(&self) -> Option<&Graph> {
        self.function("main").or_else(|| self.functions.first().map(|(_, graph)| graph))
    }

    /// The function of this name.
    pub fn function(&self, name: &str) -> Option<&Graph> {
        self.functions.iter().find(|(known, _)| known == name).map(|(_, graph)| graph)
    }
}

/// Read an asset.
///
/// # Errors
/// If a file is missing, damaged or too large, or the program holds something that vitc does not write.
pub fn read(asset: &Path) -> Result<Asset, ReadError> {
    let (metadata, mut bytes) = metadata(&asset.join(METADATA))?;
    let path = asset.join(PROGRAM);
    let file = map(&path)?;
    bytes += file.as_deref().map_or(0, |f| f.len() as u64);
    bytes += std::fs::metadata(asset.join(super::HASH)).map_or(0, |m| m.len());
    let invalid = |what| ReadError::Invalid { file: PROGRAM, what };
    let Program { functions, picture, sources, op_counts } =
        decode(file.as_deref().unwrap_or_default()).map_err(invalid)?;
    Ok(Asset { functions, picture, weights: AssetWeights { file, sources }, metadata, op_counts, bytes })
}

/// What the program's file holds.
struct Program {
    functions: Vec<(String, Graph)>,
    picture: bool,
    sources: HashMap<String, Source>,
    op_counts: Vec<(String, usize)>,
}

/// The functions of a program.
fn decode(file: &[u8]) -> Result<Program, String> {
    let container = Container::read(file)?;
    if container.name(&container.asset)? != "serialization.asset" {
        return Err("does not begin with an asset".into());
    }
    let mut headers = Vec::new();
    for operation in region(&container.asset)?.operations {
        headers.push(Header::read(&container, operation)?);
    }
    let mut words = Vec::new();
    let mut composites = HashMap::new();
    for header in &headers {
        let block = region(&header.operation)?;
        for operation in &block.operations {
            words.push(container.name(operation)?);
        }
        if header.private {
            composites.insert(header.name, promise::composite(&container, header, &block)?);
        }
    }
    let (mut sources, mut pictures) = (HashMap::new(), 0);
    let mut functions: Vec<(String, Graph)> = Vec::new();
    for header in headers.iter().filter(|h| !h.private) {
        if functions.iter().any(|(name, _)| name == header.name) {
            return Err(format!("two functions are named {}", header.name));
        }
        let block = region(&header.operation)?;
        for &argument in &block.arguments {
            pictures += usize::from(container.picture(argument)?.is_some());
        }
        let graph = Decoded::read(&container, &composites, header, &block, &mut sources, file)
            .map_err(|what| format!("{}: {what}", header.name))?;
        functions.push((header.name.to_string(), graph));
    }
    if functions.is_empty() {
        return Err("has no function".into());
    }
    if pictures != 0 && pictures != functions.len() {
        return Err("some functions take a picture and some do not".into());
    }
    let inert = ["primitive.constant_v1", "dataflow.output_v1"];
    let op_counts = crate::count(words.into_iter().filter(|w| !inert.contains(w)));
    Ok(Program { functions, picture: pictures > 0, sources, op_counts })
}

/// What the asset says about itself, and the file's length.
fn metadata(path: &Path) -> Result<(BTreeMap<String, String>, u64), ReadError> {
    let io = |source| ReadError::Io { path: path.to_path_buf(), source };
    let invalid = |what: String| ReadError::Invalid { file: METADATA, what };
    let mut bytes = Vec::new();
    File::open(path).and_then(|f| f.take(METADATA_LIMIT + 1).read_to_end(&mut bytes)).map_err(io)?;
    if bytes.len() as u64 > METADATA_LIMIT {
        return Err(invalid(format!("is larger than {METADATA_LIMIT} bytes")));
    }
    let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| invalid(format!("is not JSON: {e}")))?;
    let version = json.get("assetVersion").and_then(|v| v.as_str());
    if version != Some("2.0") {
        return Err(invalid(format!("asset version {version:?}; 2.0 is read")));
    }
    let text = |v: &serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
    let mut entries: BTreeMap<String, String> = BTreeMap::new();
    if let Some(defined) = json.get("creatorDefinedMetadata").and_then(|v| v.as_object()) {
        entries.extend(defined.iter().map(|(key, value)| (key.clone(), text(value))));
    }
    for key in ["author", "license", "description"] {
        if let Some(value) = json.get(key).map(text).filter(|v| !v.is_empty()) {
            entries.insert(key.to_string(), value);
        }
    }
    Ok((entries, bytes.len() as u64))
}

/// The program's file.
fn map(path: &Path) -> Result<Option<Mmap>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(io)?;
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
