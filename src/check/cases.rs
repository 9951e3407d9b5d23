//! What both computations run on: the synthetic inputs and the user's own, in the form that each of the two takes.

use super::inputs::{Numbers, normalise};
use super::{CheckError, Options, Reference, Synthetic};
use crate::signature::InputRole;
use std::iter::repeat;
use vitc_exporters::metadata::Preprocessing;
use vitc_ir::{Dim, Graph};

/// Batches at which an artifact with a symbolic batch is checked.
const DYNAMIC: [usize; 2] = [1, 3];

/// Largest value of a pixel that an artifact normalises itself; pixels are whole numbers then.
const WHITE: f32 = 255.0;

/// Arrays for the inputs of a model, in order.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) synthetic: bool,
    pub(super) batch: usize,
    /// As the model takes them: normalised.
    pub(super) reference: Vec<Vec<f32>>,
    /// As the artifact takes them.
    pub(super) candidate: Vec<Vec<f32>>,
}

/// The batches that are run: where it is symbolic two, and that of the user's array.
///
/// # Errors
/// If the model has no input, or the user's array does not fit it.
pub(super) fn batches(paper: &Graph, options: &Options) -> Result<Vec<usize>, CheckError> {
    let inputs: Vec<_> = paper.inputs().map(|(_, node)| &node.types[0].shape).collect();
    let Some(first) = inputs.first() else {
        return Err(CheckError::Interface("the model has no input".into()));
    };
    let mut batches = match first.0.first() {
        Some(Dim::Batch(_)) => DYNAMIC.to_vec(),
        _ => vec![1],
    };
    let Some(user) = &options.input else { return Ok(batches) };
    if inputs.len() > 1 {
        return Err(CheckError::Input(format!("one array was given, the model takes {}", inputs.len())));
    }
    if batches.len() > 1 {
        batches.extend(user.shape.first().filter(|n| !DYNAMIC.contains(n)));
    }
    if !batches.iter().any(|&b| first.at(b) == user.shape) {
        return Err(CheckError::Input(format!("the input has shape {:?}, the model takes {first}", user.shape)));
    }
    Ok(batches)
}

/// How a picture is prepared: as an artifact that prepares nothing takes it, and whether the artifact prepares it itself.
#[derive(Clone, Copy)]
struct Pictures<'a> {
    preprocessing: Option<&'a Preprocessing>,
    inside: bool,
    /// The artifact takes `[B,H,W,C]`.
    channels_last: bool,
}

impl Pictures<'_> {
    /// A synthetic picture as the artifact takes it.
    fn synthetic(self, kind: Synthetic, shape: &[usize]) -> Vec<f32> {
        let pixels = kind.pixels(shape);
        match self.inside {
            true => pixels.iter().map(|p| (p * WHITE).round()).collect(),
            false => normalise(&pixels, shape, self.preprocessing),
        }
    }

    /// What the artifact takes, as the model takes it.
    fn normal(self, given: &[f32], shape: &[usize]) -> Vec<f32> {
        match self.inside {
            true => normalise(&given.iter().map(|p| p / WHITE).collect::<Vec<_>>(), shape, self.preprocessing),
            false => given.to_vec(),
        }
    }
}

/// Values `[B,C,H,W]` as `[B,H,W,C]`.
fn channels_last(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let [_, channels, height, width] = *shape else { return values.to_vec() };
    let (plane, image) = (height * width, channels * height * width);
    let pixel = |i: usize| (0..channels).map(move |c| values[i / plane * image + c * plane + i % plane]);
    (0..values.len() / channels.max(1)).flat_map(pixel).collect()
}

/// An input of the model at one batch.
struct Port {
    shape: Vec<usize>,
    picture: bool,
    /// Whole numbers below this.
    below: Option<u32>,
}

/// Whole numbers below a bound. Of truths the first in each row holds: a mask that hides all of a row leaves nothing that is defined.
fn whole(kind: Synthetic, below: u32, shape: &[usize]) -> Vec<f32> {
    let row = shape.last().copied().unwrap_or(1).max(1);
    let number = |(i, p): (usize, &f32)| match below == 2 && i % row == 0 {
        true => 1.0,
        false => (p * (below - 1) as f32).round(),
    };
    kind.pixels(shape).iter().enumerate().map(number).collect()
}

/// Whether a model has an input that is neither a picture nor whole numbers: what stands for it may be outside of what the model is defined on.
pub(super) fn is_free(model: Reference<'_>) -> bool {
    let mut roles = model.signature.inputs.iter().map(|port| &port.role);
    roles.len() < model.graph.inputs().count() || roles.any(|role| *role == InputRole::Tensor)
}

/// The cases of one batch. The reference always gets normalised values: normalising is part of what is checked.
pub(super) fn cases(model: Reference<'_>, options: &Options, batch: usize) -> Vec<Case> {
    cases_of(Numbers::Around, model, options, batch)
}

/// The same with these numbers for inputs that are neither pictures nor whole numbers.
pub(super) fn cases_of(numbers: Numbers, model: Reference<'_>, options: &Options, batch: usize) -> Vec<Case> {
    let roles = model.signature.inputs.iter().map(|port| match port.role {
        InputRole::Image(_) => (true, None),
        InputRole::Whole { below } => (false, Some(below)),
        InputRole::Tensor => (false, None),
    });
    let shapes = model.graph.inputs().map(|(_, node)| node.types[0].shape.at(batch));
    let ports: Vec<Port> = shapes
        .zip(roles.chain(repeat((false, None))))
        .map(|(shape, (picture, below))| Port { shape, picture, below })
        .collect();
    let preprocessing = options.preprocessing.as_ref();
    let pictures = Pictures {
        preprocessing,
        inside: preprocessing.is_some_and(|p| p.normalised_inside),
        channels_last: preprocessing.is_some_and(|p| p.layout.channels_last),
    };
    let case = |name: String, synthetic, given: Vec<Vec<f32>>| {
        let normal = |(port, data): (&Port, &Vec<f32>)| match port.picture && !options.like_artifact {
            true => pictures.normal(data, &port.shape),
            false => data.clone(),
        };
        let laid = |(port, data): (&Port, &Vec<f32>)| match port.picture && pictures.channels_last {
            true => channels_last(data, &port.shape),
            false => data.clone(),
        };
        let reference = ports.iter().zip(&given).map(normal).collect();
        let candidate = ports.iter().zip(&given).map(laid).collect();
        Case { name, synthetic, batch, reference, candidate }
    };
    let synthetic = |kind: &Synthetic| {
        let array = |(i, port): (usize, &Port)| match port.picture {
            true => pictures.synthetic(*kind, &port.shape),
            false => match port.below {
                Some(below) => whole(*kind, below, &port.shape),
                None => numbers.of(*kind, i as u64, &port.shape),
            },
        };
        let name = match numbers.bounds() {
            Some([low, high]) => format!("{} in {low}..{high}", kind.name()),
            None => kind.name(),
        };
        case(name, true, ports.iter().enumerate().map(array).collect())
    };
    let given = options.input.as_ref().filter(|user| matches!(&ports[..], [one] if one.shape == user.shape));
    let given = given.map(|user| case("given".into(), false, vec![user.data.clone()]));
    Synthetic::ALL.iter().map(synthetic).chain(given).collect()
}
