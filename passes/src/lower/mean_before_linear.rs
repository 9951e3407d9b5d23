//! Take the mean before a linear layer instead of behind it.
//!
//! ```text
//! Given   %p = linear(%h[..,I], const %w[O,I], const %b[O])
//!         %y = reduce_mean(add(%r[..,O], %p)){axes=a}
//! Where   inner(a, %h), same_type(%r, %p)
//! Result  %y.rest = reduce_mean(%r){axes=a}
//!         %y.hidden = reduce_mean(%h){axes=a}
//!         %p = linear(%y.hidden, %w, %b)
//!         %y = add(%y.rest, %p)
//! ```
//!
//! Exact    a mean commutes with an affine map, because its weights sum to one, and with a sum.
//!
//! The layer then sees one position instead of all, for one operator more, the second mean. Only where it is one operator behind the mean and a
//! product and a sum in front: a convolution stays, because runtimes compute the sum in its kernel. In f16 each mean would bring two casts, so there
//! it stays as well.

use crate::pass::{Context, Pass, Result, Rewritten};
use crate::pattern::rules;
use vitc_ir::{DType, Graph};

rules!(RULES, "mean_before_linear.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("mean_before_linear", run);

fn run(graph: &Graph, context: &Context) -> Result {
    if context.options.precision != DType::F32 {
        return Ok(Rewritten::unchanged(graph));
    }
    let limit = context.target.linear_rank;
    RULES.run_where(graph, &|site| site.rank("p") > Some(limit) && site.rank("y") <= Some(limit))
}
