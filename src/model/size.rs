//! The size of a model's input: asked for, told by position tables or settings, or assumed.

use super::dense::Dense;
use super::request::{ModelError, ModelRequest};
use crate::arch::{Backbone, Family, Shapes};
use crate::checkpoint::{DenseConfig, ModelConfig, Said};
use crate::message;
use crate::message::{Message, Setting};
use vitc_ir::{Dim, Graph};

/// The size that a model is built for.
pub(super) struct Size {
    /// Height and width.
    pub(super) value: [usize; 2],
    /// Where they are from; `None` if they are assumed.
    pub(super) from: Option<String>,
    /// What should be known about that.
    pub(super) notices: Vec<Message>,
}

/// The size of the input, and its source.
///
/// # Errors
/// If what is asked for contradicts trained tables, or if nothing tells the size of a model that serves any.
pub(super) fn decide(
    request: &ModelRequest,
    backbone: Backbone,
    shapes: &Shapes,
    config: &ModelConfig,
    (dense, said): (&Dense, Option<&DenseConfig>),
) -> Result<Size, ModelError> {
    let family = backbone.family;
    let found = resolution(request, family, shapes, config.input_size.as_ref(), dense.is_any())?;
    if dense.is_any() {
        let (value, from) = match found {
            Some(found) => (found.value, found.from),
            None => dense.size(said).map(|(size, from)| (size, from.to_string()))?,
        };
        return Ok(Size { value, from: Some(from), notices: Vec::new() });
    }
    let mut notices: Vec<Message> = untrained_tables(request, family, shapes, config).into_iter().collect();
    if let Some(Said { value, from }) = found {
        return Ok(Size { value, from: Some(from), notices });
    }
    let value @ [h, w] = backbone.variant.resolution;
    let assumed = format!("the checkpoint does not say its input size: {h}x{w}, as published; ");
    notices.push(message!(assumed, Setting::Resolution, " changes it"));
    Ok(Size { value, from: None, notices })
}

/// The resolution that the request, the position tables and the configuration decide, in this order, and its source; nothing may contradict tables
/// that are trained.
fn resolution(
    request: &ModelRequest,
    family: &Family,
    shapes: &Shapes,
    config: Option<&Said<[usize; 2]>>,
    dense: bool,
) -> Result<Option<Said<[usize; 2]>>, ModelError> {
    // What a dense model last ran on says nothing of what it is for.
    let tables = (family.position_tables)(shapes).filter(|tables| tables.trained || !dense);
    let fits = |size: [usize; 2]| tables.as_ref().is_none_or(|tables| tables.fit(size));
    let config = config.filter(|size| fits(size.value)).cloned();
    let published = |size: [usize; 2]| family.variants.iter().any(|variant| variant.resolution == size);
    let Some(asked) = request.resolution else {
        let Some(tables) = &tables else { return Ok(config) };
        let from = format!("shape of {}", tables.key);
        return match tables.sizes[0] {
            [h, w] if h != w && config.is_none() && !published([h, w]) => Err(ModelError::Other(message!(
                "the checkpoint does not say its input size, and its position tables are for none that is square\n  name the one that was trained: ",
                settings(&tables.sizes)
            ))),
            likeliest => Ok(config.or(Some(Said { value: likeliest, from }))),
        };
    };
    match &tables {
        Some(tables) if tables.trained && !tables.fit(asked) => {
            let ([h, w], [th, tw]) = (asked, tables.sizes[0]);
            Err(ModelError::Other(message!(
                Setting::Resolution.to(format!("{h}x{w}")),
                format!(": the position tables in the checkpoint are for {th}x{tw}\n  use "),
                settings(&tables.sizes),
                format!(", or fine-tune at {h}x{w} first")
            )))
        }
        _ => Ok(Some(Said { value: asked, from: "as asked".into() })),
    }
}

/// A notice where tables show what the model was trained on, and leave sizes open.
fn untrained_tables(request: &ModelRequest, family: &Family, shapes: &Shapes, config: &ModelConfig) -> Option<Message> {
    let tables = (family.position_tables)(shapes).filter(|tables| !tables.trained && tables.sizes.len() > 1)?;
    if request.resolution.is_some() || config.input_size.as_ref().is_some_and(|size| tables.fit(size.value)) {
        return None;
    }
    let [h, w] = tables.sizes[0];
    let others = settings(&tables.sizes[1..tables.sizes.len().min(4)]);
    let what = format!("the model last ran on images of {h}x{w} or a little more: {h}x{w} is assumed; ");
    Some(message!(what, others, " is another"))
}

/// These sizes as a user would ask for them.
fn settings(sizes: &[[usize; 2]]) -> Message {
    Message::joined(sizes.iter().map(|[h, w]| Setting::Resolution.to(format!("{h}x{w}"))), " or ")
}

/// Height and width of the only input, if it can be a picture.
pub(super) fn picture_size(graph: &Graph) -> Option<[usize; 2]> {
    let mut inputs = graph.inputs();
    let (Some((_, node)), None) = (inputs.next(), inputs.next()) else { return None };
    match node.types[0].shape.0[..] {
        [_, Dim::Fixed(1 | 3), Dim::Fixed(h), Dim::Fixed(w)] => Some([h, w]),
        _ => None,
    }
}
