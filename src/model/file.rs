//! A model out of a file: its graph, its ports, and what is known of their roles.

use super::indices;
use super::loaded::{Digest, FileConstants, FileOrigin, Model, Origin, WeightSource};
use super::request::{FileRequest, ModelError};
use super::size::picture_size;
use crate::checkpoint::Mapped;
use crate::message;
use crate::message::{Message, Setting};
use crate::signature::{InputPort, InputRole, OutputPort, OutputRole, Over, Signature};
use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;
use vitc_exporters::onnx::{self, Elem, ImportError, ImportOptions, Imported};
use vitc_ir::{Dim, Graph, Op, Weights};

/// Whether a path is an ONNX file, whatever its name: its first field is the version of the format.
pub fn is_onnx(path: &Path) -> bool {
    if !path.is_file() {
        return false;
    }
    if path.extension().is_some_and(|e| e == "onnx") {
        return true;
    }
    let mut head = [0u8; 9];
    let read = std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut head));
    read.is_ok() && head[0] == 8 && (1..=32).contains(&head[1]) && head[8] != b'{'
}

/// Whether a path holds a whole model: an ONNX file or a CoreML package.
pub fn is_model_file(path: &Path) -> bool {
    is_onnx(path) || super::package::is_package(path)
}

/// The model that a file holds.
///
/// # Errors
/// If it cannot be read, leaves sizes open, or holds what cannot be imported.
pub(super) fn load(request: &FileRequest) -> Result<Model, ModelError> {
    let path = &request.path;
    if super::package::is_package(path) {
        return super::package::load(request);
    }
    let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let options = ImportOptions {
        name: stem.clone(),
        batch: request.batch,
        shapes: request.shapes.clone(),
        outputs: request.outputs.clone(),
    };
    let imported = onnx::import(path, &options).map_err(|e| explained(path, e))?;
    let found = described(&imported);
    let port = |info: &onnx::PortInfo| info.elem == Some(Elem::F16);
    let half = imported.inputs.iter().any(port) || imported.outputs.contains(&Elem::F16);
    let Imported { graph, weights, batch, inputs, outputs, flat, notes, metadata, opset, .. } = imported;
    let file = Mapped::open(path).map_err(|e| ModelError::Other(format!("{}: {e}", path.display()).into()))?;
    let blake3: Digest = LazyLock::new(Box::new(move || blake3::hash(file.bytes()).to_hex().to_string()));
    let signature = signature(&graph, &weights, &inputs);
    Ok(Model {
        name: stem,
        origin: Origin::File(Box::new(FileOrigin {
            path: path.clone(),
            flat: Some(flat),
            opset: u32::try_from(opset).ok(),
            inputs,
            outputs,
            metadata,
            half,
        })),
        signature,
        batch,
        resolution: picture_size(&graph).unwrap_or_default(),
        graph,
        weights: WeightSource::File { path: path.clone(), blake3, found, weights: FileConstants::Onnx(weights) },
        sources: Vec::new(),
        notices: notes.into_iter().map(Message::from).collect(),
        facts: Vec::new(),
        classes: None,
        labels: None,
    })
}

/// What was found in the file, as lines.
fn described(imported: &Imported) -> Vec<String> {
    let written = if imported.producer.is_empty() { "nobody who says so" } else { &imported.producer };
    let s = &imported.statistics;
    let functions = if s.inlined > 0 { format!(", {} function calls written out", s.inlined) } else { String::new() };
    vec![
        format!("written by {written}, opset {}", imported.opset),
        format!(
            "{} nodes read: {} known or constant, {} dead{functions}; {} in the graph",
            s.read, s.folded, s.dead, s.taken
        ),
    ]
}

/// The error with the file's name, and with what to do.
fn explained(path: &Path, error: ImportError) -> ModelError {
    let shown = path.display();
    match &error {
        ImportError::Read(_) | ImportError::File(_) => ModelError::Other(format!("{shown}: {error}").into()),
        ImportError::Request(what) => ModelError::Request(format!("{shown}: {what}").into()),
        ImportError::Open { sizes, .. } => {
            let given = sizes.iter().map(|(name, size)| Setting::Shape.to(format!("{name}={size}")));
            ModelError::Request(message!(
                format!("{shown}: {error}\nwhat to do\n  give them: "),
                Message::joined(given, " ")
            ))
        }
        ImportError::Refused { cut, .. } => {
            let todo = match &cut[..] {
                [] => "\nwhat to do\n  export the model without these operators".into(),
                cut => message!(
                    "\nwhat to do\n  cut the graph in front of them: ",
                    Setting::Outputs.to(cut.join(",")),
                    "\n  or export the model without them"
                ),
            };
            ModelError::Other(message!(format!("{shown} {error}"), todo))
        }
    }
}

/// Whole numbers of an input are below this where nothing says what they are.
const FEW: u32 = 256;

/// The ports under their own names; roles are those that are plain.
fn signature(graph: &Graph, weights: &dyn Weights, infos: &[onnx::PortInfo]) -> Signature {
    let whole = |i: usize| match infos.get(i).and_then(|info| info.elem) {
        Some(Elem::Uint(bits @ (8 | 16))) => InputRole::Whole { below: 1 << bits },
        Some(Elem::Int(bits @ (8 | 16))) => InputRole::Whole { below: 1 << (bits - 1) },
        Some(Elem::Bool) => InputRole::Whole { below: 2 },
        Some(Elem::Int(_) | Elem::Uint(_)) => {
            let few = if indices::are_truths(graph, i) { 2 } else { FEW };
            InputRole::Whole { below: indices::below(graph, weights, i).unwrap_or(few) }
        }
        _ => InputRole::Tensor,
    };
    let inputs = graph.inputs().enumerate();
    let inputs = inputs.map(|(i, (_, node))| InputPort { name: node.path.clone(), role: whole(i) }).collect();
    let alone = graph.outputs.len() == 1 && picture_size(graph).is_some();
    let role = |output: &vitc_ir::Output| match (&graph.shape(output.value).0[..], graph.op(output.value)) {
        (_, Op::Softmax { .. } | Op::Unary(_)) => OutputRole::Tensor,
        (&[_, Dim::Fixed(classes @ 2..)], _) if alone => OutputRole::Scores { classes, over: Over::Rows },
        _ => OutputRole::Tensor,
    };
    let outputs = graph.outputs.iter().map(|o| OutputPort { name: o.name.clone(), role: role(o) }).collect();
    Signature { inputs, outputs }
}
