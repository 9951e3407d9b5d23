//! The adapter to tract: ONNX bytes in, values out.
//!
//! Invariants: the only module that runs tract, and with [`super::half`], [`super::define`] and [`super::cut`] the only one that names it (its API is unstable, the version is
//! pinned exactly). Arithmetic is f32 only: a file of f16 values is widened first. Bytes are decoded by tract's own protobuf types, a reader that
//! shares nothing with the writer. tract panics on some malformed graphs, so every call into it is fenced.

use super::{cut, define, half};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use tract_onnx::model::ParseResult;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::{DimLike, bail};

/// tract could not load or run a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct TractError {
    /// What tract said, outermost cause first.
    pub what: String,
}

/// Where a model lies.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// An ONNX model in memory, without external data.
    Bytes(&'a [u8]),
    /// An ONNX file; external data lies in its folder.
    File(&'a Path),
}

/// Which values a run returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// The model's outputs, in order.
    Outputs,
    /// Every float value that a node produces, named, in topological order: for the report per layer. Nothing is fused away, so this is
    /// slower and keeps every activation.
    All,
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Taken for a symbolic first dimension of the input; a number there is believed.
    pub batch: usize,
    /// What a run returns.
    pub values: Values,
    /// Only a piece of the model.
    pub piece: Option<&'a Piece>,
}

impl Request<'_> {
    /// The whole model's outputs.
    pub fn outputs(batch: usize) -> Self {
        Request { batch, values: Values::Outputs, piece: None }
    }
}

/// A part of a model between two values that everything passes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts: a value with its dimensions, or `None` for the model's input.
    pub from: Option<(String, Vec<usize>)>,
    /// Where it ends: a value, or `None` for the model's outputs.
    pub to: Option<String>,
}

/// A value that a run returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Name in the file.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Elements, row-major.
    pub data: Vec<f32>,
}

/// An optimised model, ready to run at one batch size.
pub struct Model {
    plan: Arc<TypedRunnableModel>,
    shape: Vec<usize>,
    names: Vec<String>,
    half: bool,
    defined: usize,
}

impl Model {
    /// Prepare an ONNX model with one input, widened to f32.
    ///
    /// # Errors
    /// If the bytes are not a model, or tract does not know or accept an operator.
    pub fn load(source: Source<'_>, request: Request<'_>) -> Result<Model, TractError> {
        fenced(|| match source {
            Source::Bytes(mut bytes) => prepare(tract_onnx::onnx().proto_model_for_read(&mut bytes)?, None, request),
            Source::File(path) => prepare(tract_onnx::onnx().proto_model_for_path(path)?, path.parent(), request),
        })
    }

    /// Whether the file holds FLOAT16 values.
    pub fn is_half(&self) -> bool {
        self.half
    }

    /// How many operators of the file ran by their definition, because tract does not know them.
    pub fn defined(&self) -> usize {
        self.defined
    }

    /// Dimensions of the input.
    pub fn input_shape(&self) -> &[usize] {
        &self.shape
    }

    /// Run on one input of [`Model::input_shape`].
    ///
    /// # Errors
    /// If the number of elements differs, or an operator fails.
    pub fn run(&self, input: &[f32]) -> Result<Vec<Named>, TractError> {
        fenced(|| {
            let tensor = Tensor::from_shape(&self.shape, input)?;
            let results = self.plan.run(tvec!(tensor.into()))?;
            let named = results.iter().zip(&self.names).map(|(value, name)| {
                let value = value.cast_to::<f32>()?;
                let data = value.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
                Ok(Named { name: name.clone(), shape: value.shape().to_vec(), data })
            });
            named.collect()
        })
    }
}

/// Call into tract with errors and panics turned into one error.
fn fenced<T>(call: impl FnOnce() -> TractResult<T>) -> Result<T, TractError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|e| TractError { what: format!("{e:#}") }),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(TractError { what: format!("tract stopped: {}", said.unwrap_or("no message")) })
        }
    }
}

