//! How many channels the input has: as many as the stored weight of the first convolution takes.

use super::request::ModelError;
use crate::arch::BuildOptions;
use crate::message;
use crate::message::Setting;
use vitc_ir::{Graph, Op};

/// The channels of the checkpoint's stem; three where it does not say otherwise.
///
/// # Errors
/// If others are asked for, or the model cannot be built.
pub(super) fn channels(options: &BuildOptions, asked: Option<usize>) -> Result<usize, ModelError> {
    let (key, shape) = match stem(&options.build()?.graph) {
        Some(found) => found,
        None => return Ok(asked.unwrap_or(options.channels)),
    };
    let stored = options.tensors.and_then(|tensors| tensors.get(&key));
    // Only the channels of the input may differ: another kernel or width is another model.
    let fits = |stored: &&Vec<usize>| stored.len() == 4 && (0..4).all(|axis| axis == 1 || stored[axis] == shape[axis]);
    let held = stored.filter(fits).map_or(options.channels, |stored| stored[1]);
    match asked {
        Some(asked) if asked != held => Err(ModelError::Other(message!(
            Setting::Channels.to(asked),
            format!(": {key} in the checkpoint takes {held} channels\n  leave "),
            Setting::Channels,
            " out, or give the checkpoint that was trained for as many"
        ))),
        _ => Ok(held),
    }
}

/// Key and shape of the weight of the convolution that reads the input.
fn stem(graph: &Graph) -> Option<(String, Vec<usize>)> {
    let (input, _) = graph.inputs().next()?;
    graph.nodes().find_map(|(_, node)| match (&node.op, node.inputs.get(1)) {
        (Op::Conv { .. }, Some(&w)) if node.inputs[0] == input.into() => match graph.op(w) {
            Op::Weight { key } => Some((key.clone(), graph.shape(w).at(1))),
            _ => None,
        },
        _ => None,
    })
}
