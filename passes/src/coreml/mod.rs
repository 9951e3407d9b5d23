//! CoreML: shared passes only, under the target's data.

use crate::lower::{ALGEBRA, BIASES, FINISH, JOIN, ORDER, RANGE, SPELL};
use crate::pass::Pass;

/// In order.
pub const PASSES: &[&[Pass]] = &[ALGEBRA, RANGE, BIASES, ORDER, SPELL, JOIN, FINISH];
