//! Recover linear layers from products with a constant matrix, take the bias behind one in, whose row may have been cut into heads, and say one over channels that lie first as a convolution.
//!
//! ```text
//! Given   %y = add(linear(%x, const %w[O,I]), const %b[O])
//! Result  %y = linear(%x, %w, %b)
//!
//! Given   %r = reshape(linear(%x, const %w[O,I])){shape=s}
//!         %y = add(%r, const %b)
//! Where   row(%b, O, %r)
//! Result  %y.b = reshape(%b){shape=[O]}
//!         %y.linear = linear(%x, %w, %y.b)
//!         %y = reshape(%y.linear){shape=s}
//!
//! Given   %y = matmul(%x, const %w[O,I]){transpose_b}
//! Result  %y = linear(%x, %w)
//!
//! Given   %y = matmul(%x, const %w[I,O])
//! Result  %y.w = transpose(%w){perm=[1,0]}
//!         %y = linear(%x, %y.w)
//!
//! Given   %y = transpose(linear(transpose(%x){perm=[0,2,3,1]}, const %w[O,I], const %b)){perm=[0,3,1,2]}
//! Result  %y.w = reshape(%w){shape=[O,I,1,1]}
//!         %y = conv(%x, %y.w, %b){stride=1, pad=0}
//!
//! Given   %y = transpose(linear(transpose(%x){perm=[0,2,3,1]}, const %w[O,I])){perm=[0,3,1,2]}
//! Result  %y.w = reshape(%w){shape=[O,I,1,1]}
//!         %y = conv(%x, %y.w){stride=1, pad=0}
//! ```
//!
//! Exact    by definition of each operator.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "linear.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_linear", |graph, _| RULES.run(graph));
