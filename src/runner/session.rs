//! The adapter to tract: a decoded ONNX model in, values out.
//!
//! tract panics on some malformed graphs, so every call into it is fenced.

use super::cut::{self, Piece};
use super::{codes, define, half, sigmoid};
use anyhow::bail;
use std::cell::Cell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Once};
use tract_onnx::model::ParseResult;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

/// A model could not be loaded or run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct RunError {
    /// What went wrong; from tract the outermost cause first.
    pub what: String,
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
    /// Taken for a symbolic first dimension of an input; a number there is believed.
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

/// An input of a loaded model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Name in the file or graph.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
}

/// A value that a run returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Name in the file or graph.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Elements, row-major.
    pub data: Vec<f32>,
}

/// An optimised model, ready to run at one batch size.
pub struct Session {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<Port>,
    /// Element types of the inputs: f32 where they are floats.
    types: Vec<DatumType>,
    outputs: Vec<String>,
    half: bool,
    defined: usize,
}

impl Session {
    /// Whether the model holds FLOAT16 values.
    pub fn is_half(&self) -> bool {
        self.half
    }

    /// How many operators of the file ran by their definition, because tract does not know them.
    pub fn defined(&self) -> usize {
        self.defined
    }

    /// The inputs, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Run on one array for each of [`Session::inputs`], by name.
    ///
    /// # Errors
    /// If an input is missing or unknown, a number of elements differs, or an operator fails.
    pub fn run(&self, given: &[(&str, &[f32])]) -> Result<Vec<Named>, RunError> {
        if let Some((name, _)) = given.iter().find(|(name, _)| self.inputs.iter().all(|i| i.name != *name)) {
            return Err(RunError { what: format!("there is no input {name}") });
        }
        let input = |port: &Port| given.iter().find(|(name, _)| port.name == *name).map(|(_, data)| *data);
        let missing = |port: &Port| RunError { what: format!("input {} is missing", port.name) };
        let data = self.inputs.iter().map(|port| input(port).ok_or_else(|| missing(port)));
        self.run_in_order(&data.collect::<Result<Vec<_>, _>>()?)
    }

    /// Run on one array for each of [`Session::inputs`], in their order.
    ///
    /// # Errors
    /// If a number of arrays or elements differs, or an operator fails.
    pub fn run_in_order(&self, given: &[&[f32]]) -> Result<Vec<Named>, RunError> {
        if given.len() != self.inputs.len() {
            return Err(RunError { what: format!("{} inputs are due, found {}", self.inputs.len(), given.len()) });
        }
        fenced(|| {
            let ports = self.inputs.iter().zip(&self.types).zip(given);
            let tensors = ports.map(|((port, &dtype), data)| {
                let tensor = Tensor::from_shape(&port.shape, data)?;
                Ok(tensor.cast_to_dt(dtype)?.into_owned().into())
            });
            let results = self.plan.run(tensors.collect::<anyhow::Result<_>>()?)?;
            let named = results.iter().zip(&self.outputs).map(|(value, name)| {
                let value = value.cast_to::<f32>()?;
                let data = value.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
                Ok(Named { name: name.clone(), shape: value.shape().to_vec(), data })
            });
            named.collect()
        })
    }
}

thread_local! {
    /// A panic of this thread is caught and told as an error.
    static FENCED: Cell<bool> = const { Cell::new(false) };
}

/// Panics that are caught say nothing by themselves.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !FENCED.get() {
                usual(info);
            }
        }));
    });
}

/// Call into tract with errors and panics turned into one error.
fn fenced<T>(call: impl FnOnce() -> anyhow::Result<T>) -> Result<T, RunError> {
    quiet();
    let outer = FENCED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    FENCED.set(outer);
    match result {
        Ok(result) => result.map_err(|e| RunError { what: format!("{e:#}") }),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(RunError { what: format!("tract stopped: {}", said.unwrap_or("no message")) })
        }
    }
}

/// Decode an ONNX file; its external data is left where it is.
pub(super) fn decode(path: &Path) -> Result<pb::ModelProto, RunError> {
    fenced(|| tract_onnx::onnx().proto_model_for_path(path))
}

/// Prepare a decoded model, widened to f32. Its external data lies in `folder`.
///
/// # Errors
/// If it is not a model, or tract does not know or accept an operator.
pub(super) fn load(proto: pb::ModelProto, folder: Option<&Path>, request: Request<'_>) -> Result<Session, RunError> {
    fenced(|| prepare(proto, folder, request))
}

