//! Recover GELU from the error function.
//!
//! ```text
//! Given   %y = mul(mul(%x, add(erf(div(%x, sqrt(2))), 1)), 0.5)
//! Result  %y = gelu(%x)
//! ```
//!
//! Exact    by definition.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "gelu.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_gelu", |graph, _| RULES.run(graph));
