//! Recover LayerNorm from means: the variance as the mean square of what is centred, or as the mean square less the square of the mean.
//!
//! ```text
//! Given   %m = shared reduce_mean(%x){axes=a, keep}
//!         %d = shared sub(%x, %m)
//!         %v = reduce_mean(mul(%d, %d)){axes=a, keep}
//!         %y = add(mul(div(%d, sqrt(add(%v, e))), const %g), const %b)
//! Given   %m = shared reduce_mean(%x){axes=a, keep}
//!         %d = shared sub(%x, %m)
//!         %v = sub(reduce_mean(mul(%x, %x)){axes=a, keep}, mul(%m, %m))
//!         %y = add(mul(div(%d, sqrt(add(%v, e))), const %g), const %b)
//! Where   some(a), fills(%g, a, %x), fills(%b, a, %x)
//! Result  %y.scale = reshape(%g){shape=sizes(a, %x)}
//!         %y.bias = reshape(%b){shape=sizes(a, %x)}
//!         %y = layer_norm(%x, %y.scale, %y.bias){axes=a, eps=e}
//!
//! Given   %m = shared reduce_mean(%x){axes=a, keep}
//!         %d = shared sub(%x, %m)
//!         %y = div(%d, sqrt(add(reduce_mean(mul(%d, %d)){axes=a, keep}, e)))
//! Given   %m = shared reduce_mean(%x){axes=a, keep}
//!         %d = shared sub(%x, %m)
//!         %y = div(%d, sqrt(add(sub(reduce_mean(mul(%x, %x)){axes=a, keep}, mul(%m, %m)), e)))
//! Where   some(a)
//! Result  %y = layer_norm(%x){axes=a, eps=e}
//! ```
//!
//! Exact    by definition; the centred values may have other readers, which keep them.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "layer_norm.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_layer_norm", |graph, _| RULES.run(graph));
