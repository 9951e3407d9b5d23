//! Rewrite rules as text, in the graph's own text form.
//!
//! ```text
//! Given   %y = mul(mul(%x, add(erf(div(%x, sqrt(2))), 1)), 0.5)
//! Result  %y = gelu(%x)
//! ```
//!
//! A file of rules opens with such a block, and that block is what runs: [`rules!`] reads it out of the file, and makes the test that proves it.
//!
//! # The language
//!
//! A rule is one or more `Given` (spellings of one thing), a `Result` and, if need be, a `Where`. A section has one statement a line, `%name = expression`;
//! the last statement of a `Given` is the value that is replaced, and the `Result`'s last statement takes its place.
//!
//! | in a Given | matches |
//! |---|---|
//! | `%x`, `const %c` | any value; any constant. The same name is the same value |
//! | `%x[..,C]`, `const %c[C,1,1]` | only of this shape, with any dimensions in front for `..` |
//! | `0.5`, `sqrt(2)`, `div(1, 6)` | a constant that is this number throughout, up to a relative 10⁻⁵; nothing else than 0 is 0 |
//! | `mul(…)` | this operator. Nothing else may read its result |
//! | `shared mul(…)` | this operator, whoever reads its result |
//! | `{axis=a, keep}` | these attributes and no others, as in the graph's text form; a reshape's is `shape` |
//! | `a`, `C` | a single letter stands for an attribute, a number or a size, the same everywhere in the rule |
//!
//! Sums and products match in any order and with any brackets: `add` and `sub`, `mul` and `div` form groups, in which `x − c` is `x + (−c)`, `x/c`
//! is `x·(1/c)` and `a/s` is `a·(1/s)`. `max` and `min` match in any order and brackets as well. A name pins a value: it must be there as written.
//!
//! In a Result, `%x` is what the Given found, and an operator is made: under the path of `%y` if the statement names it `%y`, below it if `%y.half`, and without a
//! name below it under its own word. Attributes may be computed, `{perm=compose(p, q)}`, by the functions of [`facts`]. `Where` lists facts
//! that hold, from the same file; whatever else a pass knows (what the target says) it asks in a closure.
//!
//! # The promise
//!
//! The Result is the Given's function. The generated test (`proof`) builds each Given with random shapes, attributes, batches, orders and brackets, lets
//! the rule run and compares the function before and after in the evaluator. It fails if a rule never matches, if a Result has another type than
//! its Given where the conditions hold, or if values that something else reads are lost.

mod attributes;
mod bindings;
mod build;
mod facts;
mod found;
#[cfg(test)]
mod instance;
mod matcher;
pub(crate) mod number;
mod parse;
#[cfg(test)]
pub(crate) mod proof;
mod rewrite;
mod sections;
mod term;
#[cfg(test)]
mod tests;

use bindings::Bindings;
use rewrite::Table;
use term::Rule;
use vitc_ir::{Graph, Node, NodeId};

/// The rules of one file, in order.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    table: Table,
}

impl Rules {
    /// The rules in the header of a source file, or in a text that is nothing but rules.
    pub(crate) fn parse(source: &str) -> Result<Rules, String> {
        let rules = parse::rules(source)?;
        let table = rewrite::table(&rules);
        Ok(Rules { rules, table })
    }
}

/// A place where a rule matches.
pub(crate) struct Site<'a> {
    pub(crate) graph: &'a Graph,
    rule: &'a Rule,
    bound: &'a Bindings,
    root: NodeId,
}

impl Site<'_> {
    /// What the Result takes the place of.
    pub(crate) fn node(&self) -> &Node {
        self.graph.node(self.root)
    }

    /// Rank of the value that a name of the rule stands for.
    pub(crate) fn rank(&self, name: &str) -> Option<usize> {
        let var = self.rule.values.iter().position(|n| n == name)?;
        Some(self.graph.shape(self.bound.value(var)?).rank())
    }

    /// Elements of one item of the value that a name of the rule stands for.
    pub(crate) fn elements(&self, name: &str) -> Option<usize> {
        let var = self.rule.values.iter().position(|n| n == name)?;
        Some(self.graph.shape(self.bound.value(var)?).at(1).iter().product())
    }
}

/// The rules in the header of the file that this stands in, under a name, and the test that proves them.
macro_rules! rules {
    ($name:ident, $file:literal) => {
        static $name: std::sync::LazyLock<$crate::pattern::Rules> = std::sync::LazyLock::new(|| {
            $crate::pattern::Rules::parse(include_str!($file)).unwrap_or_else(|e| panic!("{}: {e}", $file))
        });

        #[cfg(test)]
        #[test]
        fn the_rules_hold() {
            $crate::pattern::proof::prove(&$name);
        }
    };
}
pub(crate) use rules;
