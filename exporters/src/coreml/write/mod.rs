//! Writes a package: the weight file first, constant by constant as they are computed, then the model that refers to
//! it, then the manifest.

mod mil;
mod names;
mod ops;
mod package;
mod program;
mod types;

pub use names::is_identifier;
pub use ops::minimum_ios;

use super::blob::{BlobType, BlobWriter};
use super::messages::{
    ArrayDataType, ArrayFeatureType, ColorSpace, DictionaryFeatureType, Empty, FeatureDescription, FeatureType,
    ImageFeatureType, Metadata as ModelMetadata, Model, ModelDescription, Program, dictionary_feature_type,
    feature_type, model, value,
};
use super::{CLASS_LABEL, CLASS_PROBABILITIES, InputForm, Interface, RELEASES, Release, WEIGHT_FILE};
use crate::{ExportError, Metadata, Summary};
use package::{manifest, model_path, weight_path};
use program::{elements, interface_error, program};
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use vitc_ir::eval::{self, Numbers, StreamError};
use vitc_ir::target::Format;
use vitc_ir::{DType, Graph, Op, Target, Type, Value, cost};

/// Constants of fewer elements stand in the model file, as the format's own tools do it.
const BLOB_ELEMENTS: usize = 10;

/// Key by which Xcode offers to try a model on pictures.
const PREVIEW_KEY: &str = "com.apple.coreml.model.preview.type";

/// Write the package of a target-stage graph into `dir`, an existing empty folder: build it beside its place and rename
/// it.
///
/// The number of every constant is computed from `numbers` on the way, rounded once, and checked; nothing of the graph
/// is changed.
///
/// # Errors
/// If a node was not lowered, the target's iOS version cannot hold the graph ([`minimum_ios`]), the interface does not
/// fit, a weight is missing or not finite, or writing fails. What is in `dir` then is no package.
pub fn write<'a>(
    graph: &'a Graph,
    numbers: impl Into<Numbers<'a>>,
    target: &Target,
    interface: &Interface,
    metadata: &Metadata,
    dir: &Path,
) -> Result<Summary, ExportError> {
    let release = release(graph, target, interface)?;
    let description = describe(graph, interface, metadata)?;
    let constants = cost::emitted_constants(graph);
    constants.iter().try_for_each(|&v| holds(graph, v))?;
    let packed = packed_codes(graph, release).map_err(interface_error)?;
    let place = |&v: &Value| match packed.get(&v) {
        Some(&(bits, elements)) => Some((BlobType::Packed(bits), elements as u64)),
        None => blob_type(graph.ty(v), release).map(|dtype| (dtype, graph.shape(v).elements() as u64)),
    };
    let large: Vec<Option<(BlobType, u64)>> = constants.iter().map(place).collect();
    let blobs = large.iter().flatten().count() as u32;
    let mut kinds: HashMap<Value, value::Kind> = HashMap::with_capacity(constants.len());
    let mut bytes = 0;
    let model_file = model_path(dir);
    fs::create_dir_all(model_file.parent().expect("a file lies in a folder"))?;
    let mut blob_file = None;
    if blobs > 0 {
        let path = weight_path(dir);
        fs::create_dir_all(path.parent().expect("a file lies in a folder"))?;
        blob_file = Some(BlobWriter::new(BufWriter::with_capacity(1 << 20, File::create(path)?), blobs)?);
    }
    let mut inline = Vec::new();
    let mut sink = |i: usize, at: usize, piece: &[u8]| -> std::io::Result<()> {
        let (value, length) = (constants[i], graph.ty(constants[i]).bytes());
        if let (Some((dtype, elements)), Some(file)) = (large[i], &mut blob_file) {
            if at == 0 {
                let offset = file.record(dtype, length as u64, elements)?;
                let file_name = WEIGHT_FILE.to_string();
                kinds.insert(value, value::Kind::BlobFile(value::BlobFile { file_name, offset }));
            }
            return file.data(piece);
        }
        inline.extend_from_slice(piece);
        if inline.len() == length {
            kinds.insert(value, elements(graph.ty(value).dtype, &inline));
            inline.clear();
        }
        Ok(())
    };
    let report = eval::stream(graph, numbers, &constants, &mut sink).map_err(|e| match e {
        StreamError::Eval(e) => ExportError::Constant(e),
        StreamError::Sink(e) => ExportError::Io(e),
    })?;
    if let Some(file) = blob_file {
        bytes += file.finish()?;
    }

    let program = program(graph, release, interface, &kinds)?;
    let op_counts = crate::count(operation_words(&program));
    let model = Model {
        specification_version: release.specification,
        description: Some(description),
        kind: Some(model::Kind::Program(program)),
    };
    let encoded = model.encode_to_vec();
    let manifest = manifest(&encoded, blobs > 0);
    fs::write(&model_file, &encoded)?;
    fs::write(dir.join("Manifest.json"), &manifest)?;
    bytes += (encoded.len() + manifest.len()) as u64;
    let nodes = op_counts.iter().map(|(_, n)| n).sum();
    let constants = constants.iter().map(|&v| graph.value_name(v)).zip(report.constants).collect();
    Ok(Summary { nodes, op_counts, parameters: cost::parameters(graph), bytes, constants })
}

