//! Recover SiLU from the logistic function, or from what that is.
//!
//! ```text
//! Given   %y = mul(%x, sigmoid(%x))
//! Given   %y = div(%x, add(exp(neg(%x)), 1))
//! Result  %y = silu(%x)
//! ```
//!
//! Exact    by definition.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "silu.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_silu", |graph, _| RULES.run(graph));