/// The bottlenecks of a file's graph: see [`cut`].
///
/// # Errors
/// If the file is not an ONNX model.
pub(super) fn bottlenecks(source: Source<'_>) -> Result<Vec<cut::Bottleneck>, TractError> {
    fenced(|| {
        let proto = match source {
            Source::Bytes(mut bytes) => tract_onnx::onnx().proto_model_for_read(&mut bytes)?,
            Source::File(path) => tract_onnx::onnx().proto_model_for_path(path)?,
        };
        Ok(proto.graph.as_ref().map(cut::of_file).unwrap_or_default())
    })
}

/// [`Model::load`] of a decoded file.
pub(super) fn prepare(
    mut proto: pb::ModelProto,
    folder: Option<&Path>,
    Request { batch, values, piece }: Request<'_>,
) -> TractResult<Model> {
    let Some(graph) = &mut proto.graph else { bail!("the file holds no graph") };
    if let Some(piece) = piece {
        cut::piece_of_file(graph, piece).map_err(|what| TractError { what })?;
    }
    let written: HashSet<String> = graph.node.iter().flat_map(|n| n.output.iter().cloned()).collect();
    let defined = define::define(graph).map_err(|what| TractError { what })?;
    let half = half::widen(graph);
    let framework = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_types(true);
    let folder = folder.and_then(Path::to_str);
    let ParseResult { mut model, unresolved_inputs, .. } = framework.parse(&proto, folder)?;
    drop(proto);
    if !unresolved_inputs.is_empty() {
        bail!("nothing produces {}", unresolved_inputs.join(", "));
    }
    let [input] = *model.input_outlets()? else {
        bail!("the check runs models with one input, found {}", model.input_outlets()?.len());
    };
    let shape = concrete(model.outlet_fact(input)?, batch)?;
    model.set_input_fact(0, f32::fact(&shape).into())?;

    if values == Values::All {
        let mut all = Vec::new();
        for id in model.eval_order()? {
            let outputs = model.nodes[id].outputs.len();
            all.extend(
                (0..outputs)
                    .map(|slot| OutletId::new(id, slot))
                    .filter(|&outlet| model.outlet_label(outlet).is_some_and(|label| written.contains(label))),
            );
        }
        model.select_output_outlets(&all)?;
    }
    let mut names: Vec<String> = model
        .output_outlets()?
        .iter()
        .map(|&o| model.outlet_label(o).map_or_else(|| model.nodes[o.node].name.clone(), str::to_string))
        .collect();
    let mut model = model.into_typed()?;
    let outlets = model.output_outlets()?.to_vec();
    let float = |o: &OutletId| Ok(model.outlet_fact(*o)?.datum_type.is_float());
    let float: Vec<bool> = outlets.iter().map(float).collect::<TractResult<_>>()?;
    let kept: Vec<OutletId> = outlets.iter().zip(&float).filter_map(|(&o, &keep)| keep.then_some(o)).collect();
    let mut keep = float.iter();
    names.retain(|_| *keep.next().expect("one flag per output"));
    model.select_output_outlets(&kept)?;
    // tract 0.23.9 fails to declutter a product whose operands differ in a broadcast batch; the model as typed computes the same, slower.
    let typed = model.clone();
    let plan = match fenced(|| model.into_optimized()) {
        Ok(optimized) => optimized.into_runnable()?,
        Err(_) => typed.into_runnable()?,
    };
    Ok(Model { plan, shape, names, half, defined })
}

/// The input's dimensions, a symbolic first one taken as `batch`.
fn concrete(fact: &InferenceFact, batch: usize) -> TractResult<Vec<usize>> {
    let shape = fact.shape.dims().enumerate().map(|(axis, dim)| match (axis, dim.concretize()) {
        (0, Some(d)) if d.to_usize().is_err() => Ok(batch),
        (0, None) => Ok(batch),
        (_, Some(d)) => Ok(d.to_usize()?),
        (_, None) => bail!("dimension {axis} of the input is not a number"),
    });
    shape.collect()
}
