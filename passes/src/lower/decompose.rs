//! Spell operators that a target lacks with ones that it has.
//!
//! ```text
//! Given   %y = gelu(%x)
//! Result  %y.half = mul(mul(%x, add(erf(div(%x, sqrt(2))), 1)), 0.5)
//!
//! Given   %y = silu(%x)
//! Result  %y.mul = mul(%x, sigmoid(%x))
//!
//! Given   %y = gelu_tanh(%x)
//! Result  %y.cube = mul(mul(%x, %x), %x)
//!         %y.inner = mul(add(%x, mul(%y.cube, 0.044715)), sqrt(0.6366197723675814))
//!         %y.half = mul(mul(%x, add(tanh(%y.inner), 1)), 0.5)
//!
//! Given   %y = hard_swish(%x)
//! Result  %y.mul = mul(%x, hard_sigmoid(%x){alpha=0.16666666666666666, beta=0.5})
//!
//! Given   %y = reduce_l2(%x){axes=a, keep}
//! Result  %y.square = mul(%x, %x)
//!         %y.root = sqrt(reduce_sum(%y.square){axes=a, keep})
//!
//! Given   %y = reduce_l2(%x){axes=a}
//! Result  %y.square = mul(%x, %x)
//!         %y.root = sqrt(reduce_sum(%y.square){axes=a})
//!
//! Given   %y = batch_norm(%x, %g, %b, %m, %v){eps=e}
//! Result  %y.s = div(%g, sqrt(add(%v, e)))
//!         %y.t = sub(%b, mul(%m, %y.s))
//!         %y.scale = reshape(%y.s){shape=along(1, %x)}
//!         %y.shift = reshape(%y.t){shape=along(1, %x)}
//!         %y.add = add(mul(%x, %y.scale), %y.shift)
//!
//! Given   %y = linear(%x[..,N,I], %w, %b)
//! Result  %y.w = transpose(%w){perm=[1,0]}
//!         %y.add = add(matmul(%x, %y.w), %b)
//!
//! Given   %y = linear(%x[..,N,I], %w)
//! Result  %y.w = transpose(%w){perm=[1,0]}
//!         %y = matmul(%x, %y.w)
//!
//! Given   %y = layer_norm(%x, %g, %b){axes=[a], eps=e}
//! Where   inner(a, %x)
//! Result  %y.channels_last = transpose(%x){perm=to_last(a, %x)}
//!         %y.norm = layer_norm(%y.channels_last, %g, %b){axes=last(%x), eps=e}
//!         %y.channels_first = transpose(%y.norm){perm=from_last(a, %x)}
//!
//! Given   %y = layer_norm(%x){axes=[a], eps=e}
//! Where   inner(a, %x)
//! Result  %y.channels_last = transpose(%x){perm=to_last(a, %x)}
//!         %y.norm = layer_norm(%y.channels_last){axes=last(%x), eps=e}
//!         %y.channels_first = transpose(%y.norm){perm=from_last(a, %x)}
//!
//! Given   %y = layer_norm(%x, %g, %b){axes=a, eps=e}
//! Where   trailing(a, %x)
//! Result  %y.mean = reduce_mean(%x){axes=a, keep}
//!         %y.centred = sub(%x, %y.mean)
//!         %y.square = mul(%y.centred, %y.centred)
//!         %y.variance = reduce_mean(%y.square){axes=a, keep}
//!         %y.deviation = sqrt(add(%y.variance, e))
//!         %y.norm = div(%y.centred, %y.deviation)
//!         %y.add = add(mul(%y.norm, %g), %b)
//!
//! Given   %y = layer_norm(%x){axes=a, eps=e}
//! Where   trailing(a, %x)
//! Result  %y.mean = reduce_mean(%x){axes=a, keep}
//!         %y.centred = sub(%x, %y.mean)
//!         %y.square = mul(%y.centred, %y.centred)
//!         %y.variance = reduce_mean(%y.square){axes=a, keep}
//!         %y.deviation = sqrt(add(%y.variance, e))
//!         %y.norm = div(%y.centred, %y.deviation)
//! ```
//!
//! Exact    by definition of each operator; GELU in the order that runtimes recognise.

use crate::pass::{Context, Pass, Result};
use crate::pattern::rules;
use vitc_ir::Graph;

rules!(RULES, "decompose.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("decompose", run);

fn run(graph: &Graph, context: &Context) -> Result {
    let target = &context.target;
    RULES.run_where(graph, &|site| {
        // No spelling helps a value of too many axes.
        let fits = site.node().types.iter().all(|t| t.shape.rank() <= target.rank_limit);
        fits && target.allows(site.graph, site.node()).is_err()
    })
}
