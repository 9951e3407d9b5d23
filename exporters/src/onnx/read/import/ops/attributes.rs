//! Attributes that nobody asked for: of a later version, or of another tool. Their meaning is not known, so neither is the operator's.

use super::super::call::Call;
use super::super::refusal::Done;

/// An error if a node has an attribute that its reading did not ask for and that may change what it computes.
pub(super) fn all_count(c: &Call<'_>) -> Done<()> {
    match c.unread().into_iter().find(|name| !is_idle(c.op(), name)) {
        Some(name) => Err(format!("has an attribute {name}, whose meaning here is not known").into()),
        None => Ok(()),
    }
}

/// Whether an attribute changes nothing where the operator's reading leaves it aside: for training, for another mode, or said by a shape as well.
fn is_idle(op: &str, name: &str) -> bool {
    match name {
        "consumed_inputs" | "kernel_shape" | "stash_type" | "noop_with_empty_axes" => true,
        "momentum" | "spatial" | "is_test" => op == "BatchNormalization",
        "ratio" | "seed" => op == "Dropout",
        "saturate" | "round_mode" => matches!(op, "Cast" | "CastLike" | "QuantizeLinear"),
        "sorted" => op == "TopK",
        "dtype" => op == "SequenceEmpty",
        "storage_order" => op == "MaxPool",
        "axis" => matches!(op, "QuantizeLinear" | "DequantizeLinear"),
        "qk_matmul_output_mode" => op == "Attention",
        "cubic_coeff_a" | "nearest_mode" | "extrapolation_value" | "keep_aspect_ratio_policy" | "exclude_outside" => {
            op == "Resize"
        }
        // Of padding by a rule.
        "pads" => matches!(op, "Conv" | "ConvTranspose" | "MaxPool" | "AveragePool" | "LpPool"),
        _ => false,
    }
}
