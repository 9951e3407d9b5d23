//! Decisions that depend on numbers: whatever looks at weights decides here, passes are told.
//!
//! A graph is lowered, what its passes say they did is looked at, and where that does not do it is lowered again under [`Decisions`]. What was decided is
//! written into the artifact.

mod equalize;
mod islands;
pub mod quantize;
mod range_gate;
mod step;
#[cfg(test)]
mod tests;
mod values;

pub use equalize::{Equalized, Lost};
pub use islands::Measured;
use quantize::{Quantised, QuantizeError};
use std::fmt;
pub use values::RangeInputs;
use vitc_ir::eval::{Computed, EvalError};
use vitc_ir::{DType, Graph, Target, Weights};
use vitc_passes::{Context, Decisions, LowerOptions, Note, Observer, PassError, PassReport};

/// One decision, as a sentence.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The bias of a layer stays an operator of its own.
    BiasStays {
        /// Path of the layer.
        layer: String,
        /// How far its rows would have been moved, as a fraction of its largest weight.
        share: f64,
    },
    /// The range of the values was measured.
    Ranges(Measured),
    /// It could not be.
    RangeUnknown {
        /// Why.
        why: String,
    },
    /// Powers of two moved between layers.
    Equalized(Equalized),
    /// They could not be decided.
    NotEqualized {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::BiasStays { layer, share } => write!(
                f,
                "the bias of {layer} stays an operator of its own: the null direction would move its rows by {share:.1} times its largest weight"
            ),
            Decision::Ranges(measured) => measured.fmt(f),
            Decision::RangeUnknown { why } => {
                write!(f, "the range of the values could not be measured, so none is kept in fp32 for it: {why}")
            }
            Decision::Equalized(equalized) => equalized.fmt(f),
            Decision::NotEqualized { why } => {
                write!(
                    f,
                    "small weights stay where half precision is coarse, because the range of values could not be measured: {why}"
                )
            }
        }
    }
}

/// What powers of two did that moved between layers, among what was decided.
pub fn equalized(decisions: &[Decision]) -> Option<&Equalized> {
    decisions.iter().find_map(|decision| match decision {
        Decision::Equalized(equalized) => Some(equalized),
        _ => None,
    })
}

/// A lowered graph and what was decided on the way.
#[derive(Debug)]
pub struct Lowered {
    /// The graph.
    pub graph: Graph,
    /// What each pass did.
    pub passes: Vec<PassReport>,
    /// What the passes were told, most important first.
    pub decisions: Vec<Decision>,
    /// Constants of the graph that were computed for a decision.
    pub computed: Computed,
    /// What was quantised, if that was asked for.
    pub quantised: Option<QuantisedModel>,
}

/// A quantised model.
#[derive(Debug)]
pub struct QuantisedModel {
    /// The graph before values get their element types: what the artifact is compared with.
    pub graph: Graph,
    /// What was decided.
    pub decided: Quantised,
}

/// A quantisation that is asked for.
pub struct Quantisation<'a> {
    /// What is asked for.
    pub ask: quantize::Ask,
    /// The calibration pictures as the graph takes them, one array for each pass.
    pub pictures: Option<Vec<Vec<f32>>>,
    /// Hears what is done.
    pub told: &'a dyn Fn(&str),
}

/// What numbers are asked to decide beside what weights ask by themselves.
#[derive(Default)]
pub struct Asked<'a> {
    /// What is held in few bits.
    pub quantisation: Option<Quantisation<'a>>,
    /// On what the range of all values is measured, which decides what stays in single precision.
    pub ranges: Option<RangeInputs>,
    /// Move powers of two between layers where weights would be subnormal halves; gives the inputs on which values are measured then.
    pub equalize: Option<&'a dyn Fn() -> RangeInputs>,
}

impl Lowered {
    /// What the user should know.
    pub fn notices(&self) -> Vec<String> {
        let biases = self.decisions.iter().filter_map(|decision| match decision {
            Decision::BiasStays { layer, share } => Some((layer, share)),
            Decision::Ranges(_) | Decision::RangeUnknown { .. } => None,
            Decision::Equalized(_) | Decision::NotEqualized { .. } => None,
        });
        let mut notices = Vec::new();
        let count = biases.clone().count();
        if let Some((layer, share)) = biases.into_iter().next() {
            let those = match count {
                1 => "the bias of a layer behind LayerNorm stays an operator of its own".into(),
                n => format!("the biases of {n} layers behind LayerNorm stay operators of their own"),
            };
            notices.push(format!(
                "{those}: the null direction would move the rows of {layer} by {share:.1} times its largest weight"
            ));
        }
        notices.extend(self.decisions.iter().filter_map(|decision| match decision {
            // That everything fits stands in the metadata.
            Decision::Ranges(measured) if measured.nodes.is_empty() => None,
            Decision::Ranges(_) | Decision::RangeUnknown { .. } => Some(decision.to_string()),
            // What is lost without is said where the rounding is.
            Decision::Equalized(_) => None,
            Decision::NotEqualized { .. } => Some(decision.to_string()),
            Decision::BiasStays { .. } => None,
        }));
        notices
    }
}

