//! Recover means from sums.
//!
//! ```text
//! Given   %y = mul(reduce_sum(%x){axes=a, keep}, c)
//! Where   averages(c, a, %x)
//! Result  %y = reduce_mean(%x){axes=a, keep}
//!
//! Given   %y = div(reduce_sum(%x){axes=a, keep}, c)
//! Where   counts(c, a, %x)
//! Result  %y = reduce_mean(%x){axes=a, keep}
//!
//! Given   %s = reduce_sum(%x){axes=a}
//!         %y = mul(%s, c)
//! Where   averages(c, a, %x), same_type(%s, %y)
//! Result  %y = reduce_mean(%x){axes=a}
//!
//! Given   %s = reduce_sum(%x){axes=a}
//!         %y = div(%s, c)
//! Where   counts(c, a, %x), same_type(%s, %y)
//! Result  %y = reduce_mean(%x){axes=a}
//! ```
//!
//! Exact    by definition, as far as the factor is the inverse of the count.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "mean.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_mean", |graph, _| RULES.run(graph));
