//! Recover BatchNorm from its formula with a constant for each channel.
//!
//! ```text
//! Given   %y = add(mul(div(sub(%x, const %m), sqrt(add(const %v, e))), const %g), const %b)
//! Where   fills(%m, 1, %x), fills(%v, 1, %x), fills(%g, 1, %x), fills(%b, 1, %x)
//! Result  %y.scale = reshape(%g){shape=sizes(1, %x)}
//!         %y.shift = reshape(%b){shape=sizes(1, %x)}
//!         %y.mean = reshape(%m){shape=sizes(1, %x)}
//!         %y.var = reshape(%v){shape=sizes(1, %x)}
//!         %y = batch_norm(%x, %y.scale, %y.shift, %y.mean, %y.var){eps=e}
//! ```
//!
//! Exact    by definition.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "batch_norm.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_batch_norm", |graph, _| RULES.run(graph));