fn prepare(
    mut proto: pb::ModelProto,
    folder: Option<&Path>,
    Request { batch, values, piece }: Request<'_>,
) -> anyhow::Result<Session> {
    let Some(graph) = &mut proto.graph else { bail!("the file holds no graph") };
    if let Some(piece) = piece {
        cut::piece_of_file(graph, piece).map_err(|what| RunError { what })?;
    }
    let constants: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let input_names = graph.input.iter().map(|i| i.name.clone()).filter(|n| !constants.contains(n.as_str()));
    let input_names: Vec<String> = input_names.collect();
    let written: HashSet<String> = graph.node.iter().flat_map(|n| n.output.iter().cloned()).collect();
    let defined = define::define(graph).map_err(|what| RunError { what })?;
    let half = half::widen(graph);
    sigmoid::define(graph);
    codes::define(graph).map_err(|what| RunError { what })?;
    let framework = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_types(true);
    let folder = folder.and_then(Path::to_str);
    let ParseResult { mut model, unresolved_inputs, .. } = framework.parse(&proto, folder)?;
    drop(proto);
    if !unresolved_inputs.is_empty() {
        bail!("nothing produces {}", unresolved_inputs.join(", "));
    }
    let (inputs, types) = ports(&mut model, input_names, batch)?;
    if values == Values::All {
        let mut all = Vec::new();
        for id in model.eval_order()? {
            let outlets = (0..model.nodes[id].outputs.len()).map(|slot| OutletId::new(id, slot));
            all.extend(outlets.filter(|&o| model.outlet_label(o).is_some_and(|label| written.contains(label))));
        }
        model.select_output_outlets(&all)?;
    }
    let name = |&o: &OutletId| model.outlet_label(o).map_or_else(|| model.nodes[o.node].name.clone(), str::to_string);
    let mut outputs: Vec<String> = model.output_outlets()?.iter().map(name).collect();
    let mut model = model.into_typed()?;
    if values == Values::All {
        let outlets = model.output_outlets()?.to_vec();
        let float = |o: &OutletId| Ok(model.outlet_fact(*o)?.datum_type.is_float());
        let float: Vec<bool> = outlets.iter().map(float).collect::<anyhow::Result<_>>()?;
        let kept: Vec<OutletId> = outlets.iter().zip(&float).filter_map(|(&o, &keep)| keep.then_some(o)).collect();
        let mut keep = float.into_iter();
        outputs.retain(|_| keep.next().unwrap_or(false));
        model.select_output_outlets(&kept)?;
    }
    // tract 0.23.9 fails to declutter a product whose operands differ in a broadcast batch, and takes a border out that another reader
    // still has; the model as typed computes the same, slower.
    let typed = model.clone();
    let plan = match fenced(|| model.into_optimized()) {
        Ok(optimized) if is_whole(&optimized) => optimized.into_runnable()?,
        _ => typed.into_runnable()?,
    };
    Ok(Session { plan, inputs, types, outputs, half, defined })
}

/// Whether every node that an optimised model runs is an operator.
fn is_whole(model: &TypedModel) -> bool {
    model.eval_order().is_ok_and(|order| order.iter().all(|&id| model.nodes[id].op.name() != "Dummy"))
}

/// Name, shape and element type of each input, which the model is told.
fn ports(model: &mut InferenceModel, names: Vec<String>, batch: usize) -> anyhow::Result<(Vec<Port>, Vec<DatumType>)> {
    let outlets = model.input_outlets()?.to_vec();
    if outlets.len() != names.len() {
        bail!("the file declares {} inputs and has {}", names.len(), outlets.len());
    }
    let (mut inputs, mut types) = (Vec::new(), Vec::new());
    for (slot, (outlet, name)) in outlets.into_iter().zip(names).enumerate() {
        let fact = model.outlet_fact(outlet)?;
        let shape = concrete(fact, &name, batch)?;
        let dtype = fact.datum_type.concretize().filter(|t| !t.is_float()).unwrap_or(DatumType::F32);
        model.set_input_fact(slot, dtype.fact(&shape).into())?;
        types.push(dtype);
        inputs.push(Port { name, shape });
    }
    Ok((inputs, types))
}

/// An input's dimensions, a symbolic first one taken as `batch`.
fn concrete(fact: &InferenceFact, name: &str, batch: usize) -> anyhow::Result<Vec<usize>> {
    let shape = fact.shape.dims().enumerate().map(|(axis, dim)| match (axis, dim.concretize()) {
        (0, Some(d)) if d.to_usize().is_err() => Ok(batch),
        (0, None) => Ok(batch),
        (_, Some(d)) => Ok(d.to_usize()?),
        (_, None) => bail!("dimension {axis} of input {name} is not a number"),
    });
    shape.collect()
}
