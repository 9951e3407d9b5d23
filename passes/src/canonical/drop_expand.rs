//! Drop copies that an operator makes by itself.
//!
//! ```text
//! Given   %y = add(%x, expand(%n){shape=s})
//! Where   same_type(%x, %y)
//! Result  %y = add(%x, %n)
//!
//! Given   %y = sub(%x, expand(%n){shape=s})
//! Where   same_type(%x, %y)
//! Result  %y = sub(%x, %n)
//!
//! Given   %y = mul(%x, expand(%n){shape=s})
//! Where   same_type(%x, %y)
//! Result  %y = mul(%x, %n)
//!
//! Given   %y = div(%x, expand(%n){shape=s})
//! Where   same_type(%x, %y)
//! Result  %y = div(%x, %n)
//! ```
//!
//! Exact    these operators broadcast their operands.

use crate::pass::Pass;
use crate::pattern::rules;

rules!(RULES, "drop_expand.rs");

/// The pass.
pub(crate) const PASS: Pass = Pass::everywhere("drop_expand", |graph, _| RULES.run(graph));
