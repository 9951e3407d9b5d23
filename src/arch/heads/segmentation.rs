//! What heads of semantic segmentation share: how maps are enlarged, and the adaptive pools of the pyramid of contexts.

use super::numbers::part_error;
use crate::arch::choice::Choice;
use crate::arch::family::{ArchError, BuildOptions};

/// Whether corners of enlarged maps lie on corners.
pub(super) static ALIGN_CORNERS: Choice = Choice {
    name: "align-corners",
    values: &["false", "true"],
    help: "enlarged maps have their corners on the corners of the smaller ones",
};

/// Sides of the pooled maps.
pub(super) static POOL_SCALES: Choice = Choice {
    name: "pool-scales",
    values: &["1,2,3,6"],
    help: "sides of the maps that the head pools its input to (`1,2,3,6`)",
};

/// The activation of the layers of a head whose code base takes it from the recipe.
pub(super) static HEAD_ACTIVATION: Choice = Choice {
    name: "head-activation",
    values: &["relu", "swish"],
    help: "activation of the head's layers. PReLU is recognised from the keys",
};

pub(super) fn align_corners(options: &BuildOptions) -> bool {
    options.choice(&ALIGN_CORNERS) == "true"
}

/// The sides of `branches` pooled maps.
pub(super) fn pool_scales(
    options: &BuildOptions,
    part: &'static str,
    branches: usize,
) -> Result<Vec<usize>, ArchError> {
    let text = options.choice(&POOL_SCALES);
    let scales = numbers(text).filter(|scales| scales.len() == branches);
    let what = || part_error(part, format!("it pools to {branches} sizes, and pool-scales is {text}"));
    scales.ok_or_else(what)
}

/// Positive numbers with commas between them.
pub(super) fn numbers(text: &str) -> Option<Vec<usize>> {
    text.split(',').map(|n| n.trim().parse().ok().filter(|n| (1..=4096).contains(n))).collect()
}
