//! Reads a package back into a graph, from its bytes alone.
//!
//! Independent of the writer on purpose: it decodes names, pads, axes and masks by the format's documentation, so that
//! the check compares two views of the file. Every parameter that changes a result must be present; nothing is guessed.
//!
//! The bytes are untrusted. Invariants: no panic; memory is bounded by the size of the model file (weights stay
//! mapped); every type is checked before the graph sees it (1 to 5 dimensions, sizes that cannot overflow); what the
//! program declares about a result must be what the shape rules say.

mod body;
mod call;
mod codes;
mod decode;
mod defaults;
mod error;
mod files;
mod foreign;
mod operations;
mod text;
mod values;
mod weights;

pub use error::ReadError;
pub use text::{print, text};
pub use weights::PackageWeights;

use super::messages::{self, ColorSpace, ModelDescription, dictionary_feature_type, feature_type, model};
use super::{InputForm, Interface, RELEASES, Release};
use error::invalid;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use vitc_ir::{DType, Graph, Output, Stage};

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
    /// Compressed constants that are read as the numbers that they stand for; 0 in a package that vitc wrote.
    pub decoded: usize,
}

/// Read a package that vitc wrote.
///
/// # Errors
/// If a file is missing, damaged or too large, or the program holds something that vitc does not write.
pub fn read(package: &Path) -> Result<Package, ReadError> {
    read_as(package, true)
}

/// Read a package of any writer: what it leaves out has the format's defaults, and what is compressed is read as numbers.
///
/// # Errors
/// If a file is missing, damaged or too large, or the program holds an operation that is not read.
pub fn read_foreign(package: &Path) -> Result<Package, ReadError> {
    read_as(package, false)
}

fn read_as(package: &Path, strict: bool) -> Result<Package, ReadError> {
    let (model_path, manifest_bytes) = files::locate(package)?;
    let encoded = files::limited(&model_path, files::MODEL_LIMIT)?;
    let model = files::decode(&encoded)?;
    let mut bytes = manifest_bytes + encoded.len() as u64;
    drop(encoded);

    let weight_path = model_path.with_file_name("weights").join("weight.bin");
    let mut weights = PackageWeights { file: files::map(&weight_path)?, sources: HashMap::new() };
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
    let mut body = body::Body::new(&mut graph, &mut weights, release.ios, strict);
    for input in &function.inputs {
        body.input(input)?;
    }
    for operation in &block.operations {
        operations::decode(&mut body, operation)?;
    }
    let (classes, decoded) = (body.classes.take(), body.decoded);
    let outputs = body.outputs(&block.outputs)?;
    graph.outputs = outputs;
    let op_counts = crate::count(block.operations.iter().map(|o| o.r#type.as_str()).filter(|&t| t != "const"));
    let interface = interface(&graph, &description, classes)?;
    let metadata = metadata(description.metadata.unwrap_or_default());
    Ok(Package { graph, weights, release: *release, interface, metadata, op_counts, bytes, decoded })
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
            Some(feature_type::Kind::MultiArray(a)) => a.shape == dims && Some(a.data_type) == array_type(ty.dtype),
            Some(feature_type::Kind::Image(i)) => {
                interface.input = InputForm::Image;
                interface.bgr = i.color_space() == ColorSpace::Bgr;
                let channels = match i.color_space() {
                    ColorSpace::Grayscale => 1,
                    ColorSpace::Rgb | ColorSpace::Bgr => 3,
                    ColorSpace::Invalid => 0,
                };
                ty.dtype == DType::F32 && dims == [1, channels, i.height, i.width]
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
                    && Some(a.data_type) == array_type(ty.dtype)
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

/// The schema's number of an element type at the interface, if it can stand there.
fn array_type(dtype: DType) -> Option<i32> {
    match dtype {
        DType::F16 => Some(0x10000 | 16),
        DType::F32 => Some(0x10000 | 32),
        DType::I32 => Some(0x20000 | 32),
        DType::I64 | DType::I8 | DType::U8 | DType::I4 | DType::U4 | DType::Bool => None,
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
