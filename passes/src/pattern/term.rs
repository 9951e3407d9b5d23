//! A rule in memory: what the matcher looks for and what the builder makes.

use super::found::{Fact, Function};

/// A variable: the number of its name among the rule's values or words.
pub(crate) type Var = usize;

/// The number of a term in its Given.
pub(crate) type TermId = usize;

/// Rewrite any of the Givens to the Result, where the conditions hold.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// The spellings that are looked for.
    pub(crate) givens: Vec<Given>,
    /// What must hold besides.
    pub(crate) conditions: Vec<Condition>,
    /// What is made.
    pub(crate) result: Template,
    /// Names of values: `x`, `y`.
    pub(crate) values: Vec<String>,
    /// Names of attributes, numbers and sizes: `axis`, `eps`, `C`.
    pub(crate) words: Vec<String>,
    /// The variable that the Result takes the place of.
    pub(crate) root: Var,
}

/// One spelling: a graph of terms, operands before their readers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    /// The terms.
    pub(crate) terms: Vec<Term>,
    /// The one that is replaced.
    pub(crate) root: TermId,
}

/// A value of a Given.
#[derive(Debug, Clone)]
pub(crate) enum Term {
    /// Any value, or any constant.
    Free(Free),
    /// A constant all of whose elements are one number.
    Number(Number),
    /// An operator that is none of a group's.
    Apply(Apply),
    /// Sums and products, flattened.
    Chain(Chain),
}

/// `%x`, `const %c[C,1,1]`.
#[derive(Debug, Clone)]
pub(crate) struct Free {
    pub(crate) var: Var,
    pub(crate) constant: bool,
    pub(crate) shape: Option<ShapePattern>,
}

/// A number as the text has it.
#[derive(Debug, Clone)]
pub(crate) enum Number {
    Fixed(f64),
    Word(Var),
}

/// What every inner value has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inner {
    /// Its name, if it has one.
    pub(crate) var: Option<Var>,
    /// How often the Given reads it: nothing else may.
    pub(crate) reads: usize,
    /// Something else may.
    pub(crate) shared: bool,
}

/// `word(operands){attributes}`.
#[derive(Debug, Clone)]
pub(crate) struct Apply {
    pub(crate) inner: Inner,
    pub(crate) word: String,
    pub(crate) attributes: Vec<(String, Item)>,
    pub(crate) operands: Vec<TermId>,
}

/// The operands of a tree of sums (or products) without names inside, in any order and any brackets.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) inner: Inner,
    pub(crate) group: Group,
    pub(crate) elements: Vec<Element>,
}

/// One operand of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) term: TermId,
    /// Subtracted or divided by.
    pub(crate) inverse: bool,
}

/// Operators that commute and associate with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Sum,
    Product,
    Max,
    Min,
}

/// Most operands of a chain: a split of n operands in two has 2ⁿ ways.
pub(crate) const LONGEST_CHAIN: usize = 6;

impl Group {
    /// The group of an operator, and which of its two operands are inverted.
    pub(crate) fn of(word: &str) -> Option<(Group, [bool; 2])> {
        Some(match word {
            "add" | "sum" => (Group::Sum, [false, false]),
            "sub" => (Group::Sum, [false, true]),
            "neg" => (Group::Sum, [true, true]),
            "mul" => (Group::Product, [false, false]),
            "div" => (Group::Product, [false, true]),
            "max" => (Group::Max, [false, false]),
            "min" => (Group::Min, [false, false]),
            _ => return None,
        })
    }

    /// Its operators.
    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Group::Sum => &["add", "sub", "sum", "neg"],
            Group::Product => &["mul", "div"],
            Group::Max => &["max"],
            Group::Min => &["min"],
        }
    }

    /// The number that changes nothing.
    pub(crate) fn identity(self) -> Option<f64> {
        match self {
            Group::Sum => Some(0.0),
            Group::Product => Some(1.0),
            Group::Max | Group::Min => None,
        }
    }

    /// The number that undoes `x`.
    pub(crate) fn inverse(self, x: f64) -> f64 {
        match self {
            Group::Product => 1.0 / x,
            Group::Sum | Group::Max | Group::Min => -x,
        }
    }
}

/// An attribute's value: a text of the graph's own form, a variable, a list of such, or something computed.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Text(String),
    Word(Var),
    List(Vec<Item>),
    Compute(Function, Vec<Argument>),
}

/// A shape: `[B,C]`, or `[..,C]` with any dimensions in front.
#[derive(Debug, Clone)]
pub(crate) struct ShapePattern {
    pub(crate) open: bool,
    pub(crate) dims: Vec<Item>,
}

/// A fact about what was found.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) fact: Fact,
    pub(crate) arguments: Vec<Argument>,
}

/// What a fact or a function is told.
#[derive(Debug, Clone)]
pub(crate) enum Argument {
    Value(Var),
    Item(Item),
}

/// The Result: steps in order, and which of them (or which value of the Given) takes the root's place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Template {
    pub(crate) steps: Vec<Step>,
    pub(crate) result: Option<Source>,
}

/// One operator that is made.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) word: String,
    pub(crate) attributes: Vec<(String, Item)>,
    pub(crate) operands: Vec<Source>,
    /// The value of the Given whose path it bears, and what is put behind that.
    pub(crate) path: (Var, String),
}

/// An operand of a step.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Given(Var),
    Step(usize),
    Number(Number),
}
