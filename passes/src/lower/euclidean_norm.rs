//! Say the root of a sum of squares as one reduction, where the target has it.
//!
//! ```text
//! Given   %y = sqrt(reduce_sum(mul(%x, %x)){axes=a, keep})
//! Where   some(a)
//! Result  %y = reduce_l2(%x){axes=a, keep}
//!
//! Given   %y = sqrt(reduce_sum(mul(%x, %x)){axes=a})
//! Where   some(a)
//! Result  %y = reduce_l2(%x){axes=a}
//! ```
//!
//! Exact    by definition. Squares are no values any more, which would overflow half precision from 256 up.

use crate::pass::{Context, Pass, Result};
use crate::pattern::rules;
use vitc_ir::Graph;

rules!(RULES, "euclidean_norm.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::only("euclidean_norm", |t| t.euclidean_norm, run);

fn run(graph: &Graph, _: &Context) -> Result {
    RULES.run(graph)
}
