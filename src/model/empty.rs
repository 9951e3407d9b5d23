//! Tensors without elements: no layer has such a weight, so nothing may be built of their shapes.

use super::account::printable;
use super::nature::nature;
use super::request::ModelError;
use crate::checkpoint::Selected;
use crate::message;
use crate::message::Setting;

/// Stops at a tensor of the model that has an axis of length 0, unless its name says that it computes nothing: metrics keep empty lists.
///
/// # Errors
/// If there is one; it is named.
pub(super) fn check(selected: &Selected) -> Result<(), ModelError> {
    let mut empty = selected.tensors.iter().filter(|(_, tensor)| tensor.shape.contains(&0));
    let Some((name, tensor)) = empty.find(|(name, _)| nature(name).leftover().is_none()) else { return Ok(()) };
    let name = printable(&selected.file_name(name));
    Err(ModelError::Other(message!(
        format!(
            "{name} is {tensor}: no weight is without elements\n  give a whole checkpoint: parts of a training run that is spread over machines keep \
             empty tensors in place of what another part holds; what the model is known not to need can be left out with "
        ),
        Setting::Ignore
    )))
}
