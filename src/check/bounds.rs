//! How much a candidate may differ from the reference, and on what these figures rest.
//!
//! Measured basis; errors are fractions of the largest value that they are compared with.
//!
//! *Sound files.* `tests/interop/variants.py` exports every variant with seeded weights at its published resolution, as ONNX in f32 and f16, for
//! TensorRT in f16 and as a package in f16, and prints the largest errors:
//!
//! | checked whole | f32 | f16 |
//! |---|---|---|
//! | FMViT | 1.8e-6 | 3.0e-3 |
//! | AFFNet | 5.6e-6 | 1.3e-2 |
//! | EfficientFormerV2 | 2.2e-6 | 4.3e-3 |
//! | FasterViT 0 to 3, 0- to 2-any-res | 3.2e-6 | 3.1e-3 |
//! | CAS-ViT | 1.8e-6 | 3.0e-3 |
//! | FFNet | 1.7e-6 | 1.7e-3 |
//! | DSM | 6.1e-7 | 3.1e-3 |
//!
//! The other FasterViTs, with seeded weights of an earlier rule, whole (4, 6, 4-21k-224) or in part (`--check quick`): 2.9e-6 and 1.7e-3. Among 12
//! seeds of AFFNet-ET as ONNX in f16 one misses the bound with 2.3e-2: the spectrum of the constant image is one large number, which is rounded once per axis.
//!
//! *Spoiled files.* `tests/bench/faults.py` spoils one thing in the ONNX file of the smallest variant of each family, 122 times for each precision: a bias
//! or an attention table left out, a kernel mirrored, channels exchanged, padding on one side, a resize by nearest. In f32 119 are rejected, the
//! smallest at 1.6e-4; the other three move logits by at most 5.0e-5. In f16 87 are rejected; what moves logits by less than 2 % passes, among it 19
//! of 28 biases left out, which seeded weights keep small.

use super::comparison::Comparison;
use crate::decide::quantize::{Form, Goal, Scheme};
use vitc_ir::DType;

/// f32: allowed error as a fraction of max(1, largest reference value).
pub const F32: f64 = 1e-4;

/// f16: allowed error as a fraction of the largest reference value.
pub const F16: f64 = 2e-2;

/// f16: pixels of a map of scores that may have another class besides those whose two best scores lie within twice the allowed error, as a fraction.
pub const PIXELS_F16: f64 = 2e-2;

/// Least signal to noise in dB and least share of pictures that keep their class, of a quantised artifact on its calibration pictures: what was asked for,
/// else that of its scheme. Trained models reach 30 to 36 dB with 8-bit activations, 25 to 31 dB with 4-bit tables and 50 dB with 8-bit weights.
pub fn quantised(scheme: Scheme, goal: Goal) -> [f64; 2] {
    let [snr, agreement] = match scheme {
        Scheme::One(Form::W8A8) => [20.0, 0.90],
        Scheme::One(Form::W4 | Form::W4Block32) => [15.0, 0.90],
        Scheme::One(Form::W8 | Form::W6) => [30.0, 0.98],
        Scheme::Mixed => [MIXED, 0.0],
    };
    [goal.snr.unwrap_or(snr), goal.agreement.unwrap_or(agreement)]
}

/// Signal to noise in dB that layers of mixed forms keep where nothing else is asked for.
pub const MIXED: f64 = 30.0;

/// Least signal to noise of a quantised artifact on synthetic inputs: what a rewrite gone wrong does not reach. It says nothing of the loss, so no share of
/// classes is asked for.
pub fn quantised_unseen(scheme: Scheme) -> [f64; 2] {
    let [snr, _] = quantised(scheme, Goal::default());
    [UNSEEN * snr, 0.0]
}

/// Share of the signal to noise that pictures must show which synthetic inputs must: they lie outside of what ranges and rounding were fitted to.
const UNSEEN: f64 = 0.5;

/// Largest absolute error that an artifact of this precision may show against values of at most `max_reference` in magnitude.
pub fn allowed(precision: DType, max_reference: f64) -> f64 {
    if precision == DType::F16 { F16 * max_reference } else { F32 * max_reference.max(1.0) }
}

/// What [`allowed`] is at least, however small the values are.
pub fn floor(precision: DType) -> f64 {
    allowed(precision, 0.0)
}

/// A bound that is a larger share than this of the largest value tells nothing of it: f32's, where that is below a thousandth.
const BLIND: f64 = 0.1;

/// Whether a bound is too wide to judge values of at most `max_reference` in magnitude.
pub fn is_blind(allowed: f64, max_reference: f64) -> bool {
    allowed > BLIND * max_reference
}

/// The bound of values that are all so small that their precision's [is blind](is_blind): [`F16`] of the largest. Rounding of sound f32 files stays below a
/// hundredth of that, unless the values are what is left of larger ones: then nothing can be told, and they fail.
pub fn allowed_of_tiny(max_reference: f64) -> f64 {
    F16 * max_reference
}

/// Whether values agree: finite on both sides, within [`allowed`], and with the same most probable class wherever the
/// reference's lead exceeds twice the error found.
pub fn agrees(precision: DType, c: &Comparison) -> bool {
    agrees_within(allowed(precision, c.max_reference), 0, c)
}

/// Whether values agree: finite on both sides, no further off than is allowed, and at most so many rows with another class than they must have.
pub fn agrees_within(allowed: f64, moved: usize, c: &Comparison) -> bool {
    c.finite && c.max_error <= allowed && c.classes_moved <= moved
}

/// Whether a map of classes agrees with a map of scores: the class of a pixel may be another one whose score is within twice [`allowed`] of the best, and
/// in f16 any for [`PIXELS_F16`] of them. What is found as the largest error is how far the score of a pixel's class lies below the best.
pub fn agrees_in_classes(precision: DType, c: &Comparison) -> bool {
    c.reference_finite && c.finite && c.classes_moved <= pixels_moved(precision, c)
}

/// Pixels of maps of scores that may have another class although they are not in doubt (their two best scores are further apart than twice what is
/// allowed): in f16 [`PIXELS_F16`] of them. While the largest error is looked at as well, the classes follow from it.
pub fn pixels_moved(precision: DType, c: &Comparison) -> usize {
    let share = if precision == DType::F16 { PIXELS_F16 } else { 0.0 };
    (share * c.rows as f64) as usize
}
