//! What comparing two computations of the same values finds.

use crate::numbers::figure;
use serde::Serialize;

/// How far a candidate's values are from the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// Largest |candidate − reference|; not finite if a value is not: NaN if one is, else infinite. In JSON the words `nan` and `inf`.
    #[serde(serialize_with = "figure")]
    pub max_error: f64,
    /// Largest |reference|.
    pub max_reference: f64,
    /// Every value on both sides is finite.
    pub finite: bool,
    /// Every value of the reference is finite: if not, the model is at fault and nothing is known of the candidate.
    pub reference_finite: bool,
    /// Rows (images, or pixels of a map of scores) whose largest value stands at the same place on both sides.
    pub classes_kept: usize,
    /// Rows where it stands elsewhere although the reference's lead exceeds twice the row's error (of a pixel: twice the error allowed).
    pub classes_moved: usize,
    /// Number of rows; 0 for values that are no scores.
    pub rows: usize,
    /// Smallest lead of the largest over the second largest reference value, over all rows; infinite, and absent in JSON, without a second value.
    #[serde(skip_serializing_if = "has_none")]
    pub margin: f64,
}

/// Whether a margin stands for none.
fn has_none(margin: &f64) -> bool {
    margin.is_infinite()
}
