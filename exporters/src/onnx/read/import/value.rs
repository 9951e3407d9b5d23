//! What a value of a file is while it is imported.

use super::super::tensor::{Elem, Tensor};
use super::known::{Known, Num};
use std::sync::Arc;
use vitc_ir::Value;

/// A value of a file.
#[derive(Debug, Clone)]
pub(super) enum Val {
    /// An operand that was left out.
    Absent,
    /// Something in front of it is refused.
    Poison,
    /// Nobody computes it: why.
    Missing(String),
    /// A constant of the file, which nobody looked at so far.
    Tensor(Arc<Tensor>),
    /// Numbers that are known.
    Known(Arc<Known>),
    /// A node of the graph, and the element type that the file gives it.
    Node(Value, Elem),
    /// A sequence of values.
    List(Vec<Val>),
    /// Whole numbers that count the items of an open batch.
    Items(Arc<Items>),
}

/// Whole numbers with one row for each item of the batch along the first axis: the row of item `b` is `b·step + rest`.
#[derive(Debug)]
pub(super) struct Items {
    /// How far the rows of two neighbours lie apart.
    pub(super) step: Num,
    /// The row of the first item, with a first axis of 1.
    pub(super) rest: Known,
}

impl Val {
    /// A known array.
    pub(super) fn known(known: Known) -> Val {
        Val::Known(Arc::new(known))
    }

    /// True for an operand that was left out.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Val::Absent)
    }

    /// The element type, if it is an array.
    pub(super) fn elem(&self) -> Option<Elem> {
        match self {
            Val::Tensor(t) => Some(t.elem),
            Val::Known(k) => Some(k.elem),
            Val::Node(_, elem) => Some(*elem),
            Val::Items(items) => Some(items.rest.elem),
            Val::Absent | Val::Poison | Val::Missing(_) | Val::List(_) => None,
        }
    }
}
