//! Recover LayerNorm from means: the variance as the mean square of what is centred, or as the mean square less the square of the mean, which may be kept
//! from falling below zero; the norm as what is centred and scaled, or as a factor and a shift that are made of the moments first.
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
//! Given   %m = shared reduce_mean(%x){axes=a, keep}
//!         %d = shared sub(%x, %m)
//!         %v = max(sub(reduce_mean(mul(%x, %x)){axes=a, keep}, mul(%m, %m)), 0)
//!         %y = add(mul(div(%d, sqrt(add(%v, e))), const %g), const %b)
//! Given   %m = shared reduce_mean(%x){axes=a, keep}
//!         %d = sub(%x, %m)
//!         %v = reduce_mean(mul(%d, %d)){axes=a, keep}
//!         %s = shared mul(div(1, sqrt(add(%v, e))), const %g)
//!         %y = add(mul(%x, %s), sub(const %b, mul(%m, %s)))
//! Given   %m = shared reduce_mean(%x){axes=a, keep}
//!         %d = sub(%x, %m)
//!         %v = reduce_mean(mul(%d, %d)){axes=a, keep}
//!         %s = shared mul(div(1, sqrt(add(%v, e))), const %g)
//!         %y = add(add(mul(%x, %s), mul(neg(%m), %s)), const %b)
//! Where   some(a), fills(%g, a, %x), fills(%b, a, %x)
//! Result  %y.scale = reshape(%g){shape=sizes(a, %x)}
//!         %y.bias = reshape(%b){shape=sizes(a, %x)}
//!         %y = layer_norm(%x, %y.scale, %y.bias){axes=a, eps=e}
//!
//! Given   %m = shared reduce_mean(%x){axes=a, keep}
//!         %d = sub(%x, %m)
//!         %v = reduce_mean(mul(%d, %d)){axes=a, keep}
//!         %s = shared mul(div(1, sqrt(add(%v, e))), const %g)
//!         %y = add(mul(%x, %s), mul(neg(%m), %s))
//! Where   some(a), fills(%g, a, %x)
//! Result  %y.scale = reshape(%g){shape=sizes(a, %x)}
//!         %y.bias = mul(%y.scale, 0)
//!         %y = layer_norm(%x, %y.scale, %y.bias){axes=a, eps=e}
//!
//! Given   %m = shared reduce_mean(%x){axes=a}
//!         %d = shared sub(%x, reshape(%m){shape=s})
//!         %v = reshape(max(sub(reduce_mean(mul(%x, %x)){axes=a}, mul(%m, %m)), 0)){shape=s}
//!         %y = add(mul(div(%d, sqrt(add(%v, e))), const %g), const %b)
//! Where   some(a), keeps(s, a, %x), fills(%g, a, %x), fills(%b, a, %x)
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
//! Given   %m = shared reduce_mean(%x){axes=a, keep}
//!         %d = shared sub(%x, %m)
//!         %y = div(%d, sqrt(add(max(sub(reduce_mean(mul(%x, %x)){axes=a, keep}, mul(%m, %m)), 0), e)))
//! Where   some(a)
//! Result  %y = layer_norm(%x){axes=a, eps=e}
//! ```
//!
//! Exact    by definition, a variance being no less than zero; the centred values may have other readers, which keep them.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "layer_norm.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_layer_norm", |graph, _| RULES.run(graph));
