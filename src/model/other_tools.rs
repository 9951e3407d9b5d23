//! Weights in another tool's form: quantised, as codes with scales beside them, or those of a framework that lays linear layers out otherwise.

use super::account::{printable, shown};
use super::request::ModelError;
use crate::checkpoint::Selected;

/// Names that tools give to what belongs to a quantised weight.
const PARTS: &[(&str, &str)] = &[
    ("SCB", "bitsandbytes"),
    ("absmax", "bitsandbytes"),
    ("quant_map", "bitsandbytes"),
    ("qweight", "GPTQ or AWQ"),
    ("qzeros", "GPTQ or AWQ"),
    ("weight_packed", "compressed-tensors"),
    ("_data", "optimum-quanto"),
];

/// Names that PaddlePaddle gives to the statistics of a BatchNorm.
const PADDLE: [&str; 2] = ["_mean", "_variance"];

/// Stops if a weight of the model, or beside it, is stored so.
///
/// # Errors
/// That it is, with a weight and the tool.
pub(super) fn check(selected: &Selected) -> Result<(), ModelError> {
    let ends = |leaf: &str| selected.tensors.keys().any(|key| key.rsplit('.').next() == Some(leaf));
    if PADDLE.iter().all(|leaf| ends(leaf)) {
        return Err(ModelError::Other(
            "this is a checkpoint of PaddlePaddle: its statistics have other names, and its linear layers are stored transposed\n  give the PyTorch \
             checkpoint, or export the model to ONNX from its own code and give vitc that file"
                .into(),
        ));
    }
    quantised(selected)
}

/// Stops if a weight is stored as codes.
fn quantised(selected: &Selected) -> Result<(), ModelError> {
    let inside = selected.tensors.keys().map(|key| selected.file_name(key));
    let names = inside.chain(selected.beside.keys().cloned());
    let tool = |name: &str| {
        let leaf = name.rsplit('.').next()?;
        PARTS.iter().find(|(part, _)| *part == leaf).map(|(_, tool)| *tool)
    };
    let mut found = names.filter_map(|name| Some((tool(&name)?, name)));
    let Some((tool, name)) = found.next() else { return Ok(()) };
    Err(ModelError::Other(
        format!(
            "the checkpoint's weights were quantised by another tool: {} is of the form of {tool}, and {} more\n  give the checkpoint from before \
             quantisation; vitc quantises by itself",
            printable(shown(&selected.dict, &name)),
            found.count()
        )
        .into(),
    ))
}
