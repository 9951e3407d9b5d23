//! Recover the hard sigmoid and the hard swish from clips, and clips from their bounds one by one.
//!
//! ```text
//! Given   %y = min(max(%x, l), h)
//! Result  %y = clip(%x){lo=l, hi=h}
//!
//! Given   %y = min(relu(%x), h)
//! Result  %y = clip(%x){lo=0, hi=h}
//!
//! Given   %y = mul(%x, hard_sigmoid(%x){alpha=0.16666666666666666, beta=0.5})
//! Given   %y = mul(mul(%x, clip(add(%x, 3)){lo=0, hi=6}), div(1, 6))
//! Result  %y = hard_swish(%x)
//!
//! Given   %y = mul(clip(add(%x, 3)){lo=0, hi=6}, div(1, 6))
//! Result  %y = hard_sigmoid(%x){alpha=0.16666666666666666, beta=0.5}
//!
//! Given   %y = clip(add(mul(%x, a), b)){lo=0, hi=1}
//! Result  %y = hard_sigmoid(%x){alpha=a, beta=b}
//! ```
//!
//! Exact    by definition.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "hard_swish.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_hard_swish", |graph, _| RULES.run(graph));
