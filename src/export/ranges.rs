//! On what the range of an imported file's values is measured, where half precision is computed in: what stays in fp32 depends on it.
//!
//! The user's own input is taken if there is one, else pictures, else what vitc makes, and then it is called synthetic. vitc's own architectures are not
//! measured: their islands follow from what their operators are.

use super::calibration;
use super::error::Error;
use super::request::Request;
use crate::check::{self, CheckError, Reference, npy};
use crate::decide::RangeInputs;
use crate::message;
use crate::message::{Message, Setting};
use crate::model::Model;
use crate::signature::Signature;
use vitc_exporters::metadata::{Layout, Preprocessing};
use vitc_ir::{DType, Graph};

/// The inputs of a graph that computes what the model does, if its range matters.
///
/// # Errors
/// If pictures were given and cannot be had, or would not be used.
pub(super) fn inputs(
    request: &Request,
    model: &Model,
    precision: DType,
    (graph, signature): (&Graph, &Signature),
    preprocessing: Option<&Preprocessing>,
) -> Result<Option<RangeInputs>, Error> {
    if model.file().is_none() {
        return unused(request, message!("; of other models that is known\n  leave it out, or quantise with it"));
    }
    if precision != DType::F16 {
        return unused(request, message!("\n  use it with ", Setting::Precision.to("fp16"), ", or leave it out"));
    }
    let given =
        request.numbers.quantize.as_ref().and_then(|q| q.calibrate.as_ref()).or(request.numbers.ranges.as_ref());
    if let Some(own) = own_input(request, graph)? {
        return Ok(Some(own));
    }
    if let Some(path) = given {
        let samples = request.numbers.quantize.as_ref().and_then(|q| q.samples);
        let pictures = calibration::read(path, samples, &model.graph, preprocessing)?;
        let on = format!("{} pictures of {}", pictures.count, path.display());
        return Ok(Some(RangeInputs { on, inputs: vec![pictures.artifact] }));
    }
    Ok(Some(synthetic(model, (graph, signature), preprocessing)))
}

/// No measurement; an error with this hint if pictures were given for one.
fn unused(request: &Request, hint: Message) -> Result<Option<RangeInputs>, Error> {
    if request.numbers.ranges.is_none() {
        return Ok(None);
    }
    let what = " measures which values of an ONNX file stay in fp32 where the others are in fp16";
    Err(Error::Usage(message!(Setting::Calibrate, " without ", Setting::Quantize, what, hint)))
}

/// Inputs for a measurement for which nobody gave any: those with expected values, or what vitc makes.
pub(super) fn any_inputs(
    request: &Request,
    model: &Model,
    (graph, signature): (&Graph, &Signature),
    preprocessing: Option<&Preprocessing>,
) -> RangeInputs {
    // An array that cannot be read stops the check, which names it.
    let own = own_input(request, graph).ok().flatten();
    own.unwrap_or_else(|| {
        let RangeInputs { on, mut inputs } = synthetic(model, (graph, signature), preprocessing);
        // One does, because the decision leaves room for others, and a large model takes long: the gradient, which is most like a picture.
        inputs.iter_mut().for_each(|passes| *passes = passes.pop().into_iter().collect());
        RangeInputs { on, inputs }
    })
}

/// What vitc makes.
fn synthetic(
    model: &Model,
    (graph, signature): (&Graph, &Signature),
    preprocessing: Option<&Preprocessing>,
) -> RangeInputs {
    let model = Reference { graph, signature, weights: model.weights.weights(), file: None };
    // The graph is not laid out for the interface yet.
    let preprocessing = preprocessing.map(|p| Preprocessing { layout: Layout::default(), ..p.clone() });
    let on = "synthetic inputs (no pictures and no input were given)".into();
    RangeInputs { on, inputs: check::synthetic_inputs(model, preprocessing) }
}

/// The input that comes with expected values.
fn own_input(request: &Request, graph: &Graph) -> Result<Option<RangeInputs>, Error> {
    let Some(expect) = &request.check.expect else { return Ok(None) };
    let array = npy::read(&expect.input).map_err(CheckError::from)?;
    let shapes: Vec<Vec<usize>> = graph.inputs().map(|(_, node)| node.types[0].shape.at(1)).collect();
    let fits = matches!(&shapes[..], [one] if *one == array.shape);
    let on = format!("{}", expect.input.display());
    Ok(fits.then(|| RangeInputs { on, inputs: vec![vec![array.data]] }))
}
