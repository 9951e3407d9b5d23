//! Recover GELU from the error function, and its approximation from the hyperbolic tangent.
//!
//! ```text
//! Given   %y = mul(mul(%x, add(erf(div(%x, sqrt(2))), 1)), 0.5)
//! Result  %y = gelu(%x)
//!
//! Given   %c = mul(mul(mul(%x, %x), %x), 0.044715)
//!         %t = tanh(mul(add(%x, %c), sqrt(0.6366197723675814)))
//!         %y = mul(mul(%x, add(%t, 1)), 0.5)
//! Given   %c = add(mul(mul(%x, %x), 0.044715), 1)
//!         %t = tanh(mul(mul(%x, %c), sqrt(0.6366197723675814)))
//!         %y = mul(mul(%x, add(%t, 1)), 0.5)
//! Result  %y = gelu_tanh(%x)
//! ```
//!
//! Exact    by definition.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "gelu.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_gelu", |graph, _| RULES.run(graph));
