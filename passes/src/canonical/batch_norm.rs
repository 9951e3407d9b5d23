//! Recover BatchNorm from its formula with a constant for each channel, and fold one that reads the rows of a linear layer as a matrix.
//!
//! ```text
//! Given   %y = add(mul(div(sub(%x, const %m), sqrt(add(const %v, e))), const %g), const %b)
//! Where   fills(%m, 1, %x), fills(%v, 1, %x), fills(%g, 1, %x), fills(%b, 1, %x)
//! Result  %y.scale = reshape(%g){shape=sizes(1, %x)}
//!         %y.shift = reshape(%b){shape=sizes(1, %x)}
//!         %y.mean = reshape(%m){shape=sizes(1, %x)}
//!         %y.var = reshape(%v){shape=sizes(1, %x)}
//!         %y = batch_norm(%x, %y.scale, %y.shift, %y.mean, %y.var){eps=e}
//!
//! Given   %l = linear(%x, const %w[C,I], const %a[C])
//!         %r = reshape(%l){shape=s}
//!         %y = batch_norm(%r, const %g[C], const %b[C], const %m[C], const %v[C]){eps=e}
//! Where   matrix(%r, C)
//! Result  %y.s = div(%g, sqrt(add(%v, e)))
//!         %y.w = mul(%w, reshape(%y.s){shape=[C,1]})
//!         %y.b = add(mul(sub(%a, %m), %y.s), %b)
//!         %y.linear = linear(%x, %y.w, %y.b)
//!         %y = reshape(%y.linear){shape=s}
//!
//! Given   %l = linear(%x, const %w[C,I])
//!         %r = reshape(%l){shape=s}
//!         %y = batch_norm(%r, const %g[C], const %b[C], const %m[C], const %v[C]){eps=e}
//! Where   matrix(%r, C)
//! Result  %y.s = div(%g, sqrt(add(%v, e)))
//!         %y.w = mul(%w, reshape(%y.s){shape=[C,1]})
//!         %y.b = sub(%b, mul(%m, %y.s))
//!         %y.linear = linear(%x, %y.w, %y.b)
//!         %y = reshape(%y.linear){shape=s}
//! ```
//!
//! Exact    by definition; rows of C elements stay rows in a matrix of C columns.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "batch_norm.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("recover_batch_norm", |graph, _| RULES.run(graph));
