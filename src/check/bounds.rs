//! How much a candidate may differ from the reference, and on what these figures rest.
//!
//! Measured basis; errors are fractions of the largest value that they are compared with.
//!
//! *Sound files.* `tests/interop/variants.py` exports every variant with seeded weights at its published resolution, as ONNX in f32 and f16, for
//! TensorRT in f16 and as a package in f16, and prints the largest errors:
//!
//! | checked whole | f32 | f16 |
//! |---|---|---|
//! | FMViT | 3.0e-6 | 4.9e-3 |
//! | AFFNet | 6.1e-6 | 8.4e-3 |
//! | EfficientFormerV2 | 3.7e-6 | 3.2e-3 |
//! | FasterViT 0 to 4, 6, 4-21k-224, 0-any-res | 2.0e-6 | 1.7e-3 |
//! | CAS-ViT | 1.1e-6 | 1.8e-3 |
//! | FFNet | 1.8e-6 | 2.0e-3 |
//! | DSM | 5.2e-7 | 2.5e-3 |
//!
//! The other FasterViTs, in part (`--check quick`): 2.9e-6 and 1.3e-3.
//!
//! *Spoiled files.* `tests/bench/faults.py` spoils one thing in the ONNX file of the smallest variant of each family, 122 times for each precision: a bias
//! or an attention table left out, a kernel mirrored, channels exchanged, padding on one side, a resize by nearest. In f32 119 are rejected, the
//! smallest at 1.2e-4; the other three move logits by at most 2.4e-5. In f16 84 are rejected; what moves logits by less than 2 % passes, among it 21
//! of 28 biases left out, which seeded weights keep small.

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
