//! Core AI: shared passes under the target's data, layers as the vendor's runtime computes them best, and no reshape that a product can do without.

mod free_rows;
mod join_axes;
mod left_product_as_conv;
mod linear_as_conv;

use crate::lower::{ALGEBRA, BIASES, CANCEL_MOVEMENT, FINISH, ORDER, RANGE, SPELL};
use crate::pass::Pass;

/// Fewer reshapes around products.
const ROWS: &[Pass] = &[join_axes::PASS, CANCEL_MOVEMENT, free_rows::PASS, CANCEL_MOVEMENT];

/// Products as convolutions, where that costs nothing.
const CONVS: &[Pass] = &[linear_as_conv::PASS, left_product_as_conv::PASS];

/// In order.
pub const PASSES: &[&[Pass]] = &[ALGEBRA, RANGE, BIASES, ORDER, CONVS, SPELL, ROWS, FINISH];
