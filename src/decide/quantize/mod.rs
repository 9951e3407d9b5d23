//! Which codes, scales, tables, biases, shifts and factors a quantised model has, and which layers stay as they are.
//!
//! One walk over the graph with two streams of values for the calibration pictures: what the model computes, and what it computes as quantised so far. Each
//! layer is fitted when the walk reaches it, to the outputs that the exact stream has, at the inputs that the quantised stream has: its input's codes,
//! its weights' scales or tables, rounding that passes errors on, and the bias that makes the mean of each output right. Where that falls short of a
//! [`Goal`], what each layer loses by itself is measured, and the layers that lose most get more bits or none ([`search`]). Without pictures each weight
//! is rounded by itself.
//!
//! Nothing is chosen at random, and sums have a fixed order: the same pictures give the same bytes on one machine.

mod ask;
mod fit;
mod form;
mod held;
mod inputs;
mod layers;
mod mixes;
mod record;
mod rounding;
mod sample;
mod scales;
mod search;
mod sensitivity;
mod streams;
mod units;
mod walk;

pub use ask::{Ask, Goal, Grouped};
pub use form::{Form, Scheme};
pub use record::{LayerLine, Point, Quantised, Tensors};

use crate::nearest::edit_distance;
use ask::is_below;
use fit::fit;
use held::Held;
use layers::Layer;
use record::Record;
use vitc_ir::eval::EvalError;
use vitc_ir::{Graph, Weights};
use walk::Job;

/// Why nothing could be decided.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// A value cannot be computed.
    #[error(transparent)]
    Value(#[from] EvalError),
    /// A layer that is to be kept does not exist.
    #[error("{wanted} names no layer{}", near.as_ref().map_or(String::new(), |n| format!("; the nearest is {n}")))]
    Keep {
        /// As the user wrote it.
        wanted: String,
        /// A layer of a similar name.
        near: Option<String>,
    },
    /// No layer is there that may be held in few bits.
    #[error("{}", nothing(.0))]
    Nothing(Vec<LayerLine>),
}

fn nothing(left: &[LayerLine]) -> String {
    let Some(LayerLine { layer, why, .. }) = left.first() else {
        return "nothing is there to be held in few bits: no convolution and no product with a trained matrix".into();
    };
    let why = why.as_deref().unwrap_or_default();
    format!("all {} layers stay as they are, the first of them {layer}: {why}", left.len())
}

/// Why a layer stays: its form.
const GROUPS: &str = "a convolution in groups, which the target runs faster as it is";

/// Why a layer stays: the user.
const KEPT: &str = "kept, as asked";

/// Quantise a graph whose values have no element types yet. `pictures` are its input, one array for each pass at its own batch. `told` hears what is done.
///
/// # Errors
/// If a weight is missing, a value cannot be computed, or a layer that is to be kept does not exist, or none can be quantised.
pub fn quantize(
    graph: &Graph,
    ask: &Ask,
    weights: &dyn Weights,
    pictures: Option<Vec<Vec<f32>>>,
    told: &dyn Fn(&str),
) -> Result<Quantised, QuantizeError> {
    let all = layers::layers(graph);
    if let Some(wanted) = ask.keep.iter().find(|kept| !all.iter().any(|l| is_below(&l.path, kept))) {
        let near = all.iter().map(|l| &l.path).min_by_key(|path| edit_distance(path, wanted));
        return Err(QuantizeError::Keep { wanted: wanted.clone(), near: near.cloned() });
    }
    let (mut wanted, mut left) = (Vec::new(), Vec::new());
    for layer in all {
        match (ask.keeps(&layer.path), ask.leaves(&layer)) {
            (true, _) => left.push((layer, KEPT)),
            (false, true) => left.push((layer, GROUPS)),
            (false, false) => wanted.push(layer),
        }
    }
    if wanted.is_empty() {
        let mut record = Record::new(graph);
        left.iter().for_each(|(layer, why)| record.left(layer, why));
        return Err(QuantizeError::Nothing(record.finish().layers));
    }
    match pictures {
        None => Ok(by_itself(graph, ask, weights, &wanted, &left)?),
        Some(pictures) => Ok(search::search(&Job { graph, ask, weights, wanted, left, told }, pictures)?),
    }
}

/// Every weight rounded by itself, in the first form.
fn by_itself(
    graph: &Graph,
    ask: &Ask,
    weights: &dyn Weights,
    wanted: &[Layer],
    left: &[(Layer, &'static str)],
) -> Result<Quantised, EvalError> {
    let mut record = Record::new(graph);
    left.iter().for_each(|(layer, why)| record.left(layer, why));
    let form = ask.forms.first().copied().unwrap_or(Form::W8);
    for layer in wanted {
        if record.has_weight(layer.weight, form) {
            continue;
        }
        let target = ask.target(form, layer, graph.shape(layer.weight).rank());
        let rows = layer.weights(graph, weights)?;
        let held = Held { number: &|x| ask.held(x), scale: &|x| ask.held_scale(x) };
        let fitted = fit(layer, &rows, target, None, &held);
        record.layer(graph, layer, (form, target), &rows, &fitted, None);
    }
    record.share(wanted, form);
    Ok(record.finish())
}
