//! Recover linear layers from products with a constant matrix, and take the bias behind one in.
//!
//! ```text
//! Given   %y = add(linear(%x, const %w[O,I]), const %b[O])
//! Result  %y = linear(%x, %w, %b)
//!
//! Given   %y = matmul(%x, const %w[O,I]){transpose_b}
//! Result  %y = linear(%x, %w)
//!
//! Given   %y = matmul(%x, const %w[I,O])
//! Result  %y.w = transpose(%w){perm=[1,0]}
//!         %y = linear(%x, %y.w)
//! ```
//!
//! Exact    by definition of each operator.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "linear.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_linear", |graph, _| RULES.run(graph));
