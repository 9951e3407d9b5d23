//! The passes with which several targets spell a deploy graph, in groups between which a target puts its own.

pub(crate) mod attention;
mod cancel_movement;
mod channel_affine;
mod decompose;
mod euclidean_norm;
mod even_quotients;
mod fuse_linear_chains;
mod grids;
mod keep_tables;
mod mean_before_linear;
mod merge_constant_sums;
mod merge_siblings;
mod merge_towers;
mod multiply_out;
mod name_constants;
mod narrow_moves;
mod narrow_values;
mod norms;
mod null_direction;
mod pools;
mod precision;
mod quotients;
mod repeat_items;
mod resize;
mod row_moves;
mod row_order;
mod scalars;
mod sequence_first;
mod slopes;
mod spectral;
mod sum_before_resize;
mod transposed;
mod widen_depthwise;
mod windows;

use crate::deploy::{COMMON_SUBEXPRESSIONS, fold_attention_scale};
use crate::pass::Pass;

pub(crate) use cancel_movement::PASS as CANCEL_MOVEMENT;
pub(crate) use pools::Windows;
pub use precision::island_reason;

/// The pass behind which no value changes but by rounding.
pub(crate) use precision::PASS as PRECISION;

/// Algebra that the cost model chooses.
pub const ALGEBRA: &[Pass] = &[
    fold_attention_scale::FOR_OPERATOR,
    spectral::PASS,
    widen_depthwise::PASS,
    multiply_out::PASS,
    fuse_linear_chains::PASS,
    sum_before_resize::PASS,
    merge_towers::PASS,
];

/// Where no value of an f16 graph is held in f32 because of its range.
pub const RANGE: &[Pass] = &[even_quotients::PASS];

/// Biases, where linear layers read norms.
pub const BIASES: &[Pass] = &[null_direction::PASS];

/// Products joined, and tokens in the order in which they move least.
pub const ORDER: &[Pass] = &[merge_siblings::PASS, sequence_first::PASS, mean_before_linear::PASS];

/// Operators in the target's words, and what they leave behind.
pub const SPELL: &[Pass] = &[
    repeat_items::PASS,
    resize::PASS,
    grids::PASS,
    transposed::PASS,
    pools::PASS,
    attention::PASS,
    windows::PASS,
    norms::PASS,
    decompose::PASS,
    merge_constant_sums::PASS,
    scalars::PASS,
    slopes::PASS,
    quotients::PASS,
    narrow_values::PASS,
    narrow_moves::PASS,
    cancel_movement::PASS,
];

/// What is said in fewer operators when everything else is spelled.
pub const JOIN: &[Pass] = &[channel_affine::PASS, euclidean_norm::PASS];

/// Element types and names.
pub const FINISH: &[Pass] = &[COMMON_SUBEXPRESSIONS, keep_tables::PASS, precision::PASS, name_constants::PASS];
