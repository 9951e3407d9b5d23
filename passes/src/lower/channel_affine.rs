//! Say a product and a sum with a constant for each channel of a map as one norm, where the target has it.
//!
//! ```text
//! Given   %y = add(mul(%x[B,C,H,W], const %s), const %t)
//! Where   fills(%s, 1, %x), fills(%t, 1, %x)
//! Result  %y.scale = reshape(%s){shape=sizes(1, %x)}
//!         %y.shift = reshape(%t){shape=sizes(1, %x)}
//!         %y.mean = expand(0){shape=sizes(1, %x)}
//!         %y.var = expand(1){shape=sizes(1, %x)}
//!         %y = batch_norm(%x, %y.scale, %y.shift, %y.mean, %y.var){eps=0}
//!
//! Given   %y = mul(sub(%x[B,C,H,W], const %m), const %s)
//! Where   fills(%s, 1, %x), fills(%m, 1, %x)
//! Result  %y.scale = reshape(%s){shape=sizes(1, %x)}
//!         %y.mean = reshape(%m){shape=sizes(1, %x)}
//!         %y.shift = expand(0){shape=sizes(1, %x)}
//!         %y.var = expand(1){shape=sizes(1, %x)}
//!         %y = batch_norm(%x, %y.scale, %y.shift, %y.mean, %y.var){eps=0}
//! ```
//!
//! Exact    with the mean 0 or the shift 0, the variance 1 and ε = 0 a norm is that product and that sum, whose constants stay as they are.
//!
//! BatchNorms that no linear node could take become products and sums in the deploy graph, where other passes read them; what is left of them in the
//! end is one operator again.

use crate::pass::{Context, Pass, Result};
use crate::pattern::rules;
use vitc_ir::Graph;

rules!(RULES, "channel_affine.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::only("channel_affine", |t| t.batch_norm, run);

fn run(graph: &Graph, _: &Context) -> Result {
    RULES.run(graph)
}
