//! Plain ONNX, spelled so that ONNX Runtime runs it fast.

mod linear_to_conv;
mod merge_sums;
mod pool_padding;

use crate::lower::{ALGEBRA, BIASES, FINISH, JOIN, ORDER, RANGE, SPELL};
use crate::pass::Pass;

/// In order.
pub const PASSES: &[&[Pass]] = &[
    ALGEBRA,
    RANGE,
    BIASES,
    ORDER,
    &[linear_to_conv::PASS],
    SPELL,
    JOIN,
    &[merge_sums::PASS, pool_padding::PASS],
    FINISH,
];
