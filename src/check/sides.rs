//! What the two sides of a comparison must agree on before they are run: what is judged, and what the artifact says of its own interface.

use super::computation::Computation;
use super::{CheckError, Options, Reference};
use crate::signature::{Likelihood, OutputRole};
use vitc_exporters::coreml::InputForm;
use vitc_ir::{Graph, Op};

/// The reference's graph, which answers with scores where the model answers with the classes that they make: which class is as good as another, only
/// scores tell.
pub(super) fn judged(model: Reference<'_>) -> Graph {
    let mut graph = model.graph.clone();
    for (i, port) in model.signature.outputs.iter().enumerate() {
        let Some(output) = graph.outputs.get(i) else { continue };
        let producer = graph.producer(output.value);
        let scores = match (port.role, &producer.op, &producer.inputs[..]) {
            (OutputRole::Classes { .. }, Op::ArgMax { axis: 1, .. }, [scores]) => *scores,
            _ => continue,
        };
        graph.outputs[i].value = scores;
    }
    graph
}

/// The options, with what a package says of its own interface.
pub(super) fn agreed(options: &Options, candidate: &Computation<'_>) -> Result<Options, CheckError> {
    let mut options = options.clone();
    if let Some(interface) = candidate.program.interface() {
        let image = matches!(interface.input, InputForm::Image);
        let inside = options.preprocessing.as_ref().is_some_and(|p| p.normalised_inside);
        if image != inside {
            let what = if image { "takes a picture" } else { "takes an array, not a picture" };
            return Err(CheckError::Interface(format!("it {what}, and its metadata say otherwise")));
        }
        if interface.labels.is_some() {
            options.probabilities = options.probabilities.or(Some(Likelihood::OneOf));
        }
    }
    Ok(options)
}
