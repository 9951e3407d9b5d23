//! What both computations run on: the synthetic inputs and the user's own, in the form that each of the two takes.

use super::inputs::normalise;
use super::{CheckError, Options, Synthetic};
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

/// The cases of one batch. The reference always gets normalised values: normalising is part of what is checked.
pub(super) fn cases(paper: &Graph, options: &Options, batch: usize) -> Vec<Case> {
    let shapes: Vec<Vec<usize>> = paper.inputs().map(|(_, node)| node.types[0].shape.at(batch)).collect();
    let preprocessing = options.preprocessing.as_ref();
    let inside = preprocessing.is_some_and(|p| p.normalised_inside);
    let normal = |given: &Vec<f32>, shape: &Vec<usize>| match inside {
        true => normalise(&given.iter().map(|p| p / WHITE).collect::<Vec<_>>(), shape, preprocessing),
        false => given.clone(),
    };
    let case = |name: String, synthetic, given: Vec<Vec<f32>>| {
        let reference = given.iter().zip(&shapes).map(|(given, shape)| normal(given, shape)).collect();
        Case { name, synthetic, batch, reference, candidate: given }
    };
    let array = |s: &Synthetic, shape: &Vec<usize>| match inside {
        true => s.pixels(shape).iter().map(|p| (p * WHITE).round()).collect(),
        false => normalise(&s.pixels(shape), shape, preprocessing),
    };
    let synthetic = |s: &Synthetic| case(s.name(), true, shapes.iter().map(|shape| array(s, shape)).collect());
    let given = options.input.as_ref().filter(|user| shapes[..] == [user.shape.clone()]);
    let given = given.map(|user| case("given".into(), false, vec![user.data.clone()]));
    Synthetic::ALL.iter().map(synthetic).chain(given).collect()
}
