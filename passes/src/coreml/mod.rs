//! CoreML: shared passes only, under the target's data.

use crate::lower::{ALGEBRA, BIASES, FINISH, ORDER, SPELL};
use crate::pass::Pass;

/// In order.
pub const PASSES: &[&[Pass]] = &[ALGEBRA, BIASES, ORDER, SPELL, FINISH];
