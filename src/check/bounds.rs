//! How much a candidate may differ from the reference, and on what these figures rest.
//!
//! Measured basis: with seeded weights of all families and with published ones, f32 artifacts differ from the reference by 1e-7 to 4e-6 of
//! the largest logit (different summation order and folded constants), wrong rewrites by more than 1e-3: a forgotten bias table moves logits by 1.4e-3
//! of their spread, bilinear replaced by nearest by 2e-2. f16 artifacts, rounded value by value, differ by 2e-4 to 2e-3 of the largest logit, in
//! spectral models up to 1e-2.

use super::compare::Comparison;
use vitc_ir::DType;

/// f32: allowed error as a fraction of max(1, largest reference value).
pub const F32: f64 = 1e-4;

/// f16: allowed error as a fraction of the largest reference value.
pub const F16: f64 = 2e-2;

/// Largest absolute error that an artifact of this precision may show against values of at most `max_reference` in magnitude.
pub fn allowed(precision: DType, max_reference: f64) -> f64 {
    match precision {
        DType::F16 => F16 * max_reference,
        DType::F32 | DType::I32 => F32 * max_reference.max(1.0),
    }
}

/// Whether values agree: finite on both sides, within [`allowed`], and with the same most probable class wherever the
/// reference's lead exceeds twice the error found.
pub fn agrees(precision: DType, c: &Comparison) -> bool {
    c.finite && c.max_error <= allowed(precision, c.max_reference) && c.classes_moved == 0
}
