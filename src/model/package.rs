//! A model out of a CoreML package: its program in full precision, for people who have nothing else.

use super::digest::blake3_of;
use super::loaded::{FileConstants, FileOrigin, Model, Origin, WeightSource};
use super::request::{FileRequest, ModelError};
use super::size::picture_size;
use crate::artifact::LABELS_KEY;
use crate::message::Message;
use crate::signature::{InputPort, InputRole, OutputPort, OutputRole, Signature};
use std::path::Path;
use vitc_exporters::coreml::{self, InputForm, Package};
use vitc_ir::{Copier, DType, Dim, Graph, Op, ShapeError, Stage, Type, Value, validate};

/// Whether a path is a CoreML package.
pub(super) fn is_package(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "mlpackage") && path.join("Manifest.json").is_file()
}

/// The model that a package holds.
///
/// # Errors
/// If it cannot be read, or holds an operation that is not read.
pub(super) fn load(request: &FileRequest) -> Result<Model, ModelError> {
    let path = &request.path;
    let shown = path.display();
    let other = |what: String| ModelError::Other(format!("{shown}: {what}").into());
    if !request.shapes.is_empty() || !request.outputs.is_empty() {
        return Err(ModelError::Request(
            format!("{shown}: a package has its sizes and outputs\n  leave theirs out").into(),
        ));
    }
    let Package { graph, weights, interface, metadata, release, decoded, .. } =
        coreml::read_foreign(path).map_err(|e| other(e.to_string()))?;
    let half = graph.nodes().any(|(_, node)| node.types.iter().any(|t| t.dtype == DType::F16));
    let graph = widened(&graph).map_err(|e| other(e.to_string()))?;
    validate(&graph, None).map_err(|e| other(format!("the program does not hold together: {e}")))?;
    let batch = graph.inputs().next().and_then(|(_, n)| n.types[0].shape.0.first().copied()).unwrap_or(Dim::Fixed(1));
    if request.batch.is_some_and(|asked| asked != batch) {
        return Err(ModelError::Request(
            format!("{shown}: the package is for batch {batch}\n  leave the batch out").into(),
        ));
    }
    let picture = matches!(interface.input, InputForm::Image);
    let mut notices = Vec::new();
    if picture {
        notices
            .push(Message::from("the package takes a picture; the artifact takes its pixels, 0 to 255, as an array"));
    }
    if decoded > 0 {
        let said = format!("{decoded} compressed constants of the package are read as the numbers that they stand for");
        notices.push(Message::from(said));
    }
    let mut metadata: Vec<(String, String)> = metadata.into_iter().collect();
    if let Some(labels) = &interface.labels {
        metadata.push((LABELS_KEY.into(), serde_json::json!(labels).to_string()));
    }
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let role = if picture { InputRole::Whole { below: 256 } } else { InputRole::Tensor };
    let inputs = graph.inputs().map(|(_, n)| InputPort { name: n.path.clone(), role: role.clone() }).collect();
    let outputs = graph.outputs.iter().map(|o| OutputPort { name: o.name.clone(), role: OutputRole::Tensor }).collect();
    let blake3 = blake3_of(&path.join("Data").join("com.apple.CoreML").join("weights").join("weight.bin"));
    Ok(Model {
        name,
        origin: Origin::File(Box::new(FileOrigin {
            path: path.clone(),
            flat: None,
            opset: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            metadata,
            half,
        })),
        signature: Signature { inputs, outputs },
        batch,
        resolution: picture_size(&graph).unwrap_or_default(),
        graph,
        weights: WeightSource::File {
            path: path.clone(),
            blake3,
            found: vec![format!("an ML program for iOS {}", release.ios)],
            weights: FileConstants::Package(weights),
        },
        sources: Vec::new(),
        notices,
        facts: Vec::new(),
        classes: None,
        labels: None,
    })
}

/// A matrix with its last two axes exchanged, where that is due.
fn turned(graph: &mut Graph, x: Value, due: bool, path: &str) -> Result<Value, ShapeError> {
    let rank = graph.shape(x).rank();
    if !due || rank < 2 {
        return Ok(x);
    }
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    Ok(graph.push(Op::Transpose { perm }, &[x], path)?.into())
}

/// The same program with every float in full precision: half precision is the artifact's to choose.
fn widened(graph: &Graph) -> Result<Graph, ShapeError> {
    let wide = |dtype: DType| if dtype.is_float() { DType::F32 } else { dtype };
    let mut copy = Copier::new(graph, Stage::Paper);
    for (id, node) in graph.nodes() {
        let inputs = copy.inputs(id)?;
        let ty = &node.types[0];
        let new: Value = match &node.op {
            op if *op == Op::Input || op.is_constant_leaf() => {
                copy.new.push_leaf(op.clone(), Type::new(wide(ty.dtype), ty.shape.clone()), &node.path)?
            }
            Op::Cast { to } if to.is_float() && copy.new.ty(inputs[0]).dtype.is_float() => inputs[0],
            Op::Cast { to } => copy.new.push(Op::Cast { to: wide(*to) }, &inputs, &node.path)?.into(),
            // Not every target turns the operands of a product itself.
            Op::MatMul { transpose_a, transpose_b } => {
                let a = turned(&mut copy.new, inputs[0], *transpose_a, &format!("{}.a", node.path))?;
                let b = turned(&mut copy.new, inputs[1], *transpose_b, &format!("{}.b", node.path))?;
                copy.new.push(Op::MatMul { transpose_a: false, transpose_b: false }, &[a, b], &node.path)?.into()
            }
            op => copy.new.push(op.clone(), &inputs, &node.path)?.into(),
        };
        for index in 0..node.types.len() as u32 {
            copy.set(Value { node: id, index }, if index == 0 { new } else { Value { node: new.node, index } });
        }
    }
    Ok(copy.finish()?.pruned())
}
