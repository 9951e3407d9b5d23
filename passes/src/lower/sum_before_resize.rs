//! Add maps before they are enlarged instead of behind it.
//!
//! ```text
//! Given   %y = add(resize(%a){kernel=linear, coordinates=half_pixel, size=s}, resize(%b){kernel=linear, coordinates=half_pixel, size=s})
//! Where   same_type(%a, %b)
//! Result  %y.sum = add(%a, %b)
//!         %y = resize(%y.sum){kernel=linear, coordinates=half_pixel, size=s}
//!
//! Given   %y = add(%r, resize(%a){kernel=linear, coordinates=half_pixel, size=s}, resize(%b){kernel=linear, coordinates=half_pixel, size=s})
//! Where   same_type(%a, %b)
//! Result  %y.sum = add(%a, %b)
//!         %y.large = resize(%y.sum){kernel=linear, coordinates=half_pixel, size=s}
//!         %y = add(%r, %y.large)
//! ```
//!
//! Exact    a resize is a product with constant matrices, and products distribute over sums.
//!
//! Done where the maps are no larger than the sum was. The branches of a Semantic FPN all end so: in TensorRT its head takes 25 kernels instead of 29.

use crate::pass::{Context, Pass, Result};
use crate::pattern::rules;
use vitc_ir::Graph;

rules!(RULES, "sum_before_resize.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("sum_before_resize", run);

fn run(graph: &Graph, _: &Context) -> Result {
    RULES.run_where(graph, &|site| site.elements("a") <= site.elements("y"))
}
