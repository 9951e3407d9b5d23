//! Reads a package back into a graph, from its bytes alone.
//!
//! Independent of the writer on purpose: it decodes names, pads, axes and masks by the format's documentation, so that
//! the check compares two views of the file. Every parameter that changes a result must be present; nothing is guessed.
//!
//! The bytes are untrusted. Invariants: no panic; memory is bounded by the size of the model file (weights stay
//! mapped); every type is checked before the graph sees it (1 to 5 dimensions, sizes that cannot overflow); what the
//! program declares about a result must be what the shape rules say.

mod operations;
mod values;

use super::messages::{self, ColorSpace, Model, ModelDescription, dictionary_feature_type, feature_type, model};
use super::{InputForm, Interface, RELEASES, Release};
use memmap2::Mmap;
use prost::Message;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use vitc_ir::{DType, Graph, Output, Stage, Stored, StoredType, WeightError, Weights};

/// A manifest is a few hundred bytes.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// A model file holds no weights; the largest programs are a few megabytes.
const MODEL_LIMIT: u64 = 256 << 20;

/// Why a package cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file of the package cannot be opened or read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The package is damaged or not an ML Program.
    #[error("{file}: {what}")]
    Invalid {
        /// The file of the package.
        file: &'static str,
        /// What is wrong.
        what: String,
    },
    /// An operation is damaged, or one that vitc neither writes nor reads.
    #[error("model.mlmodel: {operation} ({kind}): {what}")]
    Operation {
        /// Name of the operation.
        operation: String,
        /// Its operator.
        kind: String,
        /// What is wrong.
        what: String,
    },
}

fn invalid(file: &'static str, what: impl Into<String>) -> ReadError {
    ReadError::Invalid { file, what: what.into() }
}

/// A package as it lies on disk.
#[derive(Debug)]
pub struct Package {
    /// The program. Values have the program's names. A classifier's output is its probabilities.
    pub graph: Graph,
    /// Its constants.
    pub weights: PackageWeights,
    /// First release that loads it.
    pub release: Release,
    /// Input form, descriptions and labels.
    pub interface: Interface,
    /// Metadata entries; `author`, `license` and `description` among them.
    pub metadata: BTreeMap<String, String>,
    /// Operations by kind with their number, constants not counted, most frequent first.
    pub op_counts: Vec<(String, usize)>,
    /// Bytes of manifest, model and weights together.
    pub bytes: u64,
}

/// Where the elements of a constant are.
#[derive(Debug)]
enum Source {
    /// In the weight file.
    Mapped { start: usize, len: usize, dtype: StoredType },
    /// In the model file.
    Held { bytes: Vec<u8>, dtype: StoredType },
}

/// The constants of a package by the program's names. The weight file stays mapped.
#[derive(Debug, Default)]
pub struct PackageWeights {
    file: Option<Mmap>,
    sources: HashMap<String, Source>,
}

impl PackageWeights {
    fn bytes(&self) -> &[u8] {
        self.file.as_deref().unwrap_or_default()
    }
}

impl Weights for PackageWeights {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let fail = |what: String| WeightError { key: key.to_string(), what };
        let (dtype, bytes) = match self.sources.get(key) {
            Some(Source::Mapped { start, len, dtype }) => {
                (*dtype, self.bytes().get(*start..start + len).ok_or_else(|| fail("lies outside weight.bin".into()))?)
            }
            Some(Source::Held { bytes, dtype }) => (*dtype, bytes.as_slice()),
            None => return Err(fail("the package has no such constant".into())),
        };
        if elements.checked_mul(dtype.bytes()) != Some(bytes.len()) {
            return Err(fail(format!(
                "has {} bytes, {elements} elements of {} are asked for",
                bytes.len(),
                dtype.bytes()
            )));
        }
        Ok(Stored { dtype, bytes: Cow::Borrowed(bytes) })
    }
}

/// Read a package.
///
/// # Errors
/// If a file is missing, damaged or too large, or the program holds something that vitc does not write.
pub fn read(package: &Path) -> Result<Package, ReadError> {
    let (model_path, manifest_bytes) = locate(package)?;
    let encoded = limited(&model_path, MODEL_LIMIT)?;
    let model = decode(&encoded)?;
    let mut bytes = manifest_bytes + encoded.len() as u64;
    drop(encoded);

    let weight_path = model_path.with_file_name("weights").join("weight.bin");
    let mut weights = PackageWeights { file: map(&weight_path)?, sources: HashMap::new() };
    bytes += weights.bytes().len() as u64;

    let release = RELEASES.iter().find(|r| r.specification == model.specification_version).ok_or_else(|| {
        invalid("model.mlmodel", format!("specification version {} holds no ML Program", model.specification_version))
    })?;
    let description = model.description.unwrap_or_default();
    let program = match model.kind {
        Some(model::Kind::Program(program)) => program,
        Some(model::Kind::NeuralNetwork(_)) => {
            return Err(invalid("model.mlmodel", "holds a neural network of the older format, not an ML Program"));
        }
        None => return Err(invalid("model.mlmodel", "holds no ML Program")),
    };
    let function = main_function(&program, release)?;
    let block = &function.block_specializations[release.opset];

    let name = package.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let mut graph = Graph::new(name, Stage::Target);
    let mut body = operations::Body::new(&mut graph, &mut weights, release.ios);
    for input in &function.inputs {
        body.input(input)?;
    }
    for operation in &block.operations {
        body.operation(operation)?;
    }
    let classes = body.classes();
    let outputs = body.outputs(&block.outputs)?;
    graph.outputs = outputs;
    let op_counts = crate::count(block.operations.iter().map(|o| o.r#type.as_str()).filter(|&t| t != "const"));
    let interface = interface(&graph, &description, classes)?;
    let metadata = metadata(description.metadata.unwrap_or_default());
    Ok(Package { graph, weights, release: *release, interface, metadata, op_counts, bytes })
}

/// The model message of a package.
pub(super) fn model(package: &Path) -> Result<Model, ReadError> {
    decode(&limited(&locate(package)?.0, MODEL_LIMIT)?)
}

fn decode(encoded: &[u8]) -> Result<Model, ReadError> {
    Model::decode(encoded).map_err(|e| invalid("model.mlmodel", format!("is not a CoreML model: {e}")))
}

/// A file of at most `limit` bytes.
fn limited(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|f| f.take(limit + 1).read_to_end(&mut bytes)).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(io(std::io::Error::other(format!("is larger than {limit} bytes"))));
    }
    Ok(bytes)
}

