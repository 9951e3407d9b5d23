//! What the names of a rule stand for at one place of a graph.

use super::found::Found;
use super::number::{self, same};
use super::term::{Argument, Item, Number, Rule, ShapePattern, Var};
use std::sync::Arc;
use vitc_ir::{Graph, Real, Shape, Value};

/// Values by the names of values, texts by those of words.
#[derive(Debug, Clone)]
pub(crate) struct Bindings {
    values: Vec<Option<Value>>,
    words: Vec<Option<Arc<str>>>,
}

impl Bindings {
    pub(crate) fn new(rule: &Rule) -> Bindings {
        Bindings { values: vec![None; rule.values.len()], words: vec![None; rule.words.len()] }
    }

    pub(crate) fn value(&self, var: Var) -> Option<Value> {
        self.values[var]
    }

    pub(crate) fn word(&self, var: Var) -> Option<&Arc<str>> {
        self.words[var].as_ref()
    }

    /// Whether the name stands, or from now on stands, for the value.
    pub(crate) fn bind(&mut self, var: Var, value: Value) -> bool {
        *self.values[var].get_or_insert(value) == value
    }

    /// Whether the word stands, or from now on stands, for the text.
    pub(crate) fn bind_word(&mut self, var: Var, text: &str) -> bool {
        same_text(self.words[var].get_or_insert_with(|| text.into()), text)
    }

    /// Whether a text of the graph is what the rule says.
    pub(crate) fn item(&mut self, item: &Item, text: &str) -> bool {
        match item {
            Item::Text(wanted) => same_text(wanted, text),
            Item::Word(var) => self.bind_word(*var, text),
            Item::List(items) => {
                let parts = list(text).unwrap_or_default();
                parts.len() == items.len() && items.iter().zip(parts).all(|(item, part)| self.item(item, part))
            }
            Item::Compute(..) => false,
        }
    }

    /// Whether a constant is the number.
    pub(crate) fn number(&mut self, wanted: &Number, found: f64) -> bool {
        match wanted {
            Number::Fixed(wanted) => same(*wanted, found),
            Number::Word(var) => self.bind_word(*var, &Real(found).to_string()),
        }
    }

    pub(crate) fn shape(&mut self, wanted: &ShapePattern, found: &Shape) -> bool {
        let Some(front) = found.rank().checked_sub(wanted.dims.len()) else { return false };
        let dims = wanted.dims.iter().zip(&found.0[front..]);
        (wanted.open || front == 0) && dims.into_iter().all(|(item, dim)| self.item(item, &dim.to_string()))
    }

    /// The text that an item of the Result is, or `None` if a name stands for nothing or a function has no answer.
    pub(crate) fn text(&self, graph: &Graph, item: &Item) -> Option<Arc<str>> {
        match item {
            Item::Text(text) => Some(text.as_str().into()),
            Item::Word(var) => self.word(*var).cloned(),
            Item::List(items) => {
                let items: Option<Vec<_>> = items.iter().map(|item| self.text(graph, item)).collect();
                Some(format!("[{}]", items?.join(",")).into())
            }
            Item::Compute(function, arguments) => {
                Some((function.compute)(graph, &self.arguments(graph, arguments)?)?.into())
            }
        }
    }

    /// The number that the Result writes.
    pub(crate) fn real(&self, number: &Number) -> Option<f64> {
        match number {
            Number::Fixed(x) => Some(*x),
            Number::Word(var) => self.word(*var)?.parse().ok(),
        }
    }

    pub(crate) fn arguments(&self, graph: &Graph, arguments: &[Argument]) -> Option<Vec<Found>> {
        let found = |argument: &Argument| match argument {
            Argument::Value(var) => self.value(*var).map(Found::Value),
            Argument::Item(item) => self.text(graph, item).map(Found::Text),
        };
        arguments.iter().map(found).collect()
    }
}

/// Whether two texts are the same number or the same text.
fn same_text(a: &str, b: &str) -> bool {
    a == b || matches!((a.parse(), b.parse()), (Ok(a), Ok(b)) if number::same(a, b))
}

/// The parts of `[a,b,c]`.
pub(crate) fn list(text: &str) -> Option<Vec<&str>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    Some(if inner.is_empty() { Vec::new() } else { inner.split(',').map(str::trim).collect() })
}
