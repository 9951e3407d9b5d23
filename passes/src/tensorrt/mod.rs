//! TensorRT: attention in the spelling that fuses, channels behind positions around norms.

mod channels_last;
mod fuse_talking_heads;
mod pad_heads;
mod split_convolutions;

use crate::lower::{ALGEBRA, BIASES, FINISH, ORDER, SPELL};
use crate::pass::Pass;

/// In order.
pub const PASSES: &[&[Pass]] = &[
    ALGEBRA,
    &[fuse_talking_heads::PASS, pad_heads::PASS],
    BIASES,
    &[channels_last::PASS],
    ORDER,
    &[split_convolutions::PASS],
    SPELL,
    FINISH,
];