/// Whether a program can hold a constant.
fn holds(graph: &Graph, constant: Value) -> Result<(), ExportError> {
    let (ty, path) = (graph.ty(constant), graph.value_name(constant));
    if matches!(ty.dtype, DType::I64 | DType::U4) {
        let what = format!("the constant {path} is {ty}; constants are fp32, fp16, int32, int8 or int4");
        return Err(interface_error(what));
    }
    if ty.shape.rank() > 5 {
        return Err(interface_error(format!("the constant {path} is {ty}; values have at most 5 dimensions")));
    }
    Ok(())
}

/// The operations of a program that are no constants.
fn operation_words(program: &Program) -> impl Iterator<Item = &str> {
    let blocks = program.functions.values().flat_map(|f| f.block_specializations.values());
    blocks.flat_map(|b| &b.operations).map(|o| o.r#type.as_str()).filter(|&t| t != "const")
}

/// The release that the target names, if it can hold the graph.
fn release(graph: &Graph, target: &Target, interface: &Interface) -> Result<Release, ExportError> {
    let Format::CoreMl { ios } = target.format else {
        return Err(ExportError::Target { name: target.name(), what: "is not a CoreML target".into() });
    };
    let release = RELEASES.iter().find(|r| r.ios == ios).ok_or_else(|| {
        let known: Vec<String> = RELEASES.iter().map(|r| r.ios.to_string()).collect();
        interface_error(format!("there is no release for iOS {ios}: choose {}", known.join(", ")))
    })?;
    let batch = graph.nodes().find(|(_, n)| n.types.iter().any(|t| t.shape.has_batch()));
    if let Some((_, node)) = batch {
        let what = format!(
            "{} has the symbolic shape {}: CoreML files are written for one batch size",
            node.path, node.types[0]
        );
        return Err(interface_error(what));
    }
    let (least, why) = minimum_ios(graph, interface)?;
    if ios < least {
        return Err(interface_error(format!("iOS {ios} cannot hold this: iOS {least} is needed for {why}")));
    }
    Ok(*release)
}

/// Where the elements of a constant go: `None` for the model file.
fn blob_type(ty: &Type, release: Release) -> Option<BlobType> {
    let large = ty.shape.elements() >= BLOB_ELEMENTS;
    match ty.dtype {
        DType::F32 if large => Some(BlobType::Float32),
        DType::F16 if large => Some(BlobType::Float16),
        DType::I32 if large && release.ios >= 18 => Some(BlobType::Int32),
        DType::U8 if large => Some(BlobType::Uint8),
        DType::I8 if large => Some(BlobType::Int8),
        DType::I4 if large => Some(BlobType::Int4),
        _ => None,
    }
}

/// From iOS 18 on the codes of tables have an element type of their own: bits and number, by constant.
fn packed_codes(graph: &Graph, release: Release) -> Result<HashMap<Value, (u8, usize)>, String> {
    let mut packed = HashMap::new();
    for (_, node) in graph.run_time_nodes().filter(|_| release.ios >= 18) {
        let (Op::Lookup { bits, shape }, Some(&codes)) = (&node.op, node.inputs.first()) else { continue };
        let codes = graph.stored(codes);
        let own = (*bits as u8, shape.elements());
        if *bits < 8 && packed.insert(codes, own).is_some_and(|other| other != own) {
            return Err(format!("{} is read as codes of several widths", graph.value_name(codes)));
        }
    }
    Ok(packed)
}

/// The interface and metadata.
fn describe(graph: &Graph, interface: &Interface, metadata: &Metadata) -> Result<ModelDescription, ExportError> {
    let mut description = ModelDescription::default();
    let inputs: Vec<_> = graph.inputs().collect();
    for (_, node) in &inputs {
        let ty = &node.types[0];
        let kind = match interface.input {
            InputForm::Tensor => array(ty)?,
            InputForm::Image => {
                let dims = ty.shape.at(1);
                if inputs.len() != 1 || ty.dtype != DType::F32 || dims.len() != 4 || dims[0] != 1 {
                    return Err(interface_error(format!(
                        "an image input is f32[1,3,H,W] or f32[1,1,H,W], found {ty} at {}",
                        node.path
                    )));
                }
                let (height, width) = (dims[2] as i64, dims[3] as i64);
                let color_space = match dims[1] {
                    1 => ColorSpace::Grayscale.into(),
                    3 if interface.bgr => ColorSpace::Bgr.into(),
                    3 => ColorSpace::Rgb.into(),
                    _ => {
                        let what = format!("an image input has 1 or 3 channels, found {ty} at {}", node.path);
                        return Err(interface_error(what));
                    }
                };
                feature_type::Kind::Image(ImageFeatureType { width, height, color_space })
            }
        };
        description.input.push(feature(&node.path, &interface.input_description, kind));
    }
    if interface.labels.is_some() {
        let key = Some(dictionary_feature_type::Key::String(Empty {}));
        let dictionary = feature_type::Kind::Dictionary(DictionaryFeatureType { key });
        let label = "Most probable label";
        description.output.push(feature(CLASS_LABEL, label, feature_type::Kind::String(Empty {})));
        description.output.push(feature(CLASS_PROBABILITIES, &interface.output_description, dictionary));
        description.predicted_feature_name = CLASS_LABEL.to_string();
        description.predicted_probabilities_name = CLASS_PROBABILITIES.to_string();
    } else {
        for output in &graph.outputs {
            let kind = array(graph.ty(output.value))?;
            description.output.push(feature(&output.name, &interface.output_description, kind));
        }
    }

    let own = ["author", "license", "description"];
    let entries = metadata.entries().into_iter().filter(|(key, _)| !own.contains(&key.as_str()));
    let mut user_defined: BTreeMap<String, String> = entries.collect();
    if interface.labels.is_some() && interface.input == InputForm::Image {
        user_defined.insert(PREVIEW_KEY.to_string(), "imageClassifier".to_string());
    }
    description.metadata = Some(ModelMetadata {
        short_description: metadata.summary(),
        version_string: user_defined.get("version").cloned().unwrap_or_default(),
        author: metadata.author.clone().unwrap_or_default(),
        license: metadata.license.clone().unwrap_or_default(),
        user_defined,
    });
    Ok(description)
}

fn feature(name: &str, text: &str, kind: feature_type::Kind) -> FeatureDescription {
    let r#type = Some(FeatureType { kind: Some(kind) });
    FeatureDescription { name: name.to_string(), short_description: text.to_string(), r#type }
}

fn array(ty: &Type) -> Result<feature_type::Kind, ExportError> {
    let data_type = match ty.dtype {
        DType::F32 => ArrayDataType::Float32,
        DType::F16 => ArrayDataType::Float16,
        DType::I32 => ArrayDataType::Int32,
        DType::I64 | DType::I8 | DType::U8 | DType::I4 | DType::U4 | DType::Bool => {
            return Err(interface_error(format!("an array at the interface holds fp32, fp16 or int32, found {ty}")));
        }
    };
    let dims = ty.shape.at(1);
    if dims.is_empty() || dims.len() > 5 {
        return Err(interface_error(format!("an array at the interface has 1 to 5 dimensions, found {ty}")));
    }
    let shape = dims.iter().map(|&d| d as i64).collect();
    Ok(feature_type::Kind::MultiArray(ArrayFeatureType { shape, data_type: data_type.into() }))
}
