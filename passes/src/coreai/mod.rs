//! Core AI: shared passes under the target's data, layers as the vendor's runtime computes them best, and no reshape that a product can do without.

mod free_rows;
mod join_axes;
mod linear_as_conv;

use crate::lower::{ALGEBRA, BIASES, CANCEL_MOVEMENT, FINISH, ORDER, SPELL};
use crate::pass::Pass;

/// Fewer reshapes around products.
const ROWS: &[Pass] = &[join_axes::PASS, CANCEL_MOVEMENT, free_rows::PASS, CANCEL_MOVEMENT];

/// In order.
pub const PASSES: &[&[Pass]] = &[ALGEBRA, BIASES, ORDER, &[linear_as_conv::PASS], SPELL, ROWS, FINISH];