/// The weight file, if the package has one.
fn map(path: &Path) -> Result<Option<Mmap>, ReadError> {
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
fn locate(package: &Path) -> Result<(PathBuf, u64), ReadError> {
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

/// The one function, with a body for the release's operator set.
fn main_function<'a>(program: &'a messages::Program, release: &Release) -> Result<&'a messages::Function, ReadError> {
    let bad = |what: String| Err(invalid("model.mlmodel", what));
    if program.version != 1 {
        return bad(format!("program version {} instead of 1", program.version));
    }
    let (Some(function), 1) = (program.functions.get("main"), program.functions.len()) else {
        return bad("has other functions than main".into());
    };
    if function.opset != release.opset || !function.block_specializations.contains_key(release.opset) {
        let (specification, opset) = (release.specification, release.opset);
        return bad(format!("operator set {} in a file of version {specification}, which has {opset}", function.opset));
    }
    Ok(function)
}

/// The interface, compared with the program's inputs and outputs.
fn interface(
    graph: &Graph,
    description: &ModelDescription,
    classes: Option<Vec<String>>,
) -> Result<Interface, ReadError> {
    let bad = |what: String| Err(invalid("model.mlmodel", what));
    let mut interface = Interface { labels: classes, ..Interface::default() };
    let inputs: Vec<_> = graph.inputs().map(|(_, n)| n).collect();
    if inputs.len() != description.input.len() || inputs.iter().zip(&description.input).any(|(n, f)| n.path != f.name) {
        return bad("the description names other inputs than the program".into());
    }
    for (node, feature) in inputs.iter().zip(&description.input) {
        let ty = &node.types[0];
        let dims: Vec<i64> = ty.shape.at(1).iter().map(|&d| d as i64).collect();
        let fits = match feature.r#type.as_ref().and_then(|t| t.kind.as_ref()) {
            Some(feature_type::Kind::MultiArray(a)) => a.shape == dims && a.data_type == array_type(ty.dtype),
            Some(feature_type::Kind::Image(i)) => {
                interface.input = InputForm::Image;
                i.color_space() == ColorSpace::Rgb && ty.dtype == DType::F32 && dims == [1, 3, i.height, i.width]
            }
            _ => false,
        };
        if !fits {
            return bad(format!("the description of {} does not fit the program's {ty}", feature.name));
        }
        interface.input_description.clone_from(&feature.short_description);
    }
    let described: Vec<&str> = description.output.iter().map(|f| f.name.as_str()).collect();
    let kinds = description.output.iter().map(|f| f.r#type.as_ref().and_then(|t| t.kind.as_ref()));
    let fits = if interface.labels.is_some() {
        let [Some(feature_type::Kind::String(_)), Some(feature_type::Kind::Dictionary(d))] =
            kinds.collect::<Vec<_>>()[..]
        else {
            return bad("a classifier's outputs are a label and a dictionary".into());
        };
        matches!(d.key, Some(dictionary_feature_type::Key::String(_)))
            && description.predicted_feature_name == described[0]
            && description.predicted_probabilities_name == described[1]
            && graph.outputs.iter().map(|o| o.name.as_str()).eq([described[1]])
    } else {
        let array = |(o, k): (&Output, Option<&feature_type::Kind>)| match k {
            Some(feature_type::Kind::MultiArray(a)) => {
                let ty = graph.ty(o.value);
                ty.shape.at(1).iter().map(|&d| d as i64).eq(a.shape.iter().copied())
                    && a.data_type == array_type(ty.dtype)
            }
            _ => false,
        };
        graph.outputs.iter().map(|o| o.name.as_str()).eq(described) && graph.outputs.iter().zip(kinds).all(array)
    };
    if !fits {
        return bad("the description's outputs do not fit the program's".into());
    }
    if let Some(last) = description.output.last() {
        interface.output_description.clone_from(&last.short_description);
    }
    Ok(interface)
}

/// The schema's numbers of element types at the interface.
fn array_type(dtype: DType) -> i32 {
    match dtype {
        DType::F16 => 0x10000 | 16,
        DType::F32 => 0x10000 | 32,
        DType::I32 => 0x20000 | 32,
    }
}

fn metadata(metadata: messages::Metadata) -> BTreeMap<String, String> {
    let mut entries = metadata.user_defined;
    let own = [
        ("description", metadata.short_description),
        ("author", metadata.author),
        ("license", metadata.license),
        ("version", metadata.version_string),
    ];
    for (key, value) in own {
        if !value.is_empty() {
            entries.insert(key.to_string(), value);
        }
    }
    entries
}