/// Why nothing could be decided.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// A pass cannot rewrite the graph.
    #[error(transparent)]
    Rewrite(#[from] PassError),
    /// A weight is missing.
    #[error(transparent)]
    Constant(#[from] EvalError),
    /// A layer that is to be kept does not exist, or none can be quantised.
    #[error("{0}")]
    Quantize(QuantizeError),
}

/// Lower a deploy graph under the decisions that its weights ask for, observed.
///
/// # Errors
/// If a weight is missing, or a pass cannot rewrite the graph.
pub fn lower(
    deploy: &Graph,
    target: &Target,
    options: &LowerOptions,
    weights: &dyn Weights,
    asked: Asked<'_>,
    observer: &mut Observer<'_>,
) -> Result<Lowered, DecideError> {
    let Asked { quantisation, ranges, equalize } = asked;
    let equalize = equalize.filter(|_| options.precision == DType::F16 && quantisation.is_none());
    let mut context = Context::new(target, options);
    // What is quantised is the last change of values; element types follow it.
    let typed_later = quantisation.is_some() || ranges.is_some() || equalize.is_some();
    let spell = if typed_later { vitc_passes::lower_values } else { vitc_passes::lower_observed };
    let (mut graph, mut passes) = spell(deploy, &context, observer)?;
    let mut layers = range_gate::measure(&graph, &passes, weights)?;
    let beyond = layers.iter().filter(|l| l.share > range_gate::BOUND);
    let mut staying: Vec<(String, f64)> = beyond.map(|l| (l.path.clone(), l.share)).collect();
    if !staying.is_empty() {
        staying.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let biases_that_stay = staying.iter().map(|(path, _)| path.clone()).collect();
        context.decisions = Decisions { biases_that_stay, ..Decisions::default() };
        (graph, passes) = spell(deploy, &context, observer)?;
        // A layer beside one that stays, behind the same norm, stays too.
        layers.retain(|l| range_gate::shifts(&passes).any(|of| of.layer == l.path));
    }
    let mut decisions: Vec<Decision> = Vec::new();
    if let Some(inputs) = equalize {
        decisions.extend(move_powers(&mut graph, &mut passes, weights, inputs, observer)?);
    }
    if let Some(ranges) = ranges {
        match islands::measure(&graph, weights, ranges) {
            Ok(measured) => {
                context.decisions.islands = measured.nodes.keys().cloned().collect();
                decisions.push(Decision::Ranges(measured));
            }
            Err(error) => decisions.push(Decision::RangeUnknown { why: error.to_string() }),
        }
    }
    if typed_later && quantisation.is_none() {
        let (typed, rest) = vitc_passes::lower_types(&graph, &context, observer)?;
        graph = typed;
        passes.extend(rest);
    }
    let quantised = match quantisation {
        None => None,
        Some(asked) => Some(quantise(&mut graph, &mut passes, &context, weights, asked, observer)?),
    };
    let computed = range_gate::computed(&graph, &passes, &layers);
    let report = passes.iter_mut().find(|p| p.pass == "null_direction");
    if let (Some(most), Some(report)) = (range_gate::furthest(&layers), report) {
        let (layer, most) = (most.path.clone(), most.share);
        report.notes.push(Note::RowsMoved { layer, most, bound: range_gate::BOUND });
    }
    decisions.splice(0..0, staying.into_iter().map(|(layer, share)| Decision::BiasStays { layer, share }));
    Ok(Lowered { graph, passes, decisions, computed, quantised })
}

/// Move powers of two between the layers of a graph without element types, if that is worth it.
fn move_powers(
    graph: &mut Graph,
    passes: &mut Vec<PassReport>,
    weights: &dyn Weights,
    inputs: &dyn Fn() -> RangeInputs,
    observer: &mut Observer<'_>,
) -> Result<Option<Decision>, PassError> {
    let decided = match equalize::decide(graph, weights, inputs) {
        Ok(None) => return Ok(None),
        Ok(Some(decided)) => decided,
        Err(error) => return Ok(Some(Decision::NotEqualized { why: error.to_string() })),
    };
    let (moved, report) = vitc_passes::equalize::equalize(graph, &decided.exponents, observer)?;
    *graph = moved;
    passes.extend(report);
    Ok(Some(Decision::Equalized(decided)))
}

/// Quantise a graph without element types, and give it those.
fn quantise(
    graph: &mut Graph,
    passes: &mut Vec<PassReport>,
    context: &Context,
    weights: &dyn Weights,
    Quantisation { ask, pictures, told }: Quantisation<'_>,
    observer: &mut Observer<'_>,
) -> Result<QuantisedModel, DecideError> {
    let decided = quantize::quantize(graph, &ask, weights, pictures, told).map_err(|e| match e {
        QuantizeError::Value(e) => DecideError::Constant(e),
        e @ (QuantizeError::Keep { .. } | QuantizeError::Nothing(_)) => DecideError::Quantize(e),
    })?;
    let run = vitc_passes::quantize::quantize(graph, &decided.plan, observer)?;
    let quantised = run.0;
    let types = vitc_passes::lower_types(&quantised, context, observer)?;
    *graph = types.0;
    passes.extend(run.1.into_iter().chain(types.1));
    Ok(QuantisedModel { graph: quantised, decided })
}
