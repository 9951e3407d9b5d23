//! Recover softmax from exponentials, with the maximum subtracted or not.
//!
//! ```text
//! Given   %e = exp(sub(%x, reduce_max(%x){axes=[a], keep}))
//!         %y = div(%e, reduce_sum(%e){axes=[a], keep})
//! Given   %e = exp(%x)
//!         %y = div(%e, reduce_sum(%e){axes=[a], keep})
//! Result  %y = softmax(%x){axis=a}
//! ```
//!
//! Exact    a factor common to all exponentials cancels.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "softmax.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_softmax", |graph, _| RULES.run(graph));
