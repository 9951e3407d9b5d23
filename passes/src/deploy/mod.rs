//! The exact passes that suit every target.

mod batch_norm_affine;
mod common_subexpressions;
pub(crate) mod fold_attention_scale;
mod fold_batch_norm;
mod fold_norm_affine;
mod fold_scale;
mod merge_branches;
mod merge_pad;
mod merge_pool;
mod move_biases;

use crate::pass::Pass;

pub(crate) use common_subexpressions::PASS as COMMON_SUBEXPRESSIONS;

/// In order. One makes work for another, so the list is repeated until none finds any.
pub const DEPLOY: &[Pass] = &[
    fold_batch_norm::PASS,
    fold_scale::PASS,
    merge_branches::PASS,
    merge_pool::PASS,
    merge_pad::PASS,
    fold_norm_affine::PASS,
    fold_attention_scale::PASS,
    move_biases::PASS,
    common_subexpressions::PASS,
];

/// What remains to be spelled when [`DEPLOY`] has come to rest: earlier it would take work from it.
pub const REST: &[Pass] = &[batch_norm_affine::PASS];
