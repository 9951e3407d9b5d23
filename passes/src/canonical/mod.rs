//! Passes that recover operators from their spellings in primitive ones, for graphs that come from files.
//!
//! The built-in architectures say these operators as such and do not run the list. A spelling that no rule knows stays as it is, which is slower and never wrong.

mod attention;
mod batch_norm;
mod channels_between;
mod drop_expand;
mod gelu;
mod hard_swish;
mod join_slices;
mod layer_norm;
mod linear;
mod mean;
mod silu;
mod simplify_movement;
mod sink_reshapes;
mod softmax;
mod split_last;
mod windows;

use crate::pass::Pass;

/// In order: norms take products and sums apart that linear layers would.
pub const CANONICAL: &[Pass] = &[
    channels_between::PASS,
    gelu::PASS,
    silu::PASS,
    hard_swish::PASS,
    softmax::PASS,
    mean::PASS,
    layer_norm::PASS,
    linear::PASS,
    batch_norm::PASS,
    attention::PASS,
    windows::PASS,
    simplify_movement::PASS,
    sink_reshapes::PASS,
    drop_expand::PASS,
    join_slices::PASS,
    split_last::PASS,
];
