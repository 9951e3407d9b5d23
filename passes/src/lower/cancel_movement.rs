//! Remove movement that other movement undoes.
//!
//! ```text
//! Given   %y = transpose(shared transpose(%x){perm=p}){perm=q}
//! Where   identity(compose(p, q))
//! Result  %y = %x
//!
//! Given   %y = transpose(shared transpose(%x){perm=p}){perm=q}
//! Result  %y = transpose(%x){perm=compose(p, q)}
//!
//! Given   %y = transpose(%x){perm=p}
//! Where   identity(p)
//! Result  %y = %x
//!
//! Given   %y = reshape(shared reshape(%x){shape=s}){shape=t}
//! Result  %y = reshape(%x){shape=t}
//!
//! Given   %y = reshape(%x){shape=s}
//! Given   %y = expand(%x){shape=s}
//! Where   same_type(%x, %y)
//! Result  %y = %x
//!
//! Given   %y = concat(%x){axis=a}
//! Given   %y = split(%x){axis=a, sizes=[n]}
//! Result  %y = %x
//! ```
//!
//! Exact    by definition: elements keep their order or are put back.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "cancel_movement.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("cancel_movement", |graph, _| RULES.run(graph));
